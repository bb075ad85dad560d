/* A run that is stopped, and one that goes on: what of the prompts is judged, and where it is kept. */
#include "lab/behave.h"

#include <math.h>

static const double EVERY_S = 120; /* as `tune` and `dict train` */

sd_class sd_behave__class(const sd_reply *r, bool quick)
{
    if (!quick) return r->by_phrases;
    return isnan(r->score) ? SD_CLASS_UNSCORED : r->score > 0 ? SD_CLASS_REFUSAL : SD_CLASS_COMPLIANCE;
}

static bool is_one(const sd_reply *a, const sd_reply *b)
{
    return a->key == b->key && strcmp(a->id, b->id) == 0 && strcmp(a->suite, b->suite) == 0;
}

sd_status sd_behave__before(int64_t **left, int64_t *n_left, sd_behaviour *out, const sd_behave_opt *opt, sd_err *err)
{
    const sd_behaviour *b = opt->before;
    int64_t at = 0, k = 0;
    sd_status st = sd_alloc(left, (size_t)(out->n + 1) * sizeof **left, "prompts", err);
    for (int64_t i = 0; i < out->n && !st; i++) {
        sd_reply *r = &out->v[i];
        if (!b || at == b->n || !is_one(r, &b->v[at])) { /* both are in the order of the suites */
            (*left)[k++] = i;
            continue;
        }
        r->by_phrases = b->v[at].by_phrases;
        r->score = b->v[at].score;
        r->n_tokens = b->v[at].n_tokens;
        r->hash = b->v[at].hash;
        r->cls = sd_behave__class(r, opt->quick);
        at++;
    }
    if (!st && b && at < b->n) {
        out->rendered_sha256[0] = 0;
        sd_fail(err, SD_E_FORMAT, "the run that was stopped had asked %.63s %.39s, which is not in the suites as they are now", b->v[at].suite, b->v[at].id);
        st = sd_hint(err, "bring back what it was begun with, or begin anew with -f");
    }
    *n_left = k;
    return st;
}

sd_status sd_behave__same(sd_behaviour *out, const sd_behave_opt *opt, sd_err *err)
{
    const sd_behaviour *b = opt->before;
    if (!b) return SD_OK;
    bool asked = strcmp(b->rendered_sha256, out->rendered_sha256) == 0;
    if (asked && strcmp(b->judge, out->judge) == 0) return SD_OK;
    out->rendered_sha256[0] = 0;
    if (!asked) sd_fail(err, SD_E_FORMAT, "the prompts are not what the run that was stopped had asked: a suite, or the template, has changed since");
    else sd_fail(err, SD_E_FORMAT, "the run that was stopped was judged by %.95s, this one by %.95s", b->judge, out->judge);
    return sd_hint(err, "bring back what it was begun with, or begin anew with -f");
}

sd_status sd_behave__keep(const sd_behaviour *out, const sd_behave_opt *opt, double *last, sd_status st, sd_err *err)
{
    sd_err own = {0};
    bool any = false;
    if (!opt->on_part || !*out->rendered_sha256 || (!st && sd_now() - *last < EVERY_S)) return st;
    for (int64_t i = 0; i < out->n && !any; i++) any = out->v[i].by_phrases != SD_CLASS_UNSCORED;
    if (!any) return st;
    *last = sd_now();
    sd_status kept = opt->on_part(opt->part_self, out, &own);
    if (kept && !st && err) *err = own;
    return st ? st : kept;
}
