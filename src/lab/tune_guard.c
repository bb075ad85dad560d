/* Guards in a run: which rows a step is of, what pulls on it, and what is taken from it. The formulas are guard.c's. Easy to break: safelora's projection is shown in
 * the adapter's own memory, so nothing may learn before it is hidden again. */
#include "lab/tune_int.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

sd_status sd_tune__guard_check(const sd_tune_opt *o, sd_err *err)
{
    const sd_guard_opt *g = &o->guard;
    const char *name = sd_guard_name(g->kind);
    const bool rows = g->kind && g->kind != SD_GUARD_SAFELORA;
    if (g->kind && o->method != SD_TUNE_SFT) return sd_fail(err, SD_E_ARG, "the guard %s is for sft, not %s", name, sd_tune_method_name(o->method));
    if (rows && !g->safety) {
        sd_fail(err, SD_E_ARG, "the guard %s needs safety rows", name);
        return sd_hint(err, "give them with --safety FILE");
    }
    if (!rows && g->safety) return sd_fail(err, SD_E_ARG, "safety rows are for the guards lisa, project, mask and deep, not %s", name);
    if ((g->kind == SD_GUARD_SAFELORA) != (g->unaligned != NULL))
        return sd_fail(err, SD_E_ARG, g->unaligned ? "an unaligned model is for safelora, not %s" : "the guard %s needs the model before its alignment", name);
    if (g->kind == SD_GUARD_SAFELORA && !o->lora.rank) return sd_fail(err, SD_E_ARG, "safelora projects an adapter, and all weights are trained");
    if (!isfinite(g->rho) || g->align < 0 || g->user < 0 || !(g->threshold >= -1 && g->threshold <= 1))
        return sd_fail(err, SD_E_ARG, "rho %g, turns of %" PRId64 " and %" PRId64 " steps, a threshold of %g: not for a guard", g->rho, g->align, g->user, g->threshold);
    return SD_OK;
}

/* Takes the safety rows' gradient before every step. */
static bool looks(const sd_guard_opt *g)
{
    return g->kind == SD_GUARD_PROJECT || g->kind == SD_GUARD_MASK;
}

/* Every adapted matrix must have its like. */
static sd_status open_unaligned(sd_tune_run *r, sd_err *err)
{
    const char *path = r->o.guard.unaligned;
    sd_status st = sd_model_open(&r->guard.unaligned, r->ex, path, &(sd_model_opt){.views = true}, err);
    if (st) return st;
    const sd_model *u = r->guard.unaligned;
    for (int l = 0; l < r->lora->n_layer; l++)
        for (int k = 0; k < SD_MAT_COUNT; k++) {
            if (!r->lora->mat[l][k].rank) continue;
            const sd_wmat *w = &r->m->block[l].mat[k].w, *v = l < u->cfg.n_layer ? &u->block[l].mat[k].w : NULL;
            if (!v || !v->data || v->rows != w->rows || v->cols != w->cols)
                return sd_fail(err, SD_E_FORMAT, "%s is no earlier stage of this model: block %d has no matrix of %" PRId64 " by %" PRId64 " where this one has", path, l, w->rows, w->cols);
        }
    return SD_OK;
}

sd_status sd_tune__guard_open(sd_tune_run *r, sd_err *err)
{
    sd_guard_opt *g = &r->o.guard;
    const size_t n = (size_t)sd_learner_n(r->learner);
    sd_status st = SD_OK;
    if (!g->kind || g->kind == SD_GUARD_DEEP) return st;
    if (!g->rho) g->rho = 1;
    if (!g->threshold) g->threshold = 0.5;
    const double cycle = (double)r->total / 20;
    r->guard.align = g->align ? g->align : (int64_t)fmax(1, round(0.1 * cycle));
    r->guard.user = g->user ? g->user : (int64_t)fmax(1, round(0.9 * cycle));
    if ((st = sd_alloc_zero(&r->guard.keep, n * sizeof(float), "a guard's weights", err))) return st;
    if (looks(g)) {
        st = sd_alloc_zero(&r->guard.safe, n * sizeof(float), "a guard's gradient", err);
        r->guard.n_guarded = r->total;
    }
    return g->kind == SD_GUARD_SAFELORA ? open_unaligned(r, err) : st;
}

void sd_tune__guard_close(sd_tune_run *r)
{
    sd_free(r->guard.keep);
    sd_free(r->guard.safe);
    sd_model_close(r->guard.unaligned);
    r->guard = (sd_guard_run){0};
}

sd_status sd_tune__guard_before(sd_tune_run *r, int *pool, sd_err *err)
{
    const size_t bytes = (size_t)sd_learner_n(r->learner) * sizeof(float);
    double loss;
    int64_t n_right;
    if (r->o.guard.kind == SD_GUARD_LISA) {
        const int64_t at = r->step % (r->guard.align + r->guard.user);
        if (at == 0 || at == r->guard.align) memcpy(r->guard.keep, sd_learner_w(r->learner), bytes);
        *pool = at < r->guard.align ? SD_POOL_SAFETY : SD_POOL_DATA;
    }
    if (!looks(&r->o.guard)) return SD_OK;
    sd_status st = sd_tune__gather(r, SD_POOL_SAFETY, &loss, &n_right, err);
    if (st) return st;
    memcpy(r->guard.safe, sd_learner_g(r->learner), bytes);
    memset(sd_learner_g(r->learner), 0, bytes);
    memcpy(r->guard.keep, sd_learner_w(r->learner), bytes);
    return SD_OK;
}

double sd_tune__guard_pull(sd_tune_run *r)
{
    if (r->o.guard.kind != SD_GUARD_LISA || r->o.guard.rho < 0 || (double)r->step <= 0.1 * (double)r->total) return 0;
    return sd_guard_proximal(sd_learner_g(r->learner), sd_learner_w(r->learner), r->guard.keep, sd_learner_n(r->learner), r->o.guard.rho);
}

void sd_tune__guard_after(sd_tune_run *r)
{
    const int64_t n = sd_learner_n(r->learner);
    if (r->o.guard.kind == SD_GUARD_PROJECT) r->guard.n_projected += sd_guard_project(sd_learner_w(r->learner), r->guard.keep, r->guard.safe, n);
    if (r->o.guard.kind == SD_GUARD_MASK) r->guard.n_projected += sd_guard_mask(sd_learner_w(r->learner), r->guard.keep, r->guard.safe, n);
}

/* V = W - W_unaligned of one matrix. */
static void difference(sd_mat v, float *row, const sd_wmat *w, const sd_wmat *u)
{
    for (int64_t o = 0; o < v.rows; o++) {
        sd_wmat_decode_row(sd_mat_row(v, o), w, o);
        sd_wmat_decode_row(row, u, o);
        for (int64_t i = 0; i < v.cols; i++) sd_mat_row(v, o)[i] -= row[i];
    }
}

static sd_status project_matrix(sd_tune_run *r, int l, int k, sd_err *err)
{
    const sd_lora_mat *m = &r->lora->mat[l][k];
    const sd_wmat *w = &r->m->block[l].mat[k].w;
    const int64_t out = w->rows, in = w->cols, rank = m->rank;
    float *v = NULL, *s = NULL, *cb = NULL;
    sd_status st = sd_alloc(&v, (size_t)((out + 1) * in) * sizeof *v, "what alignment changed", err);
    if (!st) st = sd_alloc(&s, (size_t)(in * rank) * sizeof *s, "what alignment changed", err);
    if (!st) st = sd_alloc(&cb, (size_t)(out * rank) * sizeof *cb, "a projected adapter", err);
    if (!st) {
        const sd_mat vm = sd_mat_of(v, out, in);
        difference(vm, v + out * in, w, &r->guard.unaligned->block[l].mat[k].w);
        const double cosine = sd_guard_safelora(sd_mat_of(cb, out, rank), vm, sd_mat_of(m->b, out, rank), sd_mat_of(m->a, rank, in), sd_mat_of(s, in, rank));
        r->guard.n_guarded++;
        if (cosine <= r->o.guard.threshold) { /* false of NaN */
            memcpy(m->b, cb, (size_t)(out * rank) * sizeof *cb);
            r->guard.n_projected++;
        }
    }
    sd_free(v);
    sd_free(s);
    sd_free(cb);
    return st;
}

sd_status sd_tune__guard_show(sd_tune_run *r, sd_err *err)
{
    sd_status st = SD_OK;
    if (r->o.guard.kind != SD_GUARD_SAFELORA) return SD_OK;
    memcpy(r->guard.keep, r->lora->data, (size_t)r->lora->n_data * sizeof(float));
    r->guard.n_guarded = r->guard.n_projected = 0;
    for (int l = 0; l < r->lora->n_layer && !st; l++)
        for (int k = 0; k < SD_MAT_COUNT && !st; k++)
            if (r->lora->mat[l][k].rank) st = project_matrix(r, l, k, err);
    return st;
}

void sd_tune__guard_hide(sd_tune_run *r)
{
    if (r->o.guard.kind == SD_GUARD_SAFELORA) memcpy(r->lora->data, r->guard.keep, (size_t)r->lora->n_data * sizeof(float));
}
