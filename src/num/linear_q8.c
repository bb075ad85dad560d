/* The fast form: quantised weights with as many bits as in the file, their blocks interleaved by 32 outputs
 * (kern_quant.h, linear_q8_pack.c), against activations in int8 blocks of 32. A decoded token reads each weight byte
 * once; with five rows or more a piece of the panel is unpacked once into the first cache and serves all rows. Both give
 * the same bits. */
#include "num/linear_int.h"
#include "base/par.h"
#include <string.h>

enum {
    PIECE = 24, /* blocks unpacked at a time: 24 KB and scales, within a first-level cache; a multiple of SD_QSUPER */
    MOST_SCALES = 4 * SD_PANEL, /* of a block */
};

static inline int64_t n_blocks(const sd_linear *l)
{
    return l->cols / SD_QBLOCK;
}

static bool panel_bytes(const sd_linear *l, size_t *bytes)
{
    const sd_qform f = sd_qform_of(l->qkind);
    return sd_mul_size((size_t)(n_blocks(l) / f.blocks), (size_t)sd_qsuper_bytes(f), bytes);
}

static void pack(const sd_linear *l, uint8_t *dst, const sd_wmat *w, int64_t p, float *rows)
{
    (void)rows;
    sd_linear__pack_q(dst, w, p, l->qkind);
}

/* Scratch: int8 [n, cols], then sd_qact [n, blocks]; cols is a multiple of 32. Then, for CPUs that take rows in groups, those. */
typedef struct parts {
    int8_t *q;
    sd_qact *act;
    sd_qgroup *group; /* [n / 16 rounded up, blocks] */
} parts;

static size_t plain_bytes(int64_t n_rows, int64_t cols)
{
    return sd_arena_need((size_t)(n_rows * cols) + (size_t)(n_rows * (cols / SD_QBLOCK)) * sizeof(sd_qact));
}

static parts parts_of(void *scratch, int64_t n_rows, int64_t cols)
{
    int8_t *q = scratch;
    return (parts){q, (sd_qact *)(void *)(q + n_rows * cols), (sd_qgroup *)(void *)(q + plain_bytes(n_rows, cols))};
}

static size_t scratch(const sd_linear *l, int64_t n_rows)
{
    const int64_t groups = l->kern->takes_groups ? (n_rows + SD_QGROUP_ROWS - 1) / SD_QGROUP_ROWS : 0;
    return plain_bytes(n_rows, l->cols) + (size_t)(groups * n_blocks(l)) * sizeof(sd_qgroup);
}

typedef struct quantise_arg {
    const sd_exec *ex;
    sd_mat x;
    parts to;
} quantise_arg;

static void quantise_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const quantise_arg *a = arg;
    const sd_kern *kern = a->ex->kern;
    const int64_t nb = a->x.cols / SD_QBLOCK;
    int8_t *q = a->to.q + begin * a->x.cols;
    sd_qact *act = a->to.act + begin * nb;
    for (int64_t i = begin; i < end; i++) kern->quantise(q + (i - begin) * a->x.cols, act + (i - begin) * nb, sd_mat_row(a->x, i), nb);
    if (kern->takes_groups && a->x.rows > SD_QPACK_ROWS) sd_kern__group_q(a->to.group + chunk * nb, q, a->x.cols, act, nb, end - begin, nb);
}

static void prepare(const sd_exec *ex, const sd_linear *l, sd_mat x, void *s)
{
    (void)l;
    quantise_arg a = {ex, x, parts_of(s, x.rows, x.cols)};
    sd_parallel_for(ex->n_threads, x.rows, SD_QGROUP_ROWS, quantise_rows, &a);
}

/* A panel's columns are a block. */
_Static_assert((int)SD_PANEL == (int)SD_QBLOCK, "part by part");
static void prepare_part(const sd_exec *ex, const sd_linear *l, const sd_linear_part *part)
{
    const sd_kern *kern = ex->kern;
    const int64_t nb = n_blocks(l), r0 = part->r0;
    const parts to = parts_of(part->scratch, part->x.rows, l->cols);
    int8_t *q = to.q + r0 * l->cols + part->p * SD_QBLOCK, bytes[SD_MOST_TILE * SD_QBLOCK];
    sd_qact *act = to.act + r0 * nb + part->p, own[SD_MOST_TILE];
    kern->quantise(bytes, own, part->tile, part->m);
    for (int64_t i = 0; i < part->m; i++) {
        memcpy(q + i * l->cols, bytes + i * SD_QBLOCK, SD_QBLOCK);
        act[i * nb] = own[i];
    }
    if (!kern->takes_groups || part->x.rows <= SD_QPACK_ROWS) return;
    for (int64_t i = 0; i < part->m; i += SD_QGROUP_ROWS) {
        const int64_t m = part->m - i < SD_QGROUP_ROWS ? part->m - i : SD_QGROUP_ROWS;
        sd_kern__group_q(to.group + (r0 + i) / SD_QGROUP_ROWS * nb + part->p, q + i * l->cols, l->cols, act + i * nb, nb, m, 1);
    }
}

static void tile(const sd_linear_job *j, const uint8_t *w, int64_t r0, int64_t m, float *y, int64_t ld)
{
    const sd_linear *l = j->l;
    const sd_qform f = sd_qform_of(l->qkind);
    const int64_t nb = n_blocks(l), super = sd_qsuper_bytes(f);
    const parts p = parts_of((void *)j->scratch, j->x.rows, l->cols);
    const int8_t *q = p.q + r0 * l->cols;
    const sd_qact *act = p.act + r0 * nb;
    const sd_qgroup *group = p.group + r0 / SD_QGROUP_ROWS * nb;
    sd_qtile t = {.y = y,
                  .ldy = ld,
                  .q = q,
                  .ldq = l->cols,
                  .act = act,
                  .ld_act = nb,
                  .ld_group = nb,
                  .values = w,
                  .m = m,
                  .n_block = nb,
                  .kind = l->qkind};
    if (m <= SD_QPACK_ROWS) {
        j->ex->kern->tile_qpack(&t);
        return;
    }
    uint8_t bytes[PIECE * SD_QBYTE_BYTES] __attribute__((aligned(64)));
    float scales[PIECE * MOST_SCALES] __attribute__((aligned(64)));
    const bool as_it_is = f.bits == 8; /* bytes already */
    t.scales = scales;
    t.value_step = as_it_is ? super : (int64_t)SD_QBYTE_BYTES;
    for (int64_t b = 0; b < nb; b += PIECE) {
        const uint8_t *from = w + b / f.blocks * super;
        t.n_block = nb - b < PIECE ? nb - b : PIECE;
        j->ex->kern->unpack_q(&(sd_qunpack){as_it_is ? NULL : bytes, scales, from, t.n_block, l->qkind});
        t.values = as_it_is ? from + sd_qhead_bytes(f) : bytes;
        t.q = q + b * SD_QBLOCK;
        t.act = act + b;
        t.group = j->ex->kern->takes_groups ? group + b : NULL;
        t.carry = b > 0;
        j->ex->kern->tile_q8(&t);
    }
}

/* Panels of a kind together: neighbours may be of two. */
static void spread(const sd_linear_job *const *job, const uint8_t *const *w, float *const *y, int n)
{
    const parts p = parts_of((void *)job[0]->scratch, 1, job[0]->l->cols);
    bool done[SD_SPREAD] = {false};
    for (int i = 0; i < n; i++) {
        if (done[i]) continue;
        sd_spread t = {.x = p.q, .act = p.act, .k = job[i]->l->cols, .kind = job[i]->l->qkind};
        for (int k = i; k < n; k++)
            if (job[k]->l->qkind == t.kind) t.y[t.n] = y[k], t.w[t.n++] = w[k], done[k] = true;
        job[i]->ex->kern->spread_q(&t);
    }
}

const sd_linear_form sd_linear__q8 = {SD_MODE_FAST, SD_MOST_TILE, panel_bytes, pack, scratch, prepare, prepare_part, tile, spread};
