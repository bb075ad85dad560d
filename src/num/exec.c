/* sd_exec: the CPU as allowed, its kernel table, the number of threads. */
#include "num/exec.h"
#include "num/gemm.h"
#include "base/par.h"

enum { MAX_THREADS = 1024 }; /* above any machine; catches a negative number read as unsigned */

sd_status sd_exec_new(sd_exec **out, const sd_exec_opt *opt, sd_err *err)
{
    static const sd_exec_opt defaults = {0};
    sd_exec *ex = NULL;
    sd_cpu cpu;
    sd_status st;
    *out = NULL;
    if (!opt) opt = &defaults;
    if (!sd_cpu_detect(&cpu, opt->cpu)) {
        st = sd_fail(err, SD_E_ARG, "the CPU level \"%s\" is unknown, or this CPU does not have it", opt->cpu);
        (void)sd_hint(err, "levels are auto, ref, avx2, avx512, amx");
        goto done;
    }
    if (opt->n_threads < 0 || opt->n_threads > MAX_THREADS) {
        st = sd_fail(err, SD_E_ARG, "%d threads asked for; 0 (all) to %d are possible", opt->n_threads, MAX_THREADS);
        goto done;
    }
    st = sd_gemm_cap_isa(&cpu, err);
    if (st) goto done;
    st = sd_alloc_zero(&ex, sizeof *ex, "the execution context", err);
    if (st) goto done;
    ex->cpu = cpu;
    ex->kern = sd_kern_select(cpu.flags);
    ex->n_threads = opt->n_threads ? opt->n_threads : sd_par_hw_threads();
    *out = ex;
done:
    return st;
}

void sd_exec_free(sd_exec *ex)
{
    sd_free(ex);
}
