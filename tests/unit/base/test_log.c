/* The sink gets finished lines, progress passes through, sizes and times are written for people. */
#include "base/log.h"

#include "t.h"

static char last[2000];
static int level;

static void keep(void *self, sd_log_level l, const char *line)
{
    ++*(int *)self;
    level = (int)l;
    snprintf(last, sizeof last, "%s", line);
}

static void lines_reach_the_sink(void **state)
{
    (void)state;
    int n = 0;
    sd_log(SD_LOG_WARN, "to nobody");
    sd_log_set(keep, &n);
    sd_log(SD_LOG_WARN, "%d of %s", 3, "x");
    assert_int_equal(n, 1);
    assert_int_equal(level, SD_LOG_WARN);
    assert_string_equal(last, "3 of x");
    sd_log(SD_LOG_DEBUG, "%05000d", 1); /* cut, not overrun */
    assert_int_equal(strlen(last), 1023);
    sd_log_set(NULL, NULL);
    sd_log(SD_LOG_INFO, "to nobody");
    assert_int_equal(n, 2);
}

static double seen;

static void see(void *self, const char *what, double done, double total, const char *note)
{
    (void)self;
    assert_string_equal(what, "training");
    assert_string_equal(note, "fvu 0.4");
    seen = done / total;
}

static void progress(void **state)
{
    (void)state;
    volatile int cancel = 0;
    sd_progress p = {.fn = see, .cancel = &cancel};
    sd_progress_update(&p, "training", 1, 4, "fvu 0.4");
    assert_true(seen == 0.25);
    assert_false(sd_progress_cancelled(&p));
    cancel = 1;
    assert_true(sd_progress_cancelled(&p));
    sd_progress_update(NULL, "x", 0, 0, NULL);
    sd_progress_update(&(sd_progress){0}, "x", 0, 0, NULL);
    assert_false(sd_progress_cancelled(NULL) || sd_progress_cancelled(&(sd_progress){0}));
}

static void the_clock_goes_forward(void **state)
{
    (void)state;
    double a = sd_now();
    usleep(20000);
    double b = sd_now();
    assert_true(b - a >= 0.02 && b - a < 10);
}

static void words(void **state)
{
    (void)state;
    char t[64];
    static const struct {
        double v;
        const char *text;
    } bytes[] = {
        {0, "0 bytes"},       {999, "999 bytes"}, {1000, "1.0 kB"},    {12345678, "12.3 MB"},
        {999949, "999.9 kB"}, {999951, "1.0 MB"}, {2e18, "2000.0 PB"},
    };
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        assert_string_equal(sd_fmt_bytes(t, sizeof t, bytes[i].v), bytes[i].text);
    static const struct {
        double v;
        const char *text;
    } seconds[] = {
        {0, "0.0 s"},       {9.94, "9.9 s"},        {9.96, "10 s"},       {59.4, "59 s"}, {59.6, "1 min 00 s"},
        {83, "1 min 23 s"}, {3599.6, "1 h 00 min"}, {7384, "2 h 03 min"}, {-1, "?"},      {1e30, "?"},
    };
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++)
        assert_string_equal(sd_fmt_seconds(t, sizeof t, seconds[i].v), seconds[i].text);
    assert_string_equal(sd_fmt_bytes(t, 4, 12345678), "12."); /* a small buffer is not overrun */
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(lines_reach_the_sink), T(progress), T(the_clock_goes_forward), T(words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
