/* Owns: the two models' activations on the same prompts, and the walk over pairs of weights. */
#include "lab/audit_inside.h"

#include "lab/ablate.h"
#include "lab/direction.h"

#include "base/rng.h"

#include <inttypes.h>
#include <math.h>

enum { DEFAULT_PROMPTS = 64, POWER_STEPS = 12 };

void sd_inside_release(sd_inside *r)
{
    sd_free(r->cosine);
    sd_free(r->gap_a);
    sd_free(r->gap_b);
    *r = (sd_inside){0};
}

/* ---- activations ---- */

typedef struct sides { const char **text; int64_t *pos, *neg, n_pos, n_neg, n; } sides;

static sd_status gather(sides *s, const sd_inside_opt *o, sd_err *err)
{
    int64_t most = 0, cap = o->n ? o->n : DEFAULT_PROMPTS;
    for (int k = 0; k < o->n_suite; k++) most += o->suite[k].n;
    sd_status st = sd_alloc(&s->text, (size_t)(most + 1) * sizeof *s->text, "prompts", err);
    if (!st) st = sd_alloc(&s->pos, (size_t)(most + 1) * sizeof *s->pos, "prompts", err);
    if (!st) st = sd_alloc(&s->neg, (size_t)(most + 1) * sizeof *s->neg, "prompts", err);
    for (int k = 0; k < o->n_suite && !st; k++)
        for (int64_t i = 0; i < o->suite[k].n; i++) {
            const sd_prompt *p = &o->suite[k].v[i];
            if (p->axis == SD_AXIS_HARMFUL && s->n_pos < cap) s->pos[s->n_pos++] = s->n;
            else if (p->axis == SD_AXIS_HARMLESS && s->n_neg < cap) s->neg[s->n_neg++] = s->n;
            else continue;
            s->text[s->n++] = p->text;
        }
    return st;
}

/* [n_layer, d] of one model; also its token ids, so that two tokenizers can be told apart. */
static sd_status directions(float *out, sd_rendered *r, const sd_exec *ex, const sd_model *m, const sides *s, const sd_inside_opt *o, sd_err *err)
{
    sd_batch *b = NULL;
    sd_status st = sd_render(r, m, s->text, s->n, &(sd_render_opt){.system = o->system}, err);
    if (!st) st = sd_batch_open(&b, ex, m, r, &(sd_batch_opt){0}, err);
    if (!st) st = sd_lab_mean_diff(out, b, m, &(sd_sides){s->pos, s->neg, s->n_pos, s->n_neg}, 1, err);
    sd_batch_close(b);
    return st;
}

static bool same_ids(const sd_rendered *a, const sd_rendered *b)
{
    return a->n == b->n && memcmp(a->start, b->start, (size_t)(a->n + 1) * sizeof *a->start) == 0 &&
           memcmp(a->ids, b->ids, (size_t)a->start[a->n] * sizeof *a->ids) == 0;
}

static sd_status activations(sd_inside *out, const sd_exec *ex, const sd_model *a, const sd_model *b, const sides *s, const sd_inside_opt *o, sd_err *err)
{
    int64_t d = a->cfg.d_model, n = (int64_t)a->cfg.n_layer * d;
    float *u = NULL, *v = NULL, *unit = NULL;
    sd_rendered ra = {0}, rb = {0};
    sd_status st = sd_alloc(&u, (size_t)n * sizeof *u, "directions", err);
    if (!st) st = sd_alloc(&v, (size_t)n * sizeof *v, "directions", err);
    if (!st) st = sd_alloc(&unit, (size_t)d * sizeof *unit, "directions", err);
    if (!st) st = sd_alloc(&out->cosine, (size_t)a->cfg.n_layer * sizeof(float), "directions", err);
    if (!st) st = sd_alloc(&out->gap_a, (size_t)a->cfg.n_layer * sizeof(float), "directions", err);
    if (!st) st = sd_alloc(&out->gap_b, (size_t)a->cfg.n_layer * sizeof(float), "directions", err);
    if (!st) st = directions(u, &ra, ex, a, s, o, err);
    if (!st) st = directions(v, &rb, ex, b, s, o, err);
    if (!st && !same_ids(&ra, &rb)) {
        out->comparable = false;
        snprintf(out->why, sizeof out->why, "the two models cut the prompts into different tokens: behaviour only");
    }
    for (int l = 0; l < a->cfg.n_layer && !st && out->comparable; l++) {
        bool some = sd_unit(unit, u + l * d, d);
        out->cosine[l] = (float)sd_cosine(u + l * d, v + l * d, d);
        out->gap_a[l] = some ? (float)sd_dot(unit, u + l * d, d) : NAN;
        out->gap_b[l] = some ? (float)sd_dot(unit, v + l * d, d) : NAN;
    }
    out->n_layer = a->cfg.n_layer;
    sd_rendered_release(&ra);
    sd_rendered_release(&rb);
    sd_free(u);
    sd_free(v);
    sd_free(unit);
    return st;
}

/* ---- weights ---- */

/* Largest singular value of D [rows, cols] squared, by power iteration on D^T D from a fixed start. */
static double sigma1_squared(const float *D, int64_t rows, int64_t cols, float *x, float *y)
{
    sd_rng rng = sd_rng_make(0, "power iteration", 0);
    double norm = 0;
    for (int64_t j = 0; j < cols; j++) x[j] = sd_rng_normal(&rng);
    sd_unit(x, x, cols);
    for (int t = 0; t < POWER_STEPS; t++) {
        for (int64_t i = 0; i < rows; i++) y[i] = (float)sd_dot(D + i * cols, x, cols);
        norm = sd_dot(y, y, rows);
        memset(x, 0, (size_t)cols * sizeof *x);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++) x[j] += y[i] * D[i * cols + j];
        if (!sd_unit(x, x, cols)) break;
    }
    return norm;
}

static void keep_top(sd_inside *out, sd_weight_change w)
{
    int at = out->n_top;
    while (at > 0 && out->top[at - 1].relative < w.relative) at--;
    if (at == SD_MAX_WEIGHTS) return;
    int last = out->n_top < SD_MAX_WEIGHTS ? out->n_top : SD_MAX_WEIGHTS - 1;
    for (int i = last; i > at; i--) out->top[i] = out->top[i - 1];
    out->top[at] = w;
    out->n_top = last + 1;
}

/* One matrix of both; D [rows, cols], x [cols], y [rows] are scratch. */
static void one_matrix(sd_inside *out, const sd_tensor *ta, const sd_tensor *tb, float *D, float *x, float *y, double sum[2])
{
    int64_t rows = ta->dim[0], cols = ta->dim[1];
    sd_wmat a = {.data = ta->data, .dtype = ta->dtype, .rows = rows, .cols = cols}, b = {.data = tb->data, .dtype = tb->dtype, .rows = rows, .cols = cols};
    double base = 0, change = 0;
    for (int64_t i = 0; i < rows; i++) {
        sd_wmat_decode_row(x, &a, i);
        base += sd_dot(x, x, cols);
        sd_wmat_decode_row(D + i * cols, &b, i);
        for (int64_t j = 0; j < cols; j++) D[i * cols + j] -= x[j];
        change += sd_dot(D + i * cols, D + i * cols, cols);
    }
    sum[0] += base;
    sum[1] += change;
    out->n_matrix++;
    if (!(change > 0)) return;
    out->n_changed++;
    sd_weight_change w = {.relative = base > 0 ? sqrt(change / base) : INFINITY, .rank_one = sigma1_squared(D, rows, cols, x, y) / change};
    snprintf(w.name, sizeof w.name, "%.*s", SD_SLICE(ta->name));
    keep_top(out, w);
}

static sd_status weights(sd_inside *out, const sd_model *a, const sd_model *b, const sd_progress *progress, sd_err *err)
{
    float *D = NULL, *x = NULL, *y = NULL;
    int64_t most = 0, longest = 0, n = sd_weights_count(a->weights);
    double sum[2] = {0};
    sd_status st = SD_OK;
    out->weights_comparable = sd_weights_container(a->weights) == sd_weights_container(b->weights);
    for (int64_t i = 0; i < n; i++) {
        const sd_tensor *t = sd_weights_at(a->weights, i);
        if (t->rank != 2) continue;
        if (t->dim[0] * t->dim[1] > most) most = t->dim[0] * t->dim[1];
        if (t->dim[0] > longest) longest = t->dim[0];
        if (t->dim[1] > longest) longest = t->dim[1];
    }
    if (!out->weights_comparable || most == 0) {
        out->weights_comparable = false;
        return SD_OK;
    }
    if (!st) st = sd_alloc(&D, (size_t)most * sizeof *D, "a change of weights", err);
    if (!st) st = sd_alloc(&x, (size_t)longest * sizeof *x, "a change of weights", err);
    if (!st) st = sd_alloc(&y, (size_t)longest * sizeof *y, "a change of weights", err);
    for (int64_t i = 0; i < n && !st; i++) {
        char name[256];
        const sd_tensor *t = sd_weights_at(a->weights, i), *u;
        if (t->rank != 2 || t->name.n >= sizeof name) continue;
        snprintf(name, sizeof name, "%.*s", SD_SLICE(t->name));
        u = sd_weights_find(b->weights, name);
        if (!u || u->rank != 2 || u->dim[0] != t->dim[0] || u->dim[1] != t->dim[1]) continue;
        one_matrix(out, t, u, D, x, y, sum);
        sd_progress_update(progress, "weights", (double)(i + 1), (double)n, "tensors");
        if (sd_progress_cancelled(progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %" PRId64 " of %" PRId64 " tensors", i + 1, n);
    }
    out->weight_total = sum[0] > 0 ? sqrt(sum[1] / sum[0]) : NAN;
    out->weights_comparable = out->n_matrix > 0;
    sd_free(D);
    sd_free(x);
    sd_free(y);
    return st;
}

sd_status sd_lab_inside(sd_inside *out, const sd_exec *ex, const sd_model *a, const sd_model *b, const sd_inside_opt *opt, sd_err *err)
{
    sides s = {0};
    *out = (sd_inside){.comparable = true};
    if (a->cfg.n_layer != b->cfg.n_layer || a->cfg.d_model != b->cfg.d_model || a->cfg.n_vocab != b->cfg.n_vocab) {
        out->comparable = false;
        snprintf(out->why, sizeof out->why, "the models have other sizes (%d and %d blocks, width %" PRId64 " and %" PRId64 "): behaviour only", a->cfg.n_layer, b->cfg.n_layer,
                 a->cfg.d_model, b->cfg.d_model);
        return SD_OK;
    }
    sd_status st = gather(&s, opt, err);
    out->n_harmful = s.n_pos;
    out->n_harmless = s.n_neg;
    if (!st && (s.n_pos < 2 || s.n_neg < 2)) {
        out->comparable = false;
        snprintf(out->why, sizeof out->why, "the suites hold no harmful or no harmless prompts: behaviour only");
    }
    if (!st && out->comparable) st = activations(out, ex, a, b, &s, opt, err);
    if (!st) st = weights(out, a, b, opt->progress, err);
    sd_free(s.text);
    sd_free(s.pos);
    sd_free(s.neg);
    if (st) sd_inside_release(out);
    return st;
}
