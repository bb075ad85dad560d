/* sonde bench: speed of the parts on this machine, with the share of its peak. */
#include "cli/cli.h"
#include "lab/bench.h"
#include "lab/machine.h"

#include <math.h>

enum { DEPTH = 512 /* of the second decoding */, BATCHES = 8 };
typedef struct model_args { int64_t prompt, gen, depth, reps; opt_ints batch; bool watched; } model_args;
/* What was asked for beyond one sequence at a time. */
typedef struct batches {
    sd_bench_batch row[BATCHES];
    int n;
    bool watched; /* the last row is one sequence with hooks */
} batches;

static const cli_opt model_opts[] = {
    {0, "prompt", OPT_INT, AT(model_args, prompt), .arg = "N", .def = "512", .lo = 1, .hi = 1 << 16, .unit = "tokens", .help = "length of the prefill"},
    {0, "gen", OPT_INT, AT(model_args, gen), .arg = "N", .def = "64", .lo = 1, .hi = 1 << 16, .help = "tokens decoded one by one"},
    {0, "depth", OPT_INT, AT(model_args, depth), .arg = "N", .lo = 0, .hi = 1 << 16, .unit = "tokens", .help = "positions in the cache before the second decoding; the first begins at 0", .def_words = "512, or what the context allows"},
    {0, "reps", OPT_INT, AT(model_args, reps), .arg = "N", .def = "5", .lo = 1, .hi = 64, .help = "repetitions; the median counts"},
    {0, "batch", OPT_INTS, AT(model_args, batch), .arg = "N,..", .lo = 1, .hi = SD_BENCH_BATCH_MAX, .help = "also decode so many sequences at once, at 0 positions"},
    {0, "watched", OPT_BOOL, AT(model_args, watched), .help = "also decode with a hook that reads every layer"},
    OPT_END};

static double peak_gops(const sd_machine *p, sd_mode mode)
{
    for (int i = 0; i < 3; i++)
        if (p->product[i].mode == mode) return p->product[i].gops;
    return 0;
}

/* What bounds an op: products of a prefill the CPU, everything a single token reads the memory, and so what only passes numbers on; more than
 * all of it comes from a cache. */
static double share_of(const sd_bench_op *o, const sd_machine *p, sd_mode mode)
{
    if (o->moves || strcmp(o->phase, "decode") == 0) return o->gb_s / p->read_gb_s;
    return o->gops / peak_gops(p, o->product ? mode : SD_MODE_FAITHFUL);
}

static void json_batches(sd_jw *w, const batches *x)
{
    if (x->watched) sd_jw_kf64(w, "watched_cost", x->row[x->n - 1].cost);
    sd_jw_key(w, "batch");
    sd_jw_arr(w);
    for (int i = 0; i < x->n - x->watched; i++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "n_seq", x->row[i].n_seq);
        sd_jw_kf64(w, "tok_s", x->row[i].tok_s);
        sd_jw_kf64(w, "cost", x->row[i].cost);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void json_ops(sd_jw *w, const sd_bench_model *b, const sd_machine *p, sd_mode mode)
{
    sd_jw_key(w, "ops");
    sd_jw_arr(w);
    for (int i = 0; i < b->n_ops; i++) {
        const sd_bench_op *o = &b->op[i];
        sd_jw_obj(w);
        sd_jw_kstr(w, "phase", o->phase);
        sd_jw_kstr(w, "op", o->name);
        sd_jw_kf64(w, "ms", o->ms);
        sd_jw_kf64(w, "gops", o->gops);
        sd_jw_kf64(w, "gb_s", o->gb_s);
        sd_jw_kf64(w, "share_of_peak", share_of(o, p, mode));
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void print_ops(out_pairs *o, const sd_bench_model *b, const sd_machine *p, sd_mode mode)
{
    for (int i = 0; i < b->n_ops; i++) {
        const sd_bench_op *op = &b->op[i];
        char key[48];
        snprintf(key, sizeof key, "%s %s", op->phase, op->name);
        out_pair(o, key, "%.2f ms, %.0f GOP/s, %.1f GB/s, %.0f %% of the peak", op->ms, op->gops, op->gb_s, 100 * share_of(op, p, mode));
    }
    out_pair(o, "mode", "%s", sd_mode_name(mode));
}

static int json_model(cli *c, const sd_bench_model *b, const batches *x, const sd_machine *p)
{
    out_json j;
    const double peak = peak_gops(p, c->mode);
    sd_jw *w = out_json_begin(c, &j, "sonde.bench.model/1");
    sd_jw_kf64(w, "prefill_tok_s", b->prefill_tok_s);
    sd_jw_kf64(w, "decode_tok_s", b->decode[0].tok_s);
    sd_jw_kf64(w, "prefill_gops", b->prefill_gops);
    sd_jw_kf64(w, "decode_gb_s", b->decode[0].gb_s);
    sd_jw_kf64(w, "share_of_peak", b->prefill_gops / peak);
    sd_jw_kf64(w, "share_of_bandwidth", b->decode[0].gb_s / p->read_gb_s);
    sd_jw_kf64(w, "product_gops", peak);
    sd_jw_kf64(w, "read_gb_s", p->read_gb_s);
    sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
    sd_jw_key(w, "decode");
    sd_jw_arr(w);
    for (int i = 0; i < 2; i++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "depth", b->decode[i].depth);
        sd_jw_kf64(w, "tok_s", b->decode[i].tok_s);
        sd_jw_kf64(w, "bytes_per_token", b->decode[i].bytes_per_token);
        sd_jw_kf64(w, "gb_s", b->decode[i].gb_s);
        sd_jw_kf64(w, "share_of_bandwidth", b->decode[i].gb_s / p->read_gb_s);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    json_ops(w, b, p, c->mode);
    json_batches(w, x);
    return out_json_end(c, &j);
}

static int print_model(cli *c, const sd_bench_model *b, const batches *x, const sd_machine *p)
{
    const double peak = peak_gops(p, c->mode);
    if (c->json) return json_model(c, b, x, p);
    out_pairs *o = out_pairs_new(c);
    out_pair(o, "prefill", "%.0f tokens/s, %.0f GOP/s, %.0f %% of this machine's own products (%.0f)", b->prefill_tok_s, b->prefill_gops,
             100 * b->prefill_gops / peak, peak);
    for (int i = 0; i < 2; i++) {
        const sd_bench_decode *d = &b->decode[i];
        char key[48];
        snprintf(key, sizeof key, "decode at %lld", (long long)d->depth);
        out_pair(o, key, "%.1f tokens/s, %.1f MB a token, %.1f GB/s, %.0f %% of the read bandwidth (%.1f)", d->tok_s, d->bytes_per_token / 1e6, d->gb_s,
                 100 * d->gb_s / p->read_gb_s, p->read_gb_s);
    }
    for (int i = 0; i < x->n; i++) {
        char key[48];
        snprintf(key, sizeof key, "decode %d at once", x->row[i].n_seq);
        out_pair(o, x->watched && i == x->n - 1 ? "decode, watched" : key, "%.1f tokens/s, a step takes %.2f times that of one", x->row[i].tok_s, x->row[i].cost);
    }
    print_ops(o, b, p, c->mode);
    return out_pairs_end(o);
}

static int cmd_bench_model(cli *c, int argc, char **argv);
const cli_cmd cmd_bench_model_def = {
    .name = "bench model",
    .brief = "prefill and decode speed of a model",
    .args = "MODEL",
    .opts = model_opts,
    .uses = CLI_MODE_CHAT,
    .run = cmd_bench_model,
    .text = "As llama-bench measures: random tokens, the head on the last row only, one run before that is not counted; the median of\n"
            "the repetitions. Bytes a token are those of the packed weights and of the cache. Shares are of the same machine's read bandwidth\n"
            "and products, measured in the same run; ops are timed alone, all layers in turn.\n"
            "--batch and --watched alternate with one plain sequence; what a step takes is told in units of that.",
    .examples = "sonde bench model model.gguf --json\nsonde bench model model.gguf --mode bf16 --depth 512\nsonde bench model model.gguf --batch 2,4,8 --watched\n",
    .json = "sonde.bench.model/1"};

static sd_status run_batches(batches *x, const cli *c, const sd_exec *ex, const sd_model *m, const model_args *a, sd_err *err)
{
    sd_status st = SD_OK;
    *x = (batches){0};
    if (a->batch.n >= BATCHES) return sd_fail(err, SD_E_ARG, "--batch names %lld sizes, at most %d are measured", (long long)a->batch.n, BATCHES - 1);
    for (; x->n < a->batch.n + a->watched && !st; x->n++) {
        const bool plain = x->n < a->batch.n;
        if (sd_progress_cancelled(&c->progress)) return sd_fail(err, SD_E_CANCELLED, "interrupted while measuring");
        const sd_bench_batch_opt o = {.n_seq = plain ? (int)a->batch.v[x->n] : 1, .n_gen = a->gen, .reps = (int)a->reps, .watched = !plain};
        st = sd_lab_bench_batch(&x->row[x->n], ex, m, &o, err);
    }
    x->watched = a->watched;
    return st;
}

static int cmd_bench_model(cli *c, int argc, char **argv)
{
    model_args a;
    batches x;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_bench_model b;
    sd_machine peak;
    if (!cli_parse(c, &cmd_bench_model_def, &a, argc, argv, &rc)) return rc;
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_status st = cli_model_open(c, ex, CLI_CHAT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (!st && !opt_given(c, "depth")) {
        const int64_t most = m->max_ctx - a.gen;
        a.depth = most < DEPTH ? (most > 0 ? most : 0) : DEPTH;
    }
    if (!st) st = sd_lab_bench_model(&b, ex, m, &(sd_bench_model_opt){a.prompt, a.gen, a.depth, (int)a.reps}, &err);
    if (!st) st = run_batches(&x, c, ex, m, &a, &err);
    if (!st) st = sd_lab_machine(&peak, ex, &c->progress, &err);
    rc = st ? cli_fail(c, &err) : print_model(c, &b, &x, &peak);
    sd_model_close(m);
    return rc;
}

/* ---- kernels ---- */

typedef struct kernel_args { int64_t prompt, depth; } kernel_args;

static const cli_opt kernel_opts[] = {
    {0, "prompt", OPT_INT, AT(kernel_args, prompt), .arg = "N", .lo = 1, .hi = 1 << 16, .unit = "tokens", .help = "rows of a prefill's ops", .def_words = "512, or what the context allows"},
    {0, "depth", OPT_INT, AT(kernel_args, depth), .arg = "N", .def = "0", .lo = 0, .hi = 1 << 16, .unit = "tokens", .help = "positions in the cache of a decoded token's ops"},
    OPT_END};

static int cmd_bench_kernels(cli *c, int argc, char **argv);
const cli_cmd cmd_bench_kernels_def = {
    .name = "bench kernels",
    .brief = "speed of single ops, and the machine's own limits",
    .args = "[MODEL]",
    .opts = kernel_opts,
    .uses = CLI_MODE_CHAT,
    .run = cmd_bench_kernels,
    .text = "What this machine reads a second and multiplies a second in each mode. With MODEL also every op of a prefill and of a decoded\n"
            "token alone, all layers in turn, with its share of that; tok_s is then a prefill that consists of its ops and nothing else.",
    .examples = "sonde bench kernels --cpu avx2\nsonde bench kernels model.gguf --mode bf16 --json\n",
    .json = "sonde.bench.kernels/1"};

/* The prefill's ops as one: tokens a second, and its products' share of the machine's. NaN without ops. */
static void sum_prefill(double *tok_s, double *share, const sd_bench_model *b, const sd_machine *p, sd_mode mode, int64_t n_prompt)
{
    double ms = 0, gop = 0;
    for (int i = 0; i < b->n_ops; i++) {
        const sd_bench_op *o = &b->op[i];
        if (strcmp(o->phase, "prefill") != 0) continue;
        ms += o->ms;
        if (o->product) gop += o->gops * o->ms / 1e3;
    }
    *tok_s = (double)n_prompt / ms * 1e3;
    *share = gop / ms * 1e3 / peak_gops(p, mode);
    if (b->n_ops == 0) *tok_s = *share = NAN;
}

static int print_kernels(cli *c, const sd_bench_model *b, const sd_machine *p, int64_t n_prompt)
{
    double tok_s, share;
    sum_prefill(&tok_s, &share, b, p, c->mode, n_prompt);
    if (!c->json) {
        char key[48];
        out_pairs *o = out_pairs_new(c);
        out_pair(o, "memory read", "%.1f GB/s", p->read_gb_s);
        for (int i = 0; i < 3; i++) {
            snprintf(key, sizeof key, "products %s", sd_mode_name(p->product[i].mode));
            out_pair(o, key, "%.0f GOP/s on %s weights", p->product[i].gops, p->product[i].weights);
        }
        if (b->n_ops) {
            out_pair(o, "prefill", "%.0f tokens/s in its ops alone, %.0f %% of the products", tok_s, 100 * share);
            print_ops(o, b, p, c->mode);
        }
        return out_pairs_end(o);
    }
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.bench.kernels/1");
    sd_jw_kf64(w, "tok_s", tok_s);
    sd_jw_kf64(w, "share_of_peak", share);
    sd_jw_kf64(w, "read_gb_s", p->read_gb_s);
    sd_jw_key(w, "products");
    sd_jw_obj(w);
    for (int i = 0; i < 3; i++) sd_jw_kf64(w, sd_mode_name(p->product[i].mode), p->product[i].gops);
    sd_jw_end(w);
    if (b->n_ops) sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
    json_ops(w, b, p, c->mode);
    return out_json_end(c, &j);
}

static int cmd_bench_kernels(cli *c, int argc, char **argv)
{
    kernel_args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_bench_model b = {0};
    sd_machine peak;
    sd_status st = SD_OK;
    if (!cli_parse(c, &cmd_bench_kernels_def, &a, argc, argv, &rc)) return rc;
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if (c->n_arg) st = cli_model_open(c, ex, CLI_CHAT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (!st && m) {
        if (!opt_given(c, "prompt")) a.prompt = m->max_ctx < DEPTH ? m->max_ctx : DEPTH;
        if (a.prompt > m->max_ctx || a.depth >= m->max_ctx)
            st = sd_fail(&err, SD_E_ARG, "%lld tokens are more than the model's context of %lld", (long long)(a.prompt > a.depth ? a.prompt : a.depth + 1), (long long)m->max_ctx);
        if (!st) st = sd_lab_bench_ops(&b, ex, m, a.prompt, a.depth, &err);
    }
    if (!st) st = sd_lab_machine(&peak, ex, &c->progress, &err);
    rc = st ? cli_fail(c, &err) : print_kernels(c, &b, &peak, a.prompt);
    sd_model_close(m);
    return rc;
}

/* ---- dictionaries ---- */

typedef struct dict_args { int64_t d, width, k, batch, steps; } dict_args;

static const cli_opt dict_opts[] = {
    {0, "d", OPT_INT, AT(dict_args, d), .arg = "N", .def = "576", .lo = 8, .hi = 1 << 16, .help = "width of the activations"},
    {0, "width", OPT_INT, AT(dict_args, width), .arg = "F", .def = "16384", .lo = 64, .hi = 1 << 24, .help = "features"},
    {0, "k", OPT_INT, AT(dict_args, k), .arg = "K", .def = "32", .lo = 1, .hi = 1024, .help = "active features a token"},
    {0, "batch", OPT_INT, AT(dict_args, batch), .arg = "N", .def = "4096", .lo = 64, .hi = 1 << 20, .help = "rows a step"},
    {0, "steps", OPT_INT, AT(dict_args, steps), .arg = "N", .def = "8", .lo = 1, .hi = 1 << 20, .help = "steps that count"},
    OPT_END};

static int cmd_bench_dict(cli *c, int argc, char **argv);
const cli_cmd cmd_bench_dict_def = {
    .name = "bench dict",
    .brief = "training speed of a TopK dictionary on random rows",
    .opts = dict_opts,
    .uses = CLI_SEED,
    .run = cmd_bench_dict,
    .text = "The trainer alone, as the peers' scripts measure theirs. The share is of the machine's own bf16 products (f32 where the CPU\n"
            "has no bf16), counting 2 d F operations a token, the one dense term.",
    .examples = "sonde bench dict --width 65536 --json\n",
    .json = "sonde.bench.dict/1"};

static int cmd_bench_dict(cli *c, int argc, char **argv)
{
    dict_args a;
    int rc;
    sd_err err = {0};
    sd_bench_dict b;
    sd_machine p;
    if (!cli_parse(c, &cmd_bench_dict_def, &a, argc, argv, &rc)) return rc;
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_bench_dict_opt o = {.d = a.d, .width = a.width, .batch = a.batch, .steps = a.steps, .k = (int)a.k, .seed = c->seed};
    sd_status st = sd_lab_bench_dict(&b, ex, &o, &err);
    if (!st) st = sd_lab_machine(&p, ex, &c->progress, &err);
    if (st) return cli_fail(c, &err);
    double peak = peak_gops(&p, ex->cpu.flags & SD_CPU_AVX512_BF16 ? SD_MODE_BF16 : SD_MODE_FAITHFUL);
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.bench.dict/1");
        sd_jw_kf64(w, "tok_s", b.tok_s);
        sd_jw_kf64(w, "gops", b.gops);
        sd_jw_kf64(w, "share_of_peak", b.gops / peak);
        sd_jw_ki64(w, "width", a.width);
        sd_jw_ki64(w, "k", a.k);
        sd_jw_ki64(w, "batch", a.batch);
        return out_json_end(c, &j);
    }
    out_pairs *t = out_pairs_new(c);
    out_pair(t, "training", "%.0f tokens/s", b.tok_s);
    out_pair(t, "encoder", "%.0f GOP/s, %.0f %% of this machine's own products (%.0f)", b.gops, 100 * b.gops / peak, peak);
    return out_pairs_end(t);
}
