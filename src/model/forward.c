/* One forward pass for all architectures: ops in order, and a visit at every site. What differs between architectures
 * comes in through the blueprint and the bound weights; model.h has the formulas of a block.
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

/* The first row of x with a number that is NaN or infinite, -1 when there is none. */
static int64_t nonfinite_row(sd_mat x)
{
    for (int64_t i = 0; i < x.rows; i++)
        if (sd_count_nonfinite(sd_mat_row(x, i), x.cols) != 0) return i;
    return -1;
}

static bool edited(const fwd *f, const sd_session *s)
{
    for (int l = 0; l < f->m->cfg.n_layer; l++)
        if (s->edit[l]) return true;
    return false;
}

static sd_status seek(const fwd *f, sd_site site, sd_mat x)
{
    int64_t row = nonfinite_row(x);
    char name[48];
    if (row < 0) return SD_OK;
    int i = 0;
    while (i + 1 < f->n_seg && f->r->row0[i + 1] <= row) i++;
    int64_t at = row - f->r->row0[i];
    sd_fail(f->err, SD_E_FORMAT, "the activations are not finite: the first NaN or infinity is at %s, position %lld, token %d",
            sd_site_print(name, sizeof name, site), (long long)(f->seg[i].s->pos + at), (int)f->seg[i].tok[at]);
    return sd_hint(f->err, edited(f, f->seg[i].s) ? "they were edited: take a smaller value for the steer"
                                                  : "the weights may hold NaN, or numbers too large for this mode or for the numbers of the key-value cache");
}

/* The seam for all who watch or touch: one bit test where nobody does. */
static inline sd_status visit(const fwd *f, sd_site_kind kind, int layer, sd_mat x)
{
    sd_status st = SD_OK;
    if (f->r->want[layer] & sd_site__bit(kind))
        st = sd_hook__deliver(&(sd_visit){{kind, layer}, x, f->seg, f->n_seg, f->r->row0, f->r->n}, f->err);
    if (f->r->seek_nonfinite && !st && kind != SD_SITE_FINAL_NORM) st = seek(f, (sd_site){kind, layer}, x);
    return st;
}

/* y may be x. */
static void norm(const fwd *f, sd_mat y, sd_mat x, const sd_norm *n)
{
    if (f->m->wire.norm == SD_NORM_LAYER)
        sd_layernorm(f->r->ex, y, x, n->g, n->b, f->m->cfg.norm_eps);
    else
        sd_rmsnorm(f->r->ex, y, x, n->g, f->m->cfg.norm_eps);
}

/* What a half of a block reads: x through its norm, or x itself where the architecture has none there. */
static sd_mat input(const fwd *f, sd_mat x, const sd_norm *n)
{
    if (!n->g) return x;
    sd_mat y = rows_of(f, f->r->norm, f->m->cfg.d_model);
    norm(f, y, x, n);
    return y;
}

/* Products with one input: prepared once for neighbours that run in the same mode. */
static void products(const fwd *f, const sd_matrix *w, const sd_mat *y, int n, sd_mat x)
{
    const sd_linear *l[SD_LINEAR_MANY];
    for (int i = 0, k; i < n; i += k) {
        for (k = 0; i + k < n && sd_linear_mode(w[i + k].l) == sd_linear_mode(w[i].l); k++) l[k] = w[i + k].l;
        sd_linear_prepare(f->r->ex, l[0], x, f->r->linear_scratch);
        sd_linear_run_many(f->r->ex, l, y + i, k, x, f->r->linear_scratch);
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

/* Learned positions; r->norm is free before the first block. */
static void add_positions(const fwd *f, sd_mat x)
{
    sd_mat p = rows_of(f, f->r->norm, x.cols);
    for (int64_t i = 0; i < x.rows; i++) sd_wmat_decode_row(sd_mat_row(p, i), &f->m->pos, f->r->pos[i]);
    sd_add(f->r->ex, x, p);
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
                             .window = f->m->block[l].window,
                             .cap = f->m->wire.attn_cap};
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

/* Norms of q and k: of each head, or of the whole row. */
static void norm_heads(const fwd *f, sd_mat x, int n_head, const sd_norm *n)
{
    if (!n->g) return;
    if (f->m->wire.qk_norm == SD_QK_NORM_HEAD) x = sd_mat_of(x.data, x.rows * n_head, x.cols / n_head);
    norm(f, x, x, n);
}

static void turn(const fwd *f, sd_mat x, int n_head, int rope)
{
    if (f->m->wire.n_rope) sd_rope_apply(f->r->ex, x, n_head, f->m->cfg.n_rot / 2, f->r->cos[rope], f->r->sin[rope]);
}

/* in -> r->out, what attention adds to the stream. */
static sd_status attention(const fwd *f, int l, sd_mat in)
{
    sd_runner *r = f->r;
    const sd_config *c = &f->m->cfg;
    const sd_block *b = &f->m->block[l];
    int64_t q_cols = (int64_t)c->n_head * c->d_head, kv_cols = (int64_t)c->n_head_kv * c->d_head;
    sd_mat q = rows_of(f, r->q, q_cols), k = rows_of(f, r->k, kv_cols), v = rows_of(f, r->v, kv_cols);
    sd_mat z = rows_of(f, r->z, q_cols), out = rows_of(f, r->out, c->d_model);
    sd_status st;
    products(f, &b->mat[SD_MAT_Q], (const sd_mat[]){q, k, v}, 3, in);
    norm_heads(f, q, c->n_head, &b->q_norm);
    norm_heads(f, k, c->n_head_kv, &b->k_norm);
    if ((st = visit(f, SD_SITE_ATTN_Q, l, q))) return st;
    if ((st = visit(f, SD_SITE_ATTN_K, l, k))) return st;
    if ((st = visit(f, SD_SITE_ATTN_V, l, v))) return st;
    turn(f, q, c->n_head, b->rope);
    turn(f, k, c->n_head_kv, b->rope);
    if ((st = visit(f, SD_SITE_ROT_Q, l, q))) return st;
    if ((st = visit(f, SD_SITE_ROT_K, l, k))) return st;
    if ((st = attend(f, l))) return st;
    if ((st = visit(f, SD_SITE_ATTN_Z, l, z))) return st;
    sd_linear_fwd(r->ex, b->mat[SD_MAT_O].l, out, z, false, r->linear_scratch);
    if (b->attn_post.g) norm(f, out, out, &b->attn_post);
    return visit(f, SD_SITE_ATTN_OUT, l, out);
}

/* What the MLP reads, shown. Where the architecture has no norm there it is the stream itself, and whoever edits it gets a copy. */
static sd_status show_mlp_in(const fwd *f, int l, sd_mat *in)
{
    sd_mat own = rows_of(f, f->r->norm, f->m->cfg.d_model);
    if (!(f->r->want[l] & sd_site__bit(SD_SITE_MLP_IN))) return SD_OK;
    if (in->data != own.data) {
        memcpy(own.data, in->data, (size_t)(own.rows * own.cols) * sizeof(float));
        *in = own;
    }
    return visit(f, SD_SITE_MLP_IN, l, *in);
}

/* Where nobody looks inside of the MLP and its weights are packed: in -> what down reads, in one pass, left in r->down_scratch. */
static bool passes(const fwd *f, int l, const sd_linear_glu *g)
{
    const uint32_t inside = sd_site__bit(SD_SITE_MLP_PRE) | sd_site__bit(SD_SITE_MLP_UP) | sd_site__bit(SD_SITE_MLP_POST);
    return !(f->r->want[l] & inside) && !f->r->seek_nonfinite && sd_linear_glu_fits(g, f->rows);
}

/* in -> r->out, what the MLP adds to the stream. */
static sd_status mlp(const fwd *f, int l, sd_mat in)
{
    sd_runner *r = f->r;
    const sd_config *c = &f->m->cfg;
    const sd_block *b = &f->m->block[l];
    sd_mat gate = rows_of(f, r->gate, c->d_ffn), out = rows_of(f, r->out, c->d_model);
    sd_mat up = c->gated ? rows_of(f, r->up, c->d_ffn) : (sd_mat){0};
    const sd_linear_glu g = {b->mat[SD_MAT_GATE].l, c->gated ? b->mat[SD_MAT_UP].l : NULL, b->mat[SD_MAT_DOWN].l, f->m->wire.act};
    sd_status st = show_mlp_in(f, l, &in);
    if (st) return st;
    if (passes(f, l, &g)) {
        sd_linear_prepare(r->ex, g.gate, in, r->linear_scratch);
        sd_linear_run_glu(r->ex, &g, gate, in, r->linear_scratch, r->down_scratch);
        sd_linear_run(r->ex, g.next, out, gate, false, r->down_scratch);
    } else {
        products(f, &b->mat[SD_MAT_GATE], (const sd_mat[]){gate, up}, c->gated ? 2 : 1, in);
        if ((st = visit(f, SD_SITE_MLP_PRE, l, gate))) return st;
        if (c->gated && (st = visit(f, SD_SITE_MLP_UP, l, up))) return st;
        sd_nonlin_mul(r->ex, f->m->wire.act, gate, gate, up);
        if ((st = visit(f, SD_SITE_MLP_POST, l, gate))) return st;
        sd_linear_fwd(r->ex, g.next, out, gate, false, r->linear_scratch);
    }
    if (b->mlp_post.g) norm(f, out, out, &b->mlp_post);
    return visit(f, SD_SITE_MLP_OUT, l, out);
}

static sd_status block(const fwd *f, int l, sd_mat x)
{
    const sd_block *b = &f->m->block[l];
    sd_mat out = rows_of(f, f->r->out, f->m->cfg.d_model), in;
    sd_status st = visit(f, SD_SITE_RESID_PRE, l, x);
    if (st || (st = attention(f, l, input(f, x, &b->attn_norm)))) return st;
    if (f->m->wire.parallel) { /* both halves read the x that entered */
        in = input(f, x, &b->mlp_norm);
        sd_add(f->r->ex, x, out);
    } else {
        sd_add(f->r->ex, x, out);
        if ((st = visit(f, SD_SITE_RESID_MID, l, x))) return st;
        in = input(f, x, &b->mlp_norm);
    }
    if ((st = mlp(f, l, in))) return st;
    sd_add(f->r->ex, x, out);
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
            norm(f, sd_mat_of(r->norm + row0 * d, n, d), sd_mat_of(r->resid + row0 * d, n, d), &f->m->final_norm);
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
    r->nonfinite = sd_count_nonfinite(r->logits, n_logits * c->n_vocab) != 0;
    if (r->nonfinite)
        return sd_fail(f->err, SD_E_FORMAT, "the logits are not finite, the activations before them are");
    if (f->m->wire.logit_cap > 0) sd_softcap(r->ex, logits, f->m->wire.logit_cap);
    if (!(r->want[0] & sd_site__bit(SD_SITE_LOGITS))) return SD_OK;
    return sd_hook__deliver(&(sd_visit){{SD_SITE_LOGITS, 0}, logits, f->seg, f->n_seg, r->want0, r->want_n}, f->err);
}

sd_status sd_model__forward(sd_runner *r, sd_segment *seg, int n_seg, int last, sd_err *err)
{
    fwd f = {.r = r, .m = r->m, .seg = seg, .n_seg = n_seg, .rows = r->row0[n_seg - 1] + seg[n_seg - 1].n, .err = err};
    sd_mat x = rows_of(&f, r->resid, r->m->cfg.d_model);
    sd_status st;
    embed(&f);
    for (int k = 0; k < r->m->wire.n_rope; k++)
        for (int i = 0; i < n_seg; i++) {
            int64_t at = r->row0[i] * (r->m->cfg.n_rot / 2);
            sd_rope_angles(r->cos[k] + at, r->sin[k] + at, &seg[i].s->rope[k], r->pos + r->row0[i], seg[i].n);
        }
    if ((st = visit(&f, SD_SITE_EMBED, 0, x))) return st;
    if (r->m->pos.data) add_positions(&f, x);
    for (int l = 0; l <= last; l++) {
        if (r->stop && r->stop(r->stop_self)) return sd_fail(err, SD_E_CANCELLED, "the step was stopped before block %d", l);
        if ((st = block(&f, l, x))) return st;
    }
    return last + 1 == r->m->cfg.n_layer ? finish(&f) : SD_OK;
}
