/* The page of `dict survive`: curves of correlation, survival by strength, a table. */
#ifndef SD_LAB_SURVIVE_PAGE_H
#define SD_LAB_SURVIVE_PAGE_H

#include "base/prov.h"
#include "lab/survive.h"

typedef struct sd_survive_row { const char *name; uint64_t bytes; sd_survival s; } sd_survive_row;
typedef struct sd_survive_page { const char *model, *site, *dict; int64_t m, n_rows; const sd_dict_metrics *ref; const sd_survive_row *row; int n; const sd_prov *prov; } sd_survive_page;
sd_status sd_page_survive(sd_buf *b, const sd_survive_page *p, sd_err *err);

#endif
