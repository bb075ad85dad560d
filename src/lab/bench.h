/* bench: the speed of the parts as a user meets them, with the share of what this machine can do at all. */
#ifndef SD_LAB_BENCH_H
#define SD_LAB_BENCH_H

#include "dict/dict_train.h"
#include "model/session.h"

typedef struct sd_bench_model_opt {
    int64_t n_prompt; /* tokens a prefill; 0: 512 */
    int64_t n_gen;    /* tokens decoded one by one; 0: 64 */
    int64_t depth;    /* positions in the cache before the second decoding; the first begins with an empty one */
    int reps;         /* 0: 5; the median counts; one run before is not counted */
} sd_bench_model_opt;
typedef struct sd_bench_decode {
    int64_t depth;
    double tok_s;           /* median */
    double bytes_per_token; /* of weights and of the cache, in the middle of the run */
    double gb_s;
} sd_bench_decode;
/* One op of all layers in a step of a phase, "prefill" or "decode" (at the second depth). */
typedef struct sd_bench_op {
    const char *phase, *name;
    double ms, gops, gb_s;
    bool product; /* in the model's mode: of a matrix, and attention over a bf16 cache; else in f32 */
    bool moves;   /* numbers in and out are what it costs: norm, rope, gate */
} sd_bench_op;
enum { SD_BENCH_OPS = 2 * (SD_MAT_COUNT + 5) };
typedef struct sd_bench_model {
    double prefill_tok_s;       /* median; without the head but for its last row, as llama-bench */
    double prefill_gops;        /* 2 x weights in matrices a token */
    sd_bench_decode decode[2];  /* at depth 0 and at the depth asked for */
    int n_ops;
    sd_bench_op op[SD_BENCH_OPS];
} sd_bench_model;
/* Sequences decoded together, one row of each a step, beside the first of them alone. */
enum { SD_BENCH_BATCH_MAX = 64 };
typedef struct sd_bench_batch_opt {
    int n_seq;      /* 0: 1 */
    int64_t n_gen;  /* steps; 0: 64 */
    int64_t depth;  /* positions in every cache before */
    int reps;       /* 0: 5, after one that is not counted */
    bool watched;   /* with a hook that reads resid_post of every layer of the first sequence */
} sd_bench_batch_opt;
typedef struct sd_bench_batch {
    int n_seq;
    int64_t depth;
    double tok_s; /* of all together */
    double cost;  /* time of a step over the time of a step of one plain sequence */
} sd_bench_batch;
sd_status sd_lab_bench_batch(sd_bench_batch *out, const sd_exec *ex, const sd_model *m, const sd_bench_batch_opt *opt, sd_err *err);
double sd_bench_median(double *v, int n); /* sorts v */
/* Bytes of cache that a token at this position reads. */
double sd_bench_cache_bytes(const sd_model *m, double positions);
/* Adds every op of a prefill of n_prompt rows and of a decoded token behind depth others to out->op. */
sd_status sd_lab_bench_ops(sd_bench_model *out, const sd_exec *ex, const sd_model *m, int64_t n_prompt, int64_t depth, sd_err *err);
sd_status sd_lab_bench_model(sd_bench_model *out, const sd_exec *ex, const sd_model *m, const sd_bench_model_opt *opt, sd_err *err);

typedef struct sd_bench_dict_opt { int64_t d, width, batch, steps; int k; uint64_t seed; } sd_bench_dict_opt; /* 0: 576, 16384, 4096, 8; 32 */
typedef struct sd_bench_dict { double tok_s, gops; } sd_bench_dict; /* gops: 2 d width operations a token, the one dense term */
/* Steps of the trainer on random rows (normal numbers, seeded); the first step is not counted. */
sd_status sd_lab_bench_dict(sd_bench_dict *out, const sd_exec *ex, const sd_bench_dict_opt *opt, sd_err *err);

#endif
