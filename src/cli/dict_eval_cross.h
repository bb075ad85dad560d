/* `dict eval` of a crosscoder: metrics of each site and of all. */
#ifndef SD_CLI_DICT_EVAL_CROSS_H
#define SD_CLI_DICT_EVAL_CROSS_H

#include "cli/dict_rows.h"

typedef struct dict_eval_cross { const sd_dict *dict; const sd_model *model; const sd_corpus *corpus; const char *with; sd_harvest_opt base; } dict_eval_cross;
/* Measures and prints; the exit code, or an error in err. */
int dict_eval_cross_run(cli *c, const sd_exec *ex, const dict_eval_cross *in, sd_err *err);

#endif
