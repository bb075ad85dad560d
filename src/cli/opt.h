/* Options: one table a command, from which come the parser, the -h text, the man page, docs/cli.md and the completions.
 *
 *   typedef struct args { const char *prompt; int64_t n; double temp; opt_list steer; bool compare; } args;
 *   static const cli_opt opts[] = {
 *       {'p', "prompt", OPT_STR, AT(args, prompt), .arg = "TEXT", .help = "the prompt"},
 *       {'n', "predict", OPT_INT, AT(args, n), .arg = "N", .def = "128", .lo = 1, .hi = 1e6, .help = "most tokens to generate"},
 *       {0, "temp", OPT_FLOAT, AT(args, temp), .arg = "T", .def = "0", .lo = 0, .hi = 100, .help = "temperature; 0 is greedy"},
 *       {0, "steer", OPT_MULTI, AT(args, steer), .arg = "SPEC", .help = "a steer object"},
 *       {0, "compare", OPT_BOOL, AT(args, compare), .help = "decode plain and steered side by side"},
 *       OPT_END};
 *   const cli_cmd cmd_run_def = {.name = "run", .brief = "generate text, plain or steered", .args = "MODEL", .opts = opts,
 *                                .uses = CLI_MODE | CLI_SEED, .run = cmd_run, .text = "...", .examples = "sonde run m.gguf -p Hello\n"};
 *   int cmd_run(cli *c, int argc, char **argv)
 *   {
 *       args a;
 *       int rc;
 *       if (!cli_parse(c, &cmd_run_def, &a, argc, argv, &rc)) return rc;   // -h was printed, or the usage was wrong
 *       const char *model = c->arg[0];
 *
 * Rules of the parser: "--name value", "--name=value", "-n 5", "-n5", "--" ends options, "-" and "-3" are arguments. Names are never
 * abbreviated; an unknown one is answered with the nearest and exit code 2. A value may start with '-'. The last of a
 * repeated number or choice wins; a text or path given twice is refused. Numbers are parsed strictly and checked against [lo, hi]. */
#ifndef SD_CLI_OPT_H
#define SD_CLI_OPT_H

#include "base/str.h"

typedef enum opt_type {
    OPT_NONE = 0,
    OPT_BOOL,  /* bool: takes no value */
    OPT_COUNT, /* int: takes no value; counts how often it was given */
    OPT_STR,   /* const char *: NULL when not given and without default */
    OPT_INT,   /* int64_t */
    OPT_FLOAT, /* double */
    OPT_LIST,  /* opt_list: comma-separated, and repeated flags add to it */
    OPT_MULTI, /* opt_list: one whole value a flag (values may hold commas) */
    OPT_INTS,  /* opt_ints: comma-separated integers, and repeated flags add to it */
} opt_type;

typedef struct opt_list { const char **v; int n; } opt_list; /* owned by the cli until exit */
typedef struct opt_ints { int64_t *v; int64_t n; } opt_ints; /* owned by the cli until exit */

typedef struct cli_opt {
    char short_name;     /* 0: none */
    const char *name;    /* without dashes; words joined by '-' */
    opt_type type;
    size_t at;           /* where the value goes: AT(args, field) */
    const char *arg;     /* name of the value in the help: "N", "FILE", "DIR", "SITE"; the last three also steer completion */
    const char *def;     /* default, written as a user would; parsed like an argument. NULL: zero, NULL or empty.
                          * Lists have none: the command fills an empty list itself */
    const char *values;  /* "a|b|c": the only values allowed; NULL: any */
    double lo, hi;       /* numbers: allowed range; both 0: any */
    const char *unit;    /* "tokens", "bytes": shown in the help; NULL: none */
    const char *help;    /* one line, no full stop, lower case; the default and unit are appended by the printer */
    bool hidden;         /* parsed but not shown in help, docs and completion */
    const char *def_words; /* the default in words, where it is none that could be typed ("one pass"); NULL: def */
    const char *renamed; /* no flag any more: giving it is refused with this name, which took its place (OPT_RENAMED) */
    const char *with;    /* "a|b": this flag does nothing unless one of these is given too, so that alone it is refused; NULL: it needs none */
    const char *zero;    /* of a whole number that counts what is shown or asked: 0 stands for hi, and the help calls that so ("all"); NULL: 0 is a number like others */
} cli_opt;
#define AT(type, field) offsetof(type, field)
#define OPT_END {0, NULL, OPT_NONE, 0, NULL, NULL, NULL, 0, 0, NULL, NULL, false, NULL, NULL, NULL, NULL}
/* A flag whose name has changed: not shown, and refused with the new one. */
#define OPT_RENAMED(old, now) {0, old, OPT_STR, .hidden = true, .renamed = now}

/* Flags that mean the same everywhere; a command says in .uses which it takes. Values land in the cli struct. */
enum {
    CLI_SEED = 1 << 0,   /* --seed N          c->seed */
    CLI_SEED_WORLD = 1 << 13, /* the same, of commands whose world has a seed */
    CLI_MODE = 1 << 1,   /* --mode M          c->mode; faithful when not given (CLI_EXACT of cli_mode) */
    CLI_SITE = 1 << 2,   /* --site SITE       c->site, as written (NULL when not given); cli_site() parses it */
    CLI_OUT = 1 << 3,    /* -o, --output PATH c->output (NULL when not given) */
    CLI_FORCE = 1 << 4,  /* -f, --force       c->force: overwrite */
    CLI_RESUME = 1 << 5, /* --resume DIR      c->resume */
    CLI_NEED_OUT = 1 << 6, /* with CLI_OUT: -o must be given */
    CLI_NEED_SITE = 1 << 7,
    CLI_HIDDEN = 1 << 8, /* the command is not listed */
    CLI_OUT_DIR = 1 << 9, /* with CLI_OUT: PATH becomes a folder */
    CLI_MEMORY = 1 << 12, /* --memory MB      c->memory_mb; comes with CLI_MODE and its like */
    CLI_MODE_BULK = 1 << 10, CLI_MODE_CHAT = 1 << 11, /* as CLI_MODE; when not given c->mode is SD_MODE_DEFAULT until cli_mode has chosen */
};
/* --json --threads/-t --cpu --quiet/-q --verbose/-v --help/-h are taken by every command. */

typedef struct cli cli;
typedef struct cli_cmd {
    const char *name;     /* "run"; "dict train" for a noun with a verb: each verb is its own row with its own table */
    const char *brief;    /* one line, lower case, no full stop */
    const char *usage;    /* the arguments as the usage line shows them, required flags too; NULL: made of args and uses */
    const char *args;     /* positional arguments: "MODEL CORPUS..", "[DIR]"; ".." = one or more; NULL: none */
    const cli_opt *opts;      /* ends with OPT_END; NULL: none of its own */
    unsigned uses;        /* CLI_* */
    int (*run)(cli *c, int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
    const char *text;     /* the manual: plain paragraphs, filled when printed; an empty line between them; NULL: none */
    const char *examples; /* whole command lines, one a line; NULL: none */
    const char *json;     /* schema name of --json: "sonde.run/1"; NULL: no JSON */
} cli_cmd;

/* Parses argv into args (zeroed, then defaults, then flags) and the cli. False: *rc is the exit code to return (0 after -h). */
#define cli_parse(c, cmd, args, argc, argv, rc) opt_parse(c, cmd, args, sizeof *(args), argc, argv, rc)
bool opt_parse(cli *c, const cli_cmd *cmd, void *args, size_t args_size, int argc, char **argv, int *rc);
/* Was --name given on the command line (not by default)? */
bool opt_given(const cli *c, const char *name);
/* The first flag given besides `except` and those of every command; NULL when there is none. */
const char *opt_first_given(const cli *c, const char *except);

/* The rows a command takes beside its own, in the order of the help; end with OPT_END. For docs and completion. */
const cli_opt *opt_common(void);                       /* taken by every command */
const cli_opt *opt_shared(int i, unsigned *use);       /* row i of the CLI_* flags and its bit; NULL after the last */

/* Is v one of "a|b|c"? */
bool opt_in_values(const char *values, sd_slice v);
/* The nearest of n names to `word` (Damerau-Levenshtein, at most a third of its length + 1 away); NULL when none is near. */
const char *opt_nearest(const char *word, const char *const *names, int n);

#endif
