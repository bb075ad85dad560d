/* What every command gets: streams, common flags, the cancel flag, provenance; and what every command does the same way.
 *
 *   sd_err err = {0};
 *   const sd_exec *ex = cli_exec(c, &err);                  // --cpu --threads; owned by c
 *   if (!ex) return cli_fail(c, &err);
 *   if ((st = cli_model_open(c, ex, CLI_EXACT, path, (sd_model_opt){0}, &m, &err))) goto done;
 *   cli_model_hash(c, path);                                // SHA-256 into c->prov, cached
 *   if ((st = sd_lab_x(&result, ex, m, &opt, &c->progress, &err))) goto done;    // progress carries the cancel flag
 * done:
 *   return st ? cli_fail(c, &err) : print(c, &result);
 *
 * Commands live in cmd_<noun>.c or cmd_<noun>_<verb>.c, export `const cli_cmd cmd_<noun>[_<verb>]_def`, and have a line in commands.h. */
#ifndef SD_CLI_CLI_H
#define SD_CLI_CLI_H

#include "base/prov.h"
#include "base/log.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "num/linear.h"
#include "sonde/dict.h"
#include "sonde/model.h"
#include "sonde/site.h"
#include "text/corpus.h"
#include <stdio.h>

struct cli {
    FILE *out, *err;             /* results; everything else */
    FILE *out_own;               /* what `out` is until a test puts another there */
    int out_errno;               /* of the first write to stdout that failed */
    int out_rc;                  /* exit code after it was told */
    bool refused;                /* see cli_refuse */
    bool out_tty, err_tty, out_color, err_color;
    int width;                   /* columns of stdout's terminal; 0 when it is none */
    int err_width;

    const cli_cmd *cmd;          /* the command that runs */
    const char **arg;            /* positional arguments */
    int n_arg;
    bool json, quiet, help;
    int verbose;
    int64_t threads;             /* 0: all CPUs of this process */
    const char *cpu;             /* NULL: all there is */
    uint64_t seed;
    sd_mode mode;                /* SD_MODE_DEFAULT when not given */
    const char *mode_name;       /* as written */
    sd_kv_type kv;               /* SD_KV_DEFAULT when not given */
    const char *kv_name;         /* as written */
    double memory_mb;            /* 0: the default */
    const char *site, *output, *resume;
    bool force;
    uint64_t given;              /* see opt_given */

    const volatile int *cancel;  /* set by the first Ctrl-C (or SIGTERM) */
    sd_progress progress;        /* hand &c->progress to a study */
    void *bar;                   /* state of the progress sink */
    char resume_with[512];       /* see cli_resume_with */

    sd_prov prov;                /* tool, args, created, seed, cpu, isa, threads are filled; hashes by cli_model_hash and the command */
    char hub_dir[1024];          /* the Hugging Face cache, where huggingface_hub has it (docs/FORMATS.md) */
    char cache_dir[1024], data_dir[1024]; /* $XDG_CACHE_HOME/sonde, $XDG_DATA_HOME/sonde; empty when there is no home */

    sd_exec *exec;
    void **kept;                 /* freed at exit */
    int n_kept, cap_kept;
};

/* Threads and CPU level of --threads --cpu; made once. NULL with err filled. */
const sd_exec *cli_exec(cli *c, sd_err *err);
/* Prints "sonde: SENTENCE" and "hint: HINT" on stderr (an error without a hint gets its status's general one) and gives the exit
 * code of err->code, with SD_E_ARG as bad input (4): 2 is for command lines of the wrong form, see cli_usage. For SD_E_CANCELLED the hint is the resume command, when there is one. */
int cli_fail(cli *c, const sd_err *err);
/* A wrong command line: the sentence, the hint "see `sonde CMD -h`" (or "did you mean NEAR?" when near is not NULL), exit code 2. */
int cli_usage(cli *c, const char *fmt, ...) SD_PRINTF(2, 3);
int cli_usage_near(cli *c, const char *near, const char *fmt, ...) SD_PRINTF(3, 4);
/* SD_E_ARG for a command line of the wrong form that is only seen after the flags were parsed: cli_fail then gives 2. */
sd_status cli_refuse(cli *c, sd_err *err, const char *fmt, ...) SD_PRINTF(3, 4);
/* All of a file, - for standard input, appended to b; not UTF-8 is SD_E_FORMAT with the line and the byte. */
sd_status cli_read_text(sd_buf *b, const char *path, sd_err *err);
/* A text of the command line: 0, or 2 after the error when it is not UTF-8. flag without dashes; NULL text is fine. */
int cli_check_text(cli *c, const char *flag, const char *text);
/* A line on stderr unless --quiet: what was done ("wrote 16,384 features to x (212 MB)"). */
void cli_note(cli *c, const char *fmt, ...) SD_PRINTF(2, 3);
/* What the user types to go on after an interruption: COMMAND PATH (quoted where a shell needs it) and the rest. Set it once a checkpoint
 * could exist. */
void cli_resume_with(cli *c, const char *command, const char *path, const char *rest);
/* The command line that records hold: c->cmd's name and these words, from argv[1] on, in place of those that were typed (--resume). */
void cli_set_line(cli *c, int argc, char **argv);
/* An argument of the form ORG/NAME that is no path becomes what the Hugging Face cache has for it. */
sd_status cli_find_model(cli *c, const char **arg, sd_err *err);
/* The same of all positional arguments. 0, or the exit code of an error that was told. */
int cli_find_models(cli *c);
/* p (NULL: memory was out) is freed with sd_free at exit; gives p, or NULL with p freed when memory is out. */
void *cli_keep(cli *c, void *p);

/* c->site parsed. SD_E_ARG when not given. */
sd_status cli_site(const cli *c, sd_site *out, sd_err *err);
/* SD_E_ARG with a hint naming -f when path exists (a folder with something in it, or a file) and -f was not given; SD_E_NOTFOUND when its parent is no folder. */
sd_status cli_check_output(const cli *c, const char *path, sd_err *err);
/* The last of these alone, for a folder that a command goes on in. */
sd_status cli_check_parent(const char *path, sd_err *err);
/* A stage of the embedded model where a command looks for it: SD_E_NOTFOUND says where it is. */
sd_status cli_check_stage(const char *dir, sd_err *err);
/* Whether a file that is read only after long work can be read; NULL is fine. */
sd_status cli_check_input(const char *path, sd_err *err);
/* An endpoint's key: the first line of a file, without the space around it. *out is the caller's. SD_E_FORMAT: there is none, or it has more than 8 KB. */
sd_status cli_read_key(char **out, const char *path, sd_err *err);
/* The same of MODEL or MODEL+ADAPTER. */
sd_status cli_check_model(const char *spec, sd_err *err);

/* Most bytes of packed weights: --memory, or the default. */
size_t cli_memory(const cli *c);

/* The numeric mode (docs/NUMERICS.md) when --mode is not given: EXACT faithful; BULK bf16 where the CPU multiplies bf16, else
 * faithful; CHAT fast when most weight bytes of the file are quantised, else as BULK. c->mode wins over all of them. Looks at the model's files, so it
 * also tells before anything is loaded that --site names a layer which is not there (SD_E_ARG), and that the weights of a whole model
 * (EXACT, CHAT) will not fit in what is free (SD_E_NOMEM). */
typedef enum cli_mode_class { CLI_EXACT, CLI_BULK, CLI_CHAT } cli_mode_class;
sd_status cli_mode(const cli *c, const sd_exec *ex, cli_mode_class k, const char *model_path, sd_mode *out, sd_err *err);
/* cli_mode, kept in c->mode, and the model opened in it. opt.mode is overwritten. */
sd_status cli_model_open(cli *c, const sd_exec *ex, cli_mode_class k, const char *path, sd_model_opt opt, sd_model **out, sd_err *err);
/* SHA-256 of the model (the file; of a folder: its weights file, or of the list "name sha256" of its shards) into c->prov.model_sha256, cached in
 * c->cache_dir. A model that cannot be read is an error. */
sd_status cli_model_hash(cli *c, const char *model_path, sd_err *err);
/* sd_corpus_open, with a warning of what was left out. */
sd_status cli_corpus_open(cli *c, sd_corpus **out, const char *const *paths, int n_paths, sd_err *err);
/* SHA-256 of the texts into c->prov.data_sha256. */
void cli_corpus_hash(cli *c, const sd_corpus *corpus);
/* Warns when the dictionary says that it is of another site. */
void cli_note_site(cli *c, const sd_dict *dict, sd_site site);
/* --site when it is given, else the dictionary's own; SD_E_ARG when there is neither. Fills c->site. */
sd_status cli_dict_site(cli *c, const sd_dict *dict, sd_site *out, sd_err *err);

/* cli.c: filled from the streams, the environment and the clock; argv goes into the provenance. */
void cli_init(cli *c, int argc, char **argv);
void cli_release(cli *c);

/* main.c's table. i from 0; NULL after the last. */
const cli_cmd *cli_command(int i);
const cli_cmd *cli_find_command(const char *name);
/* "there is no command NOUN" or "NOUN has no verb VERB" (verb NULL when there is none), with the nearest; gives 2. */
int cli_unknown_command(cli *c, const char *noun, const char *verb);

/* help.c: text of -h; the list of `sonde help`; docs/cli.md; the man page; completion scripts. Appended to b. */
void help_command(sd_buf *b, const cli_cmd *cmd, int width); /* width: of the terminal; 0: none */
void help_overview(sd_buf *b, int width);
void help_noun(sd_buf *b, const char *noun, int width); /* "dict": its verbs */
void help_markdown(sd_buf *b);
void help_man(sd_buf *b);

/* progress.c */
void progress_init(cli *c);
void progress_end(cli *c);   /* clears a bar that is drawn; called before anything else goes to a terminal */

#endif
