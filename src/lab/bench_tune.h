/* bench tune: steps of learning on random tokens, as the peers' scripts take them. */
#ifndef SD_LAB_BENCH_TUNE_H
#define SD_LAB_BENCH_TUNE_H

#include "model/learner.h"

typedef struct sd_bench_tune_opt {
    sd_mode mode;
    int lora;           /* rank; 0: all weights */
    int64_t batch, ctx; /* 0: 4 x 256 */
    int reps;           /* steps that count, the best is taken; 0: 3; one before is not counted */
    bool adam8;
    size_t keep_bytes; /* as sd_learner_opt */
    uint64_t seed;
} sd_bench_tune_opt;
typedef struct sd_bench_tune {
    double tok_s;
    double
        gops; /* 2 x weights in matrices a token, times 3 (all weights) or 2 (an adapter): no recomputation counted */
    uint64_t rss_peak; /* bytes of the whole process */
    size_t kept_bytes; /* of the learner */
    double loss;
} sd_bench_tune;
/* m: opened with views. A step: forward, loss of every token, backward, clipping and AdamW. */
sd_status sd_lab_bench_tune(sd_bench_tune *out, const sd_exec *ex, const sd_model *m, const sd_bench_tune_opt *opt,
                            sd_err *err);

#endif
