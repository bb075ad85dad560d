/* Log lines and progress go to one sink that the program sets; the library itself never prints. */
#ifndef SD_BASE_LOG_H
#define SD_BASE_LOG_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sd_log_level { SD_LOG_DEBUG, SD_LOG_INFO, SD_LOG_WARN } sd_log_level;
typedef void (*sd_log_fn)(void *self, sd_log_level level, const char *line);
void sd_log_set(sd_log_fn fn, void *self); /* NULL: silence. Not thread-safe: set once at start. */
void sd_log(sd_log_level level, const char *fmt, ...) SD_PRINTF(2, 3);

/* Progress: a study calls sd_progress_update often (it is cheap); the sink decides when to draw. It also carries
 * cancellation. */
typedef struct sd_progress {
    void (*fn)(void *self, const char *what, double done, double total, const char *note); /* may be NULL */
    void *self;
    const volatile int *cancel; /* set by a signal handler or another thread; may be NULL */
} sd_progress;
void sd_progress_update(const sd_progress *p, const char *what, double done, double total,
                        const char *note); /* p may be NULL */
bool sd_progress_cancelled(const sd_progress *p);

/* Monotonic seconds, for rates only; never in a result that must repeat. */
double sd_now(void);
/* "12.3 MB", "1 h 02 min", "12,345" into out; returns out. */
const char *sd_fmt_bytes(char *out, size_t cap, double bytes);
const char *sd_fmt_seconds(char *out, size_t cap, double s);

#endif
