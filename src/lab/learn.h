/* learn: a stream of activations to a dictionary on disk, with events, checkpoints and exact resume.
 *
 * The last n_heldout rows of the source are never trained on: they give the buffer's limit of sinks at the start, and threshold, FVU and L0
 * at the end. Mean and scale are those of 16,384 rows of the shuffle buffer before the first step (of the held-out ones where it holds fewer
 * than 512). The rest is read as often as the token budget asks. */
#ifndef SD_LAB_LEARN_H
#define SD_LAB_LEARN_H

#include "base/prov.h"
#include "dict/act.h"
#include "dict/dict_trans.h"

/* A further dictionary of the same rows in the same order: trained beside the first, as if alone. Seed, batch, tokens and what concerns the rows are
 * the first one's; a transcoder stands only beside transcoders. */
typedef struct sd_learn_more {
    sd_dict_train_opt train;
    const char *dir;
    int part;                 /* of the rows, see sd_learn_opt.part_cols */
    const sd_dict_info *meta; /* what it is of; NULL: as the first */
} sd_learn_more;
enum { SD_LEARN_MORE = 16, SD_LEARN_PARTS = 8 };

typedef struct sd_learn_opt {
    sd_dict_train_opt train;  /* .d is taken from the source, but given for transcoders, whose source gives [x | y]; .n_tokens 0: one pass */
    sd_dict_info meta;        /* what the dictionary is of */
    int64_t n_heldout;        /* 0: a fiftieth of the rows, between 512 and 16,384 */
    int64_t buffer_rows;      /* shuffle buffer; 0: 262,144 or all rows */
    double checkpoint_s;      /* seconds between checkpoints; 0: 120; negative: only when interrupted */
    const char *dir;          /* where the dictionary goes; exists */
    const sd_prov *prov;      /* into the last event; may be NULL */
    bool resume;              /* go on from the checkpoint in dir */
    double t0;                /* sd_now() when the run began, if reading its text came before; 0: now */
    /* Called for each dictionary when it is in its folder: what it keeps of the model, and the seconds that are not to be counted (a model loaded
     * for it). Part of the run and of its time. NULL: nothing is measured, ce_recovered is NaN. */
    sd_status (*measure)(void *self, const char *dir, double *ce_recovered, double *not_counted, sd_err *err);
    void *self;
    /* Called with the finished dictionary before it is written; NULL: nothing is to be done. */
    sd_status (*fold)(void *fold_self, sd_dict *d, sd_err *err);
    void *fold_self;
    bool overlap;             /* the source is read by a thread of its own while a step trains (learn_ahead.h); the same rows in the same order */
    sd_mat calibrate;         /* rows that give mean and scale; empty: see above */
    const char *init;         /* weights to start from (sd_dict_train_init), of the first dictionary; NULL: drawn. Not for transcoders */
    /* Rows of several sites side by side: dictionary 0 is of the first part_cols[0] columns, the others of the part that they name. Each part is shuffled
     * and has its sinks left out as if it were alone. n_part 0: a row is one site's (or a transcoder's two). */
    const int64_t *part_cols; /* [n_part] */
    int n_part;
    const sd_learn_more *more; /* [n_more] their folders exist; at most SD_LEARN_MORE */
    int n_more;
} sd_learn_opt;

enum { SD_DEAD_RULES = 4 };
typedef struct sd_learn_result {
    double tok_s, fvu, l0, ce_recovered;
    double seconds, train_seconds, source_seconds; /* all of it, tok_s is over these; until the last step; waiting for rows (the model) */
    double finish_seconds, measure_seconds;        /* the dictionary's thresholds, figures and files; opt->measure */
    int64_t dead_after, dead_by[SD_DEAD_RULES]; /* dead: silent for the last dead_after tokens of training */
    int64_t dead, n_tokens, steps, n_heldout, n_dropped; /* dropped: sinks */
    int epochs;
} sd_learn_result;

/* Features that count as dead by the rules in use, at the end of the run; -1 where the run is too short for the rule to say anything.
 *   silent_1m_tokens, silent_10m_tokens   did not fire in the last million (10 million: Gao et al. 2024, dictionary_learning)
 *   silent_1000_steps                     did not fire in the last 1,000 batches: SAELens' dead_feature_window
 *   silent_whole_run                      never fired in training */
const char *sd_dead_rule_name(int i);
/* out [1 + opt->n_more]; times are those of all together. n_rows: rows a whole pass of src gives. Cancelled: a checkpoint is written and SD_E_CANCELLED returned. Writes into dir: the
 * SAELens directory, events.jsonl, and while it runs checkpoints (lab/ckpt.h). */
sd_status sd_lab_learn(sd_learn_result *out, const sd_exec *ex, sd_act_source src, int64_t n_rows, const sd_learn_opt *opt,
                       const sd_progress *progress, sd_err *err);
/* Rows that a source must give for n_tokens to be trained on once; n_heldout as above. */
int64_t sd_learn_rows(int64_t n_tokens, int64_t n_heldout);
int64_t sd_learn_heldout(int64_t n_rows); /* rows held out of so many by default */
typedef struct sd_learn_memory { double training, end; } sd_learn_memory;
/* Bytes of a run, before it starts: the trainer of t with the shuffle buffer and the held-out rows (width numbers each), and at its end, when the finished
 * dictionary and its packed encoder stand beside them. t: of the run, d and n_tokens given. n_rows as above. */
sd_learn_memory sd_learn_plan(const sd_exec *ex, const sd_dict_train_opt *t, const sd_learn_opt *o, int64_t n_rows, int64_t width);
/* Seconds that the steps of a run will take, without the time of its rows. Two short runs on random rows of dictionaries that fit caches (at
 * most 16,384 features, about a second) and a line through their time a token: wider ones leave the caches and take up to half as long again. */
sd_status sd_learn_forecast(double *seconds, const sd_exec *ex, const sd_dict_train_opt *t, sd_err *err);

#endif
