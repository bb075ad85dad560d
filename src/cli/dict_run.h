/* What a training run was asked for: from the flags, kept in run.json for --resume; and the source of its rows. */
#ifndef SD_CLI_DICT_RUN_H
#define SD_CLI_DICT_RUN_H

#include "cli/cli.h"
#include "cli/dict_rows.h"
#include "lab/learn.h"

typedef struct dict_run {
    const char *kind, *to, *with; /* other sites, other model; NULL: none */
    const char *adam;
    int64_t width, k, tokens, batch, ctx, heldout, buffer;
    double lr, sparsity;
    int64_t k_start, k_anneal, sparsity_warmup;
    double warmup, decay, aux_weight, bandwidth, exact_until, exact_from;
    int64_t aux_k, dead_after, routes, listed, in_turn;
    const char *init, *order;     /* files; NULL: drawn */
    const char *control;          /* "random-model", "frozen-decoder"; NULL: none */
    opt_list without, also;
    struct { sd_dict_kind kind; int64_t width, k; char site[64], dir[1100]; } more[SD_LEARN_MORE]; /* [also.n] as also says; made by dict_run_setup; site empty: the run's */
    const char **path;   /* [n_path] MODEL CORPUS.., or DIR */
    int n_path;
    const char *mode;
    const char **saved_without, **saved_also;
    json_t *saved;       /* owns the strings of a resumed run */
    bool made_folder, moments8, proven, serial;
} dict_run;

typedef struct dict_source {
    sd_act_source src;
    int64_t n_rows;
    double t0;           /* sd_now() when the model was there */
    sd_dict_info meta;
    sd_model *model;
    sd_corpus *corpus;
    dict_rows rows;
    sd_harvest *harvest; /* rows.first; NULL when the rows come from shards */
    int64_t d_in;        /* of a transcoder; else 0 */
    sd_act_reader *reader;
    sd_cross_sites sites;
    int n_part, part[SD_LEARN_MORE]; /* sites whose rows lie side by side, rows.width of each; 0: one. That of each further dictionary */
    sd_dict_info more[SD_LEARN_MORE]; /* what those are of */
    sd_act_order *order; /* rows of reader in a given order; else NULL */
    int64_t n_predictions; /* that CE recovered was measured on; 0: not measured */
} dict_source;

/* Checks the command line, or reads run.json of --resume into a and c (output, seed, site). */
sd_status dict_run_setup(dict_run *a, cli *c, sd_err *err);
/* Makes the folder and writes run.json there; a checkpoint of an earlier run is removed. A resumed run changes nothing; SD_E_FORMAT where model, text or site are not what it began with. */
sd_status dict_run_save(dict_run *a, cli *c, const dict_source *s, sd_err *err);
/* The names of a->without as bits (checked by dict_run_setup). */
uint32_t dict_run_without(const dict_run *a);
bool dict_run_random(const dict_run *a); /* the model's weights are random */
/* After a failure: removes the folder again if dict_run_save made it and it holds neither a checkpoint nor a dictionary. */
void dict_run_discard(const dict_run *a, const cli *c);
void dict_run_release(dict_run *a);
/* Opens model and corpus, or shards; fills meta and the provenance's hashes; sets a->mode. */
sd_status dict_source_open(dict_source *s, dict_run *a, cli *c, const sd_exec *ex, sd_err *err);
void dict_source_close(dict_source *s);

#endif
