/* AVX2 for packed blocks: up to 4 rows, each line unpacked in registers as it comes; the rows' sums wait in the first cache. */
#include "num/kern.h"
#include "num/kern_avx2_q.h"

/* Activations of some rows, at a block. */
typedef struct rows {
    const int8_t *q;
    const sd_qact *act;
    int64_t ldq, ld_act;
} rows;

/* mr rows by one panel, or one row by np panels: constants at every call. */
typedef struct extent { int mr, np; } extent;

/* y[i] += row or panel i of block b of a super; the kind is a constant. */
UNROLLED void packed_block(float y[][SD_PANEL], const uint8_t *const *super, int b, const rows x, const extent e, const sd_qkind kind)
{
    const sd_qform f = sd_qform_of(kind);
    const uint8_t *v[SD_SPREAD];
    for (int i = 0; i < e.np; i++) v[i] = super[i] + sd_qhead_bytes(f) + b * sd_qvalue_bytes(f);
#pragma GCC unroll 1
    for (int g = 0; g < 2; g++)
#pragma GCC unroll 2
        for (int h = 0; h <= f.halves; h++) {
            const part p = {f, top_of(f), h, g};
            __m256i s[SD_QPACK_ROWS][2];
            sum_lines(s, v, x.q, x.ldq, p, e.mr, e.np);
            __m256 scale[4];
#pragma GCC unroll 4
            for (int i = 0; i < e.mr * e.np; i++) {
                const int panel = e.np > 1 ? i : 0;
                if (panel == i)
#pragma GCC unroll 2
                    for (int j = 0; j < 2; j++) {
                        scale[j] = scale_at(super[panel], f, b, h, 2 * g + j, false);
                        scale[2 + j] = f.min ? scale_at(super[panel], f, b, h, 2 * g + j, true) : scale[j];
                    }
                __m256 sum[2] = {_mm256_load_ps(y[i] + 16 * g), _mm256_load_ps(y[i] + 16 * g + 8)};
                add_part(sum, s[i], &x.act[i * x.ld_act], p, scale);
                _mm256_store_ps(y[i] + 16 * g, sum[0]), _mm256_store_ps(y[i] + 16 * g + 8, sum[1]);
            }
        }
}

/* Asks for what comes 4 KB later, past the end of a panel too, where the next one lies: a Zen 3 core reads weights from memory at 13 to
 * 17 GB/s with it, nearly what a loop that only reads gets there, and at 8 to 15 without. */
UNROLLED void fetch_ahead(const uint8_t *super, const sd_qform f, int b)
{
    const int64_t share = sd_qsuper_bytes(f) / f.blocks;
#pragma GCC unroll 20
    for (int64_t i = 0; i < share; i += 64) _mm_prefetch((const char *)super + b * share + 4096 + i, _MM_HINT_T0);
}

UNROLLED void packed_rows(const sd_qtile *t, int64_t row, const int mr, const sd_qkind kind)
{
    const sd_qform f = sd_qform_of(kind);
    const uint8_t *p = t->values;
    rows x = {t->q + row * t->ldq, t->act + row * t->ld_act, t->ldq, t->ld_act};
    float y[SD_QPACK_ROWS][SD_PANEL] __attribute__((aligned(32)));
    for (int i = 0; i < mr; i++) {
        if (t->carry)
            memcpy(y[i], t->y + (row + i) * t->ldy, sizeof y[i]);
        else
            memset(y[i], 0, sizeof y[i]);
    }
    for (int64_t k = 0; k < t->n_block; k += f.blocks, p += sd_qsuper_bytes(f))
        for (int b = 0; b < f.blocks; b++, x.q += SD_QBLOCK, x.act++) {
            fetch_ahead(p, f, b);
            packed_block(y, &p, b, x, (extent){mr, 1}, kind);
        }
    for (int i = 0; i < mr; i++) memcpy(t->y + (row + i) * t->ldy, y[i], sizeof y[i]);
}

UNROLLED void packed_all(const sd_qtile *t, const sd_qkind kind)
{
    int64_t r = 0;
    for (; r + 4 <= t->m; r += 4) packed_rows(t, r, 4, kind);
    switch (t->m - r) {
    case 3:
        packed_rows(t, r, 3, kind);
        break;
    case 2:
        packed_rows(t, r, 2, kind);
        break;
    case 1:
        packed_rows(t, r, 1, kind);
        break;
    default:
        break;
    }
}

/* ---- several panels ---- */

UNROLLED void packed_panels(const sd_spread *t, const int np, const sd_qkind kind)
{
    const sd_qform f = sd_qform_of(kind);
    const uint8_t *p[SD_SPREAD];
    rows x = {t->x, t->act, 0, 0};
    float y[SD_SPREAD][SD_PANEL] __attribute__((aligned(32)));
    for (int i = 0; i < np; i++) {
        p[i] = t->w[i];
        memset(y[i], 0, sizeof y[i]);
    }
    for (int64_t k = 0; k < t->k; k += f.blocks * SD_QBLOCK) {
        for (int b = 0; b < f.blocks; b++, x.q += SD_QBLOCK, x.act++) {
            packed_block(y, p, b, x, (extent){1, np}, kind);
        }
        for (int i = 0; i < np; i++) p[i] += sd_qsuper_bytes(f);
    }
    for (int i = 0; i < np; i++) memcpy(t->y[i], y[i], sizeof y[i]);
}

UNROLLED void spread_all(const sd_spread *t, const sd_qkind kind)
{
    if (!sd_qkind_in_order(kind)) return;
#define OF_KIND(t, n) packed_panels(t, n, kind)
    SD_SPREAD_BY_N(OF_KIND, t)
}

#define DEFINE(K)                                                                                                      \
    static void packed_##K(const sd_qtile *t)                                                                          \
    {                                                                                                                  \
        packed_all(t, SD_QKIND_##K);                                                                                   \
    }                                                                                                                  \
    static void spread_##K(const sd_spread *t)                                                                         \
    {                                                                                                                  \
        spread_all(t, SD_QKIND_##K);                                                                                   \
    }
SD_AVX2_KINDS(DEFINE)

void sd_kern__tile_qpack_avx2(const sd_qtile *t)
{
#define PACKED_ROW(K) [SD_QKIND_##K] = packed_##K,
    static void (*const table[SD_QKIND_COUNT])(const sd_qtile *) = {SD_AVX2_KINDS(PACKED_ROW)};
    table[t->kind](t);
}

void sd_kern__spread_q_avx2(const sd_spread *t)
{
#define SPREAD_ROW(K) [SD_QKIND_##K] = spread_##K,
    static void (*const table[SD_QKIND_COUNT])(const sd_spread *) = {SD_AVX2_KINDS(SPREAD_ROW)};
    table[t->kind](t);
}
