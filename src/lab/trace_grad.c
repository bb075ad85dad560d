/* The loss of a prompt and its gradient by every parameter, under the names that transformers gives them. */
#include "lab/trace.h"

#include "model/learner.h"

#include <stdio.h>

static sd_status add(sd_trace *t, const char *name, int rank, const int64_t *dim, sd_err *err)
{
    sd_trace_tensor *v = &t->v[t->n];
    int64_t n = 1;
    *v = (sd_trace_tensor){.rank = rank};
    snprintf(v->name, sizeof v->name, "%s", name);
    for (int i = 0; i < rank; i++) n *= v->dim[i] = dim[i];
    sd_status st = sd_alloc(&v->data, (size_t)n * sizeof(float), name, err);
    if (!st) t->n++;
    return st;
}

/* Room for n more tensors. */
static sd_status grow(sd_trace *t, int64_t n, sd_err *err)
{
    sd_trace_tensor *v = sd_realloc(t->v, (size_t)(t->n + n) * sizeof *v);
    if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: the list of gradients");
    t->v = v;
    return SD_OK;
}

static sd_status gradients(sd_trace *t, const sd_learner *l, float loss, sd_err *err)
{
    sd_hf_tensor *list = NULL;
    int64_t n = 0;
    sd_status st = sd_learner_hf_list(l, &list, &n, err);
    if (!st) st = grow(t, n + 1, err);
    if (!st && !(st = add(t, "loss", 1, (const int64_t[]){1}, err))) t->v[t->n - 1].data[0] = loss;
    for (int64_t i = 0; !st && i < n; i++) {
        char name[192];
        snprintf(name, sizeof name, "grad.%s", list[i].name);
        if (!(st = add(t, name, list[i].rank, list[i].dim, err)))
            sd_learner_hf_fill(l, &list[i], true, t->v[t->n - 1].data);
    }
    sd_free(list);
    return st;
}

/* The same for an adapter's A [r, in] and B [out, r]. */
static sd_status lora_gradients(sd_trace *t, sd_learner *l, const sd_lora *lora, float loss, sd_err *err)
{
    sd_status st = grow(t, 2 * lora->n_group + 1, err);
    if (!st && !(st = add(t, "loss", 1, (const int64_t[]){1}, err))) t->v[t->n - 1].data[0] = loss;
    for (int64_t i = 0; !st && i < 2 * lora->n_group; i++) {
        const sd_lora_group *g = &lora->group[i / 2];
        const bool b = i % 2;
        const int64_t dim[2] = {b ? g->out : lora->opt.rank, b ? lora->opt.rank : g->in};
        char name[192];
        snprintf(name, sizeof name, "grad.base_model.model.%s.lora_%s.weight", g->name, b ? "B" : "A");
        if (!(st = add(t, name, 2, dim, err)))
            memcpy(t->v[t->n - 1].data, sd_learner_g(l) + ((b ? g->b : g->a) - lora->data),
                   (size_t)(dim[0] * dim[1]) * sizeof(float));
    }
    return st;
}

sd_status sd_lab_trace_grad(sd_trace *t, const sd_exec *ex, const sd_model *m, const char *adapter, const sd_ids *ids,
                            sd_mode mode, sd_err *err)
{
    sd_learner *l = NULL;
    sd_lora *lora = NULL;
    int32_t *target = NULL;
    float *row = NULL;
    const float *lp;
    int64_t n_lp;
    double loss = 0;
    if (ids->n < 2) return sd_fail(err, SD_E_ARG, "a loss needs two tokens, the prompt has %lld", (long long)ids->n);
    sd_status st = sd_alloc(&target, (size_t)ids->n * sizeof *target, "targets", err);
    if (!st) st = sd_alloc(&row, (size_t)ids->n * sizeof *row, "targets", err);
    if (!st && adapter && *adapter) st = sd_lora_read(&lora, m, adapter, err);
    const sd_learner_opt opt = {.mode = mode, .full = !lora, .lora = lora, .max_rows = ids->n, .max_docs = 1};
    if (!st) st = sd_learner_new(&l, ex, m, &opt, err);
    if (st) goto done;
    for (int64_t i = 0; i < ids->n; i++) {
        target[i] = i + 1 < ids->n ? ids->v[i + 1] : -1;
        row[i] = -1.0f / (float)(ids->n - 1);
    }
    const sd_doc doc = {ids->v, target, ids->n};
    if ((st = sd_learner_forward(l, &(sd_learner_batch){.doc = &doc, .n_doc = 1, .grad = true}, &lp, &n_lp, err)))
        goto done;
    for (int64_t i = 0; i < n_lp; i++) loss -= (double)lp[i] / (double)n_lp;
    if ((st = sd_learner_backward(l, row, err))) goto done;
    st = lora ? lora_gradients(t, l, lora, (float)loss, err) : gradients(t, l, (float)loss, err);
done:
    sd_learner_free(l);
    sd_lora_free(lora);
    sd_free(target);
    sd_free(row);
    return st;
}
