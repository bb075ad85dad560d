/* sonde run: text from a prompt, plain, steered, or both side by side. */
#include "cli/cli.h"
#include "lab/generate_json.h"
#include "base/map.h"

typedef struct args {
    const char *prompt, *system, *reference;
    bool chat, compare, parse_special;
    int64_t n, top_k;
    double temp, top_p, min_p;
    opt_list steer;
} args;

static const cli_opt opts[] = {
    {'p', "prompt", OPT_STR, AT(args, prompt), .arg = "TEXT", .help = "the prompt; - is stdin"},
    {0, "chat", OPT_BOOL, AT(args, chat), .help = "send the prompt as the user's turn of the model's chat template"},
    {0, "system", OPT_STR, AT(args, system), .arg = "TEXT", .help = "system message, with --chat", .def_words = "the template's own"},
    {0, "parse-special", OPT_BOOL, AT(args, parse_special), .with = "chat", .help = "read the text of control tokens such as <|im_end|> in the prompt as tokens; else it is text"},
    {'n', "predict", OPT_INT, AT(args, n), .arg = "N", .def = "128", .lo = 1, .hi = 1 << 20, .help = "tokens to generate at most"},
    {0, "temp", OPT_FLOAT, AT(args, temp), .arg = "T", .def = "0", .lo = 0, .hi = 100, .help = "temperature; 0 is greedy"},
    {0, "top-k", OPT_INT, AT(args, top_k), .arg = "K", .def = "0", .lo = 0, .hi = 1 << 20, .help = "sample among the K likeliest; 0 is all"},
    {0, "top-p", OPT_FLOAT, AT(args, top_p), .arg = "P", .def = "1", .lo = 0, .hi = 1, .help = "sample among the likeliest that hold P of the probability"},
    {0, "min-p", OPT_FLOAT, AT(args, min_p), .arg = "P", .def = "0", .lo = 0, .hi = 1, .help = "leave out tokens below P times the likeliest"},
    {0, "steer", OPT_MULTI, AT(args, steer), .arg = "SPEC", .help = "a steer object (JSON), or @FILE with one"},
    {0, "reference", OPT_STR, AT(args, reference), .with = "steer", .arg = "FILE", .help = "text on which the units rms and std of plain vectors are measured", .def_words = "a built-in page"},
    {0, "compare", OPT_BOOL, AT(args, compare), .help = "decode plain and steered side by side, with the same random stream"},
    OPT_END};

static sd_status steers_parse(sd_steer_set *s, const opt_list *text, cli *c, sd_err *err)
{
    sd_status st = SD_OK;
    for (int i = 0; i < text->n && !st; i++) {
        sd_buf b;
        sd_slice spec = sd_slice_of(text->v[i]);
        bool file = spec.n && spec.p[0] == '@';
        sd_buf_init(&b, 1 << 20);
        if (file) st = sd_file_read(&b, text->v[i] + 1, err);
        if (!st) st = sd_steer_set_add(s, file ? (sd_slice){b.p, b.n} : spec, err);
        if (st) c->refused = st == SD_E_ARG && !file; /* the line itself is wrong, not a file */
        sd_buf_release(&b);
    }
    return st;
}

static sd_status steers_open(sd_steer_set *s, const sd_model *m, const char *reference, cli *c, sd_err *err)
{
    sd_buf text;
    sd_buf_init(&text, 1 << 26);
    sd_status st = reference ? sd_file_read(&text, reference, err) : SD_OK;
    const sd_steer_env env = {.ex = cli_exec(c, err), .m = m, .data_dir = c->data_dir, .model_sha256 = c->prov.model_sha256, .reference = {text.p, text.n}};
    if (!st) st = sd_steer_set_open(s, &env, err);
    sd_buf_release(&text);
    for (int i = 0; i < s->n && !st; i++) {
        const char *of = s->dict[i] ? sd_dict_get_info(s->dict[i])->model_sha256 : "";
        if (*of && strcmp(of, c->prov.model_sha256) != 0)
            cli_note(c, "note: the dictionary %s was trained on another file of a model (%.12s.., this is %.12s..)", s->spec[i].dict, of,
                     c->prov.model_sha256);
        if (s->dict[i] && s->spec[i].has_site) cli_note_site(c, s->dict[i], s->spec[i].site);
    }
    return st;
}

/* A position that no step reaches would be dropped. */
static sd_status check_positions(const sd_steer_set *s, int64_t n_prompt, int64_t n_gen, cli *c, sd_err *err)
{
    for (int i = 0; i < s->n; i++) {
        int64_t last = s->spec[i].n_list ? s->spec[i].list[s->spec[i].n_list - 1] : 0;
        if (last < n_prompt + n_gen) continue;
        return cli_refuse(c, err, "steer: position %lld lies beyond the %lld tokens of the prompt and %lld more (-n)", (long long)last, (long long)n_prompt, (long long)n_gen);
    }
    return SD_OK;
}

static sd_status lane_text(sd_buf *b, const sd_model *m, const sd_lane *l, sd_err *err)
{
    sd_buf_init(b, 1 << 24);
    return sd_tok_decode(m->tok, l->ids.v, l->ids.n, false, b, err);
}

static int print_json(cli *c, const sd_model *m, const sd_generate_result *r, const sd_steer_set *s)
{
    out_json j;
    sd_err err = {0};
    sd_jw *w = out_json_begin(c, &j, "sonde.run/1");
    sd_status st = sd_generate_write(w, m, r, s, &err);
    int rc = out_json_end(c, &j);
    return st ? cli_fail(c, &err) : rc;
}

static void note_applied(cli *c, const sd_generate_result *r, const sd_steer_set *s)
{
    char site[64];
    for (int i = 0; i < s->n; i++) {
        sd_steer_applied ap = sd_steer_get_applied(s->steer[i]);
        cli_note(c, "steered %s at %lld positions, mean change %.4g", sd_site_print(site, sizeof site, ap.site), (long long)ap.n_positions,
                 ap.mean_abs_change);
        if (s->spec[i].when) cli_note(c, "its condition held at %lld of %lld positions", (long long)ap.n_held, (long long)ap.n_looked);
    }
    cli_note(c, "prefill %.0f tokens/s, decode %.1f tokens/s, %s", (double)r->n_prompt / r->prefill_s,
             r->n_decoded ? (double)r->n_decoded / r->decode_s : 0.0, sd_mode_name(c->mode));
}

struct stream { cli *c; const sd_model *m; out_text text; bool begun; };

/* The bar until the answer begins: it clears the terminal's line, on which the answer stands then. */
static void before_answer(void *self, const char *what, double done, double total, const char *note)
{
    const struct stream *s = self;
    if (!s->begun && s->c->progress.fn) s->c->progress.fn(s->c->progress.self, what, done, total, note);
}

static void on_token(void *self, int lane, int32_t id)
{
    struct stream *s = self;
    (void)lane;
    if (!s->begun) progress_end(s->c);
    s->begun = true;
    if (!sd_tok_is_special(s->m->tok, id)) out_text_put(s->c, &s->text, sd_tok_bytes(s->m->tok, id));
    fflush(s->c->out);
}

static int print_text(cli *c, const sd_generate_result *r, const sd_steer_set *s, sd_buf text[2], struct stream *live)
{
    static const char *const title[] = {"plain", "steered"};
    if (r->lane[0].ran && r->lane[1].ran) {
        for (int l = 0; l < 2; l++) {
            out_text t = {0};
            fprintf(c->out, "%s%s%s\n", out_sgr(c, OUT_BOLD), title[l], out_sgr(c, OUT_PLAIN));
            out_text_put(c, &t, sd_slice_trim((sd_slice){text[l].p, text[l].n}));
            out_text_end(c, &t);
            fprintf(c->out, l ? "\n" : "\n\n");
        }
    } else {
        out_text_end(c, &live->text);
        fputc('\n', c->out);
    }
    int rc = out_flush(c);
    note_applied(c, r, s);
    return rc;
}

static int cmd_run(cli *c, int argc, char **argv);
const cli_cmd cmd_run_def = {
    .name = "run",
    .brief = "generate text, plain or steered",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE_CHAT | CLI_SEED,
    .run = cmd_run,
    .text = "A steer is one JSON object: {\"feature\":{\"dict\":DIR,\"index\":N}}, {\"direction\":NAME} or {\"vector\":[..],\"site\":SITE}, with \"op\" add (default),\n"
            "scale, ablate, clamp or cap; \"value\" (cap: \"min\", \"max\"); \"unit\" rms (default: the site's mean token norm), std (of the\n"
            "projection), max_act or raw; \"positions\" all (default), prompt, generated, last or a list; \"special\" true to edit special tokens too;\n"
            "\"when\" {\"feature\", \"direction\" or \"vector\", \"gt\", \"lt\", \"hold\"} to edit only where that reads above gt and below lt. Positive is\n"
            "more of the concept. The answer says what was applied and at how many positions. Refusal directions are never pushed down.",
    .examples = "sonde run model.gguf -p 'The bridge' -n 40\n"
                "sonde run model.gguf --chat -p 'Who are you?' --steer '{\"feature\":{\"dict\":\"dict/\",\"index\":7},\"value\":0.5}' --compare\n",
    .json = "sonde.run/1"};

static int check_line(cli *c, const args *a)
{
    static const char *const sampling[] = {"top-k", "top-p", "min-p"};
    int rc;
    if (!a->prompt) return cli_usage(c, "give a prompt with -p");
    if (!a->prompt[0]) return cli_usage(c, "the prompt of -p is empty");
    if ((rc = cli_check_text(c, "prompt", a->prompt)) || (rc = cli_check_text(c, "system", a->system))) return rc;
    if (a->compare && !a->steer.n) return cli_usage(c, "--compare needs a --steer to compare with");
    if (a->system && !a->chat) return cli_usage(c, "--system goes with --chat");
    for (int i = 0; i < 3 && a->temp == 0; i++)
        if (opt_given(c, sampling[i])) return cli_usage(c, "--%s is about sampling: give --temp above 0 with it", sampling[i]);
    return 0;
}

static sd_status read_prompt(sd_buf *b, cli *c, sd_err *err)
{
    const sd_status st = cli_read_text(b, "-", err);
    if (st || b->n) return st;
    return cli_refuse(c, err, "the prompt on standard input is empty");
}

static int cmd_run(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_ids ids = {0};
    sd_steer_set s = {0};
    sd_buf text[2] = {{0}}, prompt;
    sd_generate_result r = {0};
    sd_buf_init(&prompt, 1 << 24);
    if (!cli_parse(c, &cmd_run_def, &a, argc, argv, &rc)) return rc;
    if ((rc = check_line(c, &a))) return rc;
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_status st = steers_parse(&s, &a.steer, c, &err);
    if (!st && strcmp(a.prompt, "-") == 0) st = read_prompt(&prompt, c, &err);
    if (!st) st = cli_model_open(c, ex, CLI_CHAT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (st) goto done;
    if (s.n && (st = cli_model_hash(c, c->arg[0], &err))) goto done;
    if ((st = steers_open(&s, m, a.reference, c, &err))) goto done;
    if ((st = sd_lab_prompt_ids(&ids, m, prompt.n ? (sd_slice){prompt.p, prompt.n} : sd_slice_of(a.prompt), sd_slice_of(a.system), a.parse_special ? SD_PROMPT_CHAT_PARSED : a.chat ? SD_PROMPT_CHAT : SD_PROMPT_TEXT, &err))) goto done;
    if ((st = check_positions(&s, ids.n, a.n, c, &err))) goto done;
    struct stream live = {.c = c, .m = m};
    bool streams = !c->json && !a.compare;
    const sd_progress until = {.fn = before_answer, .self = &live, .cancel = c->progress.cancel};
    sd_generate_opt o = {.n_gen = a.n, .seed = c->seed, .steer = s.steer, .n_steer = s.n, .compare = a.compare,
                         .sample = {.temp = a.temp, .top_k = (int)a.top_k, .top_p = sd_sample_share(a.top_p), .min_p = a.min_p},
                         .on_token = streams ? on_token : NULL, .self = &live, .progress = streams ? &until : &c->progress};
    if ((st = sd_lab_generate(&r, ex, m, ids.v, ids.n, &o, &err))) goto done;
    for (int l = 0; l < 2; l++)
        if (r.lane[l].ran && (st = lane_text(&text[l], m, &r.lane[l], &err))) goto done;
    if (!s.n && (st = cli_model_hash(c, c->arg[0], &err))) goto done;
    rc = c->json ? print_json(c, m, &r, &s) : print_text(c, &r, &s, text, &live);
done:
    if (st) rc = cli_fail(c, &err);
    sd_buf_release(&text[0]);
    sd_buf_release(&text[1]);
    sd_buf_release(&prompt);
    sd_generate_release(&r);
    sd_steer_set_release(&s);
    sd_ids_release(&ids);
    sd_model_close(m);
    return rc;
}
