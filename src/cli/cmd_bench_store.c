/* sonde bench store: how fast a store of many features answers. */
#include "cli/cli.h"
#include "lab/bench_store.h"

typedef struct args { int64_t features, tokens, asked, examples; } args;

static const cli_opt opts[] = {
    {0, "features", OPT_INT, AT(args, features), .arg = "N", .def = "1000000", .lo = 1, .hi = 1 << 28, .help = "features of the store"},
    {0, "tokens", OPT_INT, AT(args, tokens), .arg = "N", .def = "1000000", .lo = 1000, .hi = 1 << 30, .help = "tokens of its text"},
    {0, "examples", OPT_INT, AT(args, examples), .arg = "N", .def = "12", .lo = 1, .hi = 70, .help = "examples of a feature, windows of 65 tokens"},
    {0, "asked", OPT_INT, AT(args, asked), .arg = "N", .def = "200", .lo = 1, .hi = 10000, .help = "questions of each kind"},
    OPT_END};

static int print(cli *c, const sd_bench_store *b, int64_t n_features)
{
    char size[32], key[32];
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.bench.store/1");
        sd_jw_ki64(w, "n_features", n_features);
        sd_jw_ki64(w, "bytes", (int64_t)b->bytes);
        sd_jw_kf64(w, "write_s", b->write_s);
        sd_jw_kf64(w, "open_ms", b->open_ms);
        sd_jw_key(w, "questions");
        sd_jw_arr(w);
        for (int i = 0; i < SD_ASK_COUNT; i++) {
            sd_jw_obj(w);
            sd_jw_kstr(w, "question", sd_bench_ask_name((sd_bench_ask)i));
            sd_jw_ki64(w, "n", b->ask[i].n);
            sd_jw_kf64(w, "median_ms", b->ask[i].median_ms);
            sd_jw_kf64(w, "p99_ms", b->ask[i].p99_ms);
            sd_jw_kf64(w, "max_ms", b->ask[i].max_ms);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        return out_json_end(c, &j);
    }
    out_pairs *o = out_pairs_new(c);
    out_pair(o, "store", "%lld features, %s, written in %.1f s", (long long)n_features, sd_fmt_bytes(size, sizeof size, (double)b->bytes), b->write_s);
    out_pair(o, "open", "%.1f ms", b->open_ms);
    for (int i = 0; i < SD_ASK_COUNT; i++) {
        snprintf(key, sizeof key, "%s", sd_bench_ask_name((sd_bench_ask)i));
        out_pair(o, key, "%.2f ms, 99 in 100 within %.2f, all within %.2f (%lld questions)", b->ask[i].median_ms, b->ask[i].p99_ms, b->ask[i].max_ms, (long long)b->ask[i].n);
    }
    return out_pairs_end(o);
}

static int cmd_bench_store(cli *c, int argc, char **argv);
const cli_cmd cmd_bench_store_def = {
    .name = "bench store",
    .brief = "how fast a store of many features answers",
    .opts = opts,
    .uses = CLI_SEED | CLI_OUT | CLI_NEED_OUT | CLI_FORCE,
    .run = cmd_bench_store,
    .text = "Writes a store of made-up features, their lists as long as real ones, then asks it as the page does: everything about a random\n"
            "feature (its JSON included), its neighbours, a search of two words, pages of 50 in every order. The store stays at -o; a million features\n"
            "take about 4 GB.",
    .examples = "sonde bench store -o /tmp/million.db --json\nsonde bench store --features 20000 -o small.db\n",
    .json = "sonde.bench.store/1"};

static int cmd_bench_store(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_bench_store b;
    if (!cli_parse(c, &cmd_bench_store_def, &a, argc, argv, &rc)) return rc;
    sd_status st = cli_check_output(c, c->output, &err);
    const sd_bench_store_opt o = {.path = c->output, .force = c->force, .n_features = a.features, .n_tokens = a.tokens, .n_asked = a.asked,
                                  .n_examples = (int)a.examples, .seed = c->seed, .progress = &c->progress};
    if (!st) st = sd_lab_bench_store(&b, &o, &err);
    return st ? cli_fail(c, &err) : print(c, &b, a.features);
}
