/* What a steer costs a step of decoding: one sequence plain, one under each way of editing, and plain and steered together. Every turn takes one step of each from
 * the same position, each turn beginning with another, so that whatever else the machine does meets them alike. */
#ifndef SD_LAB_BENCH_STEER_H
#define SD_LAB_BENCH_STEER_H

#include "base/log.h"
#include "model/model.h"

/* The order of sd_bench_steer.row. AGAIN is plain once more: what the machine makes of no difference. */
enum { SD_BENCH_PLAIN, SD_BENCH_AGAIN, SD_BENCH_ADD, SD_BENCH_ABLATE, SD_BENCH_CAP, SD_BENCH_WHEN, SD_BENCH_TOGETHER, SD_BENCH_WAYS };
const char *sd_bench_way_name(int way);

typedef struct sd_bench_steer_opt { int64_t depth, turns; } sd_bench_steer_opt; /* 0: no position before; 1000 */
/* ms: of a step, the tenth of all turns that is fastest ends there (other programs only ever add time); cost: of that in units of plain; cost_median: the same of the medians. */
typedef struct sd_bench_steer { struct { double ms, cost, cost_median; } row[SD_BENCH_WAYS]; } sd_bench_steer;
/* Edits along a random vector in the middle of the stream; the condition looks at the block before it and always holds. SD_E_ARG when the context has no room. */
sd_status sd_lab_bench_steer(sd_bench_steer *out, const sd_exec *ex, const sd_model *m, const sd_bench_steer_opt *opt, const sd_progress *progress, sd_err *err);

#endif
