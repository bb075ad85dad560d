/* sd_exec: what every op runs with. Kernels chosen for this CPU, the number of threads, scratch memory. */
#ifndef SD_NUM_EXEC_H
#define SD_NUM_EXEC_H

#include "base/cpu.h"
#include "base/mem.h"
#include "sonde/mat.h"
#include "num/kern.h"

struct sd_exec {
    sd_cpu cpu;
    const sd_kern *kern; /* filled for cpu.flags; const */
    int n_threads;
};
typedef struct sd_exec sd_exec;

#ifndef SD_EXEC_OPT_DEFINED
#define SD_EXEC_OPT_DEFINED
typedef struct sd_exec_opt {
    const char *cpu; /* NULL or "auto": all there is; "ref", "avx2", "avx512" */
    int n_threads;   /* 0: the CPUs this process may use */
} sd_exec_opt;
#endif

/* Also caps oneDNN's ISA (once a process: the first call decides; a different level afterwards is SD_E_ARG unless it is "ref", which never calls oneDNN). */
sd_status sd_exec_new(sd_exec **out, const sd_exec_opt *opt, sd_err *err);
void sd_exec_free(sd_exec *ex);

#endif
