/* sonde completion SHELL: a script that completes commands, verbs, flags and the values of flags, made from the option tables.
 * After a flag whose value is a file or folder, and for arguments, the shell's own completion of paths is used. */
#include "cli/cli.h"

typedef struct args { bool unused; } args;

static int cmd_completion(cli *c, int argc, char **argv);
const cli_cmd cmd_completion_def = {
    .name = "completion",
    .brief = "print a completion script for bash, zsh or fish",
    .args = "bash|zsh|fish",
    .run = cmd_completion,
    .examples = "sonde completion bash > ~/.local/share/bash-completion/completions/sonde\n"
                "sonde completion zsh > ~/.zfunc/_sonde\n"
                "sonde completion fish > ~/.config/fish/completions/sonde.fish\n",
};

typedef void (*each_fn)(sd_buf *b, const cli_cmd *cmd, const cli_opt *o);

/* Calls fn for every flag that a command takes. */
static void each_flag(sd_buf *b, const cli_cmd *cmd, each_fn fn)
{
    unsigned use;
    const cli_opt *o;
    for (o = cmd->opts; o && o->type; o++)
        if (!o->hidden) fn(b, cmd, o);
    for (int i = 0; (o = opt_shared(i, &use)); i++)
        if (cmd->uses & use) fn(b, cmd, o);
    for (o = opt_common(); o->type; o++) fn(b, cmd, o);
}

static bool takes_value(const cli_opt *o) { return o->type != OPT_BOOL && o->type != OPT_COUNT; }

static void put_flag_words(sd_buf *b, const cli_cmd *cmd, const cli_opt *o)
{
    (void)cmd;
    if (o->short_name) sd_buf_printf(b, " -%c", o->short_name);
    sd_buf_printf(b, " --%s", o->name);
}

/* "a|b" as "a b" */
static void put_values(sd_buf *b, const char *values)
{
    for (const char *s = values; *s; s++) sd_buf_putc(b, *s == '|' ? ' ' : *s);
}

/* Sites without their layer, "resid_post." */
static void put_sites(sd_buf *b)
{
    static const char *const name[] = {
#define XX(id, name, layered, tl) layered ? name "." : name,
        SD_SITE_MAP(XX)
#undef XX
    };
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) sd_buf_printf(b, "%s%s", i ? " " : "", name[i]);
}

static bool is_site(const cli_opt *o) { return o->arg && (strcmp(o->arg, "SITE") == 0 || strcmp(o->arg, "SITES") == 0); }

/* A line of bash's case statement for a flag with known values. */
static void put_bash_values(sd_buf *b, const cli_cmd *cmd, const cli_opt *o)
{
    if (!o->values && !is_site(o)) return;
    sd_buf_printf(b, "        '%s --%s') words='", cmd->name, o->name);
    if (o->values) put_values(b, o->values);
    else put_sites(b);
    sd_buf_puts(b, "' ;;\n");
}

/* First words, or the verbs of a noun, each once: the table keeps a noun's rows together. */
static void put_words(sd_buf *b, const char *noun)
{
    char last[32] = "";
    size_t n = noun ? strlen(noun) : 0;
    for (int i = 0; cli_command(i); i++) {
        const cli_cmd *cmd = cli_command(i);
        const char *space = strchr(cmd->name, ' '), *word = cmd->name;
        if (cmd->uses & CLI_HIDDEN) continue;
        if (noun && !(space && (size_t)(space - cmd->name) == n && memcmp(cmd->name, noun, n) == 0)) continue;
        if (noun) word = space + 1;
        int len = noun || !space ? (int)strlen(word) : (int)(space - word);
        if ((int)strlen(last) == len && memcmp(last, word, (size_t)len) == 0) continue;
        snprintf(last, sizeof last, "%.*s", len, word);
        sd_buf_printf(b, "%s%s", b->n && b->p[b->n - 1] == '\'' ? "" : " ", last);
    }
}

/* Calls put for every noun that has verbs. */
static void each_noun(sd_buf *b, void (*put)(sd_buf *b, const char *noun))
{
    char last[32] = "";
    for (int i = 0; cli_command(i); i++) {
        const char *name = cli_command(i)->name, *space = strchr(name, ' ');
        if (!space || (strlen(last) == (size_t)(space - name) && memcmp(last, name, strlen(last)) == 0)) continue;
        snprintf(last, sizeof last, "%.*s", (int)(space - name), name);
        put(b, last);
    }
}

static void put_bash_noun(sd_buf *b, const char *noun)
{
    sd_buf_printf(b, "        %s) words='", noun);
    put_words(b, noun);
    sd_buf_puts(b, "' ;;\n");
}

static void put_bash_noun_name(sd_buf *b, const char *noun) { sd_buf_printf(b, "|%s", noun); }

/* One function for bash and, through bashcompinit, for zsh: cmd is "NOUN" or "NOUN VERB", words what fits here. */
static void put_bash(sd_buf *b)
{
    sd_buf_puts(b, "_sonde() {\n"
                   "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd=${COMP_WORDS[1]} words='' at=1\n"
                   "    case $cmd in -none-");
    each_noun(b, put_bash_noun_name);
    sd_buf_puts(b, ") cmd=\"$cmd ${COMP_WORDS[2]}\" at=2 ;; esac\n"
                   "    if [ \"$cmd\" = help ] && [ \"$COMP_CWORD\" -gt 1 ]; then # as if the command itself were typed\n"
                   "        COMP_WORDS=(sonde \"${COMP_WORDS[@]:2}\") COMP_CWORD=$((COMP_CWORD - 1))\n"
                   "        _sonde\n        return\n    fi\n"
                   "    if [ \"$COMP_CWORD\" -eq 1 ] && [[ $cur == -* ]]; then words='-h --help --version'\n"
                   "    elif [ \"$COMP_CWORD\" -eq 1 ]; then words='");
    put_words(b, NULL);
    sd_buf_puts(b, "'\n    elif [ \"$COMP_CWORD\" -eq 2 ] && [ $at -eq 2 ]; then\n        case ${COMP_WORDS[1]} in\n");
    each_noun(b, put_bash_noun);
    sd_buf_puts(b, "        esac\n    elif [[ $cur == -* ]]; then\n        case $cmd in\n");
    for (int i = 0; cli_command(i); i++) {
        sd_buf_printf(b, "        '%s') words='", cli_command(i)->name);
        each_flag(b, cli_command(i), put_flag_words);
        sd_buf_puts(b, "' ;;\n");
    }
    sd_buf_puts(b, "        esac\n    else\n        case \"$cmd $prev\" in\n");
    for (int i = 0; cli_command(i); i++) each_flag(b, cli_command(i), put_bash_values);
    sd_buf_puts(b, "        'completion completion') words='bash zsh fish' ;;\n"
                   "        esac\n    fi\n"
                   "    COMPREPLY=()\n"
                   "    if [ -n \"$words\" ]; then COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")); fi\n"
                   "    if [[ ${COMPREPLY[0]} == *. && ${#COMPREPLY[@]} -eq 1 ]]; then compopt -o nospace 2>/dev/null; fi\n" /* a layer follows */
                   "}\n");
}

/* A word in fish's single quotes, where ' and \ are escaped. */
static void put_fish_quoted(sd_buf *b, const char *s)
{
    sd_buf_putc(b, '\'');
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\') sd_buf_putc(b, '\\');
        sd_buf_putc(b, *s);
    }
    sd_buf_putc(b, '\'');
}

static void put_fish_flag(sd_buf *b, const cli_cmd *cmd, const cli_opt *o)
{
    const char *space = strchr(cmd->name, ' ');
    int n = space ? (int)(space - cmd->name) : (int)strlen(cmd->name);
    sd_buf_printf(b, "complete -c sonde -n '__fish_seen_subcommand_from %.*s", n, cmd->name);
    if (space) sd_buf_printf(b, "; and __fish_seen_subcommand_from %s", space + 1);
    sd_buf_puts(b, "'");
    if (o->short_name) sd_buf_printf(b, " -s %c", o->short_name);
    sd_buf_printf(b, " -l %s", o->name);
    bool known = o->values || is_site(o);
    if (takes_value(o)) sd_buf_puts(b, known ? " -x -a '" : " -r");
    if (o->values) put_values(b, o->values);
    else if (known) put_sites(b);
    if (known) sd_buf_putc(b, '\'');
    sd_buf_puts(b, " -d ");
    put_fish_quoted(b, o->help);
    sd_buf_putc(b, '\n');
}

static void put_fish_verbs(sd_buf *b, const char *noun)
{
    sd_buf_printf(b, "complete -c sonde -f -n '__fish_seen_subcommand_from %s; and test (count (commandline -opc)) -eq 2' -a '", noun);
    put_words(b, noun);
    sd_buf_puts(b, "'\n");
}

static void put_fish(sd_buf *b)
{
    sd_buf_puts(b, "complete -c sonde -f -n __fish_use_subcommand -a '");
    put_words(b, NULL);
    sd_buf_puts(b, "'\n");
    each_noun(b, put_fish_verbs);
    for (int i = 0; cli_command(i); i++) each_flag(b, cli_command(i), put_fish_flag);
    sd_buf_puts(b, "complete -c sonde -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n"
                   "complete -c sonde -f -n '__fish_seen_subcommand_from help' -a '");
    put_words(b, NULL);
    sd_buf_puts(b, "'\ncomplete -c sonde -n __fish_use_subcommand -s h -l help\ncomplete -c sonde -n __fish_use_subcommand -l version\n");
}

static int cmd_completion(cli *c, int argc, char **argv)
{
    args a;
    int rc = 0;
    if (!cli_parse(c, &cmd_completion_def, &a, argc, argv, &rc)) return rc;
    static const char *const shells[] = {"bash", "zsh", "fish"};
    const char *shell = c->arg[0];
    sd_buf b;
    sd_buf_init(&b, 1 << 20); /* some tens of kilobytes */
    if (strcmp(shell, "bash") == 0) {
        put_bash(&b);
        sd_buf_puts(&b, "complete -o default -F _sonde sonde\n");
    } else if (strcmp(shell, "zsh") == 0) {
        sd_buf_puts(&b, "#compdef sonde\nautoload -U +X bashcompinit && bashcompinit\n");
        put_bash(&b);
        sd_buf_puts(&b, "complete -o default -F _sonde sonde\n");
    } else if (strcmp(shell, "fish") == 0) {
        put_fish(&b);
    } else {
        rc = cli_usage_near(c, opt_nearest(shell, shells, 3), "there is no completion for '%s'; there is for bash, zsh and fish", shell);
    }
    out_raw(c, &b);
    sd_buf_release(&b);
    return rc ? rc : out_flush(c);
}
