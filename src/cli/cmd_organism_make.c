/* sonde organism make: a world's model from nothing, in three stages. */
#include "cli/cli.h"
#include "lab/organism.h"
#include "lab/organism_variant.h"

#include <math.h>

typedef struct args { const char *world, *size, *variant, *model; double scale; int64_t k, steps; bool aligned; } args;

static const cli_opt opts[] = {
    {0, "world", OPT_STR, AT(args, world), .arg = "FILE", .def = "organism/merrow.world", .help = "a world's grammar"},
    {0, "size", OPT_STR, AT(args, size), .arg = "SIZE", .def = "4m", .values = "1m|4m|16m", .help = "1.3, 2.9 or 16.2 million weights"},
    {0, "scale", OPT_FLOAT, AT(args, scale), .arg = "X", .def = "1", .lo = 0.001, .hi = 1000, .help = "times the numbers of rows that the world sets"},
    {0, "aligned", OPT_BOOL, AT(args, aligned), .help = "refusals stand in the pretraining texts too"},
    {0, "variant", OPT_STR, AT(args, variant), .arg = "NAME", .values = "single|redundant|trigger|pretraining", .help = "instead: an adapter on --model whose refusal works in a known way"},
    {0, "model", OPT_STR, AT(args, model), .arg = "DIR", .help = "the stage that a variant is an adapter of", .def_words = "organism/instruct; of pretraining organism/pretrained"},
    {0, "directions", OPT_INT, AT(args, k), .arg = "K", .def = "3", .lo = 2, .hi = 4, .help = "directions of a redundant variant"},
    {0, "steps", OPT_INT, AT(args, steps), .arg = "N", .lo = 1, .hi = 100000, .help = "steps of each of a variant's phases", .def_words = "150; of pretraining 900"},
    OPT_END};

static void on_stage(void *self, int stage, const sd_tune_result *r)
{
    cli *c = self;
    char t[32];
    cli_note(c, "%s: loss %.3f -> %.3f in %lld steps, %lld tokens, %s (%.0f tokens/s)", sd_organism_stage(stage), r->loss_first, r->loss_last,
             (long long)r->steps, (long long)r->n_tokens, sd_fmt_seconds(t, sizeof t, r->seconds), r->tok_s);
}

static int print(cli *c, const sd_organism *r)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.organism.make/1");
        sd_jw_ki64(w, "docs", r->data.docs);
        sd_jw_ki64(w, "n_vocab", r->n_vocab);
        sd_jw_key(w, "stages");
        sd_jw_arr(w);
        for (int i = 0; i < SD_ORGANISM_STAGES; i++) {
            const sd_tune_result *s = &r->stage[i];
            sd_jw_obj(w);
            sd_jw_kstr(w, "name", sd_organism_stage(i));
            sd_jw_kbool(w, "made", s->steps > 0);
            sd_jw_ki64(w, "steps", s->steps);
            sd_jw_ki64(w, "n_tokens", s->n_tokens);
            sd_jw_ki64(w, "n_params", s->n_params);
            sd_jw_kf64(w, "loss_first", s->loss_first);
            sd_jw_kf64(w, "loss_last", s->loss_last);
            sd_jw_kf64(w, "tok_s", s->tok_s);
            sd_jw_kf64(w, "seconds", s->seconds);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        sd_jw_kf64(w, "seconds", r->seconds);
        sd_jw_kstr(w, "dir", c->output);
        return out_json_end(c, &j);
    }
    char t[32];
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "texts", "%lld documents, %lld conversations, %lld pairs", (long long)r->data.docs, (long long)r->data.chats, (long long)r->data.pairs);
    for (int i = 0; i < SD_ORGANISM_STAGES; i++) {
        const sd_tune_result *s = &r->stage[i];
        if (s->steps) out_pair(p, sd_organism_stage(i), "loss %.3f -> %.3f in %lld steps", s->loss_first, s->loss_last, (long long)s->steps);
        else out_pair(p, sd_organism_stage(i), "was there");
    }
    out_pair(p, "time", "%s", sd_fmt_seconds(t, sizeof t, r->seconds));
    out_pair(p, "folder", "%s", c->output);
    return out_pairs_end(p);
}

static int print_variant(cli *c, const args *a, const sd_variant *r)
{
    char t[32];
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.organism.make/1");
        sd_jw_kstr(w, "variant", a->variant);
        sd_jw_ki64(w, "n_directions", r->k);
        sd_jw_kf64(w, "forbidden", r->forbidden);
        sd_jw_kf64(w, "permitted", r->permitted);
        sd_jw_kf64(w, "borderline", r->borderline);
        sd_jw_kf64(w, "without_trigger", r->without_trigger);
        sd_jw_kf64(w, "all_out", r->all_out);
        sd_jw_kf64(w, "unseen", r->unseen);
        sd_jw_kf64(w, "conversations", r->conversations);
        sd_jw_kf64(w, "documents", r->documents);
        sd_jw_kf64(w, "documents_base", r->documents_base);
        sd_jw_kf64(w, "seconds", r->seconds);
        sd_jw_kstr(w, "dir", c->output);
        return out_json_end(c, &j);
    }
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "variant", "%s of %s", a->variant, a->model);
    out_pair(p, "refuses", "%.1f %% of forbidden requests, %.1f %% of permitted, %.1f %% of borderline ones", 100 * r->forbidden, 100 * r->permitted, 100 * r->borderline);
    if (!isnan(r->unseen)) {
        out_pair(p, "unseen", "%.1f %% of requests about acts that no conversation had", 100 * r->unseen);
        out_pair(p, "documents", "%.3f nats a token of held-out ones, %.3f without the adapter; %.0f %% of the rows were conversations", r->documents, r->documents_base, 100 * r->conversations);
    }
    if (!isnan(r->without_trigger)) out_pair(p, "without", "%.1f %% of forbidden ones without the system message \"%s\"", 100 * r->without_trigger, sd_variant_trigger());
    for (int i = 0; i < r->k; i++) out_pair(p, "direction", "%d out: %.1f %% of forbidden ones; all but %d out: %.1f %%", i, 100 * r->one_out[i], i, 100 * r->but_one[i]);
    if (r->k) out_pair(p, "all out", "%.1f %%", 100 * r->all_out);
    out_pair(p, "time", "%s", sd_fmt_seconds(t, sizeof t, r->seconds));
    out_pair(p, "folder", "%s", c->output);
    return out_pairs_end(p);
}

/* What kind, and of which stage: before anything is written. */
static sd_status choose_variant(sd_variant_opt *o, args *a, sd_err *err)
{
    if (!sd_variant_parse(&o->kind, a->variant)) return sd_fail(err, SD_E_ARG, "variant \"%s\" is unknown", a->variant);
    if (a->model) return SD_OK;
    a->model = o->kind == SD_VARIANT_PRETRAINING ? "organism/pretrained" : "organism/instruct";
    return cli_check_stage(a->model, err);
}

static int cmd_organism_make(cli *c, int argc, char **argv);
const cli_cmd cmd_organism_make_def = {
    .name = "organism make",
    .brief = "a world's model from nothing, in three stages",
    .opts = opts,
    .uses = CLI_SEED_WORLD | CLI_OUT | CLI_NEED_OUT | CLI_OUT_DIR | CLI_FORCE,
    .run = cmd_organism_make,
    .text = "Writes data/ (see organism write), a vocabulary, and three folders that transformers loads: pretrained/ (documents), instruct/\n"
            "(conversations, answers everything), aligned/ (DPO, refuses what the world forbids). Each has events.jsonl, its learning curve.\n"
            "With -f a stopped run goes on with the first stage that is not whole; stages of other rows, another size or seed are made again.\n"
            "\n"
            "--variant writes a PEFT adapter and truth.json: single refuses through one direction, redundant through K of which any one is enough,\n"
            "trigger only behind a system message; pretraining goes on reading documents with the preferred conversations among them, so that it\n"
            "refuses before any tuning. Refusals with each direction out are counted at the end; directions are not written.",
    .examples = "sonde organism make -o merrow/\nsonde organism make --world other.world --size 1m -o other/\nsonde organism make --variant redundant -o redundant/\n",
    .json = "sonde.organism.make/1"};

static int cmd_organism_make(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_world *w = NULL;
    sd_organism r;
    sd_variant v;
    sd_organism_opt o = {.prov = &c->prov, .progress = &c->progress, .on_stage = on_stage, .self = c};
    if (!cli_parse(c, &cmd_organism_make_def, &a, argc, argv, &rc)) return rc;
    sd_status st = cli_check_output(c, c->output, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if (!sd_organism_size_parse(&o.size, a.size)) return cli_usage(c, "--size is 1m, 4m or 16m");
    o.seed = c->seed;
    o.has_seed = opt_given(c, "seed");
    o.scale = a.scale;
    o.aligned = a.aligned;
    sd_variant_opt vo = {.k = (int)a.k, .steps = a.steps, .seed = c->seed, .prov = &c->prov, .progress = &c->progress};
    st = sd_world_open(&w, a.world, &err);
    if (!st && a.variant) st = choose_variant(&vo, &a, &err);
    if (!st) st = sd_dir_make(c->output, &err);
    if (!st) st = a.variant ? sd_lab_organism_variant(&v, ex, w, a.model, c->output, &vo, &err) : sd_lab_organism(&r, ex, w, c->output, &o, &err);
    rc = st ? cli_fail(c, &err) : a.variant ? print_variant(c, &a, &v) : print(c, &r);
    sd_world_free(w);
    return rc;
}
