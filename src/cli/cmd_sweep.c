/* sonde sweep: a steer in rising strength: what comes, what it costs, beside being told to. */
#include "cli/look_args.h"
#include "lab/steer_sweep.h"
#include "base/map.h"

#include <math.h>

typedef struct args {
    const char *steer, *prompts, *baseline, *html, *reference;
    opt_list prompt, value, word;
    bool chat;
    int64_t n;
    double temp, most_ppl;
} args;

static const cli_opt opts[] = {
    {0, "steer", OPT_STR, AT(args, steer), .arg = "SPEC", .help = "the steer (JSON), or @FILE with one; its value is what is swept"},
    {'p', "prompt", OPT_MULTI, AT(args, prompt), .arg = "TEXT", .help = "a prompt"},
    {0, "prompts", OPT_STR, AT(args, prompts), .arg = "FILE", .help = "prompts, one a line"},
    {0, "values", OPT_LIST, AT(args, value), .arg = "A,B,..", .help = "strengths", .def_words = "0.125,0.25,0.375,0.5,0.75,1"},
    {0, "baseline", OPT_STR, AT(args, baseline), .arg = "TEXT", .help = "also: the plain model under this system message (with --chat)"},
    {0, "words", OPT_LIST, AT(args, word), .arg = "A,B,..", .help = "count the answers that have one of these words"},
    {0, "chat", OPT_BOOL, AT(args, chat), .help = "send prompts as the user's turn of the model's chat template"},
    {'n', "predict", OPT_INT, AT(args, n), .arg = "N", .def = "48", .lo = 4, .hi = 1024, .unit = "tokens", .help = "length of an answer at most"},
    {0, "temp", OPT_FLOAT, AT(args, temp), .arg = "T", .def = "0", .lo = 0, .hi = 100, .help = "temperature; 0 is greedy"},
    {0, "most-ppl", OPT_FLOAT, AT(args, most_ppl), .arg = "X", .def = "2", .lo = 1, .hi = 1e6, .help = "suggest a strength of at most X times the plain perplexity"},
    {0, "reference", OPT_STR, AT(args, reference), .arg = "FILE", .help = "text on which the units rms and std of plain vectors are measured", .def_words = "a built-in page"},
    LOOK_HTML_OPT(args),
    OPT_END};

static void put_point(sd_jw *w, const sd_steer_sweep *s, const sd_steer_point *p)
{
    sd_jw_obj(w);
    sd_jw_kstr(w, "what", p->prompt_only ? "prompt" : isfinite(p->value) ? "steered" : "plain");
    sd_jw_kf64(w, "value", p->value);
    sd_jw_kf64(w, "kl", p->kl);
    sd_jw_kf64(w, "ppl", p->ppl);
    sd_jw_kf64(w, "rep4", p->rep4);
    sd_jw_kf64(w, s->of_feature ? "active" : "projection", p->active);
    sd_jw_kf64(w, "words", p->words);
    sd_jw_ki64(w, "n_tokens", p->n_tokens);
    sd_jw_ki64(w, "n_empty", p->n_empty);
    sd_jw_key(w, "answers");
    sd_jw_arr(w);
    for (int i = 0; i < s->n_prompt; i++) sd_jw_slice(w, (sd_slice){p->answer[i].p ? p->answer[i].p : "", p->answer[i].n});
    sd_jw_end(w);
    sd_jw_end(w);
}

static int print(cli *c, const sd_steer_sweep *s, const sd_steer_sweep_opt *o)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.sweep/1");
        sd_jw_key(w, "steer");
        sd_jw_slice(w, o->spec);
        sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
        sd_jw_kf64(w, "most_ppl", o->most_ppl);
        sd_jw_key(w, "prompts");
        sd_jw_arr(w);
        for (int i = 0; i < o->n_prompt; i++) sd_jw_str(w, o->prompt[i]);
        sd_jw_end(w);
        sd_jw_key(w, "points");
        sd_jw_arr(w);
        for (int i = 0; i < s->n; i++) put_point(w, s, &s->point[i]);
        sd_jw_end(w);
        sd_jw_kf64(w, "suggested", s->suggested < 0 ? (double)NAN : s->point[s->suggested].value);
        return out_json_end(c, &j);
    }
    const out_col cols[] = {{"answers", OUT_LEFT}, {"value", OUT_RIGHT}, {"KL", OUT_RIGHT}, {"perplexity", OUT_RIGHT}, {"repetition", OUT_RIGHT},
                            {s->of_feature ? "active" : "projection", OUT_RIGHT}, {"words", OUT_RIGHT}, {"answer", OUT_FILL}};
    out_table *t = out_table_new(c, cols, 8);
    for (int i = 0; i < s->n; i++) {
        const sd_steer_point *p = &s->point[i];
        out_str(t, p->prompt_only ? "prompt" : i ? "steered" : "plain");
        out_f64(t, p->value, 4);
        out_f64(t, p->kl, 3);
        out_f64(t, p->ppl, 4);
        out_f64(t, p->rep4, 2);
        out_f64(t, p->active, 3);
        out_f64(t, p->words, 3);
        out_slice(t, (sd_slice){p->answer[0].p ? p->answer[0].p : "", p->answer[0].n});
    }
    int rc = out_table_end(t);
    if (s->suggested >= 0) out_say(c, "suggested: %g (the most of the concept at no more than %g times the plain perplexity and 0.1 more repetition)", s->point[s->suggested].value, o->most_ppl);
    else out_say(c, "no strength gives more of the concept at no more than %g times the plain perplexity and 0.1 more repetition", o->most_ppl);
    return rc;
}

typedef struct inputs { sd_buf spec, file, reference; const char *prompt[SD_SWEEP_PROMPTS]; int n_prompt; double value[SD_SWEEP_POINTS]; int n_value; } inputs;

static sd_status read_prompts(inputs *x, const args *a, sd_err *err)
{
    if (a->prompt.n > SD_SWEEP_PROMPTS) return sd_fail(err, SD_E_ARG, "%d prompts, at most %d", (int)a->prompt.n, (int)SD_SWEEP_PROMPTS);
    for (int i = 0; i < a->prompt.n; i++) x->prompt[x->n_prompt++] = a->prompt.v[i];
    if (!a->prompts) return SD_OK;
    sd_status st = sd_file_read_text(&x->file, a->prompts, err);
    if (st) return st;
    char *line = (char *)(uintptr_t)sd_buf_str(&x->file);
    while (*line) {
        size_t n = strcspn(line, "\r\n");
        bool last = line[n] == '\0';
        line[n] = '\0';
        if (n && x->n_prompt == SD_SWEEP_PROMPTS) {
            sd_fail(err, SD_E_ARG, "%s: more than %d prompts in all", a->prompts, (int)SD_SWEEP_PROMPTS);
            return sd_hint(err, "take some of them: shuf -n %d", (int)SD_SWEEP_PROMPTS);
        }
        if (n) x->prompt[x->n_prompt++] = line;
        line += n + !last;
    }
    return x->n_prompt ? SD_OK : sd_fail(err, SD_E_FORMAT, "%s has no prompts", a->prompts);
}

static sd_status read_inputs(inputs *x, const args *a, cli *c, sd_err *err)
{
    static const double usual[] = {0.125, 0.25, 0.375, 0.5, 0.75, 1};
    sd_status st = SD_OK;
    if (a->value.n > SD_SWEEP_POINTS - 2) return cli_refuse(c, err, "--values: at most %d", SD_SWEEP_POINTS - 2);
    for (int i = 0; i < a->value.n; i++)
        if (!sd_parse_f64(sd_slice_of(a->value.v[i]), &x->value[x->n_value++])) return cli_refuse(c, err, "--values: '%s' is no number", a->value.v[i]);
    for (int i = 0; i < 6 && !a->value.n; i++) x->value[x->n_value++] = usual[i];
    if (a->steer[0] == '@') st = sd_file_read(&x->spec, a->steer + 1, err);
    else sd_buf_puts(&x->spec, a->steer);
    if (!st) st = read_prompts(x, a, err);
    if (!st && a->reference) st = sd_file_read_text(&x->reference, a->reference, err);
    return st;
}

static int cmd_sweep(cli *c, int argc, char **argv);
const cli_cmd cmd_sweep_def = {
    .name = "sweep",
    .brief = "a steer in rising strength: what comes and what it costs",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE_CHAT | CLI_SEED | CLI_FORCE,
    .run = cmd_sweep,
    .text = "Answers every prompt plain, at each strength and, with --baseline, plain but told by a system message. Each answer is read again by the plain\n"
            "model: KL of the steered predictions from the plain ones a token, perplexity, repetition (runs of four tokens that came before), and the\n"
            "concept: the share of tokens on which the feature fires, or the projection on the vector, and with --words the share of answers that have one.\n"
            "Suggested is the strength with the most of the concept at no more than twice the plain perplexity (--most-ppl) and 0.1 more repetition.",
    .examples = "sonde sweep model.gguf --steer '{\"feature\":{\"dict\":\"dict/\",\"index\":7}}' -p 'I went to' --html sweep.html\n"
                "sonde sweep model.gguf --chat --steer @steer.json --prompts p.txt --values 0.25,0.5,1 --words bridge,gate --baseline 'Talk about bridges.'\n",
    .json = "sonde.sweep/1"};

static int cmd_sweep(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    inputs *x = NULL;
    sd_steer_sweep s = {0};
    sd_buf page;
    if (!cli_parse(c, &cmd_sweep_def, &a, argc, argv, &rc)) return rc;
    if (!a.steer) return cli_usage(c, "give the steer with --steer");
    if (!a.prompt.n && !a.prompts) return cli_usage(c, "give prompts with -p or --prompts");
    if (a.baseline && !a.chat) return cli_usage(c, "--baseline is a system message: it goes with --chat");
    sd_buf_init(&page, LOOK_PAGE_MAX);
    sd_status st = sd_alloc_zero(&x, sizeof *x, "a sweep", &err);
    if (st) return cli_fail(c, &err);
    sd_buf_init(&x->spec, 1 << 24);
    sd_buf_init(&x->file, 1 << 24);
    sd_buf_init(&x->reference, 1 << 26);
    st = look_html_check(c, a.html, &err);
    if (!st) st = read_inputs(x, &a, c, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!st && !ex) st = err.code;
    if (!st) st = cli_model_open(c, ex, CLI_CHAT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (!st) st = cli_model_hash(c, c->arg[0], &err);
    const sd_steer_sweep_opt o = {.most_ppl = a.most_ppl, .spec = {x->spec.p, x->spec.n}, .value = x->value, .n_value = x->n_value, .prompt = x->prompt, .n_prompt = x->n_prompt, .baseline = a.baseline,
                                  .word = a.word.v, .n_word = a.word.n, .chat = a.chat, .n_gen = a.n, .sample = {.temp = a.temp, .top_p = 1}, .seed = c->seed, .progress = &c->progress};
    const sd_steer_env env = {.ex = ex, .m = m, .data_dir = c->data_dir, .model_sha256 = c->prov.model_sha256, .reference = {x->reference.p, x->reference.n}};
    if (!st) st = sd_lab_steer_sweep(&s, &env, &o, &err);
    if (!st && a.html && !(st = sd_steer_sweep_page(&page, &s, &o, m->cfg.name[0] ? m->cfg.name : c->arg[0], &err))) st = look_html_write(c, a.html, &page, &err);
    rc = st ? cli_fail(c, &err) : print(c, &s, &o);
    sd_steer_sweep_release(&s);
    sd_buf_release(&page);
    sd_buf_release(&x->spec);
    sd_buf_release(&x->file);
    sd_buf_release(&x->reference);
    sd_free(x);
    sd_model_close(m);
    return rc;
}
