/* One forward pass for all architectures: ops in order, and a visit at every site. What differs between architectures
 * comes in through the blueprint and the bound weights.
 *
 *   x = embed(tok);  a block:  x += W_o attn(rope(W_q n), rope(W_k n), W_v n), n = norm(x);   x += W_down(silu(W_gate
 * n) * W_up n), n = norm(x)
 *
 * The residual stream is f32 and the only state that passes from block to block. Linear layers take all rows of the
 * batch; attention and hooks go by segment. An op's result is visited before anything reads it, so an edit reaches all
 * of its readers. */
#include "model/session_int.h"

/* A step on its way. */
typedef struct fwd {
    sd_runner *r;
    const sd_model *m;
    sd_segment *seg;
    int n_seg;
    int64_t rows;
    sd_err *err;
} fwd;

static sd_mat rows_of(const fwd *f, float *data, int64_t cols)
{
    return sd_mat_of(data, f->rows, cols);
}

/* The seam for all who watch or touch: one bit test where nobody does. */
static inline sd_status visit(const fwd *f, sd_site_kind kind, int layer, sd_mat x)
{
    if (!(f->r->want[layer] & sd_site__bit(kind))) return SD_OK;
    return sd_hook__deliver(&(sd_visit){{kind, layer}, x, f->seg, f->n_seg, f->r->row0, f->r->n}, f->err);
}

/* Products with one input: prepared once for neighbours that run in the same mode. */
static void products(const fwd *f, const sd_linear *const *l, float *const *y, const int64_t *cols, int n, sd_mat x)
{
    for (int i = 0; i < n; i++) {
        if (i == 0 || sd_linear_mode(l[i]) != sd_linear_mode(l[i - 1]))
            sd_linear_prepare(f->r->ex, l[i], x, f->r->linear_scratch);
        sd_linear_run(f->r->ex, l[i], sd_mat_of(y[i], x.rows, cols[i]), x, false, f->r->linear_scratch);
    }
}

static void embed(const fwd *f)
{
    const sd_config *c = &f->m->cfg;
    for (int i = 0; i < f->n_seg; i++)
        for (int64_t t = 0; t < f->seg[i].n; t++) {
            float *x = f->r->resid + (f->r->row0[i] + t) * c->d_model;
            sd_wmat_decode_row(x, &f->m->embed, f->seg[i].tok[t]);
            if (c->embed_scale != 1.0f)
                for (int64_t j = 0; j < c->d_model; j++) x[j] *= c->embed_scale;
            f->r->pos[f->r->row0[i] + t] = (int32_t)(f->seg[i].s->pos + t);
        }
}

/* Attention of every segment over its own cache; patterns are shown to those who want them, and what they made of them
 * is mixed again. */
static sd_status attend(const fwd *f, int l)
{
    sd_runner *r = f->r;
    const sd_config *c = &f->m->cfg;
    const sd_attn_opt opt = {.n_head = c->n_head,
                             .n_head_kv = c->n_head_kv,
                             .d_head = c->d_head,
                             .scale = c->attn_scale,
                             .window = c->window};
    const uint32_t bit = sd_site__bit(SD_SITE_ATTN_PATTERN);
    int64_t q_cols = (int64_t)c->n_head * c->d_head, kv_cols = (int64_t)c->n_head_kv * c->d_head;
    size_t used = 0;
    for (int i = 0; i < f->n_seg; i++) {
        const sd_session *s = f->seg[i].s;
        int64_t row0 = r->row0[i], n = f->seg[i].n;
        sd_kv kv = sd_session__kv(s, l);
        sd_kv_write(r->ex, kv, s->pos, sd_mat_of(r->k + row0 * kv_cols, n, kv_cols),
                    sd_mat_of(r->v + row0 * kv_cols, n, kv_cols));
        r->attn[i] = (sd_attn_seq){.out = sd_mat_of(r->z + row0 * q_cols, n, q_cols),
                                   .q = sd_mat_of(r->q + row0 * q_cols, n, q_cols),
                                   .kv = kv,
                                   .pos0 = s->pos};
        if (!(s->want[l] & bit)) continue;
        r->attn[i].pattern = r->pattern + used;
        used += (size_t)(c->n_head * n * (s->pos + n));
        SD_ASSERT(used <= r->pattern_size);
    }
    sd_attn(r->ex, &opt, r->attn, f->n_seg, r->attn_scratch);
    if (!(r->want[l] & bit)) return SD_OK;
    for (int i = 0; i < f->n_seg; i++) {
        if (!r->attn[i].pattern) continue;
        sd_mat p = sd_mat_of(r->attn[i].pattern, c->n_head * f->seg[i].n, f->seg[i].s->pos + f->seg[i].n);
        sd_status st = sd_hook__call(&f->seg[i], (sd_site){SD_SITE_ATTN_PATTERN, l}, p, 0, f->err);
        if (st) return st;
        if (f->seg[i].s->edit[l] & bit) sd_attn_mix(r->ex, &opt, &r->attn[i], r->attn_scratch);
    }
    return SD_OK;
}

static sd_status attention(const fwd *f, int l, sd_mat x)
{
    sd_runner *r = f->r;
    const sd_config *c = &f->m->cfg;
    const sd_block *b = &f->m->block[l];
    const int64_t cols[] = {(int64_t)c->n_head * c->d_head, (int64_t)c->n_head_kv * c->d_head,
                            (int64_t)c->n_head_kv * c->d_head};
    sd_mat norm = rows_of(f, r->norm, c->d_model), q = rows_of(f, r->q, cols[0]), k = rows_of(f, r->k, cols[1]),
           v = rows_of(f, r->v, cols[2]);
    sd_mat z = rows_of(f, r->z, cols[0]), out = rows_of(f, r->out, c->d_model);
    sd_status st;
    sd_rmsnorm(r->ex, norm, x, b->attn_norm, c->norm_eps);
    products(f, (const sd_linear *const[]){b->wq, b->wk, b->wv}, (float *const[]){r->q, r->k, r->v}, cols, 3, norm);
    if ((st = visit(f, SD_SITE_ATTN_Q, l, q))) return st;
    if ((st = visit(f, SD_SITE_ATTN_K, l, k))) return st;
    if ((st = visit(f, SD_SITE_ATTN_V, l, v))) return st;
    sd_rope_apply(r->ex, q, c->n_head, f->m->rope.half, r->cos, r->sin);
    sd_rope_apply(r->ex, k, c->n_head_kv, f->m->rope.half, r->cos, r->sin);
    if ((st = visit(f, SD_SITE_ROT_Q, l, q))) return st;
    if ((st = visit(f, SD_SITE_ROT_K, l, k))) return st;
    if ((st = attend(f, l))) return st;
    if ((st = visit(f, SD_SITE_ATTN_Z, l, z))) return st;
    sd_linear_fwd(r->ex, b->wo, out, z, false, r->linear_scratch);
    if ((st = visit(f, SD_SITE_ATTN_OUT, l, out))) return st;
    sd_add(r->ex, x, out);
    return visit(f, SD_SITE_RESID_MID, l, x);
}

static sd_status mlp(const fwd *f, int l, sd_mat x)
{
    sd_runner *r = f->r;
    const sd_config *c = &f->m->cfg;
    const sd_block *b = &f->m->block[l];
    sd_mat norm = rows_of(f, r->norm, c->d_model), gate = rows_of(f, r->gate, c->d_ffn),
           up = rows_of(f, r->up, c->d_ffn), out = rows_of(f, r->out, c->d_model);
    sd_status st;
    sd_rmsnorm(r->ex, norm, x, b->mlp_norm, c->norm_eps);
    products(f, (const sd_linear *const[]){b->w_gate, b->w_up}, (float *const[]){r->gate, r->up},
             (const int64_t[]){c->d_ffn, c->d_ffn}, 2, norm);
    if ((st = visit(f, SD_SITE_MLP_PRE, l, gate))) return st;
    if ((st = visit(f, SD_SITE_MLP_UP, l, up))) return st;
    sd_silu_mul(r->ex, gate, gate, up);
    if ((st = visit(f, SD_SITE_MLP_POST, l, gate))) return st;
    sd_linear_fwd(r->ex, b->w_down, out, gate, false, r->linear_scratch);
    if ((st = visit(f, SD_SITE_MLP_OUT, l, out))) return st;
    sd_add(r->ex, x, out);
    return visit(f, SD_SITE_RESID_POST, l, x);
}

/* Final norm and head. A segment whose session watches the norm has all its rows normed, the others those that want
 * logits. */
static sd_status finish(const fwd *f)
{
    sd_runner *r = f->r;
    const sd_config *c = &f->m->cfg;
    int64_t d = c->d_model, n_logits = 0;
    sd_status st;
    for (int i = 0; i < f->n_seg; i++) {
        bool all = f->seg[i].s->want[0] & sd_site__bit(SD_SITE_FINAL_NORM);
        int64_t n = all ? f->seg[i].n : r->want_n[i], row0 = r->row0[i] + f->seg[i].n - n;
        if (n)
            sd_rmsnorm(r->ex, sd_mat_of(r->norm + row0 * d, n, d), sd_mat_of(r->resid + row0 * d, n, d),
                       f->m->final_norm, c->norm_eps);
    }
    if ((st = visit(f, SD_SITE_FINAL_NORM, 0, rows_of(f, r->norm, d)))) return st;
    for (int i = 0; i < f->n_seg; i++) {
        int64_t n = r->want_n[i], row0 = r->row0[i] + f->seg[i].n - n;
        if (n) memcpy(r->head_in + n_logits * d, r->norm + row0 * d, (size_t)(n * d) * sizeof(float));
        n_logits += n;
    }
    if (n_logits == 0) return SD_OK;
    sd_mat logits = sd_mat_of(r->logits, n_logits, c->n_vocab);
    sd_linear_fwd(r->ex, f->m->head, logits, sd_mat_of(r->head_in, n_logits, d), false, r->linear_scratch);
    if (!(r->want[0] & sd_site__bit(SD_SITE_LOGITS))) return SD_OK;
    return sd_hook__deliver(&(sd_visit){{SD_SITE_LOGITS, 0}, logits, f->seg, f->n_seg, r->want0, r->want_n}, f->err);
}

sd_status sd_model__forward(sd_runner *r, sd_segment *seg, int n_seg, int last, sd_err *err)
{
    fwd f = {.r = r, .m = r->m, .seg = seg, .n_seg = n_seg, .rows = r->row0[n_seg - 1] + seg[n_seg - 1].n, .err = err};
    sd_mat x = rows_of(&f, r->resid, r->m->cfg.d_model);
    sd_status st;
    embed(&f);
    sd_rope_angles(r->cos, r->sin, &r->m->rope, r->pos, f.rows);
    if ((st = visit(&f, SD_SITE_EMBED, 0, x))) return st;
    for (int l = 0; l <= last; l++) {
        if ((st = visit(&f, SD_SITE_RESID_PRE, l, x))) return st;
        if ((st = attention(&f, l, x))) return st;
        if ((st = mlp(&f, l, x))) return st;
    }
    return last + 1 == r->m->cfg.n_layer ? finish(&f) : SD_OK;
}
