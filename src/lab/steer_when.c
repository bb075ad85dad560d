/* Owns: a steer's condition: a reading hook that says for each position whether the edit is to be made there.
 * What it says of a position depends on the rows up to there alone (hold: the first that met it), so a step that is made again, or a prompt that is
 * split otherwise, gives the same. */
#include "lab/steer_int.h"

#include <math.h>

struct steer_when {
    const sd_dict *dict;
    int64_t feature, d, n_ctx;
    sd_site site;
    double gt, lt;           /* in the units of the site */
    bool hold;
    char monitor[65];
    float *u;                /* [d] unit vector; NULL for a feature */
    uint8_t *met;            /* [n_ctx] it held there */
    int64_t first;           /* lowest position where it held; INT64_MAX: none */
    double unit, max;        /* one unit of the condition; the highest reading, at max_at */
    int64_t max_at;
    int64_t n_looked, n_held, counted; /* positions below counted are in the two */
};

/* Sites in the order in which a token meets them. */
static int64_t order_of(sd_site s)
{
    if (sd_site_is_layered(s.kind)) return 1 + (int64_t)s.layer * SD_SITE_KIND_COUNT + s.kind;
    return s.kind == SD_SITE_EMBED ? 0 : INT32_MAX + (int64_t)s.kind;
}

static sd_status check_place(const steer_when *w, sd_site edited, sd_err *err)
{
    if (w->site.kind == SD_SITE_ATTN_PATTERN) return sd_fail(err, SD_E_ARG, "steer: when: attn_pattern has no row a token to look at");
    if (order_of(w->site) <= order_of(edited)) return SD_OK;
    char a[64], b[64];
    sd_fail(err, SD_E_ARG, "steer: when is looked at in %s, which comes after %s, where the edit is made", sd_site_print(a, sizeof a, w->site), sd_site_print(b, sizeof b, edited));
    return sd_hint(err, "take a condition of the same or an earlier site, or steer at a later one");
}

static sd_status check_feature(const steer_when *w, sd_err *err)
{
    if (!w->dict || sd_dict_has_threshold(w->dict)) return SD_OK;
    sd_fail(err, SD_E_ARG, "steer: when needs the threshold of feature %lld, and its dictionary was not calibrated", (long long)w->feature);
    return sd_hint(err, "take a dictionary trained by sonde, or a vector");
}

sd_status sd_steer__when_new(steer_when **out, const sd_steer_when *spec, sd_site edited, const sd_model *m, const sd_steer_from *from, sd_err *err)
{
    const sd_steer_spec *what = &spec->what;
    double unit = 1;
    steer_when *w = NULL;
    const sd_steer_from own = {.dict = from->when_dict, .rows = from->rows, .self = from->self};
    *out = NULL;
    SD_ASSERT((what->feature >= 0) == (own.dict != NULL));
    sd_status st = sd_alloc_zero(&w, sizeof *w, "steer", err);
    if (st) return st;
    w->dict = own.dict;
    w->feature = what->feature;
    w->hold = spec->hold;
    snprintf(w->monitor, sizeof w->monitor, "%s", spec->monitor);
    w->n_ctx = m->max_ctx;
    if ((st = sd_steer__site(&w->site, &w->d, what, m, w->dict, true, err))) goto done;
    if ((st = check_place(w, edited, err)) || (st = check_feature(w, err))) goto done;
    if ((st = sd_steer__unit(&unit, what, w->site, w->dict, &own, 0, err))) goto done;
    w->unit = unit;
    w->gt = spec->gt * unit;
    w->lt = spec->lt * unit;
    if (!w->dict) {
        if ((st = sd_alloc(&w->u, (size_t)w->d * sizeof *w->u, "steer", err))) goto done;
        if (!sd_steer__unit_row(w->u, what->vector, w->d)) {
            st = sd_fail(err, SD_E_ARG, "steer: when: the vector is all zero");
            goto done;
        }
    }
    if ((st = sd_alloc_zero(&w->met, (size_t)w->n_ctx, "steer", err))) goto done;
    *out = w;
    w = NULL;
done:
    sd_steer__when_free(w);
    return st;
}

void sd_steer__when_free(steer_when *w)
{
    if (!w) return;
    sd_free(w->u);
    sd_free(w->met);
    sd_free(w);
}

static double reading(const steer_when *w, const float *h)
{
    double p = 0;
    if (w->dict) {
        p = (double)sd_dict_preact(w->dict, w->feature, h);
        return p > (double)sd_dict_threshold(w->dict, w->feature) && p > 0 ? p : 0;
    }
    for (int64_t j = 0; j < w->d; j++) p += (double)w->u[j] * (double)h[j];
    return p;
}

static sd_status look(void *self, sd_act *act, sd_err *err)
{
    steer_when *w = self;
    for (int64_t i = 0; i < act->x.rows; i++) {
        int64_t pos = act->pos0 + i;
        double v = reading(w, sd_mat_row(act->x, i));
        if (pos >= w->n_ctx) return sd_fail(err, SD_E_ARG, "steer: when: position %lld of at most %lld", (long long)pos, (long long)w->n_ctx);
        bool met = v > w->gt && v < w->lt;
        w->met[pos] = met;
        if (met && pos < w->first) w->first = pos;
        if (pos < w->counted) continue; /* a step that was stopped is made again */
        w->counted = pos + 1;
        w->n_looked++;
        w->n_held += met;
        if (w->n_looked == 1 || v > w->max) w->max = v, w->max_at = pos;
    }
    return SD_OK;
}

sd_status sd_steer__when_attach(steer_when *w, sd_session *session, int *id, sd_err *err)
{
    w->first = INT64_MAX;
    w->n_looked = w->n_held = w->counted = 0;
    return sd_session_attach(session, &(sd_hook){.name = "steer when", .at = &w->site, .n_at = 1, .mode = SD_HOOK_READ, .fn = look, .self = w}, id, err);
}

const char *sd_steer__when_monitor(const steer_when *w) { return w->monitor; }

bool sd_steer__when_holds(const steer_when *w, int64_t pos) { return w->hold ? pos >= w->first : w->met[pos] != 0; }

void sd_steer__when_counts(const steer_when *w, sd_steer_applied *a)
{
    a->n_looked = w->n_looked;
    a->n_held = w->n_held;
    a->max = w->n_looked ? w->max / w->unit : 0;
    a->max_at = w->max_at;
    a->first = w->first == INT64_MAX || !w->n_looked ? -1 : w->first;
}
