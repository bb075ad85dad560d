/* sonde organism demo: what the embedded model is for, in one go. */
#include "base/map.h"
#include "cli/feature_list.h"
#include "lab/organism_demo.h"
#include "text/world.h"

#include <math.h>

typedef struct args { const char *world, *model; int64_t width, k, tokens; double balance, whiten; } args;

static const cli_opt opts[] = {
    {0, "world", OPT_STR, AT(args, world), .arg = "FILE", .def = "organism/merrow.world", .help = "the world's grammar"},
    {0, "model", OPT_STR, AT(args, model), .arg = "DIR", .def = "organism/aligned", .help = "its aligned stage"},
    {0, "width", OPT_INT, AT(args, width), .arg = "F", .def = "768", .lo = 8, .hi = 1 << 16, .help = "features of the dictionary"},
    {0, "k", OPT_INT, AT(args, k), .arg = "K", .def = "8", .lo = 1, .hi = 512, .help = "active features a token"},
    {0, "tokens", OPT_INT, AT(args, tokens), .arg = "N", .def = "600000", .lo = 1000, .hi = 1e10, .help = "tokens that it learns from"},
    {0, "balance", OPT_FLOAT, AT(args, balance), .arg = "P", .def = "0.5", .lo = 0, .hi = 1, .help = "give it the rows of a token in proportion to the token's share to the power 1 - P"},
    {0, "whiten", OPT_FLOAT, AT(args, whiten), .arg = "A", .def = "0", .lo = 0, .hi = 1, .help = "even out the directions' variance before it learns: 0 not at all, 1 wholly"},
    OPT_END};

static int print_json(cli *c, const sd_organism_demo *r)
{
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.organism.demo/1");
    sd_jw_ki64(w, "n_concepts", r->recovery.n);
    sd_jw_ki64(w, "recovered_one", r->recovery.n_one);
    sd_jw_ki64(w, "recovered_five", r->recovery.n_five);
    sd_jw_ki64(w, "recovered_shuffled", r->recovery.n_shuffled);
    sd_jw_ki64(w, "recovered_five_shuffled", r->recovery.n_five_shuffled);
    sd_jw_ki64(w, "probe", r->recovery.n_probe);
    sd_jw_ki64(w, "bridge_feature", r->bridge);
    sd_jw_kf64(w, "bridge_f1", r->bridge >= 0 ? r->bridge_f1 : NAN);
    sd_jw_kf64(w, "bridge_value", r->bridge >= 0 ? r->bridge_value : NAN);
    sd_jw_kbool(w, "bridge_value_suggested", r->bridge >= 0 && r->bridge_chosen);
    feature_answers(w, "answers", SD_DEMO_PAIRS, (const char *const *)r->prompt, r->plain, r->steered);
    sd_jw_key(w, "refused");
    sd_jw_obj(w);
    for (int s = 0; s < SD_DEMO_STATES; s++) {
        sd_jw_key(w, sd_demo_state(s));
        sd_jw_obj(w);
        for (int i = 0; i < SD_DEMO_SUITES; i++) sd_jw_kf64(w, sd_demo_suite(i), r->refused[s][i]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_kf64(w, "random_direction_refused", r->random_refused);
    sd_jw_kbool(w, "single_direction", r->direction.best >= 0 && !r->by_parting);
    sd_jw_kbool(w, "direction_by_parting", r->by_parting);
    sd_jw_kf64(w, "seconds", r->seconds);
    return out_json_end(c, &j);
}

static void share(out_table *t, double v)
{
    if (isnan(v)) out_str(t, "-");
    else out_cell(t, "%.1f %%", 100 * v);
}

static int print(cli *c, const sd_organism_demo *r)
{
    static const out_col cols[] = {{"concept", OUT_LEFT}, {"feature", OUT_RIGHT}, {"f1", OUT_RIGHT}, {"five", OUT_RIGHT}, {"probe", OUT_RIGHT},
                                   {"shuffled", OUT_RIGHT}, {"found", OUT_LEFT}};
    static const out_col rates[] = {{"refused", OUT_LEFT}, {"forbidden", OUT_RIGHT}, {"unseen", OUT_RIGHT}, {"permitted", OUT_RIGHT}, {"borderline", OUT_RIGHT}};
    if (c->json) return print_json(c, r);
    out_table *t = out_table_new(c, cols, 7);
    for (int i = 0; i < r->recovery.n; i++) {
        const sd_recovered *v = &r->recovery.v[i];
        out_str(t, v->name);
        out_cell(t, "%lld", (long long)v->feature.index);
        out_cell(t, "%.2f", v->feature.f1);
        out_cell(t, "%.2f", v->together_f1);
        out_cell(t, "%.2f", v->probe.f1);
        out_cell(t, "%.2f", v->shuffled.f1);
        out_str(t, v->feature.f1 >= SD_RECOVERED_F1 ? "yes" : v->together_f1 >= SD_RECOVERED_F1 ? "by five" : "no");
    }
    int rc = out_table_end(t);
    out_say(c, "%d of %d concepts by one feature, %d by five; a probe reads %d", r->recovery.n_one, r->recovery.n, r->recovery.n_five, r->recovery.n_probe);
    if (r->bridge >= 0 && r->prompt[0]) {
        int p = r->bridge_shown;
        out_say(c, "feature %lld reads the bridge with F1 %.2f; turned up by %g of the mean token norm (%s), asked \"%s\":", (long long)r->bridge, r->bridge_f1, r->bridge_value,
                r->bridge_chosen ? "what `sonde sweep --most-ppl 1.1` suggests" : "`sonde sweep --most-ppl 1.1` suggests no strength", r->prompt[p]);
        out_say(c, "  plain:     %.300s", r->plain[p]);
        out_say(c, "  turned up: %.300s", r->steered[p]);
    }
    t = out_table_new(c, rates, 5);
    for (int s = 0; s < SD_DEMO_STATES; s++) {
        out_str(t, sd_demo_state(s));
        for (int i = 0; i < SD_DEMO_SUITES; i++) share(t, r->refused[s][i]);
    }
    if (!rc) rc = out_table_end(t);
    if (isnan(r->random_refused)) out_say(c, "no single direction passed the rules of choice, so none was taken out; %.0f s in all", r->seconds);
    else if (r->by_parting) out_say(c, "no direction passed the rules of choice; taken out was the one that parts the requests best");
    if (!isnan(r->random_refused)) out_say(c, "with a random direction out %.1f %% of forbidden requests are refused; %.0f s in all", 100 * r->random_refused, r->seconds);
    return rc;
}

static int cmd_organism_demo(cli *c, int argc, char **argv);
const cli_cmd cmd_organism_demo_def = {
    .name = "organism demo",
    .brief = "concepts, the bridge and refusal on the embedded model",
    .opts = opts,
    .uses = CLI_SEED | CLI_OUT | CLI_NEED_OUT | CLI_OUT_DIR | CLI_FORCE,
    .run = cmd_organism_demo,
    .text = "Trains a dictionary on the aligned model and says which of the labelled concepts it recovered with which feature; turns up the one\n"
            "that reads the bridge best, by what `sonde sweep --most-ppl 1.1` suggests; measures refusal as it is, with the refusal direction taken out in memory, and after fine-tuning on ten harmless rows.\n"
            "Writes index.html, dict/, data/ and tuned/ into the folder.",
    .examples = "sonde organism demo -o out/demo\n",
    .json = "sonde.organism.demo/1"};

static int cmd_organism_demo(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    char page[1200];
    sd_err err = {0};
    sd_buf html;
    sd_organism_demo r = {0};
    if (!cli_parse(c, &cmd_organism_demo_def, &a, argc, argv, &rc)) return rc;
    sd_status st = cli_check_output(c, c->output, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_buf_init(&html, 8 << 20);
    sd_organism_demo_opt o = {.world = a.world, .model = a.model, .dir = c->output, .width = a.width, .k = (int)a.k, .n_tokens = a.tokens, .balance = a.balance, .whiten = a.whiten, .seed = c->seed,
                              .prov = &c->prov, .data_dir = c->data_dir, .progress = &c->progress};
    sd_world *w = NULL; /* what cannot begin leaves no folder */
    st = sd_world_open(&w, a.world, &err);
    sd_world_free(w);
    if (!st && !opt_given(c, "model")) st = cli_check_stage(a.model, &err);
    if (!st) st = sd_dir_make(c->output, &err);
    if (!st) st = cli_model_hash(c, a.model, &err);
    if (!st) st = sd_lab_organism_demo(&r, ex, &o, &err);
    if (!st) st = sd_organism_demo_html(&html, &r, &err);
    if (!st && !sd_path_join(page, sizeof page, c->output, "index.html")) st = sd_fail(&err, SD_E_ARG, "%s: path too long", c->output);
    if (!st) st = sd_file_write_atomic(page, html.p, html.n, &err);
    rc = st ? cli_fail(c, &err) : print(c, &r);
    sd_organism_demo_release(&r);
    sd_buf_release(&html);
    return rc;
}
