/* sonde score: cross-entropy and perplexity of text files. */
#include "cli/cli.h"
#include "lab/score.h"
#include "base/map.h"

#include <math.h>

typedef struct args { int64_t window, stride; const char *against, *against_mode; } args;

static const cli_opt opts[] = {
    {0, "window", OPT_INT, AT(args, window), .arg = "N", .def = "512", .lo = 2, .hi = 1 << 20, .unit = "tokens", .help = "length of a window"},
    {0, "stride", OPT_INT, AT(args, stride), .arg = "N", .lo = 1, .hi = 1 << 20, .unit = "tokens",
     .help = "windows begin N apart and their last N tokens are scored", .def_words = "disjoint windows, the second half of each"},
    {0, "against", OPT_STR, AT(args, against), .arg = "MODEL", .help = "also the divergence from this model's predictions, of the same vocabulary",
     .def_words = "with --against-mode the model itself"},
    {0, "against-mode", OPT_STR, AT(args, against_mode), .arg = "MODE", .values = "faithful|bf16|fast", .help = "numbers of the model that is compared with",
     .def_words = "with --against faithful"},
    OPT_END};

enum { MAX_TEXT = 1 << 30 };

/* The files one after another, with nothing between them. */
static sd_status read_texts(sd_buf *text, cli *c, sd_err *err)
{
    sd_buf part;
    sd_status st = SD_OK;
    sd_buf_init(&part, MAX_TEXT);
    for (int i = 1; i < c->n_arg && !st; i++) {
        if (sd_slice_ends(sd_slice_of(c->arg[i]), ".jsonl")) cli_note(c, "note: %s is scored as it stands, braces and names too: plain text is wanted", c->arg[i]);
        if ((st = cli_read_text(&part, c->arg[i], err))) break;
        sd_buf_put(text, part.p, part.n);
        st = sd_buf_check(text, c->arg[i], err);
    }
    sd_buf_release(&part);
    return st;
}

/* The other model, in its own mode. */
static sd_status open_other(cli *c, const args *a, const sd_exec *ex, const sd_buf *text, const sd_ids *ids, sd_model **out, sd_err *err)
{
    sd_ids other = {0};
    sd_model_opt opt = {.mode = SD_MODE_FAITHFUL, .memory_bytes = cli_memory(c)};
    while (a->against_mode && strcmp(sd_mode_name(opt.mode), a->against_mode) != 0) opt.mode = (sd_mode)(opt.mode + 1); /* the option table allows these names only */
    const char *path = a->against ? a->against : c->arg[0];
    sd_status st = sd_model_open(out, ex, path, &opt, err);
    if (!st) st = sd_tok_encode((*out)->tok, (sd_slice){text->p, text->n}, &(sd_encode_opt){0}, &other, err);
    if (!st && (other.n != ids->n || memcmp(other.v, ids->v, (size_t)ids->n * sizeof *ids->v) != 0))
        st = sd_fail(err, SD_E_ARG, "%s has other tokens than %s: only models of one vocabulary are compared", path, c->arg[0]);
    sd_ids_release(&other);
    return st;
}

static void json_other(sd_jw *w, const args *a, const sd_score_result *r, const sd_model *other, const char *path)
{
    const sd_score_pair *p = &r->against;
    sd_jw_key(w, "against");
    sd_jw_obj(w);
    sd_jw_kstr(w, "model", a->against ? a->against : path);
    sd_jw_kstr(w, "mode", sd_mode_name(other->mode));
    sd_jw_kf64(w, "ce_loss", p->ce_loss);
    sd_jw_kf64(w, "kl_mean", p->kl_mean);
    sd_jw_kf64(w, "kl_p99", p->kl_p99);
    sd_jw_kf64(w, "kl_max", p->kl_max);
    sd_jw_ki64(w, "n_same_top", p->n_same_top);
    sd_jw_end(w);
}

static int print(cli *c, const args *a, const sd_score_result *r, const sd_model *other)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.score/1");
        sd_jw_ki64(w, "n_tokens", r->n_tokens);
        sd_jw_ki64(w, "n_windows", r->n_windows);
        sd_jw_ki64(w, "n_nonfinite", r->n_nonfinite);
        sd_jw_kf64(w, "ce_loss", r->ce_loss);
        sd_jw_kf64(w, "ppl", r->ppl);
        sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
        if (other) json_other(w, a, r, other, c->arg[0]);
        return out_json_end(c, &j);
    }
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "perplexity", "%.4f", r->ppl);
    out_pair(p, "cross-entropy", "%.5f nats a token", r->ce_loss);
    out_pair(p, "tokens scored", "%lld in %lld windows", (long long)r->n_tokens, (long long)r->n_windows);
    if (r->n_nonfinite) out_pair(p, "not finite", "%lld tokens left out", (long long)r->n_nonfinite);
    out_pair(p, "mode", "%s", sd_mode_name(c->mode));
    if (other) {
        int64_t n = r->n_tokens - r->n_nonfinite;
        out_pair(p, "compared with", "%s, %s", a->against ? a->against : c->arg[0], sd_mode_name(other->mode));
        out_pair(p, "its perplexity", "%.4f", exp(r->against.ce_loss));
        out_pair(p, "divergence", "KL mean %.3g, 99 %% below %.3g, at most %.3g nats", r->against.kl_mean, r->against.kl_p99, r->against.kl_max);
        out_pair(p, "same top token", "%.2f %% of %lld", n ? 100.0 * (double)r->against.n_same_top / (double)n : 0.0, (long long)n);
    }
    return out_pairs_end(p);
}

static int cmd_score(cli *c, int argc, char **argv);
const cli_cmd cmd_score_def = {
    .name = "score",
    .brief = "cross-entropy and perplexity of text",
    .args = "MODEL FILE..",
    .opts = opts,
    .uses = CLI_MODE,
    .run = cmd_score,
    .text = "By default as llama-perplexity counts: the files (- is stdin) are joined and cut in windows of 512 tokens, the second half of each\n"
            "is scored, and where the tokenizer adds BOS it replaces the first token of a window.\n\n"
            "With --against or --against-mode a second model predicts the same tokens: KL(its prediction || the model's) in nats, what a\n"
            "numeric mode, a quantisation or a fine-tune changed.",
    .examples = "sonde score model.gguf wiki.test.raw\nsonde score model.gguf book.txt --window 1024 --stride 256 --json\n"
                "sonde score model.gguf book.txt --mode bf16 --against-mode faithful\nsonde score model.Q4_K.gguf book.txt --against model.gguf\n",
    .json = "sonde.score/1"};

static int cmd_score(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL, *other = NULL;
    sd_ids ids = {0};
    sd_buf text;
    sd_score_result r;
    if (!cli_parse(c, &cmd_score_def, &a, argc, argv, &rc)) return rc;
    if (a.stride > a.window) return cli_usage(c, "--stride %lld is longer than --window %lld", (long long)a.stride, (long long)a.window);
    sd_buf_init(&text, MAX_TEXT);
    sd_status st = SD_OK;
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if ((st = read_texts(&text, c, &err))) goto done;
    if ((st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], (sd_model_opt){0}, &m, &err))) goto done;
    if ((st = sd_tok_encode(m->tok, (sd_slice){text.p, text.n}, &(sd_encode_opt){0}, &ids, &err))) goto done;
    if ((a.against || a.against_mode) && (st = open_other(c, &a, ex, &text, &ids, &other, &err))) goto done;
    if ((st = sd_lab_score(&r, ex, m, ids.v, ids.n, &(sd_score_opt){.window = a.window, .stride = a.stride, .against = other, .progress = &c->progress}, &err)))
        goto done;
    if ((st = cli_model_hash(c, c->arg[0], &err))) goto done;
    rc = print(c, &a, &r, other);
done:
    if (st) rc = cli_fail(c, &err);
    sd_ids_release(&ids);
    sd_buf_release(&text);
    sd_model_close(m);
    sd_model_close(other);
    return rc;
}
