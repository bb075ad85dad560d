/* sonde dict train: a dictionary from a model and its text, or from captured shards; resumable. */
#include "cli/dict_run.h"
#include "lab/evaluate.h"
#include "lab/learn_identity.h"
#include "model/lora.h"

#include <math.h>

static const cli_opt opts[] = {
    {0, "kind", OPT_STR, AT(dict_run, kind), .arg = "KIND", .def = "topk", .values = "topk|batchtopk|matryoshka|standard|gated|jumprelu|transcoder|skip_transcoder|crosscoder|identity", .help = "kind of dictionary"},
    {0, "to", OPT_STR, AT(dict_run, to), .arg = "SITE,..", .help = "the site that a transcoder writes; further sites of a crosscoder"},
    {0, "with", OPT_STR, AT(dict_run, with), .arg = "MODEL2", .help = "the other checkpoint of a crosscoder"},
    {0, "width", OPT_INT, AT(dict_run, width), .arg = "F", .def = "16384", .lo = 2, .hi = 1 << 24, .help = "features"},
    {0, "k", OPT_INT, AT(dict_run, k), .arg = "K", .def = "32", .lo = 1, .hi = 4096, .help = "active features a token; what a sparsity penalty is steered towards"},
    {0, "also", OPT_LIST, AT(dict_run, also), .arg = "SPEC,..", .help = "further dictionaries from the same pass over the model, each [KIND:]WIDTH:K[@SITE], in folders of DIR: w4096-k32, jumprelu-w4096-k32-resid_post.7"},
    {0, "tokens", OPT_INT, AT(dict_run, tokens), .arg = "N", .lo = 1, .hi = 1e12, .help = "activations to train on; more than there are repeats them", .def_words = "one pass"},
    {0, "batch", OPT_INT, AT(dict_run, batch), .arg = "N", .lo = 1, .hi = 1 << 20, .help = "activations a step", .def_words = "2048, halved until a run has 500 steps, but not under 64"},
    {0, "lr", OPT_FLOAT, AT(dict_run, lr), .arg = "LR", .lo = 1e-12, .hi = 1, .help = "peak learning rate", .def_words = "1.2e-3 sqrt(16384 / width), width at least 1024; transcoders 0.35 / width of a row, falling alike above 16384 features"},
    {0, "ctx", OPT_INT, AT(dict_run, ctx), .arg = "N", .def = "256", .lo = 16, .hi = 1 << 20, .unit = "tokens", .help = "length of a context"},
    {0, "moments8", OPT_BOOL, AT(dict_run, moments8), .help = "Adam's moments in 8 bits: 6.6 bytes a weight in training instead of 12.6"},
    {0, "adam", OPT_STR, AT(dict_run, adam), .arg = "HOW", .def = "drift", .values = "drift|dense|sparse", .help = "a feature's rows in steps without its tokens: moved by their momentum when next used, or in each step as torch's Adam does, or not at all as SparseAdam"},
    {0, "serial", OPT_BOOL, AT(dict_run, serial), .help = "read the model and train in turn, not at once; the same dictionary"},
    {0, "proven", OPT_BOOL, AT(dict_run, proven), .help = "choose features without int8 products: slower, without their chance of 1e-14 to miss one"},
    {0, "k-start", OPT_INT, AT(dict_run, k_start), .arg = "K0", .lo = 1, .hi = 4096, .help = "k of the first step, changing linearly to K in --k-anneal steps", .def_words = "K"},
    {0, "k-anneal", OPT_INT, AT(dict_run, k_anneal), .arg = "STEPS", .lo = 1, .hi = 1e9, .help = "steps over which k changes"},
    {0, "sparsity", OPT_FLOAT, AT(dict_run, sparsity), .arg = "W", .lo = 1e-9, .hi = 1e6, .help = "weight of the penalty", .def_words = "steered until K features are active"},
    {0, "sparsity-warmup", OPT_INT, AT(dict_run, sparsity_warmup), .arg = "STEPS", .lo = 1, .hi = 1e9, .help = "steps over which W rises from 0"},
    {0, "warmup", OPT_FLOAT, AT(dict_run, warmup), .arg = "SHARE", .def = "0.05", .lo = 0, .hi = 1, .help = "share of the steps over which the rate rises"},
    {0, "decay", OPT_FLOAT, AT(dict_run, decay), .arg = "SHARE", .def = "0.2", .lo = 0, .hi = 1, .help = "share of the steps, at the end, over which it falls to 0"},
    {0, "aux-k", OPT_INT, AT(dict_run, aux_k), .arg = "N", .lo = 1, .hi = 1 << 20, .help = "dead features that reconstruct what the others leave", .def_words = "half the width of a row"},
    {0, "aux-weight", OPT_FLOAT, AT(dict_run, aux_weight), .arg = "W", .def = "0.03125", .lo = 1e-9, .hi = 1e3, .help = "weight of their loss"},
    {0, "dead-after", OPT_INT, AT(dict_run, dead_after), .arg = "N", .lo = 1, .hi = 1e12, .unit = "tokens", .help = "silence after which a feature is dead", .def_words = "a quarter of the run, at most 10 million"},
    {0, "bandwidth", OPT_FLOAT, AT(dict_run, bandwidth), .arg = "W", .def = "0.5", .lo = 1e-3, .hi = 100, .help = "width of jumprelu's window around a threshold"},
    {0, "routes", OPT_INT, AT(dict_run, routes), .arg = "P", .lo = 2, .hi = 1 << 22, .help = "topk: divide tokens among P groups and score each against its group's list of features, instead of all"},
    {0, "listed", OPT_INT, AT(dict_run, listed), .with = "routes", .arg = "L", .lo = 1, .hi = INT32_MAX - 1, .help = "features of a list", .def_words = "width / 64, at least 8 K"},
    {0, "in-turn", OPT_INT, AT(dict_run, in_turn), .with = "routes", .arg = "N", .def = "8", .lo = 1, .hi = 1 << 20, .help = "beside its list, each step looks at an Nth of all features in turn; N steps renew the lists"},
    {0, "exact-until", OPT_FLOAT, AT(dict_run, exact_until), .with = "routes", .arg = "SHARE", .def = "0.05", .lo = 1e-6, .hi = 1, .help = "share of the steps, at first, that look at all features"},
    {0, "exact-from", OPT_FLOAT, AT(dict_run, exact_from), .with = "routes", .arg = "SHARE", .def = "1", .lo = 1e-6, .hi = 1, .help = "share of the steps after which all look at all features"},
    {0, "init", OPT_STR, AT(dict_run, init), .arg = "FILE", .help = "weights to start from: W_enc [d, F], W_dec [F, d], b_enc, b_dec, for rows centred and scaled to a mean norm of sqrt(d)"},
    {0, "order", OPT_STR, AT(dict_run, order), .arg = "FILE", .help = "the rows of DIR in this order: `order`, int32, of the rows that are no sinks and are not held out"},
    {0, "without", OPT_LIST, AT(dict_run, without), .arg = "NAME,..", .help = "leave out centring, scaling, sink-filter, special-filter, shuffle, tied-init, unit-decoder, parallel-grad, aux-k"},
    {0, "control", OPT_STR, AT(dict_run, control), .arg = "KIND", .values = "random-model|frozen-decoder", .help = "train a control: the same on random weights, or with a decoder that stays random"},
    {0, "heldout", OPT_INT, AT(dict_run, heldout), .arg = "N", .lo = 64, .hi = 1 << 20, .help = "rows held out for the final figures", .def_words = "a fiftieth, 512 to 16384"},
    {0, "buffer", OPT_INT, AT(dict_run, buffer), .arg = "N", .lo = 1024, .hi = 1 << 26, .help = "rows of the shuffle buffer", .def_words = "262144"},
    OPT_END};

/* By every rule in use; null where the run was too short for a rule. */
static void put_dead(sd_jw *w, const sd_learn_result *r)
{
    sd_jw_ki64(w, "dead_after", r->dead_after);
    sd_jw_key(w, "dead_by");
    sd_jw_obj(w);
    for (int i = 0; i < SD_DEAD_RULES; i++) {
        if (r->dead_by[i] >= 0) sd_jw_ki64(w, sd_dead_rule_name(i), r->dead_by[i]);
        else sd_jw_kf64(w, sd_dead_rule_name(i), NAN);
    }
    sd_jw_end(w);
}

static int print(cli *c, const dict_run *a, const dict_source *s, const sd_learn_result *r)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.dict.train/1");
        sd_jw_kf64(w, "tok_s", r->tok_s);
        sd_jw_kf64(w, "fvu", r->fvu);
        sd_jw_kf64(w, "l0", r->l0);
        sd_jw_ki64(w, "dead", r->dead);
        sd_jw_kf64(w, "ce_recovered", r->ce_recovered);
        if (s->n_predictions) sd_jw_ki64(w, "n_predictions", s->n_predictions);
        sd_jw_ki64(w, "steps", r->steps);
        sd_jw_kstr(w, "mode", a->mode);
        sd_jw_ki64(w, "n_tokens", r->n_tokens);
        sd_jw_ki64(w, "n_heldout", r->n_heldout);
        sd_jw_ki64(w, "n_sinks_dropped", r->n_dropped);
        put_dead(w, r);
        sd_jw_ki64(w, "width", a->width);
        sd_jw_ki64(w, "k", a->k);
        sd_jw_kf64(w, "seconds", r->seconds);
        sd_jw_kf64(w, "train_seconds", r->train_seconds);
        sd_jw_kf64(w, "source_seconds", r->source_seconds);
        sd_jw_kf64(w, "finish_seconds", r->finish_seconds);
        sd_jw_kf64(w, "measure_seconds", r->measure_seconds);
        sd_jw_kstr(w, "dir", c->output);
        if (a->also.n) {
            sd_jw_key(w, "also");
            sd_jw_arr(w);
            for (int i = 0; i < a->also.n; i++) {
                const sd_learn_result *m = &r[1 + i];
                sd_jw_obj(w);
                sd_jw_kstr(w, "dir", a->more[i].dir);
                sd_jw_kstr(w, "kind", sd_dict_kind_name(a->more[i].kind));
                if (a->more[i].site[0]) sd_jw_kstr(w, "site", a->more[i].site);
                sd_jw_ki64(w, "width", a->more[i].width);
                sd_jw_ki64(w, "k", a->more[i].k);
                sd_jw_kf64(w, "fvu", m->fvu);
                sd_jw_kf64(w, "l0", m->l0);
                sd_jw_ki64(w, "dead", m->dead);
                sd_jw_kf64(w, "ce_recovered", m->ce_recovered);
                sd_jw_end(w);
            }
            sd_jw_end(w);
        }
        return out_json_end(c, &j);
    }
    static const char *const dead_words[SD_DEAD_RULES] = {"silent for 1M tokens", "silent for 10M tokens", "silent for 1000 steps", "never active"};
    char t[32];
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "held-out FVU", "%.4f on %lld tokens", r->fvu, (long long)r->n_heldout);
    out_pair(p, "L0", "%.1f", r->l0);
    out_pair(p, "dead features", "%lld of %lld, silent for the last %lld tokens", (long long)r->dead, (long long)a->width, (long long)r->dead_after);
    for (int i = 0; i < SD_DEAD_RULES; i++)
        if (r->dead_by[i] >= 0) out_pair(p, dead_words[i], "%lld", (long long)r->dead_by[i]);
    if (isfinite(r->ce_recovered) && s->n_predictions) out_pair(p, "CE recovered", "%.4f on %lld predictions", r->ce_recovered, (long long)s->n_predictions);
    out_pair(p, "steps", "%lld, %lld tokens", (long long)r->steps, (long long)r->n_tokens);
    out_pair(p, "time", "%s: %.0f %% for rows, %.0f %% training, %.0f %% thresholds and files, %.0f %% cross-entropy", sd_fmt_seconds(t, sizeof t, r->seconds),
             100 * r->source_seconds / r->seconds, 100 * (r->train_seconds - r->source_seconds) / r->seconds, 100 * r->finish_seconds / r->seconds,
             100 * r->measure_seconds / r->seconds);
    out_pair(p, "speed", "%.0f tokens/s over all of it", r->tok_s);
    out_pair(p, "folder", "%s", c->output);
    for (int i = 0; i < a->also.n; i++) {
        char ce[48] = "";
        if (isfinite(r[1 + i].ce_recovered)) snprintf(ce, sizeof ce, ", CE recovered %.4f", r[1 + i].ce_recovered);
        out_pair(p, "also", "%s: FVU %.4f, L0 %.1f, %lld dead%s", a->more[i].dir, r[1 + i].fvu, r[1 + i].l0, (long long)r[1 + i].dead, ce);
    }
    return out_pairs_end(p);
}

typedef struct measurement { cli *c; const sd_exec *ex; dict_source *s; const dict_run *a; } measurement;

/* CE recovered on the text of the held-out rows alone, read by the whole model in the run's mode. */
static sd_status ce_recovered(void *self, const char *dir, double *out, double *not_counted, sd_err *err)
{
    measurement *x = self;
    sd_dict *d = NULL;
    sd_model *m = NULL;
    sd_evaluation e = {0};
    enum { EVAL_CONTEXTS = 24 };
    double t0 = sd_now();
    cli_resume_with(x->c, "sonde dict eval", dir, "MODEL CORPUS.."); /* the dictionary is written */
    sd_status st = sd_dict_open(&d, dir, err);
    const sd_model_opt mo = {.mode = x->s->model->mode};
    if (!st) st = dict_run_random(x->a) ? sd_model_open_random(&m, x->ex, x->a->path[0], &mo, x->c->seed, err) : sd_model_open(&m, x->ex, x->a->path[0], &mo, err);
    *not_counted = sd_now() - t0;
    sd_site at = x->s->harvest ? sd_harvest_site(x->s->harvest) : (sd_site){0};
    if (!st && x->s->n_part) st = sd_site_parse(&at, sd_dict_site_name(d), strlen(sd_dict_site_name(d)), err);
    const int64_t heldout = x->a->heldout ? x->a->heldout : sd_learn_heldout(x->s->n_rows);
    const sd_evaluate_opt o = {.max_contexts = EVAL_CONTEXTS, .last_rows = heldout, .progress = &x->c->progress, .site = &at};
    if (!st) st = sd_lab_evaluate(&e, x->ex, m, d, x->s->harvest, &o, err);
    if (!st) *out = e.ce_recovered;
    x->s->n_predictions = e.n_predictions;
    const int64_t last = sd_harvest_rows(x->s->harvest) - sd_harvest_context_row(x->s->harvest, sd_harvest_contexts(x->s->harvest) - 1);
    if (!st && last > heldout) cli_note(x->c, "CE recovered is of the last context, of whose %lld rows %lld were trained on: --heldout holds no whole one", (long long)last, (long long)(last - heldout));
    sd_model_close(m);
    sd_dict_free(d);
    return st;
}

static sd_dict_kind kind_of(const char *name) /* one of the option's values, or of run.json's */
{
    sd_dict_kind k = 0;
    while (k < SD_DICT_KIND_COUNT && strcmp(name, sd_dict_kind_name(k)) != 0) k++;
    return k;
}

static sd_dict_train_opt of_rows(const dict_source *s, const sd_dict_train_opt *o, int part)
{
    sd_dict_train_opt t = *o;
    if (sd_dict_kind_maps(t.kind)) t.d_out = s->src.d - t.d;
    else t.d = s->n_part ? s->rows.width[part] : s->src.d;
    if (!t.n_tokens) t.n_tokens = s->n_rows;
    return t;
}

/* What the run will hold, and how long its steps take. Under a gigabyte nobody has to plan for it, and nothing is said. */
static sd_status say_cost(cli *c, const sd_exec *ex, const dict_source *s, const sd_learn_opt *o, sd_err *err)
{
    const sd_dict_train_opt t = of_rows(s, &o->train, 0);
    const sd_learn_memory first = sd_learn_plan(ex, &t, o, s->n_rows, s->src.d);
    const double is_free = (double)sd_mem_query().available;
    double seconds = 0, further = 0;
    char s_time[32];
    for (int i = 0; i < o->n_more; i++) {
        const sd_dict_train_opt more = of_rows(s, &o->more[i].train, o->more[i].part);
        further += (double)(sd_dict_kind_maps(more.kind) ? sd_trans_plan(ex, &more) : sd_dict_train_plan(ex, &more));
    }
    if (further > 1e9) cli_note(c, "memory: the further dictionaries take %.2f GB of it in training", 1e-9 * further);
    if (first.end + further < 1e9) return SD_OK;
    const sd_status st = sd_learn_forecast(&seconds, ex, &t, err);
    if (st) return st;
    cli_note(c, "memory: %.2f GB in training, %.2f GB at its end, the model apart; %.1f GB are free%s", 1e-9 * (first.training + further), 1e-9 * (first.end + further), 1e-9 * is_free,
             first.end + further > is_free && !t.moments8 && !sd_dict_kind_maps(t.kind) ? "; --moments8 takes less" : "");
    cli_note(c, "time: %s %s for the steps%s, %.0f tokens/s, to which the model's time comes", t.kind < SD_DICT_TOPK ? "more than" : "about", sd_fmt_seconds(s_time, sizeof s_time, seconds),
             t.routes ? " if all looked at all features" : "", (double)t.n_tokens / seconds);
    return SD_OK;
}

static sd_rest rest_of(const char *name)
{
    sd_rest r = 0;
    while (name && strcmp(name, sd_rest_name(r)) != 0) r++;
    return r;
}

static sd_status run(const dict_run *a, cli *c, const sd_exec *ex, dict_source *s, sd_learn_result *r, sd_err *err)
{
    const sd_dict_kind kind = kind_of(a->kind);
    if (kind == SD_DICT_IDENTITY) return sd_lab_learn_identity(r, ex, s->src, s->n_rows, &(sd_identity_opt){.meta = s->meta, .n_rows = a->tokens, .dir = c->output, .t0 = s->t0}, &c->progress, err);
    sd_learn_opt o = {.train = {.kind = kind == SD_DICT_CROSSCODER ? SD_DICT_BATCHTOPK : kind, .d = s->d_in, .m = a->width, .k = (int)a->k, .batch = a->batch,
                                .n_tokens = a->tokens, .lr = a->lr, .seed = c->seed, .moments8 = a->moments8, .rest = rest_of(a->adam), .proven = a->proven, .k_start = (int)a->k_start, .k_anneal = a->k_anneal,
                                .sparsity = a->sparsity, .sparsity_warmup = a->sparsity_warmup,
                                .warmup = a->warmup > 0 ? a->warmup : -1, .decay = a->decay > 0 ? a->decay : -1, .aux_k = (int)a->aux_k, .aux_alpha = a->aux_weight,
                                .dead_after = a->dead_after, .bandwidth = a->bandwidth, .routes = a->routes, .listed = a->listed, .in_turn = (int)a->in_turn, .exact_until = a->exact_until, .exact_from = a->exact_from,
                                .without = dict_run_without(a) | (a->order ? SD_WITHOUT_SHUFFLE | SD_WITHOUT_SINK_FILTER : 0), /* the order is of rows without sinks */
                                .frozen_decoder = a->control && strcmp(a->control, "frozen-decoder") == 0},
                      .meta = s->meta, .n_heldout = a->heldout, .buffer_rows = a->buffer, .dir = c->output, .prov = &c->prov, .resume = c->resume != NULL,
                      .t0 = s->t0, .init = a->init, .overlap = s->harvest && !a->serial, .measure = s->harvest && !s->rows.cross ? ce_recovered : NULL, .self = &(measurement){c, ex, s, a},
                      .fold = s->rows.cross ? sd_cross_fold : NULL, .fold_self = s->rows.cross};
    sd_learn_more more[SD_LEARN_MORE];
    for (int i = 0; i < a->also.n; i++) {
        more[i] = (sd_learn_more){o.train, a->more[i].dir, s->n_part ? s->part[i] : 0, s->n_part ? &s->more[i] : NULL};
        more[i].train.m = a->more[i].width, more[i].train.k = (int)a->more[i].k;
        if (kind < SD_DICT_ENCODER_COUNT) more[i].train.kind = a->more[i].kind;
    }
    o.more = more, o.n_more = a->also.n;
    o.part_cols = s->rows.width, o.n_part = s->n_part;
    sd_status st = say_cost(c, ex, s, &o, err);
    if (!st && s->order && !c->resume) st = sd_act_order_all(s->order, &o.calibrate, err); /* the other trainer's mean is that of all rows */
    if (!st) st = sd_lab_learn(r, ex, s->src, s->n_rows, &o, &c->progress, err);
    sd_free(o.calibrate.data);
    return st;
}

static int cmd_dict_train(cli *c, int argc, char **argv);
const cli_cmd cmd_dict_train_def = {
    .name = "dict train",
    .brief = "train a dictionary of features",
    .args = "[MODEL|DIR] [CORPUS..]",
    .usage = "(MODEL CORPUS.. --site SITE | DIR) -o DIR",
    .opts = opts,
    .uses = CLI_MODE_BULK | CLI_SEED | CLI_SITE | CLI_OUT | CLI_OUT_DIR | CLI_FORCE | CLI_RESUME,
    .run = cmd_dict_train,
    .text = "From MODEL and CORPUS the activations go straight into training, without touching the disk; from DIR they come from\n"
            "`sonde capture`. Activations are centred and scaled; special tokens and attention sinks (norm above 10 times the median)\n"
            "are left out. The result is a directory that SAELens loads, with events.jsonl beside it. Ctrl-C writes a checkpoint;\n"
            "--resume DIR goes on from it and gives the same dictionary as a run that was never stopped.\n\n"
            "topk takes the K best features of every token, batchtopk the best of a whole batch, K a token on average; matryoshka does too\n"
            "and also reconstructs from its first 1/32, 3/32, 7/32 and 15/32. standard (L1), gated and jumprelu have a penalty whose weight\n"
            "is steered until K features are active; they train slower. In the file batchtopk, matryoshka and gated are the jumprelu\n"
            "that they equal.\n\n"
            "transcoder learns the rows of --to from those of --site (mlp_in, or resid_mid before its norm, to mlp_out), skip_transcoder with\n"
            "a linear map beside it. crosscoder writes several sites at once, or a site in two checkpoints (--with); each is scaled alike.\n"
            "These take the best of a batch. identity trains nothing: its features are the site's own neurons, 2 a neuron, by sign.\n\n"
            "--control trains what a score is worth nothing without: a dictionary of the same architecture with random weights (each matrix\n"
            "normal with its own mean and spread), or one whose decoder stays as it was drawn. `sonde dict eval --beside` prints them together.\n"
            "--also trains more dictionaries from the same pass over the model, of other widths, kinds and sites: each is what a run of its own\n"
            "with the same seed, tokens and batch would have made, to the last bit. The model runs up to the deepest site.\n\n"
            "--without leaves out what training does by default, to see what it is worth.\n\n"
            "--routes divides tokens among P groups of like ones and learns for each group which L features its tokens use; a topk dictionary's\n"
            "features are then chosen from that list and from an Nth of all in turn: P + L + F / N products a token instead of F. The first steps\n"
            "look at all. `recall` in events.jsonl says how many of the exact choice are found; docs/DICT.md has what it costs.\n\n"
            "--init and --order give a run the start and the rows of another trainer's, for a comparison: with --warmup 0 --decay 0\n"
            "--adam dense --without aux-k,parallel-grad a TopK dictionary is trained as plain PyTorch would (tools/dict-parity). Sinks are\n"
            "left out before rows are counted, the last --heldout are not in the order, and all rows are kept in memory.\n\n"
            "With MODEL the run ends by reading the held-out text, at most 24 contexts of it, three times in the run's mode, for the share\n"
            "of the cross-entropy that the dictionary recovers (`sonde dict eval` measures more). tok_s is the tokens trained on over\n"
            "the time of the whole run, that reading included; only loading the model is left out.",
    .examples = "sonde dict train model.gguf corpus/ --site resid_post.14 --width 16384 --k 32 --tokens 2000000 -o dict/\n"
                "sonde dict train acts/ --width 8192 -o dict/\n"
                "sonde dict train model.gguf corpus/ --kind transcoder --site resid_mid.14 --to mlp_out.14 -o trans/\n"
                "sonde dict train model.gguf corpus/ --kind crosscoder --site resid_post.14 --with tuned.gguf -o cross/\n"
                "sonde dict train --resume dict/\n",
    .json = "sonde.dict.train/1"};

static int cmd_dict_train(cli *c, int argc, char **argv)
{
    dict_run a;
    int rc;
    sd_err err = {0};
    dict_source s = {0};
    sd_learn_result r[1 + SD_LEARN_MORE];
    if (!cli_parse(c, &cmd_dict_train_def, &a, argc, argv, &rc)) return rc;
    sd_status st = dict_run_setup(&a, c, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) goto done_early;
    if ((st = dict_source_open(&s, &a, c, ex, &err))) goto done;
    if ((st = dict_run_save(&a, c, &s, &err))) goto done;
    cli_resume_with(c, "sonde dict train --resume", c->output, "");
    if ((st = run(&a, c, ex, &s, r, &err))) goto done;
    if (kind_of(a.kind) == SD_DICT_IDENTITY) a.width = 2 * s.src.d;
    rc = print(c, &a, &s, r);
done:
    dict_source_close(&s);
    if (st) dict_run_discard(&a, c);
done_early:
    if (st || err.code) rc = cli_fail(c, &err);
    dict_run_release(&a);
    return rc;
}
