/* From the blocks of a file to packed supers (kern_quant.h). An output's share of a block is a few words: word s of a plane
 * holds the inputs that line s keeps of this output, in the order of bytes, so that packing is storing words 64 bytes apart. Words
 * are cut out of the file's bytes four inputs at a time; no input is touched alone. Starting a model is mostly this file. */
#include "num/linear_int.h"
#include "num/dtype_blocks.h"
#include <string.h>

enum { LOW = 8 /* most words of the first plane of a block */, HIGH = 2 /* of a 2-bit plane above it */ };

/* One output's share of a super. */
typedef struct share {
    uint8_t d[2], dm[2];
    uint8_t sub[SD_QSUPER * 2]; /* [blocks][subs] */
    uint32_t low[SD_QSUPER][LOW], high[SD_QSUPER][HIGH];
    uint32_t bits[SD_QSUPER]; /* nibble l: the 1-bit plane's bits of line l; input t is bit t */
} share;

/* Files are little-endian; so are the planes. */
static inline uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline void put_word(uint8_t *p, uint32_t w)
{
    p[0] = (uint8_t)w, p[1] = (uint8_t)(w >> 8), p[2] = (uint8_t)(w >> 16), p[3] = (uint8_t)(w >> 24);
}

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

/* The file's nibble i of a plain block holds inputs i and 16 + i, as the plane does. */
static void plain_nibbles(uint32_t low[4], const uint8_t qs[16])
{
    for (int s = 0; s < 4; s++) low[s] = word(qs + 4 * s);
}
/* 32 inputs that are the low (shift 0) or high (4) nibbles of 32 bytes. */
static void split_nibbles(uint32_t low[4], const uint8_t q[32], int shift)
{
    for (int s = 0; s < 4; s++)
        low[s] = (word(q + 4 * s) >> shift & 0x0f0f0f0fu) | (word(q + 16 + 4 * s) >> shift & 0x0f0f0f0fu) << 4;
}
/* 32 inputs that are bits shift, shift + 1 of 32 bytes. */
static void split_pairs(uint32_t two[2], const uint8_t q[32], int shift)
{
    for (int s = 0; s < 2; s++) {
        two[s] = 0;
        for (int k = 0; k < 4; k++) two[s] |= (word(q + 4 * s + 8 * k) >> shift & 0x03030303u) << 2 * k;
    }
}
/* 32 inputs that are bit `shift` of 32 bytes: the multiplication gathers one bit of each of four bytes. */
static uint32_t split_bits(const uint8_t q[32], int shift)
{
    uint32_t bits = 0;
    for (int l = 0; l < 8; l++) bits |= ((word(q + 4 * l) >> shift & 0x01010101u) * 0x10204080u >> 28) << 4 * l;
    return bits;
}

static void read_4_0(share *s, const void *src)
{
    const sd_block_q4_0 *b = src; /* IQ4_NL lies the same way */
    copy_half(s->d, b->d);
    plain_nibbles(s->low[0], b->qs);
}

static void read_4_1(share *s, const void *src)
{
    const sd_block_q4_1 *b = src;
    copy_half(s->d, b->d);
    copy_half(s->dm, b->m);
    plain_nibbles(s->low[0], b->qs);
}

static void read_5_0(share *s, const void *src)
{
    const sd_block_q5_0 *b = src;
    copy_half(s->d, b->d);
    plain_nibbles(s->low[0], b->qs);
    s->bits[0] = word(b->qh);
}

static void read_5_1(share *s, const void *src)
{
    const sd_block_q5_1 *b = src;
    copy_half(s->d, b->d);
    copy_half(s->dm, b->m);
    plain_nibbles(s->low[0], b->qs);
    s->bits[0] = word(b->qh);
}

static void read_8_0(share *s, const void *src)
{
    const sd_block_q8_0 *b = src;
    copy_half(s->d, b->d);
    for (int l = 0; l < 8; l++) s->low[0][l] = word((const uint8_t *)b->qs + 4 * l) ^ 0x80808080u; /* + 128 */
}

static void read_2_k(share *s, const void *src)
{
    const sd_block_q2_k *b = src;
    copy_half(s->d, b->d);
    copy_negated(s->dm, b->dmin);
    memcpy(s->sub, b->scales, 16);
    for (int g = 0; g < 8; g++) split_pairs(s->low[g], b->qs + 32 * (g >> 2), 2 * (g & 3));
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
    for (int g = 0; g < 8; g++) {
        split_pairs(s->low[g], b->qs + 32 * (g >> 2), 2 * (g & 3));
        s->bits[g] = split_bits(b->hmask, g);
    }
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
    for (int g = 0; g < 8; g++) split_nibbles(s->low[g], b->qs + 32 * (g >> 1), 4 * (g & 1));
}

static void read_5_k(share *s, const void *src)
{
    const sd_block_q5_k *b = src;
    copy_half(s->d, b->d);
    copy_negated(s->dm, b->dmin);
    subs_4_k(s->sub, b->scales);
    for (int g = 0; g < 8; g++) {
        split_nibbles(s->low[g], b->qs + 32 * (g >> 1), 4 * (g & 1));
        s->bits[g] = split_bits(b->qh, g);
    }
}

static void read_6_k(share *s, const void *src)
{
    const sd_block_q6_k *b = src;
    copy_half(s->d, b->d);
    memcpy(s->sub, b->scales, 16);
    for (int r = 0; r < 8; r++) {
        split_nibbles(s->low[r], b->ql + 64 * (r >> 2) + 32 * (r & 1), 4 * (r >> 1 & 1));
        split_pairs(s->high[r], b->qh + 32 * (r >> 2), 2 * (r & 3));
    }
}

static void read_4_xs(share *s, const void *src)
{
    const sd_block_iq4_xs *b = src;
    const int top = b->scales_h[0] | b->scales_h[1] << 8;
    copy_half(s->d, b->d);
    for (int g = 0; g < 8; g++) {
        s->sub[g] = (uint8_t)(((b->scales_l[g >> 1] >> 4 * (g & 1) & 15) | (top >> 2 * g & 3) << 4) - 32);
        plain_nibbles(s->low[g], b->qs + 16 * g);
    }
}

/* Output j of the super at dst, by the reader of its kind; all of it is constant after inlining but j. */
static inline __attribute__((always_inline)) void place(uint8_t *dst, const share *s, const sd_qform f, int j)
{
    const int n_low = f.bits == 8 ? 8 : f.bits < 4 ? 2 : 4, g = j / 16, at = j % 16 * 4;
    uint8_t *sub = dst + (f.min ? 4 : 2) * SD_PANEL + j, *v = dst + sd_qhead_bytes(f);
    memcpy(dst + 2 * j, s->d, 2);
    if (f.min) memcpy(dst + 2 * SD_PANEL + 2 * j, s->dm, 2);
    for (int i = 0; i < f.blocks * f.subs; i++) sub[i * SD_PANEL] = s->sub[i];
    for (int b = 0; b < f.blocks; b++, v += sd_qvalue_bytes(f)) {
        uint8_t *rest = v + 2 * 64 * n_low;
        for (int l = 0; l < n_low; l++) put_word(v + 64 * (g * n_low + l) + at, s->low[b][l]);
        for (int l = 0; f.bits == 6 && l < HIGH; l++) put_word(rest + 64 * (HIGH * g + l) + at, s->high[b][l]);
        for (int l = 0; (f.bits == 3 || f.bits == 5) && l < 8; l++) /* two outputs a byte; it begins as zero */
            rest[64 * g + 8 * l + j % 16 / 2] |= (uint8_t)((s->bits[b] >> 4 * l & 15) << 4 * (j & 1));
    }
}

static inline __attribute__((always_inline)) void pack_all(uint8_t *dst, const sd_wmat *w, int64_t p, const sd_qkind kind,
                                                           void (*read)(share *, const void *))
{
    const sd_qform f = sd_qform_of(kind);
    const int64_t n_super = w->cols / (SD_QBLOCK * f.blocks);
    const size_t step = sd_dtype_get(w->dtype)->bytes;
    share s;
    for (int j = 0; j < SD_PANEL && p * SD_PANEL + j < w->rows; j++) {
        const uint8_t *src = sd_wmat_row(w, p * SD_PANEL + j);
        for (int64_t k = 0; k < n_super; k++, src += step) {
            read(&s, src);
            place(dst + k * sd_qsuper_bytes(f), &s, f, j);
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
    if ((p + 1) * SD_PANEL > w->rows || f.bits == 3 || f.bits == 5) /* outputs that pad the last panel have scale 0 */
        memset(dst, 0, (size_t)(w->cols / (SD_QBLOCK * f.blocks) * sd_qsuper_bytes(f)));
    switch (kind) {
    case SD_QKIND_4_0: pack_all(dst, w, p, SD_QKIND_4_0, read_4_0); break;
    case SD_QKIND_4_1: pack_all(dst, w, p, SD_QKIND_4_1, read_4_1); break;
    case SD_QKIND_5_0: pack_all(dst, w, p, SD_QKIND_5_0, read_5_0); break;
    case SD_QKIND_5_1: pack_all(dst, w, p, SD_QKIND_5_1, read_5_1); break;
    case SD_QKIND_8_0: pack_all(dst, w, p, SD_QKIND_8_0, read_8_0); break;
    case SD_QKIND_4_NL: pack_all(dst, w, p, SD_QKIND_4_NL, read_4_0); break;
    case SD_QKIND_2_K: pack_all(dst, w, p, SD_QKIND_2_K, read_2_k); break;
    case SD_QKIND_3_K: pack_all(dst, w, p, SD_QKIND_3_K, read_3_k); break;
    case SD_QKIND_4_K: pack_all(dst, w, p, SD_QKIND_4_K, read_4_k); break;
    case SD_QKIND_5_K: pack_all(dst, w, p, SD_QKIND_5_K, read_5_k); break;
    case SD_QKIND_6_K: pack_all(dst, w, p, SD_QKIND_6_K, read_6_k); break;
    case SD_QKIND_4_XS: pack_all(dst, w, p, SD_QKIND_4_XS, read_4_xs); break;
    case SD_QKIND_COUNT: break;
    }
}
