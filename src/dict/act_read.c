/* Owns reading shards: one is mapped at a time; rows come in blocks of at most 4,096 that never cross a shard. */
#include "dict/act.h"
#include "dict/act_int.h"
#include "base/cpu.h"
#include "base/json.h"
#include "base/map.h"
#include "file/weights.h"
#include "num/kern_dict.h"
#include <limits.h>
#include <math.h>
#include <sys/stat.h>

enum { BLOCK_ROWS = 4096 };
static const int64_t MAX_ROWS = (int64_t)1 << 40; /* whoever sizes memory by a manifest multiplies it by d and the size of a number */

typedef struct shard { char file[SD_ACT_NAME], sha256[65]; int64_t row0, rows; bool checked; } shard; /* sha256 empty: written before there was one */

struct sd_act_reader {
    sd_act_manifest m;
    char dir[PATH_MAX];
    shard *shard;
    int64_t n_shard, row; /* the next row */
    int64_t most;         /* rows of the largest shard */
    int64_t open;         /* which shard is mapped; -1: none */
    sd_weights *w;
    const sd_tensor *acts, *token_id, *doc, *pos;
    float *x; /* [BLOCK_ROWS, d] */
    const sd_kern_dict *kd;
};

static sd_status text(const json_t *j, const char *key, char *out, size_t cap, sd_err *err)
{
    const char *s = "";
    const sd_status st = sd_json_opt_str(j, key, &s, SD_ACT_MANIFEST, err);
    if (!st) snprintf(out, cap, "%s", s);
    return st;
}

static sd_status read_shard_list(sd_act_reader *r, const json_t *list, const char *path, sd_err *err)
{
    int64_t at = 0;
    if (!json_is_array(list) || json_array_size(list) == 0) return sd_fail(err, SD_E_FORMAT, "%s: \"shards\" is no list of shards", path);
    r->n_shard = (int64_t)json_array_size(list);
    sd_status st = sd_alloc_zero(&r->shard, (size_t)r->n_shard * sizeof *r->shard, "a list of shards", err);
    for (int64_t i = 0; i < r->n_shard && !st; i++) {
        const json_t *e = json_array_get(list, (size_t)i);
        const char *file = "", *sha = "";
        char full[PATH_MAX];
        struct stat on_disk;
        shard *s = &r->shard[i];
        st = sd_json_get_str(e, "file", &file, path, err);
        if (!st) st = sd_json_get_i64(e, "rows", &s->rows, path, err);
        if (!st) st = sd_json_opt_str(e, "sha256", &sha, path, err);
        if (st) break;
        if (strlen(sha) != 0 && strlen(sha) != 64) return sd_fail(err, SD_E_FORMAT, "%s: the sha256 of shard %lld is none", path, (long long)i);
        snprintf(s->sha256, sizeof s->sha256, "%s", sha);
        if (strlen(file) >= sizeof s->file || strchr(file, '/') || s->rows < 1 || s->rows > r->m.n_rows - at)
            return sd_fail(err, SD_E_FORMAT, "%s: shard %lld (\"%s\", %lld rows) does not fit %lld rows in all", path, (long long)i, file, (long long)s->rows, (long long)r->m.n_rows);
        snprintf(s->file, sizeof s->file, "%s", file);
        s->row0 = at;
        at += s->rows;
        if (!sd_path_join(full, sizeof full, r->dir, file)) return sd_fail(err, SD_E_ARG, "%s: the path is too long", r->dir);
        if (stat(full, &on_disk) != 0) st = sd_fail(err, SD_E_NOTFOUND, "%s: the shard is missing; the manifest lists it", full);
        else if (s->rows > on_disk.st_size / (r->m.d * (r->m.f16 ? 2 : 4))) /* before memory is taken for what a manifest claims */
            st = sd_fail(err, SD_E_SHAPE, "%s: %lld rows of width %lld, as the manifest says, do not fit in its %lld bytes", full, (long long)s->rows, (long long)r->m.d, (long long)on_disk.st_size);
        if (s->rows > r->most) r->most = s->rows;
    }
    if (!st && at != r->m.n_rows) st = sd_fail(err, SD_E_FORMAT, "%s: the shards hold %lld rows, \"n_rows\" says %lld", path, (long long)at, (long long)r->m.n_rows);
    return st;
}

static sd_status read_manifest(sd_act_reader *r, sd_err *err)
{
    char path[PATH_MAX];
    json_t *j = NULL;
    const char *schema = NULL, *dtype = NULL;
    if (!sd_path_join(path, sizeof path, r->dir, SD_ACT_MANIFEST)) return sd_fail(err, SD_E_ARG, "%s: the path is too long", r->dir);
    sd_status st = sd_json_load(&j, path, 64 << 20, err);
    if (st == SD_E_NOTFOUND) return sd_hint(err, "a capture that was not finished has no manifest; run it again");
    if (!st) st = sd_json_get_str(j, "schema", &schema, path, err);
    if (!st && strcmp(schema, SD_ACT_SCHEMA) != 0) st = sd_fail(err, SD_E_UNSUPPORTED, "%s: schema \"%s\" is not %s", path, schema, SD_ACT_SCHEMA);
    if (!st) st = sd_json_get_str(j, "dtype", &dtype, path, err);
    if (!st) st = sd_json_get_i64(j, "d", &r->m.d, path, err);
    if (!st) st = sd_json_get_i64(j, "n_rows", &r->m.n_rows, path, err);
    if (!st) st = sd_json_opt_i64(j, "rows_per_shard", &r->m.rows_per_shard, path, err);
    if (!st) st = text(j, "model_name", r->m.model_name, sizeof r->m.model_name, err);
    if (!st) st = text(j, "model_sha256", r->m.model_sha256, sizeof r->m.model_sha256, err);
    if (!st) st = text(j, "data_sha256", r->m.data_sha256, sizeof r->m.data_sha256, err);
    if (!st) st = text(j, "site", r->m.site, sizeof r->m.site, err);
    if (!st) st = text(j, "mode", r->m.mode, sizeof r->m.mode, err);
    if (!st) {
        r->m.f16 = strcmp(dtype, "F16") == 0;
        if (!r->m.f16 && strcmp(dtype, "F32") != 0) st = sd_fail(err, SD_E_UNSUPPORTED, "%s: dtype \"%s\"; F16 and F32 are read", path, dtype);
        else if (r->m.d < 1 || r->m.d > 1 << 20 || r->m.n_rows < 1 || r->m.n_rows > MAX_ROWS) st = sd_fail(err, SD_E_FORMAT, "%s: %lld rows of width %lld are impossible", path, (long long)r->m.n_rows, (long long)r->m.d);
    }
    if (!st) st = read_shard_list(r, json_object_get(j, "shards"), path, err);
    json_decref(j);
    return st;
}

sd_status sd_act_reader_open(sd_act_reader **out, const char *dir, sd_err *err)
{
    sd_act_reader *r = NULL;
    sd_cpu cpu;
    *out = NULL;
    sd_status st = sd_alloc_zero(&r, sizeof *r, "a shard reader", err);
    if (st) return st;
    r->open = -1;
    (void)sd_cpu_detect(&cpu, NULL);
    r->kd = sd_kern_dict_select(cpu.flags);
    if (!sd_path_join(r->dir, sizeof r->dir, dir, "")) st = sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    if (!st) st = read_manifest(r, err);
    if (!st) st = sd_alloc(&r->x, (size_t)((r->most < BLOCK_ROWS ? r->most : BLOCK_ROWS) * r->m.d) * sizeof *r->x, "a block of activations", err);
    if (st)
        sd_act_reader_close(r);
    else
        *out = r;
    return st;
}

void sd_act_reader_close(sd_act_reader *r)
{
    if (!r) return;
    sd_weights_close(r->w);
    sd_free(r->shard);
    sd_free(r->x);
    sd_free(r);
}

const sd_act_manifest *sd_act_reader_manifest(const sd_act_reader *r) { return &r->m; }

static sd_status find(const sd_act_reader *r, const char *name, int64_t rows, bool acts, const sd_tensor **out, sd_err *err)
{
    const sd_tensor *t = *out = sd_weights_find(r->w, name);
    const sd_dtype want = !acts ? SD_I32 : r->m.f16 ? SD_F16 : SD_F32;
    const char *path = sd_weights_path(r->w);
    if (!t) return sd_fail(err, SD_E_FORMAT, "%s: the tensor %s is missing", path, name);
    if (t->dtype != want || t->rank != (acts ? 2 : 1) || t->dim[0] != rows || (acts && t->dim[1] != r->m.d))
        return sd_fail(err, SD_E_SHAPE, "%s: %s is not %s of %lld rows as the manifest says", path, name, sd_dtype_get(want)->name, (long long)rows);
    return SD_OK;
}

static sd_status map_shard(sd_act_reader *r, int64_t i, sd_err *err)
{
    char path[PATH_MAX];
    if (r->open == i) return SD_OK;
    sd_weights_close(r->w);
    r->w = NULL;
    r->open = -1;
    if (!sd_path_join(path, sizeof path, r->dir, r->shard[i].file)) return sd_fail(err, SD_E_ARG, "%s: the path is too long", r->dir);
    sd_status st = sd_weights_open(&r->w, path, err);
    const int64_t n = r->shard[i].rows;
    if (!st) st = find(r, "acts", n, true, &r->acts, err);
    if (!st) st = find(r, "token_id", n, false, &r->token_id, err);
    if (!st) st = find(r, "doc", n, false, &r->doc, err);
    if (!st) st = find(r, "pos", n, false, &r->pos, err);
    if (!st && !r->shard[i].checked && r->shard[i].sha256[0]) { /* once a run, when it is read first */
        char is[65];
        sd_act__hash(is, r->acts->data, r->acts->bytes, (const int32_t *const[]){r->token_id->data, r->doc->data, r->pos->data}, n);
        if (strcmp(is, r->shard[i].sha256) != 0) {
            (void)sd_fail(err, SD_E_FORMAT, "%s: its content is not what %s says (SHA-256 %.12s.., not %.12s..): it was changed or damaged", path, SD_ACT_MANIFEST, is, r->shard[i].sha256);
            return sd_hint(err, "capture it again");
        }
    }
    r->shard[i].checked = !st;
    if (!st) r->open = i;
    return st;
}

static sd_status check_finite(const sd_act_reader *r, const float *x, int64_t row0, int64_t n, int64_t s, sd_err *err)
{
    const int64_t d = r->m.d;
    for (int64_t i = 0; i < n; i++) {
        float sum = 0; /* 0 x is 0 for finite x, NaN otherwise: one test a row */
        for (int64_t j = 0; j < d; j++) sum += 0.0f * x[i * d + j];
        if (sum == 0.0f) continue;
        return sd_fail(err, SD_E_FORMAT, "%s/%s: row %lld holds a number that is not finite", r->dir, r->shard[s].file, (long long)(row0 + i));
    }
    return SD_OK;
}

static sd_status next(void *self, sd_act_block *out, sd_err *err)
{
    sd_act_reader *r = self;
    const int64_t d = r->m.d;
    int64_t s = 0;
    *out = (sd_act_block){.x = sd_mat_of(r->x, 0, d)};
    if (r->row >= r->m.n_rows) return SD_OK;
    while (r->row >= r->shard[s].row0 + r->shard[s].rows) s++;
    sd_status st = map_shard(r, s, err);
    if (st) return st;
    const int64_t at = r->row - r->shard[s].row0, left = r->shard[s].rows - at, n = left < BLOCK_ROWS ? left : BLOCK_ROWS;
    if (r->m.f16)
        r->kd->f16_to_f32(r->x, (const uint16_t *)r->acts->data + at * d, n * d);
    else
        memcpy(r->x, (const float *)r->acts->data + at * d, (size_t)(n * d) * sizeof(float));
    st = check_finite(r, r->x, at, n, s, err);
    if (st) return st;
    r->row += n;
    *out = (sd_act_block){sd_mat_of(r->x, n, d), (const int32_t *)r->token_id->data + at, (const int32_t *)r->doc->data + at, (const int32_t *)r->pos->data + at};
    return SD_OK;
}

static int64_t tell(void *self) { return ((sd_act_reader *)self)->row; }

static sd_status seek(void *self, int64_t row, sd_err *err)
{
    sd_act_reader *r = self;
    if (row < 0 || row > r->m.n_rows) return sd_fail(err, SD_E_ARG, "%s: there is no row %lld among %lld", r->dir, (long long)row, (long long)r->m.n_rows);
    r->row = row;
    return SD_OK;
}

sd_act_source sd_act_reader_source(sd_act_reader *r) { return (sd_act_source){.self = r, .d = r->m.d, .next = next, .tell = tell, .seek = seek}; }
