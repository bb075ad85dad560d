/* sonde help: the list of commands, or one command's text. The hidden flags print the documents that are made of the tables
 * (tools/docs writes them to docs/). */
#include "cli/cli.h"

typedef struct args { bool man, markdown; } args;

static const cli_opt opts[] = {
    {0, "man", OPT_BOOL, AT(args, man), .help = "the man page", .hidden = true},
    {0, "markdown", OPT_BOOL, AT(args, markdown), .help = "docs/cli.md", .hidden = true},
    OPT_END};

static int cmd_help(cli *c, int argc, char **argv);
const cli_cmd cmd_help_def = {
    .name = "help",
    .brief = "list the commands, or explain one",
    .args = "[COMMAND..]",
    .opts = opts,
    .run = cmd_help,
    .examples = "sonde help\nsonde help dict train\n",
};

static int print_topic(cli *c, sd_buf *b)
{
    char name[64];
    if (c->n_arg > 2) return cli_usage(c, "`sonde help` takes no argument '%s'", c->arg[2]);
    snprintf(name, sizeof name, "%s%s%s", c->arg[0], c->n_arg > 1 ? " " : "", c->n_arg > 1 ? c->arg[1] : "");
    const cli_cmd *cmd = cli_find_command(name);
    if (cmd) {
        help_command(b, cmd, c->width);
        return 0;
    }
    size_t n = strlen(name);
    for (int i = 0; cli_command(i); i++)
        if (strncmp(cli_command(i)->name, name, n) == 0 && cli_command(i)->name[n] == ' ') {
            help_noun(b, name, c->width);
            return 0;
        }
    if (c->n_arg > 1 && cli_find_command(c->arg[0])) {
        snprintf(name, sizeof name, "`sonde help %s`", c->arg[0]);
        return cli_usage_near(c, name, "`sonde %s` is one command, it has no verb '%s'", c->arg[0], c->arg[1]);
    }
    c->cmd = NULL; /* what helps is the list of commands, not how to ask for it */
    return cli_unknown_command(c, c->arg[0], c->n_arg > 1 ? c->arg[1] : NULL);
}

static int cmd_help(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    if (!cli_parse(c, &cmd_help_def, &a, argc, argv, &rc)) return rc;
    sd_buf b;
    sd_buf_init(&b, 1 << 20); /* all texts together are some tens of kilobytes */
    if (a.man) help_man(&b);
    else if (a.markdown) help_markdown(&b);
    else if (c->n_arg == 0) help_overview(&b, c->width);
    else rc = print_topic(c, &b);
    out_raw(c, &b);
    sd_buf_release(&b);
    return rc ? rc : out_flush(c);
}
