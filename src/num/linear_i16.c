/* bf16 mode where the CPU multiplies none: panels [k/2, SD_PANEL, 2] of whole numbers of 13 bits with scales behind them
 * (kern_i16.h), as many bytes as bf16's; activations are brought to blocks once for all matrices that read them.
 * A Zen 3 core, 384 x 576 x 576: 134 GOP/s where f32 has 94. */
#include "num/linear_int.h"
#include "num/product.h"

#include <string.h>

const sd_kern_i16 *sd_kern_i16_select(uint32_t cpu_flags)
{
#if defined(__x86_64__)
    if ((cpu_flags & (SD_CPU_AVX2 | SD_CPU_AVX512)) == SD_CPU_AVX2) return &sd_kern_i16_avx2;
#endif
    (void)cpu_flags;
    return NULL;
}

static inline int64_t even(int64_t k)
{
    return k + (k & 1);
}

static size_t pair_bytes(const sd_linear *l)
{
    return (size_t)even(l->cols) * SD_PANEL * sizeof(int16_t);
}

static bool panel_bytes(const sd_linear *l, size_t *bytes)
{
    size_t scales;
    if (!sd_mul_size((size_t)even(l->cols), SD_PANEL * sizeof(int16_t), bytes)) return false;
    if (!sd_mul_size((size_t)sd_i16_blocks(l->cols), SD_PANEL * sizeof(float), &scales) || *bytes > SIZE_MAX - scales) return false;
    *bytes += scales;
    return true;
}

/* Block by block: turned in the first cache, then brought to whole numbers. */
static void pack(const sd_linear *l, uint8_t *dst, const sd_wmat *w, int64_t p, float *rows)
{
    float turned[SD_I16_BLOCK * SD_PANEL] __attribute__((aligned(64)));
    const int64_t k = l->cols;
    uint32_t *to = (uint32_t *)(void *)dst;
    float *scale = (float *)(void *)(dst + pair_bytes(l));
    sd_linear__decode_panel(rows, w, p);
    for (int64_t k0 = 0; k0 < k; k0 += SD_I16_BLOCK, scale += SD_PANEL) {
        const int64_t n = k - k0 < SD_I16_BLOCK ? k - k0 : SD_I16_BLOCK;
        const void *src[SD_PANEL];
        for (int64_t j = 0; j < SD_PANEL; j++) src[j] = rows + j * k + k0;
        l->turn->transpose((uint32_t *)(void *)turned, SD_PANEL, src, n);
        sd_kern_i16_select(l->kern->cpu_flags)->panel(to + k0 / 2 * SD_PANEL, scale, turned, n);
    }
}

static size_t scratch(const sd_linear *l, int64_t n_rows)
{
    return sd_prod_half_bytes(n_rows, l->cols);
}

static void prepare(const sd_exec *ex, const sd_linear *l, sd_mat x, void *s)
{
    (void)l;
    (void)sd_prod_round(ex, x, s);
}

static void tile(const sd_linear_job *j, const uint8_t *panel, int64_t r0, int64_t m, float *y, int64_t ld)
{
    const sd_linear *l = j->l;
    const int64_t step = sd_prod_half_ld(l->cols), blocks = sd_i16_blocks(l->cols);
    const int16_t *x = (const int16_t *)j->scratch;
    const float *sx = (const float *)(const void *)(x + j->x.rows * step);
    const sd_itile t = {.y = y,
                        .x = x + r0 * step,
                        .sx = sx + r0 * blocks,
                        .w = (const uint32_t *)(const void *)panel,
                        .sw = (const float *)(const void *)(panel + pair_bytes(l)),
                        .ldy = ld,
                        .ldx = step,
                        .ldsx = blocks,
                        .m = m,
                        .k = even(l->cols)};
    sd_kern_i16_select(j->ex->kern->cpu_flags)->tile(&t);
}

static void spread(const sd_linear_job *const *job, const uint8_t *const *w, float *const *y, int n)
{
    const int16_t *x = job[0]->scratch;
    sd_spread t = {.n = n, .x = x, .act = x + sd_prod_half_ld(job[0]->l->cols), .k = even(job[0]->l->cols)};
    for (int i = 0; i < n; i++) t.y[i] = y[i], t.w[i] = w[i];
    sd_kern_i16_select(job[0]->ex->kern->cpu_flags)->spread(&t);
}

/* A block is wider than a panel, so no part of a matrix can be prepared alone. */
const sd_linear_form sd_linear__i16 = {SD_MODE_BF16, SD_ROW_TILE, panel_bytes, pack, scratch, prepare, NULL, tile, spread};
