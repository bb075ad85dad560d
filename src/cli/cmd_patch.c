/* sonde patch: one place after another of one prompt's activations put into the run of another. */
#include "cli/heat.h"
#include "cli/look_args.h"
#include "lab/look_text.h"

typedef struct args {
    const char *site, *clean, *corrupt, *metric, *answer, *wrong, *way, *align, *html;
    bool heads, no_special;
    int64_t position;
    opt_ints layers;
} args;

static const cli_opt opts[] = {
    {0, "clean", OPT_STR, AT(args, clean), .arg = "TEXT", .help = "the prompt whose answer is looked for"},
    {0, "corrupt", OPT_STR, AT(args, corrupt), .arg = "TEXT", .help = "the same prompt with one thing changed"},
    {0, "answer", OPT_STR, AT(args, answer), .arg = "TOKEN", .help = "the clean prompt's answer: text of one token, or id:N"},
    {0, "wrong", OPT_STR, AT(args, wrong), .arg = "TOKEN", .help = "the corrupted prompt's answer"},
    {0, "metric", OPT_STR, AT(args, metric), .arg = "NAME", .values = "logit_diff|prob|kl",
     .help = "what is measured at the last position; by default logit_diff with two answers, prob with one, kl with none"},
    {0, "way", OPT_STR, AT(args, way), .arg = "WAY", .def = "denoise", .values = "denoise|noise",
     .help = "clean activations into the corrupted run, or corrupted ones into the clean run"},
    {0, "site", OPT_STR, AT(args, site), .arg = "SITE", .help = "what is replaced: resid_pre when not given, attn_z with --heads; with a layer, only there"},
    {0, "heads", OPT_BOOL, AT(args, heads), .help = "one head at a time instead of one position"},
    {0, "position", OPT_INT, AT(args, position), .arg = "N", .lo = -1e6, .hi = -1, .help = "with --heads: patch only there, -1 being the last; all positions when not given"},
    {0, "layers", OPT_INTS, AT(args, layers), .arg = "FIRST,LAST", .help = "only these layers; all when not given"},
    {0, "align", OPT_STR, AT(args, align), .arg = "WHERE", .def = "none", .values = "none|end", .help = "let prompts of different lengths meet at their ends"},
    {0, "no-special", OPT_BOOL, AT(args, no_special), .help = "neither add nor read special tokens in the prompts"},
    LOOK_HTML_OPT(args),
    OPT_END};

static sd_status read_options(const cli *c, const args *a, const sd_model *m, sd_patch_opt *o, sd_err *err)
{
    const char *metric = a->metric ? a->metric : a->answer && a->wrong ? "logit_diff" : a->answer ? "prob" : "kl";
    o->metric = metric[0] == 'l' ? SD_PATCH_LOGIT_DIFF : metric[0] == 'p' ? SD_PATCH_PROB : SD_PATCH_KL;
    o->way = a->way[0] == 'd' ? SD_PATCH_DENOISE : SD_PATCH_NOISE;
    o->align_end = strcmp(a->align, "end") == 0;
    o->heads = a->heads;
    o->position = a->position;
    o->progress = &c->progress;
    if (a->layers.n) o->layer0 = (int)a->layers.v[0], o->layer1 = (int)a->layers.v[a->layers.n - 1] + 1;
    sd_status st = sd_patch_site(o, a->site, err);
    if (!st && a->answer) st = sd_look_one_token(&o->answer, m, a->answer, "--answer", err);
    if (!st && a->wrong) st = sd_look_one_token(&o->wrong, m, a->wrong, "--wrong", err);
    return st;
}

static int print_json(cli *c, const sd_model *m, const sd_patch *p, const sd_patch_opt *o)
{
    out_json j;
    char site[48];
    sd_jw *w = out_json_begin(c, &j, "sonde.patch/1");
    sd_patch_site_name(site, p->kind);
    sd_jw_kstr(w, "site", site);
    sd_jw_kstr(w, "metric", sd_patch_metric_name(p->metric));
    sd_jw_kstr(w, "way", sd_patch_way_name(p->way));
    sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
    look_put_token(w, "answer", m, p->metric == SD_PATCH_KL ? -1 : o->answer);
    look_put_token(w, "wrong", m, p->metric == SD_PATCH_LOGIT_DIFF ? o->wrong : -1);
    sd_jw_kstr(w, "align", p->aligned ? "end" : "none");
    sd_jw_ki64(w, "n_clean", p->n_clean);
    sd_jw_ki64(w, "n_corrupt", p->n_corrupt);
    sd_jw_ki64(w, "first_difference", p->first_diff);
    sd_jw_ki64(w, "n_runs", p->n_runs);
    sd_jw_ki64(w, "n_rows", p->n_rows);
    sd_jw_kf64(w, "clean", p->clean);
    sd_jw_kf64(w, "corrupt", p->corrupt);
    sd_jw_ki64(w, "first_layer", p->layer0);
    sd_jw_kstr(w, "columns", p->heads ? "heads" : "positions");
    if (!p->heads) {
        sd_jw_ki64(w, "first_position", p->first_pos);
        look_put_tokens(w, m, p->id, p->n_col);
    }
    for (int k = 0; k < 2; k++) {
        sd_jw_key(w, k ? "effect" : "value");
        sd_jw_arr(w);
        for (int64_t r = 0; r < p->n_layer; r++) {
            sd_jw_arr(w);
            for (int64_t i = 0; i < p->n_col; i++) sd_jw_f64(w, (k ? p->effect : p->value)[r * p->n_col + i]);
            sd_jw_end(w);
        }
        sd_jw_end(w);
    }
    return out_json_end(c, &j);
}

static int print_rows(cli *c, const sd_model *m, const sd_patch *p)
{
    const out_col cols[] = {{"layer", OUT_RIGHT}, {p->heads ? "head" : "position", OUT_RIGHT}, {"token", OUT_LEFT}, {sd_patch_metric_name(p->metric), OUT_RIGHT}, {"effect", OUT_RIGHT}};
    out_table *t = out_table_new(c, cols, 5);
    for (int64_t r = 0; r < p->n_layer; r++)
        for (int64_t i = 0; i < p->n_col; i++) {
            out_i64(t, p->layer0 + r);
            out_i64(t, p->heads ? i : p->first_pos + i);
            look_cell(t, m, p->heads ? -1 : p->id[i]);
            out_f64(t, p->value[r * p->n_col + i], 7);
            out_f64(t, p->effect[r * p->n_col + i], 5);
        }
    return out_table_end(t);
}

static int print(cli *c, const sd_model *m, const sd_patch *p, const sd_patch_opt *o, sd_err *err)
{
    sd_grid g;
    if (c->json) return print_json(c, m, p, o);
    if (!c->out_tty) return print_rows(c, m, p);
    if (sd_patch_grid(&g, p, m->tok, err)) return cli_fail(c, err);
    int rc = heat_print(c, &g);
    sd_grid_release(&g);
    fprintf(c->out, "%s: clean %.4g, corrupted %.4g; %lld runs of %lld rows\n%s", sd_patch_metric_name(p->metric), p->clean, p->corrupt, (long long)p->n_runs,
            (long long)p->n_rows, p->aligned ? "prompts aligned from their ends\n" : "");
    return rc ? rc : out_flush(c);
}

static int cmd_patch(cli *c, int argc, char **argv);
const cli_cmd cmd_patch_def = {
    .name = "patch",
    .brief = "put activations of one prompt into the run of another",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE | CLI_FORCE,
    .run = cmd_patch,
    .text = "Activation patching at every layer and position (or head) of a site, resid_pre when --site is not given, attn_z with\n"
            "--heads. A cell's effect is (metric - metric of the run) / (metric of the other - metric of the run): 0, that place\n"
            "changes nothing; 1, it alone makes the run the other prompt. --site takes a name without layer, or one layer of it.\n"
            "Prompts of different lengths are refused unless --align end is given.",
    .examples = "sonde patch model.gguf --clean 'The capital of France is' --corrupt 'The capital of Italy is' --answer ' Paris' --wrong ' Rome'\n"
                "sonde patch model.gguf --clean 'The capital of France is' --corrupt 'The capital of Italy is' --heads --metric kl --html patch.html\n",
    .json = "sonde.patch/1"};

static sd_status run(cli *c, const sd_exec *ex, sd_model *m, const args *a, int *rc, sd_err *err)
{
    sd_ids clean = {0}, corrupt = {0};
    sd_patch p = {0};
    sd_patch_opt o = {0};
    sd_buf page, text, other;
    const sd_encode_opt eo = {.no_special = a->no_special};
    sd_buf_init(&page, LOOK_PAGE_MAX);
    sd_buf_init(&text, 1);
    sd_buf_init(&other, 1);
    sd_status st = read_options(c, a, m, &o, err);
    if (!st) st = sd_tok_encode(m->tok, sd_slice_of(a->clean), &eo, &clean, err);
    if (!st) st = sd_tok_encode(m->tok, sd_slice_of(a->corrupt), &eo, &corrupt, err);
    if (!st) st = sd_lab_patch(&p, ex, m, &clean, &corrupt, &o, err);
    if (!st) st = cli_model_hash(c, c->arg[0], err);
    if (!st && a->html) {
        sd_look_in in = look_in(c, m, look_prompt_text(&text, m, &clean));
        st = sd_page_patch(&page, &in, &p, look_prompt_text(&other, m, &corrupt), &o, err);
        if (!st) st = look_html_write(c, a->html, &page, err);
    }
    if (!st) *rc = print(c, m, &p, &o, err);
    sd_patch_release(&p);
    sd_buf_release(&page);
    sd_buf_release(&text);
    sd_buf_release(&other);
    sd_ids_release(&clean);
    sd_ids_release(&corrupt);
    return st;
}

static int cmd_patch(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    if (!cli_parse(c, &cmd_patch_def, &a, argc, argv, &rc)) return rc;
    if (!a.clean || !a.corrupt) return cli_usage(c, "--clean and --corrupt are both needed");
    if (a.layers.n > 2) return cli_usage(c, "--layers takes one layer, or the first and the last");
    if (a.position && !a.heads) return cli_usage(c, "--position goes with --heads; without it every position is patched");
    if (a.metric && a.metric[0] == 'l' && (!a.answer || !a.wrong)) return cli_usage(c, "logit_diff needs --answer and --wrong");
    if (a.metric && a.metric[0] == 'p' && !a.answer) return cli_usage(c, "prob needs --answer");
    if (a.wrong && !a.answer) return cli_usage(c, "--wrong goes with --answer");
    sd_status st = look_html_check(c, a.html, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (!st) st = run(c, ex, m, &a, &rc, &err);
    if (st) rc = cli_fail(c, &err);
    sd_model_close(m);
    return rc;
}
