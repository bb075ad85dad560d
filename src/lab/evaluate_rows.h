/* evaluate_rows: reconstruction metrics of a crosscoder over the rows of a source, of all sites together and of each; evaluate_cross.h has
 * the cross-entropy. */
#ifndef SD_LAB_EVALUATE_ROWS_H
#define SD_LAB_EVALUATE_ROWS_H

#include "dict/act.h"
#include "dict/dict_eval.h"

enum { SD_ROWS_PARTS = 8 };
typedef struct sd_rows_eval {
    sd_dict_metrics whole, part[SD_ROWS_PARTS];
    int64_t width[SD_ROWS_PARTS]; /* given, with n_part */
    int n_part;
    int64_t n_kept;               /* sinks left out, as in evaluate.h */
} sd_rows_eval;
sd_status sd_lab_evaluate_rows(sd_rows_eval *out, const sd_exec *ex, const sd_dict *dict, sd_act_source src, sd_err *err);
void sd_rows_eval_release(sd_rows_eval *e);

#endif
