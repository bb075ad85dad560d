/* sonde capture: activations of a corpus at one site, as shards. */
#include "cli/cli.h"
#include "lab/capture.h"

typedef struct args { int64_t tokens, ctx, batch; } args;

static const cli_opt opts[] = {
    {0, "tokens", OPT_INT, AT(args, tokens), .arg = "N", .lo = 1, .hi = 1e12, .help = "rows to keep, rounded up to whole contexts", .def_words = "all of the corpus"},
    {0, "ctx", OPT_INT, AT(args, ctx), .arg = "N", .def = "256", .lo = 16, .hi = 1 << 20, .unit = "tokens", .help = "length of a context"},
    {0, "batch", OPT_INT, AT(args, batch), .arg = "N", .def = "8", .lo = 1, .hi = 1024, .help = "contexts a step at most; 576 tokens fill one"},
    OPT_END};

static int print(cli *c, const sd_capture_result *r, int64_t d)
{
    double bytes = (double)r->n_rows * ((double)d * 2 + 12);
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.capture/1");
        sd_jw_ki64(w, "n_rows", r->n_rows);
        sd_jw_ki64(w, "n_tokens", r->n_tokens);
        sd_jw_ki64(w, "n_docs", r->n_docs);
        sd_jw_ki64(w, "d", d);
        sd_jw_kf64(w, "bytes", bytes);
        sd_jw_kf64(w, "seconds", r->seconds);
        sd_jw_kf64(w, "tok_s", (double)r->n_tokens / r->seconds);
        sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
        sd_jw_kstr(w, "dir", c->output);
        return out_json_end(c, &j);
    }
    char b[32], t[32];
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "rows", "%lld of %lld tokens in %lld documents", (long long)r->n_rows, (long long)r->n_tokens, (long long)r->n_docs);
    out_pair(p, "size", "%s", sd_fmt_bytes(b, sizeof b, bytes));
    out_pair(p, "time", "%s, %.0f tokens/s", sd_fmt_seconds(t, sizeof t, r->seconds), (double)r->n_tokens / r->seconds);
    out_pair(p, "folder", "%s", c->output);
    return out_pairs_end(p);
}

static int cmd_capture(cli *c, int argc, char **argv);
const cli_cmd cmd_capture_def = {
    .name = "capture",
    .brief = "record a corpus's activations at a site",
    .args = "MODEL CORPUS..",
    .opts = opts,
    .uses = CLI_MODE_BULK | CLI_SEED | CLI_SITE | CLI_NEED_SITE | CLI_OUT | CLI_NEED_OUT | CLI_OUT_DIR | CLI_FORCE,
    .run = cmd_capture,
    .text = "CORPUS: files (.txt, .jsonl, .csv, ..) and folders of them; standard input is none, a result names what it was made of.\n"
            "Writes acts-00000.safetensors, .. with `acts` [n, d] f16, `token_id`, `doc` and `pos` [n] int32, and manifest.json. Documents\n"
            "come in an order drawn from --seed and are cut in contexts; special tokens are left out; blocks after the site do not run.",
    .examples = "sonde capture model.gguf corpus/ --site resid_post.14 --tokens 500000 -o acts/\n",
    .json = "sonde.capture/1"};

static int cmd_capture(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_corpus *corpus = NULL;
    sd_harvest *h = NULL;
    sd_site site;
    sd_capture_result r;
    sd_act_manifest man = {.f16 = true};
    char room[32], need[32];
    if (!cli_parse(c, &cmd_capture_def, &a, argc, argv, &rc)) return rc;
    sd_status st = cli_check_output(c, c->output, &err);
    if (!st) st = cli_site(c, &site, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if ((st = cli_corpus_open(c, &corpus, c->arg + 1, c->n_arg - 1, &err))) goto done;
    sd_model_opt mo = {.no_head = true, .max_layer = sd_site_is_layered(site.kind) ? site.layer + 1 : 1};
    if ((st = cli_model_open(c, ex, CLI_BULK, c->arg[0], mo, &m, &err))) goto done;
    sd_harvest_opt ho = {.site = site, .max_rows = a.tokens, .n_ctx = a.ctx, .batch = a.batch, .seed = c->seed};
    if ((st = sd_harvest_open(&h, ex, m, corpus, &ho, &err))) goto done;
    man.d = sd_harvest_source(h).d;
    man.n_rows = sd_harvest_rows(h);
    if (man.n_rows < a.tokens) cli_note(c, "note: the corpus gives %lld rows, %lld were asked for", (long long)man.n_rows, (long long)a.tokens);
    double bytes = (double)man.n_rows * ((double)man.d * 2 + 12);
    const uint64_t replaced = c->force ? sd_act_replaced(c->output) : 0;
    cli_note(c, "%lld rows of %lld numbers: %s on disk, %s free%s", (long long)man.n_rows, (long long)man.d, sd_fmt_bytes(need, sizeof need, bytes),
             sd_fmt_bytes(room, sizeof room, (double)(sd_disk_free(c->output) + replaced)), replaced ? " without the present shards" : "");
    if ((st = cli_model_hash(c, c->arg[0], &err))) goto done;
    cli_corpus_hash(c, corpus);
    snprintf(man.model_name, sizeof man.model_name, "%s", m->cfg.name);
    memcpy(man.model_sha256, c->prov.model_sha256, sizeof man.model_sha256);
    memcpy(man.data_sha256, c->prov.data_sha256, sizeof man.data_sha256);
    sd_site_print(man.site, sizeof man.site, site);
    snprintf(man.mode, sizeof man.mode, "%s", sd_mode_name(c->mode));
    if ((st = sd_lab_capture(&r, h, c->output, &man, c->force, &c->progress, &err))) goto done;
    rc = print(c, &r, man.d);
done:
    if (st) rc = cli_fail(c, &err);
    sd_harvest_close(h);
    sd_model_close(m);
    sd_corpus_close(corpus);
    return rc;
}
