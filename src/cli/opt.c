/* The parser of command lines. It owns the rules (see opt.h) and the two lists of flags that mean the same in every command;
 * printing them is help.c's business. Rows write through their offset into either the cli (common and shared flags) or the
 * command's own struct of arguments: `row_base` is the one place that knows which. */
#include "cli/cli.h"

static const cli_opt common_rows[] = {
    {0, "json", OPT_BOOL, AT(cli, json), .help = "one JSON document on stdout"},
    {'t', "threads", OPT_INT, AT(cli, threads), .arg = "N", .lo = 1, .hi = 1024, .help = "threads", .def_words = "the CPUs of this process"},
    {0, "cpu", OPT_STR, AT(cli, cpu), .arg = "LEVEL", .values = "auto|ref|avx2|avx512|amx", .help = "use no more of the CPU than this", .def_words = "auto"},
    {'q', "quiet", OPT_BOOL, AT(cli, quiet), .help = "no progress and no notes on stderr"},
    {'v', "verbose", OPT_COUNT, AT(cli, verbose), .help = "more on stderr; twice for debugging"},
    {'h', "help", OPT_BOOL, AT(cli, help), .help = "explain the command and its flags"},
    OPT_END};

#define MODE .values = "faithful|bf16|fast", .help = "numbers, from exact to fast (docs/NUMERICS.md)"
/* 2^53: a seed survives every JSON reader. */
#define SEED_MAX 9007199254740992.0
static const struct { unsigned use; cli_opt row; } shared_rows[] = {
    {CLI_SITE, {0, "site", OPT_STR, AT(cli, site), .arg = "SITE", .help = "where in the model: resid_post.14, mlp_out.3, .."}},
    {CLI_OUT, {'o', "output", OPT_STR, AT(cli, output), .arg = "PATH", .help = "where the result is written"}},
    {CLI_FORCE, {'f', "force", OPT_BOOL, AT(cli, force), .help = "overwrite what is there"}},
    {CLI_RESUME, {0, "resume", OPT_STR, AT(cli, resume), .arg = "DIR", .help = "go on with an interrupted run"}},
    {CLI_MODE, {0, "mode", OPT_STR, AT(cli, mode_name), .arg = "MODE", MODE, .def = "faithful"}},
    {CLI_MODE_BULK, {0, "mode", OPT_STR, AT(cli, mode_name), .arg = "MODE", MODE, .def_words = "bf16 where the CPU multiplies it, else faithful"}},
    {CLI_MODE_CHAT, {0, "mode", OPT_STR, AT(cli, mode_name), .arg = "MODE", MODE, .def_words = "fast on quantised files, else bf16 or faithful"}},
    {CLI_MODE | CLI_MODE_BULK | CLI_MODE_CHAT | CLI_MEMORY,
     {0, "memory", OPT_FLOAT, AT(cli, memory_mb), .arg = "MB", .lo = 0, .hi = 1e9, .unit = "megabytes", .help = "most packed weights; the rest is packed in every step", .def_words = "three quarters of what is free"}},
    {CLI_MODE | CLI_MODE_CHAT,
     {0, "kv", OPT_STR, AT(cli, kv_name), .arg = "TYPE", .values = "f32|f16|q8|bf16", .help = "numbers of the key-value cache", .def_words = "f16 in fast mode, bf16 in bf16 mode where the CPU multiplies it, else f32"}},
    {CLI_SEED, {0, "seed", OPT_INT, AT(cli, seed), .arg = "N", .def = "0", .hi = SEED_MAX, .help = "seed of everything random"}},
    {CLI_SEED_WORLD, {0, "seed", OPT_INT, AT(cli, seed), .arg = "N", .def = "0", .hi = SEED_MAX, .help = "seed of everything random", .def_words = "the world's own"}},
};
enum { N_SHARED = sizeof shared_rows / sizeof shared_rows[0], MAX_ROWS = 64 /* bits of cli.given */ };

const cli_opt *opt_common(void) { return common_rows; }

const cli_opt *opt_shared(int i, unsigned *use)
{
    if (i < 0 || i >= N_SHARED) return NULL;
    *use = shared_rows[i].use;
    return &shared_rows[i].row;
}

typedef struct parse { cli *c; const cli_cmd *cmd; void *args; } parse;

/* Row k of a command: its own, then the shared flags that it uses, then the common ones; NULL after the last. */
static const cli_opt *row_at(const cli_cmd *cmd, int k, bool *own)
{
    *own = true;
    for (const cli_opt *o = cmd->opts; o && o->type; o++)
        if (k-- == 0) return o;
    *own = false;
    for (int i = 0; i < N_SHARED; i++)
        if ((cmd->uses & shared_rows[i].use) && k-- == 0) return &shared_rows[i].row;
    for (const cli_opt *o = common_rows; o->type; o++)
        if (k-- == 0) return o;
    return NULL;
}

static int find_row(const cli_cmd *cmd, const char *name, size_t n)
{
    const cli_opt *o;
    bool own;
    for (int k = 0; (o = row_at(cmd, k, &own)); k++)
        if (strlen(o->name) == n && memcmp(o->name, name, n) == 0) return k;
    return -1;
}

static int no_memory(cli *c)
{
    sd_err err = {0};
    sd_fail(&err, SD_E_NOMEM, "out of memory while reading the command line");
    return cli_fail(c, &err);
}

bool opt_in_values(const char *values, sd_slice v)
{
    sd_slice rest = sd_slice_of(values), one;
    while (sd_slice_cut(&rest, '|', &one))
        if (sd_slice_eq(one, v)) return true;
    return false;
}

static int usage_value(cli *c, const cli_opt *o, sd_slice v)
{
    enum { MAX = 32 };
    char text[512];
    const char *names[MAX];
    int n = 0;
    size_t len = strlen(o->values);
    SD_ASSERT(len < sizeof text);
    memcpy(text, o->values, len + 1);
    for (char *s = text; s && n < MAX; n++) {
        names[n] = s;
        s = strchr(s, '|');
        if (s) *s++ = 0;
    }
    char word[64];
    snprintf(word, sizeof word, "%.*s", SD_SLICE(v));
    return cli_usage_near(c, opt_nearest(word, names, n), "--%s is one of %s, not '%.*s'", o->name, o->values, SD_SLICE(v));
}

/* The number v in the row's range; 0, or the exit code after the error. */
static int parse_number(cli *c, const cli_opt *o, sd_slice v, double *f, int64_t *i)
{
    bool is_int = o->type != OPT_FLOAT;
    if (is_int ? !sd_parse_i64(v, i) : !sd_parse_f64(v, f))
        return cli_usage(c, "--%s takes %s, not '%.*s'", o->name, is_int ? "a whole number" : "a number", SD_SLICE(v));
    if (o->zero && *i == 0) *i = (int64_t)o->hi;
    bool within = is_int ? *i >= (int64_t)o->lo && *i <= (int64_t)o->hi : *f >= o->lo && *f <= o->hi;
    if ((o->lo != 0 || o->hi != 0) && !within)
        return cli_usage(c, is_int ? "--%s is between %.0f and %.0f, not %.*s" : "--%s is between %g and %g, not %.*s", o->name, o->lo, o->hi, SD_SLICE(v));
    return 0;
}

static int add_string(cli *c, opt_list *l, const char *s)
{
    const char **v = cli_keep(c, sd_malloc((size_t)(l->n + 1) * sizeof *v));
    if (!v) return no_memory(c);
    if (l->n) memcpy(v, l->v, (size_t)l->n * sizeof *v);
    v[l->n] = s;
    l->v = v;
    l->n++;
    return 0;
}

static int add_list(cli *c, const cli_opt *o, opt_list *l, const char *text)
{
    sd_slice rest = sd_slice_of(text), one;
    int rc = 0;
    while (!rc && sd_slice_cut(&rest, ',', &one)) {
        if (one.n == 0) return cli_usage(c, "--%s has an empty item in '%s'", o->name, text);
        if (o->values && !opt_in_values(o->values, one)) return usage_value(c, o, one);
        char *s = cli_keep(c, sd_strndup(one.p, one.n));
        rc = s ? add_string(c, l, s) : no_memory(c);
    }
    return rc;
}

static int add_ints(cli *c, const cli_opt *o, opt_ints *l, const char *text)
{
    sd_slice rest = sd_slice_of(text), one;
    int64_t n = 1;
    for (const char *s = text; *s; s++) n += *s == ',';
    int64_t *v = cli_keep(c, sd_malloc((size_t)(l->n + n) * sizeof *v));
    if (!v) return no_memory(c);
    if (l->n) memcpy(v, l->v, (size_t)l->n * sizeof *v);
    n = l->n;
    while (sd_slice_cut(&rest, ',', &one)) {
        double f;
        int rc = parse_number(c, o, sd_slice_trim(one), &f, &v[n]);
        if (rc) return rc;
        n++;
    }
    *l = (opt_ints){v, n};
    return 0;
}

/* Puts value (NULL for flags without one) where row k says. 0, or the exit code after the error. */
static int store(parse *p, int k, const char *value)
{
    cli *c = p->c;
    bool own;
    const cli_opt *o = row_at(p->cmd, k, &own);
    void *at = (own ? (char *)p->args : (char *)c) + o->at;
    int rc = 0;
    switch (o->type) {
    case OPT_NONE: break;
    case OPT_BOOL: *(bool *)at = true; break;
    case OPT_COUNT: ++*(int *)at; break;
    case OPT_STR:
        if (o->values && !opt_in_values(o->values, sd_slice_of(value))) return usage_value(c, o, sd_slice_of(value));
        *(const char **)at = value;
        break;
    case OPT_INT: {
        double f;
        return parse_number(c, o, sd_slice_of(value), &f, at);
    }
    case OPT_FLOAT: {
        int64_t i;
        return parse_number(c, o, sd_slice_of(value), at, &i);
    }
    case OPT_LIST: rc = add_list(c, o, at, value); break;
    case OPT_MULTI:
        if (o->values && !opt_in_values(o->values, sd_slice_of(value))) return usage_value(c, o, sd_slice_of(value));
        rc = add_string(c, at, value);
        break;
    case OPT_INTS: rc = add_ints(c, o, at, value); break;
    }
    return rc;
}

static bool takes_value(const cli_opt *o) { return o->type != OPT_BOOL && o->type != OPT_COUNT; }

/* A flag of the command line. Of numbers and choices the last one wins, as in every tool; of two texts or paths the first would be lost. */
static int take(parse *p, int k, const char *value)
{
    bool own;
    const cli_opt *o = row_at(p->cmd, k, &own);
    if (o->type == OPT_STR && !o->values && (p->c->given >> k) & 1) return cli_usage(p->c, "--%s is given twice", o->name);
    p->c->given |= (uint64_t)1 << k;
    return store(p, k, value);
}

static int unknown_flag(parse *p, const char *name, size_t n)
{
    const char *names[MAX_ROWS];
    char word[64], near[80];
    int k = 0;
    const cli_opt *o;
    bool own;
    for (int i = 0; (o = row_at(p->cmd, i, &own)) && k < MAX_ROWS; i++)
        if (!o->hidden) names[k++] = o->name;
    snprintf(word, sizeof word, "%.*s", (int)n, name);
    const char *best = opt_nearest(word, names, k);
    if (best) snprintf(near, sizeof near, "--%s", best);
    return cli_usage_near(p->c, best ? near : NULL, "`sonde %s` has no flag --%s", p->cmd->name, word);
}

/* argv[*i] starts with "--" and has more. */
static int parse_long(parse *p, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2, *eq = strchr(name, '='), *value = NULL;
    size_t n = eq ? (size_t)(eq - name) : strlen(name);
    int k = find_row(p->cmd, name, n);
    if (k < 0) return unknown_flag(p, name, n);
    bool own;
    const cli_opt *o = row_at(p->cmd, k, &own);
    if (o->renamed) return cli_usage(p->c, "--%s is now --%s", o->name, o->renamed);
    if (takes_value(o)) {
        value = eq ? eq + 1 : *i + 1 < argc ? argv[++*i] : NULL;
        if (!value) return cli_usage(p->c, "--%s needs a value: --%s %s", o->name, o->name, o->arg ? o->arg : "X");
    } else if (eq) {
        return cli_usage(p->c, "--%s takes no value", o->name);
    }
    return take(p, k, value);
}

/* argv[*i] is "-x", "-xVALUE" or flags without values run together ("-vv"). */
static int parse_short(parse *p, int argc, char **argv, int *i)
{
    for (const char *s = argv[*i] + 1; *s; s++) {
        const cli_opt *o;
        bool own;
        int k = 0;
        while ((o = row_at(p->cmd, k, &own)) && o->short_name != *s) k++;
        if (!o) return cli_usage(p->c, "`sonde %s` has no flag -%c", p->cmd->name, *s);
        if (!takes_value(o)) {
            take(p, k, NULL);
            continue;
        }
        const char *value = s[1] ? s + 1 : *i + 1 < argc ? argv[++*i] : NULL;
        if (!value) return cli_usage(p->c, "-%c needs a value: -%c %s", *s, *s, o->arg ? o->arg : "X");
        return take(p, k, value);
    }
    return 0;
}

/* Checks the number of arguments against the command's pattern ("MODEL CORPUS.. [DIR]"). */
static int check_args(parse *p)
{
    sd_slice rest = sd_slice_of(p->cmd->args ? p->cmd->args : ""), one;
    int n = 0, max = 0;
    while (sd_slice_cut(&rest, ' ', &one)) {
        if (one.n == 0) continue;
        bool optional = one.p[0] == '[', many = sd_slice_ends(one, "..") || sd_slice_ends(one, "..]");
        if (!optional && p->c->n_arg <= n) return cli_usage(p->c, "`sonde %s` needs %.*s", p->cmd->name, SD_SLICE(one));
        n += !optional;
        max = many || max < 0 ? -1 : max + 1;
    }
    if (max >= 0 && p->c->n_arg > max)
        return cli_usage(p->c, "`sonde %s` takes no argument '%s'", p->cmd->name, p->c->arg[max]);
    return 0;
}

static int check_needed(parse *p)
{
    cli *c = p->c;
    if (c->json && !p->cmd->json) return cli_usage(c, "`sonde %s` prints text; it has no --json", p->cmd->name);
    if ((p->cmd->uses & CLI_NEED_OUT) && !c->output) return cli_usage(c, "`sonde %s` needs -o PATH", p->cmd->name);
    if ((p->cmd->uses & CLI_NEED_SITE) && !c->site) return cli_usage(c, "`sonde %s` needs --site SITE", p->cmd->name);
    for (sd_mode m = SD_MODE_FAITHFUL; c->mode_name && m <= SD_MODE_FAST; m++)
        if (strcmp(sd_mode_name(m), c->mode_name) == 0) c->mode = m;
    for (sd_kv_type t = SD_KV_F32; c->kv_name && t <= SD_KV_BF16; t++)
        if (strcmp(sd_kv_type_name(t), c->kv_name) == 0) c->kv = t;
    return 0;
}

/* A flag that would change nothing is a mistake of whoever wrote it: "--strength does nothing without --ablate". */
static int check_alone(parse *p)
{
    const cli_opt *o;
    bool own;
    for (int k = 0; (o = row_at(p->cmd, k, &own)); k++) {
        sd_slice rest = sd_slice_of(o->with ? o->with : ""), one;
        sd_buf names;
        bool there = false;
        int n = 0, rc = 0;
        if (!o->with || !((p->c->given >> k) & 1)) continue;
        sd_buf_init(&names, 1 << 10);
        while (sd_slice_cut(&rest, '|', &one)) {
            int at = find_row(p->cmd, one.p, one.n);
            SD_ASSERT(at >= 0); /* a table that names no flag */
            there = there || ((p->c->given >> at) & 1);
            sd_buf_printf(&names, "%s--%.*s", n++ ? " or " : "", SD_SLICE(one));
        }
        if (!there) rc = cli_usage(p->c, "--%s does nothing without %s", o->name, sd_buf_str(&names));
        sd_buf_release(&names);
        if (rc) return rc;
    }
    return 0;
}

static int set_defaults(parse *p)
{
    const cli_opt *o;
    bool own;
    int rc = 0;
    for (int k = 0; (o = row_at(p->cmd, k, &own)) && !rc; k++) {
        SD_ASSERT(k < MAX_ROWS);
        if (o->def) rc = store(p, k, o->def);
    }
    return rc;
}

static int print_help(cli *c, const cli_cmd *cmd)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 20); /* the longest help is a few kilobytes */
    help_command(&b, cmd, c->width);
    out_raw(c, &b);
    sd_buf_release(&b);
    return out_flush(c);
}

/* Values of the flags that name a model, resolved as the arguments are. */
static int find_flag_models(parse *p)
{
    const cli_opt *o;
    bool own;
    for (int k = 0; (o = row_at(p->cmd, k, &own)); k++) {
        sd_err err = {0};
        sd_status st = SD_OK;
        if (!own || !((p->c->given >> k) & 1) || !o->arg || (strcmp(o->arg, "MODEL") != 0 && strcmp(o->arg, "MODEL2") != 0)) continue;
        if (o->type == OPT_STR) st = cli_find_model(p->c, (const char **)((char *)p->args + o->at), &err);
        if (o->type == OPT_MULTI) {
            const opt_list *list = (const opt_list *)((char *)p->args + o->at);
            for (int i = 0; i < list->n && !st; i++) st = cli_find_model(p->c, &list->v[i], &err);
        }
        if (st) return cli_fail(p->c, &err);
    }
    return 0;
}

bool opt_parse(cli *c, const cli_cmd *cmd, void *args, size_t args_size, int argc, char **argv, int *rc)
{
    parse p = {c, cmd, args};
    bool only_args = false;
    c->cmd = cmd;
    memset(args, 0, args_size);
    c->arg = cli_keep(c, sd_malloc((size_t)(argc + 1) * sizeof *c->arg));
    *rc = c->arg ? set_defaults(&p) : no_memory(c);
    for (int i = 1; i < argc && !*rc; i++) {
        bool number = argv[i][0] == '-' && argv[i][1] >= '0' && argv[i][1] <= '9'; /* no flag is a digit */
        if (only_args || number || argv[i][0] != '-' || !argv[i][1]) c->arg[c->n_arg++] = argv[i];
        else if (strcmp(argv[i], "--") == 0) only_args = true;
        else *rc = argv[i][1] == '-' ? parse_long(&p, argc, argv, &i) : parse_short(&p, argc, argv, &i);
    }
    if (!*rc && c->help) {
        *rc = print_help(c, cmd);
        return false;
    }
    if (!*rc) *rc = check_args(&p);
    if (!*rc) *rc = check_needed(&p);
    if (!*rc) *rc = check_alone(&p);
    if (!*rc && cmd->args && strstr(cmd->args, "MODEL")) *rc = cli_find_models(c);
    if (!*rc) *rc = find_flag_models(&p);
    return *rc == 0;
}

bool opt_given(const cli *c, const char *name)
{
    int k = find_row(c->cmd, name, strlen(name));
    return k >= 0 && ((c->given >> k) & 1);
}

const char *opt_first_given(const cli *c, const char *except)
{
    const cli_opt *o;
    bool own;
    for (int k = 0; (o = row_at(c->cmd, k, &own)); k++) {
        bool common = o >= common_rows && o < common_rows + sizeof common_rows / sizeof common_rows[0];
        if (!common && ((c->given >> k) & 1) && strcmp(o->name, except) != 0) return o->name;
    }
    return NULL;
}

/* Optimal string alignment distance: edits and swaps of neighbours, each substring edited once (Damerau 1964; Wagner & Fischer 1974).
 * Words longer than WORD are not compared. */
enum { WORD = 32 };
static int distance(const char *a, const char *b)
{
    int d[3][WORD + 1], na = (int)strlen(a), nb = (int)strlen(b);
    if (na > WORD || nb > WORD) return WORD;
    for (int j = 0; j <= nb; j++) d[0][j] = j;
    for (int i = 1; i <= na; i++) {
        int *row = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            int best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best) best = up[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best) best = up2[j - 2] + 1;
            row[j] = best;
        }
    }
    return d[na % 3][nb];
}

const char *opt_nearest(const char *word, const char *const *names, int n)
{
    const char *best = NULL;
    int best_d = (int)strlen(word) / 3 + 2;
    for (int i = 0; i < n; i++) {
        int d = distance(word, names[i]);
        if (d < best_d) {
            best_d = d;
            best = names[i];
        }
    }
    return best;
}
