/* Blocks: alignment, counting, the failure hook, the guard, arenas; what the machine says about itself. */
#include "base/mem.h"

#include "t.h"

#include <signal.h>
#include <sys/wait.h>

static bool aligned(const void *p)
{
    return (uintptr_t)p % SD_ALIGN == 0;
}

static void blocks_are_aligned_and_counted(void **state)
{
    (void)state;
    /* Either side of the size from which zeroed memory comes straight from the kernel. */
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, (128 << 10) - 1, 128 << 10, (1 << 20) + 7};
    int64_t blocks = sd_mem_live_blocks(), bytes = sd_mem_live_bytes();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *p = sd_malloc(sizes[i]), *z = sd_calloc(sizes[i]);
        assert_true(p && z && aligned(p) && aligned(z));
        assert_int_equal(sd_mem_live_blocks(), blocks + 2);
        assert_int_equal(sd_mem_live_bytes(), bytes + 2 * (int64_t)sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(z[j], 0);
        memset(p, 0xa5, sizes[i]);
        memset(z, 0x5a, sizes[i]);
        p = sd_realloc(p, sizes[i] + 1000);
        assert_true(p && aligned(p));
        for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(p[j], 0xa5);
        z = sd_realloc(z, sizes[i] / 2);
        assert_true(z && aligned(z));
        for (size_t j = 0; j < sizes[i] / 2; j++) assert_int_equal(z[j], 0x5a);
        sd_free(p);
        sd_free(z);
    }
    sd_free(NULL);
    sd_free(sd_realloc(NULL, 10));
    assert_int_equal(sd_mem_live_blocks(), blocks);
    assert_int_equal(sd_mem_live_bytes(), bytes);
}

static void wide_blocks(void **state)
{
    enum { LARGE_PAGES = (2 << 20) };
    const size_t n = 3 * LARGE_PAGES + 5, sizes[] = {1, 70, n};
    const int64_t before = sd_mem_live_bytes();
    sd_err err = {0};
    sd_arena a;
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int round = 0; round < 2; round++) { /* the second may be given what the first one wrote */
            uint8_t *p;
            t_ok(sd_alloc_wide_zero(&p, sizes[i], "a test", &err), err);
            assert_int_equal((uintptr_t)p % LARGE_PAGES, 0);
            for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(p[k], 0);
            memset(p, 7, sizes[i]);
            sd_free(p);
        }
    t_ok(sd_arena_init_wide(&a, n, "a test", &err), err);
    assert_int_equal((uintptr_t)a.base % LARGE_PAGES, 0);
    assert_int_equal(a.size, n);
    assert_int_equal(sd_mem_live_bytes() - before, n);
    sd_arena_release(&a);
    assert_int_equal(sd_arena_init_wide(&a, SIZE_MAX - 10, "a test", &err), SD_E_NOMEM);
    assert_null(a.base);
    assert_int_equal(sd_mem_live_bytes(), before);
}

static void strings_are_copied(void **state)
{
    (void)state;
    char *a = sd_strdup("abc"), *b = sd_strndup("abcdef", 2), *c = sd_strndup("ab", 9), *d = sd_strdup("");
    assert_string_equal(a, "abc");
    assert_string_equal(b, "ab");
    assert_string_equal(c, "ab");
    assert_string_equal(d, "");
    sd_free(a);
    sd_free(b);
    sd_free(c);
    sd_free(d);
}

static void impossible_sizes_fail(void **state)
{
    (void)state;
    assert_null(sd_malloc(SIZE_MAX));
    assert_null(sd_malloc(SIZE_MAX - 64));
    assert_null(sd_calloc(SIZE_MAX - 1));
    void *p = sd_malloc(8);
    assert_null(sd_realloc(p, SIZE_MAX - 200));
    memset(p, 1, 8); /* still ours */
    sd_free(p);
    sd_err err = {0};
    assert_int_equal(sd_alloc(&p, SIZE_MAX, "the key-value cache", &err), SD_E_NOMEM);
    assert_null(p);
    assert_non_null(strstr(err.msg, "for the key-value cache"));
    assert_true(err.hint[0] != '\0');
}

static void checked_arithmetic(void **state)
{
    (void)state;
    size_t v;
    assert_true(sd_mul_size(SIZE_MAX, 1, &v) && v == SIZE_MAX);
    assert_true(sd_mul_size((size_t)1 << 32, ((size_t)1 << 32) - 1, &v));
    assert_false(sd_mul_size((size_t)1 << 32, (size_t)1 << 32, &v));
    assert_true(sd_mul_size(0, SIZE_MAX, &v) && v == 0);
    assert_true(sd_add_size(SIZE_MAX, 0, &v));
    assert_false(sd_add_size(SIZE_MAX, 1, &v));
}

static void the_nth_request_fails(void **state)
{
    (void)state;
    sd_mem_fail_nth(3);
    void *a = sd_malloc(1), *b = sd_calloc(1), *c = sd_malloc(1), *d = sd_malloc(1);
    assert_true(a && b && d);
    assert_null(c);
    assert_int_equal(sd_mem_fail_nth(1), 4);
    assert_null(sd_realloc(a, 10));
    assert_null(sd_mem_fail_nth(0) == 1 ? NULL : "one request was made");
    sd_free(a);
    sd_free(b);
    sd_free(d);
}

/* What a child process that does fn ends with: its signal, or 0. */
static int signal_of(void (*fn)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(1);
        signal(SIGABRT, SIG_DFL); /* cmocka has its own */
        fn();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void allocate_under_guard(void)
{
    sd_alloc_guard_begin("a step");
    sd_free(sd_malloc(1));
    sd_alloc_guard_end();
}

static void allocate_after_guard(void)
{
    sd_alloc_guard_begin("a step");
    sd_alloc_guard_begin("a part of it");
    sd_alloc_guard_end();
    sd_alloc_guard_end();
    sd_free(sd_malloc(1));
}

static void allocate_in_inner_rest(void)
{
    sd_alloc_guard_begin("a step");
    sd_alloc_guard_begin("a part of it");
    sd_alloc_guard_end();
    sd_free(sd_malloc(1)); /* the outer guard still stands */
}

static void free_a_stray_pointer(void)
{
    static uint64_t bytes[32];
    sd_free(bytes + 16);
}

static void unbalanced_guard(void)
{
    sd_alloc_guard_end();
}

static void overfull_arena(void)
{
    sd_arena a;
    if (sd_arena_init(&a, 128, "test", NULL)) return;
    sd_arena_push(&a, 64);
    sd_arena_push(&a, 65);
}

static void programming_errors_abort(void **state)
{
    (void)state;
#ifdef SD_DEV
    assert_int_equal(signal_of(allocate_under_guard), SIGABRT);
    assert_int_equal(signal_of(allocate_in_inner_rest), SIGABRT);
#endif
    assert_int_equal(signal_of(allocate_after_guard), 0);
    assert_int_equal(signal_of(free_a_stray_pointer), SIGABRT);
    assert_int_equal(signal_of(unbalanced_guard), SIGABRT);
    assert_int_equal(signal_of(overfull_arena), SIGABRT);
}

static void arenas(void **state)
{
    (void)state;
    sd_arena a;
    sd_err err = {0};
    size_t total = sd_arena_need(1) + sd_arena_need(64) + sd_arena_need(65);
    assert_int_equal(total, 64 + 64 + 128);
    t_ok(sd_arena_init(&a, total, "test", &err), err);
    uint8_t *p = sd_arena_push(&a, 1);
    size_t mark = sd_arena_mark(&a);
    uint8_t *q = sd_arena_push(&a, 64), *r = sd_arena_push(&a, 65);
    assert_true(aligned(p) && q == p + 64 && r == q + 64);
    memset(r, 1, 65);
    assert_int_equal(a.peak, total);
    sd_arena_rewind(&a, mark);
    assert_ptr_equal(sd_arena_push(&a, 128), q);
    assert_int_equal(a.peak, total);
    sd_arena_release(&a);
    sd_arena_release(&a);
    sd_arena_release(NULL);
    /* A plan whose last block is not padded still holds that block. */
    t_ok(sd_arena_init(&a, 70, "test", &err), err);
    sd_arena_push(&a, 64);
    memset(sd_arena_push(&a, 6), 1, 6);
    assert_int_equal(a.used, 70);
    sd_arena_release(&a);
}

static void the_machine_is_asked(void **state)
{
    (void)state;
    sd_mem_info m = sd_mem_query();
    assert_true(m.total > (uint64_t)64 << 20);
    assert_true(m.available > 0 && m.available <= m.total);
    assert_true(m.rss > 100000 && m.rss <= m.rss_peak);
    uint8_t *p = sd_malloc((size_t)32 << 20);
    assert_non_null(p);
    memset(p, 1, (size_t)32 << 20);
    assert_true(sd_mem_query().rss > m.rss + ((uint64_t)24 << 20));
    sd_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(blocks_are_aligned_and_counted),
        T(wide_blocks),
        T(strings_are_copied),
        T(impossible_sizes_fail),
        T(checked_arithmetic),
        T(the_nth_request_fails),
        T(programming_errors_abort),
        T(arenas),
        T(the_machine_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
