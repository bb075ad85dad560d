/* sd_exec: what every op runs with. Kernels chosen for this CPU, the number of threads, scratch memory. */
#ifndef SD_NUM_EXEC_H
#define SD_NUM_EXEC_H

#include "base/cpu.h"
#include "base/mem.h"
#include "sonde/model.h" /* sd_exec_opt, sd_exec_new, sd_exec_free */
#include "num/kern.h"

struct sd_exec {
    sd_cpu cpu;
    const sd_kern *kern; /* filled for cpu.flags; const */
    int n_threads;
};

#endif
