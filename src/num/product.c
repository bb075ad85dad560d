/* Products of learning over the tile kernels of sd_linear. A task owns a group of panels of b (32 columns of c each)
 * and a block of rows: it builds the panels piece by piece of k and runs all its rows over each piece, the sums waiting
 * in c. Building a panel is one pass over b: at 1,024 rows a twentieth of the time of the product. Where two terms are multiplied, or parts are handed
 * over (`whole`), all panels of a task lie side by side and the sums of a tile of rows wait in the first cache. */
#include "num/product.h"

#include "base/par.h"
#include "num/kern_train.h"

#include <string.h>

enum {
    PIECE = 1024,      /* of k: a panel piece is 128 KB, a row piece of 96 rows 384 KB */
    GROUP = 8,         /* most panels built together: a line of b is then read in pieces of a kilobyte */
    LINES = 2048,      /* of all panels that are built together, piece by piece */
    MOST_LINES = 4096, /* of those that lie side by side with all of k */
    ROW_TILE = 96,     /* a multiple of all the tile kernels' 12, 6 and 4 rows */
    MIN_ROWS = 192,    /* of a task: fewer do not pay for building the panel again */
    TURN = 32,         /* rows that the transposition takes */
};

typedef struct job {
    const sd_exec *ex;
    const sd_kern_train *kern;
    const sd_prod *p;
    bool bf16;
    const sd_kern_i16 *i16; /* NULL: f32 or bf16 */
    int64_t m, n, k;
    int64_t group; /* panels built together: a quantised block may be 256 columns wide */
    int64_t piece, lines; /* of k, and of a panel: pairs of k in bf16 */
    int64_t row_block, n_row_block;
    const void *a; /* [m, lda] f32, bf16 or whole numbers */
    const float *a_scale; /* of whole numbers, [m, blocks] */
    int64_t lda;
    uint8_t *worker; /* [n_threads][worker_bytes] */
    const struct job *then; /* the second term; NULL: none */
    const struct job *twin; /* NULL: none */
    bool whole;             /* all of k, of the second term and of the twin lie on the desk together */
    int64_t first_line;     /* then, twin: of its panels */
} job;

/* The memory of one worker. */
typedef struct desk {
    uint32_t *panel; /* [group][lines][32] */
    float *rows;     /* NT: [32][PIECE] decoded; NN, TN: two rows of a group's columns */
    uint16_t *half;  /* [32][PIECE] of bf16 */
    float *zero;     /* [PIECE] */
    float *tile;     /* [ROW_TILE][32] */
    float *twin;     /* the same */
    uint32_t *pairs; /* [PIECE/2][32] of whole numbers: one panel */
    float *scale;    /* [PIECE/SD_I16_BLOCK][32] */
} desk;

enum { PANEL_BYTES = MOST_LINES * SD_PANEL * 4, ROWS_BYTES = TURN * PIECE * 4, HALF_BYTES = TURN * PIECE * 2 };
enum { ZERO_BYTES = PIECE * 4, TILE_BYTES = ROW_TILE * SD_PANEL * 4 };
enum { PAIR_BYTES = PIECE / 2 * SD_PANEL * 4, SCALE_BYTES = PIECE / SD_I16_BLOCK * SD_PANEL * 4 };
enum { DESK_BYTES = PANEL_BYTES + ROWS_BYTES + HALF_BYTES + ZERO_BYTES + 2 * TILE_BYTES + PAIR_BYTES + SCALE_BYTES };

static desk desk_of(const job *j)
{
    uint8_t *w = j->worker + (size_t)sd_par_worker() * DESK_BYTES;
    return (desk){.panel = (uint32_t *)(void *)w,
                  .rows = (float *)(void *)(w + PANEL_BYTES),
                  .half = (uint16_t *)(void *)(w + PANEL_BYTES + ROWS_BYTES),
                  .zero = (float *)(void *)(w + PANEL_BYTES + ROWS_BYTES + HALF_BYTES),
                  .tile = (float *)(void *)(w + PANEL_BYTES + ROWS_BYTES + HALF_BYTES + ZERO_BYTES),
                  .twin = (float *)(void *)(w + PANEL_BYTES + ROWS_BYTES + HALF_BYTES + ZERO_BYTES + TILE_BYTES),
                  .pairs = (uint32_t *)(void *)(w + DESK_BYTES - SCALE_BYTES - PAIR_BYTES),
                  .scale = (float *)(void *)(w + DESK_BYTES - SCALE_BYTES)};
}

/* a turned, in f32, or rounded: its rows of a short k are longer than those of f32. */
static size_t a_bytes(int64_t m, int64_t k)
{
    const size_t wide = (size_t)m * (size_t)k * sizeof(float), half = sd_prod_half_bytes(m, k);
    return sd_arena_need(wide > half ? wide : half);
}

size_t sd_prod_scratch(const sd_exec *ex, int64_t m, int64_t k)
{
    return a_bytes(m, k) + (size_t)ex->n_threads * DESK_BYTES;
}

size_t sd_prod_second_scratch(int64_t m, int64_t k2)
{
    return a_bytes(m, k2);
}

/* ---- the panel of b ---- */

/* The piece [k0, k0 + kp) of panel p (the first of a group), the g-th on the desk, where its group's lie. */
typedef struct slab {
    int64_t p, g, k0, kp;
    uint32_t *to;
} slab;

/* Rows [p 32, + 32) of b, columns [k0, k0 + kp): b is [n, k]. */
static void panel_of_rows(const job *j, const desk *d, slab s)
{
    const int64_t p = s.p, k0 = s.k0, kp = s.kp;
    const sd_wmat *b = &j->p->b;
    const sd_dtype_info *info = sd_dtype_get(b->dtype);
    const bool as_is = b->dtype == (j->bf16 ? SD_BF16 : SD_F32) && (!j->bf16 || b->cols % 2 == 0);
    const size_t at = (size_t)(k0 / info->block) * info->bytes;
    const int64_t even = kp + (kp & 1);
    const void *src[TURN];
    for (int i = 0; i < TURN; i++) {
        const int64_t r = p * SD_PANEL + i;
        if (r >= b->rows) {
            src[i] = d->zero;
            continue;
        }
        const uint8_t *row = (const uint8_t *)sd_wmat_row(b, r) + at;
        src[i] = row;
        if (as_is) continue;
        const float *f = (const float *)(const void *)row;
        if (b->dtype != SD_F32) {
            float *to = d->rows + i * PIECE;
            info->decode(to, row, kp);
            src[i] = f = to;
        }
        if (!j->bf16) continue;
        uint16_t *h = d->half + i * PIECE;
        j->ex->kern->to_bf16(h, f, kp);
        if (kp & 1) h[kp] = 0;
        src[i] = h;
    }
    j->kern->transpose(s.to, SD_PANEL, src, j->bf16 ? even / 2 : kp);
}

/* Row r, columns [c0, c0 + n) of b as f32: in place where it is f32, else decoded to `to`. */
static const float *row_part(const sd_wmat *b, int64_t r, int64_t c0, int64_t n, float *to)
{
    const sd_dtype_info *info = sd_dtype_get(b->dtype);
    const uint8_t *at = (const uint8_t *)sd_wmat_row(b, r) + (size_t)(c0 / info->block) * info->bytes;
    if (b->dtype == SD_F32) return (const float *)(const void *)at;
    info->decode(to, at, n);
    return to;
}

/* A panel's part of a row is a few lines of cache, too short for the CPU to see where the next row's lie. */
enum { AHEAD = 12 };
static void fetch(const void *at, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const uint8_t *)at + i);
}

/* panels_of_cols of the n whole panels of a matrix of f32 as it lies, for f32 and whole numbers: no row is asked for by name. */
static void panels_as_they_lie(const job *j, uint32_t *to, const float *from, int64_t n, int64_t kp)
{
    const int64_t ld = j->p->b.cols;
    for (int64_t i = 0; i < kp; i++, from += ld)
        for (int64_t g = 0; g < n; g++) {
            const float *x = from + g * SD_PANEL;
            if (i + AHEAD < kp) __builtin_prefetch(x + AHEAD * ld), __builtin_prefetch(x + AHEAD * ld + SD_PANEL / 2);
            memcpy(to + (g * j->lines + i) * SD_PANEL, x, SD_PANEL * sizeof *x);
        }
}

/* The same of bf16 rows ld apart, cols columns of them, in pairs. */
static void panels_of_halves(const job *j, const desk *d, slab s, const uint16_t *from, int64_t ld, int64_t cols)
{
    const int64_t lines = (s.kp + 1) / 2;
    for (int64_t i = 0; i < lines; i++, from += 2 * ld) {
        const uint16_t *odd = 2 * i + 1 < s.kp ? from + ld : NULL;
        if (i + AHEAD + 1 < lines) fetch(from + 2 * AHEAD * ld, cols * 2), fetch(from + (2 * AHEAD + 1) * ld, cols * 2);
        for (int64_t c = 0; c < cols; c += SD_PANEL)
            j->kern->pair_bf16(s.to + (c / SD_PANEL * j->lines + i) * SD_PANEL, from + c, odd ? odd + c : (const uint16_t *)d->zero, cols - c < SD_PANEL ? cols - c : SD_PANEL);
    }
}

/* Rows [k0, k0 + kp) of b, the columns of panels [p, p + group): b is [k, n]. */
static void panels_of_cols(const job *j, const desk *d, slab s)
{
    const int64_t p = s.p, k0 = s.k0, kp = s.kp;
    const sd_wmat *b = &j->p->b;
    const int64_t c0 = p * SD_PANEL, cols = b->cols - c0 < j->group * SD_PANEL ? b->cols - c0 : j->group * SD_PANEL;
    const int64_t full = cols / SD_PANEL, rest = cols % SD_PANEL, step = j->bf16 ? 2 : 1,
                  lines = (kp + step - 1) / step;
    if (!rest && !j->bf16 && b->dtype == SD_F32 && !b->perm) {
        panels_as_they_lie(j, s.to, (const float *)b->data + k0 * b->cols + c0, full, kp);
        return;
    }
    if (rest) memset(s.to + full * j->lines * SD_PANEL, 0, (size_t)(lines * SD_PANEL) * sizeof *s.to);
    if (j->bf16 && j->p->b_half.data) {
        panels_of_halves(j, d, s, j->p->b_half.data + k0 * j->p->b_half.ld + c0, j->p->b_half.ld, cols);
        return;
    }
    if (j->bf16 && b->dtype == SD_BF16 && !b->perm) {
        panels_of_halves(j, d, s, (const uint16_t *)b->data + k0 * b->cols + c0, b->cols, cols);
        return;
    }
    for (int64_t i = 0; i < lines; i++) {
        const int64_t r = k0 + i * step;
        const bool odd = j->bf16 && i * step + 1 < kp;
        const float *x = NULL, *y = d->zero;
        if (b->dtype == SD_F32 && i + AHEAD + 1 < lines)
            for (int64_t k = 0; k < step; k++) fetch((const float *)sd_wmat_row(b, r + AHEAD * step + k) + c0, cols * 4);
        x = row_part(b, r, c0, cols, d->rows);
        if (odd) y = row_part(b, r + 1, c0, cols, d->rows + 16 * PIECE);
        for (int64_t g = 0; g * SD_PANEL < cols; g++) {
            const int64_t n = g < full ? SD_PANEL : rest, c = g * SD_PANEL;
            uint32_t *to = s.to + (g * j->lines + i) * SD_PANEL;
            if (j->bf16)
                j->kern->pair_f32(to, x + c, odd ? y + c : y, n);
            else if (n == SD_PANEL) /* of a constant length: no call, and not the slow start of a string instruction */
                memcpy(to, x + c, SD_PANEL * sizeof(float));
            else
                memcpy(to, x + c, (size_t)n * sizeof(float));
        }
    }
}

/* ---- a task ---- */

static void build(const job *j, const desk *d, slab s)
{
    (j->p->kind == SD_PROD_NT ? panel_of_rows : panels_of_cols)(j, d, s);
}

/* The rows of t, from row r of a and input k0, over the panel of whole numbers. */
static void run_whole(const job *j, const desk *d, const sd_tile *t, int64_t k0, int64_t r)
{
    const int64_t blocks = sd_i16_blocks(j->k);
    const sd_itile w = {.y = t->y,
                        .x = (const int16_t *)j->a + r * j->lda + k0,
                        .sx = j->a_scale + r * blocks + k0 / SD_I16_BLOCK,
                        .w = d->pairs,
                        .sw = d->scale,
                        .ldy = t->ldy,
                        .ldx = j->lda,
                        .ldsx = blocks,
                        .m = t->m,
                        .k = t->k + (t->k & 1),
                        .carry = t->carry,
                        .narrow = t->narrow};
    j->i16->tile(&w);
}

static void run_rows(const job *j, const desk *d, slab s, int64_t r0, int64_t r1)
{
    const int64_t p = s.p, k0 = s.k0;
    const int64_t left = j->n - p * SD_PANEL, n = left < SD_PANEL ? left : SD_PANEL;
    const bool carry = k0 > 0 || j->p->accumulate;
    sd_tile t = {.w = s.to + s.g * j->lines * SD_PANEL, .ldx = j->lda, .carry = carry, .narrow = n <= SD_PANEL / 2};
    t.k = j->bf16 ? s.kp + (s.kp & 1) : s.kp;
    if (j->i16) j->i16->panel(d->pairs, d->scale, t.w, s.kp);
    for (int64_t r = r0; r < r1; r += ROW_TILE) {
        float *c = sd_mat_row(j->p->c, r) + p * SD_PANEL;
        t.m = r1 - r < ROW_TILE ? r1 - r : ROW_TILE;
        t.x = (const uint8_t *)j->a + (size_t)(r * j->lda + k0) * (j->bf16 ? 2 : 4);
        t.y = n == SD_PANEL ? c : d->tile;
        t.ldy = n == SD_PANEL ? j->p->c.ld : SD_PANEL;
        if (n < SD_PANEL && carry)
            for (int64_t i = 0; i < t.m; i++) memcpy(d->tile + i * SD_PANEL, c + i * j->p->c.ld, (size_t)n * sizeof *c);
        if (j->i16)
            run_whole(j, d, &t, k0, r);
        else if (j->bf16)
            j->ex->kern->tile_bf16(&t);
        else
            j->ex->kern->tile_f32(&t);
        if (n < SD_PANEL)
            for (int64_t i = 0; i < t.m; i++) memcpy(c + i * j->p->c.ld, d->tile + i * SD_PANEL, (size_t)n * sizeof *c);
    }
}

/* Rows [r, r + m) of panel p into y, over all of k and of the second term. */
static void sum_rows(const job *j, const desk *d, slab s, int64_t r, int64_t m, sd_tile t)
{
    t.m = m;
    for (const job *q = j; q; q = q->then)
        for (int64_t k0 = 0; k0 < q->k; k0 += PIECE, t.carry = true) {
            const int64_t kp = q->k - k0 < PIECE ? q->k - k0 : PIECE;
            t.w = d->panel + (q->first_line + s.g * q->lines + k0 / 2) * SD_PANEL;
            t.x = (const uint16_t *)q->a + r * q->lda + k0;
            t.ldx = q->lda;
            t.k = kp + (kp & 1);
            j->ex->kern->tile_bf16(&t);
        }
}

static void end_rows(const job *j, const desk *d, slab s, int64_t r, int64_t m)
{
    const int64_t left = j->n - s.p * SD_PANEL, n = left < SD_PANEL ? left : SD_PANEL;
    sd_tile t = {.y = d->tile, .ldy = SD_PANEL, .narrow = n <= SD_PANEL / 2};
    if (j->p->end) {
        const sd_prod_part part = {d->tile, d->twin, r, s.p * SD_PANEL, m, n};
        sum_rows(j, d, s, r, m, t);
        t.y = d->twin;
        if (j->twin) sum_rows(j->twin, d, s, r, m, t);
        j->p->end(j->p->end_arg, &part);
        return;
    }
    float *c = sd_mat_row(j->p->c, r) + s.p * SD_PANEL;
    t.carry = j->p->accumulate;
    if (n == SD_PANEL) {
        t.y = c, t.ldy = j->p->c.ld;
        sum_rows(j, d, s, r, m, t);
        return;
    }
    for (int64_t i = 0; t.carry && i < m; i++) memcpy(d->tile + i * SD_PANEL, c + i * j->p->c.ld, (size_t)n * sizeof *c);
    sum_rows(j, d, s, r, m, t);
    for (int64_t i = 0; i < m; i++) memcpy(c + i * j->p->c.ld, d->tile + i * SD_PANEL, (size_t)n * sizeof *c);
}

/* All panels first, then every tile of rows over all that belongs to its sums: they leave the first cache once. */
static void run_whole_rows(const job *j, const desk *d, int64_t p0, int64_t r0, int64_t r1)
{
    for (const job *side = j; side; side = side->twin)
        for (const job *q = side; q; q = q->then)
            for (int64_t k0 = 0; k0 < q->k; k0 += PIECE)
                build(q, d, (slab){p0, 0, k0, q->k - k0 < PIECE ? q->k - k0 : PIECE, d->panel + (q->first_line + k0 / 2) * SD_PANEL});
    for (int64_t r = r0; r < r1; r += ROW_TILE)
        for (int64_t g = 0; g < j->group && (p0 + g) * SD_PANEL < j->n; g++)
            end_rows(j, d, (slab){.p = p0 + g, .g = g}, r, r1 - r < ROW_TILE ? r1 - r : ROW_TILE);
}

static void run_task(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const desk d = desk_of(j);
    (void)chunk;
    memset(d.zero, 0, ZERO_BYTES);
    for (int64_t i = begin; i < end; i++) {
        const int64_t p0 = i / j->n_row_block * j->group, r0 = i % j->n_row_block * j->row_block;
        const int64_t r1 = r0 + j->row_block < j->m ? r0 + j->row_block : j->m;
        if (j->whole) {
            run_whole_rows(j, &d, p0, r0, r1);
            continue;
        }
        for (const job *q = j; q; q = q->then)
            for (int64_t k0 = 0; k0 < q->k; k0 += q->piece) {
                const int64_t kp = q->k - k0 < q->piece ? q->k - k0 : q->piece;
                build(q, &d, (slab){p0, 0, k0, kp, d.panel});
                for (int64_t g = 0; g < q->group && (p0 + g) * SD_PANEL < q->n; g++)
                    run_rows(q, &d, (slab){p0 + g, g, k0, kp, d.panel}, r0, r1);
            }
    }
}

/* ---- a in the form the tiles want: [m, k], contiguous in k ---- */

typedef struct turn_job {
    const job *j;
    sd_mat src;
    void *dst;
    int64_t ldd; /* in elements of dst */
} turn_job;

typedef struct round_job {
    const sd_exec *ex;
    const sd_kern_i16 *i16;
    sd_mat src;
    uint16_t *dst;
} round_job;

/* Where sd_prod_round leaves the scales of whole numbers. */
static float *scales_of(const uint16_t *data, int64_t rows, int64_t cols)
{
    union { const uint16_t *c; float *v; } at = {data + rows * sd_prod_half_ld(cols)};
    return at.v;
}

static void round_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const round_job *t = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        uint16_t *d = t->dst + i * sd_prod_half_ld(t->src.cols);
        if (t->i16) {
            float *scale = scales_of(t->dst, t->src.rows, t->src.cols) + i * sd_i16_blocks(t->src.cols);
            t->i16->row((int16_t *)(void *)d, scale, sd_mat_row(t->src, i), t->src.cols);
            continue;
        }
        t->ex->kern->to_bf16(d, sd_mat_row(t->src, i), t->src.cols);
        if (t->src.cols & 1) d[t->src.cols] = 0;
    }
}

bool sd_prod_multiplies_bf16(const sd_exec *ex)
{
    return ex->kern->cpu_flags & SD_CPU_AVX512_BF16;
}

bool sd_prod_can_half(const sd_exec *ex)
{
    return sd_prod_multiplies_bf16(ex) || sd_kern_i16_select(ex->kern->cpu_flags);
}

sd_half sd_prod_round(const sd_exec *ex, sd_mat x, uint16_t *to)
{
    if (!sd_prod_can_half(ex)) return (sd_half){0};
    round_job r = {ex, sd_kern_i16_select(ex->kern->cpu_flags), x, to};
    sd_parallel_for(ex->n_threads, x.rows, 16, round_rows, &r);
    return (sd_half){to, sd_prod_half_ld(x.cols)};
}

/* 32 rows of src become 32 columns of dst (bf16: 64 rows become 32 columns of pairs); PIECE columns of src at a time.
 */
static void turn_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const turn_job *t = arg;
    const job *j = t->j;
    const desk d = desk_of(j);
    const sd_half half = j->p->a_half;
    const int64_t step = j->bf16 ? 2 : 1, rows = t->src.rows;
    (void)chunk;
    memset(d.zero, 0, ZERO_BYTES);
    for (int64_t i = begin; i < end; i++)
        for (int64_t c0 = 0; c0 < t->src.cols; c0 += PIECE) {
            const int64_t n = t->src.cols - c0 < PIECE ? t->src.cols - c0 : PIECE;
            const int64_t left = (rows - i * TURN * step + step - 1) / step, used = left < TURN ? left : TURN;
            const void *src[TURN];
            for (int64_t r = 0; r < TURN; r++) {
                const int64_t row = (i * TURN + r) * step;
                src[r] = d.zero;
                if (row >= rows) continue;
                src[r] = sd_mat_row(t->src, row) + c0;
                if (!j->bf16) continue;
                uint32_t *pair = (uint32_t *)(void *)(d.rows + r * PIECE);
                if (half.data) {
                    const uint16_t *h = half.data + row * half.ld + c0;
                    j->kern->pair_bf16(pair, h, row + 1 < rows ? h + half.ld : (const uint16_t *)d.zero, n);
                } else {
                    j->kern->pair_f32(pair, src[r], row + 1 < rows ? sd_mat_row(t->src, row + 1) + c0 : d.zero, n);
                }
                src[r] = pair;
            }
            uint32_t *to = (uint32_t *)t->dst + c0 * (t->ldd / step) + i * TURN;
            if (used == TURN) {
                j->kern->transpose(to, t->ldd / step, src, n);
            } else { /* the last columns: through a square, so that nothing is written beside them */
                j->kern->transpose(d.panel, TURN, src, n);
                for (int64_t c = 0; c < n; c++) memcpy(to + c * (t->ldd / step), d.panel + c * TURN, (size_t)used * 4);
            }
        }
}

static void prepare_a(job *j, void *scratch)
{
    const sd_mat a = j->p->a;
    j->a = scratch;
    if (j->p->kind == SD_PROD_TN) {
        const int64_t step = j->bf16 ? 2 * TURN : TURN;
        j->lda = j->bf16 ? sd_prod_half_ld(j->k) : j->k;
        sd_parallel_for(j->ex->n_threads, (a.rows + step - 1) / step, 1, turn_rows, &(turn_job){.j = j, .src = a, .dst = scratch, .ldd = j->lda});
    } else if (j->bf16 || j->i16) {
        const sd_half h = j->p->a_half.data ? j->p->a_half : sd_prod_round(j->ex, a, scratch);
        j->a = h.data, j->lda = h.ld;
        if (j->i16) j->a_scale = scales_of(h.data, a.rows, a.cols);
    } else {
        j->a = a.data, j->lda = a.ld;
    }
}

/* The columns of a block of b are those of several panels, which are built together. */
static bool wide_blocks(const sd_prod *p)
{
    return p->kind != SD_PROD_NT && sd_dtype_get(p->b.dtype)->block > SD_PANEL;
}

/* How many panels are built together, and the pieces of k that leave room for them. */
static void plan_panels(job *j)
{
    const int64_t panels = (j->n + SD_PANEL - 1) / SD_PANEL, tasks = 4 * j->ex->n_threads;
    const bool by_cols = j->p->kind != SD_PROD_NT, wide = wide_blocks(j->p);
    j->group = 1;
    while (by_cols && j->group < GROUP && (wide || panels >= 2 * j->group * tasks)) j->group *= 2;
    const int64_t fits = LINES / j->group * (j->bf16 ? 2 : 1);
    j->piece = fits < PIECE ? fits : PIECE;
    j->lines = j->bf16 ? j->piece / 2 : j->piece;
}

/* Lines that one panel takes with all that is multiplied beside it. */
static int64_t whole_lines(const sd_prod *p, int64_t k)
{
    int64_t n = 0;
    for (; p; p = p->twin) n += (k + 1) / 2 + (p->a2.rows ? (p->a2.cols + 1) / 2 : 0);
    return n;
}

static int64_t chain_of(const sd_prod *p)
{
    return p->kind == SD_PROD_TN ? p->a.rows : p->a.cols;
}

bool sd_prod_can_end(const sd_exec *ex, const sd_prod *p)
{
    return p->bf16 && sd_prod_multiplies_bf16(ex) && whole_lines(p, chain_of(p)) * (wide_blocks(p) ? GROUP : 1) <= MOST_LINES;
}

/* All panels on the desk side by side, where that is asked for or two terms are multiplied. */
static void plan_whole(job *j)
{
    const int64_t each = whole_lines(j->p, j->k);
    if (!j->p->end && !j->p->a2.data) return;
    if (!sd_prod_can_end(j->ex, j->p)) {
        SD_ASSERT(!j->p->end);
        return;
    }
    while (!wide_blocks(j->p) && j->group * each > MOST_LINES) j->group /= 2;
    j->whole = true;
    j->lines = (j->k + 1) / 2;
}

/* The second term of j as a job of its own; false: there is none. */
static bool second_term(job *s, sd_prod *p2, const job *j, void *scratch)
{
    const sd_prod *p = j->p;
    if (!p->a2.data) return false;
    SD_ASSERT(p->kind != SD_PROD_TN && p->a2.rows == j->m);
    SD_ASSERT(p->kind == SD_PROD_NT ? p->b2.rows == j->n && p->b2.cols == p->a2.cols : p->b2.cols == j->n && p->b2.rows == p->a2.cols);
    *p2 = (sd_prod){.kind = p->kind, .accumulate = true, .bf16 = p->bf16, .c = p->c, .a = p->a2, .b = p->b2};
    *s = *j;
    s->p = p2, s->k = p->a2.cols, s->then = s->twin = NULL;
    if (j->whole) s->first_line = j->first_line + j->group * j->lines, s->lines = (s->k + 1) / 2;
    prepare_a(s, scratch);
    return true;
}

void sd_prod_run(const sd_exec *ex, const sd_prod *p, void *scratch)
{
    job j = {.ex = ex, .kern = sd_kern_train_select(ex->cpu.flags), .p = p, .m = p->c.rows, .n = p->c.cols};
    j.bf16 = p->bf16 && sd_prod_multiplies_bf16(ex);
    if (p->bf16 && p->kind != SD_PROD_TN) j.i16 = sd_kern_i16_select(ex->kern->cpu_flags);
    j.k = chain_of(p);
    SD_ASSERT((p->kind == SD_PROD_TN ? p->a.cols : p->a.rows) == j.m);
    SD_ASSERT(p->kind == SD_PROD_NT ? p->b.rows == j.n && p->b.cols == j.k : p->b.cols == j.n && p->b.rows == j.k);
    SD_ASSERT(!p->end || !p->accumulate);
    if (j.m == 0 || j.n == 0) return;
    if (j.k == 0) { /* a sum of nothing */
        SD_ASSERT(!p->end);
        for (int64_t i = 0; i < j.m && !p->accumulate; i++) memset(sd_mat_row(p->c, i), 0, (size_t)j.n * sizeof(float));
        return;
    }
    plan_panels(&j);
    plan_whole(&j);
    j.worker = (uint8_t *)scratch + a_bytes(j.m, j.k);
    prepare_a(&j, scratch);
    uint8_t *rest = j.worker + (size_t)ex->n_threads * DESK_BYTES;
    job second, twin = j, twin_second;
    sd_prod p2, p2_twin;
    if (second_term(&second, &p2, &j, rest)) j.then = &second;
    if (p->twin) {
        SD_ASSERT(p->end && !p->twin->accumulate && p->twin->kind == p->kind && p->twin->a.data == p->a.data && p->twin->c.cols == j.n);
        twin.p = p->twin;
        twin.first_line = j.group * (j.lines + (j.then ? second.lines : 0));
        if (second_term(&twin_second, &p2_twin, &twin, rest + sd_prod_second_scratch(j.m, p->a2.cols))) twin.then = &twin_second;
        j.twin = &twin;
    }
    const int64_t n_group = (j.n + j.group * SD_PANEL - 1) / (j.group * SD_PANEL), want = 8 * ex->n_threads;
    const int64_t cuts = n_group >= want ? 1 : (want + n_group - 1) / n_group, most = (j.m + MIN_ROWS - 1) / MIN_ROWS;
    const int64_t n_cut = cuts < most ? cuts : most, tiles = ((j.m + n_cut - 1) / n_cut + ROW_TILE - 1) / ROW_TILE;
    j.row_block = tiles * ROW_TILE;
    j.n_row_block = (j.m + j.row_block - 1) / j.row_block;
    sd_parallel_for(ex->n_threads, n_group * j.n_row_block, 1, run_task, &j);
}
