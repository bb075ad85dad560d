/* The fast form: quantised weights as they are in the file, their blocks interleaved by 32 outputs (kern_slots.h),
 * against activations in int8 blocks of 32. A decoded token reads each weight byte once; with five rows or more the
 * nibbles of a piece of the panel are unpacked once into L1 and serve all rows. Both give the same bits. */
#include "num/linear_int.h"
#include "num/dtype_blocks.h"
#include "base/par.h"
#include <string.h>

enum {
    PIECE = 24,      /* blocks unpacked at a time: 24 KB, within a first-level cache of 32 KB */
    UNPACK_FROM = 5, /* the nibble kernels take 4 rows at a time */
};

static inline int64_t n_blocks(const sd_linear *l)
{
    return l->cols / SD_QBLOCK;
}
static inline int64_t scale_bytes(const sd_linear *l)
{
    return l->qkind == SD_QKIND_4_1 ? 2 * SD_QSCALE_BYTES : SD_QSCALE_BYTES;
}
static inline int64_t block_bytes(const sd_linear *l)
{
    return scale_bytes(l) + (l->qkind == SD_QKIND_8_0 ? (int)SD_QBYTE_BYTES : (int)SD_QNIBBLE_BYTES);
}

static bool panel_bytes(const sd_linear *l, size_t *bytes)
{
    return sd_mul_size((size_t)n_blocks(l), (size_t)block_bytes(l), bytes);
}

/* Output j of one block. The file's byte i of a nibble block has inputs i and 16 + i, so that a word of four bytes is
 * the word of a line as it is. */
static void pack_nibbles(const sd_linear *l, uint8_t *d, const uint8_t *src, int j)
{
    const bool min = l->qkind == SD_QKIND_4_1;
    uint8_t *v = d + scale_bytes(l) + j / 16 * 256 + j % 16 * 4;
    memcpy(d + 2 * j, src, 2);
    if (min) memcpy(d + SD_QSCALE_BYTES + 2 * j, src + 2, 2);
    for (int line = 0; line < 4; line++) memcpy(v + 64 * line, src + (min ? 4 : 2) + 4 * line, 4);
}

static void pack_bytes(const sd_linear *l, uint8_t *d, const uint8_t *src, int j)
{
    uint8_t *v = d + scale_bytes(l) + j / 16 * 512 + j % 16 * 4;
    memcpy(d + 2 * j, src, 2);
    for (int line = 0; line < 8; line++) {
        uint32_t word;
        memcpy(&word, src + 2 + 4 * line, 4);
        word ^= 0x80808080u; /* two's complement + 128 */
        memcpy(v + 64 * line, &word, 4);
    }
}

static void pack(const sd_linear *l, uint8_t *dst, const sd_wmat *w, int64_t p, float *rows)
{
    const size_t step = sd_dtype_get(w->dtype)->bytes;
    (void)rows;
    memset(dst, 0, l->panel_bytes); /* outputs that pad the last panel: scale 0 */
    for (int j = 0; j < SD_PANEL && p * SD_PANEL + j < w->rows; j++) {
        const uint8_t *src = sd_wmat_row(w, p * SD_PANEL + j);
        uint8_t *d = dst;
        for (int64_t b = 0; b < n_blocks(l); b++, src += step, d += block_bytes(l)) {
            if (l->qkind == SD_QKIND_8_0)
                pack_bytes(l, d, src, j);
            else
                pack_nibbles(l, d, src, j);
        }
    }
}

/* Scratch: int8 [n, cols], then sd_qact [n, blocks]; cols is a multiple of 32. */
static size_t scratch(const sd_linear *l, int64_t n_rows)
{
    return (size_t)(n_rows * l->cols) + (size_t)(n_rows * n_blocks(l)) * sizeof(sd_qact);
}

typedef struct quantise_arg {
    const sd_exec *ex;
    sd_mat x;
    int8_t *q;
    sd_qact *act;
} quantise_arg;

static void quantise_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const quantise_arg *a = arg;
    const int64_t nb = a->x.cols / SD_QBLOCK;
    (void)chunk;
    for (int64_t i = begin; i < end; i++)
        a->ex->kern->quantise(a->q + i * a->x.cols, a->act + i * nb, sd_mat_row(a->x, i), nb);
}

static void prepare(const sd_exec *ex, const sd_linear *l, sd_mat x, void *s)
{
    (void)l;
    quantise_arg a = {ex, x, s, (sd_qact *)(void *)((int8_t *)s + x.rows * x.cols)};
    sd_parallel_for(ex->n_threads, x.rows, 8, quantise_rows, &a);
}

static void tile(const sd_linear_job *j, int64_t p, int64_t r0, int64_t m, float *y, int64_t ld)
{
    const sd_linear *l = j->l;
    const int64_t nb = n_blocks(l), step = block_bytes(l);
    const uint8_t *w = sd_linear__panel(l, p);
    const int8_t *q = (const int8_t *)j->scratch + r0 * l->cols;
    const sd_qact *act = (const sd_qact *)(const void *)((const int8_t *)j->scratch + j->x.rows * l->cols) + r0 * nb;
    sd_qtile t = {.y = y,
                  .ldy = ld,
                  .q = q,
                  .ldq = l->cols,
                  .act = act,
                  .ld_act = nb,
                  .values = w + scale_bytes(l),
                  .scales = w,
                  .value_step = step,
                  .scale_step = step,
                  .m = m,
                  .n_block = nb,
                  .kind = l->qkind,
                  .nibbles = l->qkind != SD_QKIND_8_0};
    if (!t.nibbles || m < UNPACK_FROM) {
        j->ex->kern->tile_q8(&t);
        return;
    }
    uint8_t bytes[PIECE * SD_QBYTE_BYTES] __attribute__((aligned(64)));
    t.nibbles = false;
    t.value_step = SD_QBYTE_BYTES;
    for (int64_t b = 0; b < nb; b += PIECE) {
        t.n_block = nb - b < PIECE ? nb - b : PIECE;
        j->ex->kern->unpack_q4(bytes, w + b * step + scale_bytes(l), step, t.n_block);
        t.values = bytes;
        t.scales = w + b * step;
        t.q = q + b * SD_QBLOCK;
        t.act = act + b;
        t.carry = b > 0;
        j->ex->kern->tile_q8(&t);
    }
}

const sd_linear_form sd_linear__q8 = {SD_MODE_FAST, panel_bytes, pack, scratch, prepare, tile};
