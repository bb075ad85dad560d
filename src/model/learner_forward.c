/* The forward pass of a learner: model.h's formulas over packed documents, each attending to itself alone. The inputs
 * of blocks stay; the inside of a block stays compactly where there is memory, in the type of the mode's products. */
#include "model/learner_int.h"

#include "base/par.h"
#include "base/rng.h"
#include "num/kern_train.h"

#include <string.h>

sd_status sd_learner__visit(sd_learner *t, sd_site_kind kind, int layer, sd_mat x, sd_mat dx, sd_err *err)
{
    if (!t->hook || !(t->want[layer] >> kind & 1u)) return SD_OK;
    const sd_grad_act a = {.site = {kind, layer}, .x = x, .dx = dx, .tok = t->tok, .n_doc = t->n_doc, .row0 = t->row0};
    return t->hook->fn(t->hook->self, &a, err);
}

void sd_learner__norm(const sd_learner *t, sd_mat y, sd_mat x, const sd_lnorm *n)
{
    if (t->m->wire.norm == SD_NORM_LAYER)
        sd_layernorm(t->ex, y, x, n->g, n->b, t->m->cfg.norm_eps);
    else
        sd_rmsnorm(t->ex, y, x, n->g, t->m->cfg.norm_eps);
}

sd_half sd_learner__half(const sd_learner *t, sd_linput *in, uint16_t *to)
{
    if (t->bf16 && !in->half.data) in->half = sd_prod_round(t->ex, in->x, to);
    return in->half;
}

typedef struct drop_job {
    sd_mat to, from;
    uint32_t key[2], of, step, cut;
    float up;
} drop_job;

static void drop_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const drop_job *j = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const float *from = sd_mat_row(j->from, i);
        float *to = sd_mat_row(j->to, i);
        for (int64_t c = 0; c < j->to.cols; c += 4) {
            uint32_t r[4];
            const uint32_t ctr[4] = {(uint32_t)c, (uint32_t)i, j->of, j->step};
            sd_philox(r, ctr, j->key);
            for (int64_t k = c; k < j->to.cols && k < c + 4; k++) to[k] = r[k - c] < j->cut ? 0.0f : from[k] * j->up;
        }
    }
}

/* Four elements a block of the generator. */
void sd_learner__drop(const sd_learner *t, int l, int mat, sd_mat to, sd_mat from)
{
    enum { CHUNK = 16 };
    const double p = t->opt.lora->opt.dropout;
    drop_job j = {.to = to, .from = from, .key = {(uint32_t)t->opt.seed, (uint32_t)(t->opt.seed >> 32) ^ 0x6472u}, .of = (uint32_t)(l * SD_MAT_COUNT + mat), .step = (uint32_t)t->step,
                  .cut = (uint32_t)(p * 4294967296.0), .up = (float)(1.0 / (1.0 - p))};
    sd_parallel_for(t->ex->n_threads, to.rows, CHUNK, drop_rows, &j);
}

sd_mat sd_learner__dropped(const sd_learner *t, int l, int mat, sd_mat x)
{
    if (!t->drop || !t->remembers) return x;
    const sd_mat to = sd_mat_of(t->drop, x.rows, x.cols);
    sd_learner__drop(t, l, mat, to, x);
    return to;
}

sd_prod sd_learner__product(const sd_learner *t, int l, sd_mat_role role, float *to, sd_linput *input)
{
    const sd_mat x = input->x;
    const sd_lmat *w = &t->block[l].mat[role];
    const sd_lora_mat *a = &w->lora;
    sd_mat y = sd_learner__mat(t, to, w->w.rows);
    sd_prod p = {.kind = SD_PROD_NT, .bf16 = t->bf16, .c = y, .a = x, .b = w->w, .a_half = sd_learner__half(t, input, t->half_x)};
    if (a->rank) {
        const sd_mat in = sd_learner__dropped(t, l, role, x);
        sd_prod down = p;
        if (in.data != x.data) down.a_half = (sd_half){0};
        down.c = sd_learner__low(t, l, role), down.a = in, down.b = sd_wmat_of(a->a, a->rank, x.cols);
        sd_prod_run(t->ex, &down, t->scratch);
        sd_scale(t->ex, down.c, a->scale);
        p.a2 = down.c, p.b2 = sd_wmat_of(a->b, y.cols, a->rank);
    }
    return p;
}

/* y = x W^T + b + scale (x A^T) B^T */
static void product(const sd_learner *t, int l, sd_mat_role role, float *to, sd_linput *input)
{
    const float *b = t->block[l].mat[role].b;
    const sd_prod p = sd_learner__product(t, l, role, to, input);
    sd_prod_run(t->ex, &p, t->scratch);
    if (b) sd_add_bias(t->ex, p.c, b);
}

/* Norms of q and k: of each head, or of the whole row. raw -> y. */
static void norm_heads(const sd_learner *t, float *y, float *raw, int64_t cols, int n_head, const sd_lnorm *n)
{
    sd_mat a = sd_learner__mat(t, raw, cols), b = sd_learner__mat(t, y, cols);
    if (!n->g) return;
    if (t->m->wire.qk_norm == SD_QK_NORM_HEAD) {
        a = sd_mat_of(raw, t->rows * n_head, cols / n_head);
        b = sd_mat_of(y, t->rows * n_head, cols / n_head);
    }
    sd_learner__norm(t, b, a, n);
}

static void attend(sd_learner *t, int l)
{
    const sd_config *c = &t->m->cfg;
    const sd_attn_opt opt = {.n_head = c->n_head,
                             .n_head_kv = c->n_head_kv,
                             .d_head = c->d_head,
                             .scale = c->attn_scale,
                             .window = t->m->block[l].window,
                             .cap = t->m->wire.attn_cap};
    const sd_kv_type type = t->attn_bf16 && sd_kv_can(t->ex, SD_KV_BF16) ? SD_KV_BF16 : SD_KV_F32;
    uint8_t *k = (uint8_t *)t->kv_mem, *v = k + t->kv_half;
    for (int i = 0; i < t->n_doc; i++) {
        const int64_t r = t->row0[i], n = t->row0[i + 1] - r;
        sd_kv cache = {.k = k, .v = v, .cap = sd_kv_cap(n), .n_head = c->n_head_kv, .d_head = c->d_head, .type = type};
        sd_kv_write(t->ex, cache, 0, sd_mat_of(t->act.k + r * t->kv, n, t->kv),
                    sd_mat_of(t->act.v + r * t->kv, n, t->kv));
        t->seq[i] = (sd_attn_seq){
            .out = sd_mat_of(t->act.z + r * t->q, n, t->q), .q = sd_mat_of(t->act.q + r * t->q, n, t->q), .kv = cache};
        k += (size_t)(cache.cap * t->kv) * sizeof(float);
        v += (size_t)(cache.cap * t->kv) * sizeof(float);
    }
    sd_attn(t->ex, &opt, t->seq, t->n_doc, t->scratch);
}

static sd_status attention(sd_learner *t, int l, bool again, sd_linput *in, sd_err *err)
{
    const sd_config *c = &t->m->cfg;
    const sd_lblock *b = &t->block[l];
    sd_lact *a = &t->act;
    sd_mat q = sd_learner__mat(t, a->q, t->q), k = sd_learner__mat(t, a->k, t->kv), v = sd_learner__mat(t, a->v, t->kv),
           none = {0};
    sd_linput z_once = {.x = sd_learner__mat(t, a->z, t->q)};
    sd_status st;
    product(t, l, SD_MAT_Q, b->q_norm.g ? a->q_raw : a->q, in);
    product(t, l, SD_MAT_K, b->k_norm.g ? a->k_raw : a->k, in);
    product(t, l, SD_MAT_V, a->v, in);
    norm_heads(t, a->q, a->q_raw, t->q, c->n_head, &b->q_norm);
    norm_heads(t, a->k, a->k_raw, t->kv, c->n_head_kv, &b->k_norm);
    if (!again) {
        if ((st = sd_learner__visit(t, SD_SITE_ATTN_Q, l, q, none, err))) return st;
        if ((st = sd_learner__visit(t, SD_SITE_ATTN_K, l, k, none, err))) return st;
        if ((st = sd_learner__visit(t, SD_SITE_ATTN_V, l, v, none, err))) return st;
    }
    if (t->m->wire.n_rope) {
        const int r = t->m->block[l].rope, half = c->n_rot / 2;
        sd_rope_apply(t->ex, q, c->n_head, half, t->cos[r], t->sin[r]);
        sd_rope_apply(t->ex, k, c->n_head_kv, half, t->cos[r], t->sin[r]);
    }
    if (!again) {
        if ((st = sd_learner__visit(t, SD_SITE_ROT_Q, l, q, none, err))) return st;
        if ((st = sd_learner__visit(t, SD_SITE_ROT_K, l, k, none, err))) return st;
    }
    attend(t, l);
    sd_mat z = sd_learner__mat(t, a->z, t->q), out = sd_learner__mat(t, t->out, t->d);
    if (!again && (st = sd_learner__visit(t, SD_SITE_ATTN_Z, l, z, none, err))) return st;
    product(t, l, SD_MAT_O, b->attn_post.g ? a->a_raw : t->out, &z_once);
    if (b->attn_post.g) sd_learner__norm(t, out, sd_learner__mat(t, a->a_raw, t->d), &b->attn_post);
    return again ? SD_OK : sd_learner__visit(t, SD_SITE_ATTN_OUT, l, out, none, err);
}

static sd_status mlp(sd_learner *t, int l, bool again, sd_linput *in, sd_err *err)
{
    const sd_lblock *b = &t->block[l];
    sd_lact *a = &t->act;
    const bool gated = t->m->wire.gated;
    sd_mat gate = sd_learner__mat(t, a->gate, t->ffn), up = gated ? sd_learner__mat(t, a->up, t->ffn) : (sd_mat){0},
           none = {0};
    sd_mat h = sd_learner__mat(t, a->h, t->ffn), out = sd_learner__mat(t, t->out, t->d);
    sd_linput h_once = {.x = h};
    sd_status st;
    if (!again && (st = sd_learner__visit(t, SD_SITE_MLP_IN, l, in->x, none, err))) return st;
    if (sd_learner__mlp_in_half(t, l)) {
        h_once.half = sd_learner__mlp_run(t, l, again, in);
    } else {
        product(t, l, SD_MAT_GATE, a->gate, in);
        if (gated) product(t, l, SD_MAT_UP, a->up, in);
        if (!again) {
            if ((st = sd_learner__visit(t, SD_SITE_MLP_PRE, l, gate, none, err))) return st;
            if (gated && (st = sd_learner__visit(t, SD_SITE_MLP_UP, l, up, none, err))) return st;
        }
        sd_nonlin_mul(t->ex, t->m->wire.act, h, gate, up);
        if (!again && (st = sd_learner__visit(t, SD_SITE_MLP_POST, l, h, none, err))) return st;
    }
    product(t, l, SD_MAT_DOWN, b->mlp_post.g ? a->m_raw : t->out, &h_once);
    if (b->mlp_post.g) sd_learner__norm(t, out, sd_learner__mat(t, a->m_raw, t->d), &b->mlp_post);
    return again ? SD_OK : sd_learner__visit(t, SD_SITE_MLP_OUT, l, out, none, err);
}

/* Nothing but products reads block l's norms. */
static bool in_half(const sd_learner *t, int l)
{
    const bool watched = t->hook && t->want[l] >> SD_SITE_MLP_IN & 1u;
    return t->bf16 && sd_prod_multiplies_bf16(t->ex) && !t->drop && !watched;
}

sd_linput sd_learner__normed(const sd_learner *t, sd_lnorm_at at, sd_mat x, const sd_lnorm *n)
{
    if (!n->g) return (sd_linput){.x = x};
    sd_linput in = {.x = sd_learner__mat(t, at.to, t->d)};
    if (in_half(t, at.l)) {
        const int64_t ld = sd_prod_half_ld(t->d);
        sd_norm_half(t->ex, &(sd_norm_round){t->half_x, ld, t->scratch, x, n->g, n->b, t->m->wire.norm == SD_NORM_LAYER, t->m->cfg.norm_eps});
        in.half = (sd_half){t->half_x, ld};
    } else if (at.make) {
        sd_learner__norm(t, in.x, x, n);
    }
    return in;
}

/* ---- the inside of a block, kept ---- */

typedef struct slot {
    float *data;
    int64_t cols;
    bool wide; /* f32 in any mode: the residual stream */
} slot;
enum { MAX_SLOTS = 11 };

static int slots(const sd_learner *t, slot s[MAX_SLOTS])
{
    const sd_lact *a = &t->act;
    const sd_lblock *b = &t->block[0];
    int n = 0;
    s[n++] = (slot){a->mid, t->d, true};
    s[n++] = (slot){a->q, t->q, false};
    s[n++] = (slot){a->k, t->kv, false};
    s[n++] = (slot){a->v, t->kv, false};
    s[n++] = (slot){a->z, t->q, false};
    s[n++] = (slot){a->gate, t->ffn, false};
    if (t->m->wire.gated) s[n++] = (slot){a->up, t->ffn, false};
    if (b->q_norm.g) s[n++] = (slot){a->q_raw, t->q, false};
    if (b->k_norm.g) s[n++] = (slot){a->k_raw, t->kv, false};
    if (b->attn_post.g) s[n++] = (slot){a->a_raw, t->d, false};
    if (b->mlp_post.g) s[n++] = (slot){a->m_raw, t->d, false};
    return n;
}

size_t sd_learner__kept_bytes(const sd_learner *t)
{
    slot s[MAX_SLOTS];
    size_t sum = sd_arena_need(sd_learner__low_bytes(t));
    for (int i = 0, n = slots(t, s); i < n; i++)
        sum += sd_arena_need((size_t)(t->opt.max_rows * s[i].cols) * (s[i].wide || !t->bf16 ? 4 : 2));
    return sum;
}

uint16_t *sd_learner__kept_half(const sd_learner *t, int l, const float *what)
{
    slot s[MAX_SLOTS];
    uint8_t *at = t->block[l].kept;
    for (int i = 0, n = slots(t, s); i < n && s[i].data != what; i++)
        at += sd_arena_need((size_t)(t->opt.max_rows * s[i].cols) * (s[i].wide || !t->bf16 ? 4 : 2));
    return (uint16_t *)(void *)at;
}

/* What an MLP in half writes itself, and reads as it is. */
static bool stays(const sd_learner *t, int l, const slot *s)
{
    return (s->data == t->act.gate || s->data == t->act.up) && sd_learner__mlp_in_half(t, l);
}

static void keep(const sd_learner *t, int l)
{
    slot s[MAX_SLOTS];
    uint8_t *to = t->block[l].kept;
    for (int i = 0, n = slots(t, s); i < n; i++) {
        const int64_t k = t->rows * s[i].cols;
        const bool wide = s[i].wide || !t->bf16;
        if (stays(t, l, &s[i]))
            ;
        else if (wide)
            sd_sum(t->ex, sd_learner__mat(t, (float *)(void *)to, s[i].cols), sd_learner__mat(t, s[i].data, s[i].cols), (sd_mat){0});
        else
            sd_to_bf16(t->ex, (uint16_t *)(void *)to, s[i].data, k);
        to += sd_arena_need((size_t)(t->opt.max_rows * s[i].cols) * (wide ? 4 : 2));
    }
}

void sd_learner__restore(sd_learner *t, int l)
{
    slot s[MAX_SLOTS];
    uint8_t *from = t->block[l].kept;
    const sd_lblock *b = &t->block[l];
    for (int i = 0, n = slots(t, s); i < n; i++) {
        const int64_t k = t->rows * s[i].cols;
        const bool wide = s[i].wide || !t->bf16;
        if (stays(t, l, &s[i]))
            ;
        else if (wide)
            sd_sum(t->ex, sd_learner__mat(t, s[i].data, s[i].cols), sd_learner__mat(t, (float *)(void *)from, s[i].cols), (sd_mat){0});
        else
            sd_from_bf16(t->ex, s[i].data, (const uint16_t *)(const void *)from, k);
        from += sd_arena_need((size_t)(t->opt.max_rows * s[i].cols) * (wide ? 4 : 2));
    }
    sd_mat x = sd_learner__mat(t, sd_learner__x(t, l), t->d),
           mid = t->m->wire.parallel ? x : sd_learner__mat(t, t->act.mid, t->d);
    if (!in_half(t, l)) {
        if (b->attn_norm.g) sd_learner__norm(t, sd_learner__mat(t, t->act.norm, t->d), x, &b->attn_norm);
        if (b->mlp_norm.g) sd_learner__norm(t, sd_learner__mat(t, t->act.norm2, t->d), mid, &b->mlp_norm);
    }
    if (sd_learner__mlp_in_half(t, l)) return;
    sd_mat up = t->m->wire.gated ? sd_learner__mat(t, t->act.up, t->ffn) : (sd_mat){0};
    sd_nonlin_mul(t->ex, t->m->wire.act, sd_learner__mat(t, t->act.h, t->ffn), sd_learner__mat(t, t->act.gate, t->ffn),
                  up);
}

/* ---- blocks, ends ---- */

sd_status sd_learner__block(sd_learner *t, int l, bool again, sd_err *err)
{
    const sd_lblock *b = &t->block[l];
    sd_mat x = sd_learner__mat(t, sd_learner__x(t, t->remembers ? l : 0), t->d), out = sd_learner__mat(t, t->out, t->d),
           none = {0};
    sd_mat mid = sd_learner__mat(t, t->act.mid, t->d);
    const bool parallel = t->m->wire.parallel;
    sd_status st;
    if (!again && (st = sd_learner__visit(t, SD_SITE_RESID_PRE, l, x, none, err))) return st;
    sd_linput in = sd_learner__normed(t, (sd_lnorm_at){l, t->act.norm, true}, x, &b->attn_norm);
    if ((st = attention(t, l, again, &in, err))) return st;
    sd_sum(t->ex, mid, x, out);
    if (!again && !parallel && (st = sd_learner__visit(t, SD_SITE_RESID_MID, l, mid, none, err))) return st;
    in = sd_learner__normed(t, (sd_lnorm_at){l, t->act.norm2, true}, parallel ? x : mid, &b->mlp_norm);
    if ((st = mlp(t, l, again, &in, err))) return st;
    if (again) return SD_OK;
    sd_mat next = sd_learner__mat(t, t->remembers ? sd_learner__x(t, l + 1) : x.data, t->d);
    if (t->remembers && b->kept) keep(t, l);
    sd_sum(t->ex, next, mid, out);
    return sd_learner__visit(t, SD_SITE_RESID_POST, l, next, none, err);
}

static sd_status embed(sd_learner *t, sd_err *err)
{
    const sd_config *c = &t->m->cfg;
    sd_mat x = sd_learner__mat(t, sd_learner__x(t, 0), t->d);
    for (int64_t i = 0; i < t->rows; i++) {
        sd_wmat_decode_row(sd_mat_row(x, i), &t->embed.w, t->tok[i]);
        if (c->embed_scale != 1.0f)
            for (int64_t j = 0; j < t->d; j++) sd_mat_row(x, i)[j] *= c->embed_scale;
    }
    sd_status st = sd_learner__visit(t, SD_SITE_EMBED, 0, x, (sd_mat){0}, err);
    if (st || !t->pos.w.data) return st;
    sd_mat p = sd_learner__mat(t, t->out, t->d);
    for (int64_t i = 0; i < t->rows; i++) sd_wmat_decode_row(sd_mat_row(p, i), &t->pos.w, t->pos_of[i]);
    sd_add(t->ex, x, p);
    return SD_OK;
}

static void angles(sd_learner *t)
{
    const int64_t half = t->m->cfg.n_rot / 2;
    for (int k = 0; k < t->m->wire.n_rope; k++) {
        sd_rope_angles(t->cos[k], t->sin[k], &t->rope[k], t->pos_of, t->rows);
        for (int64_t i = 0; i < t->rows * half; i++) t->nsin[k][i] = -t->sin[k][i];
    }
}

static sd_status pack(sd_learner *t, const sd_doc *doc, int n_doc, sd_err *err)
{
    t->rows = t->n_count = 0;
    if (n_doc < 1 || n_doc > t->opt.max_docs)
        return sd_fail(err, SD_E_ARG, "%d documents in one forward; it takes 1 to %d", n_doc, t->opt.max_docs);
    t->n_doc = n_doc;
    for (int i = 0; i < n_doc; i++) {
        t->row0[i] = t->rows;
        if (doc[i].n < 1 || doc[i].n > t->opt.max_rows - t->rows || doc[i].n > t->m->max_ctx)
            return sd_fail(err, SD_E_ARG, "document %d has %lld tokens; a forward takes %lld, the model %lld", i,
                           (long long)doc[i].n, (long long)t->opt.max_rows, (long long)t->m->max_ctx);
        for (int64_t k = 0; k < doc[i].n; k++, t->rows++) {
            const int32_t id = doc[i].tok[k], to = doc[i].target ? doc[i].target[k] : -1;
            if (id < 0 || id >= t->m->cfg.n_vocab || to >= t->m->cfg.n_vocab)
                return sd_fail(err, SD_E_ARG, "token %d of a vocabulary of %lld",
                               (int)(id < 0 || id >= t->m->cfg.n_vocab ? id : to), (long long)t->m->cfg.n_vocab);
            t->tok[t->rows] = id;
            t->pos_of[t->rows] = (int32_t)k;
            if (to < 0) continue;
            t->target[t->n_count] = to;
            t->count_row[t->n_count++] = t->rows;
        }
    }
    t->row0[n_doc] = t->rows;
    return SD_OK;
}

/* The last norm and the head, on the rows that count. A watcher of final_norm sees all rows. */
static sd_status finish(sd_learner *t, bool grad, const sd_learner_look *look, sd_err *err)
{
    float *last = sd_learner__x(t, grad ? t->m->cfg.n_layer : 0);
    sd_mat all = sd_learner__mat(t, t->out, t->d), hn = sd_mat_of(t->hn, t->n_count, t->d);
    sd_learner__norm(t, all, sd_learner__mat(t, last, t->d), &t->final_norm);
    sd_status st = sd_learner__visit(t, SD_SITE_FINAL_NORM, 0, all, (sd_mat){0}, err);
    if (st) return st;
    for (int64_t i = 0; i < t->n_count; i++)
        memcpy(sd_mat_row(hn, i), sd_mat_row(all, t->count_row[i]), (size_t)t->d * sizeof(float));
    const sd_xent x = {.h = hn,
                       .w = t->head.w,
                       .target = t->target,
                       .softcap = t->m->wire.logit_cap,
                       .bf16 = t->bf16,
                       .lp = t->lp,
                       .lse = t->lse,
                       .top = look ? look->top : NULL,
                       .also = look ? look->id : NULL,
                       .n_also = look ? look->n_id : 0,
                       .lp_also = look ? look->lp : NULL,
                       .gh = grad ? sd_mat_of(t->gh, t->n_count, t->d) : (sd_mat){0}};
    sd_xent_fwd(t->ex, &x, t->scratch);
    return SD_OK;
}

sd_status sd_learner_forward(sd_learner *t, const sd_learner_batch *b, const float **lp, int64_t *n_lp, sd_err *err)
{
    t->remembers = false;
    t->step = b->step;
    sd_status st = pack(t, b->doc, b->n_doc, err);
    if (st) return st;
    for (int k = 0; b->look && k < b->look->n_id; k++)
        if (b->look->id[k] < 0 || b->look->id[k] >= t->m->cfg.n_vocab)
            return sd_fail(err, SD_E_ARG, "token %d of a vocabulary of %lld", (int)b->look->id[k], (long long)t->m->cfg.n_vocab);
    t->remembers = b->grad;
    angles(t);
    st = embed(t, err);
    for (int l = 0; !st && l < t->m->cfg.n_layer; l++) st = sd_learner__block(t, l, false, err);
    if (!st) st = finish(t, b->grad, b->look, err);
    if (st) t->remembers = false;
    *lp = t->lp;
    *n_lp = t->n_count;
    return st;
}
