/* A disk that is full at the 1st, 2nd, .. write or fsync, a limit on the size of files, a process killed while it
 * writes: what is at the name afterwards is the old file or the new one, whole. */
#include "base/map.h"

#include "t.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

static char dir[256], path[512];

enum { PIECE = 100000, PIECES = 12, TOTAL = PIECE * PIECES };
static uint8_t fresh[TOTAL];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", t_tmpdir());
    sd_path_join(path, sizeof path, dir, "weights");
    for (int i = 0; i < TOTAL; i++) fresh[i] = (uint8_t)((unsigned)i * 2654435761u >> 11);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    t_rmtree(dir);
    return 0;
}

static sd_status write_fresh(sd_err *err)
{
    sd_wfile *f;
    sd_status st = sd_wfile_open(&f, path, err);
    for (int i = 0; i < PIECES && !st; i++) {
        st = sd_wfile_write(f, fresh + i * PIECE, PIECE, err);
        if (st) {
            /* A failure sticks, whatever is tried afterwards. */
            assert_int_equal(sd_wfile_write(f, "x", 1, NULL), SD_E_IO);
            sd_wfile_abort(f);
        }
    }
    return st ? st : sd_wfile_commit(f, err);
}

/* 'o' when the old file is at the name, 'n' the new one, '-' none; anything else fails. */
static char what_is_there(void)
{
    sd_map m;
    sd_err err = {0};
    sd_status st = sd_map_open(&m, path, &err);
    if (st == SD_E_NOTFOUND) return '-';
    t_ok(st, err);
    char c = m.n == 3 && memcmp(m.p, "old", 3) == 0 ? 'o' : m.n == TOTAL && memcmp(m.p, fresh, TOTAL) == 0 ? 'n' : '?';
    sd_map_close(&m);
    if (c == '?') fail_msg("half a file");
    return c;
}

static int64_t files(void)
{
    sd_paths p;
    assert_int_equal(sd_dir_list(&p, dir, NULL), SD_OK);
    int64_t n = p.n;
    sd_paths_free(&p);
    return n;
}

static void fail_each(char before)
{
    int64_t blocks = sd_mem_live_blocks();
    for (int n = 1;; n++) {
        sd_err err = {0};
        unlink(path);
        if (before == 'o') t_ok(sd_file_write_atomic(path, "old", 3, &err), err);
        sd_file_fail_nth(n);
        sd_status st = write_fresh(&err);
        int64_t made = sd_file_fail_nth(0);
        char after = what_is_there();
        assert_int_equal(files(), after == '-' ? 0 : 1);
        assert_int_equal(sd_mem_live_blocks(), blocks);
        if (st == SD_OK) {
            assert_int_equal(after, 'n');
            assert_int_equal(made, n - 1);
            assert_true(made >= 6); /* several writes, the file's fsync, the folder's */
            return;
        }
        assert_int_equal(st, SD_E_NOSPACE);
        if (!strstr(err.msg, path) || !strstr(err.msg, "the disk is full (") || !err.hint[0])
            fail_msg("%s / %s", err.msg, err.hint);
        /* Only the very last operation, the folder's fsync, comes after the rename. */
        if (after != before) assert_int_equal(after, 'n');
        sd_err again = {0};
        if (after == 'n') {
            sd_file_fail_nth(0);
            t_ok(write_fresh(&again), again);
            assert_int_equal(sd_file_fail_nth(0), n);
        }
    }
}

static void each_write_and_sync(void **state)
{
    (void)state;
    fail_each('-');
    fail_each('o');
}

/* The kernel's own refusal (EFBIG, with SIGXFSZ ignored) in the middle of the file, not the hook's. */
static void a_limit_of_the_system(void **state)
{
    (void)state;
    sd_err err = {0};
    struct rlimit old, limit;
    t_ok(sd_file_write_atomic(path, "old", 3, &err), err);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){TOTAL / 2 + 1234, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    sd_status st = write_fresh(&err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(st, SD_E_IO);
    assert_non_null(strstr(err.msg, path));
    assert_int_equal(what_is_there(), 'o');
    assert_int_equal(files(), 1);
}

/* The child writes in an endless loop and counts its rounds; it is killed at different places. */
static void killed_while_writing(void **state)
{
    (void)state;
    sd_err err = {0};
    volatile int *rounds = mmap(NULL, sizeof *rounds, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true((const void *)rounds != MAP_FAILED);
    for (int i = 0; i < 20; i++) {
        t_ok(sd_file_write_atomic(path, "old", 3, &err), err);
        *rounds = 0;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            sd_wfile *f;
            if (sd_wfile_open(&f, path, NULL)) _exit(1);
            for (int k = 0;; k++) {
                /* Never committed in the even cases: the old file must be there. */
                if (sd_wfile_write(f, fresh + k % PIECES * PIECE, PIECE, NULL)) _exit(1);
                *rounds = k + 1;
                if (i % 2 && k + 1 == PIECES && (sd_wfile_commit(f, NULL) || sd_wfile_open(&f, path, NULL))) _exit(1);
            }
        }
        int status;
        while (*rounds < 1 + i % 10 && waitpid(pid, &status, WNOHANG) == 0) usleep(100);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        char after = what_is_there();
        if (i % 2 == 0) assert_int_equal(after, 'o');
        assert_true(after == 'o' || after == 'n');
        /* What the killed one left beside it stands in nobody's way. */
        t_ok(write_fresh(&err), err);
        assert_int_equal(what_is_there(), 'n');
        t_rmtree(dir);
        t_ok(sd_dir_make(dir, &err), err);
    }
    munmap((void *)(uintptr_t)rounds, sizeof *rounds);
}

/* A file system of 256 kB that is really full, where the test may mount one. */
static void a_disk_that_is_full(void **state)
{
    (void)state;
    char disk[512], old_path[512];
    sd_err err = {0};
    snprintf(disk, sizeof disk, "%s/disk", dir);
    t_ok(sd_dir_make(disk, &err), err);
    if (mount("tmpfs", disk, "tmpfs", 0, "size=256k") != 0) t_skip("a small tmpfs cannot be mounted by this user");
    snprintf(old_path, sizeof old_path, "%s", path);
    sd_path_join(path, sizeof path, disk, "weights");
    sd_status made = sd_file_write_atomic(path, "old", 3, &err), st = write_fresh(&err);
    char after = what_is_there();
    sd_paths p = {0};
    sd_dir_list(&p, disk, NULL);
    int64_t n = p.n;
    sd_paths_free(&p);
    int unmounted = umount2(disk, MNT_DETACH);
    memcpy(path, old_path, sizeof path);
    assert_int_equal(unmounted, 0);
    assert_int_equal(made, SD_OK);
    assert_int_equal(st, SD_E_NOSPACE);
    if (!strstr(err.msg, "the disk is full (")) fail_msg("%s", err.msg);
    assert_int_equal(after, 'o');
    assert_int_equal(n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_write_and_sync),
        T(a_limit_of_the_system),
        T(killed_while_writing),
        T(a_disk_that_is_full),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
