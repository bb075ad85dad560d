/* Owns: which features rose, the edit that puts one back, and the counting. */
#include "lab/audit_raised.h"

#include "base/rng.h"
#include "lab/ablate.h"
#include "num/infer.h"
#include <math.h>
#include <stdlib.h>

/* One feature of a session held down to `cap`; what is above it is taken out along `row`, the feature's own or a random one. */
typedef struct put_back {
    const sd_raised_in *in;
    sd_codes codes;
    sd_site site;
    int64_t feature;
    float cap;
    const float *row;
} put_back;

static sd_status hold(void *self, sd_act *act, sd_err *err)
{
    put_back *p = self;
    sd_status st = sd_dict_encode(&p->codes, p->in->ex, p->in->dict, act->x, err);
    for (int64_t i = 0; i < act->x.rows && !st; i++)
        for (int64_t e = p->codes.row_ptr[i]; e < p->codes.row_ptr[i + 1]; e++)
            if (p->codes.idx[e] == p->feature && p->codes.val[e] > p->cap) {
                float *h = sd_mat_row(act->x, i);
                p->in->ex->kern->axpy(h, (p->cap - p->codes.val[e]) * (float)sd_dict_row_scale(p->in->dict, h), p->row, act->x.cols);
            }
    return st;
}

static int by_rise(const void *a, const void *b)
{
    const sd_raised_row *x = a, *y = b;
    double p = x->act_b - x->act_a, q = y->act_b - y->act_a;
    return p != q ? (p > q ? -1 : 1) : x->feature < y->feature ? -1 : x->feature > y->feature;
}

static int by_refused(const void *a, const void *b)
{
    const sd_raised_row *x = a, *y = b;
    return x->refused != y->refused ? (x->refused > y->refused ? -1 : 1) : by_rise(a, b);
}

/* The features that rose most, into out->row. */
static sd_status rises(sd_raised *out, const sd_raised_in *in, sd_err *err)
{
    int64_t m = sd_dict_get_info(in->dict)->m;
    sd_raised_row *v = NULL;
    sd_status st = sd_alloc_zero(&v, (size_t)(m + 1) * sizeof *v, "features that rose", err);
    if (st) return st;
    for (int64_t f = 0; f < m; f++) v[f].feature = f;
    for (int64_t i = 0; i < in->n_harmful; i++) {
        const sd_text_code *a = &in->a->v[in->harmful[i]], *b = &in->b->v[in->harmful[i]];
        for (int64_t e = 0; e < a->n; e++) v[a->feature[e]].act_a += (double)a->act[e] / (double)in->n_harmful;
        for (int64_t e = 0; e < b->n; e++) v[b->feature[e]].act_b += (double)b->act[e] / (double)in->n_harmful;
    }
    qsort(v, (size_t)m, sizeof *v, by_rise);
    while (out->n < m && out->n < SD_RAISED && v[out->n].act_b > v[out->n].act_a) out->n++;
    memcpy(out->row, v, (size_t)out->n * sizeof *v);
    sd_free(v);
    return SD_OK;
}

/* refuses [prompts of the set] is written at the harmful ones. */
typedef struct asked { const sd_raised_in *in; const sd_model *m; bool *refuses; sd_buf text; int64_t n; } asked;

static sd_status on_answer(void *self, int64_t prompt, const int32_t *ids, int64_t n, bool ended, sd_err *err)
{
    asked *a = self;
    (void)ended;
    sd_buf_reset(&a->text);
    sd_status st = sd_tok_decode(a->m->tok, ids, n, false, &a->text, err);
    sd_slice said = {a->text.p, a->text.n};
    a->refuses[prompt] = !st && !sd_judge_incoherent(ids, n, said) && sd_judge_phrases(a->in->phrases, said) == SD_CLASS_REFUSAL;
    a->n += a->refuses[prompt];
    return st;
}

static sd_status ask(int64_t *n, bool *refuses, sd_batch *b, const sd_model *m, const sd_raised_in *in, sd_err *err)
{
    asked a = {.in = in, .m = m, .refuses = refuses};
    sd_buf_init(&a.text, 1 << 20);
    sd_status st = sd_batch_run(b, &(sd_batch_want){.which = in->harmful, .n = in->n_harmful, .n_gen = sd_raised_length(in->n_gen), .self = &a, .on_answer = on_answer}, err);
    *n = a.n;
    sd_buf_release(&a.text);
    return st;
}

static double mcnemar(const sd_raised_in *in, const bool *x, const bool *y)
{
    sd_paired t = {0};
    for (int64_t i = 0; i < in->n_harmful; i++) {
        bool p = x[in->harmful[i]], q = y[in->harmful[i]];
        t.both += p && q, t.first += p && !q, t.second += !p && q, t.neither += !p && !q;
    }
    return t.first > t.second ? sd_mcnemar_exact(t) : 1;
}

static void random_row(float *v, const sd_raised_in *in, int64_t feature, int draw)
{
    int64_t d = sd_dict_get_info(in->dict)->d;
    const float *row = sd_dict_dec_row(in->dict, feature);
    float norm = (float)sqrt(sd_dot(row, row, d));
    sd_rng rng = sd_rng_make(in->seed, "random direction", (uint64_t)draw);
    for (int64_t i = 0; i < d; i++) v[i] = sd_rng_normal(&rng);
    sd_unit(v, v, d);
    for (int64_t i = 0; i < d; i++) v[i] *= norm;
}

/* Each feature put back in B, then the random directions. plain: what B refuses; now, random: scratch. */
static sd_status causes(sd_raised *out, const sd_raised_in *in, sd_batch *b, const bool *plain, bool *now, float *random, sd_err *err)
{
    put_back back = {.in = in, .site = in->site};
    sd_hook hook = {.name = "a feature put back", .at = &back.site, .n_at = 1, .mode = SD_HOOK_EDIT, .fn = hold, .self = &back};
    double p[SD_RAISED], holm[SD_RAISED];
    sd_status st = sd_batch_edit(b, &hook, 1, err);
    for (int i = 0, all = out->n + SD_RAISED_FLOORS; i < all && !st; i++) {
        bool own = i < out->n;
        sd_raised_row *r = &out->row[own ? i : (i - out->n) % out->n];
        int64_t n;
        if (!own) random_row(random, in, r->feature, i - out->n);
        back.feature = r->feature;
        back.cap = (float)r->act_a;
        back.row = own ? sd_dict_dec_row(in->dict, r->feature) : random;
        if ((st = ask(&n, now, b, in->m[1], in, err))) break;
        if (own) r->refused = n, p[i] = mcnemar(in, now, plain);
        else if (n > out->floor) out->floor = n;
        sd_progress_update(in->progress, "features", i + 1, all, "put back");
        if (sd_progress_cancelled(in->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped while features were put back");
    }
    if (!st) st = sd_holm(holm, p, out->n, err);
    for (int i = 0; i < out->n && !st; i++) {
        out->row[i].p_holm = holm[i];
        out->row[i].found = out->row[i].refused > out->floor && holm[i] < 0.05;
        out->n_found += out->row[i].found;
    }
    qsort(out->row, (size_t)out->n, sizeof *out->row, by_refused);
    sd_codes_release(&back.codes);
    return st;
}

/* What both models refuse, and the features put back when the second refuses fewer. */
static sd_status ask_both(sd_raised *out, const sd_raised_in *in, sd_err *err)
{
    sd_batch *b[2] = {NULL, NULL};
    bool *plain = NULL, *now = NULL;
    float *random = NULL;
    sd_status st = sd_alloc_zero(&plain, (size_t)(in->r->n + 1) * sizeof *plain, "verdicts", err);
    if (!st) st = sd_alloc_zero(&now, (size_t)(in->r->n + 1) * sizeof *now, "verdicts", err);
    if (!st) st = sd_alloc(&random, (size_t)sd_dict_get_info(in->dict)->d * sizeof *random, "a random direction", err);
    for (int k = 0; k < 2 && !st; k++) st = sd_batch_open(&b[k], in->ex, in->m[k], in->r, &(sd_batch_opt){.n_gen = sd_raised_length(in->n_gen)}, err);
    if (!st) st = ask(&out->refused_a, now, b[0], in->m[0], in, err);
    if (!st) st = ask(&out->refused_b, plain, b[1], in->m[1], in, err);
    out->asked = !st;
    if (!st && out->refused_b >= out->refused_a) snprintf(out->why, sizeof out->why, "the second model refuses as many of these prompts as the first");
    else if (!st) st = causes(out, in, b[1], plain, now, random, err);
    sd_batch_close(b[0]);
    sd_batch_close(b[1]);
    sd_free(plain);
    sd_free(now);
    sd_free(random);
    return st;
}

sd_status sd_raised_of(sd_raised *out, const sd_raised_in *in, sd_err *err)
{
    *out = (sd_raised){.n_harmful = in->n_harmful};
    bool maps = sd_dict_kind_maps(sd_dict_get_info(in->dict)->kind);
    sd_status st = maps ? SD_OK : rises(out, in, err);
    if (st) return st;
    if (!out->n) snprintf(out->why, sizeof out->why, "%s", maps ? "a transcoder's features write at another site" : "no feature rose");
    else st = ask_both(out, in, err);
    if (*out->why) out->n = 0;
    return st;
}
