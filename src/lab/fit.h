/* fit: does a dictionary belong to this model? What it keeps of a fixed text (built in, or one that is given) against what its own card says;
 * a wrong layer, a lost threshold or another normalisation shows here long before anybody looks at features. */
#ifndef SD_LAB_FIT_H
#define SD_LAB_FIT_H

#include "lab/evaluate.h"

enum { SD_FIT_REASONS = 4 };
typedef struct sd_fit {
    sd_evaluation is;
    double l0_card, fvu_card;  /* what the dictionary says of itself (k where that is all); NaN: nothing */
    char reason[SD_FIT_REASONS][160];
    int n_reason;              /* 0: it fits */
} sd_fit;

typedef struct sd_fit_opt { sd_site site; const sd_corpus *corpus; const sd_progress *progress; } sd_fit_opt; /* corpus NULL: the built-in reference text */
/* m: the whole model with its head. */
sd_status sd_lab_fit(sd_fit *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_fit_opt *opt, sd_err *err);
/* The same judgement of figures that were measured elsewhere. */
void sd_fit_judge(sd_fit *f, const sd_dict *dict);

#endif
