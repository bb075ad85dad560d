/* Log lines, progress, and how sizes and times are written for people. The library has no terminal: a line goes
 * to the sink that the program set, and to nobody when there is none. The one place that reads a clock. */
#include "base/log.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

static struct {
    sd_log_fn fn;
    void *self;
} sink;

void sd_log_set(sd_log_fn fn, void *self)
{
    sink.fn = fn;
    sink.self = self;
}

void sd_log(sd_log_level level, const char *fmt, ...)
{
    if (!sink.fn) return;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n >= 0) sink.fn(sink.self, level, line);
}

void sd_progress_update(const sd_progress *p, const char *what, double done, double total, const char *note)
{
    if (p && p->fn) p->fn(p->self, what, done, total, note);
}

bool sd_progress_cancelled(const sd_progress *p)
{
    return p && p->cancel && *p->cancel;
}

double sd_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *sd_fmt_bytes(char *out, size_t cap, double bytes)
{
    static const char *const unit[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    int u = 0;
    /* 999.95 would be rounded to 1000.0: such a value is written in the next unit. */
    while (u < 5 && fabs(bytes) >= (u == 0 ? 1000 : 999.95)) {
        bytes /= 1000;
        u++;
    }
    snprintf(out, cap, u == 0 ? "%.0f %s" : "%.1f %s", bytes, unit[u]);
    return out;
}

const char *sd_fmt_seconds(char *out, size_t cap, double s)
{
    if (!(s >= 0) || s > 3.6e9) { /* a million hours: no estimate worth a number */
        snprintf(out, cap, "?");
        return out;
    }
    if (s < 9.95) {
        snprintf(out, cap, "%.1f s", s);
        return out;
    }
    long long t = llround(s);
    if (t < 60)
        snprintf(out, cap, "%lld s", t);
    else if (t < 3600)
        snprintf(out, cap, "%lld min %02lld s", t / 60, t % 60);
    else
        snprintf(out, cap, "%lld h %02lld min", t / 3600, t % 3600 / 60);
    return out;
}
