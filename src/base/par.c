/* Chunks over a pool of threads. Which worker takes which chunk is left to chance, on purpose: what a chunk computes may
 * not depend on it, and then the order in time changes no bit.
 *
 * Why not an OpenMP region: its end is a barrier of threads, ours is a count of chunks. On a machine that does other work too,
 * a thread that is not on a CPU at that moment has taken no chunk here and nobody waits for it, while a barrier waits a time
 * slice, and a token has two hundred regions (210 products of SmolLM2-135M beside two busy processes, two threads on two CPUs:
 * 16-760 ms with libgomp, 3-9 ms so; alone both 2.1 ms). A caller that finds the pool in use by another thread works alone.
 *
 * oneDNN keeps to one thread inside a chunk: its OpenMP setting is 1 there, so there is no second pool. */
#include "base/par.h"

#include "base/err.h"
#include "base/sys_int.h"

#include <linux/futex.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    MAX_WORKERS = 1023, /* beside the caller; sd_exec allows 1024 threads */
    IDLE_SPINS = 2000,  /* 30-60 us, the gap between two products of a token, before a worker sleeps */
    END_SPINS = 500,    /* then the caller yields, perhaps to the worker it waits for */
};

/* One job at a time, owned by the thread that holds `lock`. `ticket` is generation << 32 | chunks not yet taken: a worker takes
 * a chunk by counting it down, which fails when the job has ended meanwhile, so that whatever it had read of an old job is
 * never used. Fields are atomic because such a late worker may read them while the next job is written. */
static struct {
    pthread_mutex_t lock;
    _Atomic uint64_t ticket;
    _Atomic uint32_t generation; /* workers sleep on it */
    _Atomic int64_t done, n, chunk;
    _Atomic(sd_par_fn) fn;
    _Atomic(void *) arg;
    _Atomic int team, sleepers;
    _Atomic uint32_t n_chunks;
    int n_workers;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local int worker_id;  /* 0: not of the pool */
static _Thread_local bool in_chunk;

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static inline void run_chunk(sd_par_fn fn, void *arg, int64_t c, int64_t n_chunks, int64_t chunk, int64_t n)
{
    fn(arg, c, c * chunk, c + 1 < n_chunks ? (c + 1) * chunk : n);
}

static void take_chunks(uint32_t generation)
{
    for (;;) {
        uint64_t t = atomic_load_explicit(&pool.ticket, memory_order_acquire);
        if ((uint32_t)(t >> 32) != generation || (uint32_t)t == 0) return;
        sd_par_fn fn = atomic_load_explicit(&pool.fn, memory_order_relaxed);
        void *arg = atomic_load_explicit(&pool.arg, memory_order_relaxed);
        int64_t n = atomic_load_explicit(&pool.n, memory_order_relaxed);
        int64_t chunk = atomic_load_explicit(&pool.chunk, memory_order_relaxed);
        uint32_t n_chunks = atomic_load_explicit(&pool.n_chunks, memory_order_relaxed);
        if (!atomic_compare_exchange_strong_explicit(&pool.ticket, &t, t - 1, memory_order_acq_rel, memory_order_relaxed)) continue;
        run_chunk(fn, arg, (int64_t)(n_chunks - (uint32_t)t), n_chunks, chunk, n);
        atomic_fetch_add_explicit(&pool.done, 1, memory_order_release);
    }
}

/* Until the generation is no longer `seen`. */
static uint32_t await_job(uint32_t seen)
{
    for (int spins = 0;;) {
        uint32_t g = atomic_load_explicit(&pool.generation, memory_order_acquire);
        if (g != seen) return g;
        if (spins++ < IDLE_SPINS) {
            relax();
            continue;
        }
        atomic_fetch_add(&pool.sleepers, 1);
        (void)syscall(SYS_futex, &pool.generation, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        atomic_fetch_sub(&pool.sleepers, 1);
        spins = 0;
    }
}

static void *worker(void *arg)
{
    worker_id = (int)(intptr_t)arg;
    in_chunk = true; /* whatever runs here is a chunk: nested calls are serial */
    omp_set_num_threads(1);
    for (uint32_t seen = 0;;) {
        seen = await_job(seen);
        if (worker_id < atomic_load_explicit(&pool.team, memory_order_relaxed)) take_chunks(seen);
    }
    return NULL;
}

/* Workers up to `want`; fewer when the system refuses, which costs time only. Signals stay with the program's own threads. */
static void hire(int want)
{
    sigset_t all, old;
    pthread_attr_t attr;
    if (pool.n_workers >= want || pthread_attr_init(&attr) != 0) return;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    while (pool.n_workers < want && pool.n_workers < MAX_WORKERS) {
        pthread_t t;
        if (pthread_create(&t, &attr, worker, (void *)(intptr_t)(pool.n_workers + 1)) != 0) break;
        pool.n_workers++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
}

static void run_job(int team, int64_t n, int64_t chunk, uint32_t n_chunks, sd_par_fn fn, void *arg)
{
    uint32_t generation = atomic_load_explicit(&pool.generation, memory_order_relaxed) + 1;
    int spins = 0;
    hire(team - 1);
    atomic_store_explicit(&pool.fn, fn, memory_order_relaxed);
    atomic_store_explicit(&pool.arg, arg, memory_order_relaxed);
    atomic_store_explicit(&pool.n, n, memory_order_relaxed);
    atomic_store_explicit(&pool.chunk, chunk, memory_order_relaxed);
    atomic_store_explicit(&pool.n_chunks, n_chunks, memory_order_relaxed);
    atomic_store_explicit(&pool.team, team, memory_order_relaxed);
    atomic_store_explicit(&pool.done, 0, memory_order_relaxed);
    atomic_store_explicit(&pool.ticket, (uint64_t)generation << 32 | n_chunks, memory_order_release);
    atomic_store(&pool.generation, generation);
    if (atomic_load(&pool.sleepers) > 0) (void)syscall(SYS_futex, &pool.generation, FUTEX_WAKE_PRIVATE, team - 1, NULL, NULL, 0);
    take_chunks(generation);
    while (atomic_load_explicit(&pool.done, memory_order_acquire) < (int64_t)n_chunks) {
        if (spins++ < END_SPINS)
            relax();
        else
            (void)sched_yield();
    }
}

void sd_parallel_for(int n_threads, int64_t n, int64_t chunk, sd_par_fn fn, void *arg)
{
    SD_ASSERT(chunk >= 1);
    if (n <= 0) return;
    const int64_t n_chunks = n / chunk + (n % chunk != 0);
    const int team = n_chunks < n_threads ? (int)n_chunks : n_threads;
    const bool nested = in_chunk;
    const int omp_threads = omp_get_max_threads();
    if (!nested) omp_set_num_threads(1);
    in_chunk = true;
    if (team > 1 && !nested && n_chunks <= UINT32_MAX && pthread_mutex_trylock(&pool.lock) == 0) {
        run_job(team, n, chunk, (uint32_t)n_chunks, fn, arg);
        (void)pthread_mutex_unlock(&pool.lock);
    } else {
        for (int64_t c = 0; c < n_chunks; c++) run_chunk(fn, arg, c, n_chunks, chunk, n);
    }
    in_chunk = nested;
    if (!nested) omp_set_num_threads(omp_threads);
}

int sd_par_worker(void)
{
    return worker_id;
}

int sd_par_library_threads(int n)
{
    int before = omp_get_max_threads();
    omp_set_num_threads(n);
    return before;
}

int sd_par_hw_threads(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (n < 1) n = 1;
    uint64_t limit = sd_sys__cgroup_limits(SD_SYS_SELF, SD_SYS_ROOT).cpus;
    return limit < (uint64_t)n ? (int)limit : n;
}
