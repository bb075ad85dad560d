/* Chunks: each index once, the same cuts for any number of threads, ordered sums equal bit for bit, nesting. */
#include "base/par.h"

#include "t.h"

#include <math.h>
#include <stdatomic.h>

enum { N_MAX = 1000 };

typedef struct tally {
    atomic_int hits[N_MAX];
    int64_t begin[N_MAX], end[N_MAX];
    atomic_int calls;
    int n_threads;
    atomic_int bad_worker;
} tally;

static void count(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    tally *t = arg;
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(&t->hits[i], 1);
    t->begin[chunk] = begin;
    t->end[chunk] = end;
    atomic_fetch_add(&t->calls, 1);
    int id = sd_par_worker();
    if (id < 0 || id >= t->n_threads) atomic_store(&t->bad_worker, 1);
}

static void each_index_once(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 2, 63, 64, 65, 999, 1000}, chunks[] = {1, 7, 64, 1000, 5000};
    static tally t;
    for (int threads = 0; threads <= 5; threads++)
        for (size_t a = 0; a < sizeof sizes / sizeof *sizes; a++)
            for (size_t b = 0; b < sizeof chunks / sizeof *chunks; b++) {
                int64_t n = sizes[a], chunk = chunks[b];
                memset(&t, 0, sizeof t);
                t.n_threads = threads < 1 ? 1 : threads;
                sd_parallel_for(threads, n, chunk, count, &t);
                assert_int_equal(t.calls, (n + chunk - 1) / chunk);
                for (int64_t i = 0; i < N_MAX; i++) assert_int_equal(t.hits[i], i < n);
                for (int64_t c = 0; c < t.calls; c++) {
                    assert_int_equal(t.begin[c], c * chunk);
                    assert_int_equal(t.end[c], (c + 1) * chunk < n ? (c + 1) * chunk : n);
                }
                assert_false(t.bad_worker);
            }
    sd_parallel_for(2, -5, 1, count, &t);
    assert_int_equal(sd_par_worker(), 0);
}

static float partial[N_MAX];

static void add_up(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)arg;
    float s = 0;
    for (int64_t i = begin; i < end; i++) s += sinf((float)i) * 1e3f;
    partial[chunk] = s;
}

static void ordered_sums_are_bit_equal(void **state)
{
    (void)state;
    float first = 0;
    for (int threads = 1; threads <= 4; threads++) {
        float sum = 0;
        sd_parallel_for(threads, 20000, 64, add_up, NULL);
        for (int c = 0; c < (20000 + 63) / 64; c++) sum += partial[c];
        if (threads == 1) first = sum;
        assert_memory_equal(&sum, &first, sizeof sum);
    }
}

static atomic_int inner_calls, inner_order_broken;

static void inner(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)begin;
    (void)end;
    int64_t *last = arg;
    if (chunk != *last + 1) atomic_store(&inner_order_broken, 1);
    *last = chunk;
    atomic_fetch_add(&inner_calls, 1);
}

static void outer(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)arg;
    (void)chunk;
    (void)begin;
    (void)end;
    int64_t last = -1;
    sd_parallel_for(4, 50, 1, inner, &last);
}

static void nested_calls_are_serial_and_in_order(void **state)
{
    (void)state;
    sd_parallel_for(3, 20, 1, outer, NULL);
    assert_int_equal(inner_calls, 1000);
    assert_false(inner_order_broken);
}

static void threads_of_the_machine(void **state)
{
    (void)state;
    int n = sd_par_hw_threads();
    assert_true(n >= 1 && n <= sysconf(_SC_NPROCESSORS_ONLN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_index_once),
        T(ordered_sums_are_bit_equal),
        T(nested_calls_are_serial_and_in_order),
        T(threads_of_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
