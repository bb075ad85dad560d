/* Shards of activations (CONTRACT section 6): acts-%05d.safetensors with acts [n, d], token_id, doc, pos [n] int32, and
 * manifest.json, which is written last: a folder without it is not a capture. Owns: one shard's rows in memory while writing,
 * one map while reading. */
#include "dict/act.h"

#include "base/json.h"
#include "base/map.h"
#include "file/weights.h"

#include <inttypes.h>
#include <math.h>
#include <unistd.h>

enum { ROWS_PER_SHARD = 65536, READ_ROWS = 4096, MAX_PATH = 1200 };
static const char *const SCHEMA = "sonde.acts/1";

struct sd_act_writer {
    sd_act_manifest man;
    char dir[1024];
    void *acts;                     /* [rows_per_shard, d] f16 or f32 */
    int32_t *column[3];             /* token_id, doc, pos */
    int64_t n, n_shards, n_rows;
    bool made_dir;
};

static sd_status shard_path(char out[MAX_PATH], const char *dir, int64_t i, sd_err *err)
{
    char name[64];
    snprintf(name, sizeof name, "acts-%05" PRId64 ".safetensors", i);
    return sd_path_join(out, MAX_PATH, dir, name) ? SD_OK : sd_fail(err, SD_E_ARG, "%s: path too long", dir);
}

static sd_status manifest_path(char out[MAX_PATH], const char *dir, sd_err *err)
{
    return sd_path_join(out, MAX_PATH, dir, "manifest.json") ? SD_OK : sd_fail(err, SD_E_ARG, "%s: path too long", dir);
}

/* Removes the shards of a former capture, the manifest first. */
static sd_status clear(const char *dir, sd_err *err)
{
    char p[MAX_PATH];
    sd_status st = manifest_path(p, dir, err);
    if (st) return st;
    unlink(p);
    for (int64_t i = 0; !(st = shard_path(p, dir, i, err)) && unlink(p) == 0; i++) {}
    return st;
}

sd_status sd_act_writer_open(sd_act_writer **out, const char *dir, const sd_act_manifest *m, bool force, sd_err *err)
{
    sd_act_writer *w = NULL;
    char p[MAX_PATH];
    *out = NULL;
    if (strlen(dir) >= sizeof w->dir) return sd_fail(err, SD_E_ARG, "%s: path too long", dir);
    sd_status st = manifest_path(p, dir, err);
    if (st) return st;
    if (sd_file_exists(p) && !force) {
        sd_fail(err, SD_E_ARG, "%s already holds captured activations", dir);
        return sd_hint(err, "give another folder, or -f to replace them");
    }
    if ((st = sd_alloc_zero(&w, sizeof *w, "shard writer", err))) return st;
    w->man = *m;
    if (!w->man.rows_per_shard) w->man.rows_per_shard = ROWS_PER_SHARD;
    memcpy(w->dir, dir, strlen(dir) + 1);
    w->made_dir = !sd_dir_exists(dir);
    size_t n = (size_t)w->man.rows_per_shard;
    if ((st = sd_dir_make(dir, err))) goto fail;
    if ((st = clear(dir, err))) goto fail;
    if ((st = sd_alloc(&w->acts, n * (size_t)m->d * (m->f16 ? 2 : 4), "a shard of activations", err))) goto fail;
    for (int i = 0; i < 3; i++)
        if ((st = sd_alloc(&w->column[i], n * sizeof(int32_t), "a shard's columns", err))) goto fail;
    *out = w;
    return SD_OK;
fail:
    sd_act_writer_abort(w);
    return st;
}

static void release(sd_act_writer *w)
{
    sd_free(w->acts);
    for (int i = 0; i < 3; i++) sd_free(w->column[i]);
    sd_free(w);
}

void sd_act_writer_abort(sd_act_writer *w)
{
    if (!w) return;
    clear(w->dir, NULL);
    if (w->made_dir) rmdir(w->dir);
    release(w);
}

static sd_status write_shard(sd_act_writer *w, sd_err *err)
{
    static const char *const name[] = {"token_id", "doc", "pos"};
    char p[MAX_PATH];
    sd_st_tensor t[4] = {{.name = "acts", .dtype = w->man.f16 ? SD_F16 : SD_F32, .rank = 2, .dim = {w->n, w->man.d}, .data = w->acts}};
    for (int i = 0; i < 3; i++) t[i + 1] = (sd_st_tensor){.name = name[i], .dtype = SD_I32, .rank = 1, .dim = {w->n}, .data = w->column[i]};
    sd_status st = shard_path(p, w->dir, w->n_shards, err);
    if (!st) st = sd_safetensors_write(p, t, 4, NULL, err);
    w->n_shards++;
    w->n = 0;
    return st;
}

sd_status sd_act_writer_put(sd_act_writer *w, const sd_act_block *b, sd_err *err)
{
    sd_status st = SD_OK;
    int64_t d = w->man.d;
    if (b->x.cols != d) return sd_fail(err, SD_E_SHAPE, "rows of %" PRId64 " for shards of %" PRId64, b->x.cols, d);
    for (int64_t i = 0; i < b->x.rows && !st; i++) {
        const float *x = sd_mat_row(b->x, i);
        float sum = 0;
        for (int64_t j = 0; j < d; j++) sum += x[j] * 0.0f; /* NaN exactly when a number is not finite */
        if (isnan(sum)) return sd_fail(err, SD_E_FORMAT, "activation row %" PRId64 " has a NaN or an infinite number", w->n_rows);
        if (w->man.f16)
            for (int64_t j = 0; j < d; j++) {
                /* Attention sinks pass the range of f16: kept at its end, far above any sink limit. */
                float v = fminf(fmaxf(x[j], -65504.0f), 65504.0f);
                ((uint16_t *)w->acts)[w->n * d + j] = sd_f32_to_f16(v);
            }
        else
            memcpy((float *)w->acts + w->n * d, x, (size_t)d * sizeof(float));
        w->column[0][w->n] = b->token_id[i];
        w->column[1][w->n] = b->doc[i];
        w->column[2][w->n] = b->pos[i];
        w->n_rows++;
        if (++w->n == w->man.rows_per_shard) st = write_shard(w, err);
    }
    return st;
}

static sd_status write_manifest(const sd_act_writer *w, sd_err *err)
{
    char p[MAX_PATH], name[64];
    sd_buf b;
    sd_jw j;
    sd_buf_init(&b, 1 << 26);
    sd_jw_init(&j, &b);
    sd_jw_obj(&j);
    sd_jw_kstr(&j, "schema", SCHEMA);
    sd_jw_kstr(&j, "model_name", w->man.model_name);
    sd_jw_kstr(&j, "model_sha256", w->man.model_sha256);
    sd_jw_kstr(&j, "data_sha256", w->man.data_sha256);
    sd_jw_kstr(&j, "site", w->man.site);
    sd_jw_kstr(&j, "mode", w->man.mode);
    sd_jw_kstr(&j, "dtype", w->man.f16 ? "F16" : "F32");
    sd_jw_ki64(&j, "d", w->man.d);
    sd_jw_ki64(&j, "n_rows", w->n_rows);
    sd_jw_ki64(&j, "rows_per_shard", w->man.rows_per_shard);
    sd_jw_key(&j, "shards");
    sd_jw_arr(&j);
    for (int64_t i = 0; i < w->n_shards; i++) {
        int64_t left = w->n_rows - i * w->man.rows_per_shard;
        sd_jw_obj(&j);
        snprintf(name, sizeof name, "acts-%05" PRId64 ".safetensors", i);
        sd_jw_kstr(&j, "file", name);
        sd_jw_ki64(&j, "rows", left < w->man.rows_per_shard ? left : w->man.rows_per_shard);
        sd_jw_end(&j);
    }
    sd_jw_end(&j);
    sd_jw_end(&j);
    sd_buf_putc(&b, '\n');
    sd_status st = sd_buf_check(&b, "the manifest", err);
    if (!st) st = manifest_path(p, w->dir, err);
    if (!st) st = sd_file_write_atomic(p, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

sd_status sd_act_writer_finish(sd_act_writer *w, sd_err *err)
{
    sd_status st = SD_OK;
    if (w->n) st = write_shard(w, err);
    if (!st && w->n_rows == 0) st = sd_fail(err, SD_E_FORMAT, "%s: there were no activations to write", w->dir);
    if (!st) st = write_manifest(w, err);
    if (st) sd_act_writer_abort(w);
    else release(w);
    return st;
}

struct sd_act_reader {
    sd_act_manifest man;
    char dir[1024];
    int64_t row, shard;             /* next row; the shard that is open, -1: none */
    sd_weights *file;
    const sd_tensor *acts, *column[3];
    float *x;                       /* [READ_ROWS, d] */
};

static sd_status read_manifest(sd_act_manifest *m, const char *dir, sd_err *err)
{
    char p[MAX_PATH];
    const char *schema = NULL, *s[5] = {NULL};
    static const char *const key[] = {"model_name", "model_sha256", "data_sha256", "site", "mode"};
    json_t *j = NULL;
    sd_status st = manifest_path(p, dir, err);
    if (!st && (st = sd_json_load(&j, p, 1 << 26, err))) return sd_hint(err, "a folder of activations is made by `sonde capture`");
    if (!st) st = sd_json_get_str(j, "schema", &schema, p, err);
    if (!st && strcmp(schema, SCHEMA) != 0) st = sd_fail(err, SD_E_FORMAT, "%s: schema \"%s\", not \"%s\"", p, schema, SCHEMA);
    for (int i = 0; i < 5 && !st; i++) st = sd_json_get_str(j, key[i], &s[i], p, err);
    if (!st) st = sd_json_get_i64(j, "d", &m->d, p, err);
    if (!st) st = sd_json_get_i64(j, "n_rows", &m->n_rows, p, err);
    if (!st) st = sd_json_get_i64(j, "rows_per_shard", &m->rows_per_shard, p, err);
    if (!st && (m->d < 1 || m->d > 1 << 24 || m->n_rows < 1 || m->rows_per_shard < 1))
        st = sd_fail(err, SD_E_FORMAT, "%s: %" PRId64 " rows of %" PRId64 " in shards of %" PRId64, p, m->n_rows, m->d, m->rows_per_shard);
    if (!st) {
        snprintf(m->model_name, sizeof m->model_name, "%s", s[0]);
        snprintf(m->model_sha256, sizeof m->model_sha256, "%s", s[1]);
        snprintf(m->data_sha256, sizeof m->data_sha256, "%s", s[2]);
        snprintf(m->site, sizeof m->site, "%s", s[3]);
        snprintf(m->mode, sizeof m->mode, "%s", s[4]);
    }
    json_decref(j);
    return st;
}

/* Opens the shard of r->row and checks its tensors against the manifest. */
static sd_status open_shard(sd_act_reader *r, sd_err *err)
{
    static const char *const name[] = {"token_id", "doc", "pos"};
    char p[MAX_PATH];
    int64_t i = r->row / r->man.rows_per_shard, left = r->man.n_rows - i * r->man.rows_per_shard;
    int64_t want = left < r->man.rows_per_shard ? left : r->man.rows_per_shard;
    if (i == r->shard) return SD_OK;
    sd_weights_close(r->file);
    r->file = NULL;
    r->shard = -1;
    sd_status st = shard_path(p, r->dir, i, err);
    if (!st) st = sd_weights_open(&r->file, p, err);
    if (st) return st;
    r->acts = sd_weights_find(r->file, "acts");
    if (!r->acts || r->acts->rank != 2 || r->acts->dim[0] != want || r->acts->dim[1] != r->man.d || (r->acts->dtype != SD_F16 && r->acts->dtype != SD_F32))
        return sd_fail(err, SD_E_FORMAT, "%s: acts is not [%" PRId64 ", %" PRId64 "] in F16 or F32, as the manifest says", p, want, r->man.d);
    for (int k = 0; k < 3; k++) {
        const sd_tensor *t = r->column[k] = sd_weights_find(r->file, name[k]);
        if (!t || t->rank != 1 || t->dim[0] != want || t->dtype != SD_I32)
            return sd_fail(err, SD_E_FORMAT, "%s: %s is not [%" PRId64 "] in I32", p, name[k], want);
    }
    r->shard = i;
    return SD_OK;
}

sd_status sd_act_reader_open(sd_act_reader **out, const char *dir, sd_err *err)
{
    sd_act_reader *r = NULL;
    *out = NULL;
    if (strlen(dir) >= sizeof r->dir) return sd_fail(err, SD_E_ARG, "%s: path too long", dir);
    sd_status st = sd_alloc_zero(&r, sizeof *r, "shard reader", err);
    if (st) return st;
    r->shard = -1;
    memcpy(r->dir, dir, strlen(dir) + 1);
    if ((st = read_manifest(&r->man, dir, err))) goto fail;
    if ((st = open_shard(r, err))) goto fail;
    r->man.f16 = r->acts->dtype == SD_F16;
    if ((st = sd_alloc(&r->x, (size_t)(READ_ROWS * r->man.d) * sizeof(float), "a block of activations", err))) goto fail;
    *out = r;
    return SD_OK;
fail:
    sd_act_reader_close(r);
    return st;
}

void sd_act_reader_close(sd_act_reader *r)
{
    if (!r) return;
    sd_weights_close(r->file);
    sd_free(r->x);
    sd_free(r);
}

const sd_act_manifest *sd_act_reader_manifest(const sd_act_reader *r) { return &r->man; }

static sd_status reader_next(void *self, sd_act_block *out, sd_err *err)
{
    sd_act_reader *r = self;
    *out = (sd_act_block){0};
    if (r->row >= r->man.n_rows) return SD_OK;
    sd_status st = open_shard(r, err);
    if (st) return st;
    int64_t at = r->row % r->man.rows_per_shard, n = r->acts->dim[0] - at, d = r->man.d;
    if (n > READ_ROWS) n = READ_ROWS;
    size_t bytes = sd_dtype_row_bytes(r->acts->dtype, d);
    sd_dtype_get(r->acts->dtype)->decode(r->x, (const uint8_t *)r->acts->data + (size_t)at * bytes, n * d);
    for (int64_t i = 0; i < n * d; i++)
        if (!isfinite(r->x[i]))
            return sd_fail(err, SD_E_FORMAT, "%s: row %" PRId64 " of shard %" PRId64 " has a NaN or an infinite number", r->dir, at + i / d, r->shard);
    *out = (sd_act_block){.x = sd_mat_of(r->x, n, d), .token_id = (const int32_t *)r->column[0]->data + at,
                          .doc = (const int32_t *)r->column[1]->data + at, .pos = (const int32_t *)r->column[2]->data + at};
    r->row += n;
    return SD_OK;
}

static int64_t reader_tell(void *self) { return ((sd_act_reader *)self)->row; }

static sd_status reader_seek(void *self, int64_t row, sd_err *err)
{
    sd_act_reader *r = self;
    if (row < 0 || row > r->man.n_rows) return sd_fail(err, SD_E_ARG, "row %" PRId64 " of %" PRId64, row, r->man.n_rows);
    r->row = row;
    return SD_OK;
}

sd_act_source sd_act_reader_source(sd_act_reader *r)
{
    return (sd_act_source){.self = r, .d = r->man.d, .next = reader_next, .tell = reader_tell, .seek = reader_seek};
}
