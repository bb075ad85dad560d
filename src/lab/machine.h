/* What this machine does with our own loops: bytes read a second, products a second in each numeric mode, and whether the
 * products are right. A quick look (under two seconds in all), for `sonde doctor`; figures to publish come from bench/. */
#ifndef SD_LAB_MACHINE_H
#define SD_LAB_MACHINE_H

#include "base/log.h"
#include "num/linear.h"

typedef struct sd_machine_product {
    sd_mode mode, used;   /* asked; what the linear layer really took */
    const char *weights;  /* type of the weights: "F32", "BF16", "Q8_0" */
    double gops;          /* 2 n m k operations a second, best of the repetitions, in 1e9 */
    double rel_error;     /* max|y - ref| / max|ref| over some rows; ref in double on the decoded weights */
    double bound;         /* what rel_error may be for this mode */
} sd_machine_product;

typedef struct sd_machine {
    double read_gb_s;     /* 1e9 bytes a second over a buffer beyond the caches, best of the repetitions */
    sd_machine_product product[3]; /* faithful, bf16, fast */
    bool right;           /* every rel_error within its bound */
} sd_machine;

/* SD_E_CANCELLED when the progress says so. */
sd_status sd_lab_machine(sd_machine *out, const sd_exec *ex, const sd_progress *progress, sd_err *err);

#endif
