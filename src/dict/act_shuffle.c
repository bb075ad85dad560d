/* Owns the shuffle buffer. A block of the source is filtered and rounded to f16 at once and waits in `pend`, so the state that a
 * checkpoint must hold is plain numbers: the buffer, the waiting rows and the generator's place. */
#include "dict/act.h"
#include "dict/act_int.h"
#include "base/cpu.h"
#include "file/weights.h"
#include "num/kern.h"
#include "num/kern_dict.h"
#include <math.h>

struct sd_shuffle {
    int64_t cap, d, n;         /* rows held */
    uint16_t *row;             /* [cap, d] */
    uint16_t *pend;            /* [pend_cap, d] rows not yet in the buffer */
    int64_t pend_at, pend_n, pend_cap, dropped;
    double max_norm;
    sd_rng rng;
    bool ended;                /* the source said so; tried again at every call */
    const sd_kern *kern;
    const sd_kern_dict *kd;
};

sd_status sd_shuffle_new(sd_shuffle **out, int64_t cap_rows, int64_t d, uint64_t seed, double max_norm, sd_err *err)
{
    sd_shuffle *s = NULL;
    size_t bytes;
    sd_cpu cpu;
    *out = NULL;
    if (cap_rows < 1 || d < 1 || !sd_mul_size((size_t)cap_rows, (size_t)d * sizeof *s->row, &bytes))
        return sd_fail(err, SD_E_ARG, "a shuffle buffer of %lld rows of width %lld is impossible", (long long)cap_rows, (long long)d);
    sd_status st = sd_alloc_zero(&s, sizeof *s, "a shuffle buffer", err);
    if (st) return st;
    (void)sd_cpu_detect(&cpu, NULL);
    s->cap = cap_rows;
    s->d = d;
    s->max_norm = max_norm;
    s->rng = sd_rng_make(seed, "shuffle", 0);
    s->kern = sd_kern_select(cpu.flags);
    s->kd = sd_kern_dict_select(cpu.flags);
    st = sd_alloc(&s->row, bytes, "the shuffle buffer", err);
    if (st)
        sd_shuffle_free(s);
    else
        *out = s;
    return st;
}

void sd_shuffle_free(sd_shuffle *s)
{
    if (!s) return;
    sd_free(s->row);
    sd_free(s->pend);
    sd_free(s);
}

int64_t sd_shuffle_dropped(const sd_shuffle *s) { return s->dropped; }
int64_t sd_shuffle_width(const sd_shuffle *s) { return s->d; }

/* One row into `pend`, or dropped. */
static sd_status take_row(sd_shuffle *s, const float *x, int64_t source_row, sd_err *err)
{
    const double sq = (double)s->kern->dot(x, x, s->d);
    if (!isnan(sq) && s->max_norm > 0 && sqrt(sq) > s->max_norm && !isinf(sq)) {
        s->dropped++;
        return SD_OK;
    }
    for (int64_t i = 0; i < s->d; i++)
        if (!(fabsf(x[i]) <= SD_F16_MAX)) {
            (void)sd_fail(err, SD_E_FORMAT, "activation row %lld of the source, dimension %lld, is %g; the shuffle buffer holds f16, up to 65504",
                          (long long)source_row, (long long)i, (double)x[i]);
            return sd_hint(err, "leave out such rows, or check the model");
        }
    s->kd->f32_to_f16(s->pend + s->pend_n++ * s->d, x, s->d);
    return SD_OK;
}

/* The next block of the source, or ended. */
static sd_status fetch(sd_shuffle *s, sd_act_source *src, sd_err *err)
{
    sd_act_block b;
    sd_status st = src->next(src->self, &b, err);
    if (st) return st;
    s->pend_at = s->pend_n = 0;
    s->ended = b.x.rows == 0;
    if (s->ended) return SD_OK;
    if (b.x.cols != s->d) return sd_fail(err, SD_E_SHAPE, "activations of width %lld do not go into a shuffle buffer of width %lld", (long long)b.x.cols, (long long)s->d);
    if (b.x.rows > s->pend_cap) {
        sd_free(s->pend);
        s->pend = NULL;
        s->pend_cap = 0;
        st = sd_alloc(&s->pend, (size_t)(b.x.rows * s->d) * sizeof *s->pend, "a block of activations", err);
        if (st) return st;
        s->pend_cap = b.x.rows;
    }
    const int64_t row0 = src->tell(src->self) - b.x.rows;
    for (int64_t i = 0; i < b.x.rows && !st; i++) st = take_row(s, sd_mat_row(b.x, i), row0 + i, err);
    return st;
}

/* A waiting row into place `at` of the buffer; false at the end of the data. */
static sd_status put_next(sd_shuffle *s, sd_act_source *src, int64_t at, bool *done, sd_err *err)
{
    *done = false;
    while (s->pend_at == s->pend_n && !s->ended) {
        const sd_status st = fetch(s, src, err);
        if (st) return st;
    }
    if (s->pend_at == s->pend_n) return SD_OK;
    memcpy(s->row + at * s->d, s->pend + s->pend_at++ * s->d, (size_t)s->d * sizeof *s->row);
    *done = true;
    return SD_OK;
}

sd_status sd_shuffle_fill(sd_shuffle *s, sd_act_source *src, int64_t left, sd_err *err)
{
    bool done = true;
    s->ended = false;
    while (s->n < s->cap && s->n < left && done) {
        const sd_status st = put_next(s, src, s->n, &done, err);
        if (st) return st;
        s->n += done;
    }
    return SD_OK;
}

int64_t sd_shuffle_held(const sd_shuffle *s) { return s->n; }

sd_status sd_shuffle_look(const sd_shuffle *s, int64_t n, sd_mat *out, sd_err *err)
{
    if (n > s->n) n = s->n;
    const sd_status st = sd_alloc(&out->data, (size_t)(n * s->d + 1) * sizeof(float), "rows of the shuffle buffer", err);
    if (st) return st;
    *out = sd_mat_of(out->data, n, s->d);
    for (int64_t i = 0; i < n; i++) s->kd->f16_to_f32(sd_mat_row(*out, i), s->row + i * s->n / n * s->d, s->d);
    return SD_OK;
}

sd_status sd_shuffle_next(sd_shuffle *s, sd_act_source *src, int64_t left, sd_mat x, int64_t *n_got, sd_err *err)
{
    bool done = true;
    SD_ASSERT(x.cols == s->d);
    *n_got = 0;
    const sd_status full = sd_shuffle_fill(s, src, left, err);
    if (full) return full;
    for (int64_t i = 0; i < x.rows && s->n > 0; i++) {
        const int64_t j = (int64_t)sd_rng_below(&s->rng, (uint64_t)s->n);
        s->kd->f16_to_f32(sd_mat_row(x, i), s->row + j * s->d, s->d);
        (*n_got)++;
        done = false;
        const sd_status st = s->n < left - i ? put_next(s, src, j, &done, err) : SD_OK;
        if (st) return st;
        if (done) continue;
        s->n--;
        memmove(s->row + j * s->d, s->row + s->n * s->d, (size_t)s->d * sizeof *s->row);
    }
    return SD_OK;
}

enum { ST_CAP, ST_D, ST_N, ST_PEND, ST_DROPPED, ST_MAX_NORM, ST_KEY, ST_STREAM, ST_POS, N_STATE };

sd_status sd_shuffle_save(const sd_shuffle *s, const char *path, sd_err *err)
{
    int64_t state[N_STATE] = {[ST_CAP] = s->cap, [ST_D] = s->d, [ST_N] = s->n, [ST_PEND] = s->pend_n - s->pend_at, [ST_DROPPED] = s->dropped,
                              [ST_KEY] = (int64_t)((uint64_t)s->rng.key[1] << 32 | s->rng.key[0]), [ST_STREAM] = (int64_t)s->rng.stream,
                              [ST_POS] = (int64_t)s->rng.pos};
    memcpy(&state[ST_MAX_NORM], &s->max_norm, sizeof s->max_norm);
    sd_st_tensor t[3] = {{"state", SD_I64, 1, {N_STATE}, state}};
    int64_t n = 1;
    if (s->n) t[n++] = (sd_st_tensor){"rows", SD_F16, 2, {s->n, s->d}, s->row};
    if (state[ST_PEND]) t[n++] = (sd_st_tensor){"waiting", SD_F16, 2, {state[ST_PEND], s->d}, s->pend + s->pend_at * s->d};
    return sd_safetensors_write(path, t, n, NULL, err);
}

static sd_status load_rows(const sd_weights *w, const char *name, uint16_t *to, int64_t n, int64_t d, sd_err *err)
{
    const sd_tensor *t = n ? sd_weights_find(w, name) : NULL;
    if (!n) return SD_OK;
    if (!t || t->dtype != SD_F16 || t->rank != 2 || t->dim[0] != n || t->dim[1] != d)
        return sd_fail(err, SD_E_FORMAT, "%s: \"%s\" is not %lld rows of width %lld", sd_weights_path(w), name, (long long)n, (long long)d);
    memcpy(to, t->data, (size_t)(n * d) * sizeof *to);
    return SD_OK;
}

sd_status sd_shuffle_load(sd_shuffle **out, const char *path, sd_err *err)
{
    sd_weights *w = NULL;
    sd_shuffle *s = NULL;
    int64_t state[N_STATE];
    double max_norm;
    *out = NULL;
    sd_status st = sd_weights_open(&w, path, err);
    if (st) return st;
    const sd_tensor *t = sd_weights_find(w, "state");
    if (!t || t->dtype != SD_I64 || t->rank != 1 || t->dim[0] != N_STATE) {
        st = sd_fail(err, SD_E_FORMAT, "%s: this is no shuffle buffer", path);
        goto done;
    }
    memcpy(state, t->data, sizeof state);
    memcpy(&max_norm, &state[ST_MAX_NORM], sizeof max_norm);
    if (state[ST_N] < 0 || state[ST_N] > state[ST_CAP] || state[ST_PEND] < 0 || state[ST_PEND] > INT32_MAX || state[ST_D] < 1 || state[ST_D] > 1 << 20) {
        st = sd_fail(err, SD_E_FORMAT, "%s: the state of the shuffle buffer makes no sense", path);
        goto done;
    }
    st = sd_shuffle_new(&s, state[ST_CAP], state[ST_D], 0, max_norm, err);
    if (st) goto done;
    const uint64_t key = (uint64_t)state[ST_KEY];
    s->n = state[ST_N];
    s->dropped = state[ST_DROPPED];
    s->rng = (sd_rng){{(uint32_t)key, (uint32_t)(key >> 32)}, (uint64_t)state[ST_STREAM], (uint64_t)state[ST_POS]};
    s->pend_n = s->pend_cap = state[ST_PEND];
    if (s->pend_n) st = sd_alloc(&s->pend, (size_t)(s->pend_n * s->d) * sizeof *s->pend, "a block of activations", err);
    if (!st) st = load_rows(w, "rows", s->row, s->n, s->d, err);
    if (!st) st = load_rows(w, "waiting", s->pend, s->pend_n, s->d, err);
done:
    sd_weights_close(w);
    if (st)
        sd_shuffle_free(s);
    else
        *out = s;
    return st;
}
