/* Memory that is out and disks that are full, at every single request and write; and processes killed while they save: the old
 * file or the new one, never half, no leak, one sentence. */
#include "t.h"

#include "base/map.h"
#include "dict/act.h"
#include "dict/dict_int.h"
#include "dict/dict_train.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>

enum { D = 12, M = 40, K = 3, B = 16 };

static sd_exec *ex;
static float x[64 * D];

static sd_status make_trainer(sd_dict_train **out, int n_steps, sd_err *err)
{
    sd_dict_train *t = NULL;
    sd_dict_stats st;
    *out = NULL;
    sd_status s = sd_dict_train_new(&t, ex, &(sd_dict_train_opt){.kind = SD_DICT_TOPK, .d = D, .m = M, .k = K, .batch = B, .n_tokens = 50 * B, .seed = 1}, err);
    if (!s) s = sd_dict_train_calibrate(t, ex, sd_mat_of(x, 64, D), err);
    for (int i = 0; i < n_steps && !s; i++) s = sd_dict_train_step(t, ex, sd_mat_of(x + (i % 4) * B * D, B, D), &st, err);
    if (s) sd_dict_train_free(t);
    else *out = t;
    return s;
}

static sd_status make_dict(sd_dict **out, int n_steps, sd_err *err)
{
    sd_dict_train *t;
    *out = NULL;
    sd_status s = make_trainer(&t, n_steps, err);
    if (!s) s = sd_dict_train_finish(t, ex, sd_mat_of(x, 64, D), &(sd_dict_info){0}, out, err);
    sd_dict_train_free(t);
    return s;
}

/* Everything once, in a folder of its own. */
static sd_status whole_life(const char *dir, sd_err *err)
{
    char path[512];
    sd_dict_train *t = NULL, *u = NULL;
    sd_dict *d = NULL, *e = NULL;
    sd_codes z = {0};
    snprintf(path, sizeof path, "%s/trainer", dir);
    sd_status s = make_trainer(&t, 2, err);
    if (!s) s = sd_dict_train_save(t, path, err);
    if (!s) s = sd_dict_train_load(&u, ex, path, err);
    if (!s) s = sd_dict_train_finish(u, ex, sd_mat_of(x, 64, D), &(sd_dict_info){0}, &d, err);
    snprintf(path, sizeof path, "%s/dict", dir);
    if (!s) s = sd_dict_save(d, path, err);
    if (!s) s = sd_dict_open(&e, path, err);
    if (!s) s = sd_dict_encode(&z, ex, e, sd_mat_of(x, 64, D), err);
    sd_dict_train_free(t), sd_dict_train_free(u);
    sd_dict_free(d), sd_dict_free(e);
    sd_codes_release(&z);
    return s;
}

static sd_status whole_shards(const char *dir, sd_err *err)
{
    char path[512];
    sd_act_writer *w = NULL;
    sd_act_reader *r = NULL;
    sd_shuffle *s = NULL, *t = NULL;
    static const int32_t id[64];
    float y[B * D];
    int64_t got;
    snprintf(path, sizeof path, "%s/acts", dir);
    const sd_act_manifest man = {.d = D, .rows_per_shard = 20, .f16 = true};
    sd_status st = sd_act_writer_open(&w, path, &man, true, err);
    if (!st) st = sd_act_writer_put(w, &(sd_act_block){sd_mat_of(x, 64, D), id, id, id}, err);
    if (st) sd_act_writer_abort(w);
    else st = sd_act_writer_finish(w, err);
    if (!st) st = sd_act_reader_open(&r, path, err);
    if (!st) st = sd_shuffle_new(&s, 30, D, 1, 0, err);
    if (!st) {
        sd_act_source src = sd_act_reader_source(r);
        st = sd_shuffle_next(s, &src, INT64_MAX, sd_mat_of(y, B, D), &got, err);
    }
    snprintf(path, sizeof path, "%s/shuffle", dir);
    if (!st) st = sd_shuffle_save(s, path, err);
    if (!st) st = sd_shuffle_load(&t, path, err);
    sd_act_reader_close(r);
    sd_shuffle_free(s), sd_shuffle_free(t);
    return st;
}

static void fail_every_allocation(sd_status (*run)(const char *, sd_err *))
{
    const char *dir = t_tmpdir();
    const int64_t before = sd_mem_live_blocks();
    sd_status st = SD_E_NOMEM;
    int64_t n = 1;
    for (; st && n < 5000; n++) {
        sd_err err = {0};
        sd_mem_fail_nth(n);
        st = run(dir, &err);
        sd_mem_fail_nth(0);
        if (sd_mem_live_blocks() != before) fail_msg("request %lld: %lld blocks stay", (long long)n, (long long)(sd_mem_live_blocks() - before));
        if (st) {
            assert_int_equal(st, SD_E_NOMEM);
            assert_true(err.msg[0] != 0);
        }
    }
    assert_int_equal(st, SD_OK);
    assert_true(n > 20);
    t_rmtree(dir);
}

static void test_memory(void **state)
{
    (void)state;
    fail_every_allocation(whole_life);
    fail_every_allocation(whole_shards);
}

static bool same_file(const char *path, const sd_buf *want)
{
    sd_buf b;
    sd_err err = {0};
    sd_buf_init(&b, 64 << 20);
    t_ok(sd_file_read(&b, path, &err), err);
    const bool same = b.n == want->n && memcmp(b.p, want->p, b.n) == 0;
    sd_buf_release(&b);
    return same;
}

/* A full disk at the n-th write: the checkpoint that was there is there, byte for byte. */
static void test_full_disk_checkpoint(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[512];
    sd_dict_train *a, *b;
    sd_buf old;
    snprintf(path, sizeof path, "%s/trainer", dir);
    t_ok(make_trainer(&a, 1, &err), err);
    t_ok(make_trainer(&b, 3, &err), err);
    t_ok(sd_dict_train_save(a, path, &err), err);
    sd_buf_init(&old, 64 << 20);
    t_ok(sd_file_read(&old, path, &err), err);
    sd_status st = SD_E_NOSPACE;
    int n = 1;
    for (; st && n < 100; n++) {
        sd_file_fail_nth(n);
        st = sd_dict_train_save(b, path, &err);
        sd_file_fail_nth(0);
        sd_paths p;
        t_ok(sd_dir_list(&p, dir, &err), err);
        assert_int_equal(p.n, 1); /* no temporary file stays */
        sd_paths_free(&p);
        /* Only the folder's own fsync comes after the rename; there the new file is already in place. */
        if (st == SD_E_NOSPACE && !same_file(path, &old)) {
            sd_dict_train *c;
            t_ok(sd_dict_train_load(&c, ex, path, &err), err);
            sd_dict_train_free(c);
            break;
        }
    }
    assert_true(n > 2);
    sd_buf_release(&old);
    sd_dict_train_free(a), sd_dict_train_free(b);
    t_rmtree(dir);
}

/* The same for a dictionary over an older one: whatever fails, the folder opens as the old one or the new one. */
static void test_full_disk_dict(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    sd_dict *a, *b, *c;
    t_ok(make_dict(&a, 1, &err), err);
    t_ok(make_dict(&b, 5, &err), err);
    t_ok(sd_dict_save(a, dir, &err), err);
    sd_status st = SD_E_NOSPACE;
    int n = 1;
    for (; st && n < 200; n++) {
        sd_file_fail_nth(n);
        st = sd_dict_save(b, dir, &err);
        sd_file_fail_nth(0);
        if (st) assert_int_equal(st, SD_E_NOSPACE);
        t_ok(sd_dict_open(&c, dir, &err), err);
        const bool old = memcmp(c->W_enc, a->W_enc, M * D * 4) == 0 && memcmp(c->threshold, a->threshold, M * 4) == 0 && c->info.fvu == a->info.fvu;
        const bool new = memcmp(c->W_enc, b->W_enc, M * D * 4) == 0 && memcmp(c->threshold, b->threshold, M * 4) == 0 && c->info.fvu == b->info.fvu;
        assert_true(st ? old : new);
        sd_dict_free(c);
        sd_paths p;
        t_ok(sd_dir_list(&p, dir, &err), err);
        assert_int_equal(p.n, 4);
        sd_paths_free(&p);
    }
    assert_int_equal(st, SD_OK);
    assert_true(n > 8);
    sd_dict_free(a), sd_dict_free(b);
    t_rmtree(dir);
}

/* A full disk while capturing: nothing is left that looks like a capture. */
static void test_full_disk_shards(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_status st = SD_E_NOSPACE;
    int n = 1;
    for (; st && n < 200; n++) {
        const char *dir = t_tmpdir();
        char path[512];
        sd_act_reader *r;
        snprintf(path, sizeof path, "%s/acts", dir);
        sd_file_fail_nth(n);
        st = whole_shards(dir, &err);
        sd_file_fail_nth(0);
        const sd_status open = sd_act_reader_open(&r, path, &err);
        if (open == SD_OK) sd_act_reader_close(r);
        else assert_int_equal(open, SD_E_NOTFOUND);
        t_rmtree(dir);
    }
    assert_int_equal(st, SD_OK);
    assert_true(n > 8);
}

/* Killed at any moment of saving over and over: what is at the path loads, and is one of the two. */
static void test_killed_while_saving(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[512];
    sd_dict_train *a, *b, *c;
    snprintf(path, sizeof path, "%s/trainer", dir);
    t_ok(make_trainer(&a, 1, &err), err);
    t_ok(make_trainer(&b, 3, &err), err);
    t_ok(sd_dict_train_save(a, path, &err), err);
    for (int round = 0; round < 12; round++) {
        const pid_t p = fork();
        if (p == 0) {
            for (int i = 0;; i++) (void)sd_dict_train_save(i % 2 ? a : b, path, NULL);
        }
        assert_true(p > 0);
        usleep((useconds_t)(2000 + 1700 * round));
        assert_int_equal(kill(p, SIGKILL), 0);
        assert_int_equal(waitpid(p, NULL, 0), p);
        t_ok(sd_dict_train_load(&c, ex, path, &err), err);
        sd_dict_stats st;
        t_ok(sd_dict_train_step(c, ex, sd_mat_of(x, B, D), &st, &err), err);
        assert_true(st.step == 2 || st.step == 4);
        sd_dict_train_free(c);
    }
    sd_dict_train_free(a), sd_dict_train_free(b);
    t_rmtree(dir);
}

/* A checkpoint of another kind of file, cut short, or with numbers that cannot be. */
static void test_damaged_checkpoint(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[512];
    sd_dict_train *a, *c;
    sd_buf b;
    snprintf(path, sizeof path, "%s/trainer", dir);
    t_ok(make_trainer(&a, 2, &err), err);
    t_ok(sd_dict_train_save(a, path, &err), err);
    sd_buf_init(&b, 64 << 20);
    t_ok(sd_file_read(&b, path, &err), err);
    for (size_t n = 0; n < b.n; n += b.n / 23) {
        t_ok(sd_file_write_atomic(path, b.p, n ? n : 1, &err), err);
        assert_int_equal(sd_dict_train_load(&c, ex, path, &err), SD_E_FORMAT);
    }
    for (size_t i = 8; i + 12 < b.n && i < 4096; i++) /* a tensor that is called otherwise */
        if (memcmp(b.p + i, "\"last_step\"", 11) == 0) b.p[i + 1] = 'L';
    t_ok(sd_file_write_atomic(path, b.p, b.n, &err), err);
    assert_int_equal(sd_dict_train_load(&c, ex, path, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "last_step"));
    sd_buf_release(&b);
    sd_dict_train_free(a);
    t_rmtree(dir);
}

int main(void)
{
    sd_err err = {0};
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0); /* a thousand fsyncs, which a disk takes half a minute for */
    sd_rng r = sd_rng_make(1, "fault rows", 0);
    for (int i = 0; i < 64 * D; i++) x[i] = sd_rng_normal(&r);
    /* ref: no library that takes memory by itself, and fork() before any thread exists. */
    if (sd_exec_new(&ex, &(sd_exec_opt){"ref", 1}, &err)) return printf("%s\n", err.msg), 1;
    const struct CMUnitTest tests[] = {T(test_memory), T(test_full_disk_checkpoint), T(test_full_disk_dict), T(test_full_disk_shards), T(test_killed_while_saving), T(test_damaged_checkpoint)};
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    sd_exec_free(ex);
    if (sd_mem_live_blocks() != 0) return printf("%lld blocks left\n", (long long)sd_mem_live_blocks()), 1;
    return rc ? 1 : 0;
}
