/* Owns: what both kinds of evidence share, and their verdict. */
#include "lab/tamper_int.h"

#include "lab/ablate.h"

#include "base/rng.h"

#include <math.h>

const char *const sd_tamper_limits[] = {
    "refusals that were trained away (a fine-tune, an adapter) leave no missing direction: ask with `audit compare`",
    "without a reference: an edit of fewer than a quarter of the blocks, of half of the direction or less, or of a strength that changes from block to block",
    "whoever trains on after the edit fills the direction again",
    "a reference that was edited the same way hides everything",
    "a direction that is missing says nothing about what it stood for: any concept can be erased like this",
    "triggers, chat templates and tokenizers are not weights: no claim about them",
    NULL};

const char *const sd_tamper__role_name[SD_MAT_COUNT] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

const char *sd_tamper_kind_name(sd_tamper_kind k)
{
    static const char *const name[] = {"o_proj", "down_proj", "o_proj and down_proj"};
    return name[k];
}

void sd_tamper_release(sd_tamper *t)
{
    sd_free(t->attn);
    sd_free(t->mlp);
    sd_free(t->ref.v);
    *t = (sd_tamper){0};
}

void sd_tamper__random(float *v, int64_t n, int64_t d, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        sd_rng rng = sd_rng_make(seed, "tamper", (uint64_t)i);
        for (int64_t t = 0; t < d; t++) v[i * d + t] = sd_rng_normal(&rng);
        sd_unit(v + i * d, v + i * d, d);
    }
}

double sd_tamper__decode(float *to, const sd_wmat *w)
{
    double sum = 0;
    for (int64_t r = 0; r < w->rows; r++) {
        sd_wmat_decode_row(to + r * w->cols, w, r);
        sum += sd_dot(to + r * w->cols, to + r * w->cols, w->cols);
    }
    return sum;
}

void sd_tamper__sizes(const sd_model *m, int64_t *elements, int64_t *side)
{
    *elements = *side = 0;
    for (int l = 0; l < m->n_layer_loaded; l++)
        for (int k = 0; k < SD_MAT_COUNT; k++) {
            const sd_wmat *w = &m->block[l].mat[k].w;
            if (!w->data) continue;
            if (w->rows * w->cols > *elements) *elements = w->rows * w->cols;
            if (w->rows > *side) *side = w->rows;
            if (w->cols > *side) *side = w->cols;
        }
}

static sd_status same_sizes(const sd_model *a, const sd_model *b, sd_err *err)
{
    if (a->cfg.n_layer != b->cfg.n_layer || a->cfg.d_model != b->cfg.d_model)
        return sd_fail(err, SD_E_SHAPE, "the reference has %d blocks of width %lld, the model %d of width %lld", b->cfg.n_layer, (long long)b->cfg.d_model, a->cfg.n_layer,
                       (long long)a->cfg.d_model);
    for (int l = 0; l < a->n_layer_loaded; l++)
        for (int k = 0; k < SD_MAT_COUNT; k++) {
            const sd_wmat *x = &a->block[l].mat[k].w, *y = &b->block[l].mat[k].w;
            if (x->rows != y->rows || x->cols != y->cols)
                return sd_fail(err, SD_E_SHAPE, "block %d has a matrix of %lld by %lld, the reference one of %lld by %lld", l, (long long)x->rows, (long long)x->cols, (long long)y->rows,
                               (long long)y->cols);
        }
    return SD_OK;
}

/* A direction's energy in numbers that are none is no number either: without this, every comparison with them would say that nothing is missing. */
static sd_status all_finite(const sd_model *m, const char *whose, sd_err *err)
{
    int64_t elements, side;
    float *row = NULL;
    sd_tamper__sizes(m, &elements, &side);
    sd_status st = sd_alloc(&row, (size_t)(side + 1) * sizeof *row, "a row of a matrix", err);
    for (int l = 0; l < m->n_layer_loaded && !st; l++)
        for (int k = 0; k < SD_MAT_COUNT && !st; k++) {
            const sd_wmat *w = &m->block[l].mat[k].w;
            for (int64_t r = 0; w->data && r < w->rows && !st; r++) {
                sd_wmat_decode_row(row, w, r);
                if (!isfinite(sd_dot(row, row, w->cols)))
                    st = sd_fail(err, SD_E_FORMAT, "%s: %s of block %d holds a number that is not finite, in row %lld: nothing can be said of such weights", whose, sd_tamper__role_name[k], l, (long long)r);
            }
        }
    sd_free(row);
    return st;
}

sd_status sd_lab_tamper(sd_tamper *out, const sd_exec *ex, const sd_model *m, const sd_model *ref, const sd_tamper_opt *opt, sd_err *err)
{
    *out = (sd_tamper){.n_layer = m->cfg.n_layer, .d = m->cfg.d_model};
    sd_status st = ref ? same_sizes(m, ref, err) : SD_OK;
    if (st) sd_hint(err, "give the model that this one was made from");
    if (!st) st = all_finite(m, "the model", err);
    if (!st && ref) st = all_finite(ref, "the reference", err);
    if (!st) st = sd_tamper__weak(out, ex, m, opt, err);
    if (!st && ref) st = sd_tamper__ref(out, ex, m, ref, opt, err);
    if (!st && !ref && !out->weak.measured) { /* a verdict on nothing would read like one on something */
        st = sd_fail(err, SD_E_UNSUPPORTED, "%d blocks of width %lld: fewer than 4 blocks, or narrower than 32, are too little to look for a missing direction in without a reference", out->n_layer, (long long)out->d);
        sd_hint(err, "give the model that this one was made from with --reference");
    }
    out->consistent = out->weak.consistent || out->ref.consistent;
    if (st) sd_tamper_release(out);
    return st;
}
