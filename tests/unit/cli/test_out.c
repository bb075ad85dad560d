/* What results look like: on a terminal, piped, as JSON; and that text from outside cannot steer the terminal. */
#include "t.h"
#include "cli/opt.c"
#include "cli/help.c"
#include "cli/out_text.c"
#include "cli/out.c"
#include "cli/progress.c"
#include "cli/cli.c"
#include <math.h>

const cli_cmd *cli_command(int i) { return (void)i, NULL; }
const cli_cmd *cli_find_command(const char *name) { return (void)name, NULL; }

typedef struct screen { cli c; char *out; size_t n_out; char *err; size_t n_err; } screen;

static void begin(screen *s, int width)
{
    char name[] = "sonde", *argv[] = {name, NULL};
    memset(s, 0, sizeof *s);
    cli_init(&s->c, 1, argv);
    s->c.out = open_memstream(&s->out, &s->n_out);
    s->c.err = open_memstream(&s->err, &s->n_err);
    s->c.out_tty = width > 0;
    s->c.width = width;
    s->c.out_color = s->c.err_color = s->c.err_tty = false;
}
static void end(screen *s, const char *want)
{
    fflush(s->c.out);
    assert_string_equal(s->out, want);
    fclose(s->c.out);
    fclose(s->c.err);
    free(s->out);
    free(s->err);
    cli_release(&s->c);
    assert_int_equal(sd_mem_live_blocks(), 0);
}

static const out_col cols[] = {{"index", OUT_RIGHT}, {"label", OUT_FILL}, {"size", OUT_RIGHT}};
static void rows(out_table *t)
{
    out_i64(t, 16384);
    out_str(t, "the Golden Gate\tBridge\nand \x1b[31mred");
    out_bytes(t, 1234567);
    out_i64(t, -7);
    out_str(t, "\xe6\x97\xa5\xe6\x9c\xac a\\b"); /* two wide characters */
    out_f64(t, NAN, 3);
}

static void piped_rows_are_tab_separated(void **state)
{
    (void)state;
    screen s;
    begin(&s, 0);
    out_table *t = out_table_new(&s.c, cols, 3);
    rows(t);
    assert_int_equal(out_table_end(t), 0);
    end(&s, "index\tlabel\tsize\n"
            "16384\tthe Golden Gate\\tBridge\\nand \x1b[31mred\t1234567\n"
            "-7\t\xe6\x97\xa5\xe6\x9c\xac a\\\\b\t-\n");
}

static void a_terminal_gets_columns(void **state)
{
    (void)state;
    screen s;
    begin(&s, 100);
    out_table *t = out_table_new(&s.c, cols, 3);
    rows(t);
    assert_int_equal(out_table_end(t), 0);
    end(&s, " index  label                                     size\n"
            "16,384  the Golden Gate\xe2\x87\xa5""Bridge\xe2\x86\xb5""and \\x1b[31mred  1.2 MB\n"
            "    -7  \xe6\x97\xa5\xe6\x9c\xac a\\b                                     -\n");
}

static void a_narrow_terminal_cuts_the_filling_column(void **state)
{
    (void)state;
    screen s;
    begin(&s, 32);
    out_table *t = out_table_new(&s.c, cols, 3);
    rows(t);
    assert_int_equal(out_table_end(t), 0);
    sd_slice rest = {s.out, 0}, line;
    fflush(s.c.out);
    rest = sd_slice_of(s.out);
    int n = 0;
    while (sd_slice_cut(&rest, '\n', &line))
        if (line.n) {
            assert_int_equal(out_width(line), 32);
            n++;
        }
    assert_int_equal(n, 3);
    end(&s, " index  label               size\n"
            "16,384  the Golden Gate\xe2\x80\xa6  1.2 MB\n"
            "    -7  \xe6\x97\xa5\xe6\x9c\xac a\\b               -\n");
}

static void colours_are_only_for_terminals(void **state)
{
    (void)state;
    screen s;
    begin(&s, 80);
    assert_string_equal(out_sgr(&s.c, OUT_BOLD), "");
    s.c.out_color = true;
    out_pairs *p = out_pairs_new(&s.c);
    out_pair(p, "layers", "%d", 30);
    out_pair(p, "d", "%s", "576");
    assert_int_equal(out_pairs_end(p), 0);
    end(&s, "\x1b[1mlayers\x1b[0m  30\n\x1b[1md\x1b[0m       576\n");
}

static void piped_pairs_are_two_fields(void **state)
{
    (void)state;
    screen s;
    begin(&s, 0);
    out_pairs *p = out_pairs_new(&s.c);
    out_pair(p, "template", "a\nb");
    assert_int_equal(out_pairs_end(p), 0);
    end(&s, "template\ta\\nb\n");
}

static void widths_count_columns_not_bytes(void **state)
{
    (void)state;
    assert_int_equal(out_width(SD_LIT("abc")), 3);
    assert_int_equal(out_width(SD_LIT("\xc3\xa9")), 1);             /* e acute */
    assert_int_equal(out_width(SD_LIT("e\xcc\x81")), 1);            /* e and a combining acute */
    assert_int_equal(out_width(SD_LIT("\xe6\x97\xa5")), 2);         /* wide */
    assert_int_equal(out_width(SD_LIT("\xf0\x9f\x98\x80")), 2);     /* emoji */
    assert_int_equal(out_width(SD_LIT("\xff\xfe")), 2);             /* invalid bytes, one each */
    assert_int_equal(out_width((sd_slice){NULL, 0}), 0);
}

static void controls_are_shown_not_obeyed(void **state)
{
    (void)state;
    sd_buf b;
    sd_buf_init(&b, 4096);
    out_clean(&b, SD_LIT("a\x1b]0;x\x07" "b\x7f" "\xc2\x9b" "c\xe2\x80\xae" "d\xff\r"));
    assert_string_equal(sd_buf_str(&b), "a\\x1b]0;x\\x07b\\x7f\\x9bc\\u202ed\\xff\\x0d");
    sd_buf_release(&b);
}

static void streamed_text_keeps_characters_whole(void **state)
{
    (void)state;
    static const char text[] = "caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80\n\ttab";
    for (size_t step = 1; step < sizeof text; step++) {
        screen s;
        out_text t = {0};
        begin(&s, 80);
        for (size_t i = 0; i < sizeof text - 1; i += step) {
            size_t n = sizeof text - 1 - i < step ? sizeof text - 1 - i : step;
            out_text_put(&s.c, &t, (sd_slice){text + i, n});
            fflush(s.c.out);
            assert_int_equal(sd_utf8_valid_prefix((sd_slice){s.out, s.n_out}), s.n_out);
        }
        out_text_end(&s.c, &t);
        end(&s, text);
    }
    screen s;
    out_text t = {0};
    begin(&s, 80);
    out_text_put(&s.c, &t, SD_LIT("x\xe6\x97"));
    out_text_end(&s.c, &t);
    end(&s, "x\\xe6\\x97"); /* what never became a character is shown */
    begin(&s, 0);
    out_text_put(&s.c, &t, SD_LIT("x\xe6\x1b"));
    out_text_end(&s.c, &t);
    end(&s, "x\xe6\x1b"); /* piped: the bytes */
}

static void json_is_one_document(void **state)
{
    (void)state;
    screen s;
    sd_err err = {0};
    json_t *doc = NULL;
    const char *schema = NULL;
    begin(&s, 80);
    out_json j;
    sd_jw *w = out_json_begin(&s.c, &j, "sonde.test/1");
    sd_jw_kf64(w, "ppl", NAN);
    assert_int_equal(out_json_end(&s.c, &j), 0);
    fflush(s.c.out);
    t_ok(sd_json_parse(&doc, s.out, s.n_out, "out", &err), err);
    t_ok(sd_json_get_str(doc, "schema", &schema, "out", &err), err);
    assert_string_equal(schema, "sonde.test/1");
    assert_true(json_is_null(json_object_get(doc, "ppl")));
    assert_true(json_is_object(json_object_get(doc, "provenance")));
    json_decref(doc);
    char *copy = strdup(s.out);
    end(&s, copy);
    free(copy);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    screen s;
    begin(&s, 0);
    FILE *mem = s.c.out;
    s.c.out = fopen("/dev/full", "w");
    if (!s.c.out) {
        s.c.out = mem;
        end(&s, "");
        t_skip("no /dev/full here");
    }
    out_pairs *p = out_pairs_new(&s.c);
    out_pair(p, "a", "b");
    assert_int_equal(out_pairs_end(p), 5);
    fflush(s.c.err);
    assert_non_null(strstr(s.err, "sonde: cannot write the result to standard output: "));
    assert_non_null(strstr(s.err, "\nhint: "));
    fclose(s.c.out);
    s.c.out = mem;
    end(&s, "");
}

static void numbers_are_grouped(void **state)
{
    (void)state;
    char x[48];
    assert_string_equal(group_digits(x, sizeof x, 0), "0");
    assert_string_equal(group_digits(x, sizeof x, 999), "999");
    assert_string_equal(group_digits(x, sizeof x, -1000), "-1,000");
    assert_string_equal(group_digits(x, sizeof x, INT64_MIN), "-9,223,372,036,854,775,808");
}

static const struct CMUnitTest tests[] = {
    T(piped_rows_are_tab_separated), T(a_terminal_gets_columns), T(a_narrow_terminal_cuts_the_filling_column), T(colours_are_only_for_terminals),
    T(piped_pairs_are_two_fields), T(widths_count_columns_not_bytes), T(controls_are_shown_not_obeyed), T(streamed_text_keeps_characters_whole),
    T(json_is_one_document), T(a_full_disk_is_told), T(numbers_are_grouped)};
T_MAIN(tests)
