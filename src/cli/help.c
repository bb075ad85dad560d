/* Everything that is written about commands, made from their tables: the text of -h, `sonde help`, docs/cli.md, the man page.
 * Nothing here knows a particular command. docs/ holds the printed forms; tools/check-docs compares them with these. */
#include "cli/cli.h"

/* Columns where the meanings of flags, commands and exit codes start, and where lines end: in the documents and on wide terminals; on narrow ones, where a
 * meaning would have less than half of the line, it stands below its name. */
enum { HELP_COL = 30, BRIEF_COL = 20, EXIT_COL = 7, BELOW_COL = 6, HELP_END = 100, LEAST_END = 20 };

static const struct { int code; const char *words; } exit_codes[] = {
    {0, "done"},
    {1, "failed while running"},
    {2, "the command line is wrong"},
    {3, "a gate said no (an audit's --fail-on, a monitor that stops)"},
    {4, "bad or unsupported input"},
    {5, "out of memory or disk"},
    {130, "interrupted, after a checkpoint was written where there is one"},
};
static const struct { const char *name, *words; } environment[] = {
    {"NO_COLOR", "no colours when set to anything"},
    {"XDG_CACHE_HOME", "hashes of models are kept under $XDG_CACHE_HOME/sonde (default ~/.cache/sonde)"},
    {"XDG_DATA_HOME", "directions and monitors are kept under $XDG_DATA_HOME/sonde (default ~/.local/share/sonde)"},
};
enum { N_EXIT = sizeof exit_codes / sizeof exit_codes[0], N_ENV = sizeof environment / sizeof environment[0] };

/* Words of `text` from column `indent` on, broken before `end`; following lines start at `indent`. */
static void put_wrapped(sd_buf *b, sd_slice rest, int indent, int end)
{
    sd_slice word;
    bool first = true;
    int col = indent;
    while (sd_slice_cut(&rest, ' ', &word)) {
        int w = out_width(word);
        if (!first && col + 1 + w > end) {
            sd_buf_printf(b, "\n%*s", indent, "");
            col = indent;
        } else if (!first) {
            sd_buf_putc(b, ' ');
            col++;
        }
        sd_buf_put(b, word.p, word.n);
        col += w;
        first = false;
    }
    sd_buf_putc(b, '\n');
}

/* "-n, --predict N" */
static void put_flag(sd_buf *b, const cli_opt *o, bool pad_short)
{
    if (o->short_name) sd_buf_printf(b, "-%c, ", o->short_name);
    else if (pad_short) sd_buf_puts(b, "    ");
    sd_buf_printf(b, "--%s", o->name);
    if (o->type != OPT_BOOL && o->type != OPT_COUNT) sd_buf_printf(b, " %s", o->arg ? o->arg : "X");
}

/* The help with what the table knows: values, unit, range, default. */
static void put_meaning(sd_buf *b, const cli_opt *o)
{
    sd_buf_puts(b, o->help);
    if (o->values) {
        sd_slice rest = sd_slice_of(o->values), v;
        const char *sep = ": ";
        while (sd_slice_cut(&rest, '|', &v)) {
            sd_buf_printf(b, "%s%.*s", sep, SD_SLICE(v));
            sep = ", ";
        }
    }
    if (o->unit) sd_buf_printf(b, ", in %s", o->unit);
    if (o->zero) sd_buf_printf(b, ", 0 for %s", o->zero);
    const char *def = o->def_words ? o->def_words : o->def;
    const char *many = o->type == OPT_LIST || o->type == OPT_INTS ? "comma-separated" : o->type == OPT_MULTI ? "may be given several times" : NULL;
    if (def || many) sd_buf_printf(b, " (%s%s%s%s)", many ? many : "", def && many ? "; " : "", def ? "default " : "", def ? def : "");
}

/* "  name    meaning" with the meaning at column col, two spaces from the name, or below it. */
static void put_entry(sd_buf *b, sd_slice name, sd_slice meaning, int col, int end)
{
    int n = out_width(name) + 2;
    if (col > end / 2) col = BELOW_COL;
    sd_buf_printf(b, "  %.*s", SD_SLICE(name));
    if (n + 2 > col) {
        sd_buf_putc(b, '\n');
        n = 0;
    }
    sd_buf_printf(b, "%*s", col - n, "");
    put_wrapped(b, meaning, col, end);
}

static void put_option(sd_buf *b, const cli_opt *o, int end)
{
    if (o->hidden) return;
    sd_buf left, right;
    sd_buf_init(&left, 4096);
    sd_buf_init(&right, 4096);
    put_flag(&left, o, true);
    put_meaning(&right, o);
    put_entry(b, (sd_slice){left.p, left.n}, (sd_slice){right.p, right.n}, HELP_COL, end);
    sd_buf_release(&left);
    sd_buf_release(&right);
}

/* "sonde run MODEL [options]" */
static void put_usage(sd_buf *b, const cli_cmd *cmd)
{
    sd_buf_printf(b, "sonde %s", cmd->name);
    if (cmd->usage || cmd->args) sd_buf_printf(b, " %s", cmd->usage ? cmd->usage : cmd->args);
    if (!cmd->usage && cmd->uses & CLI_NEED_SITE) sd_buf_puts(b, " --site SITE");
    if (!cmd->usage && cmd->uses & CLI_NEED_OUT) sd_buf_puts(b, cmd->uses & CLI_OUT_DIR ? " -o DIR" : " -o FILE");
    sd_buf_puts(b, " [options]");
}

static void put_options(sd_buf *b, const cli_cmd *cmd, int end, void (*put)(sd_buf *b, const cli_opt *o, int end))
{
    unsigned use;
    const cli_opt *o;
    for (o = cmd->opts; o && o->type; o++) put(b, o, end);
    for (int i = 0; (o = opt_shared(i, &use)); i++)
        if (cmd->uses & use) put(b, o, end);
}

/* The flags of every command; --json only where there is a document. */
static void put_common(sd_buf *b, const cli_cmd *cmd, int end)
{
    for (const cli_opt *o = opt_common(); o->type; o++)
        if (cmd->json || strcmp(o->name, "json") != 0) put_option(b, o, end);
}

/* Every line of `lines` behind `prefix`. */
static void put_lines(sd_buf *b, const char *prefix, const char *lines)
{
    sd_slice rest = sd_slice_of(lines), line;
    while (sd_slice_cut(&rest, '\n', &line)) {
        if (rest.n == 0 && line.n == 0) break;
        sd_buf_printf(b, "%s%.*s\n", line.n ? prefix : "", SD_SLICE(line));
    }
}

/* Paragraphs, filled. */
static void put_paragraphs(sd_buf *b, const char *text, int end)
{
    sd_slice rest = sd_slice_of(text), line;
    sd_buf para;
    sd_buf_init(&para, 1 << 16);
    for (bool more = true; more;) {
        more = sd_slice_cut(&rest, '\n', &line);
        if (more && line.n) {
            if (para.n) sd_buf_putc(&para, ' ');
            sd_buf_put(&para, line.p, line.n);
        } else if (para.n) {
            sd_buf_putc(b, '\n');
            put_wrapped(b, sd_slice_of(sd_buf_str(&para)), 0, end);
            sd_buf_reset(&para);
        }
    }
    sd_buf_release(&para);
}

static int end_of(int width)
{
    return width <= 0 || width > HELP_END ? HELP_END : width < LEAST_END ? LEAST_END : width;
}

/* Examples are not broken: they are there to be copied. */
void help_command(sd_buf *b, const cli_cmd *cmd, int width)
{
    const int end = end_of(width);
    sd_buf line;
    sd_buf_init(&line, 4096);
    sd_buf_printf(&line, "sonde %s: %s", cmd->name, cmd->brief);
    put_wrapped(b, (sd_slice){line.p, line.n}, 0, end);
    sd_buf_reset(&line);
    put_usage(&line, cmd);
    sd_buf_puts(b, "\nusage: ");
    put_wrapped(b, (sd_slice){line.p, line.n}, 7, end);
    sd_buf_release(&line);
    if (cmd->examples) {
        sd_buf_puts(b, "\nexamples:\n");
        put_lines(b, "  ", cmd->examples);
    }
    if (cmd->text) put_paragraphs(b, cmd->text, end);
    sd_buf options;
    sd_buf_init(&options, 1 << 16);
    put_options(&options, cmd, end, put_option);
    if (options.n) sd_buf_printf(b, "\noptions:\n%s", sd_buf_str(&options));
    sd_buf_release(&options);
    sd_buf_puts(b, "\neverywhere:\n");
    put_common(b, cmd, end);
    if (!cmd->json) return;
    sd_buf_init(&line, 4096);
    sd_buf_printf(&line, "--json prints one document with \"schema\": \"%s\".", cmd->json);
    put_paragraphs(b, sd_buf_str(&line), end);
    sd_buf_release(&line);
}

static void put_brief(sd_buf *b, const cli_cmd *cmd, int end) { put_entry(b, sd_slice_of(cmd->name), sd_slice_of(cmd->brief), BRIEF_COL, end); }

void help_noun(sd_buf *b, const char *noun, int width)
{
    size_t n = strlen(noun);
    sd_buf_printf(b, "usage: sonde %s VERB ..\n\n", noun);
    for (int i = 0; cli_command(i); i++) {
        const cli_cmd *cmd = cli_command(i);
        if (strncmp(cmd->name, noun, n) == 0 && cmd->name[n] == ' ') put_brief(b, cmd, end_of(width));
    }
    sd_buf_printf(b, "\n`sonde %s VERB -h` says more.\n", noun);
}

void help_overview(sd_buf *b, int width)
{
    const int end = end_of(width);
    put_wrapped(b, SD_LIT("sonde: opens a language model, shows what it has learned, changes how it behaves"), 0, end);
    sd_buf_puts(b, "\nusage: ");
    put_wrapped(b, SD_LIT("sonde COMMAND [arguments] [options]"), 7, end);
    sd_buf_putc(b, '\n');
    for (int i = 0; cli_command(i); i++)
        if (!(cli_command(i)->uses & CLI_HIDDEN)) put_brief(b, cli_command(i), end);
    put_paragraphs(b, "`sonde COMMAND -h` says more. Results go to stdout (a table on a terminal; piped, tab-separated, with sentences behind #; one document with --json), "
                      "everything else to stderr.", end);
    sd_buf_puts(b, "\nexit codes:\n");
    for (int i = 0; i < N_EXIT; i++) {
        char code[8];
        snprintf(code, sizeof code, "%d", exit_codes[i].code);
        put_entry(b, sd_slice_of(code), sd_slice_of(exit_codes[i].words), EXIT_COL, end);
    }
}

void help_markdown(sd_buf *b)
{
    sd_buf_puts(b, "# The command line\n\nMade by `tools/docs` from the option tables of the program; not edited by hand.\n\n"
                   "## sonde\n\n```text\n");
    help_overview(b, HELP_END);
    sd_buf_puts(b, "```\n\n## Environment\n\n| variable | effect |\n|---|---|\n");
    for (int i = 0; i < N_ENV; i++) sd_buf_printf(b, "| `%s` | %s |\n", environment[i].name, environment[i].words);
    for (int i = 0; cli_command(i); i++) {
        const cli_cmd *cmd = cli_command(i);
        if (cmd->uses & CLI_HIDDEN) continue;
        sd_buf_printf(b, "\n## sonde %s\n\n```text\n", cmd->name);
        help_command(b, cmd, HELP_END);
        sd_buf_puts(b, "```\n");
    }
}

/* Text as roff: backslashes and hyphens escaped, no line taken for a request. */
static void put_roff(sd_buf *b, sd_slice s)
{
    bool start = true;
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        if (start && (ch == '.' || ch == '\'')) sd_buf_puts(b, "\\&");
        if (ch == '\\') sd_buf_puts(b, "\\e");
        else if (ch == '-') sd_buf_puts(b, "\\-");
        else sd_buf_putc(b, ch);
        start = ch == '\n';
    }
}

static void put_roff_made(sd_buf *b, void (*make)(sd_buf *b, const cli_opt *o), const cli_opt *o)
{
    sd_buf t;
    sd_buf_init(&t, 4096);
    make(&t, o);
    put_roff(b, sd_slice_of(sd_buf_str(&t)));
    sd_buf_release(&t);
    sd_buf_putc(b, '\n');
}

static void make_flag(sd_buf *b, const cli_opt *o) { put_flag(b, o, false); }

static void put_man_option(sd_buf *b, const cli_opt *o, int end)
{
    (void)end; /* roff fills */
    if (o->hidden) return;
    sd_buf_puts(b, ".TP\n.B ");
    put_roff_made(b, make_flag, o);
    put_roff_made(b, put_meaning, o);
}

static void put_man_command(sd_buf *b, const cli_cmd *cmd)
{
    sd_buf_puts(b, ".SS \"sonde ");
    put_roff(b, sd_slice_of(cmd->name));
    sd_buf_puts(b, "\"\n");
    put_roff(b, sd_slice_of(cmd->brief));
    sd_buf_puts(b, ".\n.PP\n.B ");
    sd_buf usage;
    sd_buf_init(&usage, 4096);
    put_usage(&usage, cmd);
    put_roff(b, sd_slice_of(sd_buf_str(&usage)));
    sd_buf_release(&usage);
    sd_buf_putc(b, '\n');
    if (cmd->examples) {
        sd_buf_puts(b, ".PP\nExamples:\n.PP\n.nf\n");
        put_roff(b, sd_slice_of(cmd->examples));
        sd_buf_puts(b, ".fi\n");
    }
    if (cmd->text) {
        sd_buf_puts(b, ".PP\n");
        sd_slice rest = sd_slice_of(cmd->text), line;
        while (sd_slice_cut(&rest, '\n', &line)) {
            if (line.n == 0 && rest.n == 0) break;
            if (line.n == 0) sd_buf_puts(b, ".PP");
            put_roff(b, line);
            sd_buf_putc(b, '\n');
        }
    }
    put_options(b, cmd, HELP_END, put_man_option);
}

void help_man(sd_buf *b)
{
    sd_buf_printf(b, ".TH SONDE 1 \"\" \"sonde %s\" \"User Commands\"\n.SH NAME\n"
                     "sonde \\- open a language model and its features\n"
                     ".SH SYNOPSIS\n.B sonde\n.I COMMAND\n[arguments] [options]\n.SH DESCRIPTION\n"
                     "Results go to standard output: a table on a terminal, tab-separated values when piped, one JSON document\n"
                     "with \\-\\-json. Progress, notes and errors go to standard error.\n"
                     ".SH OPTIONS\nEvery command takes these.\n", sd_version());
    for (const cli_opt *o = opt_common(); o->type; o++) put_man_option(b, o, HELP_END);
    sd_buf_puts(b, ".SH COMMANDS\n");
    for (int i = 0; cli_command(i); i++)
        if (!(cli_command(i)->uses & CLI_HIDDEN)) put_man_command(b, cli_command(i));
    sd_buf_puts(b, ".SH EXIT STATUS\n");
    for (int i = 0; i < N_EXIT; i++) sd_buf_printf(b, ".TP\n.B %d\n%s\n", exit_codes[i].code, exit_codes[i].words);
    sd_buf_puts(b, ".SH ENVIRONMENT\n");
    for (int i = 0; i < N_ENV; i++) sd_buf_printf(b, ".TP\n.B %s\n%s\n", environment[i].name, environment[i].words);
    sd_buf_puts(b, ".SH SEE ALSO\nThe files under docs/ of the source, above all docs/FORMATS.md and docs/NUMERICS.md.\n");
}
