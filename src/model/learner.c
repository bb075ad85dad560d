/* A learner's life: checks, the plan of its memory, sites that are watched. */
#include "model/learner_int.h"

#include <string.h>

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static size_t larger_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Two passes over the same list: sizes, then places. */
typedef struct layout {
    uint8_t *base; /* NULL: only sizes */
    size_t used;
} layout;

static void *place(layout *l, int64_t a, int64_t b, size_t bytes)
{
    void *p = l->base ? l->base + l->used : NULL;
    l->used += sd_arena_need((size_t)a * (size_t)b * bytes);
    return p;
}

static float *floats(layout *l, int64_t a, int64_t b)
{
    return place(l, a, b, sizeof(float));
}

static int most_rank(const sd_learner *t)
{
    int most = 0;
    for (int l = 0; l < t->m->cfg.n_layer; l++)
        for (int i = 0; i < SD_MAT_COUNT; i++)
            if (t->block[l].mat[i].lora.rank > most) most = t->block[l].mat[i].lora.rank;
    return most;
}

static size_t scratch_bytes(const sd_learner *t)
{
    const sd_config *c = &t->m->cfg;
    const int64_t R = t->opt.max_rows, longest = R < t->m->max_ctx ? R : t->m->max_ctx,
                  wide = larger(sd_learner__widest_input(t), t->rank); /* an adapter's rows may be more than a matrix has */
    const sd_attn_opt fwd = {.n_head = c->n_head, .n_head_kv = c->n_head_kv, .d_head = c->d_head};
    const sd_attn_grad bwd = {.n_head = c->n_head, .n_head_kv = c->n_head_kv, .d_head = c->d_head, .bf16 = t->attn_bf16};
    size_t s = sd_prod_scratch(t->ex, R, larger(wide, t->kv)) + 2 * sd_prod_second_scratch(R, t->rank);
    s = larger_size(s, sd_prod_scratch(t->ex, wide, R)); /* gradients of weights */
    s = larger_size(s, sd_xent_scratch(t->ex, R, t->d));
    if (t->opt.teacher_cols) s = larger_size(s, sd_distill_scratch(t->ex, R, t->d, t->opt.teacher_cols));
    s = larger_size(s, sd_attn_scratch(t->ex, &fwd, longest));
    return larger_size(s, sd_attn_bwd_scratch(t->ex, &bwd, longest));
}

/* [R, cols] of floats or, in bf16 mode, of rounded rows. */
static float *either(const sd_learner *t, layout *l, int64_t R, int64_t cols)
{
    const size_t wide = (size_t)(R * cols) * sizeof(float), half = t->bf16 ? sd_prod_half_bytes(R, cols) : 0;
    return place(l, (int64_t)(wide > half ? wide : half), 1, 1);
}

static void lay_inside(sd_learner *t, layout *l)
{
    const int64_t R = t->opt.max_rows, d = t->d;
    const sd_lblock *b = &t->block[0];
    sd_lact *a = &t->act;
    a->norm = floats(l, R, d), a->norm2 = floats(l, R, d), a->mid = floats(l, R, d);
    a->q = floats(l, R, t->q), a->k = floats(l, R, t->kv), a->v = floats(l, R, t->kv), a->z = floats(l, R, t->q);
    a->q_raw = b->q_norm.g ? floats(l, R, t->q) : NULL;
    a->k_raw = b->k_norm.g ? floats(l, R, t->kv) : NULL;
    a->a_raw = b->attn_post.g ? floats(l, R, d) : NULL;
    a->m_raw = b->mlp_post.g ? floats(l, R, d) : NULL;
    a->gate = floats(l, R, t->ffn), a->h = either(t, l, R, t->ffn);
    a->up = t->m->wire.gated ? floats(l, R, t->ffn) : NULL;
}

static void lay_out(sd_learner *t, layout *l)
{
    const sd_config *c = &t->m->cfg;
    const int64_t R = t->opt.max_rows, d = t->d, docs = t->opt.max_docs, rank = t->rank;
    t->x = floats(l, (c->n_layer + 1) * R, d);
    lay_inside(t, l);
    t->out = floats(l, R, d), t->gx = floats(l, R, d), t->gt = floats(l, R, d);
    t->gq = floats(l, R, t->q), t->gk = floats(l, R, t->kv), t->gv = floats(l, R, t->kv), t->gz = floats(l, R, t->q);
    t->ggate = either(t, l, R, t->ffn), t->gup = t->m->wire.gated ? either(t, l, R, t->ffn) : NULL;
    const int64_t half = t->bf16 ? (int64_t)sd_prod_half_bytes(R, larger(sd_learner__widest_input(t), t->kv)) : 0;
    t->half_x = place(l, half, 1, 1), t->half_g = place(l, half, 1, 1);
    float *low = floats(l, SD_MAT_COUNT * R, rank);
    t->glow = floats(l, R, rank), t->turned = floats(l, rank, larger(sd_learner__widest_input(t), t->kv));
    const bool drops = t->opt.lora && t->opt.lora->opt.dropout > 0;
    t->drop = drops ? floats(l, 2 * R, sd_learner__widest_input(t)) : NULL;
    t->hn = floats(l, R, d), t->gh = floats(l, R, d), t->lp = floats(l, R, 1), t->lse = floats(l, R, 1),
    t->row = floats(l, R, 1);
    t->stat = floats(l, R, 2 * larger(c->n_head, c->n_head_kv));
    for (int k = 0; k < t->m->wire.n_rope; k++)
        t->cos[k] = floats(l, R, c->n_rot / 2), t->sin[k] = floats(l, R, c->n_rot / 2),
        t->nsin[k] = floats(l, R, c->n_rot / 2);
    t->kv_half = (size_t)((R + docs * SD_KV_PANEL) * t->kv) * sizeof(float);
    t->kv_mem = place(l, 2, (int64_t)t->kv_half, 1);
    t->pos_of = place(l, R, 1, sizeof(int32_t)), t->tok = place(l, R, 1, sizeof(int32_t)),
    t->target = place(l, R, 1, sizeof(int32_t));
    t->count_row = place(l, R, 1, sizeof(int64_t)), t->row0 = place(l, docs + 1, 1, sizeof(int64_t));
    t->seq = place(l, docs, 1, sizeof *t->seq), t->doc = place(l, docs, 1, sizeof *t->doc);
    t->scratch = place(l, (int64_t)scratch_bytes(t), 1, 1);
    /* The last blocks are kept first: they come first in the backward pass, while what they hold is still in the
     * caches. */
    const size_t each = sd_learner__kept_bytes(t);
    size_t left = t->opt.keep_bytes;
    for (int b = 0; b < c->n_layer; b++) t->block[b].low = low;
    for (int b = c->n_layer - 1; b >= 0 && left >= each; b--, left -= each) {
        t->block[b].low = floats(l, SD_MAT_COUNT * R, rank);
        t->block[b].kept = place(l, (int64_t)(each - sd_arena_need(sd_learner__low_bytes(t))), 1, 1);
    }
}

static sd_status check(const sd_model *m, const sd_learner_opt *o, sd_err *err)
{
    if (m->n_layer_loaded != m->cfg.n_layer || !m->head_w.data)
        return sd_fail(err, SD_E_ARG, "a model opened without all its layers and its head cannot learn");
    if (!o->full && !o->lora) return sd_fail(err, SD_E_ARG, "nothing learns: neither all parameters nor an adapter");
    return SD_OK;
}

sd_status sd_learner_new(sd_learner **out, const sd_exec *ex, const sd_model *m, const sd_learner_opt *opt, sd_err *err)
{
    sd_learner *t = NULL;
    layout l = {0};
    *out = NULL;
    sd_status st = check(m, opt, err);
    if (!st) st = sd_alloc_zero(&t, sizeof *t, "a learner", err);
    if (st) return st;
    t->ex = ex, t->m = m, t->opt = *opt;
    if (!t->opt.max_rows) t->opt.max_rows = 1024;
    if (!t->opt.max_docs) t->opt.max_docs = 64;
    /* Whole numbers stand in for bf16 only where bf16 is asked for. */
    t->bf16 = opt->mode == SD_MODE_DEFAULT ? (ex->cpu.flags & SD_CPU_AVX512_BF16) != 0 : opt->mode != SD_MODE_FAITHFUL && sd_prod_can_half(ex);
    t->attn_bf16 = t->bf16 && !opt->attn_f32;
    t->d = m->cfg.d_model, t->ffn = m->cfg.d_ffn;
    t->q = (int64_t)m->cfg.n_head * m->cfg.d_head, t->kv = (int64_t)m->cfg.n_head_kv * m->cfg.d_head;
    if ((st = sd_alloc_zero(&t->block, (size_t)m->cfg.n_layer * sizeof *t->block, "the table of layers", err)))
        goto done;
    if ((st = sd_alloc_zero(&t->want, (size_t)m->cfg.n_layer * sizeof *t->want, "the table of sites", err))) goto done;
    for (int k = 0; k < m->wire.n_rope; k++)
        if ((st = sd_rope_make(&t->rope[k], &m->rope[k], t->opt.max_rows < m->max_ctx ? t->opt.max_rows : m->max_ctx,
                               err)))
            goto done;
    if ((st = sd_learner__params(t, err))) goto done;
    t->rank = most_rank(t);
    lay_out(t, &l);
    if ((st = sd_arena_init_wide(&t->arena, l.used, "a step of learning", err))) goto done;
    l = (layout){.base = t->arena.base};
    lay_out(t, &l);
    /* The last panel of keys is read whole, also where no position has been written. */
    memset(t->kv_mem, 0, 2 * t->kv_half);
    *out = t;
    t = NULL;
done:
    sd_learner_free(t);
    return st;
}

void sd_learner_free(sd_learner *t)
{
    if (!t) return;
    for (int l = 0; t->block && l < t->m->cfg.n_layer; l++)
        for (int i = 0; i < SD_MAT_COUNT; i++) sd_free(t->block[l].mat[i].owned);
    if (t->own_w) sd_free(t->w);
    sd_free(t->g);
    sd_free(t->range);
    sd_free(t->block);
    sd_free(t->want);
    sd_rope_release(&t->rope[0]);
    sd_rope_release(&t->rope[1]);
    sd_arena_release(&t->arena);
    sd_free(t);
}

size_t sd_learner_bytes(const sd_learner *t)
{
    return t->arena.size + (size_t)t->n * sizeof(float) * (t->own_w ? 2 : 1);
}

sd_status sd_learner_watch(sd_learner *t, const sd_grad_hook *hook, sd_err *err)
{
    const int n_layer = t->m->cfg.n_layer;
    memset(t->want, 0, (size_t)n_layer * sizeof *t->want);
    t->hook = NULL;
    t->remembers = false;
    for (int i = 0; hook && i < hook->n_at; i++) {
        const sd_site s = hook->at[i];
        char name[48];
        int64_t cols;
        sd_status st = sd_model_site_cols(t->m, s, &cols, err);
        if (st) return st;
        if (s.kind == SD_SITE_ATTN_PATTERN || s.kind == SD_SITE_LOGITS)
            return sd_fail(err, SD_E_ARG, "%s is not kept in learning: probabilities and logits only exist in tiles",
                           sd_site_print(name, sizeof name, s));
        t->want[sd_site_is_layered(s.kind) ? s.layer : 0] |= (uint32_t)1 << s.kind;
    }
    t->hook = hook;
    return SD_OK;
}

int64_t sd_learner_n(const sd_learner *t)
{
    return t->n;
}
float *sd_learner_w(sd_learner *t)
{
    return t->w;
}
float *sd_learner_g(sd_learner *t)
{
    return t->g;
}
int sd_learner_ranges(const sd_learner *t, const sd_learner_range **out)
{
    *out = t->range;
    return t->n_range;
}
