/* Owns: one source's rows handed to several readers, each its own columns and at its own pace: a sink of one site is a row of another, so their
 * shuffle buffers ask for more at different times. A block stays until all have seen it. Places count rows from the beginning of the run, epochs
 * on end. Easy to break: with one part nothing of this is used, so that its source hands on its own memory. */
#include "lab/learn_int.h"

#include <inttypes.h>

typedef struct block { struct block *next; int64_t row0, rows; int32_t *column; float x[]; } block; /* column [3, rows]; x [rows, d] */

struct sd_parts_source {
    sd_act_source in;   /* the loop */
    struct run *r;
    block *first, *last;
    int64_t row;        /* of the loop, from the beginning of the run */
    struct reader { struct sd_parts_source *of; int64_t row; int part; } reader[SD_LEARN_PARTS];
};

static sd_status fetch(struct sd_parts_source *s, sd_err *err)
{
    sd_act_block b;
    block *k;
    sd_status st = s->in.next(s->in.self, &b, err);
    if (st) return st;
    const int64_t n = b.x.rows, d = s->in.d;
    const size_t floats = (size_t)(n * d), bytes = sizeof *k + floats * sizeof(float) + (size_t)(3 * n) * sizeof(int32_t);
    uint8_t *p;
    if ((st = sd_alloc(&p, bytes, "rows of several sites", err))) return st;
    k = (block *)(void *)p;
    *k = (block){.row0 = s->row, .rows = n, .column = (int32_t *)(void *)(k->x + floats)};
    for (int64_t i = 0; i < n; i++) memcpy(k->x + i * d, sd_mat_row(b.x, i), (size_t)d * sizeof(float));
    memcpy(k->column, b.token_id, (size_t)n * sizeof(int32_t));
    memcpy(k->column + n, b.doc, (size_t)n * sizeof(int32_t));
    memcpy(k->column + 2 * n, b.pos, (size_t)n * sizeof(int32_t));
    s->row += n;
    if (s->last) s->last->next = k;
    else s->first = k;
    s->last = k;
    return SD_OK;
}

static void forget(struct sd_parts_source *s)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < s->r->n_part; i++)
        if (s->reader[i].row < least) least = s->reader[i].row;
    /* The slowest reader is still looking at the block that ends where it stands. */
    while (s->first && s->first->row0 + s->first->rows < least) {
        block *k = s->first;
        s->first = k->next;
        if (!s->first) s->last = NULL;
        sd_free(k);
    }
}

static sd_status next(void *self, sd_act_block *out, sd_err *err)
{
    struct reader *me = self;
    struct sd_parts_source *s = me->of;
    const struct part *p = &s->r->part[me->part];
    sd_status st = SD_OK;
    forget(s);
    if (me->row == s->row && (st = fetch(s, err))) return st;
    const block *k = s->first;
    while (k->row0 + k->rows <= me->row) k = k->next;
    const int64_t skip = me->row - k->row0, n = k->rows - skip;
    *out = (sd_act_block){{(float *)k->x + skip * s->in.d + p->col, n, p->d, s->in.d}, k->column + skip, k->column + k->rows + skip, k->column + 2 * k->rows + skip};
    me->row += n;
    return SD_OK;
}

static int64_t tell(void *self) { return ((struct reader *)self)->row; }
static sd_status no_seek(void *self, int64_t row, sd_err *err)
{
    (void)self;
    return sd_fail(err, SD_E_ARG, "a shuffle buffer asked for row %" PRId64 " out of turn", row);
}

sd_status sd_learn__parts_new(struct sd_parts_source **out, struct run *r, sd_act_source loop, const int64_t *row, sd_err *err)
{
    struct sd_parts_source *s = NULL;
    int64_t least = INT64_MAX;
    sd_status st = sd_alloc_zero(&s, sizeof *s, "a source of several sites", err);
    if (st) return st;
    s->in = loop, s->r = r;
    for (int i = 0; i < r->n_part; i++) {
        s->reader[i] = (struct reader){s, row[i], i};
        r->part[i].src = (sd_act_source){.self = &s->reader[i], .d = r->part[i].d, .next = next, .tell = tell, .seek = no_seek};
        if (row[i] < least) least = row[i];
    }
    s->row = least;
    *out = s;
    return SD_OK;
}

void sd_learn__parts_free(struct sd_parts_source *s)
{
    if (!s) return;
    for (block *k = s->first, *after; k; k = after) {
        after = k->next;
        sd_free(k);
    }
    sd_free(s);
}
