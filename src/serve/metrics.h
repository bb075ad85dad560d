/* metrics: what the server counts, as Prometheus reads it (text format 0.0.4). Names: prometheus.io/docs/practices/naming. */
#ifndef SD_SERVE_METRICS_H
#define SD_SERVE_METRICS_H

#include "base/str.h"

/* enum, name, help */
#define SD_COUNTER_MAP(XX)                                                                          \
    XX(PROMPT_TOKENS, "sonde_prompt_tokens_total", "Tokens of prompts that were computed")           \
    XX(PROMPT_CACHED, "sonde_prompt_cached_tokens_total", "Tokens of prompts taken from the prefix cache") \
    XX(COMPLETION_TOKENS, "sonde_completion_tokens_total", "Tokens generated")                       \
    XX(STEPS, "sonde_steps_total", "Steps of the engine")                                            \
    XX(STEERED, "sonde_steered_sequences_total", "Sequences that ran under a steer")                 \
    XX(CANCELLED, "sonde_sequences_cancelled_total", "Sequences that were cancelled, mostly because their client went away") \
    XX(REFUSED, "sonde_requests_refused_total", "Requests refused because the queue was full")
#define SD_HIST_MAP(XX)                                                                             \
    XX(REQUEST, "sonde_http_request_duration_seconds", "From the request's head to the end of the answer") \
    XX(FIRST_TOKEN, "sonde_time_to_first_token_seconds", "From the arrival of a sequence to its first token") \
    XX(BETWEEN, "sonde_inter_token_seconds", "From one token of a sequence to its next")

typedef enum sd_counter {
#define XX(id, name, help) SD_COUNT_##id,
    SD_COUNTER_MAP(XX)
#undef XX
    SD_COUNTER_COUNT
} sd_counter;
typedef enum sd_hist {
#define XX(id, name, help) SD_HIST_##id,
    SD_HIST_MAP(XX)
#undef XX
    SD_HIST_COUNT
} sd_hist;

typedef struct sd_metrics sd_metrics; /* safe from any thread */
sd_status sd_metrics_new(sd_metrics **out, sd_err *err);
void sd_metrics_free(sd_metrics *m);
/* m NULL: nothing is counted. */
void sd_metrics_add(sd_metrics *m, sd_counter c, uint64_t n);
void sd_metrics_observe(sd_metrics *m, sd_hist h, double seconds);
/* One answer. route: its pattern, a string that lives as long as the program, so that labels are bounded. */
void sd_metrics_answer(sd_metrics *m, const char *route, const char *method, int code);

/* A monitor that is told of from now on, at zero. name: as long as m, of letters, digits and "._-". */
sd_status sd_metrics_monitor_add(sd_metrics *m, const char *name, sd_err *err);
/* A sequence ended of which the monitor looked at so many tokens and held at so many of them. An unknown name is not counted. */
void sd_metrics_monitor(sd_metrics *m, const char *name, int64_t n_looked, int64_t n_held);

typedef struct sd_gauges {
    int running, waiting, slots;
    double start_seconds;    /* since 1970 */
    const char *version, *arch;
} sd_gauges;
void sd_metrics_write(sd_metrics *m, const sd_gauges *g, sd_buf *out);

#endif
