/* Steering as a hook: one row edit of d multiply-adds, counted. Resolves units once, when the steer is made. */
#include "lab/steer_int.h"

#include <math.h>

sd_status sd_steer__site(sd_site *site, int64_t *d, const sd_steer_spec *spec, const sd_model *m, const sd_dict *dict, bool reads, sd_err *err)
{
    sd_status st = SD_OK;
    int64_t cols = 0;
    const bool cross = dict && sd_dict_get_info(dict)->kind == SD_DICT_CROSSCODER;
    *site = spec->site;
    if (cross && reads) {
        sd_fail(err, SD_E_ARG, "steer: a crosscoder's feature is read at several sites, so it is no condition at one");
        return sd_hint(err, "use a feature of a dictionary of one site");
    }
    if (!spec->has_site && !cross) {
        const char *name = !dict ? "" : reads ? sd_dict_site_name(dict) : sd_dict_site_out_name(dict);
        if (!*name) return sd_fail(err, SD_E_ARG, "steer: the dictionary does not say its site; give \"site\"");
        if ((st = sd_site_parse(site, name, strlen(name), err))) return st;
    }
    if ((st = sd_model_site_cols(m, *site, &cols, err))) return st;
    int64_t col;
    if (cross && (st = sd_steer__cross_part(&col, d, spec, m, dict, err))) return st;
    if (!cross) *d = !dict ? spec->n_vector : reads ? sd_dict_get_info(dict)->d : sd_dict_get_info(dict)->d_out;
    if (cols != *d)
        return sd_fail(err, SD_E_SHAPE, "steer: %s has %lld columns, the %s %lld", sd_site_print((char[64]){0}, 64, *site),
                       (long long)cols, dict ? "dictionary" : "vector", (long long)*d);
    if (dict && spec->feature >= sd_dict_get_info(dict)->m) {
        sd_fail(err, SD_E_NOTFOUND, "steer: feature %lld of a dictionary with %lld", (long long)spec->feature,
                (long long)sd_dict_get_info(dict)->m);
        return sd_hint(err, "features are numbered 0 to %lld", (long long)sd_dict_get_info(dict)->m - 1);
    }
    return SD_OK;
}

/* A row of 2^20 numbers of this size has the largest sum of squares that a float holds; beyond, a norm is infinite and the normalised
 * row is zero: text without any sense, and no NaN that would tell. */
static const double MAX_VALUE = 1e16;

static sd_status too_large(const sd_steer *s, double v, sd_err *err)
{
    sd_fail(err, SD_E_ARG, "steer: %g in the units of %s is more than the model's norms can hold (%g)", v, sd_site_print((char[64]){0}, 64, s->site), MAX_VALUE);
    return sd_hint(err, "typical rows of a residual stream have norms of 1 to 10,000");
}

/* What cannot be done as it is said: values that no activation can take, a feature whose activity is unknown. */
static sd_status check_values(const sd_steer *s, const sd_dict *dict, sd_err *err)
{
    const double v[] = {s->value, isinf(s->spec.min) ? 0 : s->lo, isinf(s->spec.max) ? 0 : s->hi};
    for (int i = 0; i < 3; i++)
        if (!(fabs(v[i]) <= MAX_VALUE)) return too_large(s, v[i], err);
    if (dict && s->spec.op == SD_STEER_CLAMP && sd_dict_kind_maps(sd_dict_get_info(dict)->kind)) {
        sd_fail(err, SD_E_ARG, "steer: clamp reads and writes a feature at one site, and feature %lld is read at %s and written at %s", (long long)s->feature,
                sd_dict_site_name(dict), sd_dict_site_out_name(dict));
        return sd_hint(err, "use \"op\":\"add\"");
    }
    if (dict && s->spec.op == SD_STEER_CLAMP && sd_dict_get_info(dict)->kind == SD_DICT_CROSSCODER) {
        sd_fail(err, SD_E_ARG, "steer: clamp reads a feature where it writes, and feature %lld is read at %s together", (long long)s->feature, sd_dict_site_name(dict));
        return sd_hint(err, "use \"op\":\"add\"");
    }
    if (!dict || s->spec.op != SD_STEER_CLAMP || sd_dict_has_threshold(dict)) return SD_OK;
    sd_fail(err, SD_E_ARG, "steer: clamp needs the threshold of feature %lld, and this dictionary was not calibrated", (long long)s->feature);
    return sd_hint(err, "use \"op\":\"add\", or a dictionary trained by sonde");
}

static sd_status resolve_direction(sd_steer *s, const sd_steer_spec *spec, sd_err *err)
{
    double norm2 = 0;
    const float *src = s->dict ? sd_dict_dec_row(s->dict, spec->feature) + s->col : spec->vector;
    for (int64_t i = 0; i < s->d; i++) norm2 += (double)src[i] * (double)src[i];
    if (norm2 == 0 && !s->nothing) return sd_fail(err, SD_E_ARG, "steer: the %s is all zero", s->dict ? "feature's decoder row" : "vector");
    /* A part of a crosscoder's row is shorter than 1: its top activation is worth what the part writes. */
    if (s->dict && sd_dict_get_info(s->dict)->kind == SD_DICT_CROSSCODER && spec->unit == SD_UNIT_MAX_ACT) s->value *= sqrt(norm2), s->lo *= sqrt(norm2), s->hi *= sqrt(norm2);
    bool as_given = spec->op == SD_STEER_ADD && spec->unit == SD_UNIT_RAW;
    if (as_given && !(fabs(s->value) * sqrt(norm2) <= MAX_VALUE)) return too_large(s, s->value * sqrt(norm2), err);
    double f = as_given || norm2 == 0 ? 1 : 1 / sqrt(norm2);
    for (int64_t i = 0; i < s->d; i++) {
        s->u[i] = (float)((double)src[i] * f);
        s->row[i] = src[i];
    }
    return SD_OK;
}

sd_status sd_steer_make(sd_steer **out, const sd_steer_spec *spec, const sd_model *m, const sd_steer_from *from, sd_err *err)
{
    sd_steer *s = NULL;
    double unit;
    const sd_dict *dict = from->dict;
    *out = NULL;
    SD_ASSERT((spec->feature >= 0) == (dict != NULL));
    sd_status st = sd_alloc_zero(&s, sizeof *s, "steer", err);
    if (st) return st;
    s->spec = *spec;
    s->spec.vector = NULL;
    s->spec.list = NULL;
    s->spec.when = NULL;
    s->m = m;
    s->dict = dict;
    s->feature = spec->feature;
    if ((st = sd_steer__site(&s->site, &s->d, spec, m, dict, false, err))) goto done;
    if (dict && sd_dict_get_info(dict)->kind == SD_DICT_CROSSCODER && (st = sd_steer__cross_part(&s->col, &s->d, spec, m, dict, err))) goto done;
    s->nothing = (spec->op == SD_STEER_ADD && spec->value == 0) || (spec->op == SD_STEER_SCALE && spec->value == 1);
    bool has_unit = spec->op != SD_STEER_SCALE && spec->op != SD_STEER_ABLATE && !s->nothing;
    unit = 1;
    if (has_unit && (st = sd_steer__unit(&unit, spec, s->site, dict, from, s->col, err))) goto done;
    s->value = spec->op == SD_STEER_ABLATE ? 0 : spec->value * unit;
    s->lo = spec->min * unit;
    s->hi = spec->max * unit;
    if ((st = check_values(s, dict, err))) goto done;
    if ((st = sd_alloc(&s->u, (size_t)s->d * sizeof(float), "steer", err))) goto done;
    if ((st = sd_alloc(&s->row, (size_t)s->d * sizeof(float), "steer", err))) goto done;
    if ((st = resolve_direction(s, spec, err))) goto done;
    if (spec->n_list) {
        if ((st = sd_alloc(&s->list, (size_t)spec->n_list * sizeof *s->list, "steer", err))) goto done;
        memcpy(s->list, spec->list, (size_t)spec->n_list * sizeof *s->list);
        s->n_list = spec->n_list;
    }
    if (spec->when && (st = sd_steer__when_new(&s->when, spec->when, s->site, m, from, err))) goto done;
    *out = s;
    s = NULL;
done:
    sd_steer_free(s);
    return st;
}

const float *sd_steer_vector(const sd_steer *s, int64_t *d)
{
    *d = s->d;
    return s->row;
}

void sd_steer_free(sd_steer *s)
{
    if (!s) return;
    sd_steer__when_free(s->when);
    sd_free(s->u);
    sd_free(s->row);
    sd_free(s->list);
    sd_free(s);
}

static bool wanted(const sd_steer *s, int64_t pos, int32_t tok)
{
    if (!s->spec.special && sd_tok_is_special(s->m->tok, tok)) return false;
    switch (s->spec.positions) {
    case SD_POS_PROMPT: return pos < s->n_prompt;
    case SD_POS_GENERATED: return pos >= s->n_prompt;
    case SD_POS_LAST: return pos == s->n_prompt - 1;
    case SD_POS_LIST:
        for (int64_t i = 0; i < s->n_list; i++)
            if (s->list[i] == pos) return true;
        return false;
    default: return true;
    }
}

/* Returns the coefficient of the edit along *v: h += c v. */
static double coefficient(const sd_steer *s, const float *h, const float **v)
{
    double p = 0;
    *v = s->u;
    /* A dictionary that scales rows counts activations in scaled units: those of its features are worth the row's scale, those of the row are not. */
    const double scale = s->dict ? sd_dict_row_scale(s->dict, h) : 1;
    if (s->spec.op == SD_STEER_ADD) return s->spec.unit == SD_UNIT_MAX_ACT ? s->value * scale : s->value;
    if (s->spec.op == SD_STEER_CLAMP && s->dict) {
        double z = (double)sd_dict_preact(s->dict, s->feature, h);
        if (z <= (double)sd_dict_threshold(s->dict, s->feature) || z < 0) z = 0;
        *v = s->row;
        return s->spec.unit == SD_UNIT_RAW || s->spec.unit == SD_UNIT_MAX_ACT ? (s->value - z) * scale : s->value - z * scale;
    }
    for (int64_t i = 0; i < s->d; i++) p += (double)s->u[i] * (double)h[i];
    if (s->spec.op == SD_STEER_CLAMP) return s->value - p;
    if (s->spec.op == SD_STEER_CAP) return fmin(fmax(p, s->lo), s->hi) - p;
    return (s->value - 1) * p;
}

static sd_status edit(void *self, sd_act *act, sd_err *err)
{
    sd_steer *s = self;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) {
        const float *v;
        float *h = sd_mat_row(act->x, i);
        if (!wanted(s, act->pos0 + i, act->tok[i]) || (s->when && !sd_steer__when_holds(s->when, act->pos0 + i))) continue;
        float c = (float)coefficient(s, h, &v);
        for (int64_t j = 0; j < s->d; j++) h[j] += c * v[j];
        if (act->pos0 + i < s->counted) continue; /* a step that was stopped is made again */
        s->counted = act->pos0 + i + 1;
        s->n_edited++;
        s->sum_abs += fabs((double)c);
    }
    return SD_OK;
}

sd_status sd_steer_attach_id(sd_steer *s, sd_session *session, int64_t n_prompt, int id[2], sd_err *err)
{
    sd_status st = SD_OK;
    s->n_prompt = n_prompt;
    s->n_edited = s->counted = 0;
    s->sum_abs = 0;
    id[0] = id[1] = -1;
    if (s->nothing && !s->spec.look) return SD_OK;
    /* The condition first: at a site that both share it has to see the row before the edit. */
    if (s->when) st = sd_steer__when_attach(s->when, session, &id[1], err);
    if (st || s->spec.look) return st;
    return sd_session_attach(session, &(sd_hook){.name = "steer", .at = &s->site, .n_at = 1, .mode = SD_HOOK_EDIT, .fn = edit, .self = s}, &id[0], err);
}

sd_status sd_steer_attach(sd_steer *s, sd_session *session, int64_t n_prompt, sd_err *err)
{
    int id[2];
    return sd_steer_attach_id(s, session, n_prompt, id, err);
}

const char *sd_steer_monitor(const sd_steer *s)
{
    return s->when ? sd_steer__when_monitor(s->when) : "";
}

sd_steer_applied sd_steer_get_applied(const sd_steer *s)
{
    sd_steer_applied a = {.site = s->site, .value_raw = s->value, .n_positions = s->n_edited,
                          .mean_abs_change = s->n_edited ? s->sum_abs / (double)s->n_edited : 0};
    if (s->when) sd_steer__when_counts(s->when, &a);
    return a;
}
