/* Owns writing shards: rows are gathered until a shard is full, then it appears whole. manifest.json comes last and lists the
 * shards, so a folder without it was never finished. */
#include "dict/act.h"
#include "dict/act_int.h"
#include "base/cpu.h"
#include "base/json.h"
#include "base/map.h"
#include "file/weights.h"
#include "num/kern_dict.h"
#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct sd_act_writer {
    sd_act_manifest m;
    char dir[PATH_MAX];
    void *acts;                     /* [rows_per_shard, d] f16 or f32 */
    int32_t *token_id, *doc, *pos;  /* [rows_per_shard] */
    int64_t n, n_shard, cap_shard, total;
    char (*sha)[65];                /* [n_shard] */
    bool made_dir;
    const sd_kern_dict *kd;
};

enum { SHARD_ROWS = 65536, SHARD_BYTES = 128 << 20, HEADER_BYTES = 1024, STAT_BLOCK = 512 /* of st_blocks, POSIX */ };

static int64_t shard_rows(const sd_act_manifest *m)
{
    if (m->rows_per_shard) return m->rows_per_shard;
    const int64_t fit = SHARD_BYTES / (m->d * (m->f16 ? 2 : 4));
    return fit < 1 ? 1 : fit < SHARD_ROWS ? fit : SHARD_ROWS;
}

uint64_t sd_act_plan(int64_t n_rows, int64_t d, bool f16)
{
    const sd_act_manifest m = {.d = d, .f16 = f16};
    const int64_t shards = n_rows / shard_rows(&m) + 1;
    return (uint64_t)n_rows * ((uint64_t)d * (f16 ? 2 : 4) + 3 * sizeof(int32_t)) + (uint64_t)shards * HEADER_BYTES;
}

static bool is_shard(const char *name)
{
    const sd_slice s = sd_slice_of(name);
    return sd_slice_starts(s, "acts-") && sd_slice_ends(s, ".safetensors");
}

/* Visits the shards and the manifest in dir: counts them, adds up what each alone holds of the disk (a file with other names stays), or removes them. */
static int64_t visit(const char *dir, bool remove, uint64_t *bytes)
{
    int64_t n = 0;
    char path[PATH_MAX];
    struct stat is;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!is_shard(e->d_name) && strcmp(e->d_name, SD_ACT_MANIFEST) != 0) continue;
        n++;
        if (!sd_path_join(path, sizeof path, dir, e->d_name)) continue;
        if (bytes && lstat(path, &is) == 0 && S_ISREG(is.st_mode) && is.st_nlink == 1) *bytes += (uint64_t)is.st_blocks * STAT_BLOCK;
        if (remove) (void)unlink(path);
    }
    if (d) (void)closedir(d);
    return n;
}

uint64_t sd_act_replaced(const char *dir)
{
    uint64_t bytes = 0;
    (void)visit(dir, false, &bytes);
    return bytes;
}

static sd_status check_room(const sd_act_writer *w, bool force, sd_err *err)
{
    char need_s[32], free_s[32];
    if (w->m.n_rows <= 0) return SD_OK;
    const uint64_t need = sd_act_plan(w->m.n_rows, w->m.d, w->m.f16), frees = force ? sd_act_replaced(w->dir) : 0, have = sd_disk_free(w->dir) + frees;
    if (need <= have) return SD_OK;
    (void)sd_fail(err, SD_E_NOSPACE, "%lld activations of width %lld need %s on disk; %s has %s free%s", (long long)w->m.n_rows, (long long)w->m.d,
                  sd_fmt_bytes(need_s, sizeof need_s, (double)need), w->dir, sd_fmt_bytes(free_s, sizeof free_s, (double)have), frees ? " without its present shards" : "");
    (void)sd_hint(err, "take fewer tokens, or train without shards: sonde dict train MODEL CORPUS");
    return SD_E_NOSPACE;
}

sd_status sd_act_writer_open(sd_act_writer **out, const char *dir, const sd_act_manifest *m, bool force, sd_err *err)
{
    sd_act_writer *w = NULL;
    sd_cpu cpu;
    *out = NULL;
    if (m->d < 1 || m->rows_per_shard < 0) return sd_fail(err, SD_E_ARG, "activations of width %lld in shards of %lld rows are impossible", (long long)m->d, (long long)m->rows_per_shard);
    sd_status st = sd_alloc_zero(&w, sizeof *w, "a shard writer", err);
    if (st) return st;
    w->m = *m;
    w->m.rows_per_shard = shard_rows(m);
    (void)sd_cpu_detect(&cpu, NULL);
    w->kd = sd_kern_dict_select(cpu.flags);
    if (!sd_path_join(w->dir, sizeof w->dir, dir, "")) st = sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    w->made_dir = !sd_dir_exists(dir);
    if (!st) st = sd_dir_make(dir, err);
    if (!st && visit(dir, false, NULL) && !force) {
        st = sd_fail(err, SD_E_ARG, "%s holds activations already", dir);
        (void)sd_hint(err, "-f replaces them");
    }
    if (!st) st = check_room(w, force, err);
    const size_t rows = (size_t)w->m.rows_per_shard;
    if (!st) st = sd_alloc(&w->acts, rows * (size_t)m->d * (m->f16 ? 2 : 4), "a shard of activations", err);
    if (!st) st = sd_alloc(&w->token_id, rows * sizeof(int32_t), "a shard's tokens", err);
    if (!st) st = sd_alloc(&w->doc, rows * sizeof(int32_t), "a shard's documents", err);
    if (!st) st = sd_alloc(&w->pos, rows * sizeof(int32_t), "a shard's positions", err);
    if (st) {
        sd_act_writer_abort(w);
        return st;
    }
    (void)visit(dir, true, NULL);
    *out = w;
    return SD_OK;
}

static void shard_path(const sd_act_writer *w, int64_t i, char out[PATH_MAX])
{
    char name[SD_ACT_NAME];
    sd_act__shard_name(name, i);
    SD_ASSERT(sd_path_join(out, PATH_MAX, w->dir, name));
}

static sd_status flush(sd_act_writer *w, sd_err *err)
{
    char path[PATH_MAX];
    if (w->n == 0) return SD_OK;
    shard_path(w, w->n_shard, path);
    const sd_st_tensor t[] = {
        {"token_id", SD_I32, 1, {w->n}, w->token_id}, {"doc", SD_I32, 1, {w->n}, w->doc}, {"pos", SD_I32, 1, {w->n}, w->pos},
        {"acts", w->m.f16 ? SD_F16 : SD_F32, 2, {w->n, w->m.d}, w->acts}};
    if (w->n_shard == w->cap_shard) {
        const int64_t cap = w->cap_shard ? 2 * w->cap_shard : 64;
        void *p = sd_realloc(w->sha, (size_t)cap * sizeof *w->sha);
        if (!p) return sd_fail(err, SD_E_NOMEM, "out of memory: hashes of %lld shards", (long long)cap);
        w->sha = p;
        w->cap_shard = cap;
    }
    const sd_status st = sd_safetensors_write(path, t, 4, NULL, err);
    if (st) return st;
    sd_act__hash(w->sha[w->n_shard], w->acts, (size_t)(w->n * w->m.d) * (w->m.f16 ? 2 : 4), (const int32_t *const[]){w->token_id, w->doc, w->pos}, w->n);
    w->n_shard++;
    w->total += w->n;
    w->n = 0;
    return SD_OK;
}

static sd_status check_row(const sd_act_writer *w, const float *x, sd_err *err)
{
    for (int64_t i = 0; i < w->m.d; i++)
        if (!isfinite(x[i]))
            return sd_fail(err, SD_E_FORMAT, "activation row %lld, dimension %lld, is %f", (long long)(w->total + w->n), (long long)i, (double)x[i]);
    return SD_OK;
}

/* An attention sink may pass the range of f16; it stays at the range's end, far above any sink limit. */
static void put_f16(const sd_act_writer *w, uint16_t *y, const float *x)
{
    w->kd->f32_to_f16(y, x, w->m.d);
    for (int64_t i = 0; i < w->m.d; i++)
        if ((y[i] & 0x7fff) == 0x7c00) y[i] = (uint16_t)((y[i] & 0x8000) | 0x7bff);
}

sd_status sd_act_writer_put(sd_act_writer *w, const sd_act_block *b, sd_err *err)
{
    const int64_t d = w->m.d;
    if (b->x.cols != d) return sd_fail(err, SD_E_SHAPE, "activations of width %lld do not go into shards of width %lld", (long long)b->x.cols, (long long)d);
    for (int64_t r = 0; r < b->x.rows; r++) {
        const float *x = sd_mat_row(b->x, r);
        sd_status st = check_row(w, x, err);
        if (st) return st;
        if (w->m.f16)
            put_f16(w, (uint16_t *)w->acts + w->n * d, x);
        else
            memcpy((float *)w->acts + w->n * d, x, (size_t)d * sizeof *x);
        w->token_id[w->n] = b->token_id[r];
        w->doc[w->n] = b->doc[r];
        w->pos[w->n++] = b->pos[r];
        if (w->n == w->m.rows_per_shard && (st = flush(w, err))) return st;
    }
    return SD_OK;
}

static void put_manifest(sd_buf *b, const sd_act_writer *w)
{
    const sd_act_manifest *m = &w->m;
    sd_jw j;
    sd_jw_init(&j, b);
    sd_jw_obj(&j);
    sd_jw_kstr(&j, "schema", SD_ACT_SCHEMA);
    sd_jw_kstr(&j, "model_name", m->model_name);
    sd_jw_kstr(&j, "model_sha256", m->model_sha256);
    sd_jw_kstr(&j, "data_sha256", m->data_sha256);
    sd_jw_kstr(&j, "site", m->site);
    sd_jw_kstr(&j, "mode", m->mode);
    sd_jw_kstr(&j, "dtype", m->f16 ? "F16" : "F32");
    sd_jw_ki64(&j, "d", m->d);
    sd_jw_ki64(&j, "n_rows", w->total);
    sd_jw_ki64(&j, "rows_per_shard", m->rows_per_shard);
    sd_jw_key(&j, "shards");
    sd_jw_arr(&j);
    for (int64_t i = 0; i < w->n_shard; i++) {
        char name[SD_ACT_NAME];
        const int64_t left = w->total - i * m->rows_per_shard;
        sd_act__shard_name(name, i);
        sd_jw_obj(&j);
        sd_jw_kstr(&j, "file", name);
        sd_jw_ki64(&j, "rows", left < m->rows_per_shard ? left : m->rows_per_shard);
        sd_jw_kstr(&j, "sha256", w->sha[i]);
        sd_jw_end(&j);
    }
    sd_jw_end(&j);
    sd_jw_end(&j);
    sd_buf_putc(b, '\n');
}

static void drop(sd_act_writer *w)
{
    sd_free(w->acts);
    sd_free(w->token_id);
    sd_free(w->doc);
    sd_free(w->pos);
    sd_free(w->sha);
    sd_free(w);
}

sd_status sd_act_writer_finish(sd_act_writer *w, sd_err *err)
{
    char path[PATH_MAX];
    sd_buf b;
    sd_buf_init(&b, 64 << 20);
    sd_status st = flush(w, err);
    if (!st && w->total == 0) st = sd_fail(err, SD_E_FORMAT, "%s: there were no activations to write", w->dir);
    if (!st) {
        put_manifest(&b, w);
        st = sd_buf_check(&b, SD_ACT_MANIFEST, err);
    }
    if (!st && !sd_path_join(path, sizeof path, w->dir, SD_ACT_MANIFEST)) st = sd_fail(err, SD_E_ARG, "%s: the path is too long", w->dir);
    if (!st) st = sd_file_write_atomic(path, b.p, b.n, err);
    sd_buf_release(&b);
    if (st)
        sd_act_writer_abort(w);
    else
        drop(w);
    return st;
}

void sd_act_writer_abort(sd_act_writer *w)
{
    if (!w) return;
    for (int64_t i = 0; i < w->n_shard; i++) {
        char path[PATH_MAX];
        shard_path(w, i, path);
        (void)unlink(path);
    }
    if (w->made_dir) (void)rmdir(w->dir);
    drop(w);
}
