/* oneDNN takes its instruction sets once a process, so the lower level has a program of its own: sd_gemm_nt at --cpu
 * avx2 against sums in double, the same bits for any number of threads, and the refusal of another level afterwards. */
#include "num/linear.h"
#include "base/rng.h"
#include "t.h"
#include <math.h>

enum { M = 200, N = 390, K = 131 };
static float a[M * K], b[N * K], c[3][M * N];

static void avx2_is_close_and_stays(void **state)
{
    sd_exec *ex, *other;
    sd_err err = {0};
    sd_cpu cpu;
    sd_rng r = sd_rng_make(3, "gemm", 0);
    (void)state;
    if (!sd_cpu_detect(&cpu, "avx2")) t_skip("this CPU has no AVX2");
    for (int i = 0; i < M * K; i++) a[i] = sd_rng_normal(&r);
    for (int i = 0; i < N * K; i++) b[i] = sd_rng_normal(&r);
    for (int t = 0; t < 3; t++) {
        t_ok(sd_exec_new(&ex, &(sd_exec_opt){"avx2", t + 1}, &err), err);
        assert_string_equal(sd_cpu_level(&ex->cpu), "avx2");
        assert_string_equal(sd_kern_isa_of(ex->kern, 0), "avx2");
        sd_gemm_nt(ex, sd_mat_of(c[t], M, N), sd_mat_of(a, M, K), sd_mat_of(b, N, K));
        if (t > 0) assert_memory_equal(c[t], c[0], sizeof c[0]);
        sd_exec_free(ex);
    }
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double s = 0, mag = 0;
            for (int k = 0; k < K; k++)
                s += (double)a[i * K + k] * b[j * K + k], mag += fabs((double)a[i * K + k] * b[j * K + k]);
            assert_true(fabs(c[0][i * N + j] - s) <= K * 0x1p-24 * 1.001 * mag); /* gamma_K, Higham 2002, sec. 3.1 */
        }
    if (sd_cpu_detect(&cpu, "avx512"))
        assert_int_equal(sd_exec_new(&other, &(sd_exec_opt){"avx512", 1}, &err), SD_E_ARG);
    t_ok(sd_exec_new(&other, &(sd_exec_opt){"ref", 1}, &err), err);
    sd_exec_free(other);
}

T_MAIN(((const struct CMUnitTest[]){T(avx2_is_close_and_stays)}))
