/* Progress on stderr: a bar on a terminal, a plain line at once and about every ten seconds elsewhere, nothing with --quiet and nothing for
 * what takes under two seconds. Also the sink of the library's log lines, because both write to the same place: a line clears
 * the bar first. Times come from sd_now and are shown, never stored.
 *
 *   training  [########............]  42%  215k/512k  12.3k/s  0:24 left  fvu 0.41 */
#include "cli/cli.h"
#include <math.h>

/* Seconds: a phase shorter than SHOW_AFTER is not shown; a bar is redrawn ten times a second at most. */
#define SHOW_AFTER 2.0
#define BAR_EVERY 0.1
#define LINE_EVERY 10.0
/* How long the first rate needs before it is believed enough to show the bar early. */
#define JUDGE_AFTER 0.4
enum { BAR_CELLS = 20 };

typedef struct bar {
    cli *c;
    char what[64];
    double t0, done0;  /* when the phase began, and how much was done then (a resumed run does not begin at 0) */
    double last;       /* when something was drawn */
    bool drawn;        /* a bar stands on the terminal's line */
    bool shown;        /* the phase was shown at all */
} bar;

/* 512000 -> "512k"; three significant digits. */
static const char *fmt_count(char *out, size_t cap, double v)
{
    static const char unit[] = " kMGT";
    int u = 0;
    while (v >= 999.5 && u < 4) {
        v /= 1000;
        u++;
    }
    int digits = u == 0 && v == floor(v) ? 0 : v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2;
    snprintf(out, cap, u ? "%.*f%c" : "%.*f", digits, v, unit[u]);
    return out;
}

/* 3725 -> "1:02:05" */
static const char *fmt_clock(char *out, size_t cap, double s)
{
    long long t = s < 0 || !isfinite(s) ? 0 : (long long)(s + 0.5);
    if (t >= 3600) snprintf(out, cap, "%lld:%02lld:%02lld", t / 3600, t / 60 % 60, t % 60);
    else snprintf(out, cap, "%lld:%02lld", t / 60, t % 60);
    return out;
}

static void put_line(sd_buf *b, const bar *p, double now, double done, double total, const char *note)
{
    char x[32], y[32];
    double dt = now - p->t0, rate = dt > 0 ? (done - p->done0) / dt : 0;
    sd_buf_puts(b, p->what);
    if (total > 0) {
        double share = done >= total ? 1 : done / total;
        int cells = (int)(share * BAR_CELLS);
        if (p->c->err_tty) {
            sd_buf_puts(b, "  [");
            for (int i = 0; i < BAR_CELLS; i++) sd_buf_putc(b, i < cells ? '#' : '.');
            sd_buf_putc(b, ']');
        }
        sd_buf_printf(b, "  %3d%%  %s/%s", (int)(share * 100), fmt_count(x, sizeof x, done), fmt_count(y, sizeof y, total));
    } else {
        sd_buf_printf(b, "  %s", fmt_count(x, sizeof x, done));
    }
    if (rate > 0) sd_buf_printf(b, "  %s/s", fmt_count(x, sizeof x, rate));
    if (rate > 0 && total > done) sd_buf_printf(b, "  %s left", fmt_clock(x, sizeof x, (total - done) / rate));
    else sd_buf_printf(b, "  %s", fmt_clock(x, sizeof x, dt));
    if (note && note[0]) sd_buf_printf(b, "  %s", note);
}

static void draw(bar *p, double now, double done, double total, const char *note)
{
    cli *c = p->c;
    sd_buf b;
    sd_buf_init(&b, 4096);
    put_line(&b, p, now, done, total, note);
    size_t n = b.n;
    if (c->err_tty) {
        /* One column is left free: a full line would wrap, and a wrapped bar cannot be cleared by \r. */
        while (n > 0 && out_width((sd_slice){b.p, n}) >= c->err_width) n--;
        fprintf(c->err, "\r\x1b[K%.*s", (int)n, sd_buf_str(&b));
        p->drawn = true;
    } else {
        fprintf(c->err, "%s\n", sd_buf_str(&b));
    }
    fflush(c->err);
    sd_buf_release(&b);
    p->last = now;
    p->shown = true;
}

/* Is the phase long enough to be shown, by the clock or by its own rate? */
static bool is_long(const bar *p, double now, double done, double total)
{
    double dt = now - p->t0, part = total > p->done0 ? (done - p->done0) / (total - p->done0) : 0;
    return dt > SHOW_AFTER || (dt > JUDGE_AFTER && part > 0 && dt / part > SHOW_AFTER);
}

static void on_progress(void *self, const char *what, double done, double total, const char *note)
{
    bar *p = self;
    double now = sd_now();
    if (strncmp(p->what, what, sizeof p->what - 1) != 0) {
        progress_end(p->c);
        *p = (bar){.c = p->c, .t0 = now, .done0 = done, .last = now};
        snprintf(p->what, sizeof p->what, "%s", what);
    }
    bool finished = total > 0 && done >= total;
    if (p->c->quiet || (!p->shown && !is_long(p, now, done, total))) return;
    double every = p->c->err_tty ? BAR_EVERY : LINE_EVERY;
    if (now - p->last >= every || (finished && p->shown) || !p->shown) draw(p, now, done, total, note);
}

static void on_log(void *self, sd_log_level level, const char *line)
{
    cli *c = self;
    int need = level == SD_LOG_DEBUG ? 2 : level == SD_LOG_INFO ? 1 : 0;
    if (c->verbose < need || (c->quiet && level != SD_LOG_WARN)) return;
    progress_end(c);
    fprintf(c->err, "%s%s\n", level == SD_LOG_WARN ? "warning: " : "", line);
}

void progress_init(cli *c)
{
    bar *p = cli_keep(c, sd_calloc(sizeof *p));
    c->bar = p;
    c->progress = (sd_progress){.fn = p ? on_progress : NULL, .self = p, .cancel = c->cancel};
    if (p) p->c = c;
    sd_log_set(on_log, c);
}

void progress_end(cli *c)
{
    bar *p = c->bar;
    if (!p || !p->drawn) return;
    fputs("\r\x1b[K", c->err);
    fflush(c->err);
    p->drawn = false;
}
