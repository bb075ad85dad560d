/* sonde feature report: the most interesting features and one of them turned up, as a page and a table. */
#include "cli/feature_list.h"
#include "lab/showcase.h"
#include "lab/token_text.h"
#include "base/map.h"

typedef struct args { const char *model, *dict; int64_t top, candidates, feature, gen; double value; } args;

static const cli_opt opts[] = {
    {0, "top", OPT_INT, AT(args, top), .arg = "N", .def = "10", .lo = 1, .hi = 1000, .help = "features on the page"},
    {0, "model", OPT_STR, AT(args, model), .arg = "MODEL", .help = "the model, to turn a feature up (with --dict)"},
    {0, "dict", OPT_STR, AT(args, dict), .arg = "DIR", .help = "the dictionary of the store"},
    {0, "candidates", OPT_INT, AT(args, candidates), .with = "model", .arg = "N", .def = "32", .lo = 1, .hi = 4096, .help = "features whose effect is measured"},
    {0, "index", OPT_INT, AT(args, feature), .with = "model", .arg = "N", .def = "-1", .lo = -1, .hi = 1e12, .help = "turn up this feature", .def_words = "the one with the largest effect"},
    {0, "value", OPT_FLOAT, AT(args, value), .with = "model", .arg = "V", .def = "0.5", .lo = 0.001, .hi = 100, .help = "how far, in mean token norms of the site; at 0.5 a small model's sentences begin to break, `sonde sweep` finds what a feature bears"},
    {'n', "predict", OPT_INT, AT(args, gen), .with = "model", .arg = "N", .def = "60", .lo = 1, .hi = 4096, .unit = "tokens", .help = "length of an answer"},
    OPT_END};

static void put_tokens(sd_buf *b, sd_store *s, const sd_feature_brief *f)
{
    for (int i = 0; i < f->n_top && i < 5; i++) {
        if (i) sd_buf_putc(b, ' ');
        sd_token_name_id(b, s, f->top[i].id);
    }
}

static int print_text(cli *c, sd_store *store, const sd_showcase *s)
{
    static const out_col cols[] = {{"index", OUT_RIGHT}, {"interest", OUT_RIGHT}, {"density", OUT_RIGHT}, {"label", OUT_FILL}, {"promotes", OUT_FILL}};
    out_table *t = out_table_new(c, cols, 5);
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    for (int64_t i = 0; i < s->list.n; i++) {
        const sd_feature_brief *f = &s->list.v[i];
        sd_buf_reset(&b);
        put_tokens(&b, store, f);
        out_cell(t, "%lld", (long long)f->stats.index);
        out_f64(t, f->stats.interest, 3);
        out_f64(t, f->stats.density, 2);
        out_str(t, feature_label(f->label, f->words, f->stats.n_fire));
        out_slice(t, (sd_slice){b.p, b.n});
    }
    sd_buf_release(&b);
    int rc = out_table_end(t);
    if (rc || s->steered < 0) return rc;
    const sd_effect *e = &s->effect;
    char chosen[80] = "";
    if (!s->asked) snprintf(chosen, sizeof chosen, "It has the largest effect of the %lld measured. ", (long long)s->n_measured);
    fprintf(c->out, "\n%sFeature %lld turned up%s (%s): %s.\n"
                    "%sRead by the plain model it is active on %.0f %% of the steered tokens (%.0f %% of the plain ones).\n",
            out_sgr(c, OUT_BOLD), (long long)s->steered, out_sgr(c, OUT_PLAIN), s->label, s->applied, chosen, 100 * e->active_steered,
            100 * e->active_plain);
    for (int i = 0; i < SD_SHOWCASE_PAIRS; i++) {
        const char *const part[3] = {s->prompt[i], s->plain[i], s->answer[i]};
        static const char *const name[3] = {"\n", "plain    ", "steered  "};
        for (int k = 0; k < 3; k++) {
            out_text text = {0};
            fprintf(c->out, "%s%s%s", out_sgr(c, k ? OUT_DIM : OUT_BOLD), name[k], k ? out_sgr(c, OUT_PLAIN) : "");
            out_text_put(c, &text, sd_slice_of(part[k]));
            out_text_end(c, &text);
            fprintf(c->out, "%s\n", out_sgr(c, OUT_PLAIN));
        }
    }
    return out_flush(c);
}

static int print_json(cli *c, const sd_showcase *s)
{
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.feature.report/1");
    sd_jw_kstr(w, "file", c->output);
    sd_jw_key(w, "features");
    sd_jw_arr(w);
    for (int64_t i = 0; i < s->list.n; i++) sd_jw_i64(w, s->list.v[i].stats.index);
    sd_jw_end(w);
    sd_jw_key(w, "steered");
    if (s->steered < 0) {
        sd_jw_null(w);
    } else {
        sd_jw_obj(w);
        sd_jw_ki64(w, "index", s->steered);
        sd_jw_kstr(w, "applied", s->applied);
        sd_jw_ki64(w, "n_measured", s->n_measured);
        sd_jw_kf64(w, "active_steered", s->effect.active_steered);
        sd_jw_kf64(w, "active_plain", s->effect.active_plain);
        sd_jw_kf64(w, "ce_steered", s->effect.ce_steered);
        sd_jw_kf64(w, "ce_plain", s->effect.ce_plain);
        sd_jw_kf64(w, "distinct", s->effect.distinct);
        sd_jw_kf64(w, "score", s->effect.score);
        feature_answers(w, "pairs", SD_SHOWCASE_PAIRS, s->prompt, s->plain, s->answer);
        sd_jw_end(w);
    }
    return out_json_end(c, &j);
}

static int cmd_feature_report(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_report_def = {
    .name = "feature report",
    .brief = "write a page of the most interesting features",
    .args = "STORE",
    .opts = opts,
    .uses = CLI_MODE_CHAT | CLI_OUT | CLI_NEED_OUT | CLI_FORCE,
    .run = cmd_feature_report,
    .text = "One HTML file that needs nothing else: the features with the highest interest (docs/STORE.md has the formula), their examples\n"
            "token by token, logits, neighbours. With --model and --dict one feature is turned up, plain and steered side by side; it is the\n"
            "one of --candidates that is active on most of what the steered model writes, as the plain model reads it.",
    .examples = "sonde feature report features.db --model model.gguf --dict dict/ -o index.html\n",
    .json = "sonde.feature.report/1"};

static int cmd_feature_report(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_store *store = NULL;
    sd_model *m = NULL;
    sd_dict *d = NULL;
    sd_showcase s = {0};
    if (!cli_parse(c, &cmd_feature_report_def, &a, argc, argv, &rc)) return rc;
    if (!a.model != !a.dict) return cli_usage(c, "--model and --dict go together");
    sd_status st = cli_check_output(c, c->output, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if ((st = sd_store_open(&store, c->arg[0], &err))) goto done;
    if (a.model) {
        if ((st = sd_dict_open(&d, a.dict, &err))) goto done;
        if ((st = cli_model_open(c, ex, CLI_CHAT, a.model, (sd_model_opt){0}, &m, &err))) goto done;
        if ((st = cli_model_hash(c, a.model, &err))) goto done;
    }
    sd_showcase_opt o = {.n_feature = a.top, .n_candidate = a.candidates, .feature = a.feature, .value = a.value, .n_gen = a.gen,
                         .data_dir = c->data_dir, .model_sha256 = c->prov.model_sha256, .progress = &c->progress};
    if ((st = sd_lab_showcase(&s, ex, store, m, d, &o, &err))) goto done;
    if ((st = sd_file_write_atomic(c->output, s.html.p, s.html.n, &err))) goto done;
    rc = c->json ? print_json(c, &s) : print_text(c, store, &s);
    cli_note(c, "wrote %s", c->output);
done:
    if (st) rc = cli_fail(c, &err);
    sd_showcase_release(&s);
    sd_dict_free(d);
    sd_model_close(m);
    sd_store_close(store);
    return rc;
}
