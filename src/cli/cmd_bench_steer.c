/* sonde bench steer: what a steer costs a step of decoding. */
#include "cli/cli.h"
#include "lab/bench_steer.h"

typedef struct args { int64_t depth, turns; } args;

static const cli_opt opts[] = {
    {0, "depth", OPT_INT, AT(args, depth), .arg = "N", .def = "0", .lo = 0, .hi = 1 << 16, .unit = "tokens", .help = "positions in every cache before"},
    {0, "turns", OPT_INT, AT(args, turns), .arg = "N", .def = "1000", .lo = 10, .hi = 1 << 20, .help = "steps of each kind"},
    OPT_END};

static int print(cli *c, const sd_bench_steer *b)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.bench.steer/1");
        sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
        sd_jw_key(w, "ways");
        sd_jw_arr(w);
        for (int i = 0; i < SD_BENCH_WAYS; i++) {
            sd_jw_obj(w);
            sd_jw_kstr(w, "way", sd_bench_way_name(i));
            sd_jw_kf64(w, "ms", b->row[i].ms);
            sd_jw_kf64(w, "cost", b->row[i].cost);
            sd_jw_kf64(w, "cost_median", b->row[i].cost_median);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        return out_json_end(c, &j);
    }
    out_pairs *o = out_pairs_new(c);
    for (int i = 0; i < SD_BENCH_WAYS; i++)
        out_pair(o, sd_bench_way_name(i), "%.3f ms a step, %.3f times plain (by medians %.3f)", b->row[i].ms, b->row[i].cost, b->row[i].cost_median);
    out_pair(o, "mode", "%s", sd_mode_name(c->mode));
    return out_pairs_end(o);
}

static int cmd_bench_steer(cli *c, int argc, char **argv);
const cli_cmd cmd_bench_steer_def = {
    .name = "bench steer",
    .brief = "what a steer costs a step of decoding",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE_CHAT,
    .run = cmd_bench_steer,
    .text = "One step of each kind in turn, from the same positions: plain, plain once more, under add, ablate, cap and an add with a condition, and\n"
            "plain and steered together. A kind's time is where the fastest tenth of its steps ends, because whatever else the machine does only adds\n"
            "to it; what differs between plain and plain once more is noise.",
    .examples = "sonde bench steer model.gguf\nsonde bench steer model.gguf --depth 512 --json\n",
    .json = "sonde.bench.steer/1"};

static int cmd_bench_steer(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_bench_steer b;
    if (!cli_parse(c, &cmd_bench_steer_def, &a, argc, argv, &rc)) return rc;
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_status st = cli_model_open(c, ex, CLI_CHAT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (!st) st = sd_lab_bench_steer(&b, ex, m, &(sd_bench_steer_opt){a.depth, a.turns}, &c->progress, &err);
    rc = st ? cli_fail(c, &err) : print(c, &b);
    sd_model_close(m);
    return rc;
}
