/* Files that appear whole: nothing is seen before commit, abort leaves nothing, modes are kept, errors name the path.
 * What happens when writes fail is in tests/fault/base. */
#include "base/map.h"

#include "t.h"

#include <sys/stat.h>
#include <sys/wait.h>

static const char *dir;

static const char *in(const char *name)
{
    static char path[8][512];
    static int next;
    char *p = path[next++ & 7];
    assert_true(sd_path_join(p, 512, dir, name));
    return p;
}

static int set_up(void **state)
{
    (void)state;
    dir = t_tmpdir();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    t_rmtree(dir);
    return 0;
}

static int64_t files_in_dir(void)
{
    sd_paths p;
    assert_int_equal(sd_dir_list(&p, dir, NULL), SD_OK);
    int64_t n = p.n;
    sd_paths_free(&p);
    return n;
}

static void private_files(void **state)
{
    (void)state;
    struct stat st;
    sd_err err = {0};
    const char *path = in("secret");
    t_ok(sd_file_write_atomic(path, "old", 3, &err), err);
    assert_int_equal(chmod(path, 0644), 0);
    t_ok(sd_file_write_private(path, "new", 3, &err), err);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void nothing_before_commit(void **state)
{
    (void)state;
    sd_wfile *f;
    sd_err err = {0};
    int64_t blocks = sd_mem_live_blocks();
    t_ok(sd_wfile_open(&f, in("a"), &err), err);
    t_ok(sd_wfile_write(f, "one", 3, &err), err);
    assert_int_equal(sd_wfile_tell(f), 3);
    assert_false(sd_file_exists(in("a")));
    t_ok(sd_wfile_commit(f, &err), err);
    assert_true(sd_file_exists(in("a")));
    t_ok(sd_wfile_open(&f, in("a"), &err), err);
    t_ok(sd_wfile_write(f, "two", 3, &err), err);
    sd_wfile_abort(f);
    sd_wfile_abort(NULL);
    sd_buf b;
    sd_buf_init(&b, 100);
    t_ok(sd_file_read(&b, in("a"), &err), err);
    assert_string_equal(sd_buf_str(&b), "one");
    sd_buf_release(&b);
    assert_int_equal(files_in_dir(), 1);
    assert_int_equal(sd_mem_live_blocks(), blocks);
}

static void every_size_of_piece(void **state)
{
    (void)state;
    /* Below, at and above the buffer of 256 KiB; all of the pieces' bytes arrive in order. */
    static const size_t sizes[] = {1, 0, 7, (1 << 18) - 8, 1, 1 << 18, (1 << 18) + 1, 100000, 900000, 3};
    size_t total = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) total += sizes[i];
    uint8_t *want = malloc(total);
    for (size_t i = 0; i < total; i++) want[i] = (uint8_t)(i * 2654435761u >> 13);
    sd_wfile *f;
    sd_err err = {0};
    t_ok(sd_wfile_open(&f, in("pieces"), &err), err);
    size_t at = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        t_ok(sd_wfile_write(f, want + at, sizes[i], &err), err);
        at += sizes[i];
        assert_int_equal(sd_wfile_tell(f), at);
    }
    t_ok(sd_wfile_commit(f, &err), err);
    sd_map m;
    t_ok(sd_map_open(&m, in("pieces"), &err), err);
    assert_int_equal(m.n, total);
    assert_memory_equal(m.p, want, total);
    sd_map_close(&m);
    free(want);
    t_ok(sd_file_write_atomic(in("nothing"), "", 0, &err), err);
    assert_true(sd_file_exists(in("nothing")));
}

static void modes_are_kept(void **state)
{
    (void)state;
    struct stat s;
    sd_err err = {0};
    mode_t old = umask(022);
    t_ok(sd_file_write_atomic(in("m"), "1", 1, &err), err);
    assert_int_equal(stat(in("m"), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0644);
    assert_int_equal(chmod(in("m"), 0600), 0);
    t_ok(sd_file_write_atomic(in("m"), "2", 1, &err), err);
    assert_int_equal(stat(in("m"), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    umask(old);
}

static void two_writers_of_one_name(void **state)
{
    (void)state;
    sd_wfile *f, *g;
    sd_err err = {0};
    sd_buf b;
    t_ok(sd_wfile_open(&f, in("both"), &err), err);
    t_ok(sd_wfile_open(&g, in("both"), &err), err);
    t_ok(sd_wfile_write(f, "first", 5, &err), err);
    t_ok(sd_wfile_write(g, "second", 6, &err), err);
    t_ok(sd_wfile_commit(f, &err), err);
    t_ok(sd_wfile_commit(g, &err), err);
    sd_buf_init(&b, 100);
    t_ok(sd_file_read(&b, in("both"), &err), err);
    assert_string_equal(sd_buf_str(&b), "second");
    sd_buf_release(&b);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    sd_wfile *f;
    sd_err err = {0};
    int64_t blocks = sd_mem_live_blocks(), files = files_in_dir();
    assert_int_equal(sd_wfile_open(&f, in("none/a"), &err), SD_E_NOTFOUND);
    assert_null(f);
    assert_non_null(strstr(err.msg, "its folder is not there"));
    assert_int_equal(sd_wfile_open(&f, dir, &err), SD_E_IO);
    assert_non_null(strstr(err.msg, "it is a folder"));
    assert_int_equal(sd_wfile_open(&f, "/proc/a", &err), SD_E_NOTFOUND);
    char name[4000];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(sd_wfile_open(&f, name, &err), SD_E_IO);
    assert_int_equal(files_in_dir(), files);
    assert_int_equal(sd_mem_live_blocks(), blocks);
}

static void touch(const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

/* A process number that was in use a moment ago and is not any more. */
static long dead_process(void)
{
    pid_t child = fork();
    if (child == 0) _exit(0);
    assert_true(child > 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return (long)child;
}

static void stale_files_go(void **state)
{
    (void)state;
    char left[6][64];
    sd_err err = {0};
    long dead = dead_process();
    snprintf(left[0], 64, "stale.tmp.%ld.0", dead);
    snprintf(left[1], 64, "stale.tmp.%ld.12", dead);
    snprintf(left[2], 64, "stale.tmp.%ld.0", (long)getppid()); /* another writer */
    snprintf(left[3], 64, "stale.tmp.%ld.0.txt", dead);        /* the rest are nobody's temporary files */
    snprintf(left[4], 64, "stale.tmp.%ld", dead);
    snprintf(left[5], 64, "stale2.tmp.%ld.0", dead);
    for (int i = 0; i < 6; i++) touch(in(left[i]));
    t_ok(sd_file_write_atomic(in("stale"), "x", 1, &err), err);
    for (int i = 0; i < 6; i++) assert_int_equal(sd_file_exists(in(left[i])), i >= 2);
    for (int i = 2; i < 6; i++) unlink(in(left[i]));
}

/* A rename would put a plain file in the place of a device or a pipe. */
static void only_plain_files_are_replaced(void **state)
{
    (void)state;
    sd_err err = {0};
    struct stat s;
    assert_int_equal(mkfifo(in("pipe"), 0600), 0);
    assert_int_equal(sd_file_write_atomic(in("pipe"), "x", 1, &err), SD_E_IO);
    assert_non_null(strstr(err.msg, "not a regular file"));
    assert_int_equal(stat(in("pipe"), &s), 0);
    assert_true(S_ISFIFO(s.st_mode));
    unlink(in("pipe"));
}

static void in_the_working_folder(void **state)
{
    (void)state;
    char was[4096];
    sd_err err = {0};
    assert_non_null(getcwd(was, sizeof was));
    assert_int_equal(chdir(dir), 0);
    t_ok(sd_file_write_atomic("plain-name", "x", 1, &err), err);
    assert_true(sd_file_exists("plain-name"));
    assert_int_equal(chdir(was), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(nothing_before_commit), T(private_files),   T(every_size_of_piece), T(modes_are_kept),
        T(two_writers_of_one_name), T(says_what_is_wrong),  T(in_the_working_folder),
        T(stale_files_go),          T(only_plain_files_are_replaced),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
