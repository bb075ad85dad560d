/* When progress is shown and what it says, with a clock that the test turns. */
#include "t.h"
#include "base/log.h"
static double fake_time;
#define sd_now() fake_time
#include "cli/progress.c"
#undef sd_now
#include "cli/opt.c"
#include "cli/help.c"
#include "cli/out_text.c"
#include "cli/out.c"
#include "cli/cli.c"

const cli_cmd *cli_command(int i) { return (void)i, NULL; }
const cli_cmd *cli_find_command(const char *name) { return (void)name, NULL; }

typedef struct screen { cli c; char *err; size_t n_err; } screen;

static void begin(screen *s, int width)
{
    char name[] = "sonde", *argv[] = {name, NULL};
    memset(s, 0, sizeof *s);
    cli_init(&s->c, 1, argv);
    s->c.err = open_memstream(&s->err, &s->n_err);
    s->c.err_tty = width > 0;
    s->c.err_width = width;
    s->c.err_color = false;
    fake_time = 100;
    progress_init(&s->c);
}
static void end(screen *s, const char *want)
{
    fflush(s->c.err);
    assert_string_equal(s->err, want);
    fclose(s->c.err);
    free(s->err);
    cli_release(&s->c);
    assert_int_equal(sd_mem_live_blocks(), 0);
}
static void step(screen *s, double dt, double done, double total, const char *note)
{
    fake_time += dt;
    sd_progress_update(&s->c.progress, "training", done, total, note);
}

static void short_work_is_silent(void **state)
{
    (void)state;
    screen s;
    begin(&s, 80);
    for (int i = 0; i <= 10; i++) step(&s, 0.15, i, 10, NULL); /* 1.65 s in all */
    end(&s, "");
}

static void long_work_gets_a_bar(void **state)
{
    (void)state;
    screen s;
    begin(&s, 80);
    step(&s, 0, 0, 500000, NULL);
    step(&s, 1, 50000, 500000, "fvu 0.5"); /* its rate says ten seconds: shown before two have passed */
    step(&s, 0.05, 52000, 500000, NULL);   /* under a tenth of a second later: not redrawn */
    step(&s, 4.95, 300000, 500000, NULL);
    progress_end(&s.c);
    end(&s, "\r\x1b[Ktraining  [##..................]   10%  50.0k/500k  50.0k/s  0:09 left  fvu 0.5"
            "\r\x1b[Ktraining  [############........]   60%  300k/500k  50.0k/s  0:04 left"
            "\r\x1b[K");
}

static void a_bar_never_wraps(void **state)
{
    (void)state;
    screen s;
    begin(&s, 20);
    step(&s, 0, 0, 0, NULL);
    step(&s, 3, 1234, 0, "a long note that does not fit");
    end(&s, "\r\x1b[Ktraining  1.23k  41");
}

static void logs_get_a_line_every_ten_seconds(void **state)
{
    (void)state;
    screen s;
    begin(&s, 0);
    for (int i = 0; i <= 25; i++) step(&s, 1, i * 1000, 25000, NULL);
    end(&s, "training    4%  1.00k/25.0k  1.00k/s  0:24 left\n" /* what comes, as soon as it is known to be long */
            "training   44%  11.0k/25.0k  1.00k/s  0:14 left\n"
            "training   84%  21.0k/25.0k  1.00k/s  0:04 left\n"
            "training  100%  25.0k/25.0k  1.00k/s  0:25\n");
}

static void resumed_work_counts_its_own_rate(void **state)
{
    (void)state;
    screen s;
    begin(&s, 0);
    step(&s, 0, 900, 1000, NULL);
    step(&s, 10, 950, 1000, NULL);
    end(&s, "training   95%  950/1.00k  5/s  0:10 left\n");
}

static void quiet_is_quiet(void **state)
{
    (void)state;
    screen s;
    begin(&s, 80);
    s.c.quiet = true;
    step(&s, 0, 0, 100, NULL);
    step(&s, 50, 50, 100, NULL);
    cli_note(&s.c, "wrote it");
    sd_log(SD_LOG_INFO, "loaded");
    end(&s, "");
}

static void lines_do_not_land_in_the_bar(void **state)
{
    (void)state;
    screen s;
    begin(&s, 80);
    s.c.verbose = 1;
    step(&s, 0, 0, 0, NULL);
    step(&s, 3, 9, 0, NULL);
    sd_log(SD_LOG_INFO, "a line");
    sd_log(SD_LOG_DEBUG, "not asked for");
    sd_log(SD_LOG_WARN, "odd");
    cli_note(&s.c, "wrote %d", 3);
    end(&s, "\r\x1b[Ktraining  9  3/s  0:03\r\x1b[Ka line\nwarning: odd\nwrote 3\n");
}

static void counts_and_clocks_are_short(void **state)
{
    (void)state;
    char x[32];
    static const struct { double v; const char *text; } count[] = {{0, "0"}, {7, "7"}, {0.5, "0.50"}, {999, "999"}, {999.6, "1.00k"}, {12345, "12.3k"},
                                                                   {512000, "512k"}, {1e6, "1.00M"}, {2.5e13, "25.0T"}};
    for (size_t i = 0; i < sizeof count / sizeof count[0]; i++) assert_string_equal(fmt_count(x, sizeof x, count[i].v), count[i].text);
    assert_string_equal(fmt_clock(x, sizeof x, 59.6), "1:00");
    assert_string_equal(fmt_clock(x, sizeof x, 3725), "1:02:05");
    assert_string_equal(fmt_clock(x, sizeof x, INFINITY), "0:00");
}

static void an_interruption_names_the_way_on(void **state)
{
    (void)state;
    screen s;
    begin(&s, 0);
    sd_err err = {0};
    sd_fail(&err, SD_E_CANCELLED, "interrupted at step 12 of 500");
    cli_resume_with(&s.c, "sonde dict train --resume", "runs/a b", "");
    assert_int_equal(cli_fail(&s.c, &err), 130);
    end(&s, "sonde: interrupted at step 12 of 500\nhint: go on with: sonde dict train --resume 'runs/a b'\n");
}

static void every_error_has_a_hint(void **state)
{
    (void)state;
    for (int code = SD_E_FAIL; code <= SD_E_CANCELLED; code++) {
        screen s;
        begin(&s, 0);
        sd_err err = {0};
        sd_fail(&err, (sd_status)code, "it broke");
        assert_int_equal(cli_fail(&s.c, &err), code == SD_E_ARG ? 4 : sd_status_exit_code((sd_status)code));
        fflush(s.c.err);
        assert_int_equal(strncmp(s.err, "sonde: it broke\nhint: ", 22), 0);
        assert_true(strlen(s.err) > 30 && strchr(s.err + 22, '\n') == s.err + strlen(s.err) - 1);
        char *copy = strdup(s.err);
        end(&s, copy);
        free(copy);
    }
}

static const struct CMUnitTest tests[] = {
    T(short_work_is_silent), T(long_work_gets_a_bar), T(a_bar_never_wraps), T(logs_get_a_line_every_ten_seconds), T(resumed_work_counts_its_own_rate),
    T(quiet_is_quiet), T(lines_do_not_land_in_the_bar), T(counts_and_clocks_are_short), T(an_interruption_names_the_way_on), T(every_error_has_a_hint)};
T_MAIN(tests)
