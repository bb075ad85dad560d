/* The tile of quantised bytes over AMX. One product of tiles is a whole block of 32 inputs for 16 rows and 16 outputs, 16 cycles; scaling
 * it afterwards takes 24 of the vector units (a conversion, a product and a sum each), so the two run side by side: while four
 * blocks are scaled, four rows at a time, the next four are multiplied. Sums of integers are exact and scaled in the order of
 * the blocks: the bits of every ISA. 96 rows x 32 outputs x 18 blocks, us, VNNI and this: Q8_0 8.2 and 6.7, Q4_1 7.8 and 7.4. */
#include "num/kern.h"
#include "num/kern_amx.h"
#include <immintrin.h>

#define UNROLLED static inline __attribute__((always_inline)) /* sizes are constants at every call */

enum {
    ROWS = 16,
    RUN = 4,    /* sums of (half) blocks that wait to be scaled; as many as groups of rows */
    GROUP = ROWS / RUN,
    CHUNK = 24, /* blocks whose bytes are made signed at once: 24 KB */
};

typedef struct work {
    const sd_qtile *t;
    const int8_t *v; /* signed bytes of the chunk's blocks, v_step bytes apart */
    int64_t v_step;
    int64_t b0, n;    /* the chunk: its first block, (half) blocks of it */
    int64_t row, m;   /* rows at work, at most ROWS */
    int32_t (*sum)[RUN][ROWS * SD_PANEL]; /* [2]: one run is filled, the other scaled */
} work;

/* Rows of x in tile 4, bytes of 16 outputs in 6 and 7, sums in 0 and 1. */
static void shape_tiles(int64_t m, bool halves)
{
    sd_amx_shapes s = {.palette = 1};
    const uint8_t lines = halves ? 4 : 8;
    s.rows[0] = s.rows[1] = s.rows[4] = (uint8_t)m;
    s.row_bytes[0] = s.row_bytes[1] = 64;
    s.row_bytes[4] = (uint16_t)(4 * lines);
    s.rows[6] = s.rows[7] = lines;
    s.row_bytes[6] = s.row_bytes[7] = 64;
    sd_amx_load_shapes(&s);
}

/* The integer sums of part i of the chunk. */
UNROLLED void multiply(const work *w, int64_t i, int32_t *sum, const bool halves)
{
    const int64_t b = halves ? i / 2 : i, h = halves ? i % 2 : 0;
    const int8_t *v = w->v + b * w->v_step + h * 256;
    const int8_t *q = w->t->q + w->row * w->t->ldq + (w->b0 + b) * SD_QBLOCK + h * 16;
    _tile_loadd(6, v, 64L);
    _tile_loadd(4, q, (long)w->t->ldq);
    _tile_zero(0);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, v + 512, 64L);
    _tile_zero(1);
    _tile_dpbssd(1, 4, 7);
    _tile_stored(0, sum, SD_PANEL * 4L);
    _tile_stored(1, sum + 16, SD_PANEL * 4L);
}

/* Parts [i0, i0 + n) of the chunk and their sums. */
typedef struct run {
    int64_t i0;
    int n;
    int32_t (*sum)[ROWS * SD_PANEL];
} run;

/* Adds them to mr rows from r on. */
UNROLLED void scale(const work *w, run u, int64_t r, const int mr, const bool halves, const bool min)
{
    const sd_qtile *t = w->t;
    const int n_half = halves ? 2 : 1;
    float *y = t->y + (w->row + r) * t->ldy;
    __m512 s[GROUP][2];
    const bool first = u.i0 == 0 && w->b0 == 0 && !t->carry;
    for (int k = 0; k < mr; k++)
        for (int j = 0; j < 2; j++) s[k][j] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(y + k * t->ldy + 16 * j);
    for (int p = 0; p < u.n; p++) {
        const int64_t i = u.i0 + p, b = w->b0 + (halves ? i / 2 : i), h = halves ? i % 2 : 0;
        const float *sc = t->scales + b * SD_PANEL * n_half * (min ? 2 : 1) + h * SD_PANEL;
        const sd_qact *act = t->act + (w->row + r) * t->ld_act + b;
        const __m512 s0 = _mm512_loadu_ps(sc), s1 = _mm512_loadu_ps(sc + 16);
        const __m512 m0 = min ? _mm512_loadu_ps(sc + n_half * SD_PANEL) : s0, m1 = min ? _mm512_loadu_ps(sc + n_half * SD_PANEL + 16) : s1;
        for (int k = 0; k < mr; k++) {
            const sd_qact *a = act + k * t->ld_act;
            const int32_t *sum = u.sum[p] + (r + k) * SD_PANEL;
            const __m512 d = _mm512_set1_ps(a->d);
            s[k][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sum)), _mm512_mul_ps(s0, d), s[k][0]);
            s[k][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sum + 16)), _mm512_mul_ps(s1, d), s[k][1]);
            if (!min) continue;
            const int32_t negated = h == 0 ? a->nlow : a->nsum - a->nlow;
            const __m512 ds = _mm512_set1_ps(halves ? a->d * (float)-negated : a->ds);
            s[k][0] = _mm512_fmadd_ps(m0, ds, s[k][0]);
            s[k][1] = _mm512_fmadd_ps(m1, ds, s[k][1]);
        }
    }
    for (int k = 0; k < mr; k++)
        for (int j = 0; j < 2; j++) _mm512_storeu_ps(y + k * t->ldy + 16 * j, s[k][j]);
}

/* Group g of the rows. */
UNROLLED void scale_group(const work *w, run u, int g, const bool halves, const bool min)
{
    const int64_t r = g * GROUP, left = w->m - r;
    if (left >= GROUP)
        scale(w, u, r, GROUP, halves, min);
    else
        for (int64_t k = 0; k < left; k++) scale(w, u, r + k, 1, halves, min);
}

UNROLLED int part_count(const work *w, int64_t i0)
{
    return w->n - i0 < RUN ? (int)(w->n - i0 > 0 ? w->n - i0 : 0) : RUN;
}

UNROLLED void rows_of_chunk(const work *w, const bool halves, const bool min)
{
    for (int p = 0; p < part_count(w, 0); p++) multiply(w, p, w->sum[0][p], halves);
    for (int64_t i = 0, turn = 0; i < w->n; i += RUN, turn ^= 1) {
        const run u = {i, part_count(w, i), w->sum[turn]};
        const int next = part_count(w, i + RUN);
        for (int g = 0; g < RUN; g++) {
            if (g < next) multiply(w, i + RUN + g, w->sum[turn ^ 1][g], halves);
            scale_group(w, u, g, halves, min);
        }
    }
}

/* u - zero of n blocks as signed bytes, one after another. */
static void make_signed(int8_t *to, const uint8_t *values, int64_t step, int64_t n, uint8_t zero)
{
    const __m512i z = _mm512_set1_epi8((char)zero);
    for (int64_t b = 0; b < n; b++, values += step)
        for (int i = 0; i < SD_QBYTE_BYTES; i += 64, to += 64) _mm512_storeu_si512(to, _mm512_sub_epi8(_mm512_loadu_si512(values + i), z));
    __asm__ volatile("" : : : "memory"); /* what the loads of tiles read is written */
}

UNROLLED void all_rows(const sd_qtile *t, const bool halves, const bool min)
{
    _Alignas(64) int8_t bytes[CHUNK * SD_QBYTE_BYTES];
    _Alignas(64) int32_t sum[2][RUN][ROWS * SD_PANEL];
    work w = {.t = t, .sum = sum};
    const uint8_t zero = sd_qform_of(t->kind).zero;
    int64_t shaped = 0;
    for (; w.b0 < t->n_block; w.b0 += CHUNK) {
        const int64_t n = t->n_block - w.b0 < CHUNK ? t->n_block - w.b0 : CHUNK;
        const uint8_t *values = t->values + w.b0 * t->value_step;
        w.v = zero ? bytes : (const int8_t *)values;
        w.v_step = zero ? SD_QBYTE_BYTES : t->value_step;
        w.n = halves ? 2 * n : n;
        if (zero) make_signed(bytes, values, t->value_step, n, zero);
        for (w.row = 0; w.row < t->m; w.row += ROWS) {
            w.m = t->m - w.row < ROWS ? t->m - w.row : ROWS;
            if (shaped != w.m) shape_tiles(shaped = w.m, halves);
            rows_of_chunk(&w, halves, min);
        }
    }
    _tile_release();
}

static void q_plain(const sd_qtile *t)
{
    all_rows(t, false, false);
}
static void q_min(const sd_qtile *t)
{
    all_rows(t, false, true);
}
static void q_halves(const sd_qtile *t)
{
    all_rows(t, true, false);
}
static void q_halves_min(const sd_qtile *t)
{
    all_rows(t, true, true);
}

static void tile_q8_amx(const sd_qtile *t)
{
    const sd_qform f = sd_qform_of(t->kind);
    if (t->m < 1) return;
    if (t->n_block < 1) { /* zeros, where nothing is carried */
        for (int64_t r = 0; r < t->m && !t->carry; r++)
            for (int j = 0; j < SD_PANEL; j++) t->y[r * t->ldy + j] = 0.0f;
        return;
    }
    if (f.halves)
        f.min ? q_halves_min(t) : q_halves(t);
    else
        f.min ? q_min(t) : q_plain(t);
}

void sd_kern_fill_amx_q(sd_kern *k)
{
    k->tile_q8 = tile_q8_amx;
}
