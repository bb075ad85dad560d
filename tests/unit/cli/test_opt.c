/* The parser of command lines: every type of row, every way to write a value, every refusal with its sentence. */
#include "t.h"
#include "cli/opt.c"
#include "cli/help.c"
#include "cli/out_text.c"
#include "cli/out.c"
#include "cli/progress.c"
#include "cli/cli.c"

typedef struct args {
    bool b;
    int count;
    const char *s, *choice;
    int64_t i;
    double f;
    opt_list list, multi;
    opt_ints ints;
} args;

static const cli_opt opts[] = {
    {'b', "bool", OPT_BOOL, AT(args, b), .help = "a flag"},
    {'c', "count", OPT_COUNT, AT(args, count), .help = "counts"},
    {'s', "string", OPT_STR, AT(args, s), .arg = "TEXT", .help = "a text"},
    {0, "choice", OPT_STR, AT(args, choice), .arg = "C", .values = "red|green|blue", .def = "green", .help = "a colour"},
    {'n', "number", OPT_INT, AT(args, i), .arg = "N", .def = "7", .lo = -5, .hi = 100, .unit = "tokens", .help = "a whole number"},
    {0, "float", OPT_FLOAT, AT(args, f), .arg = "X", .def = "0.5", .help = "a number"},
    {0, "list", OPT_LIST, AT(args, list), .arg = "A,B", .help = "a list"},
    {0, "multi", OPT_MULTI, AT(args, multi), .arg = "SPEC", .help = "values"},
    {0, "gate", OPT_MULTI, AT(args, multi), .arg = "GATE", .values = "cut|change", .help = "what stops it"},
    {0, "ints", OPT_INTS, AT(args, ints), .arg = "IDS", .help = "whole numbers"},
    {0, "secret", OPT_BOOL, AT(args, b), .help = "not shown", .hidden = true},
    OPT_RENAMED("text", "string"),
    {0, "leaning", OPT_FLOAT, AT(args, f), .with = "bool|string", .help = "nothing without another"},
    OPT_END};

static int nothing(cli *c, int argc, char **argv)
{
    (void)c, (void)argc, (void)argv;
    return 0;
}
static const cli_cmd test_cmd = {.name = "test it", .brief = "try things", .args = "MODEL [FILE..]", .opts = opts, .run = nothing,
                                 .uses = CLI_SEED | CLI_MODE_BULK, .text = "Some text.\n", .examples = "sonde test it m.gguf\n", .json = "sonde.test/1"};

const cli_cmd *cli_command(int i) { return i == 0 ? &test_cmd : NULL; }
const cli_cmd *cli_find_command(const char *name) { return strcmp(name, test_cmd.name) == 0 ? &test_cmd : NULL; }

/* A parse and what it wrote to stderr. */
typedef struct parsed { cli c; args a; bool ok; int rc; char *text; size_t n; char *out; size_t n_out; } parsed;

static void parse_with(parsed *p, const cli_cmd *cmd, int argc, const char **argv)
{
    memset(p, 0, sizeof *p);
    cli_init(&p->c, argc, (char **)argv);
    p->c.err = open_memstream(&p->text, &p->n);
    p->c.out = open_memstream(&p->out, &p->n_out);
    p->c.out_tty = p->c.err_tty = p->c.out_color = p->c.err_color = false;
    p->ok = cli_parse(&p->c, cmd, &p->a, argc, (char **)argv, &p->rc);
    fflush(p->c.err);
    fflush(p->c.out);
}
#define PARSE(p, ...) \
    const char *argv_[] = {"it", __VA_ARGS__}; \
    parsed p; \
    parse_with(&p, &test_cmd, sizeof argv_ / sizeof *argv_, argv_)
static void end(parsed *p)
{
    fclose(p->c.err);
    fclose(p->c.out);
    free(p->text);
    free(p->out);
    cli_release(&p->c);
    assert_int_equal(sd_mem_live_blocks(), 0);
}

static void defaults_are_set(void **state)
{
    (void)state;
    PARSE(p, "m");
    assert_true(p.ok);
    assert_false(p.a.b);
    assert_null(p.a.s);
    assert_string_equal(p.a.choice, "green");
    assert_int_equal(p.a.i, 7);
    assert_true(p.a.f == 0.5);
    assert_int_equal(p.a.list.n + p.a.multi.n + (int)p.a.ints.n, 0);
    assert_int_equal(p.c.mode, SD_MODE_DEFAULT);
    assert_int_equal(p.c.n_arg, 1);
    assert_string_equal(p.c.arg[0], "m");
    assert_false(opt_given(&p.c, "number"));
    end(&p);
}

static void every_type_is_read(void **state)
{
    (void)state;
    PARSE(p, "-b", "-cc", "--count", "-s", "x y", "--choice=blue", "-n12", "--float", "-1e-3", "--list", "a,b", "m", "--list=c", "--multi", "{1,2}",
          "--multi", "3", "--ints", "1,-2, 3", "--ints", "4", "--seed", "9007199254740992", "--mode", "bf16", "--json", "-t2", "-q", "-", "--", "-z");
    assert_true(p.ok);
    assert_true(p.a.b && p.c.json && p.c.quiet);
    assert_int_equal(p.a.count, 3);
    assert_string_equal(p.a.s, "x y");
    assert_string_equal(p.a.choice, "blue");
    assert_int_equal(p.a.i, 12);
    assert_true(p.a.f == -1e-3);
    assert_int_equal(p.a.list.n, 3);
    assert_string_equal(p.a.list.v[0], "a");
    assert_string_equal(p.a.list.v[2], "c");
    assert_int_equal(p.a.multi.n, 2);
    assert_string_equal(p.a.multi.v[0], "{1,2}");
    assert_int_equal(p.a.ints.n, 4);
    assert_int_equal(p.a.ints.v[1], -2);
    assert_int_equal(p.a.ints.v[3], 4);
    assert_true(p.c.seed == 9007199254740992u);
    assert_int_equal(p.c.mode, SD_MODE_BF16);
    assert_int_equal(p.c.threads, 2);
    assert_int_equal(p.c.n_arg, 3);
    assert_string_equal(p.c.arg[1], "-");
    assert_string_equal(p.c.arg[2], "-z");
    assert_true(opt_given(&p.c, "number") && opt_given(&p.c, "seed") && !opt_given(&p.c, "cpu"));
    end(&p);
}

static void negative_numbers_are_arguments(void **state)
{
    (void)state;
    PARSE(p, "m", "-1", "-n", "-3", "-0.5x");
    assert_true(p.ok);
    assert_int_equal(p.a.i, -3);
    assert_int_equal(p.c.n_arg, 3);
    assert_string_equal(p.c.arg[1], "-1");
    end(&p);
}

static void the_last_value_wins(void **state)
{
    (void)state;
    PARSE(p, "m", "-n1", "--number", "2", "--choice", "red", "--choice", "blue");
    assert_true(p.ok);
    assert_int_equal(p.a.i, 2);
    assert_string_equal(p.a.choice, "blue");
    end(&p);
}

static void a_text_is_given_once(void **state)
{
    (void)state;
    PARSE(p, "m", "-s", "a", "--string", "b");
    assert_false(p.ok);
    assert_int_equal(p.rc, 2);
    end(&p);
}

static void refusals_say_what_and_what_next(void **state)
{
    (void)state;
    static const struct { const char *argv[4]; const char *text; } bad[] = {
        {{"m", "--numbr", "3"}, "sonde: `sonde test it` has no flag --numbr\nhint: did you mean --number?\n"},
        {{"m", "--nmuber=3"}, "sonde: `sonde test it` has no flag --nmuber\nhint: did you mean --number?\n"},
        {{"m", "--num", "3"}, "sonde: `sonde test it` has no flag --num\nhint: see `sonde test it -h`\n"},
        {{"m", "--secre"}, "sonde: `sonde test it` has no flag --secre\nhint: see `sonde test it -h`\n"},
        {{"m", "-x"}, "sonde: `sonde test it` has no flag -x\nhint: see `sonde test it -h`\n"},
        {{"m", "-n"}, "sonde: -n needs a value: -n N\nhint: see `sonde test it -h`\n"},
        {{"m", "--string"}, "sonde: --string needs a value: --string TEXT\nhint: see `sonde test it -h`\n"},
        {{"m", "--bool=1"}, "sonde: --bool takes no value\nhint: see `sonde test it -h`\n"},
        {{"m", "-n", "3.5"}, "sonde: --number takes a whole number, not '3.5'\nhint: see `sonde test it -h`\n"},
        {{"m", "-n", ""}, "sonde: --number takes a whole number, not ''\nhint: see `sonde test it -h`\n"},
        {{"m", "-n", "101"}, "sonde: --number is between -5 and 100, not 101\nhint: see `sonde test it -h`\n"},
        {{"m", "--float", "nan"}, "sonde: --float takes a number, not 'nan'\nhint: see `sonde test it -h`\n"},
        {{"m", "--choice", "gren"}, "sonde: --choice is one of red|green|blue, not 'gren'\nhint: did you mean green?\n"},
        {{"m", "--list", "a,,b"}, "sonde: --list has an empty item in 'a,,b'\nhint: see `sonde test it -h`\n"},
        {{"m", "--ints", "1,x"}, "sonde: --ints takes a whole number, not 'x'\nhint: see `sonde test it -h`\n"},
        {{"m", "--seed", "9007199254740993"}, "sonde: --seed is between 0 and 9007199254740992, not 9007199254740993\nhint: see `sonde test it -h`\n"},
        {{"m", "--mode", "fats"}, "sonde: --mode is one of faithful|bf16|fast, not 'fats'\nhint: did you mean fast?\n"},
        {{"--bool"}, "sonde: `sonde test it` needs MODEL\nhint: see `sonde test it -h`\n"},
        {{"m", "\x1b[2J--x", "--bo\x1b"}, "sonde: `sonde test it` has no flag --bo\\x1b\nhint: did you mean --bool?\n"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *argv[5] = {"it"};
        int n = 1;
        for (; n < 5 && bad[i].argv[n - 1]; n++) argv[n] = bad[i].argv[n - 1];
        parsed p;
        parse_with(&p, &test_cmd, n, argv);
        assert_false(p.ok);
        assert_int_equal(p.rc, 2);
        assert_string_equal(p.text, bad[i].text);
        assert_int_equal(p.n_out, 0);
        end(&p);
    }
}

static void arguments_are_counted(void **state)
{
    (void)state;
    static const struct { const char *pattern; int n; bool ok; } cases[] = {
        {NULL, 0, true}, {NULL, 1, false}, {"A", 0, false}, {"A", 1, true}, {"A", 2, false}, {"A [B]", 1, true}, {"A [B]", 2, true}, {"A [B]", 3, false},
        {"A B..", 1, false}, {"A B..", 2, true}, {"A B..", 9, true}, {"A|B [C..]", 1, true}, {"A|B [C..]", 9, true}, {"[A..]", 0, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *argv[10] = {"it", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
        cli_cmd cmd = {.name = "x", .brief = "y", .args = cases[i].pattern};
        parsed p;
        parse_with(&p, &cmd, cases[i].n + 1, argv);
        assert_int_equal(p.ok, cases[i].ok);
        assert_int_equal(p.rc, cases[i].ok ? 0 : 2);
        end(&p);
    }
}

static void needed_flags_are_asked_for(void **state)
{
    (void)state;
    const char *argv[3] = {"it", "-o", "x"};
    cli_cmd cmd = {.name = "x", .brief = "y", .uses = CLI_OUT | CLI_NEED_OUT | CLI_SITE | CLI_NEED_SITE};
    parsed p;
    parse_with(&p, &cmd, 1, argv);
    assert_string_equal(p.text, "sonde: `sonde x` needs -o PATH\nhint: see `sonde x -h`\n");
    end(&p);
    parse_with(&p, &cmd, 3, argv);
    assert_string_equal(p.text, "sonde: `sonde x` needs --site SITE\nhint: see `sonde x -h`\n");
    end(&p);
}

static void help_shows_what_the_table_knows(void **state)
{
    (void)state;
    PARSE(p, "--help");
    assert_false(p.ok);
    assert_int_equal(p.rc, 0);
    assert_non_null(strstr(p.out, "usage: sonde test it MODEL [FILE..] [options]\n"));
    assert_non_null(strstr(p.out, "  -n, --number N              a whole number, in tokens (default 7)\n"));
    assert_non_null(strstr(p.out, "      --choice C              a colour: red, green, blue (default green)\n"));
    assert_non_null(strstr(p.out, "      --seed N "));
    assert_non_null(strstr(p.out, "\"schema\": \"sonde.test/1\""));
    assert_null(strstr(p.out, "secret"));
    assert_null(strstr(p.out, "--site"));
    /* No line is wider than a page, and every row of the table is there. */
    sd_slice rest = sd_slice_of(p.out), line;
    while (sd_slice_cut(&rest, '\n', &line)) assert_true(out_width(line) <= HELP_END);
    end(&p);
}

/* A gate that nobody knows would never close. */
static void a_repeated_flag_takes_its_values_alone(void **state)
{
    (void)state;
    {
        PARSE(p, "m", "--gate", "cut", "--gate=change");
        assert_true(p.ok && p.a.multi.n == 2);
        end(&p);
    }
    PARSE(p, "m", "--gate", "cut", "--gate", "cuts");
    assert_int_equal(p.rc, 2);
    assert_non_null(strstr(p.text, "--gate is one of cut|change, not 'cuts'"));
    assert_non_null(strstr(p.text, "did you mean cut?"));
    end(&p);
}

static void a_flag_that_does_nothing_alone_is_refused(void **state)
{
    (void)state;
    {
        PARSE(p, "m", "--leaning", "2");
        assert_int_equal(p.rc, 2);
        assert_non_null(strstr(p.text, "--leaning does nothing without --bool or --string\n"));
        end(&p);
    }
    {
        PARSE(p, "m", "--leaning", "2", "-s", "x");
        assert_true(p.ok && p.a.f == 2);
        end(&p);
    }
    {
        PARSE(p, "m");
        assert_true(p.ok);
        end(&p);
    }
}

static void a_renamed_flag_says_its_name(void **state)
{
    (void)state;
    {
        PARSE(p, "m", "--text", "x");
        assert_int_equal(p.rc, 2);
        assert_non_null(strstr(p.text, "--text is now --string\n"));
        end(&p);
    }
    {
        PARSE(p, "m", "--text=x");
        assert_int_equal(p.rc, 2);
        end(&p);
    }
    PARSE(p, "-h");
    assert_null(strstr(p.out, "--text"));
    end(&p);
}

static void nearest_is_near(void **state)
{
    (void)state;
    static const char *const names[] = {"capture", "score", "trace", "run"};
    assert_string_equal(opt_nearest("captrue", names, 4), "capture");
    assert_string_equal(opt_nearest("scor", names, 4), "score");
    assert_string_equal(opt_nearest("rnu", names, 4), "run");
    assert_null(opt_nearest("zebra", names, 4));
    assert_null(opt_nearest("a-word-far-longer-than-any-name-of-a-command", names, 4));
    assert_int_equal(distance("abc", "acb"), 1);
    assert_int_equal(distance("", "abc"), 3);
    assert_int_equal(distance("kitten", "sitting"), 3);
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    const char *argv[] = {"it", "m", "--list", "a,b", "--multi", "x", "--ints", "1,2", "--choice", "red"};
    for (int64_t n = 1;; n++) {
        parsed p;
        sd_mem_fail_nth(n);
        parse_with(&p, &test_cmd, 10, argv);
        sd_mem_fail_nth(0);
        bool ok = p.ok;
        if (!ok) assert_int_equal(p.rc, 5);
        end(&p);
        if (ok) break;
        assert_true(n < 100);
    }
}

static const struct CMUnitTest tests[] = {T(defaults_are_set), T(every_type_is_read), T(negative_numbers_are_arguments), T(the_last_value_wins), T(a_text_is_given_once),
                                          T(refusals_say_what_and_what_next),
                                          T(arguments_are_counted), T(needed_flags_are_asked_for), T(help_shows_what_the_table_knows),
                                          T(a_repeated_flag_takes_its_values_alone),
                                          T(a_flag_that_does_nothing_alone_is_refused), T(a_renamed_flag_says_its_name), T(nearest_is_near), T(memory_may_run_out_anywhere)};
T_MAIN(tests)
