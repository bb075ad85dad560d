/* The program: the table of commands, signals, dispatch. A command's definition stands in its own file; here is only their
 * order and the way from argv to one of them.
 *
 * Signals: the first SIGINT or SIGTERM sets the cancel flag, the study writes its checkpoint and returns SD_E_CANCELLED; the
 * handler has reset itself by then, so the second one kills. SIGPIPE is ignored: out_flush sees the closed pipe. */
#include "cli/commands.h"
#include "cli/cli.h"
#include <signal.h>
#include <unistd.h>

#define XX(name) extern const cli_cmd name##_def;
CLI_COMMANDS(XX)
#undef XX

static const cli_cmd *const table[] = {
#define XX(name) &name##_def,
    CLI_COMMANDS(XX)
#undef XX
};
enum { N_TABLE = sizeof table / sizeof table[0] };

const cli_cmd *cli_command(int i)
{
    return i >= 0 && i < N_TABLE ? table[i] : NULL;
}

const cli_cmd *cli_find_command(const char *name)
{
    const cli_cmd *cmd;
    for (int i = 0; (cmd = cli_command(i)); i++)
        if (strcmp(cmd->name, name) == 0) return cmd;
    return NULL;
}

static volatile int cancelled;
static volatile sig_atomic_t say_cancel;

static void on_signal(int sig)
{
    static const char line[] = "\nsonde: stopping after this step; once more stops at once\n";
    (void)sig;
    cancelled = 1;
    if (say_cancel && write(STDERR_FILENO, line, sizeof line - 1) < 0) say_cancel = 0; /* nobody to tell */
}

static void set_signals(bool tell)
{
    say_cancel = tell;
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Is there a command "NOUN VERB"? */
static bool is_noun(const char *noun)
{
    size_t n = strlen(noun);
    for (int i = 0; cli_command(i); i++)
        if (strncmp(cli_command(i)->name, noun, n) == 0 && cli_command(i)->name[n] == ' ') return true;
    return false;
}

/* noun NULL: the overview. */
static int print(cli *c, FILE *f, const char *noun)
{
    const int width = f == c->err ? c->err_width : c->width;
    sd_buf b;
    sd_buf_init(&b, 1 << 20);
    if (noun) help_noun(&b, noun, width);
    else help_overview(&b, width);
    fwrite(b.p, 1, b.n, f);
    sd_buf_release(&b);
    return out_flush(c);
}

/* Names that start as the first word does: first words when verb is NULL, else the verbs of noun. */
int cli_unknown_command(cli *c, const char *noun, const char *verb)
{
    if (verb && !is_noun(noun)) verb = NULL;
    enum { MAX = 128 };
    char first[MAX][32], near[80];
    const char *names[MAX];
    int n = 0;
    for (int i = 0; cli_command(i) && n < MAX; i++) {
        const char *name = cli_command(i)->name, *space = strchr(name, ' ');
        size_t head = space ? (size_t)(space - name) : strlen(name);
        if (verb && !(space && strlen(noun) == head && memcmp(noun, name, head) == 0)) continue;
        if (verb) snprintf(first[n], sizeof first[n], "%s", space + 1);
        else snprintf(first[n], sizeof first[n], "%.*s", (int)head, name);
        names[n] = first[n];
        n++;
    }
    const char *best = opt_nearest(verb ? verb : noun, names, n);
    if (best) snprintf(near, sizeof near, "`sonde %s%s%s`", verb ? noun : "", verb ? " " : "", best);
    if (verb) return cli_usage_near(c, best ? near : NULL, "`sonde %s` has no verb '%s'", noun, verb);
    return cli_usage_near(c, best ? near : NULL, "there is no command '%s'", noun);
}

static int run(cli *c, const cli_cmd *cmd, int argc, char **argv)
{
    c->cmd = cmd;
    int rc = cmd->run(c, argc, argv);
    progress_end(c);
    int flushed = out_flush(c);
    return rc ? rc : flushed;
}

static int dispatch(cli *c, int argc, char **argv)
{
    const char *noun = argc > 1 ? argv[1] : NULL;
    char name[64];
    if (!noun) {
        print(c, c->err, NULL);
        return sd_status_exit_code(SD_E_ARG);
    }
    if (strcmp(noun, "-h") == 0 || strcmp(noun, "--help") == 0) return print(c, c->out, NULL);
    if (strcmp(noun, "--version") == 0) noun = "version";
    if (noun[0] == '-') return cli_usage(c, "flags come after the command: sonde COMMAND .. %s", noun);
    const cli_cmd *cmd = cli_find_command(noun);
    if (cmd) return run(c, cmd, argc - 1, argv + 1);
    if (!is_noun(noun)) return cli_unknown_command(c, noun, NULL);
    const char *verb = argc > 2 ? argv[2] : NULL;
    if (verb && (strcmp(verb, "-h") == 0 || strcmp(verb, "--help") == 0)) return print(c, c->out, noun);
    if (!verb) {
        print(c, c->err, noun);
        return sd_status_exit_code(SD_E_ARG);
    }
    snprintf(name, sizeof name, "%s %s", noun, verb);
    cmd = cli_find_command(name);
    return cmd ? run(c, cmd, argc - 2, argv + 2) : cli_unknown_command(c, noun, verb);
}

int main(int argc, char **argv)
{
    cli c;
    cli_init(&c, argc, argv);
    c.cancel = &cancelled;
    set_signals(c.err_tty);
    progress_init(&c);
    int rc = dispatch(&c, argc, argv);
    cli_release(&c);
    return rc;
}
