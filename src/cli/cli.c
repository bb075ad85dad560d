/* What every command does the same way: errors and notes on stderr, threads and CPU, numeric mode, hashes, places for files.
 * The environment and the clock are read here and nowhere below; what they gave stands in the cli struct. */
#include "cli/cli.h"
#include "base/map.h"
#include "base/par.h"
#include "lab/describe.h"
#include "lab/endpoint.h"
#include "lab/model_hash.h"
#include "model/lora.h"
#include "model/model.h"
#include "num/exec.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* A terminal that does not say its width. */
enum { DEFAULT_WIDTH = 80 };

static int tty_width(int fd)
{
    struct winsize w;
    return ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : DEFAULT_WIDTH;
}

/* $VAR/sonde, or $HOME/rest/sonde; empty when there is neither. */
static void find_dir(char out[1024], const char *var, const char *rest)
{
    const char *dir = getenv(var), *home = getenv("HOME");
    char base[1024] = "";
    out[0] = 0;
    if (dir && dir[0] == '/') snprintf(base, sizeof base, "%s", dir);
    else if (!home || home[0] != '/' || !sd_path_join(base, sizeof base, home, rest)) return;
    if (!sd_path_join(out, 1024, base, "sonde")) out[0] = 0;
}

/* s as a word of a POSIX shell: in single quotes unless nothing in it means something there. */
static void put_word(sd_buf *b, const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
    if (s[0] && !s[strspn(s, plain)]) {
        sd_buf_puts(b, s);
        return;
    }
    sd_buf_putc(b, '\'');
    for (; *s; s++)
        if (*s == '\'') sd_buf_puts(b, "'\\''");
        else sd_buf_putc(b, *s);
    sd_buf_putc(b, '\'');
}

/* As huggingface_hub looks for it (constants.py). */
static void find_hub(char out[1024])
{
    static const struct { const char *variable, *rest; } place[] = {
        {"HF_HUB_CACHE", NULL}, {"HUGGINGFACE_HUB_CACHE", NULL}, {"HF_HOME", "hub"}, {"XDG_CACHE_HOME", "huggingface/hub"}, {"HOME", ".cache/huggingface/hub"}};
    bool ok = false;
    for (size_t i = 0; i < sizeof place / sizeof *place; i++) {
        const char *at = getenv(place[i].variable);
        if (!at || !*at || (i > 2 && *at != '/')) continue; /* the XDG specification has no relative paths */
        ok = place[i].rest ? sd_path_join(out, 1024, at, place[i].rest) : snprintf(out, 1024, "%s", at) < 1024;
        break;
    }
    if (!ok) out[0] = 0;
}

sd_status cli_find_model(cli *c, const char **arg, sd_err *err)
{
    char path[2100], *kept;
    sd_status st = sd_hub_model(path, sizeof path, c->hub_dir, *arg, err);
    if (st || strcmp(path, *arg) == 0) return st;
    if (!(kept = cli_keep(c, sd_strdup(path)))) return sd_fail(err, SD_E_NOMEM, "out of memory");
    cli_note(c, "%s is %s", *arg, path);
    *arg = kept;
    return SD_OK;
}

int cli_find_models(cli *c)
{
    for (int i = 0; i < c->n_arg; i++) {
        sd_err err = {0};
        if (cli_find_model(c, &c->arg[i], &err)) return cli_fail(c, &err);
    }
    return 0;
}

/* The command line as a shell would read it, for the provenance; cut with an ellipsis when it is too long. */
static void join_args(char *out, size_t cap, const char *front, int argc, char **argv)
{
    sd_buf b;
    char word[1024];
    sd_buf_init(&b, 1 << 20);
    sd_buf_puts(&b, front);
    for (int i = 0; i < argc; i++) {
        if (b.n) sd_buf_putc(&b, ' ');
        sd_url_bare(word, sizeof word, argv[i]); /* the line is kept in records: no password of an endpoint goes there */
        put_word(&b, word);
    }
    size_t n = b.n < cap ? b.n : sd_utf8_valid_prefix((sd_slice){b.p, cap - 4});
    snprintf(out, cap, "%.*s%s", (int)n, b.p ? b.p : "", n < b.n || b.failed ? " .." : "");
    sd_buf_release(&b);
}

/* stdio forgets why a write failed when it tells of it later; this stream remembers. */
static ssize_t write_stdout(void *cookie, const char *p, size_t n)
{
    cli *c = cookie;
    size_t done = 0;
    while (done < n) {
        ssize_t k = write(STDOUT_FILENO, p + done, n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            if (!c->out_errno) c->out_errno = errno;
            break;
        }
        done += (size_t)k;
    }
    return (ssize_t)done; /* short: stdio marks the stream as failed */
}

void cli_init(cli *c, int argc, char **argv)
{
    *c = (cli){.out = stdout, .err = stderr};
    c->out_own = fopencookie(c, "w", (cookie_io_functions_t){.write = write_stdout});
    if (c->out_own) {
        c->out = c->out_own;
        setvbuf(c->out, NULL, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, BUFSIZ);
    }
    c->out_tty = isatty(STDOUT_FILENO);
    c->err_tty = isatty(STDERR_FILENO);
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool color = !(no_color && no_color[0]) && !(term && strcmp(term, "dumb") == 0);
    c->out_color = color && c->out_tty;
    c->err_color = color && c->err_tty;
    if (c->out_tty) c->width = tty_width(STDOUT_FILENO);
    if (c->err_tty) c->err_width = tty_width(STDERR_FILENO);
    find_dir(c->cache_dir, "XDG_CACHE_HOME", ".cache");
    find_hub(c->hub_dir);
    find_dir(c->data_dir, "XDG_DATA_HOME", ".local/share");

    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm)) strftime(c->prov.created, sizeof c->prov.created, "%Y-%m-%dT%H:%M:%SZ", &tm);
    snprintf(c->prov.tool, sizeof c->prov.tool, "sonde %s", sd_version());
    join_args(c->prov.args, sizeof c->prov.args, "", argc, argv);
}

void cli_set_line(cli *c, int argc, char **argv)
{
    char front[96];
    snprintf(front, sizeof front, "sonde %s", c->cmd->name);
    join_args(c->prov.args, sizeof c->prov.args, front, argc - 1, argv + 1);
}

/* What the clock on the wall shows, in seconds since 1970 of its own zone. */
static int64_t local_seconds(void)
{
    time_t now = time(NULL);
    struct tm tm;
    return localtime_r(&now, &tm) ? (int64_t)now + tm.tm_gmtoff : (int64_t)now;
}

void cli_release(cli *c)
{
    sd_log_set(NULL, NULL);
    if (c->out_own) fclose(c->out_own);
    sd_exec_free(c->exec);
    for (int i = 0; i < c->n_kept; i++) sd_free(c->kept[i]);
    sd_free(c->kept);
}

void *cli_keep(cli *c, void *p)
{
    if (!p) return NULL;
    if (c->n_kept == c->cap_kept) {
        int cap = c->cap_kept ? 2 * c->cap_kept : 16;
        void **kept = sd_realloc(c->kept, (size_t)cap * sizeof *kept);
        if (!kept) {
            sd_free(p);
            return NULL;
        }
        c->kept = kept;
        c->cap_kept = cap;
    }
    c->kept[c->n_kept++] = p;
    return p;
}

/* Has the folder anything in it that is not a dot file? */
static sd_status dir_is_used(const char *path, bool *used, sd_err *err)
{
    sd_paths p = {0};
    sd_status st = sd_dir_list(&p, path, err);
    *used = p.n > 0;
    sd_paths_free(&p);
    return st;
}

/* Does the folder of -o hold what a stopped run wrote? Without -f there was nothing in it before. */
static bool left_behind(const cli *c)
{
    bool used = false;
    if (!c->cmd || !c->output || c->force || (c->cmd->uses & (CLI_OUT_DIR | CLI_FORCE)) != (CLI_OUT_DIR | CLI_FORCE) || !sd_dir_exists(c->output)) return false;
    return dir_is_used(c->output, &used, NULL) == SD_OK && used;
}

/* What to try, for errors whose maker did not say. */
static const char *general_hint(const cli *c, sd_status st, char *out, size_t cap)
{
    switch (st) {
    case SD_E_ARG: snprintf(out, cap, "see `sonde %s%s-h`", c->cmd ? c->cmd->name : "", c->cmd ? " " : ""); break;
    case SD_E_SHAPE: snprintf(out, cap, "the two do not belong together: check of which model, site and dictionary each is"); break;
    case SD_E_FORMAT: snprintf(out, cap, "the file may be cut or damaged: compare its size and SHA-256 with its source"); break;
    case SD_E_UNSUPPORTED: snprintf(out, cap, "docs/FORMATS.md lists what is supported"); break;
    case SD_E_NOTFOUND: snprintf(out, cap, "check the spelling of the path or name"); break;
    case SD_E_IO: snprintf(out, cap, "check that the path is right and that you may read and write there"); break;
    case SD_E_NOMEM: snprintf(out, cap, "close other programs, or use a smaller model, width, batch or context; `sonde info MODEL` says what is needed"); break;
    case SD_E_NOSPACE: snprintf(out, cap, "free some space, or write elsewhere with -o"); break;
    case SD_E_STORE: snprintf(out, cap, "the store may be damaged or made by another version; build it again"); break;
    case SD_E_BUSY: snprintf(out, cap, "another process uses it; try again when that has ended"); break;
    case SD_E_CANCELLED: snprintf(out, cap, "nothing to resume; run the command again%s", left_behind(c) ? ", with -f over what was written" : ""); break;
    case SD_OK:
    case SD_E_FAIL:
    case SD_E_GATE: snprintf(out, cap, "`sonde doctor` checks this machine"); break;
    }
    return out;
}

static void put_error(cli *c, const char *msg, const char *hint)
{
    progress_end(c);
    fflush(c->out);
    const char *red = c->err_color ? "\x1b[31m" : "", *plain = c->err_color ? "\x1b[0m" : "";
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    out_clean(&b, sd_slice_of(msg)); /* names come from files and from the command line */
    fprintf(c->err, "%ssonde:%s %s\n", red, plain, sd_buf_str(&b));
    sd_buf_reset(&b);
    out_clean(&b, sd_slice_of(hint));
    fprintf(c->err, "hint: %s\n", sd_buf_str(&b));
    sd_buf_release(&b);
}

int cli_fail(cli *c, const sd_err *err)
{
    char hint[600] = "";
    if (err->code == SD_E_CANCELLED && c->resume_with[0]) snprintf(hint, sizeof hint, "go on with: %s", c->resume_with);
    else if (err->hint[0]) snprintf(hint, sizeof hint, "%s", err->hint);
    else general_hint(c, err->code, hint, sizeof hint);
    put_error(c, err->msg[0] ? err->msg : "failed without saying why, which is a bug", hint);
    /* A command line of the right form with a value that does not fit (a site, a layer, a feature, an id) is bad input. */
    sd_status code = err->code == SD_E_ARG && !c->refused ? SD_E_NOTFOUND : err->code == SD_OK ? SD_E_FAIL : err->code;
    return sd_status_exit_code(code);
}

static int usage_error(cli *c, const char *near, const char *fmt, va_list ap)
{
    char msg[1024], hint[256];
    vsnprintf(msg, sizeof msg, fmt, ap);
    if (near) snprintf(hint, sizeof hint, "did you mean %s?", near);
    else general_hint(c, SD_E_ARG, hint, sizeof hint);
    put_error(c, msg, hint);
    return sd_status_exit_code(SD_E_ARG);
}

int cli_usage(cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = usage_error(c, NULL, fmt, ap);
    va_end(ap);
    return rc;
}

int cli_usage_near(cli *c, const char *near, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = usage_error(c, near, fmt, ap);
    va_end(ap);
    return rc;
}

sd_status cli_refuse(cli *c, sd_err *err, const char *fmt, ...)
{
    char msg[SD_ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    c->refused = true;
    return sd_fail(err, SD_E_ARG, "%s", msg);
}

int cli_check_text(cli *c, const char *flag, const char *text)
{
    sd_slice s = sd_slice_of(text ? text : "");
    size_t ok = sd_utf8_valid_prefix(s);
    return ok == s.n ? 0 : cli_usage(c, "--%s is not UTF-8 at byte %zu (0x%02x)", flag, ok, (unsigned)(uint8_t)s.p[ok]);
}

void cli_note(cli *c, const char *fmt, ...)
{
    if (c->quiet) return;
    va_list ap;
    progress_end(c);
    va_start(ap, fmt);
    vfprintf(c->err, fmt, ap);
    va_end(ap);
    fputc('\n', c->err);
}

void cli_resume_with(cli *c, const char *command, const char *path, const char *rest)
{
    sd_buf b;
    sd_buf_init(&b, sizeof c->resume_with - 1);
    sd_buf_printf(&b, "%s ", command);
    put_word(&b, path);
    sd_buf_puts(&b, rest);
    snprintf(c->resume_with, sizeof c->resume_with, "%s", b.failed ? "" : sd_buf_str(&b));
    sd_buf_release(&b);
}

const sd_exec *cli_exec(cli *c, sd_err *err)
{
    if (c->exec) return c->exec;
    sd_exec_opt opt = {.cpu = c->cpu, .n_threads = (int)c->threads};
    if (c->threads > sd_par_hw_threads()) cli_note(c, "warning: %lld threads on %d CPUs wait for each other", (long long)c->threads, sd_par_hw_threads());
    if (sd_exec_new(&c->exec, &opt, err)) return NULL;
    c->prov.n_threads = c->exec->n_threads;
    c->prov.seed = c->seed;
    snprintf(c->prov.cpu, sizeof c->prov.cpu, "%s", c->exec->cpu.name);
    snprintf(c->prov.isa, sizeof c->prov.isa, "%s", sd_cpu_level(&c->exec->cpu));
    return c->exec;
}

sd_status cli_site(const cli *c, sd_site *out, sd_err *err)
{
    if (!c->site) {
        sd_fail(err, SD_E_ARG, "no site was given");
        return sd_hint(err, "add --site resid_post.14 (or another layer)");
    }
    return sd_site_parse(out, c->site, strlen(c->site), err);
}

static sd_status read_stdin(sd_buf *b, sd_err *err)
{
    char part[1 << 16];
    size_t n;
    while ((n = fread(part, 1, sizeof part, stdin)) > 0) sd_buf_put(b, part, n);
    if (ferror(stdin)) return sd_fail(err, SD_E_IO, "cannot read standard input");
    return sd_buf_check(b, "standard input", err);
}

sd_status cli_read_text(sd_buf *b, const char *path, sd_err *err)
{
    bool from_stdin = strcmp(path, "-") == 0;
    sd_status st = from_stdin ? read_stdin(b, err) : sd_file_read(b, path, err);
    return st ? st : sd_text_check((sd_slice){b->p, b->n}, from_stdin ? "standard input" : path, err);
}

sd_status cli_check_parent(const char *path, sd_err *err)
{
    char parent[1024];
    size_t n = strlen(path);
    if (strcmp(path, "-") == 0) {
        sd_fail(err, SD_E_ARG, "- is no file: standard output has what is printed, a table or --json");
        return sd_hint(err, "give a name; a file that is really called - is ./-");
    }
    while (n > 1 && path[n - 1] == '/') n--; /* DIR/ is DIR */
    while (n > 0 && path[n - 1] != '/') n--;
    if (n < 2) return SD_OK;
    if (n > sizeof parent) return sd_fail(err, SD_E_ARG, "%.100s..: path too long", path);
    snprintf(parent, sizeof parent, "%.*s", (int)n - 1, path);
    if (sd_dir_exists(parent)) return SD_OK;
    sd_fail(err, SD_E_NOTFOUND, "%s: the folder %s does not exist", path, parent);
    return sd_hint(err, "make it with mkdir -p %s", parent);
}

sd_status cli_check_output(const cli *c, const char *path, sd_err *err)
{
    bool used = sd_file_exists(path);
    sd_status st = cli_check_parent(path, err);
    if (st) return st;
    if (sd_dir_exists(path) && (st = dir_is_used(path, &used, err))) return st;
    if (used && !c->force) {
        sd_fail(err, SD_E_ARG, "%s is already there", path);
        return sd_hint(err, sd_dir_exists(path) && !(c->cmd->uses & CLI_OUT_DIR) ? "it is a folder: give another name" : "use -f to overwrite it, or another name");
    }
    if (!(c->cmd->uses & CLI_OUT_DIR) && sd_slice_ends(sd_slice_of(path), "/")) {
        sd_fail(err, SD_E_ARG, "%s names a folder", path);
        return sd_hint(err, "what is written is a file: give its name");
    }
    return SD_OK;
}

sd_status cli_check_input(const char *path, sd_err *err)
{
    if (!path) return SD_OK;
    if (sd_dir_exists(path)) return sd_fail(err, SD_E_IO, "%s is a folder, not a file", path);
    return access(path, R_OK) == 0 ? SD_OK : sd_fail_errno(err, errno, "cannot open %s", path);
}

sd_status cli_check_stage(const char *dir, sd_err *err)
{
    if (sd_dir_exists(dir)) return SD_OK;
    sd_fail(err, SD_E_NOTFOUND, "%s: no such folder", dir);
    return sd_hint(err, "the embedded model is the folder %s of the source tree: work there, or name it with --model", dir);
}

sd_status cli_read_key(char **out, const char *path, sd_err *err)
{
    enum { MOST = 8192 }; /* what servers take of a header */
    sd_buf b;
    sd_slice key;
    sd_buf_init(&b, 1 << 16);
    sd_status st = sd_file_read(&b, path, err);
    sd_slice rest = sd_slice_trim((sd_slice){b.p ? b.p : "", b.n});
    if (!st && (!sd_slice_cut(&rest, '\n', &key) || (key = sd_slice_trim(key)).n == 0)) st = sd_fail(err, SD_E_FORMAT, "%s has no key in it", path);
    if (!st && key.n > MOST) st = sd_fail(err, SD_E_FORMAT, "%s: its first line has %zu bytes, a key has at most %d", path, key.n, MOST);
    if (!st && !(*out = sd_strndup(key.p, key.n))) st = sd_fail(err, SD_E_NOMEM, "out of memory: a key");
    sd_buf_release(&b);
    return st;
}

sd_status cli_check_model(const char *spec, sd_err *err)
{
    sd_model_spec s;
    sd_status st = sd_model_spec_parse(&s, spec, err);
    for (int i = 0; i < 2 && !st; i++) {
        const char *path = i ? s.adapter : s.model;
        if (*path && access(path, R_OK) != 0) st = sd_fail_errno(err, errno, "cannot open %s", path);
    }
    return st;
}

size_t cli_memory(const cli *c)
{
    return c->memory_mb > 0 ? (size_t)(c->memory_mb * 1e6) : sd_model_default_memory();
}

/* A capture packs the first blocks only, so BULK is not measured by the whole model. */
static void note_memory(const cli *c, const sd_describe *d, sd_mode mode, const char *path)
{
    char need[32], have[32];
    const uint64_t allowed = cli_memory(c), packed = d->memory[mode - SD_MODE_FAITHFUL].packed;
    if (packed > allowed)
        sd_log(SD_LOG_WARN, "%s: %s of packed weights in %s mode, %s are allowed (--memory): the others are packed in every step, which is slow for single tokens",
               path, sd_fmt_bytes(need, sizeof need, (double)packed), sd_mode_name(mode), sd_fmt_bytes(have, sizeof have, (double)allowed));
}

/* --site against the number of layers in the model's files, before anything is loaded. */
static sd_status check_site(const cli *c, const sd_describe *d, const char *path, sd_err *err)
{
    sd_site site;
    sd_status st = c->site ? cli_site(c, &site, err) : SD_OK;
    if (st || !c->site || d->n_layer == 0 || !sd_site_is_layered(site.kind) || site.layer < d->n_layer) return st;
    sd_fail(err, SD_E_ARG, "%s: layer %d of a model with %lld", c->site, site.layer, (long long)d->n_layer);
    return sd_hint(err, "%s has layers 0 to %lld", path, (long long)d->n_layer - 1);
}

sd_status cli_mode(const cli *c, const sd_exec *ex, cli_mode_class k, const char *model_path, sd_mode *out, sd_err *err)
{
    sd_describe d;
    sd_model_spec spec;
    bool has_bf16 = ex->cpu.flags & SD_CPU_AVX512_BF16;
    sd_status st = sd_model_spec_parse(&spec, model_path, err);
    model_path = spec.model;
    if (!st) st = sd_lab_describe(&d, model_path, &(sd_describe_opt){.cpu_flags = ex->cpu.flags, .no_tokenizer = true}, err);
    if (!st) st = check_site(c, &d, model_path, err);
    if (st) return st;
    if (c->mode != SD_MODE_DEFAULT) *out = c->mode;
    else if (k == CLI_EXACT) *out = SD_MODE_FAITHFUL;
    else if (k == CLI_CHAT && sd_describe_is_quantised(&d)) *out = SD_MODE_FAST;
    else *out = has_bf16 ? SD_MODE_BF16 : SD_MODE_FAITHFUL;
    if (k != CLI_BULK) note_memory(c, &d, *out, model_path);
    return SD_OK;
}

sd_status cli_model_open(cli *c, const sd_exec *ex, cli_mode_class k, const char *path, sd_model_opt opt, sd_model **out, sd_err *err)
{
    sd_status st = cli_mode(c, ex, k, path, &c->mode, err);
    opt.mode = c->mode;
    opt.kv = c->kv;
    opt.memory_bytes = cli_memory(c);
    if (!st) st = sd_model_open(out, ex, path, &opt, err);
    if (!st && (*out)->chat) sd_chat_set_clock((*out)->chat, local_seconds()); /* templates tell the date */
    return st;
}

sd_status cli_corpus_open(cli *c, sd_corpus **out, const char *const *paths, int n_paths, sd_err *err)
{
    const char *first;
    for (int i = 0; i < n_paths; i++)
        if (strcmp(paths[i], "-") == 0) { /* it is read again by --resume, and by whoever holds a result against its corpus */
            cli_refuse(c, err, "a corpus is files and folders, standard input is none");
            return sd_hint(err, "put the text in a file");
        }
    const sd_status st = sd_corpus_open(out, paths, n_paths, err);
    if (st) return st;
    const int64_t n = sd_corpus_left_out(*out, &first);
    if (n) cli_note(c, "warning: %lld of %lld files were left out, they are not UTF-8; the first: %s", (long long)n, (long long)(n + sd_corpus_files(*out)), first);
    return SD_OK;
}

void cli_corpus_hash(cli *c, const sd_corpus *corpus)
{
    sd_sha256 sha;
    sd_corpus_sha256(corpus, &sha);
    sd_sha256_hex(&sha, c->prov.data_sha256);
}

void cli_note_site(cli *c, const sd_dict *dict, sd_site site)
{
    sd_site own;
    char name[64];
    const char *of = sd_dict_site_name(dict);
    if (!of[0] || sd_site_parse(&own, of, strlen(of), NULL) || (own.kind == site.kind && own.layer == site.layer)) return;
    cli_note(c, "warning: the dictionary was trained at %s and is used at %s", of, sd_site_print(name, sizeof name, site));
}

sd_status cli_dict_site(cli *c, const sd_dict *dict, sd_site *out, sd_err *err)
{
    bool given = c->site != NULL;
    if (strcmp(sd_dict_get_info(dict)->control, "random-model") == 0 && strcmp(c->cmd->name, "dict eval") != 0)
        cli_note(c, "warning: this dictionary is a control of a model with random weights; what it says of this one is noise");
    if (!given) c->site = sd_dict_site_name(dict);
    if (c->site[0]) {
        sd_status st = cli_site(c, out, err);
        if (!st && given) cli_note_site(c, dict, *out);
        return st;
    }
    sd_fail(err, SD_E_ARG, "the dictionary does not say of which site it is");
    return sd_hint(err, "add --site resid_post.14 (or another layer)");
}

sd_status cli_model_hash(cli *c, const char *model_path, sd_err *err)
{
    /* A cache that cannot be written costs time, not the answer. */
    const char *cache = c->cache_dir[0] && sd_dir_make(c->cache_dir, NULL) == SD_OK ? c->cache_dir : NULL;
    return sd_lab_model_hash(c->prov.model_sha256, model_path, cache, err);
}
