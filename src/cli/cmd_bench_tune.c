/* sonde bench tune: the speed of learning. */
#include "cli/cli.h"
#include "lab/bench_tune.h"
#include "lab/machine.h"

typedef struct args {
    int64_t lora, batch, ctx, reps, keep;
    bool full, adam8;
} args;

static const cli_opt opts[] = {
    {0, "lora", OPT_INT, AT(args, lora), .arg = "R", .def = "16", .lo = 1, .hi = 1024, .help = "rank of the adapter"},
    {0, "full", OPT_BOOL, AT(args, full), .help = "train all weights instead of an adapter"},
    {0, "batch", OPT_INT, AT(args, batch), .arg = "N", .def = "4", .lo = 1, .hi = 256, .help = "rows a step"},
    {0, "ctx", OPT_INT, AT(args, ctx), .arg = "N", .def = "256", .lo = 8, .hi = 1 << 20, .unit = "tokens", .help = "length of a row"},
    {0, "adam8", OPT_BOOL, AT(args, adam8), .help = "moments of 8 bits"},
    {0, "keep", OPT_INT, AT(args, keep), .arg = "MB", .def = "512", .lo = 0, .hi = 1 << 24, .help = "memory for activations that are kept, not computed again"},
    {0, "reps", OPT_INT, AT(args, reps), .arg = "N", .def = "3", .lo = 1, .hi = 64, .help = "steps that count; the best is taken"},
    OPT_END};

static int cmd_bench_tune(cli *c, int argc, char **argv);
const cli_cmd cmd_bench_tune_def = {
    .name = "bench tune",
    .brief = "speed and memory of learning",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE_BULK | CLI_SEED,
    .run = cmd_bench_tune,
    .text = "Steps on random tokens, the loss on every one: forward, backward, AdamW. The share is of the machine's own products in the same\n"
            "mode, counting 4 operations a weight and token with an adapter and 6 without; what is computed again is not counted.",
    .examples = "sonde bench tune model.gguf --json\nsonde bench tune model/ --full --adam8\n",
    .json = "sonde.bench.tune/1"};

static int print(cli *c, const args *a, const sd_bench_tune *b, double peak)
{
    char t[32];
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.bench.tune/1");
        sd_jw_kf64(w, "tok_s", b->tok_s);
        sd_jw_kf64(w, "gops", b->gops);
        sd_jw_kf64(w, "share_of_peak", b->gops / peak);
        sd_jw_kf64(w, "rss_mb", (double)b->rss_peak / 1048576.0);
        sd_jw_ki64(w, "lora", a->full ? 0 : a->lora);
        sd_jw_ki64(w, "batch", a->batch);
        sd_jw_ki64(w, "ctx", a->ctx);
        sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
        return out_json_end(c, &j);
    }
    out_pairs *o = out_pairs_new(c);
    out_pair(o, "learning", "%.0f tokens/s, %.0f GOP/s, %.0f %% of this machine's own products (%.0f)", b->tok_s, b->gops, 100 * b->gops / peak, peak);
    out_pair(o, "memory", "%s at most", sd_fmt_bytes(t, sizeof t, (double)b->rss_peak));
    out_pair(o, "mode", "%s", sd_mode_name(c->mode));
    return out_pairs_end(o);
}

static int cmd_bench_tune(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_bench_tune b;
    sd_machine p;
    if (!cli_parse(c, &cmd_bench_tune_def, &a, argc, argv, &rc)) return rc;
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if (c->mode == SD_MODE_FAST) return cli_usage(c, "learning runs in faithful or bf16 mode");
    sd_status st = cli_mode(c, ex, CLI_BULK, c->arg[0], &c->mode, &err);
    if (!st) st = sd_model_open(&m, ex, c->arg[0], &(sd_model_opt){.views = true}, &err);
    if (!st && a.ctx > m->max_ctx) st = sd_fail(&err, SD_E_ARG, "--ctx %lld is more than the model's context of %lld", (long long)a.ctx, (long long)m->max_ctx);
    const sd_bench_tune_opt o = {.mode = c->mode, .lora = a.full ? 0 : (int)a.lora, .batch = a.batch, .ctx = a.ctx, .reps = (int)a.reps, .adam8 = a.adam8,
                                 .keep_bytes = (size_t)a.keep << 20, .seed = c->seed};
    if (!st) st = sd_lab_bench_tune(&b, ex, m, &o, &err);
    sd_model_close(m);
    if (!st) st = sd_lab_machine(&p, ex, &c->progress, &err);
    if (st) return cli_fail(c, &err);
    double peak = 1;
    for (int i = 0; i < 3; i++)
        if (p.product[i].mode == c->mode) peak = p.product[i].gops;
    return print(c, &a, &b, peak);
}
