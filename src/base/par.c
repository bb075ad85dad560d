/* Chunks over OpenMP. Which worker takes which chunk is left to chance, on purpose: what a chunk computes may
 * not depend on it, and then the order in time changes no bit. */
#include "base/par.h"

#include "base/err.h"
#include "base/sys_int.h"

#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

void sd_parallel_for(int n_threads, int64_t n, int64_t chunk, sd_par_fn fn, void *arg)
{
    SD_ASSERT(chunk >= 1);
    if (n <= 0) return;
    int64_t n_chunks = n / chunk + (n % chunk != 0);
    if (n_threads <= 1 || n_chunks == 1 || omp_in_parallel()) {
        for (int64_t c = 0; c < n_chunks; c++) fn(arg, c, c * chunk, c + 1 < n_chunks ? (c + 1) * chunk : n);
        return;
    }
    int team = n_chunks < n_threads ? (int)n_chunks : n_threads;
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
    for (int64_t c = 0; c < n_chunks; c++) fn(arg, c, c * chunk, c + 1 < n_chunks ? (c + 1) * chunk : n);
}

int sd_par_worker(void)
{
    return omp_get_thread_num();
}

/* "QUOTA PERIOD" in microseconds: a group may use QUOTA / PERIOD CPUs. */
static void apply_quota(void *arg, const char *dir, const char *text)
{
    (void)dir;
    int *limit = arg;
    char *end;
    if (text[0] < '0' || text[0] > '9') return; /* "max" */
    uint64_t quota = strtoull(text, &end, 10), period = strtoull(end, NULL, 10);
    if (period == 0) return;
    uint64_t cpus = (quota + period - 1) / period;
    if (cpus < 1) cpus = 1;
    if (cpus < (uint64_t)*limit) *limit = (int)cpus;
}

int sd_par_hw_threads(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (n < 1) n = 1;
    sd_sys__cgroup_walk("cpu.max", apply_quota, &n);
    return n;
}
