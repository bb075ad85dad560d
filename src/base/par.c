/* Chunks over OpenMP. Which worker takes which chunk is left to chance, on purpose: what a chunk computes may
 * not depend on it, and then the order in time changes no bit. */
#include "base/par.h"

#include "base/err.h"
#include "base/sys_int.h"

#include <omp.h>
#include <sched.h>
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
