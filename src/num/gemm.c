/* sd_gemm_nt over oneDNN, 2.x and 3.x (gemm_tile.c is the other file that includes its header).
 * sd_gemm_nt cuts the result in tiles of fixed size and gives each to one thread, where oneDNN runs serially: so no sum
 * is split between threads and the bits do not depend on their number. Serially means sd_par_library_threads(1) during
 * the call: oneDNN asks for that number, also outside a parallel region.
 * 512x1536x576 on two Zen 5 cores: 450 GFLOP/s. */
#include "num/gemm.h"
#include "num/linear.h"
#include "base/par.h"
#include <dnnl.h>
#include <pthread.h>
#include <string.h>

static pthread_mutex_t cap_lock = PTHREAD_MUTEX_INITIALIZER;
static char cap_level[16]; /* the level that was set; empty: none yet. Guarded by cap_lock. */

sd_status sd_gemm_cap_isa(const sd_cpu *cpu, sd_err *err)
{
    const char *level = sd_cpu_level(cpu);
    sd_status st = SD_OK;
    if (strcmp(level, "ref") == 0) return SD_OK; /* ref never calls oneDNN */
    (void)pthread_mutex_lock(&cap_lock);
    if (!cap_level[0]) {
        const dnnl_cpu_isa_t isa = strcmp(level, "avx2") == 0     ? dnnl_cpu_isa_avx2
                                   : strcmp(level, "avx512") == 0 ? dnnl_cpu_isa_avx512_core_bf16
                                                                  : dnnl_cpu_isa_all;
        const dnnl_status_t s = dnnl_set_max_cpu_isa(isa);
        if (s == dnnl_success ||
            s == dnnl_unimplemented) /* unimplemented: built without the control, uses what it finds */
            memcpy(cap_level, level, strlen(level) + 1);
        else
            st = sd_fail(err, SD_E_ARG, "oneDNN does not accept the CPU level \"%s\" (status %d)", level, (int)s);
    } else if (strcmp(cap_level, level) != 0) {
        st = sd_fail(err, SD_E_ARG, "the CPU level is \"%s\" in this process and cannot become \"%s\"", cap_level,
                     level);
        (void)sd_hint(err, "oneDNN takes its level once; start another process with --cpu %s", level);
    }
    (void)pthread_mutex_unlock(&cap_lock);
    return st;
}

enum { TILE_M = 192, TILE_N = 384 }; /* 0.3 MB of result: several tiles a thread from 512 x 1536 on */

typedef struct gemm_arg {
    const sd_exec *ex;
    sd_mat c, a, b;
    int64_t tiles_n;
} gemm_arg;

static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void gemm_tile(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const gemm_arg *g = arg;
    const int threads = sd_par_library_threads(1);
    (void)chunk;
    for (int64_t t = begin; t < end; t++) {
        const int64_t i0 = t / g->tiles_n * TILE_M, j0 = t % g->tiles_n * TILE_N;
        const int64_t m = min64(TILE_M, g->c.rows - i0), n = min64(TILE_N, g->c.cols - j0);
        (void)dnnl_sgemm('N', 'T', m, n, g->a.cols, 1.0f, sd_mat_row(g->a, i0), g->a.ld, sd_mat_row(g->b, j0), g->b.ld,
                         0.0f, sd_mat_row(g->c, i0) + j0, g->c.ld);
    }
    (void)sd_par_library_threads(threads);
}

static void gemm_rows_plain(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const gemm_arg *g = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < g->c.cols; j++)
            sd_mat_row(g->c, i)[j] = g->ex->kern->dot(sd_mat_row(g->a, i), sd_mat_row(g->b, j), g->a.cols);
}

void sd_gemm_nt(const sd_exec *ex, sd_mat c, sd_mat a, sd_mat b)
{
    SD_ASSERT(c.rows == a.rows && c.cols == b.rows && a.cols == b.cols);
    gemm_arg g = {ex, c, a, b, (c.cols + TILE_N - 1) / TILE_N};
    if (c.rows == 0 || c.cols == 0) return;
    if (!(ex->kern->cpu_flags & SD_CPU_AVX2) || a.cols == 0)
        sd_parallel_for(ex->n_threads, c.rows, 1, gemm_rows_plain, &g);
    else
        sd_parallel_for(ex->n_threads, (c.rows + TILE_M - 1) / TILE_M * g.tiles_n, 1, gemm_tile, &g);
}
