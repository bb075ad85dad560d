/* The shuffle buffer: f16 rows, a random one out, the next of the source in. Owns: the rows and the generator's position.
 * A source's block is copied whole into a queue before its rows enter, so that the source always stands between two blocks
 * and the buffer alone is enough to go on from. */
#include "dict/act.h"

#include "file/weights.h"

#include <inttypes.h>
#include <math.h>

struct sd_shuffle {
    int64_t cap, d, n;          /* n: rows in the buffer */
    uint16_t *rows;             /* [cap, d] f16 */
    uint16_t *queue;            /* [queue_cap, d] rows that wait to enter */
    int64_t queue_n, queue_at, queue_cap;
    int64_t n_dropped, n_drawn, n_seen;
    uint64_t seed;
    double max_norm;            /* <= 0: no limit */
    bool at_end;                /* the source has no more */
};

sd_status sd_shuffle_new(sd_shuffle **out, int64_t cap_rows, int64_t d, uint64_t seed, double max_norm, sd_err *err)
{
    sd_shuffle *s = NULL;
    size_t n = 0;
    *out = NULL;
    if (cap_rows < 1 || d < 1) return sd_fail(err, SD_E_ARG, "a shuffle buffer of %" PRId64 " rows of %" PRId64, cap_rows, d);
    if (!sd_mul_size((size_t)cap_rows, (size_t)d * sizeof(uint16_t), &n)) return sd_fail(err, SD_E_NOMEM, "a shuffle buffer of %" PRId64 " rows does not fit", cap_rows);
    sd_status st = sd_alloc_zero(&s, sizeof *s, "shuffle buffer", err);
    if (st) return st;
    *s = (sd_shuffle){.cap = cap_rows, .d = d, .seed = seed, .max_norm = max_norm};
    st = sd_alloc(&s->rows, n, "the shuffle buffer", err);
    if (st) sd_shuffle_free(s);
    else *out = s;
    return st;
}

void sd_shuffle_free(sd_shuffle *s)
{
    if (!s) return;
    sd_free(s->rows);
    sd_free(s->queue);
    sd_free(s);
}

void sd_shuffle_set_max_norm(sd_shuffle *s, double max_norm) { s->max_norm = max_norm; }
int64_t sd_shuffle_dropped(const sd_shuffle *s) { return s->n_dropped; }

static void to_f16(uint16_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) dst[i] = sd_f32_to_f16(src[i]);
}

static sd_status pull_block(sd_shuffle *s, sd_act_source *src, sd_err *err)
{
    sd_act_block b = {0};
    sd_status st = src->next(src->self, &b, err);
    s->queue_n = s->queue_at = 0;
    if (st) return st;
    if (b.x.rows == 0) {
        s->at_end = true;
        return SD_OK;
    }
    if (b.x.cols != s->d) return sd_fail(err, SD_E_SHAPE, "rows of %" PRId64 " for a buffer of %" PRId64, b.x.cols, s->d);
    if (b.x.rows > s->queue_cap) {
        uint16_t *q = sd_realloc(s->queue, (size_t)(b.x.rows * s->d) * sizeof *q);
        if (!q) return sd_fail(err, SD_E_NOMEM, "out of memory: a queue of %" PRId64 " rows", b.x.rows);
        s->queue = q;
        s->queue_cap = b.x.rows;
    }
    for (int64_t i = 0; i < b.x.rows; i++) {
        const float *x = sd_mat_row(b.x, i);
        double sum = 0;
        for (int64_t j = 0; j < s->d; j++) sum += (double)x[j] * (double)x[j];
        s->n_seen++;
        if (!isfinite(sum))
            return sd_fail(err, SD_E_FORMAT, "activation row %" PRId64 " has a NaN or an infinite number", s->n_seen - 1);
        if (s->max_norm > 0 && sqrt(sum) > s->max_norm) s->n_dropped++;
        else to_f16(s->queue + s->queue_n++ * s->d, x, s->d);
    }
    return SD_OK;
}

/* The next row that may enter, NULL at the end of the data. */
static sd_status next_row(sd_shuffle *s, sd_act_source *src, const uint16_t **row, sd_err *err)
{
    *row = NULL;
    while (s->queue_at >= s->queue_n && !s->at_end) {
        sd_status st = pull_block(s, src, err);
        if (st) return st;
    }
    if (s->queue_at < s->queue_n) *row = s->queue + s->queue_at++ * s->d;
    return SD_OK;
}

sd_status sd_shuffle_next(sd_shuffle *s, sd_act_source *src, sd_mat x, int64_t *n_got, sd_err *err)
{
    const sd_dtype_info *f16 = sd_dtype_get(SD_F16);
    size_t bytes = (size_t)s->d * sizeof(uint16_t);
    const uint16_t *row;
    sd_status st = SD_OK;
    SD_ASSERT(x.cols == s->d);
    while (s->n < s->cap && !st && !s->at_end) {
        st = next_row(s, src, &row, err);
        if (!st && row) memcpy(s->rows + s->n++ * s->d, row, bytes);
    }
    for (*n_got = 0; *n_got < x.rows && s->n > 0 && !st; (*n_got)++) {
        sd_rng rng = sd_rng_make(s->seed, "shuffle", (uint64_t)s->n_drawn++);
        uint16_t *slot = s->rows + (int64_t)sd_rng_below(&rng, (uint64_t)s->n) * s->d;
        f16->decode(sd_mat_row(x, *n_got), slot, s->d);
        if ((st = next_row(s, src, &row, err))) break;
        if (!row) row = s->rows + --s->n * s->d;
        if (row != slot) memcpy(slot, row, bytes);
    }
    return st;
}

enum { ST_CAP, ST_D, ST_N, ST_DROPPED, ST_DRAWN, ST_SEEN, ST_SEED, ST_MAX_NORM, ST_AT_END, ST_QUEUE, ST_COUNT };

sd_status sd_shuffle_save(const sd_shuffle *s, const char *path, sd_err *err)
{
    int64_t state[ST_COUNT] = {s->cap, s->d, s->n, s->n_dropped, s->n_drawn, s->n_seen, (int64_t)s->seed, 0, s->at_end, s->queue_n - s->queue_at};
    memcpy(&state[ST_MAX_NORM], &s->max_norm, sizeof s->max_norm);
    static const uint16_t none[1] = {0};
    const sd_st_tensor t[] = {
        {.name = "state", .dtype = SD_I64, .rank = 1, .dim = {ST_COUNT}, .data = state},
        {.name = "rows", .dtype = SD_F16, .rank = 2, .dim = {s->n, s->d}, .data = s->n ? s->rows : none},
        {.name = "queue", .dtype = SD_F16, .rank = 2, .dim = {s->queue_n - s->queue_at, s->d}, .data = s->queue ? s->queue + s->queue_at * s->d : none},
    };
    return sd_safetensors_write(path, t, 3, NULL, err);
}

static const sd_tensor *tensor(const sd_weights *w, const char *name, sd_dtype dtype, int64_t rows, int64_t cols)
{
    const sd_tensor *t = sd_weights_find(w, name);
    if (!t || t->dtype != dtype || t->dim[0] != rows || (cols && (t->rank != 2 || t->dim[1] != cols))) return NULL;
    return t;
}

sd_status sd_shuffle_load(sd_shuffle **out, const char *path, sd_err *err)
{
    sd_weights *w = NULL;
    sd_shuffle *s = NULL;
    int64_t v[ST_COUNT];
    double max_norm;
    *out = NULL;
    sd_status st = sd_weights_open(&w, path, err);
    if (st) return st;
    const sd_tensor *state = tensor(w, "state", SD_I64, ST_COUNT, 0), *rows, *queue;
    if (!state) { st = sd_fail(err, SD_E_FORMAT, "%s: no shuffle buffer: tensor state is missing", path); goto done; }
    memcpy(v, state->data, sizeof v);
    memcpy(&max_norm, &v[ST_MAX_NORM], sizeof max_norm);
    rows = tensor(w, "rows", SD_F16, v[ST_N], v[ST_D]);
    queue = tensor(w, "queue", SD_F16, v[ST_QUEUE], v[ST_D]);
    if (!rows || !queue || v[ST_N] > v[ST_CAP] || v[ST_N] < 0 || v[ST_QUEUE] < 0) {
        st = sd_fail(err, SD_E_FORMAT, "%s: a shuffle buffer whose rows or queue do not fit its state", path);
        goto done;
    }
    if ((st = sd_shuffle_new(&s, v[ST_CAP], v[ST_D], (uint64_t)v[ST_SEED], max_norm, err))) goto done;
    if (v[ST_QUEUE] && (st = sd_alloc(&s->queue, queue->bytes, "the shuffle buffer's queue", err))) goto done;
    if (v[ST_QUEUE]) memcpy(s->queue, queue->data, queue->bytes);
    if (v[ST_N]) memcpy(s->rows, rows->data, rows->bytes);
    s->n = v[ST_N];
    s->queue_n = s->queue_cap = v[ST_QUEUE];
    s->n_dropped = v[ST_DROPPED];
    s->n_drawn = v[ST_DRAWN];
    s->n_seen = v[ST_SEEN];
    s->at_end = v[ST_AT_END] != 0;
    *out = s;
    s = NULL;
done:
    sd_shuffle_free(s);
    sd_weights_close(w);
    return st;
}
