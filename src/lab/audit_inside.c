/* Owns: the two models' activations on the same prompts, and the walk over pairs of weights. */
#include "lab/audit_inside.h"

#include "lab/ablate.h"
#include "lab/direction.h"
#include "model/lora.h"

#include "base/rng.h"
#include "num/quantize.h"

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

int64_t sd_inside_rows(int64_t *perhaps, const sd_inside_opt *o)
{
    int64_t n[2] = {0}, rows[2] = {0}, cap = o->n ? o->n : DEFAULT_PROMPTS;
    for (int k = 0; k < o->n_suite; k++)
        for (int64_t i = 0; i < o->suite[k].n; i++) {
            const sd_prompt *p = &o->suite[k].v[i];
            int which = p->axis == SD_AXIS_HARMLESS;
            if ((p->axis != SD_AXIS_HARMFUL && !which) || n[which] == cap) continue;
            n[which]++;
            rows[which] += sd_behave_tokens(p->text);
        }
    int64_t read = 2 * (rows[0] + rows[1]), answers = rows[0] + n[0] * sd_raised_length(o->n_gen);
    *perhaps = o->dict ? (2 + SD_RAISED + SD_RAISED_FLOORS) * answers : 0;
    return o->dict ? 2 * read : read; /* once for directions, once for features */
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

/* Features of the dictionary in both models; the prompts' order is made harmful first. */
static sd_status drift(sd_inside *out, const sd_exec *ex, const sd_model *const m[2], const sd_rendered *r, const sides *s, const sd_inside_opt *o, sd_err *err)
{
    sd_text_codes z[2] = {{0}, {0}}, by_kind[2] = {{0}, {0}};
    sd_status st = SD_OK;
    for (int k = 0; k < 2 && !st; k++) {
        st = sd_lab_text_codes(&z[k], &(sd_text_reader){.ex = ex, .m = m[k], .dict = o->dict, .site = o->site}, r, o->progress, err);
        if (!st) st = sd_alloc(&by_kind[k].v, (size_t)(r->n + 1) * sizeof *by_kind[k].v, "codes", err);
        for (int64_t i = 0; i < s->n_pos && !st; i++) by_kind[k].v[by_kind[k].n++] = z[k].v[s->pos[i]];
        for (int64_t i = 0; i < s->n_neg && !st; i++) by_kind[k].v[by_kind[k].n++] = z[k].v[s->neg[i]];
    }
    if (!st) st = sd_drift_of(&out->drift, &(sd_drift_in){&by_kind[0], &by_kind[1], s->n_pos, sd_dict_get_info(o->dict)->m, o->seed}, err);
    if (!st) st = sd_raised_of(&out->raised, &(sd_raised_in){ex, {m[0], m[1]}, o->dict, o->site, r, s->pos, s->n_pos, &z[0], &z[1], o->phrases, o->n_gen, o->seed, o->progress}, err);
    out->has_drift = !st;
    for (int k = 0; k < 2; k++) {
        sd_text_codes_release(&z[k]);
        sd_free(by_kind[k].v);
    }
    return st;
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
    if (!st && o->dict && out->comparable) st = drift(out, ex, (const sd_model *const[]){a, b}, &ra, s, o, err);
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

/* One side's rows as numbers, with its adapter on them. */
typedef struct side { const sd_model *m; sd_lora *lora; } side;

static void decode(float *to, const sd_wmat *w, const sd_lora_mat *lora, int64_t row)
{
    sd_wmat_decode_row(to, w, row);
    if (lora && lora->rank) sd_lora_merge(to, w->cols, lora, row, 1);
}

/* A matrix of both: wa and wb of one shape, with their adapters or NULL; D [rows, cols], x and y [longest] are scratch. */
typedef struct matrix_pair { const char *name; const sd_wmat *wa, *wb; const sd_lora_mat *la, *lb; } matrix_pair;
typedef struct scratch { float *D, *x, *y; void *q; double base, change, q_base, q_change, rounding; } scratch;

/* Square of what rounding A's row x [cols] to type t alone changes. y [cols] is scratch. */
static double rounding_of(const float *x, sd_dtype t, int64_t cols, scratch *s)
{
    double sum = 0;
    sd_quantize_row(s->q, t, x, cols);
    sd_wmat_decode_row(s->y, &(sd_wmat){.data = s->q, .dtype = t, .rows = 1, .cols = cols}, 0);
    for (int64_t j = 0; j < cols; j++) sum += ((double)s->y[j] - (double)x[j]) * ((double)s->y[j] - (double)x[j]);
    return sum;
}

static sd_status one_matrix(sd_inside *out, const matrix_pair *p, scratch *s, sd_err *err)
{
    int64_t rows = p->wa->rows, cols = p->wa->cols;
    double base = 0, change = 0, rounding = 0;
    sd_dtype t = p->wb->dtype;
    bool coarser = sd_quantize_can(t) && sd_dtype_row_bytes(t, cols) > 0 && sd_dtype_row_bytes(t, cols) < sd_dtype_row_bytes(p->wa->dtype, cols);
    for (int64_t i = 0; i < rows; i++) {
        decode(s->x, p->wa, p->la, i);
        base += sd_dot(s->x, s->x, cols);
        if (coarser) rounding += rounding_of(s->x, t, cols, s);
        decode(s->D + i * cols, p->wb, p->lb, i);
        for (int64_t j = 0; j < cols; j++) s->D[i * cols + j] -= s->x[j];
        change += sd_dot(s->D + i * cols, s->D + i * cols, cols);
    }
    if (!isfinite(base) || !isfinite(change)) return sd_fail(err, SD_E_FORMAT, "%s of one of the models holds a number that is not finite: nothing can be said of how such weights changed", p->name);
    if (coarser) {
        out->n_requantised++;
        s->q_base += base;
        s->q_change += change;
        s->rounding += rounding;
    }
    s->base += base;
    s->change += change;
    out->n_matrix++;
    if (!(change > 0)) return SD_OK;
    out->n_changed++;
    sd_weight_change w = {.relative = base > 0 ? sqrt(change / base) : INFINITY, .rank_one = sigma1_squared(s->D, rows, cols, s->x, s->y) / change};
    snprintf(w.name, sizeof w.name, "%s", p->name);
    keep_top(out, w);
    return SD_OK;
}

static const char *const role_name[SD_MAT_COUNT] = {"q", "k", "v", "o", "gate", "up", "down"};

static sd_status walk(sd_inside *out, const side *a, const side *b, scratch *s, const sd_progress *progress, sd_err *err)
{
    for (int l = 0; l < a->m->n_layer_loaded; l++) {
        for (int k = 0; k < SD_MAT_COUNT; k++) {
            char name[32];
            const sd_wmat *wa = &a->m->block[l].mat[k].w, *wb = &b->m->block[l].mat[k].w;
            if (!wa->data || !wb->data || wa->rows != wb->rows || wa->cols != wb->cols) continue;
            snprintf(name, sizeof name, "block %d, %s", l, role_name[k]);
            sd_status st = one_matrix(out, &(matrix_pair){name, wa, wb, a->lora ? &a->lora->mat[l][k] : NULL, b->lora ? &b->lora->mat[l][k] : NULL}, s, err);
            if (st) return st;
        }
        sd_progress_update(progress, "weights", l + 1, a->m->n_layer_loaded, "blocks");
        if (sd_progress_cancelled(progress)) return sd_fail(err, SD_E_CANCELLED, "stopped after the weights of %d of %d blocks", l + 1, a->m->n_layer_loaded);
    }
    return SD_OK;
}

/* Matrices of blocks, in Hugging Face's order of rows whatever the container, so that a folder and a quantised file can be told apart too. */
static sd_status weights(sd_inside *out, const sd_model *ma, const sd_model *mb, const sd_inside_opt *o, sd_err *err)
{
    scratch s = {0};
    side a = {ma, NULL}, b = {mb, NULL};
    int64_t most = 0, longest = 0;
    for (int l = 0; l < ma->n_layer_loaded; l++)
        for (int k = 0; k < SD_MAT_COUNT; k++) {
            const sd_wmat *w = &ma->block[l].mat[k].w;
            if (w->rows * w->cols > most) most = w->rows * w->cols;
            if (w->rows > longest) longest = w->rows;
            if (w->cols > longest) longest = w->cols;
        }
    sd_status st = sd_alloc(&s.D, (size_t)most * sizeof *s.D, "a change of weights", err);
    if (!st) st = sd_alloc(&s.x, (size_t)longest * sizeof *s.x, "a change of weights", err);
    if (!st) st = sd_alloc(&s.q, (size_t)longest * sizeof(float), "a row in another type", err);
    if (!st) st = sd_alloc(&s.y, (size_t)longest * sizeof *s.y, "a change of weights", err);
    if (!st && o->adapter_a && *o->adapter_a) st = sd_lora_read(&a.lora, ma, o->adapter_a, err);
    if (!st && o->adapter_b && *o->adapter_b) st = sd_lora_read(&b.lora, mb, o->adapter_b, err);
    if (!st) st = walk(out, &a, &b, &s, o->progress, err);
    out->weight_total = s.base > 0 ? sqrt(s.change / s.base) : NAN;
    out->requantised = s.q_base > 0 ? sqrt(s.q_change / s.q_base) : NAN;
    out->rounding = s.q_base > 0 ? sqrt(s.rounding / s.q_base) : NAN;
    out->weights_comparable = out->n_matrix > 0;
    sd_lora_free(a.lora);
    sd_lora_free(b.lora);
    sd_free(s.D);
    sd_free(s.q);
    sd_free(s.x);
    sd_free(s.y);
    return st;
}

sd_status sd_lab_inside(sd_inside *out, const sd_exec *ex, const sd_model *a, const sd_model *b, const sd_inside_opt *opt, sd_err *err)
{
    sides s = {0};
    *out = (sd_inside){.comparable = true};
    if (a->cfg.n_layer != b->cfg.n_layer || a->cfg.d_model != b->cfg.d_model || a->cfg.n_vocab != b->cfg.n_vocab) {
        out->comparable = false;
        snprintf(out->why, sizeof out->why, "the models have other sizes (%d and %d blocks, width %" PRId64 " and %" PRId64 ", %" PRId64 " and %" PRId64 " tokens): behaviour only", a->cfg.n_layer,
                 b->cfg.n_layer, a->cfg.d_model, b->cfg.d_model, a->cfg.n_vocab, b->cfg.n_vocab);
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
    if (out->has_drift) sd_site_print(out->drift.site, sizeof out->drift.site, opt->site);
    if (!st) st = weights(out, a, b, opt, err);
    sd_free(s.text);
    sd_free(s.pos);
    sd_free(s.neg);
    if (st) sd_inside_release(out);
    return st;
}
