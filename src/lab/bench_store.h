/* bench_store: a store of made-up features of the usual size, written and then asked, as the page and `feature` ask. */
#ifndef SD_LAB_BENCH_STORE_H
#define SD_LAB_BENCH_STORE_H

#include "base/log.h"
#include "store/store.h"

typedef struct sd_bench_store_opt {
    const char *path;
    bool force;
    int64_t n_features, n_tokens, n_vocab, n_asked; /* 0: 1,000,000, 1,000,000, 49,152, 200 */
    int n_examples;                        /* windows of 65 tokens a feature; 0: 12 */
    uint64_t seed;
    const sd_progress *progress;
} sd_bench_store_opt;

typedef enum sd_bench_ask {
    SD_ASK_FEATURE,  /* everything about a random feature, as JSON text */
    SD_ASK_NEAR, SD_ASK_SEARCH,
    SD_ASK_LIST_INDEX, SD_ASK_LIST_INTEREST, SD_ASK_LIST_DENSITY, SD_ASK_LIST_MAX_ACT, /* a page of 50 */
    SD_ASK_COUNT
} sd_bench_ask;
const char *sd_bench_ask_name(sd_bench_ask a);
typedef struct sd_bench_times { double median_ms, p99_ms, max_ms; int64_t n; } sd_bench_times;
typedef struct sd_bench_store {
    double write_s, open_ms;     /* open: the file checked and ready to answer */
    uint64_t bytes;
    sd_bench_times ask[SD_ASK_COUNT];
} sd_bench_store;
/* Writes the store at opt.path and leaves it there; each kind of question is asked n_asked times, of features drawn by the seed. */
sd_status sd_lab_bench_store(sd_bench_store *out, const sd_bench_store_opt *opt, sd_err *err);

#endif
