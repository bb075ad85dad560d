/* Memory, disk and process failing under the store: the old file or the new one, never half, nothing leaked. */
#include "../../unit/store/store_sample.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static bool is_whole(const char *path, sd_err *err)
{
    sd_store *s = NULL;
    if (sd_store_open(&s, path, err)) return false;
    bool ok = sd_store_get_info(s)->n_features == SAMPLE_M;
    for (int i = 0; i < SAMPLE_M && ok; i++) {
        sd_feature *f = NULL;
        ok = sd_store_feature(&f, s, i, 0, err) == SD_OK;
        sd_feature_free(f);
    }
    sd_store_close(s);
    return ok;
}

/* Every allocation of ours fails once, from the first to the last. */
static void memory_fails(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    int64_t blocks = sd_mem_live_blocks(), failures = 0;
    for (int64_t n = 1;; n++) {
        sd_store *s = NULL;
        sd_feature *f = NULL;
        sd_feature_list a = {0}, b = {0};
        unlink(path);
        sd_mem_fail_nth(n);
        sd_status st = sample_build(path, false, &err);
        if (!st) st = sd_store_open(&s, path, &err);
        if (!st) st = sd_store_feature(&f, s, 3, 0, &err);
        if (!st) st = sd_store_list(&a, s, &(sd_feature_query){0}, &err);
        if (!st) st = sd_store_search(&b, s, "golden gate number7", 30, &err);
        sd_mem_fail_nth(0);
        sd_feature_list_release(&a);
        sd_feature_list_release(&b);
        sd_feature_free(f);
        sd_store_close(s);
        assert_int_equal(sd_mem_live_blocks(), blocks);
        if (!st) break;
        failures++;
        if (st != SD_E_NOMEM) fail_msg("allocation %d: status %d: %s", (int)n, st, err.msg);
        assert_true(err.msg[0]);
        if (sd_file_exists(path)) assert_true(is_whole(path, &err));
    }
    assert_true(failures > 5);
    t_rmtree(dir);
}

/* Files of this child may not grow over `limit` bytes; 0 when the build failed as it should, with what was there untouched. */
static int build_with_limit(const char *path, rlim_t limit)
{
    sd_err err = {0};
    struct rlimit r = {limit, limit};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &r) != 0) return 2;
    sd_status st = sample_build(path, true, &err);
    if (!st) return 1;
    return st == SD_E_NOSPACE || st == SD_E_IO ? 0 : 3;
}

static void disk_fills(void **state)
{
    static const rlim_t limit[] = {0, 4096, 20000, 50000, 90000};
    (void)state;
    sd_err err = {0};
    sd_sha256 before, after;
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    char tmp[600];
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    t_ok(sample_build(path, false, &err), err);
    t_ok(sd_sha256_file(&before, path, NULL, &err), err);
    for (size_t i = 0; i < sizeof limit / sizeof *limit; i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0) _exit(build_with_limit(path, limit[i]));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_false(sd_file_exists(tmp));
        t_ok(sd_sha256_file(&after, path, NULL, &err), err);
        assert_memory_equal(before.b, after.b, 32);
    }
    t_rmtree(dir);
}

/* A builder killed at any moment leaves the old store, and the next one takes over its temporary file. */
static void builder_is_killed(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    t_ok(sample_build(path, false, &err), err);
    for (int i = 0; i < 12; i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            for (;;) sample_build(path, true, NULL);
        usleep((useconds_t)(2000 + 3700 * i));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!is_whole(path, &err)) fail_msg("after kill %d: %s", i, err.msg);
    }
    t_ok(sample_build(path, true, &err), err);
    assert_true(is_whole(path, &err));
    t_rmtree(dir);
}

/* A labeller killed in the middle: what it was told is written stays, each label is there whole or not at all, and the store opens for
 * reading and for writing. The child tells of each label through a pipe, and is killed while it writes a later one. */
static void labeller_is_killed(void **state)
{
    (void)state;
    enum { ROUNDS = 6 };
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    sd_store *s = NULL;
    sd_feature_list l;
    t_ok(sample_build(path, false, &err), err);
    for (int i = 0; i < ROUNDS; i++) {
        int status = 0, told[2];
        assert_int_equal(pipe(told), 0);
        pid_t pid = fork();
        if (pid == 0) {
            if (sd_store_edit(&s, path, NULL)) _exit(1);
            while (!sd_store_add_label(s, i, &(sd_label){.text = "zebra", .source = "human"}, NULL))
                if (write(told[1], "x", 1) != 1) break;
            _exit(2);
        }
        close(told[1]);
        char x;
        for (int k = 0; k <= i; k++) assert_int_equal(read(told[0], &x, 1), 1);
        usleep((useconds_t)(300 * i)); /* somewhere in the next one */
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        close(told[0]);
        assert_true(WIFSIGNALED(status));
        if (!is_whole(path, &err)) fail_msg("after kill %d: %s", i, err.msg);
    }
    t_ok(sd_store_edit(&s, path, &err), err);
    t_ok(sd_store_add_label(s, 30, &(sd_label){.text = "zebra", .source = "human"}, &err), err);
    t_ok(sd_store_search(&l, s, "zebra", 20, &err), err);
    assert_int_equal(l.n, ROUNDS + 1);
    for (int64_t i = 0; i < l.n; i++) {
        sd_feature *f = NULL;
        assert_string_equal(l.v[i].label, "zebra");
        t_ok(sd_store_feature(&f, s, l.v[i].stats.index, -1, &err), err);
        assert_true(f->n_label >= (l.v[i].stats.index == 30 ? 1 : l.v[i].stats.index + 1));
        sd_feature_free(f);
    }
    sd_feature_list_release(&l);
    sd_store_close(s);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(memory_fails), T(disk_fills), T(builder_is_killed), T(labeller_is_killed)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
