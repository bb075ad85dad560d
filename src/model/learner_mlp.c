/* The inside of a gated MLP in bf16 mode. What its products give is rounded part by part, while it is in the first cache: gate, up and
 * h = act(gate) up are never whole matrices of f32, forward or backward, which would be written and read some ten times.
 * The bits are those of the way over whole matrices, which is taken where somebody watches (but backward, where a block is computed
 * again: there that way has gate and up as they were before they were rounded). */
#include "model/learner_int.h"

#include "num/kern_ops.h"

bool sd_learner__mlp_in_half(const sd_learner *t, int l)
{
    const uint32_t inside = (uint32_t)1 << SD_SITE_MLP_PRE | (uint32_t)1 << SD_SITE_MLP_UP | (uint32_t)1 << SD_SITE_MLP_POST;
    const sd_lmat *m = t->block[l].mat;
    if (!t->bf16 || !t->m->wire.gated || m[SD_MAT_GATE].b || m[SD_MAT_UP].b || t->ffn % 2 || t->drop) return false;
    if (t->hook && t->want[l] & inside) return false;
    const sd_mat x = {.rows = t->rows, .cols = t->d}, low = {.rows = t->rows, .cols = t->rank};
    const sd_prod twin = {.a2 = low}, up = {.kind = SD_PROD_NT, .bf16 = true, .a = x, .b = m[SD_MAT_UP].w, .a2 = low, .twin = &twin},
                  down = {.kind = SD_PROD_NN, .bf16 = true, .a = x, .b = m[SD_MAT_DOWN].w, .a2 = low};
    return sd_prod_can_end(t->ex, &up) && sd_prod_can_end(t->ex, &down);
}

static uint16_t *halves(float *p)
{
    return (uint16_t *)(void *)p;
}

/* A part's rows one after another. */
static int64_t numbers(const sd_prod_part *p)
{
    return (p->m - 1) * SD_PANEL + p->n;
}

/* Where a part of gate or up is kept: columns of a panel together, row after row, so that it is one stretch of memory. */
static int64_t place(const sd_learner *t, const sd_prod_part *p)
{
    return p->col * t->rows + p->row * p->n;
}

static void keep_part(const sd_learner *t, uint16_t *to, const float *y, const sd_prod_part *p)
{
    to += place(t, p);
    if (p->n == SD_PANEL) {
        t->ex->kern->to_bf16(to, y, p->m * SD_PANEL);
        return;
    }
    for (int64_t r = 0; r < p->m; r++) t->ex->kern->to_bf16(to + r * p->n, y + r * SD_PANEL, p->n);
}

static void kept_part(const sd_kern_train *kern, float *y, const uint16_t *from, const sd_prod_part *p)
{
    if (p->n == SD_PANEL) {
        kern->widen(y, from, p->m * SD_PANEL);
        return;
    }
    for (int64_t r = 0; r < p->m; r++) kern->widen(y + r * SD_PANEL, from + r * p->n, p->n);
}

static void round_part(const sd_learner *t, uint16_t *to, int64_t ld, const float *y, const sd_prod_part *p)
{
    for (int64_t r = 0; r < p->m; r++) t->ex->kern->to_bf16(to + (p->row + r) * ld + p->col, y + r * SD_PANEL, p->n);
}

static void act(const sd_learner *t, const sd_kern_ops *ops, float *h, const float *gate, const float *up, int64_t n)
{
    if (t->m->wire.act == SD_NONLIN_SILU)
        ops->silu_mul(h, gate, up, n);
    else
        ops->nonlin(t->m->wire.act, h, gate, up, n);
}

typedef struct act_end {
    const sd_learner *t;
    const sd_kern_ops *ops;
    uint16_t *gate, *up, *h; /* gate, up: NULL where nothing is remembered */
    int64_t ld;              /* of h */
} act_end;

static void act_part(void *arg, const sd_prod_part *p)
{
    const act_end *e = arg;
    if (e->gate) keep_part(e->t, e->gate, p->y, p), keep_part(e->t, e->up, p->twin, p);
    act(e->t, e->ops, p->y, p->y, p->twin, numbers(p));
    round_part(e->t, e->h, e->ld, p->y, p);
}

sd_half sd_learner__mlp_run(sd_learner *t, int l, bool again, sd_linput *in)
{
    act_end e = {.t = t, .ops = sd_kern_ops_select(t->ex->cpu.flags), .h = halves(t->act.h), .ld = sd_prod_half_ld(t->ffn)};
    const bool kept = t->block[l].kept && !again;
    if (t->remembers) {
        e.gate = kept ? sd_learner__kept_half(t, l, t->act.gate) : halves(t->act.gate);
        e.up = kept ? sd_learner__kept_half(t, l, t->act.up) : halves(t->act.up);
    }
    const sd_prod up = sd_learner__product(t, l, SD_MAT_UP, NULL, in);
    sd_prod gate = sd_learner__product(t, l, SD_MAT_GATE, NULL, in);
    gate.twin = &up, gate.end = act_part, gate.end_arg = &e;
    sd_prod_run(t->ex, &gate, t->scratch);
    return (sd_half){e.h, e.ld};
}

sd_lmlp_bwd sd_learner__mlp_bwd_of(const sd_learner *t, int l)
{
    const bool kept = t->block[l].kept != NULL;
    return (sd_lmlp_bwd){.t = t,
                         .kern = sd_kern_train_select(t->ex->cpu.flags),
                         .ops = sd_kern_ops_select(t->ex->cpu.flags),
                         .gate = kept ? sd_learner__kept_half(t, l, t->act.gate) : halves(t->act.gate),
                         .up = kept ? sd_learner__kept_half(t, l, t->act.up) : halves(t->act.up),
                         .h = halves(t->act.h),
                         .ggate = halves(t->ggate),
                         .gup = halves(t->gup),
                         .ld = sd_prod_half_ld(t->ffn)};
}

void sd_learner__mlp_bwd_part(void *arg, const sd_prod_part *p)
{
    enum { ROWS = 12 }; /* five matrices of that are 8 KB */
    const sd_lmlp_bwd *e = arg;
    float gate[ROWS * SD_PANEL] = {0}, up[ROWS * SD_PANEL] = {0}, h[ROWS * SD_PANEL], gu[ROWS * SD_PANEL];
    for (int64_t r = 0; r < p->m; r += ROWS) {
        sd_prod_part some = *p;
        some.row += r, some.m = p->m - r < ROWS ? p->m - r : ROWS, some.y += r * SD_PANEL;
        kept_part(e->kern, gate, e->gate + place(e->t, &some), &some);
        kept_part(e->kern, up, e->up + place(e->t, &some), &some);
        act(e->t, e->ops, h, gate, up, numbers(&some));
        e->kern->gate_bwd(some.y, gu, some.y, gate, up, e->t->m->wire.act, numbers(&some));
        round_part(e->t, e->h, e->ld, h, &some);
        round_part(e->t, e->ggate, e->ld, some.y, &some);
        round_part(e->t, e->gup, e->ld, gu, &some);
    }
    /* The next rows' come from memory, in their own time. */
    const int64_t next = place(e->t, p) + p->m * p->n, last = p->col * e->t->rows + e->t->rows * p->n;
    for (int64_t i = next; i < last && i < next + p->m * p->n; i += 32) __builtin_prefetch(e->gate + i, 0, 2), __builtin_prefetch(e->up + i, 0, 2);
}
