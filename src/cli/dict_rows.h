/* The rows that a dictionary of several sites reads: a transcoder's [x | y], a crosscoder's sites side by side; or one site's. */
#ifndef SD_CLI_DICT_ROWS_H
#define SD_CLI_DICT_ROWS_H

#include "cli/cli.h"
#include "lab/cross.h"
#include "lab/harvest.h"

typedef struct dict_rows_in {
    const sd_model *model;
    const sd_corpus *corpus;
    const char *with;       /* path of the second model; NULL: none */
    sd_mode mode;           /* it is opened in */
    sd_cross_sites sites;
    bool cross, scale;      /* a crosscoder's rows; each part scaled */
    bool predicts;          /* the second model is opened whole, with its head */
    sd_harvest_opt base;    /* but for the sites */
} dict_rows_in;

typedef struct dict_rows {
    sd_model *with;
    sd_harvest *first, *second;
    sd_cross *cross;
    sd_act_source src;
    int64_t n_rows, width[SD_CROSS_PARTS];
    int n_part;
} dict_rows;

sd_status dict_rows_open(dict_rows *r, const sd_exec *ex, const dict_rows_in *in, sd_err *err);
void dict_rows_close(dict_rows *r);
/* Blocks that a model must hold for the sites. */
int dict_rows_layers(const sd_cross_sites *s);
/* The sites of a crosscoder from its own text; SD_E_ARG says when a second model must be given with --with, or must not. */
sd_status dict_rows_sites(sd_cross_sites *out, const sd_dict *dict, const char *with, sd_err *err);

#endif
