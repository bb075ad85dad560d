/* What `dict eval` measured of a dictionary and of the controls beside it: one table, or one JSON document. */
#ifndef SD_CLI_DICT_EVAL_PRINT_H
#define SD_CLI_DICT_EVAL_PRINT_H

#include "cli/cli.h"
#include "dict/dict_geometry.h"
#include "lab/absorption.h"
#include "lab/evaluate.h"
#include "lab/sparse_probe.h"

typedef struct dict_column {
    const char *dir;
    sd_dict *dict;          /* owns */
    sd_evaluation e;
    sd_dict_geometry rows;
    sd_sparse_probe probe;  /* n 0: not asked for; owns */
    sd_absorption absorption;
    bool absorbed;          /* asked for */
} dict_column;
void dict_column_release(dict_column *v);
/* The page of `--html FILE`. */
sd_status dict_eval_page(cli *c, const dict_column *col, int n, const char *model, const char *path, sd_err *err);
/* col[0] is the dictionary, the others stand beside it. The exit code. */
int dict_eval_print(cli *c, const dict_column *col, int n);

#endif
