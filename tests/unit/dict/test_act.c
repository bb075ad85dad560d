/* Shards and the shuffle buffer: what goes in comes out, in the order promised, and every kind of damage is named. */
#include "t.h"

#include "base/json.h"
#include "base/map.h"
#include "dict/act.h"
#include "file/weights.h"

#include <fcntl.h>
#include <math.h>

enum { D = 20 };

/* A source of n rows: row r is r, r + 0.5, r + 1, .. with document r / 10; blocks of `block` rows. */
typedef struct made { int64_t n, at, block; float *x; int32_t *id; int64_t sink_every, bad_row; float bad; } made;

static sd_status made_next(void *self, sd_act_block *out, sd_err *err)
{
    made *m = self;
    (void)err;
    const int64_t n = m->n - m->at < m->block ? m->n - m->at : m->block;
    for (int64_t i = 0; i < n; i++) {
        const int64_t r = m->at + i;
        for (int64_t j = 0; j < D; j++) m->x[i * D + j] = 0.25f * (float)r + 0.5f * (float)j;
        if (m->sink_every > 0 && r % m->sink_every == 3) m->x[i * D] = 30000.0f;
        if (m->bad != 0 && r == m->bad_row) m->x[i * D + 1] = m->bad;
        m->id[i] = (int32_t)(r * 3), m->id[m->block + i] = (int32_t)(r / 10), m->id[2 * m->block + i] = (int32_t)(r % 10);
    }
    *out = (sd_act_block){sd_mat_of(m->x, n, D), m->id, m->id + m->block, m->id + 2 * m->block};
    m->at += n;
    return SD_OK;
}
static int64_t made_tell(void *self) { return ((made *)self)->at; }
static sd_status made_seek(void *self, int64_t row, sd_err *err)
{
    (void)err;
    ((made *)self)->at = row;
    return SD_OK;
}
static made make(int64_t n, int64_t block) { return (made){n, 0, block, sd_malloc((size_t)(block * D) * 4), sd_malloc((size_t)block * 12), 0, 0, 0}; }
static void drop(made *m) { sd_free(m->x), sd_free(m->id); }
static sd_act_source source(made *m) { return (sd_act_source){m, D, made_next, made_tell, made_seek}; }

static void capture(const char *dir, int64_t n, int64_t per_shard, bool f16)
{
    sd_err err = {0};
    sd_act_writer *w;
    made m = make(n, 37);
    const sd_act_manifest man = {.model_name = "a \"model\"", .site = "resid_post.3", .mode = "bf16", .d = D, .rows_per_shard = per_shard, .f16 = f16, .n_rows = n};
    t_ok(sd_act_writer_open(&w, dir, &man, true, &err), err);
    for (;;) {
        sd_act_block b;
        t_ok(made_next(&m, &b, &err), err);
        if (b.x.rows == 0) break;
        t_ok(sd_act_writer_put(w, &b, &err), err);
    }
    t_ok(sd_act_writer_finish(w, &err), err);
    drop(&m);
}

static void test_round_trip(void **state)
{
    (void)state;
    sd_err err = {0};
    for (int f16 = 0; f16 < 2; f16++) {
        const char *dir = t_tmpdir();
        sd_act_reader *r;
        capture(dir, 1000, 300, f16);
        t_ok(sd_act_reader_open(&r, dir, &err), err);
        const sd_act_manifest *m = sd_act_reader_manifest(r);
        assert_string_equal(m->model_name, "a \"model\"");
        assert_string_equal(m->site, "resid_post.3");
        assert_int_equal(m->n_rows, 1000);
        assert_int_equal(m->d, D);
        assert_int_equal(m->f16, f16);
        sd_act_source src = sd_act_reader_source(r);
        for (int pass = 0; pass < 2; pass++) {
            const int64_t from = pass ? 555 : 0; /* in the middle of the second shard */
            int64_t at = from;
            t_ok(src.seek(src.self, from, &err), err);
            for (;;) {
                sd_act_block b;
                assert_int_equal(src.tell(src.self), at);
                t_ok(src.next(src.self, &b, &err), err);
                if (b.x.rows == 0) break;
                for (int64_t i = 0; i < b.x.rows; i++, at++) {
                    for (int64_t j = 0; j < D; j++) assert_true(sd_mat_row(b.x, i)[j] == 0.25f * (float)at + 0.5f * (float)j); /* all exact in f16 */
                    assert_int_equal(b.token_id[i], at * 3);
                    assert_int_equal(b.doc[i], at / 10);
                    assert_int_equal(b.pos[i], at % 10);
                }
            }
            assert_int_equal(at, 1000);
        }
        assert_int_equal(src.seek(src.self, 1001, &err), SD_E_ARG);
        sd_act_reader_close(r);
        t_rmtree(dir);
    }
}

/* What is replaced makes room: 256 MB of an old shard, for a capture that is 128 MB larger than what is free. */
static void test_room_of_what_is_replaced(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    const int64_t mb = 1 << 20, many = 1 << 24;
    char path[512];
    sd_act_writer *w;
    snprintf(path, sizeof path, "%s/acts-00000.safetensors", dir);
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    const bool there = fd >= 0 && posix_fallocate(fd, 0, 256 * mb) == 0;
    close(fd);
    if (there) {
        const double row = (double)sd_act_plan(many, D, true) / (double)many;
        const int64_t rows_128 = (int64_t)(128.0 * (double)mb / row), rows_free = (int64_t)((double)sd_disk_free(dir) / row);
        sd_act_manifest man = {.d = D, .f16 = true, .rows_per_shard = 16, .n_rows = rows_free + 3 * rows_128};
        assert_true(sd_act_replaced(dir) >= (uint64_t)(256 * mb) && sd_act_replaced(dir) < (uint64_t)(260 * mb)); /* and a file system's own blocks */
        assert_int_equal(sd_act_writer_open(&w, dir, &man, true, &err), SD_E_NOSPACE);
        assert_non_null(strstr(err.msg, "free without its present shards"));
        man.n_rows = rows_free + rows_128;
        t_ok(sd_act_writer_open(&w, dir, &man, true, &err), err);
        assert_false(sd_file_exists(path));
        sd_act_writer_abort(w);
    }
    t_rmtree(dir);
    if (!there) t_skip("no 256 MB on the disk");
}

static void test_plan_and_refusals(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[512];
    sd_act_writer *w;
    sd_act_reader *r;
    capture(dir, 500, 200, true);
    /* The plan is what lies on the disk, headers within their allowance. */
    sd_paths p;
    uint64_t bytes = 0;
    t_ok(sd_dir_list(&p, dir, &err), err);
    for (int64_t i = 0; i < p.n; i++) {
        sd_map map;
        t_ok(sd_map_open(&map, p.v[i], &err), err);
        bytes += map.n;
        sd_map_close(&map);
    }
    sd_paths_free(&p);
    assert_true(bytes >= 500 * (D * 2 + 12) && sd_act_plan(500, D, true) >= 500 * (D * 2 + 12));
    assert_true(sd_act_plan(1000000, 576, true) < 1000000ull * 1164 + 200000);
    sd_act_manifest man = {.d = D, .f16 = true, .n_rows = INT64_MAX / 64};
    assert_int_equal(sd_act_writer_open(&w, dir, &man, false, &err), SD_E_ARG); /* holds a capture */
    assert_int_equal(sd_act_writer_open(&w, dir, &man, true, &err), SD_E_NOSPACE);
    assert_non_null(strstr(err.msg, "free"));
    t_ok(sd_act_reader_open(&r, dir, &err), err); /* and the old capture is still whole */
    sd_act_reader_close(r);
    /* Not finite: the row is named; nothing is left behind. */
    man.n_rows = 0;
    snprintf(path, sizeof path, "%s/new", dir);
    t_ok(sd_act_writer_open(&w, path, &man, false, &err), err);
    made m = make(40, 40);
    sd_act_block b;
    t_ok(made_next(&m, &b, &err), err);
    t_ok(sd_act_writer_put(w, &b, &err), err);
    sd_mat_row(b.x, 17)[4] = NAN;
    assert_int_equal(sd_act_writer_put(w, &b, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "row 57"));
    sd_act_writer_abort(w);
    assert_false(sd_dir_exists(path));
    /* f16 keeps a sink at the end of its range. */
    t_ok(sd_act_writer_open(&w, path, &man, false, &err), err);
    sd_mat_row(b.x, 17)[4] = -1e6f;
    t_ok(sd_act_writer_put(w, &b, &err), err);
    t_ok(sd_act_writer_finish(w, &err), err);
    t_ok(sd_act_reader_open(&r, path, &err), err);
    sd_act_source src = sd_act_reader_source(r);
    t_ok(src.next(src.self, &b, &err), err);
    assert_true(sd_mat_row(b.x, 17)[4] == -65504.0f);
    sd_act_reader_close(r);
    drop(&m);
    t_rmtree(dir);
}

static void test_damage(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char shard[512], manifest[512], copy[4096];
    sd_act_reader *r;
    capture(dir, 500, 200, true);
    snprintf(shard, sizeof shard, "%s/acts-00001.safetensors", dir);
    snprintf(manifest, sizeof manifest, "%s/manifest.json", dir);
    sd_buf b;
    sd_buf_init(&b, sizeof copy);
    t_ok(sd_file_read(&b, manifest, &err), err);
    snprintf(copy, sizeof copy, "%s", sd_buf_str(&b));
    sd_buf_release(&b);
    /* Other content in the second shard than the manifest's hash says; without the hash, a number that is not finite: row and shard are named. */
    float bad[200 * D];
    int32_t id[200] = {0};
    for (int i = 0; i < 200 * D; i++) bad[i] = 1.0f;
    uint16_t half[200 * D];
    for (int i = 0; i < 200 * D; i++) half[i] = 0x3c00;
    half[31 * D + 7] = 0x7c00;
    const sd_st_tensor t[] = {{"acts", SD_F16, 2, {200, D}, half}, {"token_id", SD_I32, 1, {200}, id}, {"doc", SD_I32, 1, {200}, id}, {"pos", SD_I32, 1, {200}, id}};
    t_ok(sd_safetensors_write(shard, t, 4, NULL, &err), err);
    t_ok(sd_act_reader_open(&r, dir, &err), err);
    sd_act_source src = sd_act_reader_source(r);
    sd_act_block blk;
    t_ok(src.next(src.self, &blk, &err), err);
    assert_int_equal(src.next(src.self, &blk, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "changed or damaged"));
    sd_act_reader_close(r);
    for (char *p; (p = strstr(copy, ",\"sha256\":\""));) memmove(p, p + 12 + 64, strlen(p + 12 + 64) + 1); /* as capture wrote before there were hashes */
    t_ok(sd_file_write_atomic(manifest, copy, strlen(copy), &err), err);
    t_ok(sd_act_reader_open(&r, dir, &err), err);
    src = sd_act_reader_source(r);
    t_ok(src.next(src.self, &blk, &err), err);
    assert_int_equal(src.next(src.self, &blk, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "acts-00001"));
    assert_non_null(strstr(err.msg, "row 31"));
    sd_act_reader_close(r);
    /* A shard of another shape, a missing one, a manifest that lies. */
    const sd_st_tensor u[] = {{"acts", SD_F32, 2, {200, D}, bad}, t[1], t[2], t[3]};
    t_ok(sd_safetensors_write(shard, u, 4, NULL, &err), err);
    t_ok(sd_act_reader_open(&r, dir, &err), err);
    src = sd_act_reader_source(r);
    t_ok(src.seek(src.self, 250, &err), err);
    assert_int_equal(src.next(src.self, &blk, &err), SD_E_SHAPE);
    sd_act_reader_close(r);
    static const char *const lies[][2] = {{"\"n_rows\":500", "\"n_rows\":501"}, {"\"n_rows\":500", "\"n_rows\":-5"}, {"\"d\":20", "\"d\":0"},
                                          {"acts-00001", "../ts-0001"},         {"acts/1", "acts/2"},               {"F16", "F99"}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        char text[4096];
        const char *at = strstr(copy, lies[i][0]);
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - copy), copy, lies[i][1], at + strlen(lies[i][0]));
        t_ok(sd_file_write_atomic(manifest, text, strlen(text), &err), err);
        const sd_status st = sd_act_reader_open(&r, dir, &err);
        assert_true(st == SD_E_FORMAT || st == SD_E_UNSUPPORTED);
    }
    /* So many rows that n_rows * d * 4 is 0 again: an order of rows would get no memory and write its rows there. */
    char text[4096];
    char *at = strstr(copy, "\"n_rows\":500"), *last = strstr(copy, "\"rows\":100");
    assert_true(at && last && at < last);
    snprintf(text, sizeof text, "%.*s\"n_rows\":%lld%.*s\"rows\":%lld%s", (int)(at - copy), copy, 1LL << 60, (int)(last - at - 12), at + 12, (1LL << 60) - 400, last + 10);
    t_ok(sd_file_write_atomic(manifest, text, strlen(text), &err), err);
    assert_int_equal(sd_act_reader_open(&r, dir, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "impossible"));
    t_ok(sd_file_write_atomic(manifest, copy, strlen(copy), &err), err);
    assert_int_equal(unlink(shard), 0);
    assert_int_equal(sd_act_reader_open(&r, dir, &err), SD_E_NOTFOUND);
    assert_non_null(strstr(err.msg, "acts-00001"));
    assert_int_equal(unlink(manifest), 0);
    assert_int_equal(sd_act_reader_open(&r, dir, &err), SD_E_NOTFOUND);
    assert_true(err.hint[0] != 0);
    t_rmtree(dir);
}

static int64_t row_of(const float *x) { return (int64_t)lroundf((x[1] - 0.5f) * 4.0f); }

/* Every row comes once, and only its place is chance. */
static void test_shuffle_is_a_permutation(void **state)
{
    (void)state;
    sd_err err = {0};
    enum { N = 1003 };
    int64_t first[2][N];
    for (int run = 0; run < 3; run++) {
        made m = make(N, 64);
        sd_act_source src = source(&m);
        sd_shuffle *s;
        bool seen[N] = {false};
        int64_t got = 16, n = 0;
        float x[16 * D];
        t_ok(sd_shuffle_new(&s, 200, D, run == 2 ? 8 : 7, 0, &err), err);
        if (run == 1) { /* looking at what it will hold first changes nothing */
            sd_mat some;
            t_ok(sd_shuffle_fill(s, &src, INT64_MAX, &err), err);
            assert_int_equal(sd_shuffle_held(s), 200);
            t_ok(sd_shuffle_look(s, 50, &some, &err), err);
            assert_int_equal(some.rows, 50);
            for (int64_t i = 0; i < 50; i++) assert_int_equal(row_of(sd_mat_row(some, i)), 4 * i);
            sd_free(some.data);
            t_ok(sd_shuffle_look(s, 1000, &some, &err), err);
            assert_int_equal(some.rows, 200);
            sd_free(some.data);
        }
        while (got == 16) {
            t_ok(sd_shuffle_next(s, &src, INT64_MAX, sd_mat_of(x, 16, D), &got, &err), err);
            for (int64_t i = 0; i < got; i++) {
                const int64_t r = row_of(x + i * D);
                assert_true(r >= 0 && r < N && !seen[r]);
                seen[r] = true;
                if (run < 2) first[run][n] = r;
                else if (n < N) first[1][n] = r;
                n++;
            }
        }
        assert_int_equal(n, N);
        if (run == 1) assert_memory_equal(first[0], first[1], sizeof first[0]);
        if (run == 2) assert_memory_not_equal(first[0], first[1], sizeof first[0]);
        sd_shuffle_free(s);
        drop(&m);
    }
    /* Mixing: the mean distance in time between neighbours of the source is about the buffer's size (geometric: 200). */
    double gap = 0;
    int64_t when[N];
    for (int64_t i = 0; i < N; i++) when[first[0][i]] = i;
    for (int64_t r = 1; r < N; r++) gap += fabs((double)(when[r] - when[r - 1])) / (N - 1);
    assert_true(gap > 100);
}

/* What will be asked for is known: no row beyond it is read, whatever the buffer holds, and the rows are as many, each once. */
static void test_shuffle_reads_what_is_wanted(void **state)
{
    (void)state;
    sd_err err = {0};
    enum { N = 1000, BLOCK = 8, WANTED = 320 };
    static const int64_t cap[] = {1, 50, 320, 900};
    for (size_t c = 0; c < sizeof cap / sizeof *cap; c++) {
        made m = make(N, BLOCK);
        sd_act_source src = source(&m);
        sd_shuffle *s;
        bool seen[N] = {false};
        int64_t got, n = 0, apart = 0;
        float x[16 * D];
        t_ok(sd_shuffle_new(&s, cap[c], D, 7, 0, &err), err);
        for (int64_t left = WANTED; left > 0; left -= 16) {
            t_ok(sd_shuffle_next(s, &src, left, sd_mat_of(x, 16, D), &got, &err), err);
            assert_int_equal(got, 16);
            for (int64_t i = 0; i < got; i++, n++) {
                const int64_t r = row_of(x + i * D);
                assert_true(r >= 0 && r < WANTED && !seen[r]);
                seen[r] = true;
                apart += r != n;
            }
        }
        assert_int_equal(src.tell(src.self), WANTED);
        assert_true(cap[c] == 1 ? apart == 0 : apart > WANTED / 2);
        sd_shuffle_free(s);
        drop(&m);
    }
}

static void test_sinks_and_bad_rows(void **state)
{
    (void)state;
    sd_err err = {0};
    made m = make(400, 50);
    m.sink_every = 20;
    sd_act_source src = source(&m);
    sd_shuffle *s;
    float x[500 * D];
    int64_t got;
    t_ok(sd_shuffle_new(&s, 100, D, 1, 20000, &err), err);
    t_ok(sd_shuffle_next(s, &src, INT64_MAX, sd_mat_of(x, 500, D), &got, &err), err);
    assert_int_equal(got, 380);
    assert_int_equal(sd_shuffle_dropped(s), 20);
    for (int64_t i = 0; i < got; i++) assert_true(x[i * D] < 20000);
    sd_shuffle_free(s);
    drop(&m);
    static const float bad[] = {70000.0f, -INFINITY, NAN};
    for (int i = 0; i < 3; i++) {
        m = make(100, 30);
        m.bad = bad[i], m.bad_row = 72;
        src = source(&m);
        t_ok(sd_shuffle_new(&s, 90, D, 1, 0, &err), err);
        assert_int_equal(sd_shuffle_next(s, &src, INT64_MAX, sd_mat_of(x, 3, D), &got, &err), SD_E_FORMAT);
        assert_non_null(strstr(err.msg, "row 72"));
        sd_shuffle_free(s);
        drop(&m);
    }
}

/* Saved after any number of rows, loaded, gone on with: the same rows as without. */
static void test_resume(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[512];
    snprintf(path, sizeof path, "%s/shuffle.bin", dir);
    enum { N = 700, B = 13 };
    for (int stop = 0; stop < 45; stop += 11) {
        made a = make(N, 64), b = make(N, 64);
        a.sink_every = b.sink_every = 30;
        sd_act_source sa = source(&a), sb = source(&b);
        sd_shuffle *s, *t;
        float x[B * D], y[B * D];
        int64_t got, got2 = B;
        t_ok(sd_shuffle_new(&s, 120, D, 3, 9000, &err), err);
        for (int i = 0; i < stop; i++) t_ok(sd_shuffle_next(s, &sa, INT64_MAX, sd_mat_of(x, B, D), &got, &err), err);
        t_ok(sd_shuffle_save(s, path, &err), err);
        t_ok(sd_shuffle_load(&t, path, &err), err);
        t_ok(sb.seek(sb.self, sa.tell(sa.self), &err), err);
        while (got2 == B) {
            t_ok(sd_shuffle_next(s, &sa, INT64_MAX, sd_mat_of(x, B, D), &got, &err), err);
            t_ok(sd_shuffle_next(t, &sb, INT64_MAX, sd_mat_of(y, B, D), &got2, &err), err);
            assert_int_equal(got, got2);
            assert_memory_equal(x, y, (size_t)(got * D) * 4);
        }
        assert_int_equal(sd_shuffle_dropped(s), sd_shuffle_dropped(t));
        sd_shuffle_free(s), sd_shuffle_free(t);
        drop(&a), drop(&b);
    }
    t_ok(sd_file_write_atomic(path, "not a buffer at all, only text", 30, &err), err);
    sd_shuffle *s;
    assert_int_equal(sd_shuffle_load(&s, path, &err), SD_E_FORMAT);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_round_trip), T(test_plan_and_refusals), T(test_room_of_what_is_replaced), T(test_damage), T(test_shuffle_is_a_permutation), T(test_shuffle_reads_what_is_wanted), T(test_sinks_and_bad_rows), T(test_resume)};
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    if (sd_mem_live_blocks() != 0) return printf("%lld blocks left\n", (long long)sd_mem_live_blocks()), 1;
    return rc ? 1 : 0;
}
