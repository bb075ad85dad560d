/* What learns: one flat array of f32 with a range for every vector and matrix, and the way between it and Hugging
 * Face's tensors, where q, k, v or gate and up may be one tensor, rows may lie head by head and matrices transposed. */
#include "model/learner_int.h"

#include "model/arch.h"

#include <stdio.h>
#include <string.h>

enum { MAX_PARTS = 3 };

/* ---- taking parameters out of the model ---- */

/* Walks twice: first to count, then with memory. */
typedef struct taker {
    sd_learner *t;
    int64_t n;
    int n_range;
    bool fill;
} taker;

static float *take(taker *k, int64_t n, bool decay, float **g)
{
    sd_learner *t = k->t;
    float *w = NULL;
    *g = NULL;
    if (k->fill) {
        w = t->w + k->n;
        *g = t->g + k->n;
        t->range[k->n_range] = (sd_learner_range){k->n, k->n + n, decay};
    }
    k->n_range++;
    k->n += n;
    return w;
}

static void take_vector(taker *k, const float *from, int64_t n, const float **v, float **g)
{
    if (!from) return;
    float *w = take(k, n, false, g);
    *v = from;
    if (!w) return;
    memcpy(w, from, (size_t)n * sizeof *w);
    *v = w;
}

static void take_norm(taker *k, const sd_norm *from, int64_t n, sd_lnorm *to)
{
    *to = (sd_lnorm){.g = from->g, .b = from->b, .n = n};
    if (!k->t->opt.full) return;
    take_vector(k, from->g, n, &to->g, &to->gg);
    take_vector(k, from->b, n, &to->b, &to->gb);
}

static void take_matrix(taker *k, sd_wmat from, const float *bias, sd_lmat *to)
{
    if (!from.data) return;
    void *owned = to->owned;
    if (!owned) *to = (sd_lmat){.w = from, .b = bias};
    if (!k->t->opt.full) return;
    float *w = take(k, from.rows * from.cols, true, &to->gw);
    if (w) {
        for (int64_t r = 0; r < from.rows; r++) sd_wmat_decode_row(w + r * from.cols, &from, r);
        to->w = sd_wmat_of(w, from.rows, from.cols);
    }
    take_vector(k, bias, from.rows, &to->b, &to->gb);
}

static void take_all(taker *k)
{
    sd_learner *t = k->t;
    const sd_model *m = t->m;
    const bool heads = m->wire.qk_norm == SD_QK_NORM_HEAD;
    k->n = k->n_range = 0;
    take_matrix(k, m->embed, NULL, &t->embed);
    take_matrix(k, m->pos, NULL, &t->pos);
    for (int l = 0; l < m->cfg.n_layer; l++) {
        const sd_block *b = &m->block[l];
        sd_lblock *to = &t->block[l];
        take_norm(k, &b->attn_norm, t->d, &to->attn_norm);
        take_norm(k, &b->attn_post, t->d, &to->attn_post);
        take_norm(k, &b->mlp_norm, t->d, &to->mlp_norm);
        take_norm(k, &b->mlp_post, t->d, &to->mlp_post);
        take_norm(k, &b->q_norm, heads ? m->cfg.d_head : t->q, &to->q_norm);
        take_norm(k, &b->k_norm, heads ? m->cfg.d_head : t->kv, &to->k_norm);
        for (int i = 0; i < SD_MAT_COUNT; i++) take_matrix(k, b->mat[i].w, b->mat[i].bias, &to->mat[i]);
    }
    take_norm(k, &m->final_norm, t->d, &t->final_norm);
    if (!m->cfg.tied) take_matrix(k, m->head_w, NULL, &t->head);
    if (m->cfg.tied) t->head = t->embed;
}

/* A matrix that stays as it is, in the form that products read fastest: a transposed one turned round, since they want rows of inputs; one of f32 or f16
 * rounded, where each product would round it again. The same bits come out of both. */
static sd_status make_ready(const sd_learner *t, sd_lmat *to, bool rounds, sd_err *err)
{
    const sd_wmat w = to->w;
    const bool wide = w.dtype == SD_F32 || w.dtype == SD_F16;
    if (!w.data || !(w.stored_cols || (rounds && wide))) return SD_OK;
    uint8_t *own;
    float *row = NULL;
    const size_t line = (size_t)w.cols * (rounds ? sizeof(uint16_t) : sizeof(float));
    sd_status st = sd_alloc(&own, (size_t)w.rows * line, "a matrix made ready for learning", err);
    if (!st && rounds) st = sd_alloc(&row, (size_t)w.cols * sizeof *row, "a row of it", err);
    if (st) goto done;
    for (int64_t r = 0; r < w.rows; r++) {
        void *at = own + (size_t)r * line;
        sd_wmat_decode_row(rounds ? row : at, &w, r);
        if (rounds) t->ex->kern->to_bf16(at, row, w.cols);
    }
    to->owned = own;
    to->w = (sd_wmat){.data = own, .dtype = rounds ? SD_BF16 : SD_F32, .rows = w.rows, .cols = w.cols};
    own = NULL;
done:
    sd_free(row);
    sd_free(own);
    return st;
}

static sd_status make_all_ready(sd_learner *t, sd_err *err)
{
    const bool rounds = t->bf16 && sd_prod_multiplies_bf16(t->ex);
    sd_status st = SD_OK;
    for (int l = 0; !st && l < t->m->cfg.n_layer; l++) {
        for (int i = 0; !st && i < SD_MAT_COUNT; i++) st = make_ready(t, &t->block[l].mat[i], rounds, err);
        if (rounds) sd_weights_forget(t->m->weights);
    }
    return st; /* the head stays: cross-entropy adds the target's row as it is */
}

static sd_status take_adapter(sd_learner *t, sd_err *err)
{
    sd_lora *lora = t->opt.lora;
    const bool learns = !t->opt.full;
    sd_status st;
    if (learns) {
        t->n = lora->n_data;
        t->w = lora->data;
        if ((st = sd_alloc_wide_zero(&t->g, (size_t)t->n * sizeof *t->g, "gradients", err))) return st;
        if ((st = sd_alloc(&t->range, sizeof *t->range, "ranges of parameters", err))) return st;
        t->range[0] = (sd_learner_range){0, t->n, true};
        t->n_range = 1;
    }
    for (int l = 0; l < t->m->cfg.n_layer; l++)
        for (int i = 0; i < SD_MAT_COUNT; i++) {
            sd_lmat *w = &t->block[l].mat[i];
            w->lora = lora->mat[l][i];
            if (!learns || !w->lora.rank) continue;
            w->ga = t->g + (w->lora.a - lora->data);
            w->glb = t->g + (w->lora.b - lora->data);
        }
    return SD_OK;
}

sd_status sd_learner__params(sd_learner *t, sd_err *err)
{
    taker k = {.t = t};
    sd_status st;
    take_all(&k);
    if (t->opt.full) {
        t->n = k.n;
        t->own_w = true;
        if ((st = sd_alloc_wide(&t->w, (size_t)t->n * sizeof *t->w, "parameters", err))) return st;
        if ((st = sd_alloc_wide_zero(&t->g, (size_t)t->n * sizeof *t->g, "gradients", err))) return st;
        if ((st = sd_alloc(&t->range, (size_t)k.n_range * sizeof *t->range, "ranges of parameters", err))) return st;
        t->n_range = k.n_range;
        k.fill = true;
        take_all(&k);
        sd_weights_forget(t->m->weights);
    } else if ((st = make_all_ready(t, err)))
        return st;
    return t->opt.lora ? take_adapter(t, err) : SD_OK;
}

/* ---- Hugging Face's tensors ---- */

/* A part of a tensor: a matrix or vector of ours whose row r is row0 + r there, or by head. */
typedef struct part {
    const float *p;
    int64_t rows, cols, row0;
    int by_head; /* 1 + its place among q, k, v; 0: rows follow each other */
} part;

static part of_matrix(const sd_lmat *w, bool bias, bool grad, int64_t row0)
{
    const float *data = w->w.data;
    if (bias) return (part){.p = grad ? w->gb : w->b, .rows = w->w.rows, .cols = 1, .row0 = row0};
    return (part){.p = grad ? w->gw : data, .rows = w->w.rows, .cols = w->w.cols, .row0 = row0};
}

static part of_norm(const sd_lnorm *n, bool bias, bool grad)
{
    return (part){.p = grad ? (bias ? n->gb : n->gg) : bias ? n->b : n->g, .rows = n->n, .cols = 1};
}

static int parts_of(const sd_learner *t, const sd_hf_tensor *h, bool grad, part out[MAX_PARTS])
{
    const sd_lblock *b = &t->block[h->layer];
    const sd_lmat *m = b->mat;
    int n = 1;
    switch ((sd_role)h->role) {
    case SD_ROLE_EMBED:
        out[0] = of_matrix(&t->embed, h->bias, grad, 0);
        break;
    case SD_ROLE_POS:
        out[0] = of_matrix(&t->pos, h->bias, grad, 0);
        break;
    case SD_ROLE_HEAD:
        out[0] = of_matrix(&t->head, h->bias, grad, 0);
        break;
    case SD_ROLE_FINAL_NORM:
        out[0] = of_norm(&t->final_norm, h->bias, grad);
        break;
    case SD_ROLE_ATTN_NORM:
        out[0] = of_norm(&b->attn_norm, h->bias, grad);
        break;
    case SD_ROLE_ATTN_POST:
        out[0] = of_norm(&b->attn_post, h->bias, grad);
        break;
    case SD_ROLE_MLP_NORM:
        out[0] = of_norm(&b->mlp_norm, h->bias, grad);
        break;
    case SD_ROLE_MLP_POST:
        out[0] = of_norm(&b->mlp_post, h->bias, grad);
        break;
    case SD_ROLE_Q_NORM:
        out[0] = of_norm(&b->q_norm, h->bias, grad);
        break;
    case SD_ROLE_K_NORM:
        out[0] = of_norm(&b->k_norm, h->bias, grad);
        break;
    case SD_ROLE_QKV:
        for (n = 0; n < 3; n++) {
            out[n] = of_matrix(&m[SD_MAT_Q + n], h->bias, grad, n == 0 ? 0 : n == 1 ? t->q : t->q + t->kv);
            out[n].by_head = t->m->arch->hf_qkv_by_head ? 1 + n : 0;
        }
        break;
    case SD_ROLE_GATE_UP:
        for (n = 0; n < 2; n++) out[n] = of_matrix(&m[SD_MAT_GATE + n], h->bias, grad, n * t->ffn);
        break;
    default:
        out[0] = of_matrix(&m[h->role - SD_ROLE_Q], h->bias, grad, 0);
    }
    return n;
}

static bool turned(const sd_learner *t, const sd_hf_tensor *h)
{
    return t->m->arch->hf_transposed && h->role >= SD_ROLE_Q && !h->bias;
}

/* Fills h->rank and dim; false when the model has no such tensor. */
static bool measure(const sd_learner *t, sd_hf_tensor *h)
{
    part p[MAX_PARTS];
    const int n = parts_of(t, h, false, p);
    int64_t rows = 0;
    for (int i = 0; i < n; i++) {
        if (!p[i].p) return false;
        rows += p[i].rows;
    }
    const bool vector = h->bias || (h->role != SD_ROLE_EMBED && h->role != SD_ROLE_POS && h->role != SD_ROLE_HEAD &&
                                    h->role < SD_ROLE_Q);
    h->rank = vector ? 1 : 2;
    h->dim[0] = turned(t, h) ? p[0].cols : rows;
    h->dim[1] = vector ? 1 : turned(t, h) ? rows : p[0].cols;
    return true;
}

static void add(const sd_learner *t, sd_role role, int layer, sd_hf_tensor *list, int64_t *n)
{
    const char *pattern = t->m->arch->tensor[role].hf, *hole = pattern ? strstr(pattern, "%d") : NULL;
    for (int bias = 0; pattern && bias < 2; bias++) {
        sd_hf_tensor h = {.role = role, .layer = layer, .bias = bias};
        const char *kind = bias ? "bias" : "weight";
        if (!measure(t, &h)) continue;
        if (hole)
            snprintf(h.saved, sizeof h.saved, "%.*s%d%s.%s", (int)(hole - pattern), pattern, layer, hole + 2, kind);
        else
            snprintf(h.saved, sizeof h.saved, "%s.%s", pattern, kind);
        memcpy(h.name, role == SD_ROLE_HEAD ? "lm_head.weight" : h.saved,
               role == SD_ROLE_HEAD ? sizeof "lm_head.weight" : sizeof h.name);
        if (list) list[*n] = h;
        ++*n;
    }
}

static int64_t list_all(const sd_learner *t, sd_hf_tensor *list)
{
    static const sd_role inside[] = {SD_ROLE_ATTN_NORM, SD_ROLE_Q,        SD_ROLE_K,       SD_ROLE_V,
                                     SD_ROLE_QKV,       SD_ROLE_Q_NORM,   SD_ROLE_K_NORM,  SD_ROLE_O,
                                     SD_ROLE_ATTN_POST, SD_ROLE_MLP_NORM, SD_ROLE_GATE,    SD_ROLE_UP,
                                     SD_ROLE_GATE_UP,   SD_ROLE_DOWN,     SD_ROLE_MLP_POST};
    int64_t n = 0;
    add(t, SD_ROLE_EMBED, 0, list, &n);
    add(t, SD_ROLE_POS, 0, list, &n);
    for (int l = 0; l < t->m->cfg.n_layer; l++)
        for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) add(t, inside[i], l, list, &n);
    add(t, SD_ROLE_FINAL_NORM, 0, list, &n);
    if (!t->m->cfg.tied) add(t, SD_ROLE_HEAD, 0, list, &n);
    return n;
}

sd_status sd_learner_hf_list(const sd_learner *t, sd_hf_tensor **list, int64_t *n, sd_err *err)
{
    SD_ASSERT(t->opt.full);
    *n = list_all(t, NULL);
    sd_status st = sd_alloc(list, (size_t)*n * sizeof **list, "the list of parameters", err);
    if (!st) (void)list_all(t, *list);
    return st;
}

void sd_learner_hf_fill(const sd_learner *t, const sd_hf_tensor *h, bool grad, float *out)
{
    part p[MAX_PARTS];
    const int n = parts_of(t, h, grad, p), d = t->m->cfg.d_head;
    const bool turn = turned(t, h), less_one = !grad && !h->bias && t->m->wire.norm_plus_one && h->rank == 1;
    for (int i = 0; i < n; i++)
        for (int64_t r = 0; r < p[i].rows; r++) {
            int64_t row = p[i].row0 + r;
            if (p[i].by_head) row = (3 * (r / d) + p[i].by_head - 1) * d + r % d;
            const float *from = p[i].p + r * p[i].cols;
            for (int64_t c = 0; c < p[i].cols; c++)
                out[turn ? c * h->dim[1] + row : row * p[i].cols + c] = less_one ? from[c] - 1.0f : from[c];
        }
}
