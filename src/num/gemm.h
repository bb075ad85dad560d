/* What the rest of num knows of oneDNN; gemm.c and gemm_tile.c alone include its header. */
#ifndef SD_NUM_GEMM_H
#define SD_NUM_GEMM_H

#include "base/cpu.h"
#include "base/err.h"

/* Caps oneDNN's instruction sets at cpu's level. The first level that is not "ref" decides for the process; another one
 * afterwards is SD_E_ARG. Thread-safe. */
sd_status sd_gemm_cap_isa(const sd_cpu *cpu, sd_err *err);

#endif
