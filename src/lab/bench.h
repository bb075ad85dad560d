/* bench: the speed of the parts as a user meets them, with the share of what this machine can do at all. */
#ifndef SD_LAB_BENCH_H
#define SD_LAB_BENCH_H

#include "dict/dict_train.h"
#include "model/session.h"

typedef struct sd_bench_model_opt {
    int64_t n_prompt; /* tokens a prefill; 0: 512 */
    int64_t n_gen;    /* tokens decoded one by one; 0: 64 */
    int64_t depth;    /* positions in the cache before decoding */
    int reps;         /* 0: 5; the median counts; one run before is not counted */
} sd_bench_model_opt;
typedef struct sd_bench_model {
    double prefill_tok_s, decode_tok_s;           /* medians; prefill without the head but for its last row, as llama-bench */
    double prefill_gops, decode_gb_s;             /* 2 x weights in matrices a token; bytes of weights and cache read a token */
} sd_bench_model;
sd_status sd_lab_bench_model(sd_bench_model *out, const sd_exec *ex, const sd_model *m, const sd_bench_model_opt *opt, sd_err *err);

typedef struct sd_bench_dict_opt { int64_t d, width, batch, steps; int k; uint64_t seed; } sd_bench_dict_opt; /* 0: 576, 16384, 4096, 8; 32 */
typedef struct sd_bench_dict { double tok_s, gops; } sd_bench_dict; /* gops: 2 d width operations a token, the one dense term */
/* Steps of the trainer on random rows (normal numbers, seeded); the first step is not counted. */
sd_status sd_lab_bench_dict(sd_bench_dict *out, const sd_exec *ex, const sd_bench_dict_opt *opt, sd_err *err);

#endif
