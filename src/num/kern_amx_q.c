/* The tile of quantised bytes over AMX. One product of tiles is a whole block of 32 inputs for 16 rows and 16 outputs; its sums go through a
 * kilobyte of memory to the vector units, which scale them (a conversion, a product and a sum each) into 16 registers that stay for all
 * blocks. Sums of integers are exact and scaled in the order of the blocks: the bits of every ISA. Rows come in groups (sd_qgroup):
 * a tile of x is 8 cache lines one after another, its scales one. Cycles of a block of 16 x 16 on an Emerald Rapids (96 rows, 18 blocks):
 * Q8_0 83, Q4_1 103, halves of Q6_K 148; VNNI 120, 120 and 190. Four blocks scaled while the next four are multiplied took 112, 118 and 205:
 * the sums of rows went through memory for every four blocks, and the vector units wait for the stores of tiles in either order. */
#include "num/kern.h"
#include "num/kern_amx.h"
#include <immintrin.h>

#define UNROLLED static inline __attribute__((always_inline)) /* sizes are constants at every call */

enum {
    ROWS = SD_QGROUP_ROWS,
    CHUNK = 24, /* blocks whose bytes are made signed at once: 24 KB */
};

typedef struct work {
    const sd_qtile *t;
    const int8_t *v; /* signed bytes of the chunk's blocks, v_step bytes apart */
    int64_t v_step;
    int64_t b0, n;  /* the chunk: its first block, blocks of it */
    int64_t row, m; /* rows at work, at most ROWS */
    const sd_qgroup *x; /* of the chunk */
} work;

/* Rows of x in tile 4, bytes of 16 outputs in 6, sums in 0. */
static void shape_tiles(bool halves)
{
    sd_amx_shapes s = {.palette = 1};
    const uint8_t lines = halves ? 4 : 8;
    s.rows[0] = s.rows[4] = ROWS;
    s.row_bytes[0] = 64;
    s.row_bytes[4] = (uint16_t)(4 * lines);
    s.rows[6] = lines;
    s.row_bytes[6] = 64;
    sd_amx_load_shapes(&s);
}

/* The rows at work by group g of 16 outputs. */
UNROLLED void rows_of_chunk(const work *w, const int g, const bool halves, const bool min)
{
    _Alignas(64) int32_t sum[ROWS][16];
    const sd_qtile *t = w->t;
    const int n_half = halves ? 2 : 1;
    float *y = t->y + w->row * t->ldy + 16 * g;
    const int8_t *v = w->v + 512 * g;
    const float *sc = t->scales + w->b0 * sd_qscale_floats((sd_qform){.halves = halves, .min = min}) + 16 * g;
    const sd_qgroup *x = w->x;
    const bool first = w->b0 == 0 && !t->carry;
    __m512 s[ROWS];
#pragma GCC unroll 16
    for (int k = 0; k < ROWS; k++) s[k] = first || k >= w->m ? _mm512_setzero_ps() : _mm512_loadu_ps(y + k * t->ldy);
    for (int64_t b = 0; b < w->n; b++, x++, v += w->v_step, sc += SD_PANEL * n_half * (min ? 2 : 1))
        for (int h = 0; h < n_half; h++) {
            _tile_loadd(6, v + h * 256, 64L);
            _tile_loadd(4, x->q[0] + h * 16, (long)SD_QBLOCK);
            _tile_zero(0);
            _tile_dpbssd(0, 4, 6);
            _tile_stored(0, sum, 64L);
            const __m512 scale = _mm512_loadu_ps(sc + h * SD_PANEL), low = min ? _mm512_loadu_ps(sc + (n_half + h) * SD_PANEL) : scale;
            const float *ds = !halves ? x->ds : h == 0 ? x->low : x->high;
#pragma GCC unroll 16
            for (int k = 0; k < ROWS; k++) {
                s[k] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sum[k])), _mm512_mul_ps(scale, _mm512_set1_ps(x->d[k])), s[k]);
                if (min) s[k] = _mm512_fmadd_ps(low, _mm512_set1_ps(ds[k]), s[k]);
            }
        }
#pragma GCC unroll 16
    for (int k = 0; k < ROWS; k++)
        if (k < w->m) _mm512_storeu_ps(y + k * t->ldy, s[k]);
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
    _Alignas(64) sd_qgroup own[CHUNK];
    work w = {.t = t};
    const uint8_t zero = sd_qform_of(t->kind).zero;
    shape_tiles(halves);
    for (; w.b0 < t->n_block; w.b0 += CHUNK) {
        const uint8_t *values = t->values + w.b0 * t->value_step;
        w.n = t->n_block - w.b0 < CHUNK ? t->n_block - w.b0 : CHUNK;
        w.v = zero ? bytes : (const int8_t *)values;
        w.v_step = zero ? SD_QBYTE_BYTES : t->value_step;
        if (zero) make_signed(bytes, values, t->value_step, w.n, zero);
        for (w.row = 0; w.row < t->m; w.row += ROWS) {
            w.m = t->m - w.row < ROWS ? t->m - w.row : ROWS;
            w.x = own;
            if (t->group)
                w.x = t->group + w.row / ROWS * t->ld_group + w.b0;
            else
                sd_kern__group_q(own, t->q + w.row * t->ldq + w.b0 * SD_QBLOCK, t->ldq, t->act + w.row * t->ld_act + w.b0, t->ld_act, w.m, w.n);
            rows_of_chunk(&w, 0, halves, min);
            rows_of_chunk(&w, 1, halves, min);
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
    k->takes_groups = true;
}
