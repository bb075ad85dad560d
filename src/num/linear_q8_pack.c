/* From the blocks of a file to packed supers (kern_quant.h). An output's super is read into scales and numbers u, its
 * numbers are put into lines of bytes, and when all outputs of the panel are there the lines are pressed into planes.
 * 4-bit blocks of 32 skip the bytes: the file's nibble i holds inputs i and 16 + i, as the plane does. */
#include "num/linear_int.h"
#include "num/dtype_blocks.h"
#include <string.h>

enum { SUPER_INPUTS = SD_QSUPER * SD_QBLOCK };

/* One output's share of a super. */
typedef struct share {
    uint8_t d[2], dm[2];
    uint8_t sub[SD_QSUPER * 2]; /* [blocks][subs] */
    uint8_t u[SUPER_INPUTS];
} share;

static void copy_half(uint8_t to[2], const uint8_t from[2])
{
    memcpy(to, from, 2);
}
/* Minima of the K types are subtracted. */
static void copy_negated(uint8_t to[2], const uint8_t from[2])
{
    to[0] = from[0];
    to[1] = from[1] ^ 0x80;
}

static void nibbles(uint8_t *u, const uint8_t *q, int n)
{
    for (int i = 0; i < n; i++) {
        u[i] = q[i] & 15;
        u[n + i] = q[i] >> 4;
    }
}

static void fifth_bits(uint8_t *u, const uint8_t qh[4])
{
    for (int i = 0; i < SD_QBLOCK; i++) u[i] |= (uint8_t)((qh[i >> 3] >> (i & 7) & 1) << 4);
}

static void read_5_0(share *s, const void *src)
{
    const sd_block_q5_0 *b = src;
    copy_half(s->d, b->d);
    nibbles(s->u, b->qs, 16);
    fifth_bits(s->u, b->qh);
}

static void read_5_1(share *s, const void *src)
{
    const sd_block_q5_1 *b = src;
    copy_half(s->d, b->d);
    copy_half(s->dm, b->m);
    nibbles(s->u, b->qs, 16);
    fifth_bits(s->u, b->qh);
}

static void read_8_0(share *s, const void *src)
{
    const sd_block_q8_0 *b = src;
    copy_half(s->d, b->d);
    for (int i = 0; i < SD_QBLOCK; i++) s->u[i] = (uint8_t)((uint8_t)b->qs[i] ^ 0x80u); /* two's complement + 128 */
}

static void read_2_k(share *s, const void *src)
{
    const sd_block_q2_k *b = src;
    copy_half(s->d, b->d);
    copy_negated(s->dm, b->dmin);
    memcpy(s->sub, b->scales, 16);
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 32; i++) s->u[128 * h + 32 * k + i] = b->qs[32 * h + i] >> 2 * k & 3;
}

static void read_3_k(share *s, const void *src)
{
    const sd_block_q3_k *b = src;
    copy_half(s->d, b->d);
    for (int g = 0; g < 16; g++) {
        const int low = g < 8 ? b->scales[g] & 15 : b->scales[g - 8] >> 4;
        const int high = b->scales[8 + (g & 3)] >> 2 * (g >> 2) & 3;
        s->sub[g] = (uint8_t)((low | high << 4) - 32);
    }
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 32; i++)
                s->u[128 * h + 32 * k + i] =
                    (uint8_t)((b->qs[32 * h + i] >> 2 * k & 3) | (b->hmask[i] >> (4 * h + k) & 1) << 2);
}

/* See dtype_quant.c for the twelve bytes. */
static void subs_4_k(uint8_t sub[16], const uint8_t s[12])
{
    for (int g = 0; g < 4; g++) {
        sub[2 * g] = s[g] & 63;
        sub[2 * g + 1] = s[g + 4] & 63;
        sub[2 * g + 8] = (uint8_t)((s[g + 8] & 15) | (s[g] >> 6) << 4);
        sub[2 * g + 9] = (uint8_t)((s[g + 8] >> 4) | (s[g + 4] >> 6) << 4);
    }
}

static void read_4_k(share *s, const void *src)
{
    const sd_block_q4_k *b = src;
    copy_half(s->d, b->d);
    copy_negated(s->dm, b->dmin);
    subs_4_k(s->sub, b->scales);
    for (int k = 0; k < 4; k++) nibbles(s->u + 64 * k, b->qs + 32 * k, 32);
}

static void read_5_k(share *s, const void *src)
{
    const sd_block_q5_k *b = src;
    copy_half(s->d, b->d);
    copy_negated(s->dm, b->dmin);
    subs_4_k(s->sub, b->scales);
    for (int k = 0; k < 4; k++) nibbles(s->u + 64 * k, b->qs + 32 * k, 32);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++) s->u[32 * g + i] |= (uint8_t)((b->qh[i] >> g & 1) << 4);
}

static void read_6_k(share *s, const void *src)
{
    const sd_block_q6_k *b = src;
    copy_half(s->d, b->d);
    memcpy(s->sub, b->scales, 16);
    for (int r = 0; r < 8; r++) {
        const uint8_t *l = b->ql + 64 * (r >> 2) + 32 * (r & 1), *h = b->qh + 32 * (r >> 2);
        const int ls = 4 * (r >> 1 & 1), hs = 2 * (r & 3);
        for (int i = 0; i < 32; i++) s->u[32 * r + i] = (uint8_t)((l[i] >> ls & 15) | (h[i] >> hs & 3) << 4);
    }
}

static void read_4_xs(share *s, const void *src)
{
    const sd_block_iq4_xs *b = src;
    const int top = b->scales_h[0] | b->scales_h[1] << 8;
    copy_half(s->d, b->d);
    for (int g = 0; g < 8; g++) {
        s->sub[g] = (uint8_t)(((b->scales_l[g >> 1] >> 4 * (g & 1) & 15) | (top >> 2 * g & 3) << 4) - 32);
        nibbles(s->u + 32 * g, b->qs + 16 * g, 16);
    }
}

static void (*const readers[SD_QKIND_COUNT])(share *, const void *) = {
    [SD_QKIND_5_0] = read_5_0, [SD_QKIND_5_1] = read_5_1, [SD_QKIND_8_0] = read_8_0, [SD_QKIND_2_K] = read_2_k,
    [SD_QKIND_3_K] = read_3_k, [SD_QKIND_4_K] = read_4_k, [SD_QKIND_5_K] = read_5_k, [SD_QKIND_6_K] = read_6_k,
    [SD_QKIND_4_XS] = read_4_xs};

/* A super of bytes: [blocks][2 groups][8 lines][16 outputs][4 inputs]. */
static void place(uint8_t *dst, uint8_t *bytes, const share *s, sd_qform f, int j)
{
    memcpy(dst + 2 * j, s->d, 2);
    if (f.min) memcpy(dst + 2 * SD_PANEL + 2 * j, s->dm, 2);
    uint8_t *sub = dst + (f.min ? 4 : 2) * SD_PANEL + j;
    for (int i = 0; i < f.blocks * f.subs; i++) sub[i * SD_PANEL] = s->sub[i];
    for (int b = 0; b < f.blocks; b++)
        for (int l = 0; l < 8; l++)
            memcpy(bytes + b * SD_QBYTE_BYTES + j / 16 * 512 + l * 64 + j % 16 * 4, s->u + 32 * b + 4 * l, 4);
}

static void press_bit(uint8_t *dst, const uint8_t *line, int bit)
{
    for (int i = 0; i < 8; i++) {
        unsigned v = 0;
        for (int k = 0; k < 8; k++) v |= (line[8 * i + k] >> bit & 1u) << k;
        dst[i] = (uint8_t)v;
    }
}

/* One block's lines into its planes. */
static void press(uint8_t *v, const uint8_t *bytes, sd_qform f)
{
    if (f.bits == 8) {
        memcpy(v, bytes, SD_QBYTE_BYTES);
        return;
    }
    const int low = f.bits < 4 ? 2 : 4;
    uint8_t *rest = v + low * (SD_QBYTE_BYTES / 8);
    for (int g = 0; g < 2; g++, bytes += 512) {
        if (low == 4)
            for (int i = 0; i < 256; i++) v[256 * g + i] = (uint8_t)((bytes[i] & 15) | bytes[256 + i] << 4);
        const int top = low == 2 ? 0 : 4; /* where the two bits of a 2-bit plane stand */
        uint8_t *two = low == 2 ? v + 128 * g : rest + 128 * g;
        if (low == 2 || f.bits == 6)
            for (int i = 0; i < 128; i++)
                two[i] = (uint8_t)((bytes[i] >> top & 3) | (bytes[128 + i] >> top & 3) << 2 |
                                   (bytes[256 + i] >> top & 3) << 4 | (bytes[384 + i] >> top & 3) << 6);
        if (f.bits == 3 || f.bits == 5)
            for (int l = 0; l < 8; l++) press_bit(rest + 64 * g + 8 * l, bytes + 64 * l, f.bits - 1);
    }
}

/* 4-bit blocks of 32: four bytes of the file are four bytes of a line. */
static void pack_nibbles(uint8_t *dst, const sd_wmat *w, int64_t p, sd_qform f)
{
    const size_t step = sd_dtype_get(w->dtype)->bytes;
    for (int j = 0; j < SD_PANEL && p * SD_PANEL + j < w->rows; j++) {
        const uint8_t *src = sd_wmat_row(w, p * SD_PANEL + j);
        uint8_t *d = dst;
        for (int64_t b = 0; b < w->cols / SD_QBLOCK; b++, src += step, d += sd_qsuper_bytes(f)) {
            uint8_t *v = d + sd_qhead_bytes(f) + j / 16 * 256 + j % 16 * 4;
            memcpy(d + 2 * j, src, 2);
            if (f.min) memcpy(d + 2 * SD_PANEL + 2 * j, src + 2, 2);
            for (int line = 0; line < 4; line++) memcpy(v + 64 * line, src + (f.min ? 4 : 2) + 4 * line, 4);
        }
    }
}

bool sd_linear__qkind(const sd_wmat *w, sd_qkind *kind)
{
    static const struct {
        sd_dtype type;
        sd_qkind kind;
    } table[] = {{SD_Q4_0, SD_QKIND_4_0}, {SD_Q4_1, SD_QKIND_4_1}, {SD_Q5_0, SD_QKIND_5_0}, {SD_Q5_1, SD_QKIND_5_1},
                 {SD_Q8_0, SD_QKIND_8_0}, {SD_Q2_K, SD_QKIND_2_K}, {SD_Q3_K, SD_QKIND_3_K}, {SD_Q4_K, SD_QKIND_4_K},
                 {SD_Q5_K, SD_QKIND_5_K}, {SD_Q6_K, SD_QKIND_6_K}, {SD_IQ4_NL, SD_QKIND_4_NL},
                 {SD_IQ4_XS, SD_QKIND_4_XS}};
    if (w->stored_cols) return false; /* a transpose, of F32, F16 or BF16 */
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].type == w->dtype) {
            *kind = table[i].kind;
            return true;
        }
    return false;
}

void sd_linear__pack_q(uint8_t *dst, const sd_wmat *w, int64_t p, sd_qkind kind)
{
    const sd_qform f = sd_qform_of(kind);
    const int64_t n_super = w->cols / (SD_QBLOCK * f.blocks), size = sd_qsuper_bytes(f);
    const size_t step = sd_dtype_get(w->dtype)->bytes;
    uint8_t bytes[SD_QSUPER * SD_QBYTE_BYTES];
    share s;
    if (!readers[kind] || (p + 1) * SD_PANEL > w->rows)
        memset(dst, 0, (size_t)(n_super * size)); /* outputs that pad the last panel: scale 0 */
    if (!readers[kind]) {
        pack_nibbles(dst, w, p, f);
        return;
    }
    for (int64_t k = 0; k < n_super; k++, dst += size) {
        memset(bytes, 0, (size_t)f.blocks * SD_QBYTE_BYTES);
        for (int j = 0; j < SD_PANEL && p * SD_PANEL + j < w->rows; j++) {
            readers[kind](&s, (const uint8_t *)sd_wmat_row(w, p * SD_PANEL + j) + (size_t)k * step);
            place(dst, bytes, &s, f, j);
        }
        for (int b = 0; b < f.blocks; b++)
            press(dst + sd_qhead_bytes(f) + b * sd_qvalue_bytes(f), bytes + b * SD_QBYTE_BYTES, f);
    }
}
