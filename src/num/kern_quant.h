/* The quantised product: activations in int8 blocks, weights in packed blocks, and the tile of one with the other.
 *
 * Every quantised type of a file is, in a block of 32 inputs, w = s (u - zero) + m with u unsigned, one s and m a block
 * or one a half block. It is packed for SD_PANEL outputs at once in groups ("supers") of 1 or 8 blocks:
 *   head    SD_PANEL f16 d; with a minimum SD_PANEL f16 dm after them
 *   subs    (supers of 8 only) for each block what the outputs' scales are multiplied with, SD_PANEL bytes a row:
 *           sub s_0 [s_1] [m_0]; 2-bit weights have scale | minimum << 4 in one byte. s = d sub, m = dm sub
 *   values  for each block its SD_PANEL x 32 numbers u.
 * Values as bytes: two groups of 16 outputs; a group is 8 lines of 64 bytes, line l has inputs 4l..4l+3 of 16 outputs.
 * Fewer bits are planes, one after another, each in the same two groups:
 *   4-bit plane  4 lines a group; line l has line l of the bytes in the low and line l + 4 in the high halves
 *   2-bit plane  2 lines a group; line l has line l + 2k in bits 2k, 2k + 1
 *   1-bit plane  8 bytes a line of 64, bit i of them for byte i
 * 3 bits: 2 + 1, 5: 4 + 1, 6: 4 + 2; the plane named first has the low bits. */
#ifndef SD_NUM_KERN_QUANT_H
#define SD_NUM_KERN_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SD_PANEL = 32 }; /* outputs a packed weight panel holds */

/* Activations of one row in int8, in blocks of SD_QBLOCK inputs, as llama.cpp's Q8_1 (its d is f16, ours f32):
 *   d = max|x| / 127, q = round(x / d), ds = d sum(q), nsum = -sum(q), nlow = -sum(q) over the first half.
 * A block with NaN or infinity has d = NaN, so that the product shows it; one below FLT_MIN * 127 is zero. */
enum { SD_QBLOCK = 32 };
typedef struct sd_qact {
    float d, ds;
    int32_t nsum, nlow;
} sd_qact;

typedef enum sd_qkind {
    SD_QKIND_4_0, SD_QKIND_4_1, SD_QKIND_5_0, SD_QKIND_5_1, SD_QKIND_8_0, SD_QKIND_4_NL,
    SD_QKIND_2_K, SD_QKIND_3_K, SD_QKIND_4_K, SD_QKIND_5_K, SD_QKIND_6_K, SD_QKIND_4_XS,
    SD_QKIND_COUNT
} sd_qkind;

typedef struct sd_qform {
    uint8_t bits;   /* of a packed value: 2, 3, 4, 5, 6, 8 */
    uint8_t zero;   /* subtracted from a value; with `book`, from the code book's entry */
    uint8_t blocks; /* blocks a super: 1, or 8 with subs */
    uint8_t subs;   /* rows of SD_PANEL sub-scale bytes a block; 0 in supers of 1 */
    bool halves;    /* a scale (and minimum) each half block */
    bool min;
    bool book; /* values are places in sd_qbook */
} sd_qform;

/* llama.cpp's code book of IQ4_NL and IQ4_XS (ggml-common.h, kvalues_iq4nl), 128 added. */
#define SD_QBOOK 1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241

/* Constant when kind is: kernels are compiled once a kind. */
static inline __attribute__((always_inline)) sd_qform sd_qform_of(sd_qkind kind)
{
    switch (kind) {
    case SD_QKIND_4_0: return (sd_qform){4, 8, 1, 0, false, false, false};
    case SD_QKIND_4_1: return (sd_qform){4, 0, 1, 0, false, true, false};
    case SD_QKIND_5_0: return (sd_qform){5, 16, 1, 0, false, false, false};
    case SD_QKIND_5_1: return (sd_qform){5, 0, 1, 0, false, true, false};
    case SD_QKIND_4_NL: return (sd_qform){4, 128, 1, 0, false, false, true};
    case SD_QKIND_2_K: return (sd_qform){2, 0, 8, 2, true, true, false};
    case SD_QKIND_3_K: return (sd_qform){3, 4, 8, 2, true, false, false};
    case SD_QKIND_4_K: return (sd_qform){4, 0, 8, 2, false, true, false};
    case SD_QKIND_5_K: return (sd_qform){5, 0, 8, 2, false, true, false};
    case SD_QKIND_6_K: return (sd_qform){6, 32, 8, 2, true, false, false};
    case SD_QKIND_4_XS: return (sd_qform){4, 128, 8, 1, false, false, true};
    case SD_QKIND_8_0:
    case SD_QKIND_COUNT: break;
    }
    return (sd_qform){8, 128, 1, 0, false, false, false};
}

enum { SD_QBYTE_BYTES = SD_PANEL * SD_QBLOCK, SD_QSUPER = 8 /* most blocks of a super */ };
static inline int64_t sd_qvalue_bytes(sd_qform f) /* of a block */
{
    return f.bits * (SD_QBYTE_BYTES / 8);
}
static inline int64_t sd_qhead_bytes(sd_qform f) /* of a super: head and subs */
{
    return (f.min ? 4 : 2) * SD_PANEL + f.blocks * f.subs * SD_PANEL;
}
static inline int64_t sd_qsuper_bytes(sd_qform f)
{
    return sd_qhead_bytes(f) + f.blocks * sd_qvalue_bytes(f);
}
static inline int64_t sd_qscale_floats(sd_qform f) /* unpacked scales and minima of a block */
{
    return SD_PANEL * (f.halves ? 2 : 1) * (f.min ? 2 : 1);
}

/* A block of 16 rows of activations, for tiles: bytes, then of each row d, ds, and d sum(q) of the first and the second half of the block. */
enum { SD_QGROUP_ROWS = 16 };
typedef struct sd_qgroup {
    int8_t q[SD_QGROUP_ROWS][SD_QBLOCK];
    float d[SD_QGROUP_ROWS], ds[SD_QGROUP_ROWS], low[SD_QGROUP_ROWS], high[SD_QGROUP_ROWS];
} sd_qgroup;
_Static_assert(sizeof(sd_qgroup) % 64 == 0, "groups follow each other on cache lines");
/* n_block groups of m <= 16 rows of what sd_kern.quantise made, zeros below. */
void sd_kern__group_q(sd_qgroup *to, const int8_t *q, int64_t ldq, const sd_qact *act, int64_t ld_act, int64_t m, int64_t n_block);

/* One tile. For every block, and with halves for its first half and then its second, over the inputs t in it:
 *   i = sum_t (u_t - zero) q_t,   y = fma(i, s d, y),   with a minimum then y = fma(m, d sum_t q_t, y). */
typedef struct sd_qtile {
    float *y; /* [m, SD_PANEL], rows ldy apart */
    int64_t ldy;
    const int8_t *q; /* [m, 32 n_block], rows ldq bytes apart */
    int64_t ldq;
    const sd_qact *act; /* [m, n_block], rows ld_act apart */
    int64_t ld_act;
    const sd_qgroup *group; /* tile_q8: NULL, or the same rows for ISAs that take them in groups: [m / 16 rounded up], ld_group apart */
    int64_t ld_group;
    const uint8_t *values; /* tile_q8: bytes of the first block, value_step to the next; tile_qpack: the first super */
    int64_t value_step;
    const float *scales; /* tile_q8: [n_block][s, then m; each [halves][SD_PANEL]] */
    int64_t m, n_block;  /* tile_qpack: whole supers */
    sd_qkind kind;
    bool carry; /* start the sums from y instead of 0 */
} sd_qtile;

/* Whether the lines of a packed block are multiplied in the order they lie in: no planes in turns, no heads of a super between blocks. */
static inline bool sd_qkind_in_order(sd_qkind kind)
{
    const sd_qform f = sd_qform_of(kind);
    return f.blocks == 1 && (f.bits == 4 || f.bits == 8);
}

/* One row of x against panels in several stretches of memory, a line of each in turn: y[i] [SD_PANEL] = x w[i]^T, the bits of the tile that
 * takes such panels. Two Zen 3 cores read 26 GB/s where each reads one stretch and 34 where each reads four: what a core fetches ahead ends
 * with a page. */
enum { SD_SPREAD = 4 };
typedef struct sd_spread {
    float *y[SD_SPREAD];
    const void *w[SD_SPREAD];
    int n;         /* panels, 1 to SD_SPREAD */
    const void *x; /* [k]: f32, or int8 or int16 with what `act` says of their blocks: sd_qact, or f32 scales */
    const void *act;
    int64_t k;
    sd_qkind kind; /* of packed blocks: one in order, as the core fetches ahead nothing else */
} sd_spread;
/* panels(t, n) with t->n as a constant, by which its sums are kept in registers. */
#define SD_SPREAD_BY_N(panels, t)           \
    switch ((t)->n) {                       \
    case 1: panels(t, 1); break;            \
    case 2: panels(t, 2); break;            \
    case 3: panels(t, 3); break;            \
    default: panels(t, SD_SPREAD); break;   \
    }

/* n_block blocks (whole supers): values into bytes [n_block][SD_QBYTE_BYTES], the code book applied (NULL: left out),
 * scales and minima into scales [n_block][sd_qscale_floats], exact products of d and sub. */
typedef struct sd_qunpack {
    uint8_t *bytes;
    float *scales;
    const uint8_t *packed;
    int64_t n_block;
    sd_qkind kind;
} sd_qunpack;

#endif
