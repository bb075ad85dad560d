/* evaluate_rows: reconstruction metrics of a crosscoder over the rows of a source, of all sites together and of each. There is no
 * cross-entropy: rows that were replaced at one site would change what the next site, or the other model, gives. */
#ifndef SD_LAB_EVALUATE_ROWS_H
#define SD_LAB_EVALUATE_ROWS_H

#include "dict/act.h"
#include "dict/dict_eval.h"

typedef struct sd_rows_part { int64_t width; sd_dict_metrics recon; } sd_rows_part;
/* whole and part[i].recon are filled; width given. Sinks as in evaluate.h. *n_kept: rows left out. Release with sd_dict_metrics_release. */
sd_status sd_lab_evaluate_rows(sd_dict_metrics *whole, sd_rows_part *part, int n_part, int64_t *n_kept, const sd_exec *ex, const sd_dict *dict,
                               sd_act_source src, sd_err *err);

#endif
