/* Maps, whole reads, folders, listings: what they give, and that the sentence names the path and what is wrong. */
#include "base/map.h"

#include "t.h"

#include <sys/stat.h>

static const char *dir;

static const char *in(const char *name)
{
    static char path[8][512];
    static int next;
    char *p = path[next++ & 7];
    assert_true(sd_path_join(p, 512, dir, name));
    return p;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
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

static void maps_a_file(void **state)
{
    (void)state;
    sd_map m;
    sd_err err = {0};
    put(in("a"), "hello");
    t_ok(sd_map_open(&m, in("a"), &err), err);
    assert_int_equal(m.n, 5);
    assert_memory_equal(m.p, "hello", 5);
    sd_map_close(&m);
    sd_map_close(&m);
    sd_map_close(NULL);
}

static void refuses(const char *path, sd_status st, const char *words)
{
    sd_map m = {(const uint8_t *)"x", 1};
    sd_err err = {0};
    assert_int_equal(sd_map_open(&m, path, &err), st);
    assert_true(m.p == NULL && m.n == 0);
    if (!strstr(err.msg, words) || !strstr(err.msg, path)) fail_msg("%s", err.msg);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    put(in("empty"), "");
    assert_int_equal(mkdir(in("folder"), 0777), 0);
    assert_int_equal(mkfifo(in("pipe"), 0666), 0);
    refuses(in("empty"), SD_E_FORMAT, "is empty");
    refuses(in("none"), SD_E_NOTFOUND, "No such file");
    refuses(in("folder"), SD_E_IO, "it is a folder");
    refuses("/dev/null", SD_E_IO, "not a regular file");
    refuses(in("empty/below"), SD_E_IO, "Not a directory");
}

static void reads_whole_files(void **state)
{
    (void)state;
    sd_buf b;
    sd_err err = {0};
    int64_t blocks = sd_mem_live_blocks();
    sd_buf_init(&b, 200000);
    char *text = malloc(200002);
    memset(text, 'x', 200001);
    text[200000] = '\0';
    put(in("big"), text);
    t_ok(sd_file_read(&b, in("big"), &err), err);
    assert_int_equal(b.n, 200000);
    assert_memory_equal(b.p, text, 200000);
    text[200000] = 'x';
    text[200001] = '\0';
    put(in("bigger"), text);
    free(text);
    assert_int_equal(sd_file_read(&b, in("bigger"), &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "larger than the 200.0 kB"));
    put(in("empty"), "");
    t_ok(sd_file_read(&b, in("empty"), &err), err);
    assert_int_equal(b.n, 0);
    t_ok(sd_file_read(&b, "/proc/self/status", &err), err); /* says that its size is 0 */
    assert_true(b.n > 100);
    assert_int_equal(sd_file_read(&b, "/dev/zero", &err), SD_E_FORMAT); /* never ends */
    assert_int_equal(sd_file_read(&b, dir, &err), SD_E_IO);
    assert_int_equal(sd_file_read(&b, in("none"), &err), SD_E_NOTFOUND);
    sd_buf_release(&b);
    assert_int_equal(sd_mem_live_blocks(), blocks);
}

static void folders(void **state)
{
    (void)state;
    sd_err err = {0};
    t_ok(sd_dir_make(in("x/y/z"), &err), err);
    t_ok(sd_dir_make(in("x/y/z/"), &err), err);
    assert_true(sd_dir_exists(in("x/y/z")) && !sd_file_exists(in("x/y/z")));
    put(in("x/file"), "1");
    assert_true(sd_file_exists(in("x/file")) && !sd_dir_exists(in("x/file")));
    assert_int_equal(sd_dir_make(in("x/file"), &err), SD_E_IO);
    assert_non_null(strstr(err.msg, "is a file"));
    /* What mkdir said is told, not what was looked for afterwards. */
    assert_int_equal(symlink("nowhere", in("dangling")), 0);
    assert_int_equal(sd_dir_make(in("dangling"), &err), SD_E_IO);
    assert_null(strstr(err.msg, "No such file"));
    assert_int_equal(sd_dir_make(in("x/file/below"), &err), SD_E_IO);
    assert_int_equal(sd_dir_make("", &err), SD_E_ARG);
    assert_int_equal(sd_dir_make("/proc/sonde-cannot-be-made", &err), SD_E_NOTFOUND);
    assert_false(sd_file_exists(in("none")) || sd_dir_exists(in("none")));
}

static void listings(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_paths p;
    int64_t blocks = sd_mem_live_blocks();
    t_ok(sd_dir_make(in("l/b/c"), &err), err);
    t_ok(sd_dir_make(in("l/.hidden"), &err), err);
    t_ok(sd_dir_make(in("l/none"), &err), err);
    put(in("l/z.txt"), "1");
    put(in("l/a.txt"), "1");
    put(in("l/.dot"), "1");
    put(in("l/b/c/d.txt"), "1");
    put(in("l/.hidden/e.txt"), "1");
    assert_int_equal(symlink("..", in("l/b/up")), 0); /* a cycle */
    assert_int_equal(symlink("../a.txt", in("l/b/link")), 0);
    assert_int_equal(symlink("nowhere", in("l/b/dead")), 0);
    t_ok(sd_dir_list(&p, in("l"), &err), err);
    static const char *const want[] = {"l/a.txt", "l/b/c/d.txt", "l/b/link", "l/z.txt"};
    assert_int_equal(p.n, 4);
    for (int i = 0; i < 4; i++) assert_string_equal(p.v[i], in(want[i]));
    sd_paths_free(&p);
    sd_paths_free(&p);
    sd_paths_free(NULL);
    t_ok(sd_dir_list(&p, in("l/none"), &err), err);
    assert_int_equal(p.n, 0);
    sd_paths_free(&p);
    for (int i = 0; i < 300; i++) {
        char name[32];
        snprintf(name, sizeof name, "l/none/%03d", 299 - i);
        put(in(name), "1");
    }
    t_ok(sd_dir_list(&p, in("l/none/"), &err), err);
    assert_int_equal(p.n, 300);
    for (int64_t i = 1; i < 300; i++) assert_true(strcmp(p.v[i - 1], p.v[i]) < 0);
    sd_paths_free(&p);
    assert_int_equal(sd_dir_list(&p, in("nowhere"), &err), SD_E_NOTFOUND);
    assert_int_equal(sd_dir_list(&p, in("l/a.txt"), &err), SD_E_IO);
    assert_int_equal(sd_mem_live_blocks(), blocks);
}

static void forgets_what_was_read(void **state)
{
    (void)state;
    enum { N = 32 << 20 };
    sd_err err;
    sd_map m;
    sd_wfile *f;
    t_ok(sd_wfile_open(&f, in("large"), &err), err);
    static uint8_t piece[1 << 16];
    for (int i = 0; i < N >> 16; i++) {
        memset(piece, i, sizeof piece);
        t_ok(sd_wfile_write(f, piece, sizeof piece, &err), err);
    }
    t_ok(sd_wfile_commit(f, &err), err);
    t_ok(sd_map_open(&m, in("large"), &err), err);
    uint64_t sum = 0;
    for (size_t i = 0; i < m.n; i += 512) sum += m.p[i];
    const uint64_t read = sd_mem_query().rss;
    sd_map_forget(&m);
    const uint64_t left = sd_mem_query().rss;
    if (left + (N * 3ull) / 4 > read) fail_msg("%llu bytes resident of %llu", (unsigned long long)left, (unsigned long long)read);
    for (size_t i = 0; i < m.n; i += 512) sum -= m.p[i];
    assert_int_equal(sum, 0);
    sd_map_close(&m);
    sd_map_forget(&m);
}

static void free_space(void **state)
{
    (void)state;
    uint64_t here = sd_disk_free(dir);
    assert_true(here > 0);
    assert_true(sd_disk_free(in("not/yet/there")) > 0);
    assert_true(sd_disk_free("not/yet/there") > 0);
    assert_true(sd_disk_free("there") > 0 && sd_disk_free("/there") > 0 && sd_disk_free("/") > 0 &&
                sd_disk_free("") > 0);
}

static void joins(void **state)
{
    (void)state;
    char p[8];
    assert_true(sd_path_join(p, sizeof p, "ab", "c"));
    assert_string_equal(p, "ab/c");
    assert_true(sd_path_join(p, sizeof p, "ab/", "c"));
    assert_string_equal(p, "ab/c");
    assert_true(sd_path_join(p, sizeof p, "", "c"));
    assert_string_equal(p, "c");
    assert_true(sd_path_join(p, sizeof p, "abc", "def"));
    assert_false(sd_path_join(p, sizeof p, "abc", "defg"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(maps_a_file), T(forgets_what_was_read), T(says_what_is_wrong), T(reads_whole_files), T(folders), T(listings), T(free_space), T(joins),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
