/* Limits of control groups from a tree of files laid out as the kernel does it: the tightest on the way up counts. */
#include "base/sys_int.h"

#include "base/map.h"
#include "t.h"

static const char *dir;

static const char *in(const char *name)
{
    static char path[8][512];
    static int next;
    char *p = path[next++ & 7];
    assert_true(sd_path_join(p, 512, dir, name));
    return p;
}

static void put(const char *name, const char *text)
{
    sd_err err = {0};
    t_ok(sd_file_write_atomic(in(name), text, strlen(text), &err), err);
}

static int set_up(void **state)
{
    (void)state;
    dir = t_tmpdir();
    return sd_dir_make(in("root/a/b"), NULL) != SD_OK;
}

static int tear_down(void **state)
{
    (void)state;
    t_rmtree(dir);
    return 0;
}

static sd_sys_limits limits(void)
{
    return sd_sys__cgroup_limits(in("self"), in("root"));
}

static void no_limits(void **state)
{
    (void)state;
    sd_sys_limits l = limits(); /* nothing is there */
    assert_true(l.memory_bytes == UINT64_MAX && l.memory_left == UINT64_MAX && l.cpus == UINT64_MAX);
    put("self", "12:memory:/user\n1:name=systemd:/user\n"); /* version 1 alone */
    put("root/memory.max", "100\n");
    assert_true(limits().memory_bytes == UINT64_MAX);
    put("self", "0::/a/b\n");
    put("root/memory.max", "max\n");
    put("root/a/cpu.max", "max 100000\n");
    l = limits();
    assert_true(l.memory_bytes == UINT64_MAX && l.memory_left == UINT64_MAX && l.cpus == UINT64_MAX);
}

static void the_tightest_counts(void **state)
{
    (void)state;
    put("self", "1:cpu:/x\n0::/a/b\n");
    put("root/a/b/memory.max", "4000\n");
    put("root/a/b/memory.current", "1000\n");
    put("root/a/memory.max", "5000\n");
    put("root/a/memory.current", "4900\n");
    put("root/a/b/cpu.max", "250000 100000\n");
    put("root/a/cpu.max", "400000 100000\n");
    sd_sys_limits l = limits();
    assert_int_equal(l.memory_bytes, 4000);
    assert_int_equal(l.memory_left, 100);
    assert_int_equal(l.cpus, 3);
    /* File cache is used memory that can be had back. */
    put("root/a/memory.stat", "anon 100\nactive_file 1500\nfile_mapped 9\ninactive_file 2000\n");
    assert_int_equal(limits().memory_left, 3000); /* the inner group's */
    put("root/a/memory.stat", "inactive_file 1000\nactive_file 500\n");
    assert_int_equal(limits().memory_left, 1600);
    put("root/a/memory.stat", "anon 4900\n");
    put("root/a/memory.current", "5100\n"); /* over its limit, as it may be for a moment */
    put("root/a/cpu.max", "20000 100000\n");
    l = limits();
    assert_int_equal(l.memory_left, 0);
    assert_int_equal(l.cpus, 1);
    put("self", "0::/a\n"); /* the group below is not asked */
    assert_int_equal(limits().memory_bytes, 5000);
    put("self", "0::/\n"); /* as seen from inside a container */
    put("root/memory.max", "3000\n");
    l = limits();
    assert_int_equal(l.memory_bytes, 3000);
    assert_int_equal(l.memory_left, 3000);
    assert_true(l.cpus == UINT64_MAX);
}

static void reads_small_files(void **state)
{
    (void)state;
    char t[6];
    put("long", "0123456789");
    assert_true(sd_sys__read_small(in("long"), t, sizeof t));
    assert_string_equal(t, "01234");
    assert_false(sd_sys__read_small(in("none"), t, sizeof t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(no_limits), T(the_tightest_counts), T(reads_small_files)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
