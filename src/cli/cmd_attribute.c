/* sonde attribute: which parts of the model wrote a logit. */
#include "cli/heat.h"
#include "cli/look_args.h"
#include "lab/look_text.h"

typedef struct args { const char *text, *answer, *wrong, *dict, *site, *html; opt_ints ids; bool no_special; int64_t position, limit; } args;

static const cli_opt opts[] = {
    LOOK_PROMPT_OPTS(args),
    {0, "answer", OPT_STR, AT(args, answer), .arg = "TOKEN", .help = "whose logit: text of one token, or id:N; the likeliest when not given"},
    {0, "wrong", OPT_STR, AT(args, wrong), .arg = "TOKEN", .help = "attribute the difference from this token's logit"},
    OPT_RENAMED("token", "answer"),
    OPT_RENAMED("minus", "wrong"),
    {0, "position", OPT_INT, AT(args, position), .arg = "N", .def = "-1", .lo = -1e6, .hi = -1, .help = "where it is predicted, counted from the end"},
    {0, "dict", OPT_STR, AT(args, dict), .arg = "DIR", .help = "a dictionary: what it reads is attributed to its features"},
    {0, "site", OPT_STR, AT(args, site), .arg = "SITE", .help = "the dictionary's site; its own when not given"},
    {'n', "limit", OPT_INT, AT(args, limit), .arg = "N", .def = "20", .lo = 1, .hi = 1 << 30, .zero = "all", .help = "parts in the table of a terminal"},
    LOOK_HTML_OPT(args),
    OPT_END};

static const char *kind_name(sd_part_kind k)
{
    static const char *const name[] = {"embed", "head", "attn_rest", "mlp", "feature", "dict_offset", "dict_error"};
    return name[k];
}

static int print_json(cli *c, const sd_model *m, const sd_ids *ids, const sd_attribution *a)
{
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.attribute/1");
    look_put_tokens(w, m, ids->v, ids->n);
    sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
    sd_jw_ki64(w, "position", a->position);
    look_put_token(w, "answer", m, a->answer);
    look_put_token(w, "wrong", m, a->wrong);
    sd_jw_kf64(w, "p_answer", a->p_answer);
    sd_jw_kf64(w, "p_wrong", a->p_wrong);
    sd_jw_kf64(w, "logit", a->model);
    sd_jw_kf64(w, "logit_from_parts", a->capped);
    sd_jw_kf64(w, "logit_bound", a->model_bound);
    sd_jw_kf64(w, "sum", a->sum);
    sd_jw_kf64(w, "constant", a->constant);
    sd_jw_kf64(w, "error", a->error);
    sd_jw_kf64(w, "error_bound", a->error_bound);
    sd_jw_key(w, "parts");
    sd_jw_arr(w);
    for (int64_t i = 0; i < a->n_part; i++) {
        const sd_part *p = &a->part[i];
        sd_jw_obj(w);
        sd_jw_kstr(w, "kind", kind_name(p->kind));
        if (p->layer >= 0) sd_jw_ki64(w, "layer", p->layer);
        if (p->head >= 0) sd_jw_ki64(w, "head", p->head);
        if (p->feature >= 0) {
            sd_jw_ki64(w, "index", p->feature);
            sd_jw_kf64(w, "activation", p->act);
        }
        sd_jw_kf64(w, "share", p->share);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    return out_json_end(c, &j);
}

static int print_table(cli *c, const sd_attribution *a, int64_t limit, sd_err *err)
{
    static const out_col cols[] = {{"part", OUT_LEFT}, {"layer", OUT_RIGHT}, {"head", OUT_RIGHT}, {"feature", OUT_RIGHT}, {"activation", OUT_RIGHT}, {"share", OUT_RIGHT}};
    int64_t *order = NULL, n = a->n_part;
    sd_status st = sd_alloc(&order, (size_t)n * sizeof *order, "order of the parts", err);
    if (!st) st = sd_attribution_order(order, a, err);
    if (st) {
        sd_free(order);
        return cli_fail(c, err);
    }
    out_table *t = out_table_new(c, cols, 6);
    for (int64_t i = 0; i < n && (!c->out_tty || i < limit); i++) {
        const sd_part *p = &a->part[order[i]];
        out_str(t, kind_name(p->kind));
        if (p->layer >= 0) out_i64(t, p->layer);
        else out_str(t, "");
        if (p->head >= 0) out_i64(t, p->head);
        else out_str(t, "");
        if (p->feature >= 0) out_cell(t, "%lld", (long long)p->feature);
        else out_str(t, "");
        if (p->feature >= 0) out_f64(t, p->act, 4);
        else out_str(t, "");
        if (c->out_tty) out_cell(t, "%+.4g", p->share);
        else out_f64(t, p->share, 9);
    }
    sd_free(order);
    return out_table_end(t);
}

static int print(cli *c, const sd_model *m, const sd_ids *ids, const sd_attribution *a, int64_t limit, sd_err *err)
{
    sd_grid g;
    if (c->json) return print_json(c, m, ids, a);
    if (!c->out_tty) return print_table(c, a, limit, err);
    if (sd_attribution_grid(&g, a, err)) return cli_fail(c, err);
    int rc = heat_print(c, &g);
    sd_grid_release(&g);
    if (!rc) rc = print_table(c, a, limit, err);
    fprintf(c->out, "logit%s %.5g; the shares add up to %.5g (missing %.1e, bound %.1e)\n", a->wrong >= 0 ? " difference" : "", a->model, a->capped, a->error, a->error_bound);
    return rc ? rc : out_flush(c);
}

static int cmd_attribute(cli *c, int argc, char **argv);
const cli_cmd cmd_attribute_def = {
    .name = "attribute",
    .brief = "which heads, MLPs and features wrote a logit",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE | CLI_FORCE,
    .run = cmd_attribute,
    .text = "Direct logit attribution: the last residual row is a sum of what was written into it; with the last norm's scale held as it\n"
            "was, every part has its share of the logit (before any soft cap) and the shares add up to it. With --dict the residual stream\n"
            "up to the dictionary's site is attributed to its features, its offset and its error.",
    .examples = "sonde attribute model.gguf --text 'The capital of France is' --answer ' Paris' --wrong ' Rome'\n"
                "sonde attribute model.gguf --text 'The capital of France is' --dict dict/ --html attribution.html\n",
    .json = "sonde.attribute/1"};

static sd_status study(cli *c, const sd_exec *ex, sd_model *m, const args *a, int *rc, sd_err *err)
{
    sd_ids ids = {0};
    sd_attribution r = {0};
    sd_dict *dict = NULL;
    sd_buf page, text;
    sd_attribute_opt o = {.position = a->position, .has_answer = a->answer, .has_wrong = a->wrong};
    sd_buf_init(&page, LOOK_PAGE_MAX);
    sd_buf_init(&text, 1);
    sd_status st = look_prompt(&ids, m, a->text, a->ids, a->no_special, err);
    if (!st && a->answer) st = sd_look_one_token(&o.answer, m, a->answer, "--answer", err);
    if (!st && a->wrong) st = sd_look_one_token(&o.wrong, m, a->wrong, "--wrong", err);
    if (!st && a->dict) {
        c->site = a->site;
        if (!(st = sd_dict_open(&dict, a->dict, err))) st = cli_dict_site(c, dict, &o.dict_site, err);
        o.dict = dict;
    }
    if (!st) st = sd_lab_attribute(&r, ex, m, &ids, &o, err);
    if (!st) st = cli_model_hash(c, c->arg[0], err);
    if (!st && a->html) {
        sd_look_in in = look_in(c, m, look_prompt_text(&text, m, &ids));
        st = sd_page_attribution(&page, &in, &r, err);
        if (!st) st = look_html_write(c, a->html, &page, err);
    }
    if (!st) *rc = print(c, m, &ids, &r, a->limit, err);
    sd_attribution_release(&r);
    sd_dict_free(dict);
    sd_buf_release(&page);
    sd_buf_release(&text);
    sd_ids_release(&ids);
    return st;
}

static int cmd_attribute(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    if (!cli_parse(c, &cmd_attribute_def, &a, argc, argv, &rc)) return rc;
    if (!a.text == !a.ids.n) return cli_usage(c, "give the prompt either as --text or as --ids");
    if (a.site && !a.dict) return cli_usage(c, "--site goes with --dict");
    sd_status st = look_html_check(c, a.html, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (!st) st = study(c, ex, m, &a, &rc, &err);
    if (st) rc = cli_fail(c, &err);
    sd_model_close(m);
    return rc;
}
