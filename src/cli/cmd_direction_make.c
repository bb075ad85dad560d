/* sonde direction make: a direction that parts two sets of prompts, chosen by what it does to the model, kept in the data folder. */
#include "cli/prompts.h"
#include "lab/direction_data.h"
#include "lab/direction_file.h"
#include <math.h>

typedef struct args {
    const char *positive, *negative, *positive_val, *negative_val, *select, *system, *kind, *text, *phrases;
    int64_t n_train, n_val, floors;
    double max_kl;
    bool no_filter, full;
} args;

static const cli_opt opts[] = {
    {0, "positive", OPT_STR, AT(args, positive), .arg = "FILE", .help = "prompts with the concept (harmful requests); a suite file, see `sonde audit run -h`"},
    {0, "negative", OPT_STR, AT(args, negative), .arg = "FILE", .help = "prompts without it (harmless requests)"},
    {0, "positive-val", OPT_STR, AT(args, positive_val), .arg = "FILE", .help = "prompts to choose on; a part of --positive when not given"},
    {0, "negative-val", OPT_STR, AT(args, negative_val), .arg = "FILE", .help = "prompts to choose on; a part of --negative when not given"},
    {0, "select", OPT_STR, AT(args, select), .arg = "HOW", .def = "arditi", .values = "arditi|best",
     .help = "arditi: by bypass, induce and KL; best: by how well projections part the prompts"},
    {0, "n-train", OPT_INT, AT(args, n_train), .arg = "N", .def = "128", .lo = 4, .hi = 1 << 20, .help = "prompts of each side to fit on"},
    {0, "n-val", OPT_INT, AT(args, n_val), .arg = "N", .def = "32", .lo = 4, .hi = 1 << 20, .help = "prompts of each side to choose on"},
    {0, "system", OPT_STR, AT(args, system), .arg = "TEXT", .def = "default", .help = "system message: default (the template's own), none, or a text"},
    {0, "max-kl", OPT_FLOAT, AT(args, max_kl), .arg = "KL", .def = "0.1", .lo = 1e-6, .hi = 1e6, .help = "largest KL on harmless prompts that a candidate may have"},
    {0, "no-filter", OPT_BOOL, AT(args, no_filter), .help = "keep positive prompts that are answered and negative ones that are refused"},
    {0, "full", OPT_BOOL, AT(args, full), .help = "score discarded candidates to the end as well"},
    {0, "floors", OPT_INT, AT(args, floors), .arg = "N", .def = "20", .lo = 0, .hi = 1000, .help = "random and shuffled directions to compare with"},
    {0, "text", OPT_STR, AT(args, text), .arg = "FILE", .help = "a text: random directions that cost it as much cross-entropy as the chosen one are floors too"},
    {0, "phrases", OPT_STR, AT(args, phrases), .arg = "FILE", .help = CLI_PHRASES_HELP},
    {0, "kind", OPT_STR, AT(args, kind), .arg = "KIND", .values = "refusal|concept", .help = "what it is; refusal when chosen by arditi or made of harmful requests"},
    OPT_END};

static const char *const fate_name[] = {"kept", "not_finite", "induce", "kl"};

/* The refusal tokens as text: "I", " Sorry". */
static void token_list(char *out, size_t cap, const sd_model *m, const sd_refusal_set *r)
{
    sd_buf b;
    sd_buf_init(&b, 4096);
    for (int i = 0; i < r->n; i++) {
        sd_slice t = sd_tok_bytes(m->tok, r->id[i]);
        if (b.n + t.n + 4 > cap || sd_utf8_valid_prefix(t) != t.n) continue;
        sd_buf_printf(&b, "%s\"%.*s\"", b.n ? " " : "", SD_SLICE(t));
    }
    snprintf(out, cap, "%s", sd_buf_str(&b));
    sd_buf_release(&b);
}

static sd_status keep(cli *c, const sd_direction *r, const char *kind, const char *select, const char *tokens, sd_err *err)
{
    const sd_candidate *b = &r->cand[r->best];
    sd_direction_file f = {.position = b->position, .layer = b->layer, .d = r->d, .vector = r->vector, .bypass = b->bypass, .induce = b->induce,
                           .kl = b->kl, .auroc = b->auroc, .norm = b->norm};
    snprintf(f.name, sizeof f.name, "%s", c->output);
    snprintf(f.kind, sizeof f.kind, "%s", kind);
    snprintf(f.model_sha256, sizeof f.model_sha256, "%s", c->prov.model_sha256);
    snprintf(f.prompts_sha256, sizeof f.prompts_sha256, "%s", r->prompts_sha256);
    snprintf(f.created, sizeof f.created, "%s", c->prov.created);
    snprintf(f.select, sizeof f.select, "%s", select);
    snprintf(f.tokens, sizeof f.tokens, "%s", tokens);
    return sd_direction_save(&f, c->data_dir, c->force, err);
}

static void json_floor(sd_jw *w, const char *key, const sd_direction_floor *f)
{
    sd_jw_key(w, key);
    sd_jw_obj(w);
    sd_jw_ki64(w, "n", f->n);
    sd_jw_kf64(w, "bypass_mean", f->n ? f->mean : NAN);
    sd_jw_kf64(w, "bypass_lowest", f->n ? f->lowest : NAN);
    sd_jw_ki64(w, "n_not_above_chosen", f->n_not_above);
    sd_jw_ki64(w, "n_not_matched", f->n_unmatched);
    sd_jw_end(w);
}

static void json_candidates(sd_jw *w, const sd_direction *r)
{
    sd_jw_key(w, "candidates");
    sd_jw_arr(w);
    for (int64_t i = 0; i < r->n_cand; i++) {
        const sd_candidate *k = &r->cand[i];
        sd_jw_obj(w);
        sd_jw_ki64(w, "position", k->position);
        sd_jw_ki64(w, "layer", k->layer);
        sd_jw_kstr(w, "fate", fate_name[k->fate]);
        sd_jw_kf64(w, "bypass", k->bypass);
        sd_jw_kf64(w, "induce", k->induce);
        sd_jw_kf64(w, "kl", k->kl);
        sd_jw_kf64(w, "auroc", k->auroc);
        sd_jw_kf64(w, "norm", k->norm);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void json_evidence(sd_jw *w, const sd_direction *r, const sd_heard *h)
{
    static const char *const set[] = {"positive_train", "negative_train", "positive_val", "negative_val"};
    static const char *const kind[] = {"positive", "negative"}, *const did[] = {"refused", "answered"};
    sd_jw_key(w, "prompts");
    sd_jw_obj(w);
    for (int k = 0; k < 4; k++) {
        sd_jw_key(w, set[k]);
        sd_jw_obj(w);
        sd_jw_ki64(w, "given", r->n_given[k]);
        sd_jw_ki64(w, "used", r->n_used[k]);
        sd_jw_end(w);
    }
    sd_jw_kstr(w, "sha256", r->prompts_sha256);
    sd_jw_end(w);
    sd_jw_key(w, "refusal_tokens");
    sd_jw_arr(w);
    for (int i = 0; i < r->refusal.n; i++) sd_jw_i64(w, r->refusal.id[i]);
    sd_jw_end(w);
    sd_jw_kf64(w, "refusal_tokens_cover", r->refusal.n ? r->refusal.covered : NAN);
    cli_heard_json(w, h);
    sd_jw_kf64(w, "metric_auroc", r->refusal.n ? r->metric_auroc : NAN);
    sd_jw_kf64(w, "base_positive", r->refusal.n ? r->base_positive : NAN);
    sd_jw_kf64(w, "base_negative", r->refusal.n ? r->base_negative : NAN);
    sd_jw_key(w, "table");
    sd_jw_arr(w);
    for (int k = 0; k < 2 && r->refusal.n; k++)
        for (int a = 0; a < 2; a++) {
            sd_jw_obj(w);
            sd_jw_kstr(w, "kind", kind[k]);
            sd_jw_kstr(w, "score", did[a]);
            sd_jw_ki64(w, "n", r->table[k][a]);
            sd_jw_kf64(w, "projection", r->best >= 0 ? r->projection[k][a] : NAN);
            sd_jw_kf64(w, "harmfulness_projection", r->best >= 0 ? r->harm_projection[k][a] : NAN);
            sd_jw_end(w);
        }
    sd_jw_end(w);
    if (r->layer_cosine) {
        sd_jw_key(w, "harmfulness_cosine_by_layer");
        sd_jw_arr(w);
        for (int64_t l = 0; l < r->n_layer; l++) sd_jw_f32(w, r->layer_cosine[l]);
        sd_jw_end(w);
    }
    sd_jw_key(w, "beside");
    sd_jw_arr(w);
    for (int i = 0; i < r->n_other; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", r->other[i].name);
        sd_jw_kf64(w, "cosine", r->other[i].cosine);
        sd_jw_kf64(w, "auroc", r->other[i].auroc);
        sd_jw_kf64(w, "bypass", r->other[i].bypass);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    json_floor(w, "random", &r->random);
    json_floor(w, "shuffled", &r->shuffled);
    if (r->ce_plain > 0) {
        json_floor(w, "equal_cost", &r->equal_cost);
        sd_jw_kf64(w, "ce_plain", r->ce_plain);
        sd_jw_kf64(w, "ce_chosen", r->ce_chosen);
    }
}

static int print_json(cli *c, const sd_direction *r, const sd_heard *h, const char *kind, double max_kl)
{
    out_json j;
    char site[64] = "";
    const sd_candidate *b = r->best >= 0 ? &r->cand[r->best] : NULL;
    sd_jw *w = out_json_begin(c, &j, "sonde.direction_make/1");
    if (b) sd_site_print(site, sizeof site, (sd_site){SD_SITE_RESID_PRE, b->layer});
    sd_jw_kbool(w, "found", b != NULL);
    sd_jw_kstr(w, "name", c->output);
    sd_jw_kstr(w, "kind", kind);
    sd_jw_key(w, "site");
    if (b) sd_jw_str(w, site);
    else sd_jw_null(w);
    sd_jw_ki64(w, "position", b ? b->position : 0);
    sd_jw_ki64(w, "layer", b ? b->layer : -1);
    sd_jw_ki64(w, "n_layer", r->n_layer);
    sd_jw_kf64(w, "bypass", b ? b->bypass : NAN);
    sd_jw_kf64(w, "induce", b ? b->induce : NAN);
    sd_jw_kf64(w, "kl", b ? b->kl : NAN);
    sd_jw_kf64(w, "auroc", b ? b->auroc : NAN);
    sd_jw_kf64(w, "norm", b ? b->norm : NAN);
    sd_jw_ki64(w, "rows", r->rows);
    sd_jw_kf64(w, "max_kl", max_kl);
    sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
    json_evidence(w, r, h);
    json_candidates(w, r);
    return out_json_end(c, &j);
}

static const char *const two_by_two[] = {"positive, refused", "positive, answered", "negative, refused", "negative, answered"};

/* Why none is left, and what the least disturbing candidate that adds refusals did. */
static void discarded(out_pairs *p, const sd_direction *r)
{
    int n[4] = {0}, near = -1;
    for (int64_t i = 0; i < r->n_cand; i++) {
        const sd_candidate *k = &r->cand[i];
        n[k->fate]++;
        if (k->fate == SD_FATE_KL && (near < 0 || k->kl < r->cand[near].kl)) near = (int)i;
    }
    out_pair(p, "discarded", "%d add no refusals, %d change harmless answers too much, %d are not finite", n[SD_FATE_INDUCE], n[SD_FATE_KL], n[SD_FATE_NOT_FINITE]);
    if (near >= 0) out_pair(p, "nearest", "block %d, position %d: KL %.3f, induce %.3f; --max-kl allows more", r->cand[near].layer, r->cand[near].position, r->cand[near].kl, r->cand[near].induce);
}

static int print_text(cli *c, const sd_direction *r, const sd_heard *h, const char *kind, const char *tokens)
{
    char heard[400];
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "direction", "%s", r->best < 0 ? "no single direction: every candidate was discarded" : kind);
    if (r->best < 0) discarded(p, r);
    if (r->refusal.n) {
        out_pair(p, "refusals open with", "%s", tokens);
        out_pair(p, "first-token metric", "AUROC %.3f%s", r->metric_auroc,
                 r->metric_auroc < 0.95 ? " (below 0.95: it tells refusals badly here, look at answers too)" : "");
        if (h->n) out_pair(p, "answers", "%s", cli_heard_text(heard, sizeof heard, h));
        out_pair(p, "prompts kept", "%lld of %lld positive, %lld of %lld negative (validation)", (long long)r->n_used[SD_POS_VAL],
                 (long long)r->n_given[SD_POS_VAL], (long long)r->n_used[SD_NEG_VAL], (long long)r->n_given[SD_NEG_VAL]);
    }
    if (r->best >= 0) {
        const sd_candidate *b = &r->cand[r->best];
        out_pair(p, "place", "input of block %d of %lld, position %d", b->layer, (long long)r->n_layer, b->position);
        if (r->refusal.n) {
            out_pair(p, "bypass", "%.3f (plain %.3f)", b->bypass, r->base_positive);
            out_pair(p, "induce", "%.3f (plain %.3f)", b->induce, r->base_negative);
            out_pair(p, "KL on harmless", "%.4f", b->kl);
        }
        out_pair(p, "AUROC of projections", "%.3f", b->auroc);
        for (int i = 0; i < r->n_other; i++)
            out_pair(p, r->other[i].name, isnan(r->other[i].bypass) ? "cosine %.3f, AUROC %.3f" : "cosine %.3f, AUROC %.3f, bypass %.3f", r->other[i].cosine,
                     r->other[i].auroc, r->other[i].bypass);
        for (int k = 0; k < 4 && r->layer_cosine; k++)
            if (r->table[k / 2][k % 2])
                out_pair(p, two_by_two[k], "%lld prompts; on refusal %.2f, on harmfulness %.2f", (long long)r->table[k / 2][k % 2], r->projection[k / 2][k % 2], r->harm_projection[k / 2][k % 2]);
        if (r->random.n) out_pair(p, "random directions", "bypass %.3f on average, lowest %.3f, of %d", r->random.mean, r->random.lowest, r->random.n);
        if (r->ce_plain > 0) out_pair(p, "cross-entropy", "%.4f plain, %.4f with it taken out", r->ce_plain, r->ce_chosen);
        if (r->equal_cost.n) out_pair(p, "random, of equal cost", "bypass %.3f on average, lowest %.3f, of %d (%d never cost as much)", r->equal_cost.mean, r->equal_cost.lowest, r->equal_cost.n, r->equal_cost.n_unmatched);
        if (r->shuffled.n) out_pair(p, "shuffled labels", "bypass %.3f on average, lowest %.3f, of %d", r->shuffled.mean, r->shuffled.lowest, r->shuffled.n);
    }
    return out_pairs_end(p);
}

static int cmd_direction_make(cli *c, int argc, char **argv);
const cli_cmd cmd_direction_make_def = {
    .name = "direction make",
    .brief = "find a direction that carries refusal, or another concept",
    .args = "MODEL",
    .usage = "MODEL --positive FILE --negative FILE -o NAME",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_OUT | CLI_NEED_OUT | CLI_FORCE,
    .run = cmd_direction_make,
    .text = "Differences of means at every position behind the instruction and every block, each ablated and added, and chosen as Arditi et al.\n"
            "2024 do: the lowest refusal score under ablation among those that add refusals, change harmless answers little (KL at most 0.1)\n"
            "and lie in the first four fifths of the model. -o is a name, not a file: the vector stays in sonde's data folder, by the hash of the\n"
            "model, readable by you alone, and has no export. Refusal tokens are learned from what the model\n"
            "opens its answers to --positive with and to --negative not, so some answers are judged by phrases, too. When every candidate is discarded the answer is \"no single direction\" (exit 0).",
    .examples = "sonde direction make model.gguf --positive harmful.json --negative harmless.json -o refusal\n"
                "sonde direction make model.gguf --positive french.jsonl --negative english.jsonl --select best --kind concept -o french\n",
    .json = "sonde.direction_make/1"};

enum { MAX_TOKENS = 1024 };

static int cmd_direction_make(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_direction_sets sets = {0};
    sd_ids text = {0};
    sd_direction r = {.best = -1};
    sd_heard heard = {0};
    char tokens[256] = "";
    if (!cli_parse(c, &cmd_direction_make_def, &a, argc, argv, &rc)) return rc;
    if (!a.positive || !a.negative) return cli_usage(c, "give prompts with --positive FILE and --negative FILE");
    sd_status st = sd_direction_name_check(c->output, &err);
    c->refused = st != SD_OK; /* a command line of the wrong form */
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if ((st = cli_check_input(a.phrases, &err))) goto done;
    sd_direction_files f = {a.positive, a.negative, a.positive_val, a.negative_val, a.n_train, a.n_val, c->seed};
    if ((st = sd_direction_sets_open(&sets, &f, &err))) goto done;
    if ((st = cli_model_hash(c, c->arg[0], &err))) goto done;
    if ((st = sd_direction_check_free(c->data_dir, c->prov.model_sha256, c->output, c->force, &err))) goto done;
    if ((st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], (sd_model_opt){0}, &m, &err))) goto done;
    sd_direction_opt o = {.select = strcmp(a.select, "best") == 0 ? SD_SELECT_BEST : SD_SELECT_ARDITI, .system = sd_system_of(a.system),
                          .keep_all = a.no_filter, .full = a.full, .max_kl = a.max_kl, .n_floor = a.floors ? (int)a.floors : -1, .seed = c->seed, .progress = &c->progress};
    if (a.text && (st = cli_text_ids(&text, m, a.text, &err))) goto done;
    if (a.text) o.text = text.v, o.n_text = text.n < MAX_TOKENS ? text.n : MAX_TOKENS;
    const char *kind = a.kind ? a.kind : o.select == SD_SELECT_ARDITI || sets.harmful ? "refusal" : "concept";
    if ((st = sd_lab_direction(&r, ex, m, &sets.data, &o, &err))) goto done;
    const sd_heard_ask ask = {.text = sets.data.text[SD_POS_VAL], .n = sets.data.n[SD_POS_VAL], .system = o.system};
    if (r.refusal.n && strcmp(kind, "refusal") == 0 && (st = cli_heard(&heard, c, m, &r.refusal, ask, a.phrases, &err))) goto done;
    token_list(tokens, sizeof tokens, m, &r.refusal);
    if (r.best >= 0 && (st = keep(c, &r, kind, a.select, tokens, &err))) goto done;
    rc = c->json ? print_json(c, &r, &heard, kind, a.max_kl) : print_text(c, &r, &heard, kind, tokens);
    if (r.best >= 0) cli_note(c, "kept as '%s' for this model", c->output);
    else cli_note(c, "nothing is kept as '%s'", c->output);
done:
    if (st) rc = cli_fail(c, &err);
    sd_direction_release(&r);
    sd_ids_release(&text);
    sd_direction_sets_release(&sets);
    sd_model_close(m);
    return rc;
}
