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
    MAX_WORKERS = 1023,   /* beside the caller; sd_exec allows 1024 threads */
    IDLE_SPINS = 2000,    /* 30-60 us, the gap between two products of a token, before a worker sleeps */
    END_SPINS = 500,      /* then the caller yields, perhaps to the worker it waits for */
    STEAL_SPINS = 40,     /* about a microsecond: the others are then late, not about to end */
    LINE = 128,           /* bytes between what different threads write: a cache line and the one that is fetched with it */
    COUNT_BITS = 20,      /* of a ticket; the rest is the generation: at 60,000 jobs a second it lasts four years */
    MOST_CHUNKS = (1 << COUNT_BITS) - 1, /* of a job; longer loops are several jobs */
};

/* One job at a time, owned by the thread that holds `lock`; all that a worker must read of it is one cache line. The chunks are
 * cut in one stretch a worker, so that what it reads lies in one piece (two threads that took alternate 11 KB of weights read 24 GB/s
 * where stretches give 31), and it counts them in a line of its own: on a machine whose CPUs share no cache a line that two
 * of them write costs 350 ns each time (709 ns there and back, two CPUs of an EPYC), as much as the product of a chunk. Who has
 * nothing left waits a moment for the others and then takes theirs.
 *
 * The generation is odd while the next job is written. A ticket is generation << COUNT_BITS | chunks not yet taken; one of an older generation is full. It is counted down by exchange,
 * which fails when the job has ended meanwhile (all its tickets are then empty and of its generation), so that whatever a late worker
 * had read of an old job is never used. `done` counts the chunks that a worker has run, of the generation in its upper bits. */
static struct {
    _Alignas(LINE) _Atomic uint64_t generation; /* workers sleep on its lower half */
    _Atomic(sd_par_fn) fn;
    _Atomic(void *) arg;
    _Atomic int64_t n, chunk, first; /* first: the chunk of the loop that is chunk 0 of this job */
    _Atomic uint32_t n_chunks;
    _Atomic int team;
    _Alignas(LINE) _Atomic int sleepers;
    _Alignas(LINE) pthread_mutex_t lock;
    int n_workers;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

typedef struct own_line { _Alignas(LINE) _Atomic uint64_t v; } own_line;
static own_line ticket[MAX_WORKERS + 1], done[MAX_WORKERS + 1];

static _Thread_local int worker_id;  /* 0: not of the pool */
static _Thread_local bool in_chunk;

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* The half of the generation that the kernel compares. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FUTEX_WORD ((void *)&pool.generation)
#else
#define FUTEX_WORD ((void *)((char *)&pool.generation + 4))
#endif

/* A worker's copy of the job. */
typedef struct job {
    uint64_t generation;
    sd_par_fn fn;
    void *arg;
    int64_t n, chunk, first;
    uint32_t n_chunks;
    int team;
} job;

/* false: the job has ended and another is being written. Every field is stored after the odd generation and loaded before the second
 * look at it. */
static bool read_job(job *j, uint64_t generation)
{
    *j = (job){.generation = generation,
                 .fn = atomic_load_explicit(&pool.fn, memory_order_acquire),
                 .arg = atomic_load_explicit(&pool.arg, memory_order_acquire),
                 .n = atomic_load_explicit(&pool.n, memory_order_acquire),
                 .chunk = atomic_load_explicit(&pool.chunk, memory_order_acquire),
                 .first = atomic_load_explicit(&pool.first, memory_order_acquire),
                 .n_chunks = atomic_load_explicit(&pool.n_chunks, memory_order_acquire),
                 .team = atomic_load_explicit(&pool.team, memory_order_acquire)};
    return atomic_load_explicit(&pool.generation, memory_order_acquire) == generation;
}

static inline void run_chunk(sd_par_fn fn, void *arg, int64_t c, int64_t chunk, int64_t n)
{
    fn(arg, c, c * chunk, chunk < n - c * chunk ? (c + 1) * chunk : n);
}

/* Runs what is left of a worker's chunks; how many. */
static uint32_t run_chunks_of(const job *j, int slot)
{
    const uint32_t begin = (uint32_t)((uint64_t)j->n_chunks * (uint64_t)slot / (uint64_t)j->team);
    const uint32_t total = (uint32_t)((uint64_t)j->n_chunks * ((uint64_t)slot + 1) / (uint64_t)j->team) - begin;
    uint32_t ran = 0;
    uint64_t t = atomic_load_explicit(&ticket[slot].v, memory_order_acquire);
    for (;;) {
        const uint64_t of = t >> COUNT_BITS;
        const uint32_t left = of == j->generation ? (uint32_t)(t & MOST_CHUNKS) : total;
        if (of > j->generation || left == 0) return ran;
        if (!atomic_compare_exchange_strong_explicit(&ticket[slot].v, &t, j->generation << COUNT_BITS | (left - 1), memory_order_acq_rel, memory_order_acquire))
            continue;
        t = j->generation << COUNT_BITS | (left - 1);
        run_chunk(j->fn, j->arg, j->first + begin + (total - left), j->chunk, j->n);
        ran++;
    }
}

static void tell_done(const job *j, int id, uint32_t ran)
{
    atomic_store_explicit(&done[id].v, j->generation << COUNT_BITS | ran, memory_order_release);
}

/* The chunks of all others; `ran` is what this worker has run before. */
static uint32_t run_others(const job *j, int id, uint32_t ran)
{
    for (int i = 1; i < j->team; i++) {
        const uint32_t more = run_chunks_of(j, (id + i) % j->team);
        if (more) tell_done(j, id, ran += more);
    }
    return ran;
}

static void work(uint64_t generation)
{
    job j;
    if (!read_job(&j, generation) || worker_id >= j.team) return;
    const uint32_t ran = run_chunks_of(&j, worker_id);
    tell_done(&j, worker_id, ran);
    for (int spins = 0; spins < STEAL_SPINS; spins++) {
        if (atomic_load_explicit(&pool.generation, memory_order_relaxed) != generation) return;
        relax();
    }
    (void)run_others(&j, worker_id, ran);
}

/* Until the generation is no longer `seen`. */
static uint64_t await_job(uint64_t seen)
{
    for (int spins = 0;;) {
        uint64_t g = atomic_load_explicit(&pool.generation, memory_order_acquire);
        if (g != seen && g % 2 == 0) return g;
        if (spins++ < IDLE_SPINS) {
            relax();
            continue;
        }
        atomic_fetch_add(&pool.sleepers, 1);
        (void)syscall(SYS_futex, FUTEX_WORD, FUTEX_WAIT_PRIVATE, (uint32_t)g, NULL, NULL, 0);
        atomic_fetch_sub(&pool.sleepers, 1);
        spins = 0;
    }
}

static void *worker(void *arg)
{
    worker_id = (int)(intptr_t)arg;
    in_chunk = true; /* whatever runs here is a chunk: nested calls are serial */
    omp_set_num_threads(1);
    for (uint64_t seen = 0;;) {
        seen = await_job(seen);
        work(seen);
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

/* Chunks of others than the caller that are done. */
static uint64_t done_by_others(uint64_t generation, int team)
{
    uint64_t sum = 0;
    for (int w = 1; w < team; w++) {
        const uint64_t d = atomic_load_explicit(&done[w].v, memory_order_acquire);
        if (d >> COUNT_BITS == generation) sum += d & MOST_CHUNKS;
    }
    return sum;
}

static void run_job(job j)
{
    int spins = 0;
    hire(j.team - 1);
    j.generation = atomic_load_explicit(&pool.generation, memory_order_relaxed) + 2;
    atomic_store_explicit(&pool.generation, j.generation - 1, memory_order_relaxed);
    atomic_store_explicit(&pool.fn, j.fn, memory_order_release);
    atomic_store_explicit(&pool.arg, j.arg, memory_order_release);
    atomic_store_explicit(&pool.n, j.n, memory_order_release);
    atomic_store_explicit(&pool.chunk, j.chunk, memory_order_release);
    atomic_store_explicit(&pool.first, j.first, memory_order_release);
    atomic_store_explicit(&pool.n_chunks, j.n_chunks, memory_order_release);
    atomic_store_explicit(&pool.team, j.team, memory_order_release);
    atomic_store(&pool.generation, j.generation);
    if (atomic_load(&pool.sleepers) > 0) (void)syscall(SYS_futex, FUTEX_WORD, FUTEX_WAKE_PRIVATE, j.team - 1, NULL, NULL, 0);
    uint32_t ran = run_chunks_of(&j, 0);
    while (ran + done_by_others(j.generation, j.team) < j.n_chunks) {
        if (spins < STEAL_SPINS)
            relax();
        else if (spins == STEAL_SPINS)
            ran = run_others(&j, 0, ran);
        else if (spins < END_SPINS)
            relax();
        else
            (void)sched_yield();
        spins++;
    }
}

static void run_alone(int64_t n, int64_t chunk, int64_t n_chunks, sd_par_fn fn, void *arg)
{
    for (int64_t c = 0; c < n_chunks; c++) run_chunk(fn, arg, c, chunk, n);
}

void sd_parallel_for(int n_threads, int64_t n, int64_t chunk, sd_par_fn fn, void *arg)
{
    SD_ASSERT(chunk >= 1);
    if (n <= 0) return;
    const int64_t n_chunks = n / chunk + (n % chunk != 0);
    const int most = n_threads < MAX_WORKERS + 1 ? n_threads : MAX_WORKERS + 1, team = n_chunks < most ? (int)n_chunks : most;
    const bool nested = in_chunk;
    const int omp_threads = omp_get_max_threads();
    if (!nested) omp_set_num_threads(1);
    in_chunk = true;
    if (team > 1 && !nested && pthread_mutex_trylock(&pool.lock) == 0) {
        for (int64_t c = 0; c < n_chunks; c += MOST_CHUNKS) {
            const int64_t here = n_chunks - c < MOST_CHUNKS ? n_chunks - c : MOST_CHUNKS;
            run_job((job){.fn = fn, .arg = arg, .n = n, .chunk = chunk, .first = c, .n_chunks = (uint32_t)here, .team = team});
        }
        (void)pthread_mutex_unlock(&pool.lock);
    } else {
        run_alone(n, chunk, n_chunks, fn, arg);
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
