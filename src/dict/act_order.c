/* Owns: rows of shards in an order that is given, for runs that are to see what another trainer saw. All rows are in memory, as f16 like
 * those of the shuffle buffer. Numbers count the rows that a trainer would keep, as the other side does: sinks are gone before them. */
#include "dict/act.h"
#include "dict/act_int.h"
#include "base/cpu.h"
#include "file/weights.h"
#include "num/kern_dict.h"
#include "num/stats.h"
#include <math.h>
#include <string.h>

enum { BLOCK_ROWS = 1024 };

struct sd_act_order {
    int64_t d, n_kept, n_order, n_heldout, row;
    uint16_t *x;              /* [n_kept, d] */
    int32_t *token, *doc, *pos; /* [n_kept] */
    int32_t *order;           /* [n_order] */
    float *out;               /* [BLOCK_ROWS, d] */
    int32_t *out_column[3];   /* [BLOCK_ROWS] */
    const sd_kern_dict *kd;
};

/* All rows, and their norms. */
static sd_status read_all(sd_act_order *o, sd_act_reader *r, int64_t n, float *norm, sd_err *err)
{
    sd_act_source src = sd_act_reader_source(r);
    sd_act_block b;
    sd_status st = src.seek(src.self, 0, err);
    for (int64_t at = 0; !st && at < n; at += b.x.rows) {
        if ((st = src.next(src.self, &b, err))) break;
        o->kd->f32_to_f16(o->x + at * o->d, b.x.data, b.x.rows * o->d);
        memcpy(o->token + at, b.token_id, (size_t)b.x.rows * sizeof *o->token);
        memcpy(o->doc + at, b.doc, (size_t)b.x.rows * sizeof *o->doc);
        memcpy(o->pos + at, b.pos, (size_t)b.x.rows * sizeof *o->pos);
        for (int64_t i = 0; i < b.x.rows; i++) {
            double s = 0;
            for (int64_t j = 0; j < o->d; j++) s += (double)sd_mat_row(b.x, i)[j] * (double)sd_mat_row(b.x, i)[j];
            norm[at + i] = (float)sqrt(s);
        }
    }
    return st;
}

static void drop_sinks(sd_act_order *o, int64_t n, const float *norm, double limit)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t k = o->n_kept;
        if (!((double)norm[i] < limit)) continue;
        if (k != i) memcpy(o->x + k * o->d, o->x + i * o->d, (size_t)o->d * sizeof *o->x);
        o->token[k] = o->token[i], o->doc[k] = o->doc[i], o->pos[k] = o->pos[i];
        o->n_kept++;
    }
}

static sd_status read_order(sd_act_order *o, const char *path, sd_err *err)
{
    sd_weights *w = NULL;
    sd_status st = sd_weights_open(&w, path, err);
    const sd_tensor *t = st ? NULL : sd_weights_find(w, "order");
    const int64_t n = o->n_kept - o->n_heldout;
    if (!st && (!t || t->dtype != SD_I32 || t->rank != 1 || t->dim[0] < 1)) {
        (void)sd_fail(err, SD_E_FORMAT, "%s: there is no vector \"order\" of int32", path);
        st = sd_hint(err, "save_file({\"order\": row_numbers.int()}, ..) with safetensors in Python");
    }
    if (!st) st = sd_alloc(&o->order, t->bytes, "an order of rows", err);
    if (!st) memcpy(o->order, t->data, t->bytes);
    if (!st) o->n_order = t->dim[0];
    for (int64_t i = 0; i < o->n_order && !st; i++)
        if (o->order[i] < 0 || o->order[i] >= n)
            st = sd_fail(err, SD_E_FORMAT, "%s: order[%lld] is %d of %lld rows: %lld without sinks, of which the last %lld are held out", path, (long long)i, o->order[i], (long long)n,
                         (long long)o->n_kept, (long long)o->n_heldout);
    sd_weights_close(w);
    return st;
}

sd_status sd_act_order_open(sd_act_order **out, sd_act_reader *r, const char *path, int64_t n_heldout, sd_err *err)
{
    const sd_act_manifest *m = sd_act_reader_manifest(r);
    const int64_t n = m->n_rows;
    sd_act_order *o = NULL;
    float *norm = NULL, *sorted = NULL;
    sd_cpu cpu;
    *out = NULL;
    sd_status st = sd_alloc_zero(&o, sizeof *o, "an order of rows", err);
    if (st) return st;
    (void)sd_cpu_detect(&cpu, NULL);
    o->kd = sd_kern_dict_select(cpu.flags);
    o->d = m->d;
    o->n_heldout = n_heldout;
    st = sd_alloc(&o->x, (size_t)(n * o->d) * sizeof *o->x, "all activations, for rows in a given order", err);
    if (!st) st = sd_alloc(&o->token, (size_t)n * sizeof *o->token, "token ids", err);
    if (!st) st = sd_alloc(&o->doc, (size_t)n * sizeof *o->doc, "document numbers", err);
    if (!st) st = sd_alloc(&o->pos, (size_t)n * sizeof *o->pos, "positions", err);
    if (!st) st = sd_alloc(&norm, (size_t)n * sizeof *norm, "norms", err);
    if (!st) st = sd_alloc(&sorted, (size_t)n * sizeof *sorted, "norms", err);
    if (!st) st = sd_alloc(&o->out, (size_t)(BLOCK_ROWS * o->d) * sizeof *o->out, "a block of activations", err);
    for (int i = 0; i < 3 && !st; i++) st = sd_alloc(&o->out_column[i], BLOCK_ROWS * sizeof **o->out_column, "a block of activations", err);
    if (!st) st = read_all(o, r, n, norm, err);
    if (!st) {
        memcpy(sorted, norm, (size_t)n * sizeof *sorted);
        drop_sinks(o, n, norm, SD_SINK_FACTOR * sd_median_f32(sorted, n));
    }
    if (!st && n_heldout >= o->n_kept) st = sd_fail(err, SD_E_FORMAT, "%lld activations are too few: %lld are held out", (long long)o->n_kept, (long long)n_heldout);
    if (!st) st = read_order(o, path, err);
    sd_free(norm);
    sd_free(sorted);
    if (st) sd_act_order_close(o);
    else *out = o;
    return st;
}

void sd_act_order_close(sd_act_order *o)
{
    if (!o) return;
    for (int i = 0; i < 3; i++) sd_free(o->out_column[i]);
    sd_free(o->x);
    sd_free(o->token);
    sd_free(o->doc);
    sd_free(o->pos);
    sd_free(o->order);
    sd_free(o->out);
    sd_free(o);
}

int64_t sd_act_order_rows(const sd_act_order *o) { return o->n_order + o->n_heldout; }

sd_status sd_act_order_all(const sd_act_order *o, sd_mat *out, sd_err *err)
{
    const sd_status st = sd_alloc(&out->data, (size_t)(o->n_kept * o->d) * sizeof(float), "all activations, for their mean", err);
    if (st) return st;
    *out = sd_mat_of(out->data, o->n_kept, o->d);
    o->kd->f16_to_f32(out->data, o->x, o->n_kept * o->d);
    return SD_OK;
}

static sd_status next(void *self, sd_act_block *out, sd_err *err)
{
    sd_act_order *o = self;
    const int64_t left = sd_act_order_rows(o) - o->row, n = left < BLOCK_ROWS ? left : BLOCK_ROWS;
    (void)err;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = o->row + i, row = at < o->n_order ? o->order[at] : o->n_kept - o->n_heldout + (at - o->n_order);
        o->kd->f16_to_f32(o->out + i * o->d, o->x + row * o->d, o->d);
        o->out_column[0][i] = o->token[row], o->out_column[1][i] = o->doc[row], o->out_column[2][i] = o->pos[row];
    }
    o->row += n;
    *out = (sd_act_block){sd_mat_of(o->out, n, o->d), o->out_column[0], o->out_column[1], o->out_column[2]};
    return SD_OK;
}

static int64_t tell(void *self) { return ((sd_act_order *)self)->row; }

static sd_status seek(void *self, int64_t row, sd_err *err)
{
    sd_act_order *o = self;
    if (row < 0 || row > sd_act_order_rows(o)) return sd_fail(err, SD_E_ARG, "there is no row %lld among %lld", (long long)row, (long long)sd_act_order_rows(o));
    o->row = row;
    return SD_OK;
}

sd_act_source sd_act_order_source(sd_act_order *o) { return (sd_act_source){.self = o, .d = o->d, .next = next, .tell = tell, .seek = seek}; }
