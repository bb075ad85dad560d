/* sonde direction topics: one direction of refusal for all topics, or one each? */
#include "cli/prompts.h"
#include "lab/direction_file.h"
#include "lab/topics.h"
#include <math.h>

typedef struct args { const char *positive, *negative, *system, *phrases; int64_t least, shuffles; } args;

static const cli_opt opts[] = {
    {0, "positive", OPT_STR, AT(args, positive), .arg = "FILE", .help = "prompts with the concept (harmful requests) and their categories"},
    {0, "negative", OPT_STR, AT(args, negative), .arg = "FILE", .help = "prompts without it (harmless requests); at most 128 are used"},
    {0, "least", OPT_INT, AT(args, least), .arg = "N", .def = "8", .lo = 4, .hi = 1 << 16, .help = "prompts that a category must have"},
    {0, "shuffles", OPT_INT, AT(args, shuffles), .arg = "N", .def = "5", .lo = 0, .hi = 1000, .help = "times the categories are shuffled, as a floor"},
    {0, "system", OPT_STR, AT(args, system), .arg = "TEXT", .def = "default", .help = "system message: default (the template's own), none, or a text"},
    {0, "phrases", OPT_STR, AT(args, phrases), .arg = "FILE", .help = CLI_PHRASES_HELP},
    OPT_END};

static void matrix(sd_jw *w, const char *key, const double v[][SD_MAX_TOPICS], int rows, int cols)
{
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int a = 0; a < rows; a++) {
        sd_jw_arr(w);
        for (int b = 0; b < cols; b++) sd_jw_f64(w, v[a][b]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static int print_json(cli *c, const sd_topics *t, const sd_direction_file *f, const sd_heard *h)
{
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.direction_topics/1");
    sd_jw_kstr(w, "direction", f->name);
    sd_jw_ki64(w, "layer", f->layer);
    sd_jw_ki64(w, "position", f->position);
    sd_jw_key(w, "topics");
    sd_jw_arr(w);
    for (int k = 0; k < t->n; k++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", t->name[k]);
        sd_jw_ki64(w, "n_fit", t->n_fit[k]);
        sd_jw_ki64(w, "n_test", t->n_test[k]);
        sd_jw_kf64(w, "plain_score", t->plain[k]);
        sd_jw_kf64(w, "plain_refused", t->refused[k]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_ki64(w, "n_negative", t->n_neg);
    sd_jw_ki64(w, "n_left_out", t->n_left_out);
    matrix(w, "cosine", t->cosine, t->n, t->n);
    matrix(w, "score", t->score, t->n + 1, t->n);
    matrix(w, "refused", t->share, t->n + 1, t->n);
    for (int k = 0; k < 2; k++) {
        sd_jw_key(w, k ? "shuffled_cosine_by_layer" : "cosine_by_layer");
        sd_jw_arr(w);
        for (int l = 0; l < t->n_layer && (!k || t->n_shuffle); l++) sd_jw_f32(w, (k ? t->layer_shuffled : t->layer_cosine)[l]);
        sd_jw_end(w);
    }
    sd_jw_kf64(w, "gap", t->gap);
    sd_jw_ki64(w, "n_shuffle", t->n_shuffle);
    sd_jw_kf64(w, "shuffled_gap_mean", t->shuffled_mean);
    sd_jw_kf64(w, "shuffled_gap_largest", t->shuffled_largest);
    sd_jw_kf64(w, "p", t->p);
    sd_jw_kstr(w, "prompts_sha256", t->prompts_sha256);
    sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
    sd_jw_ki64(w, "rows", t->rows);
    cli_heard_json(w, h);
    return out_json_end(c, &j);
}

/* A row a fitted topic; its own column and the mean of the others. */
static int print_text(cli *c, const sd_topics *t, const sd_heard *h)
{
    char heard[400];
    static const out_col cols[] = {{"fitted on", OUT_FILL}, {"prompts", OUT_RIGHT}, {"plain refused", OUT_RIGHT}, {"own refused, ablated", OUT_RIGHT}, {"others refused, ablated", OUT_RIGHT},
                                   {"mean cosine with others", OUT_RIGHT}};
    out_table *table = out_table_new(c, cols, 6);
    for (int a = 0; a <= t->n; a++) {
        double others = 0, cosine = 0, plain = 0, own = 0;
        for (int b = 0; b < t->n; b++) {
            if (a == t->n) own += t->share[a][b] / t->n, plain += t->refused[b] / t->n;
            else if (a != b) others += t->share[a][b] / (t->n - 1), cosine += t->cosine[a][b] / (t->n - 1);
        }
        out_str(table, a < t->n ? t->name[a] : "all together");
        if (a < t->n) out_cell(table, "%lld + %lld", (long long)t->n_fit[a], (long long)t->n_test[a]);
        else out_str(table, "");
        out_cell(table, "%.0f %%", 100 * (a < t->n ? t->refused[a] : plain));
        out_cell(table, "%.0f %%", 100 * (a < t->n ? t->share[a][a] : own));
        if (a < t->n) out_cell(table, "%.0f %%", 100 * others);
        else out_str(table, "");
        if (a < t->n) out_f64(table, cosine, 3);
        else out_str(table, "");
    }
    int rc = out_table_end(table);
    out_say(c, "a topic's own direction lowers its score by %.3f more than another's does", t->gap);
    if (t->n_shuffle) out_say(c, "shuffled categories: %.3f on average, %.3f at most of %d (p %.2f)", t->shuffled_mean, t->shuffled_largest, t->n_shuffle, t->p);
    out_say(c, "%s", cli_heard_text(heard, sizeof heard, h));
    return rc;
}

static int cmd_direction_topics(cli *c, int argc, char **argv);
const cli_cmd cmd_direction_topics_def = {
    .name = "direction topics",
    .brief = "is it one direction for all topics, or one each?",
    .args = "MODEL NAME",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED,
    .run = cmd_direction_topics,
    .text = "A direction is fitted on half of each category of the positive prompts, at the place of the direction NAME that `sonde direction make` kept, and ablated on the\n"
            "other half of every category: what does a topic's own direction take away that another topic's does not? The same with shuffled categories is the floor.\n"
            "Cosines of the topics' directions by block. Nothing is kept.",
    .examples = "sonde direction topics model.gguf refusal --positive jailbreakbench.csv --negative harmless.json\n",
    .json = "sonde.direction_topics/1"};

static sd_status open_side(sd_suite *s, const char *kind, const char *path, sd_err *err)
{
    char spec[1100];
    snprintf(spec, sizeof spec, "%s=%s", kind, path);
    return sd_suite_open(s, strchr(path, '=') ? path : spec, err);
}

static sd_status hear(sd_heard *out, cli *c, const sd_model *m, const sd_topics *t, const sd_topics_opt *o, const char *phrases, sd_err *err)
{
    const char *text[SD_HEARD_PROMPTS];
    int64_t n = 0;
    for (; n < o->pos->n && n < SD_HEARD_PROMPTS; n++) text[n] = o->pos->v[n].text;
    return cli_heard(out, c, m, &t->refusal, (sd_heard_ask){.text = text, .n = n, .system = o->system}, phrases, err);
}

static int cmd_direction_topics(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_suite pos = {0}, neg = {0};
    sd_direction_file f = {0};
    sd_topics t = {0};
    sd_heard heard = {0};
    if (!cli_parse(c, &cmd_direction_topics_def, &a, argc, argv, &rc)) return rc;
    if (!a.positive || !a.negative) return cli_usage(c, "give prompts with --positive FILE and --negative FILE");
    const sd_exec *ex = cli_exec(c, &err);
    sd_status st = ex ? open_side(&pos, "harmful", a.positive, &err) : err.code;
    if (!st) st = open_side(&neg, "harmless", a.negative, &err);
    if (!st) st = cli_check_input(a.phrases, &err);
    if (!st) st = cli_model_hash(c, c->arg[0], &err);
    if (!st) st = sd_direction_load(&f, c->data_dir, c->prov.model_sha256, c->arg[1], 0, &err);
    if (!st) st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (!st) {
        sd_topics_opt o = {.pos = &pos, .neg = &neg, .least = a.least, .position = f.position, .layer = f.layer, .n_shuffle = a.shuffles ? (int)a.shuffles : -1, .seed = c->seed,
                           .progress = &c->progress};
        o.system = sd_system_of(a.system);
        st = sd_lab_topics(&t, ex, m, &o, &err);
        if (!st) st = hear(&heard, c, m, &t, &o, a.phrases, &err);
    }
    rc = st ? cli_fail(c, &err) : c->json ? print_json(c, &t, &f, &heard) : print_text(c, &t, &heard);
    sd_topics_release(&t);
    sd_direction_file_release(&f);
    sd_suite_release(&pos);
    sd_suite_release(&neg);
    sd_model_close(m);
    return rc;
}
