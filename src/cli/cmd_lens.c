/* sonde lens: what the model would say after each layer. */
#include "cli/heat.h"
#include "cli/look_args.h"
#include "lab/look_text.h"
#include <math.h>

typedef struct args { const char *text, *answer, *value, *html; opt_ints ids; bool no_special; int64_t top; } args;

static const cli_opt opts[] = {
    LOOK_PROMPT_OPTS(args),
    {0, "answer", OPT_STR, AT(args, answer), .arg = "TOKEN", .help = "follow this token at every position instead of the next one; text of one token, or id:N"},
    OPT_RENAMED("target", "answer"),
    {0, "top", OPT_INT, AT(args, top), .arg = "N", .def = "5", .lo = 1, .hi = SD_LENS_MAX_TOP, .help = "tokens a cell in --json"},
    {0, "value", OPT_STR, AT(args, value), .arg = "NAME", .def = "top", .values = "top|next|rank|kl|entropy", .help = "what the colour on a terminal says"},
    LOOK_HTML_OPT(args),
    OPT_END};

static sd_lens_value value_of(const char *name)
{
    static const char *const names[] = {"next", "rank", "kl", "top", "entropy"};
    int i = 0;
    while (strcmp(names[i], name) != 0) i++;
    return (sd_lens_value)i;
}

static int print_json(cli *c, const sd_model *m, const sd_lens *l)
{
    out_json j;
    char row[16];
    sd_jw *w = out_json_begin(c, &j, "sonde.lens/1");
    look_put_tokens(w, m, l->id, l->n);
    sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
    sd_jw_key(w, "layers");
    sd_jw_arr(w);
    for (int r = 0; r < l->n_row; r++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "layer", sd_lens_row_name(row, r));
        sd_jw_key(w, "positions");
        sd_jw_arr(w);
        for (int64_t i = 0; i < l->n; i++) {
            const sd_lens_cell *cell = &l->cell[r * l->n + i];
            sd_jw_obj(w);
            look_put_token(w, "next", m, l->next[i]);
            sd_jw_kf64(w, "p_next", cell->p_next);
            sd_jw_key(w, "rank");
            if (cell->rank) sd_jw_i64(w, cell->rank);
            else sd_jw_null(w);
            sd_jw_kf64(w, "kl", cell->kl);
            sd_jw_kf64(w, "entropy", cell->entropy);
            sd_jw_key(w, "top");
            sd_jw_arr(w);
            for (int k = 0; k < l->n_top; k++) {
                const sd_lens_top *t = &l->top[(r * l->n + i) * l->n_top + k];
                sd_jw_obj(w);
                sd_jw_ki64(w, "id", t->id);
                sd_jw_key(w, "text");
                sd_jw_slice(w, sd_tok_bytes(m->tok, t->id));
                sd_jw_kf64(w, "p", (double)t->p);
                sd_jw_end(w);
            }
            sd_jw_end(w);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    return out_json_end(c, &j);
}

static int print_rows(cli *c, const sd_model *m, const sd_lens *l)
{
    static const out_col cols[] = {{"layer", OUT_RIGHT}, {"position", OUT_RIGHT}, {"token", OUT_LEFT}, {"top", OUT_LEFT}, {"p_top", OUT_RIGHT},
                                   {"next", OUT_LEFT}, {"p_next", OUT_RIGHT}, {"rank", OUT_RIGHT}, {"kl", OUT_RIGHT}, {"entropy", OUT_RIGHT}};
    char row[16];
    out_table *t = out_table_new(c, cols, 10);
    for (int r = 0; r < l->n_row; r++)
        for (int64_t i = 0; i < l->n; i++) {
            const sd_lens_cell *cell = &l->cell[r * l->n + i];
            const sd_lens_top *top = &l->top[(r * l->n + i) * l->n_top];
            out_str(t, sd_lens_row_name(row, r));
            out_i64(t, i);
            look_cell(t, m, l->id[i]);
            look_cell(t, m, top->id);
            out_f64(t, (double)top->p, 6);
            look_cell(t, m, l->next[i]);
            out_f64(t, cell->p_next, 6);
            if (cell->rank) out_i64(t, cell->rank);
            else out_str(t, "-");
            out_f64(t, cell->kl, 6);
            out_f64(t, cell->entropy, 6);
        }
    return out_table_end(t);
}

static int print(cli *c, const sd_model *m, const sd_lens *l, const args *a, sd_err *err)
{
    sd_grid g;
    if (c->json) return print_json(c, m, l);
    if (!c->out_tty) return print_rows(c, m, l);
    if (sd_lens_grid(&g, l, m->tok, value_of(a->value), err)) return cli_fail(c, err);
    int rc = heat_print(c, &g);
    sd_grid_release(&g);
    return rc;
}

static int cmd_lens(cli *c, int argc, char **argv);
const cli_cmd cmd_lens_def = {
    .name = "lens",
    .brief = "what the model would say after each layer",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE | CLI_FORCE,
    .run = cmd_lens,
    .text = "The logit lens: the residual stream after every layer goes through the last norm and the head. A cell holds the likeliest\n"
            "token; probability and rank of the token that follows, and the KL divergence from the model's own prediction, are in the\n"
            "piped table and in --json. docs/LOOK.md has the definitions.",
    .examples = "sonde lens model.gguf --text 'The capital of France is'\nsonde lens model.gguf --text 'The capital of France is' --answer ' Paris' --value rank --html lens.html\n",
    .json = "sonde.lens/1"};

static int cmd_lens(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_ids ids = {0};
    sd_lens l = {0};
    sd_buf page, text;
    if (!cli_parse(c, &cmd_lens_def, &a, argc, argv, &rc)) return rc;
    if (!a.text == !a.ids.n) return cli_usage(c, "give the prompt either as --text or as --ids");
    sd_lens_opt o = {.n_top = (int)a.top, .has_answer = a.answer, .progress = &c->progress};
    sd_buf_init(&page, LOOK_PAGE_MAX);
    sd_buf_init(&text, 1);
    sd_status st = look_html_check(c, a.html, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if ((st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], (sd_model_opt){0}, &m, &err))) goto done;
    if ((st = look_prompt(&ids, m, a.text, a.ids, a.no_special, &err))) goto done;
    if (a.answer && (st = sd_look_one_token(&o.answer, m, a.answer, "--answer", &err))) goto done;
    if ((st = sd_lab_lens(&l, ex, m, &ids, &o, &err))) goto done;
    if ((st = cli_model_hash(c, c->arg[0], &err))) goto done;
    if (a.html) {
        sd_look_in in = look_in(c, m, look_prompt_text(&text, m, &ids));
        if ((st = sd_page_lens(&page, &in, &l, &err)) || (st = look_html_write(c, a.html, &page, &err))) goto done;
    }
    rc = print(c, m, &l, &a, &err);
done:
    if (st) rc = cli_fail(c, &err);
    sd_buf_release(&page);
    sd_buf_release(&text);
    sd_lens_release(&l);
    sd_ids_release(&ids);
    sd_model_close(m);
    return rc;
}
