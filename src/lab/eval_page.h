/* The page of `dict eval`: how often features fire, as a picture, and every metric beside what it means. */
#ifndef SD_LAB_EVAL_PAGE_H
#define SD_LAB_EVAL_PAGE_H

#include "base/prov.h"
#include "lab/evaluate.h"

typedef struct sd_eval_col { const char *name; const sd_evaluation *e; int64_t m; const double *v; } sd_eval_col; /* v [n_metric] */
typedef struct sd_eval_page {
    const char *model, *site, *dict;
    const sd_eval_col *col; /* [n] the dictionary, then what stands beside it */
    int n, n_metric;
    const char *const *id, *const *meaning; /* [n_metric] */
    const sd_prov *prov;
} sd_eval_page;
sd_status sd_page_eval(sd_buf *b, const sd_eval_page *p, sd_err *err);

#endif
