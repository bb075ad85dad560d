#include "lab/fit.h"
#include "lab/reference.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MOST_ROWS = 8192 };
/* How far figures of another text may lie from the card's. L0 of the penalty kinds was 1.4 to 2.8 times k on text of another kind, FVU of
 * TopK up to 1.6 times (docs/DICT.md); a wrong layer or a lost threshold is an order of magnitude or an FVU near or above 1. */
static const double L0_FACTOR = 3, FVU_FACTOR = 2, FVU_MORE = 0.15, CE_LEAST = 0.5;

static void say(sd_fit *f, const char *fmt, ...) SD_PRINTF(2, 3);
static void say(sd_fit *f, const char *fmt, ...)
{
    va_list ap;
    if (f->n_reason == SD_FIT_REASONS) return;
    va_start(ap, fmt);
    vsnprintf(f->reason[f->n_reason++], sizeof f->reason[0], fmt, ap);
    va_end(ap);
}

void sd_fit_judge(sd_fit *f, const sd_dict *dict)
{
    const sd_dict_info *i = sd_dict_get_info(dict);
    const double l0 = f->is.recon.l0, fvu = f->is.recon.fvu, ce = f->is.ce_recovered;
    f->l0_card = isfinite(i->l0) && i->l0 > 0 ? i->l0 : i->k > 0 ? (double)i->k : NAN;
    f->fvu_card = isfinite(i->fvu) ? i->fvu : NAN;
    f->n_reason = 0;
    if (!(fvu < 1)) say(f, "it reconstructs no better than the mean row: FVU %.3g", fvu);
    else if (isfinite(f->fvu_card) && fvu > FVU_FACTOR * f->fvu_card + FVU_MORE) say(f, "FVU is %.3f, its card says %.3f", fvu, f->fvu_card);
    if (!(l0 > 0)) say(f, "no feature is ever active");
    else if (isfinite(f->l0_card) && (l0 > L0_FACTOR * f->l0_card || l0 * L0_FACTOR < f->l0_card)) say(f, "%.1f features are active on a token, its card says %.1f", l0, f->l0_card);
    if (isfinite(ce) && !(ce > CE_LEAST)) say(f, "it recovers %.3f of the cross-entropy that zeroing the site costs", ce);
}

sd_status sd_lab_fit(sd_fit *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_fit_opt *opt, sd_err *err)
{
    sd_corpus *own = NULL;
    sd_harvest *h = NULL;
    *out = (sd_fit){0};
    sd_status st = opt->corpus ? SD_OK : sd_corpus_of_text(&own, sd_slice_of(sd_reference_text), "the reference text", err);
    if (!st) st = sd_harvest_open(&h, ex, m, opt->corpus ? opt->corpus : own, &(sd_harvest_opt){.site = opt->site, .max_rows = MOST_ROWS}, err);
    if (!st) st = sd_lab_evaluate(&out->is, ex, m, dict, h, &(sd_evaluate_opt){.progress = opt->progress}, err);
    if (!st) sd_fit_judge(out, dict);
    sd_harvest_close(h);
    sd_corpus_close(own);
    return st;
}
