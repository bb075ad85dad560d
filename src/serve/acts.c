/* Owns: the way from ids to codes: a watching hook gathers the rows, the engine encodes them when the prompt has run. */
#include "serve/acts.h"

#include "num/stats.h"
#include "lab/token_text.h"

typedef struct gather {
    sd_acts *out;
    const sd_exec *ex;
    float *x;           /* [n, d] */
    int64_t n, d;
    sd_status st;
    sd_err err;
} gather;

static sd_status on_rows(void *self, sd_act *act, sd_err *err)
{
    gather *g = self;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) memcpy(g->x + (act->pos0 + i) * g->d, sd_mat_row(act->x, i), (size_t)g->d * sizeof *g->x);
    return SD_OK;
}

static void encode(void *self)
{
    gather *g = self;
    double limit = SD_SINK_FACTOR * sd_dict_get_info(g->out->dict->dict)->site_rms;
    for (int64_t i = 0; i < g->n; i++) {
        double norm2 = 0;
        for (int64_t j = 0; j < g->d; j++) norm2 += (double)g->x[i * g->d + j] * (double)g->x[i * g->d + j];
        g->out->sink[i] = limit > 0 && norm2 > limit * limit;
    }
    g->st = sd_dict_encode(&g->out->codes, g->ex, g->out->dict->dict, sd_mat_of(g->x, g->n, g->d), &g->err);
}

int sd_acts__run(sd_acts *out, sd_server *s, const sd_reg_dict *d, sd_ids *ids, const sd_request *rq, sd_problem *p)
{
    sd_err err = {0};
    sd_job *job = NULL;
    gather g = {.out = out, .ex = s->opt.ex, .n = ids->n, .d = sd_dict_get_info(d->dict)->d};
    sd_hook hook = {.name = "activations", .at = &d->site, .n_at = 1, .mode = SD_HOOK_READ, .fn = on_rows, .self = &g};
    int http = 0;
    out->dict = d;
    out->ids = *ids;
    *ids = (sd_ids){0};
    if ((http = sd_body__fits(s, g.n, false, NULL, p))) return http;
    sd_status st = sd_job_new(&job, 1, &err);
    if (!st) st = sd_alloc(&g.x, (size_t)(g.n * g.d + 1) * sizeof *g.x, "activations", &err);
    if (!st) st = sd_alloc_zero(&out->sink, (size_t)(g.n + 1) * sizeof *out->sink, "activations", &err);
    if (!st) st = sd_ids_add(&job->seq[0].ids, out->ids.v, out->ids.n, &err);
    if (!st) {
        job->seq[0].watch = &hook;
        job->after = encode;
        job->self = &g;
    }
    http = st ? sd_problem_of(p, &err, NULL) : sd_job__run(s, job, rq, p);
    if (!http && g.st) http = sd_problem_of(p, &g.err, NULL);
    sd_job_free(job);
    sd_free(g.x);
    return http;
}

void sd_acts__release(sd_acts *a)
{
    sd_ids_release(&a->ids);
    sd_codes_release(&a->codes);
    sd_free(a->sink);
}

float sd_acts__at(const sd_acts *a, int64_t i, int64_t f)
{
    int64_t lo = a->codes.row_ptr[i], hi = a->codes.row_ptr[i + 1];
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (a->codes.idx[mid] < f) lo = mid + 1;
        else hi = mid;
    }
    return lo < a->codes.row_ptr[i + 1] && a->codes.idx[lo] == f ? a->codes.val[lo] : 0;
}

static void keep(sd_act_peak *out, int64_t *n, int64_t cap, const sd_act_peak *v)
{
    int64_t at = *n < cap ? (*n)++ : *n;
    while (at > 0 && out[at - 1].max < v->max) {
        if (at < cap) out[at] = out[at - 1];
        at--;
    }
    if (at < cap) out[at] = *v;
}

int64_t sd_acts__peaks(sd_act_peak *out, int64_t n_out, const sd_acts *a, const sd_tok *tok, const bool *on)
{
    int64_t m = sd_dict_get_info(a->dict->dict)->m, n = 0;
    sd_act_peak *all = sd_calloc((size_t)m * sizeof *all);
    if (!all) return -1;
    for (int64_t i = 0; i < a->ids.n; i++) {
        if (on ? !on[i] : a->sink[i] || sd_tok_is_special(tok, a->ids.v[i])) continue;
        for (int64_t k = a->codes.row_ptr[i]; k < a->codes.row_ptr[i + 1]; k++) {
            sd_act_peak *v = &all[a->codes.idx[k]];
            if (a->codes.val[k] > v->max) v->max = a->codes.val[k], v->at = (int32_t)i;
            v->sum += (double)a->codes.val[k];
            v->n++;
        }
    }
    for (int64_t f = 0; f < m; f++) {
        all[f].feature = (int32_t)f;
        if (all[f].n) keep(out, &n, n_out, &all[f]);
    }
    sd_free(all);
    return n;
}

void sd_acts__token(sd_jw *w, const sd_tok *tok, int32_t id)
{
    sd_slice t = sd_tok_bytes(tok, id);
    sd_buf b;
    if (sd_utf8_valid_prefix(t) == t.n) {
        sd_jw_slice(w, t);
        return;
    }
    sd_buf_init(&b, 1 << 16);
    sd_token_show(&b, t);
    sd_jw_slice(w, (sd_slice){b.p ? b.p : "", b.n});
    sd_buf_release(&b);
}

int sd_acts__dict(const sd_reg_dict **out, const sd_server *s, const char *name, const char *param, sd_problem *p)
{
    const sd_reg_dict *d = name ? sd_registry__dict(s, name) : s->n_dict == 1 ? &s->dict[0] : NULL;
    if (!name && !d) return sd_problem_set(p, 400, param, "%s is missing: there are %d dictionaries here", param, s->n_dict);
    if (!d) return sd_problem_set(p, 404, param, "there is no dictionary '%.80s' here: dictionaries are registered when the server starts (--dict)", name);
    if (sd_dict_get_info(d->dict)->kind == SD_DICT_CROSSCODER)
        return sd_problem_set(p, 400, param, "the dictionary '%s' is a crosscoder: its features are read at %s together, not at one site of a text", d->name, sd_dict_site_name(d->dict));
    if (!d->has_site) return sd_problem_set(p, 400, param, "the dictionary '%s' does not say its site", d->name);
    *out = d;
    return 0;
}
