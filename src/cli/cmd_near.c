/* sonde near: arithmetic on words, and the tokens that come out nearest. */
#include "cli/look_args.h"

typedef struct args { const char *expr, *space, *site, *prefix, *html; opt_list words; bool center, unit; int64_t limit, candidates; } args;

static const cli_opt opts[] = {
    {0, "expr", OPT_STR, AT(args, expr), .arg = "EXPR", .help = "words joined by + - |- | with spaces around them, numbers as 2*word, brackets"},
    {0, "space", OPT_STR, AT(args, space), .arg = "NAME", .def = "embed", .values = "embed|unembed", .help = "rows of the embedding, or of the head"},
    {0, "site", OPT_STR, AT(args, site), .arg = "SITE", .help = "a place of the residual stream instead: what words are there behind --prefix"},
    {0, "prefix", OPT_STR, AT(args, prefix), .arg = "TEXT", .help = "with --site: the text in front of every word; the BOS token when not given"},
    {0, "words", OPT_LIST, AT(args, words), .arg = "WORDS", .help = "also say the ranks of these"},
    {0, "center", OPT_BOOL, AT(args, center), .help = "take the mean of all candidates from every vector first"},
    {0, "unit", OPT_BOOL, AT(args, unit), .help = "scale every word to length 1 before the arithmetic"},
    {'n', "limit", OPT_INT, AT(args, limit), .arg = "N", .def = "10", .lo = 1, .hi = SD_VECTORS_MAX_TOP, .zero = "1000", .help = "tokens to list"},
    {0, "candidates", OPT_INT, AT(args, candidates), .with = "site", .arg = "N", .def = "8192", .lo = 1, .hi = 1e7, .help = "with --site: words of the vocabulary to compare with"},
    LOOK_HTML_OPT(args),
    OPT_END};

static void put_near(sd_jw *w, const char *key, const sd_model *m, const sd_near_token *v, int n)
{
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int i = 0; i < n; i++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "id", v[i].id);
        sd_jw_key(w, "text");
        sd_jw_slice(w, sd_tok_bytes(m->tok, v[i].id));
        sd_jw_kf64(w, "cosine", v[i].cosine);
        sd_jw_ki64(w, "rank", v[i].rank);
        sd_jw_key(w, "rank_other");
        if (v[i].rank_other) sd_jw_i64(w, v[i].rank_other);
        else sd_jw_null(w);
        sd_jw_kbool(w, "put_in", v[i].rank_other == 0);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static int print_json(cli *c, const sd_model *m, const sd_vectors *v, const args *a)
{
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.near/1");
    sd_jw_kstr(w, "expr", a->expr);
    sd_jw_kstr(w, "space", a->site ? a->site : a->space);
    sd_jw_kbool(w, "center", a->center);
    sd_jw_kbool(w, "unit", a->unit);
    sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
    sd_jw_ki64(w, "n_candidates", v->n_candidates);
    sd_jw_ki64(w, "n_put_in", v->n_put_in);
    sd_jw_kf64(w, "norm", v->norm);
    sd_jw_key(w, "words");
    sd_jw_arr(w);
    for (int i = 0; i < v->n_word; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "word", v->word[i].text);
        look_put_tokens(w, m, v->word[i].piece, v->word[i].n_piece);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    put_near(w, "near", m, v->top, v->n_top);
    put_near(w, "asked", m, v->asked, v->n_asked);
    return out_json_end(c, &j);
}

static int print_table(cli *c, const sd_model *m, const sd_vectors *v)
{
    static const out_col cols[] = {{"rank", OUT_RIGHT}, {"rank_other", OUT_RIGHT}, {"cosine", OUT_RIGHT}, {"token", OUT_LEFT}, {"note", OUT_LEFT}};
    out_table *t = out_table_new(c, cols, 5);
    for (int i = 0; i < v->n_top + v->n_asked; i++) {
        const sd_near_token *n = i < v->n_top ? &v->top[i] : &v->asked[i - v->n_top];
        out_i64(t, n->rank);
        if (n->rank_other) out_i64(t, n->rank_other);
        else out_str(t, "-");
        out_cell(t, "%.5f", n->cosine);
        look_cell(t, m, n->id);
        out_str(t, i >= v->n_top ? "asked for" : n->rank_other ? "" : "put in");
    }
    int rc = out_table_end(t);
    for (int i = 0; i < v->n_word; i++)
        if (v->word[i].n_piece > 1) out_say(c, "'%s' is %d tokens: %s", v->word[i].text, v->word[i].n_piece, "their mean, or at a site the last of them, stands for it");
    return rc;
}

static int cmd_near(cli *c, int argc, char **argv);
const cli_cmd cmd_near_def = {
    .name = "near",
    .brief = "arithmetic on words: the tokens nearest to what comes out",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE | CLI_FORCE,
    .run = cmd_near,
    .text = "Vectors are rows of the embedding, of the head, or of the residual stream at a site. a + b and a - b add and subtract,\n"
            "a |- b takes b's projection off a, a | b keeps only it; from the left, brackets group. A word is the token with a space in\n"
            "front when there is one. rank counts every candidate, rank_other those that were not put in.",
    .examples = "sonde near model.gguf --expr 'king - man + woman'\nsonde near model.gguf --expr 'queen |- woman' --words king,man\n"
                "sonde near model.gguf --expr 'Paris - France + Italy' --site resid_post.8 --prefix 'The word is' --center\n",
    .json = "sonde.near/1"};

static sd_status read_site(sd_vectors_opt *o, sd_model_opt *mo, const args *a, sd_err *err)
{
    if (!a->site) return SD_OK;
    sd_status st = sd_site_parse(&o->site, a->site, strlen(a->site), err);
    mo->max_layer = o->site.kind == SD_SITE_FINAL_NORM ? 0 : o->site.layer + 1;
    return st;
}

static sd_status study(cli *c, const sd_exec *ex, sd_model *m, const args *a, const sd_vectors_opt *o, int *rc, sd_err *err)
{
    sd_vectors v = {0};
    sd_buf page;
    sd_buf_init(&page, LOOK_PAGE_MAX);
    sd_status st = sd_lab_vectors(&v, ex, m, a->expr, o, err);
    if (!st) st = cli_model_hash(c, c->arg[0], err);
    if (!st && a->html) {
        sd_look_in in = look_in(c, m, a->expr);
        st = sd_page_vectors(&page, &in, &v, a->site ? a->site : a->space, err);
        if (!st) st = look_html_write(c, a->html, &page, err);
    }
    if (!st) *rc = c->json ? print_json(c, m, &v, a) : print_table(c, m, &v);
    sd_vectors_release(&v);
    sd_buf_release(&page);
    return st;
}

static int cmd_near(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    if (!cli_parse(c, &cmd_near_def, &a, argc, argv, &rc)) return rc;
    if (!a.expr) return cli_usage(c, "give the words as --expr");
    if (a.site && opt_given(c, "space")) return cli_usage(c, "--space names rows of a vocabulary, --site a place of the residual stream: give one");
    if (a.prefix && !a.site) return cli_usage(c, "--prefix goes with --site");
    sd_vectors_opt o = {.space = a.site ? SD_SPACE_SITE : a.space[0] == 'u' ? SD_SPACE_UNEMBED : SD_SPACE_EMBED, .prefix = a.prefix, .center = a.center,
                        .unit = a.unit, .n_top = (int)a.limit, .max_candidates = a.candidates, .word = a.words.v, .n_word = a.words.n, .progress = &c->progress};
    sd_status st = look_html_check(c, a.html, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    /* Rows of the vocabularies are read from the file: blocks are packed only for a site, up to its own. */
    sd_model_opt mo = {.max_layer = 1, .no_head = true};
    st = read_site(&o, &mo, &a, &err);
    if (!st) st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], mo, &m, &err);
    if (!st) st = study(c, ex, m, &a, &o, &rc, &err);
    if (st) rc = cli_fail(c, &err);
    sd_model_close(m);
    return rc;
}
