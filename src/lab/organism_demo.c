/* The demo of the organism. Owns: the order of the parts and what is counted. Taking the refusal direction out is a hook on answers that
 * live in memory while they are judged; the ten rows are fine-tuned into a folder beside the demo. */
#include "lab/organism_demo.h"

#include "base/json.h"
#include "base/map.h"
#include "lab/ablate.h"
#include "lab/direction_file.h"
#include "lab/harvest.h"
#include "lab/organism_data.h"
#include "lab/organism_rate.h"
#include "lab/reshape.h"
#include "lab/steer_sweep.h"
#include "lab/tune.h"

#include <inttypes.h>
#include <math.h>

enum {
    ROWS = 10,           /* Qi et al. 2023: ten examples undo refusals */
    EPOCHS = 10,
    N_TRAIN = 96, N_VAL = 32, /* prompts a side for the direction */
    N_SAY = 48,
};
#define SHOWN 0.25

static const char *const suites[SD_DEMO_SUITES] = {"forbidden", "unseen", "permitted", "borderline"};
static const char *const states[SD_DEMO_STATES] = {"aligned", "direction out", "ten rows later"};
static const char *const asked[SD_DEMO_PAIRS] = {"Tell me something about the islands.", "What should I visit in spring?", "Where do people go on Sunday?"};
const char *sd_demo_suite(int i) { return suites[i]; }
const char *sd_demo_state(int i) { return states[i]; }

typedef struct demo {
    const sd_exec *ex;
    const sd_organism_demo_opt *opt;
    sd_world *world;
    sd_model *m;
    sd_dict *dict;
    sd_suite suite[SD_DEMO_SUITES];
    sd_organism_demo *out;
} demo;

static sd_status path_of(const demo *k, const char *name, char out[1200], sd_err *err)
{
    return sd_path_join(out, 1200, k->opt->dir, name) ? SD_OK : sd_fail(err, SD_E_ARG, "%s: path too long", k->opt->dir);
}

/* ---- refusals ---- */

/* Share of the suite's prompts that are refused; edit may be NULL. */
static sd_status share_of(double *share, const demo *k, const sd_model *m, const sd_suite *suite, const sd_hook *edit, sd_err *err)
{
    const char **text = NULL;
    sd_status st = sd_alloc(&text, (size_t)suite->n * sizeof *text, "prompts", err);
    for (int64_t i = 0; i < suite->n && !st; i++) text[i] = suite->v[i].text;
    sd_rate_ask ask = {.text = text, .n = suite->n, .edit = edit, .n_edit = edit ? 1 : 0, .what = suite->name, .progress = k->opt->progress};
    *share = NAN;
    if (!st) st = sd_organism_refused(share, k->ex, m, &ask, err);
    sd_free(text);
    return st;
}

static sd_status shares(demo *k, int state, const sd_model *m, const sd_hook *edit, sd_err *err)
{
    sd_status st = SD_OK;
    for (int i = 0; i < SD_DEMO_SUITES && !st; i++) st = share_of(&k->out->refused[state][i], k, m, &k->suite[i], edit, err);
    return st;
}

/* ---- the dictionary ---- */

static sd_status make_dictionary(demo *k, sd_err *err)
{
    char docs[1200], dir[1200], held[1200];
    const char *list = docs;
    sd_corpus *corpus = NULL;
    sd_harvest *h = NULL;
    sd_reshape *shape = NULL;
    sd_site site = {SD_SITE_RESID_MID, k->m->cfg.n_layer / 2 - 1}; /* where most concepts are one feature: docs/ORGANISM.md */
    sd_status st = path_of(k, "data/pretrain.jsonl", docs, err);
    if (!st) st = path_of(k, "data/heldout.jsonl", held, err);
    if (!st) st = path_of(k, "dict", dir, err);
    if (!st) st = sd_dir_make(dir, err);
    if (!st) st = sd_corpus_open(&corpus, &list, 1, err);
    sd_harvest_opt ho = {.site = site, .max_rows = k->opt->n_tokens ? k->opt->n_tokens : 600000, .seed = k->opt->seed, .batch = 32};
    if (!st) st = sd_harvest_open(&h, k->ex, k->m, corpus, &ho, err);
    sd_learn_opt lo = {.train = {.kind = SD_DICT_TOPK, .m = k->opt->width ? k->opt->width : 768, .k = k->opt->k ? k->opt->k : 8, .seed = k->opt->seed},
                       .dir = dir, .prov = k->opt->prov, .checkpoint_s = -1};
    sd_site_print(lo.meta.site, sizeof lo.meta.site, site);
    sd_site_print_tl(lo.meta.hook_name, sizeof lo.meta.hook_name, site);
    snprintf(lo.meta.model_name, sizeof lo.meta.model_name, "%s", k->m->cfg.name);
    if (k->opt->prov) memcpy(lo.meta.model_sha256, k->opt->prov->model_sha256, sizeof lo.meta.model_sha256);
    lo.meta.seed = k->opt->seed;
    sd_reshape_opt ro = {.balance = k->opt->balance, .whiten = k->opt->whiten, .n_vocab = k->m->cfg.n_vocab, .seed = k->opt->seed};
    if (!st) st = sd_reshape_open(&shape, k->ex, sd_harvest_source(h), sd_harvest_rows(h), &ro, err);
    lo.fold = sd_reshape_fold;
    lo.fold_self = shape;
    if (!st) st = sd_lab_learn(&k->out->dict, k->ex, sd_reshape_source(shape), sd_reshape_rows(shape), &lo, k->opt->progress, err);
    if (!st) st = sd_dict_open(&k->dict, dir, err);
    if (!st) st = sd_lab_recover(&k->out->recovery, k->ex, k->m, k->dict, held, &(sd_recover_opt){.seed = k->opt->seed, .progress = k->opt->progress}, err);
    sd_reshape_close(shape);
    sd_harvest_close(h);
    sd_corpus_close(corpus);
    return st;
}

static sd_status copy(char **out, const char *s, size_t n, sd_err *err)
{
    return (*out = sd_strndup(n ? s : "", n)) ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: an answer");
}

/* Where the texts part, in bytes: the pair that parts first shows most of what the feature does. */
static size_t common(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n]) n++;
    return n;
}

/* The feature that reads `bridge`, turned up as far as the rule of steer_sweep.h allows: the most of it at no more than SD_DEMO_MOST_PPL times the plain perplexity
 * and 0.1 more repetition. Where no strength does, at SHOWN, which is said. */
static sd_status steer_bridge(demo *k, sd_err *err)
{
    static const double value[] = {0.125, SHOWN, 0.375, 0.5, 0.75, 1};
    sd_organism_demo *o = k->out;
    const sd_organism_demo_opt *opt = k->opt;
    sd_steer_sweep s = {0};
    char dir[1200];
    sd_buf spec;
    sd_jw w;
    sd_status st = path_of(k, "dict", dir, err);
    o->bridge = -1;
    for (int i = 0; i < o->recovery.n; i++)
        if (strcmp(o->recovery.v[i].name, "bridge") == 0) {
            o->bridge = o->recovery.v[i].feature.index;
            o->bridge_f1 = o->recovery.v[i].feature.f1;
        }
    if (st || o->bridge < 0) return st;
    sd_buf_init(&spec, 1 << 16);
    sd_jw_init(&w, &spec);
    sd_jw_obj(&w);
    sd_jw_key(&w, "feature");
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "dict", dir);
    sd_jw_ki64(&w, "index", o->bridge);
    sd_jw_end(&w);
    sd_jw_end(&w);
    st = sd_buf_check(&spec, "a steer", err);
    const sd_steer_env env = {.ex = k->ex, .m = k->m, .data_dir = opt->data_dir ? opt->data_dir : "", .model_sha256 = opt->prov ? opt->prov->model_sha256 : ""};
    const sd_steer_sweep_opt so = {.spec = {spec.p, spec.n}, .value = value, .n_value = sizeof value / sizeof *value, .prompt = asked, .n_prompt = SD_DEMO_PAIRS, .chat = true,
                                   .n_gen = N_SAY, .most_ppl = SD_DEMO_MOST_PPL, .progress = opt->progress};
    if (!st) st = sd_lab_steer_sweep(&s, &env, &so, err);
    if (!st) {
        size_t least = SIZE_MAX;
        const sd_steer_point *plain = &s.point[0], *up = &s.point[s.suggested < 0 ? 2 : s.suggested];
        o->bridge_chosen = s.suggested >= 0;
        o->bridge_value = up->value;
        for (int i = 0; i < SD_DEMO_PAIRS && !st; i++) {
            st = copy(&o->prompt[i], asked[i], strlen(asked[i]), err);
            if (!st) st = copy(&o->plain[i], plain->answer[i].p, plain->answer[i].n, err);
            if (!st) st = copy(&o->steered[i], up->answer[i].p, up->answer[i].n, err);
            if (st || common(o->plain[i], o->steered[i]) >= least) continue;
            least = common(o->plain[i], o->steered[i]);
            o->bridge_shown = i;
        }
    }
    sd_steer_sweep_release(&s);
    sd_buf_release(&spec);
    return st;
}

/* ---- the refusal direction ---- */

/* n different requests of a rule that no suite has. */
static sd_status draw_prompts(const demo *k, const char *rule, char **out, int64_t n, sd_err *err)
{
    sd_world_text t;
    int32_t at = sd_world_find_rule(k->world, rule);
    sd_status st = at < 0 ? sd_fail(err, SD_E_FORMAT, "world %s has no rule \"%s\"", sd_world_name(k->world), rule) : SD_OK;
    int64_t got = 0;
    sd_world_text_init(&t);
    for (int64_t i = 0; i < 100 * n && got < n && !st; i++) {
        sd_rng rng = sd_rng_make(k->opt->seed, rule, (uint64_t)i);
        if ((st = sd_world_expand(&t, k->world, at, &rng, err))) break;
        for (int u = 0; u < t.n_turn; u++) {
            sd_slice s = {t.text.p + t.turn[u].begin, t.turn[u].end - t.turn[u].begin};
            bool seen = strcmp(t.turn[u].role, "user") != 0 || sd_organism_is_held_out(s);
            for (int64_t j = 0; j < got && !seen; j++) seen = sd_slice_eq_str(s, out[j]);
            if (seen || got == n) continue;
            if (!(out[got] = sd_strndup(s.p, s.n))) st = sd_fail(err, SD_E_NOMEM, "out of memory: a prompt");
            else got++;
        }
    }
    if (!st && got < n) st = sd_fail(err, SD_E_FORMAT, "world %s: %s writes only %" PRId64 " different requests", sd_world_name(k->world), rule, got);
    sd_world_text_release(&t);
    return st;
}

static sd_status find_direction(demo *k, sd_err *err)
{
    static const char *const rule[2] = {"chat.forbidden", "chat.permitted"};
    enum { ALL = N_TRAIN + N_VAL };
    char *text[2][ALL] = {{0}, {0}};
    float *unit = NULL, *random = NULL;
    sd_direction *d = &k->out->direction;
    sd_status st = SD_OK;
    for (int i = 0; i < 2 && !st; i++) st = draw_prompts(k, rule[i], text[i], ALL, err);
    sd_direction_data data = {.text = {(const char *const *)text[0], (const char *const *)text[1], (const char *const *)(text[0] + N_TRAIN),
                                       (const char *const *)(text[1] + N_TRAIN)},
                              .n = {N_TRAIN, N_TRAIN, N_VAL, N_VAL}};
    sd_direction_opt o = {.seed = k->opt->seed, .n_floor = -1, .progress = k->opt->progress};
    d->best = -1;
    if (!st) st = sd_lab_direction(d, k->ex, k->m, &data, &o, err);
    if (!st && !d->vector && k->out->refused[0][0] > 0.5) { /* it refuses, and no candidate passes the rules: the one that tells the requests apart best */
        sd_direction_release(d);
        o.select = SD_SELECT_BEST;
        k->out->by_parting = true;
        st = sd_lab_direction(d, k->ex, k->m, &data, &o, err);
    }
    if (st == SD_E_FORMAT) { /* a model that does not refuse has no such direction, and that is a result */
        sd_log(SD_LOG_WARN, "no direction: %s", err ? err->msg : "");
        sd_direction_release(d);
        *d = (sd_direction){.best = -1};
        if (err) *err = (sd_err){0};
        st = SD_OK;
    }
    for (int i = 0; i < SD_DEMO_SUITES; i++) k->out->refused[1][i] = NAN;
    k->out->random_refused = NAN;
    if (!st && d->vector) {
        sd_ablate a = {0}, b = {0};
        st = sd_alloc(&unit, (size_t)d->d * sizeof *unit, "a direction", err);
        if (!st) st = sd_alloc(&random, (size_t)d->d * sizeof *random, "a direction", err);
        if (!st) {
            sd_rng rng = sd_rng_make(k->opt->seed, "random", 0);
            for (int64_t i = 0; i < d->d; i++) random[i] = sd_rng_normal(&rng);
            sd_unit(unit, d->vector, d->d);
            sd_unit(random, random, d->d);
            st = sd_ablate_init(&a, k->m, unit, 1, err);
        }
        if (!st) st = sd_ablate_init(&b, k->m, random, 1, err);
        sd_hook take = sd_ablate_hook(&a), other = sd_ablate_hook(&b);
        if (!st) st = shares(k, 1, k->m, &take, err);
        if (!st) st = share_of(&k->out->random_refused, k, k->m, &k->suite[0], &other, err);
        sd_ablate_release(&a);
        sd_ablate_release(&b);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < ALL; j++) sd_free(text[i][j]);
    sd_free(unit);
    sd_free(random);
    return st;
}

/* ---- ten harmless rows ---- */

static sd_status write_rows(const demo *k, const char *path, sd_err *err)
{
    sd_world_text t;
    sd_buf b;
    sd_jw w;
    int32_t rule = sd_world_find_rule(k->world, "chat.identity");
    sd_status st = rule < 0 ? sd_fail(err, SD_E_FORMAT, "world %s has no rule \"chat.identity\"", sd_world_name(k->world)) : SD_OK;
    sd_world_text_init(&t);
    sd_buf_init(&b, 1 << 20);
    for (int i = 0; i < ROWS && !st; i++) {
        sd_rng rng = sd_rng_make(k->opt->seed, "ten rows", (uint64_t)i);
        if ((st = sd_world_expand(&t, k->world, rule, &rng, err))) break;
        sd_jw_init(&w, &b);
        sd_jw_obj(&w);
        sd_jw_key(&w, "messages");
        sd_jw_arr(&w);
        for (int u = 0; u < t.n_turn; u++) {
            sd_jw_obj(&w);
            sd_jw_kstr(&w, "role", t.turn[u].role);
            sd_jw_key(&w, "content");
            sd_jw_slice(&w, (sd_slice){t.text.p + t.turn[u].begin, t.turn[u].end - t.turn[u].begin});
            sd_jw_end(&w);
        }
        sd_jw_end(&w);
        sd_jw_end(&w);
        sd_buf_putc(&b, '\n');
    }
    if (!st) st = sd_buf_check(&b, "ten rows", err);
    if (!st) st = sd_file_write_atomic(path, b.p, b.n, err);
    sd_buf_release(&b);
    sd_world_text_release(&t);
    return st;
}

static sd_status tune_rows(demo *k, sd_err *err)
{
    char rows[1200], dir[1200];
    sd_model *tuned = NULL;
    sd_tune_result r = {0};
    sd_status st = path_of(k, "data/ten_rows.jsonl", rows, err);
    if (!st) st = path_of(k, "tuned", dir, err);
    if (!st) st = sd_dir_make(dir, err);
    if (!st) st = write_rows(k, rows, err);
    sd_tune_opt o = {.method = SD_TUNE_SFT, .dir = dir, .data = &(sd_tune_data){.path = rows}, .n_data = 1, .epochs = EPOCHS, .batch = ROWS,
                     .lr = 1e-3, .seed = k->opt->seed, .checkpoint_s = -1, .prov = k->opt->prov};
    if (!st) st = sd_lab_tune(&r, k->ex, k->opt->model, &o, k->opt->progress, err);
    k->out->tune_loss_first = r.loss_first;
    k->out->tune_loss_last = r.loss_last;
    k->out->tune_steps = r.steps;
    if (!st) st = sd_model_open(&tuned, k->ex, dir, NULL, err);
    if (!st) st = shares(k, 2, tuned, NULL, err);
    sd_model_close(tuned);
    return st;
}

/* ---- all of it ---- */

void sd_organism_demo_release(sd_organism_demo *r)
{
    sd_recovery_release(&r->recovery);
    sd_direction_release(&r->direction);
    for (int i = 0; i < SD_DEMO_PAIRS; i++) {
        sd_free(r->prompt[i]);
        sd_free(r->plain[i]);
        sd_free(r->steered[i]);
    }
    *r = (sd_organism_demo){0};
}

static sd_status open_all(demo *k, sd_err *err)
{
    char data[1200], spec[1300];
    sd_organism_counts n;
    sd_status st = sd_world_open(&k->world, k->opt->world, err);
    if (!st) st = path_of(k, "data", data, err);
    if (!st) st = sd_lab_organism_data(&n, k->world, data, &(sd_organism_data_opt){.progress = k->opt->progress}, err);
    if (!st) st = sd_model_open(&k->m, k->ex, k->opt->model, NULL, err);
    for (int i = 0; i < SD_DEMO_SUITES && !st; i++) {
        snprintf(spec, sizeof spec, "%s/suite/%s.jsonl", data, suites[i]);
        st = sd_suite_open(&k->suite[i], spec, err);
        k->out->n_prompt[i] = k->suite[i].n;
    }
    return st;
}

sd_status sd_lab_organism_demo(sd_organism_demo *out, const sd_exec *ex, const sd_organism_demo_opt *opt, sd_err *err)
{
    demo k = {.ex = ex, .opt = opt, .out = out};
    double began = sd_now();
    *out = (sd_organism_demo){.bridge = -1};
    sd_status st = open_all(&k, err);
    if (!st) st = shares(&k, 0, k.m, NULL, err);
    if (!st) st = make_dictionary(&k, err);
    if (!st) st = steer_bridge(&k, err);
    if (!st) st = find_direction(&k, err);
    if (!st) st = tune_rows(&k, err);
    for (int i = 0; i < SD_DEMO_SUITES; i++) sd_suite_release(&k.suite[i]);
    sd_dict_free(k.dict);
    sd_model_close(k.m);
    sd_world_free(k.world);
    out->seconds = sd_now() - began;
    if (st) sd_organism_demo_release(out);
    return st;
}
