/* What a checkpoint of tuning holds: state.safetensors; where it lies: ckpt.h. */
#include "base/hash.h"
#include "lab/ckpt.h"
#include "lab/tune_int.h"

#include <inttypes.h>
#include <string.h>

/* The arrays of a run, in the order of a checkpoint; data NULL: this run has no such array. */
typedef struct array {
    const char *name;
    void *data;
    sd_dtype dtype;
    int64_t n;
} array;
enum { N_ARRAYS = 13 };

static void arrays(const sd_tune_run *r, array out[N_ARRAYS])
{
    const int64_t n = sd_learner_n(r->learner), blocks = (n + SD_ADAM8_BLOCK - 1) / SD_ADAM8_BLOCK;
    const sd_foresee *f = r->foresee;
    const int64_t nf = f ? sd_foresee_n(f) : 0;
    const array all[N_ARRAYS] = {{"loss", r->loss, SD_F64, r->total},
                                 {"w", sd_learner_w(r->learner), SD_F32, n},
                                 {"m", r->mom, SD_F32, n},
                                 {"v", r->var, SD_F32, n},
                                 {"scale8", r->q.scale, SD_F32, 2 * blocks},
                                 {"ref", r->ref, SD_F32, r->set.n_tok},
                                 {"right", r->right, SD_F32, r->total},
                                 {"m8", r->q.m, SD_I8, n},
                                 {"v8", r->q.v, SD_U8, n},
                                 {"foresee.a", f ? sd_foresee_array(f, 0) : NULL, SD_F32, nf},
                                 {"foresee.m", f ? sd_foresee_array(f, 1) : NULL, SD_F32, nf},
                                 {"foresee.v", f ? sd_foresee_array(f, 2) : NULL, SD_F32, nf},
                                 {"turn", r->o.guard.kind == SD_GUARD_LISA ? r->guard.keep : NULL, SD_F32, n}};
    memcpy(out, all, sizeof all);
}

static sd_status write_arrays(const sd_tune_run *r, const char *path, sd_err *err)
{
    array a[N_ARRAYS];
    sd_st_tensor t[N_ARRAYS];
    int64_t n = 0;
    arrays(r, a);
    for (int i = 0; i < N_ARRAYS; i++)
        if (a[i].data)
            t[n++] =
                (sd_st_tensor){.name = a[i].name, .dtype = a[i].dtype, .rank = 1, .dim = {a[i].n}, .data = a[i].data};
    return sd_safetensors_write(path, t, n, NULL, err);
}

/* What must be equal for a run to go on. */
typedef struct same {
    const char *key;
    int64_t v;
} same;
enum { N_SAME = 7 };

static void sames(const sd_tune_run *r, same out[N_SAME])
{
    const same all[N_SAME] = {{"n_params", sd_learner_n(r->learner)},
                              {"n_data_tokens", r->set.n_tok},
                              {"n_samples", r->set.n},
                              {"steps", r->total},
                              {"seed", (int64_t)r->o.seed},
                              {"method", r->o.method},
                              {"guard", r->o.guard.kind}};
    memcpy(out, all, sizeof all);
}

/* The rows' tokens and which of them count, as a number that JSON holds. */
static int64_t rows_of(const sd_tune_run *r)
{
    const size_t n = (size_t)r->set.n_tok;
    return (int64_t)((sd_hash64(r->set.tok, n * sizeof *r->set.tok) ^ 3 * sd_hash64(r->set.target, n * sizeof *r->set.target)) >> 11);
}

static sd_status another_run(sd_err *err)
{
    return sd_hint(err, "give the data, the model and the options back as they were, or begin again with -f");
}

sd_status sd_tune__checkpoint(sd_tune_run *r, sd_err *err)
{
    sd_ckpt c;
    char p[SD_CKPT_PATH];
    same s[N_SAME];
    sd_buf b;
    sd_jw w;
    sd_status st = sd_ckpt_begin(&c, r->o.dir, r->step, err);
    if (!st) st = sd_ckpt_file(p, &c, "state", 0, err);
    if (!st) st = write_arrays(r, p, err);
    sd_buf_init(&b, 4096);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "checkpoint", c.name);
    sd_jw_ki64(&w, "step", r->step);
    sd_jw_ki64(&w, "position", r->pool[SD_POOL_DATA].position);
    sd_jw_ki64(&w, "safety_position", r->pool[SD_POOL_SAFETY].position);
    sd_jw_ki64(&w, "n_projected", r->guard.n_projected);
    sd_jw_ki64(&w, "n_tokens", r->n_tokens);
    sd_jw_ki64(&w, "events_bytes", r->events.n_bytes);
    sd_jw_ki64(&w, "keep_bytes", (int64_t)r->o.keep_bytes);
    sd_jw_ki64(&w, "rows", rows_of(r));
    sames(r, s);
    for (int i = 0; i < N_SAME; i++) sd_jw_ki64(&w, s[i].key, s[i].v);
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    st = sd_ckpt_end(&c, r->o.dir, &b, st, err);
    sd_buf_release(&b);
    return st;
}

/* A count as JSON's numbers hold it, far from where sums of counts end. */
static bool counts(int64_t v)
{
    return v >= 0 && v < (int64_t)1 << 53;
}

static sd_status read_json(sd_tune_run *r, sd_ckpt *c, sd_err *err)
{
    const char *what = "checkpoint.json";
    const int64_t now = rows_of(r);
    int64_t rows = now; /* not in older ones */
    json_t *j = NULL;
    same s[N_SAME];
    sd_status st = sd_ckpt_open(c, &j, r->o.dir, err);
    if (!st) st = sd_json_get_i64(j, "step", &r->step, what, err);
    if (!st) st = sd_json_get_i64(j, "position", &r->pool[SD_POOL_DATA].position, what, err);
    if (!st) st = sd_json_opt_i64(j, "safety_position", &r->pool[SD_POOL_SAFETY].position, what, err); /* not in older ones */
    if (!st) st = sd_json_opt_i64(j, "n_projected", &r->guard.n_projected, what, err);
    if (!st) st = sd_json_get_i64(j, "n_tokens", &r->n_tokens, what, err);
    if (!st) st = sd_json_get_i64(j, "events_bytes", &r->events.n_bytes, what, err);
    if (!st) st = sd_json_opt_i64(j, "rows", &rows, what, err);
    if (!st && rows != now) {
        sd_fail(err, SD_E_FORMAT, "%s was written by another run: its rows were not those that are read now", c->dir);
        st = another_run(err);
    }
    sames(r, s);
    for (int i = 0; !st && i < N_SAME; i++) {
        int64_t v = 0;
        st = sd_json_opt_i64(j, s[i].key, &v, what, err); /* "guard" is not in older ones, and 0 then */
        if (!st && v != s[i].v) {
            sd_fail(err, SD_E_FORMAT, "%s was written by another run: %s was %" PRId64 " and is now %" PRId64, c->dir, s[i].key, v, s[i].v);
            st = another_run(err);
        }
    }
    const int64_t data = r->pool[SD_POOL_DATA].position, safety = r->pool[SD_POOL_SAFETY].position;
    if (!st && (r->step < 0 || r->step > r->total || !counts(data) || !counts(safety) || !counts(r->n_tokens) || !counts(r->events.n_bytes) || !counts(r->guard.n_projected)))
        st = sd_fail(err, SD_E_FORMAT, "%s: step %" PRId64 " of %" PRId64 " with %" PRId64 " and %" PRId64 " rows and %" PRId64 " tokens taken makes no sense", c->dir, r->step, r->total, data, safety, r->n_tokens);
    json_decref(j);
    return st;
}

sd_status sd_tune__kept(sd_tune_run *r, sd_err *err)
{
    sd_ckpt c;
    json_t *j = NULL;
    int64_t keep = 0;
    sd_status st = sd_ckpt_open(&c, &j, r->o.dir, err);
    if (!st) st = sd_json_opt_i64(j, "keep_bytes", &keep, "checkpoint.json", err);
    if (!st) r->o.keep_bytes = counts(keep) ? (size_t)keep : 0;
    json_decref(j);
    return st;
}

sd_status sd_tune__restore(sd_tune_run *r, sd_err *err)
{
    sd_ckpt c;
    char p[SD_CKPT_PATH];
    array a[N_ARRAYS];
    sd_weights *w = NULL;
    sd_status st = read_json(r, &c, err);
    if (!st) st = sd_ckpt_file(p, &c, "state", 0, err);
    if (!st) st = sd_weights_open(&w, p, err);
    if (!st && (r->o.method == SD_TUNE_DPO || r->o.method == SD_TUNE_CONSTRAINED))
        st = sd_alloc(&r->ref, (size_t)r->set.n_tok * sizeof *r->ref, "reference log-probabilities", err);
    if (!st) arrays(r, a);
    for (int i = 0; !st && i < N_ARRAYS; i++) {
        if (!a[i].data) continue;
        const sd_tensor *t = sd_weights_find(w, a[i].name);
        if (!t || t->dtype != a[i].dtype || t->rank != 1 || t->dim[0] != a[i].n)
            st = sd_fail(err, SD_E_FORMAT, "%s: the array %s of %" PRId64 " numbers is missing or of another size", p,
                         a[i].name, a[i].n);
        else
            memcpy(a[i].data, t->data, t->bytes);
    }
    sd_weights_close(w);
    return st;
}
