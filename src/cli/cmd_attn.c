/* sonde attn: where each head looks. */
#include "cli/heat.h"
#include "cli/look_args.h"
#include <math.h>

typedef struct args { const char *text, *score, *html; opt_ints ids; bool no_special, patterns; int64_t layer, head; } args;

static const cli_opt opts[] = {
    LOOK_PROMPT_OPTS(args),
    {0, "layer", OPT_INT, AT(args, layer), .arg = "L", .def = "-1", .lo = -1, .hi = 1e6, .help = "with --head: show that head's pattern; -1: all"},
    {0, "head", OPT_INT, AT(args, head), .arg = "H", .def = "-1", .lo = -1, .hi = 1e6, .help = "with --layer: show that head's pattern; -1: all"},
    {0, "score", OPT_STR, AT(args, score), .arg = "NAME", .def = "induction", .values = "previous|sink|current|duplicate|matching|induction|entropy",
     .help = "the habit that the map on a terminal shows"},
    {0, "patterns", OPT_BOOL, AT(args, patterns), .help = "put the patterns of all heads (or of --layer) into --json", .with = "json"},
    LOOK_HTML_OPT(args),
    OPT_END};

static void put_pattern(sd_jw *w, const sd_attn_study *a, int layer, int head)
{
    const float *A = sd_attn_pattern_of(a, layer, head);
    sd_jw_arr(w);
    for (int64_t i = 0; i < a->n; i++) {
        sd_jw_arr(w);
        for (int64_t k = 0; k <= i; k++) sd_jw_f32(w, A[i * a->n + k]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static int print_json(cli *c, const sd_model *m, const sd_attn_study *s, const args *a)
{
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.attn/1");
    look_put_tokens(w, m, s->id, s->n);
    sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
    sd_jw_ki64(w, "n_nonfinite", s->n_nonfinite);
    sd_jw_key(w, "heads");
    sd_jw_arr(w);
    for (int i = 0; i < s->n_layer * s->n_head; i++) {
        int layer = i / s->n_head, head = i % s->n_head;
        bool kept = sd_attn_pattern_of(s, layer, head) != NULL, one = a->head >= 0 && layer == a->layer && head == a->head;
        sd_jw_obj(w);
        sd_jw_ki64(w, "layer", layer);
        sd_jw_ki64(w, "head", head);
        for (int h = 0; h < SD_HABIT_COUNT; h++) sd_jw_kf64(w, sd_habit_name((sd_habit)h), s->score[i][h]);
        if (one || (a->patterns && kept && a->head < 0)) {
            sd_jw_key(w, "pattern");
            put_pattern(w, s, layer, head);
        }
        sd_jw_end(w);
    }
    sd_jw_end(w);
    return out_json_end(c, &j);
}

static int print_scores(cli *c, const sd_attn_study *s)
{
    static const out_col cols[] = {{"layer", OUT_RIGHT}, {"head", OUT_RIGHT}, {"previous", OUT_RIGHT}, {"sink", OUT_RIGHT}, {"current", OUT_RIGHT},
                                   {"duplicate", OUT_RIGHT}, {"matching", OUT_RIGHT}, {"induction", OUT_RIGHT}, {"entropy", OUT_RIGHT}};
    out_table *t = out_table_new(c, cols, 9);
    for (int i = 0; i < s->n_layer * s->n_head; i++) {
        out_i64(t, i / s->n_head);
        out_i64(t, i % s->n_head);
        for (int h = 0; h < SD_HABIT_COUNT; h++) out_f64(t, s->score[i][h], 5);
    }
    return out_table_end(t);
}

static int print_pattern(cli *c, const sd_model *m, const sd_attn_study *s, int layer, int head)
{
    static const out_col cols[] = {{"from", OUT_RIGHT}, {"to", OUT_RIGHT}, {"from_token", OUT_LEFT}, {"to_token", OUT_LEFT}, {"attention", OUT_RIGHT}};
    const float *A = sd_attn_pattern_of(s, layer, head);
    out_table *t = out_table_new(c, cols, 5);
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t k = 0; k <= i; k++) {
            out_i64(t, i);
            out_i64(t, k);
            look_cell(t, m, s->id[i]);
            look_cell(t, m, s->id[k]);
            out_f64(t, (double)A[i * s->n + k], 6);
        }
    return out_table_end(t);
}

static void print_best(cli *c, const sd_attn_study *s, sd_habit habit)
{
    enum { SHOWN = 8 };
    int best[SHOWN], n = sd_attn_best(best, SHOWN, s, habit);
    fprintf(c->out, "%smost %s:%s", out_sgr(c, OUT_BOLD), sd_habit_name(habit), out_sgr(c, OUT_PLAIN));
    for (int i = 0, used = 20; i < n && used + 14 <= c->width; i++, used += 14) fprintf(c->out, "  L%dH%d %.2f", best[i] / s->n_head, best[i] % s->n_head, s->score[best[i]][habit]);
    fputc('\n', c->out);
}

static int print(cli *c, const sd_model *m, const sd_attn_study *s, const args *a, sd_err *err)
{
    sd_grid g;
    sd_habit habit = 0;
    if (c->json) return print_json(c, m, s, a);
    if (!c->out_tty) return a->head >= 0 ? print_pattern(c, m, s, (int)a->layer, (int)a->head) : print_scores(c, s);
    while (strcmp(sd_habit_name(habit), a->score) != 0) habit++;
    sd_status st = a->head >= 0 ? sd_attn_pattern_grid(&g, s, m->tok, (int)a->layer, (int)a->head, err) : sd_attn_habit_grid(&g, s, habit, err);
    if (st) return cli_fail(c, err);
    int rc = heat_print(c, &g);
    sd_grid_release(&g);
    if (a->head < 0) print_best(c, s, habit);
    return rc ? rc : out_flush(c);
}

static int cmd_attn(cli *c, int argc, char **argv);
const cli_cmd cmd_attn_def = {
    .name = "attn",
    .brief = "where each head looks: patterns and habits",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_FORCE,
    .run = cmd_attn,
    .text = "One number a head for each habit: previous (the position before), sink (the first position), current (itself), duplicate (the\n"
            "same token earlier), matching (what followed it there), induction (the same on random tokens said twice, drawn by --seed),\n"
            "entropy. With --layer and --head, that head's pattern. docs/LOOK.md has the definitions.",
    .examples = "sonde attn model.gguf --text 'The cat sat on the mat. The cat'\nsonde attn model.gguf --text 'The cat sat on the mat. The cat' --layer 11 --head 3 --html attn.html\n",
    .json = "sonde.attn/1"};

static sd_status study(cli *c, const sd_exec *ex, sd_model *m, const args *a, int *rc, sd_err *err)
{
    sd_ids ids = {0};
    sd_attn_study s = {0};
    sd_buf page, text;
    sd_buf_init(&page, LOOK_PAGE_MAX);
    sd_buf_init(&text, 1);
    const sd_attn_study_opt o = {.layer = (int)a->layer, .seed = c->seed, .progress = &c->progress};
    sd_status st = SD_OK;
    if (a->head >= m->cfg.n_head) {
        sd_fail(err, SD_E_ARG, "head %lld of a model with %d", (long long)a->head, m->cfg.n_head);
        st = sd_hint(err, "heads count from 0 to %d", m->cfg.n_head - 1);
    }
    if (!st) st = look_prompt(&ids, m, a->text, a->ids, a->no_special, err);
    if (!st) st = sd_lab_attn(&s, ex, m, &ids, &o, err);
    if (!st) st = cli_model_hash(c, c->arg[0], err);
    if (!st && a->html) {
        sd_look_in in = look_in(c, m, look_prompt_text(&text, m, &ids));
        st = sd_page_attn(&page, &in, &s, (int)a->layer, (int)a->head, err);
        if (!st) st = look_html_write(c, a->html, &page, err);
    }
    if (!st) *rc = print(c, m, &s, a, err);
    sd_buf_release(&page);
    sd_buf_release(&text);
    sd_attn_study_release(&s);
    sd_ids_release(&ids);
    return st;
}

static int cmd_attn(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    if (!cli_parse(c, &cmd_attn_def, &a, argc, argv, &rc)) return rc;
    if (!a.text == !a.ids.n) return cli_usage(c, "give the prompt either as --text or as --ids");
    if (a.head >= 0 && a.layer < 0) return cli_usage(c, "--head goes with --layer");
    if (a.layer >= 0 && a.head < 0 && !a.patterns && !a.html) return cli_usage(c, "--layer goes with --head, or with --patterns or --html");
    sd_status st = look_html_check(c, a.html, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (!st) st = study(c, ex, m, &a, &rc, &err);
    if (st) rc = cli_fail(c, &err);
    sd_model_close(m);
    return rc;
}
