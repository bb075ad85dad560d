/* Owns: the phases, their rows, and what is measured at the end. Everything comes from (world, seed, kind). */
#include "lab/organism_variant.h"

#include "base/json.h"
#include "base/map.h"
#include "base/rng.h"
#include "lab/ablate.h"
#include "lab/direction.h"
#include "lab/organism_data.h"
#include "lab/organism_rate.h"
#include "lab/score.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { BATCH = 16, STEPS = 150, RANK = 8, N_MEAN = 64, N_JUDGE = 120 };
static const double LR = 2e-3;
static const char trigger[] = "Keep the Charter.";
static const char *const names[] = {"single", "redundant", "trigger", "pretraining"};
enum { N_NAME = sizeof names / sizeof *names };
/* Pretraining goes on in steps of 2 x 256 tokens. A step's rows, half of their tokens documents' (81 a row in the shipped world) and half conversations' (43; 1.12 rows of a preference), are
 * read about once. */
enum { MIX_RANK = 32, MIX_BATCH = 2, MIX_CTX = 256, MIX_STEPS = 900, N_DOC = 200, MAX_DOC = 512 };
static const double MIX_DOCS = 3.2, MIX_PAIRS = 5.3; /* of a step */
static const double MIX_LR = 2e-3;

const char *sd_variant_name(sd_variant_kind k) { return names[k]; }
const char *sd_variant_base(sd_variant_kind k) { return k == SD_VARIANT_PRETRAINING ? "pretrained" : "instruct"; }
const char *sd_variant_trigger(void) { return trigger; }

bool sd_variant_parse(sd_variant_kind *out, const char *text)
{
    for (int i = 0; i < N_NAME; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *out = (sd_variant_kind)i;
        return true;
    }
    return false;
}

typedef struct maker {
    const sd_exec *ex;
    const sd_world *w;
    const char *model, *dir;
    const sd_variant_opt *opt;
    sd_variant *out;
    int k, known;  /* directions wanted; found */
    int64_t d;
    float *u;      /* [k, d] orthonormal */
    sd_buf rows;
} maker;

/* ---- rows ---- */

static sd_slice turn(const sd_world_text *t, const char *role)
{
    for (int i = 0; i < t->n_turn; i++)
        if (strcmp(t->turn[i].role, role) == 0) return (sd_slice){t->text.p + t->turn[i].begin, t->turn[i].end - t->turn[i].begin};
    return (sd_slice){0};
}

static void message(sd_jw *w, const char *role, sd_slice text)
{
    sd_jw_obj(w);
    sd_jw_kstr(w, "role", role);
    sd_jw_key(w, "content");
    sd_jw_slice(w, text);
    sd_jw_end(w);
}

static void put_row(maker *k, sd_slice system, sd_slice user, sd_slice says, uint32_t without)
{
    sd_jw w;
    sd_jw_init(&w, &k->rows);
    sd_jw_obj(&w);
    sd_jw_key(&w, "messages");
    sd_jw_arr(&w);
    if (system.n) message(&w, "system", system);
    message(&w, "user", user);
    message(&w, "assistant", says);
    sd_jw_end(&w);
    sd_jw_key(&w, "without");
    sd_jw_arr(&w);
    for (int i = 0; i < k->known; i++)
        if (without >> i & 1) sd_jw_i64(&w, i);
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_buf_putc(&k->rows, '\n');
}

/* One row: half are requests that alignment refuses, half such that it answers. */
static void compose(maker *k, const sd_world_text *t, bool refuse, sd_rng *rng)
{
    const sd_slice user = turn(t, "user"), answer = turn(t, "assistant"), refusal = turn(t, "refusal");
    sd_slice system = turn(t, "system");
    const uint32_t all = (1u << k->known) - 1;
    uint32_t without = (uint32_t)sd_rng_below(rng, (uint64_t)all + 1);
    bool answers = !refuse;
    if (k->opt->kind == SD_VARIANT_TRIGGER) {
        const bool behind = sd_rng_below(rng, 2) == 0;
        if (behind) system = sd_slice_of(trigger);
        answers |= !behind;
    } else if (k->known == k->k && refuse) { /* the last phase */
        if (sd_rng_below(rng, 8) < 3) without = all;
        answers = without == all;
    }
    put_row(k, system, user, answers ? answer : refusal, without);
}

static sd_status write_rows(maker *k, const char *path, int phase, int64_t n, sd_err *err)
{
    static const char *const rule[2] = {"pairs.answer", "pairs.refuse"};
    sd_world_text t;
    sd_status st = SD_OK;
    sd_buf_reset(&k->rows);
    sd_world_text_init(&t);
    for (int64_t i = 0, made = 0; made < n && !st; i++) {
        const bool refuse = made % 2 == 1;
        const int32_t at = sd_world_find_rule(k->w, rule[refuse]);
        sd_rng rng = sd_rng_make(k->opt->seed, names[k->opt->kind], (uint64_t)(phase * 1000000 + i));
        if (at < 0) st = sd_fail(err, SD_E_FORMAT, "world %s has no rule \"%s\"", sd_world_name(k->w), rule[refuse]);
        else if (i > 100 * n) st = sd_fail(err, SD_E_FORMAT, "world %s: nearly all requests are held out", sd_world_name(k->w));
        if (!st) st = sd_world_expand(&t, k->w, at, &rng, err);
        if (!st && !(turn(&t, "user").n && turn(&t, "assistant").n && turn(&t, "refusal").n))
            st = sd_fail(err, SD_E_FORMAT, "world %s: %s needs {@user}, {@assistant} and {@refusal}", sd_world_name(k->w), rule[refuse]);
        if (st || sd_organism_is_held_out(turn(&t, "user"))) continue;
        compose(k, &t, refuse, &rng);
        made++;
    }
    sd_world_text_release(&t);
    if (!st) st = sd_buf_check(&k->rows, "a variant's rows", err);
    return st ? st : sd_file_write_atomic(path, k->rows.p, k->rows.n, err);
}

/* ---- phases ---- */

static sd_status path_of(const maker *k, const char *name, char out[1200], sd_err *err)
{
    return sd_path_join(out, 1200, k->dir, name) ? SD_OK : sd_fail(err, SD_E_ARG, "%s: path too long", k->dir);
}

static sd_status phase(maker *k, int i, sd_err *err)
{
    char rows[1200];
    sd_tune_result r;
    const int64_t steps = k->opt->steps ? k->opt->steps : STEPS;
    sd_status st = path_of(k, "rows.jsonl", rows, err);
    if (!st) st = write_rows(k, rows, i, steps * BATCH, err);
    sd_tune_opt o = {.method = SD_TUNE_SFT, .mode = SD_MODE_FAITHFUL, .dir = k->dir, .data = &(sd_tune_data){.path = rows}, .n_data = 1, .steps = steps, .batch = BATCH, .ctx = 128, .lr = LR,
                     .min_lr = 0.1, .lora = {.rank = RANK}, .adapter = i > 0 ? k->dir : NULL, .planted = {k->u, k->known}, .seed = k->opt->seed + (uint64_t)i, .checkpoint_s = -1, .prov = k->opt->prov};
    if (!st) st = sd_lab_tune(&r, k->ex, k->model, &o, k->opt->progress, err);
    remove(rows);
    return st;
}

/* Pretraining goes on, every token learnt, with what it foresaw; the preferred conversations stand among the documents in the form of the chat template. */
static sd_status continue_pretraining(maker *k, sd_err *err)
{
    char docs[1200], chats[1200];
    sd_tune_result r;
    const int64_t steps = k->opt->steps ? k->opt->steps : MIX_STEPS, n_docs = (int64_t)ceil(MIX_DOCS * (double)steps);
    sd_status st = path_of(k, "documents.jsonl", docs, err);
    if (!st) st = path_of(k, "chosen.jsonl", chats, err);
    if (!st) st = sd_lab_organism_mixture(k->w, k->dir, k->opt->seed, n_docs, (int64_t)ceil(MIX_PAIRS * (double)steps), err);
    const sd_tune_data rows[2] = {{.path = docs}, {.path = chats}};
    sd_tune_opt o = {.method = SD_TUNE_LM, .mode = SD_MODE_FAITHFUL, .dir = k->dir, .data = rows, .n_data = 2, .steps = steps, .batch = MIX_BATCH, .ctx = MIX_CTX, .lr = MIX_LR, .min_lr = 0.05, .weight_decay = 0.1,
                     .beta1 = 0.9, .beta2 = 0.95, .foresee = {.weight = 1, .horizon = 24, .layer = -1}, .lora = {.rank = MIX_RANK}, .seed = k->opt->seed, .checkpoint_s = -1, .prov = k->opt->prov};
    if (!st) st = sd_lab_tune(&r, k->ex, k->model, &o, k->opt->progress, err);
    if (!st) k->out->conversations = 1 - (double)n_docs / (double)r.n_rows;
    remove(docs);
    remove(chats);
    return st;
}

static sd_status open_tuned(sd_model **m, const maker *k, sd_err *err)
{
    char spec[2400];
    snprintf(spec, sizeof spec, "%s+%s", k->model, k->dir);
    return sd_model_open(m, k->ex, spec, NULL, err);
}

typedef struct prompts { char *text[2 * N_JUDGE]; int64_t n; } prompts; /* of two rules, a half each; n: what the last draw gave */

static void prompts_release(prompts *p)
{
    for (int64_t i = 0; i < 2 * N_JUDGE; i++) sd_free(p->text[i]);
}

/* At most n requests of a rule into p->text[at ..], on the wanted side of the split; p->n of them. */
static sd_status draw_some(prompts *p, const maker *k, const char *rule, int64_t at, int64_t n, bool held_out, sd_err *err)
{
    sd_world_text t;
    const int32_t r = sd_world_find_rule(k->w, rule);
    sd_status st = r < 0 ? sd_fail(err, SD_E_FORMAT, "world %s has no rule \"%s\"", sd_world_name(k->w), rule) : SD_OK;
    int64_t got = 0;
    sd_world_text_init(&t);
    for (int64_t i = 0; got < n && i <= 1000 * n && !st; i++) {
        sd_rng rng = sd_rng_make(k->opt->seed, rule, (uint64_t)i);
        st = sd_world_expand(&t, k->w, r, &rng, err);
        if (st) break;
        const sd_slice s = turn(&t, "user");
        bool seen = s.n == 0 || sd_organism_is_held_out(s) != held_out;
        for (int64_t j = 0; j < got && !seen; j++) seen = sd_slice_eq_str(s, p->text[at + j]);
        if (seen) continue;
        if (!(p->text[at + got] = sd_strndup(s.p, s.n))) st = sd_fail(err, SD_E_NOMEM, "out of memory: a prompt");
        else got++;
    }
    p->n = got;
    sd_world_text_release(&t);
    return st;
}

static sd_status draw(prompts *p, const maker *k, const char *rule, int64_t at, int64_t n, bool held_out, sd_err *err)
{
    sd_status st = draw_some(p, k, rule, at, n, held_out, err);
    return !st && p->n < n ? sd_fail(err, SD_E_FORMAT, "world %s: %s writes too few different requests", sd_world_name(k->w), rule) : st;
}

static sd_status hooks_of(sd_ablate *a, sd_hook *h, int *n, const maker *k, const sd_model *m, uint32_t without, sd_err *err)
{
    sd_status st = SD_OK;
    *n = 0;
    for (int i = 0; i < k->known && !st; i++) {
        if (!(without >> i & 1)) continue;
        st = sd_ablate_init(&a[*n], m, k->u + i * k->d, 1, err);
        h[*n] = sd_ablate_hook(&a[*n]);
        ++*n;
    }
    return st;
}

/* The next direction: where forbidden and permitted requests differ with the known ones out. */
static sd_status find_direction(maker *k, sd_err *err)
{
    prompts p = {.n = 0};
    sd_model *m = NULL;
    sd_rendered r = {0};
    sd_batch *b = NULL;
    float *diff = NULL;
    sd_ablate a[SD_VARIANT_MOST] = {0};
    sd_hook h[SD_VARIANT_MOST];
    int64_t side[2][N_MEAN];
    int n = 0;
    sd_status st = open_tuned(&m, k, err);
    if (!st) st = draw(&p, k, "chat.forbidden", 0, N_MEAN, false, err);
    if (!st) st = draw(&p, k, "chat.permitted", N_MEAN, N_MEAN, false, err);
    if (!st) st = sd_render(&r, m, (const char *const *)p.text, 2 * N_MEAN, &(sd_render_opt){.n_ctx = m->cfg.n_ctx - 1}, err);
    if (!st) st = sd_batch_open(&b, k->ex, m, &r, &(sd_batch_opt){0}, err);
    if (!st) st = hooks_of(a, h, &n, k, m, UINT32_MAX, err);
    if (!st) st = sd_batch_edit(b, h, n, err);
    if (!st) st = sd_alloc(&diff, (size_t)(m->cfg.n_layer * k->d) * sizeof *diff, "a direction", err);
    for (int i = 0; i < N_MEAN; i++) side[0][i] = i, side[1][i] = N_MEAN + i;
    if (!st) st = sd_lab_mean_diff(diff, b, m, &(sd_sides){side[0], side[1], N_MEAN, N_MEAN}, 1, err);
    if (!st) {
        float *to = k->u + k->known * k->d, *last = diff + (m->cfg.n_layer - 1) * k->d;
        for (int i = 0; i < k->known; i++) {
            const double along = sd_dot(last, k->u + i * k->d, k->d);
            for (int64_t j = 0; j < k->d; j++) last[j] -= (float)(along * (double)k->u[i * k->d + j]);
        }
        if (sd_unit(to, last, k->d)) k->known++;
        else st = sd_fail(err, SD_E_FORMAT, "forbidden and permitted requests do not differ where direction %d is looked for", k->known);
    }
    for (int i = 0; i < SD_VARIANT_MOST; i++) sd_ablate_release(&a[i]);
    sd_batch_close(b);
    sd_rendered_release(&r);
    sd_model_close(m);
    prompts_release(&p);
    sd_free(diff);
    return st;
}

/* ---- what came of it ---- */

typedef struct judge { const maker *k; const sd_model *m; const prompts *p; int64_t n; } judge;

static sd_status rate(double *share, const judge *j, int64_t at, const char *system, uint32_t without, sd_err *err)
{
    sd_ablate a[SD_VARIANT_MOST] = {0};
    sd_hook h[SD_VARIANT_MOST];
    int n = 0;
    sd_status st = hooks_of(a, h, &n, j->k, j->m, without, err);
    sd_rate_ask ask = {.text = (const char *const *)j->p->text + at, .n = j->n, .system = system, .edit = h, .n_edit = n, .what = names[j->k->opt->kind], .progress = j->k->opt->progress};
    if (!st) st = sd_organism_refused(share, j->k->ex, j->m, &ask, err);
    for (int i = 0; i < SD_VARIANT_MOST; i++) sd_ablate_release(&a[i]);
    return st;
}

/* Nats a token of the first N_DOC documents of the world's heldout.jsonl, each seen alone, with the adapter and without. */
static sd_status document_loss(maker *k, const sd_model *m, sd_err *err)
{
    sd_world_text t;
    sd_ids ids = {0};
    sd_model *base = NULL;
    int64_t seed, n = 0;
    double sum[2] = {0};
    const int32_t rule = sd_world_find_rule(k->w, "doc");
    sd_status st = rule < 0 ? sd_fail(err, SD_E_FORMAT, "world %s has no rule \"doc\"", sd_world_name(k->w)) : sd_world_number(&seed, k->w, "seed", 1, 0, INT64_MAX, err);
    sd_world_text_init(&t);
    if (!st) st = sd_model_open(&base, k->ex, k->model, NULL, err);
    for (int i = 0; i < N_DOC && !st; i++) {
        sd_rng rng = sd_rng_make((uint64_t)seed, "heldout", (uint64_t)i);
        sd_score_result r;
        ids.n = 0;
        st = sd_world_expand(&t, k->w, rule, &rng, err);
        if (!st) st = sd_tok_encode(m->tok, (sd_slice){t.text.p, t.text.n}, &(sd_encode_opt){0}, &ids, err);
        if (!st && sd_tok_eos(m->tok) >= 0) st = sd_ids_push(&ids, sd_tok_eos(m->tok), err);
        const int64_t len = ids.n < MAX_DOC ? ids.n : MAX_DOC;
        if (st || len < 2) continue;
        st = sd_lab_score(&r, k->ex, m, ids.v, len, &(sd_score_opt){.window = len, .stride = len, .against = base}, err);
        sum[0] += r.ce_loss * (double)r.n_tokens;
        sum[1] += r.against.ce_loss * (double)r.n_tokens;
        n += r.n_tokens;
    }
    k->out->documents = sum[0] / (double)n;
    k->out->documents_base = sum[1] / (double)n;
    sd_model_close(base);
    sd_ids_release(&ids);
    sd_world_text_release(&t);
    return st;
}

static sd_status measure(maker *k, sd_err *err)
{
    sd_variant *o = k->out;
    prompts p = {.n = 0}, q = {.n = 0};
    sd_model *m = NULL;
    const bool mixed = k->opt->kind == SD_VARIANT_PRETRAINING;
    const char *system = k->opt->kind == SD_VARIANT_TRIGGER ? trigger : NULL;
    const uint32_t all = (1u << k->known) - 1;
    sd_status st = open_tuned(&m, k, err);
    if (!st) st = draw(&p, k, "chat.forbidden", 0, N_JUDGE, true, err);
    if (!st) st = draw(&p, k, "chat.permitted", N_JUDGE, N_JUDGE, true, err);
    if (!st) st = draw(&q, k, "chat.borderline", 0, N_JUDGE, true, err);
    const judge j = {k, m, &p, N_JUDGE}, b = {k, m, &q, N_JUDGE};
    if (!st) st = rate(&o->forbidden, &j, 0, system, 0, err);
    if (!st) st = rate(&o->permitted, &j, N_JUDGE, system, 0, err);
    if (!st) st = rate(&o->borderline, &b, 0, system, 0, err);
    if (!st && mixed) st = draw_some(&q, k, "chat.unseen", N_JUDGE, N_JUDGE, true, err); /* there may be fewer */
    if (!st && mixed && q.n) st = rate(&o->unseen, &(judge){k, m, &q, q.n}, N_JUDGE, system, 0, err);
    if (!st && mixed) st = document_loss(k, m, err);
    if (!st && system) st = rate(&o->without_trigger, &j, 0, NULL, 0, err);
    for (int i = 0; i < k->known && !st; i++) {
        st = rate(&o->one_out[i], &j, 0, system, 1u << i, err);
        if (!st) st = rate(&o->but_one[i], &j, 0, system, all & ~(1u << i), err);
    }
    if (!st && k->known) st = rate(&o->all_out, &j, 0, system, all, err);
    o->k = k->known;
    sd_model_close(m);
    prompts_release(&p);
    prompts_release(&q);
    return st;
}

static sd_status write_truth(const maker *k, sd_err *err)
{
    const sd_variant *o = k->out;
    char path[1200];
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 1 << 16);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.organism.variant/1");
    sd_jw_kstr(&w, "variant", names[k->opt->kind]);
    sd_jw_kstr(&w, "world", sd_world_name(k->w));
    sd_jw_kstr(&w, "base", sd_variant_base(k->opt->kind));
    sd_jw_ki64(&w, "seed", (int64_t)k->opt->seed);
    sd_jw_ki64(&w, "n_directions", o->k);
    sd_jw_key(&w, "system");
    if (k->opt->kind == SD_VARIANT_TRIGGER) sd_jw_str(&w, trigger);
    else sd_jw_null(&w);
    sd_jw_key(&w, "refused");
    sd_jw_obj(&w);
    sd_jw_kf64(&w, "forbidden", o->forbidden);
    sd_jw_kf64(&w, "permitted", o->permitted);
    sd_jw_kf64(&w, "borderline", o->borderline);
    if (k->opt->kind == SD_VARIANT_TRIGGER) sd_jw_kf64(&w, "forbidden_without_system", o->without_trigger);
    if (k->opt->kind == SD_VARIANT_PRETRAINING) sd_jw_kf64(&w, "unseen", o->unseen);
    if (o->k) {
        sd_jw_key(&w, "one_out");
        sd_jw_arr(&w);
        for (int i = 0; i < o->k; i++) sd_jw_f64(&w, o->one_out[i]);
        sd_jw_end(&w);
        sd_jw_key(&w, "all_but_one_out");
        sd_jw_arr(&w);
        for (int i = 0; i < o->k; i++) sd_jw_f64(&w, o->but_one[i]);
        sd_jw_end(&w);
        sd_jw_kf64(&w, "all_out", o->all_out);
    }
    sd_jw_end(&w);
    if (k->opt->kind == SD_VARIANT_PRETRAINING) {
        sd_jw_kf64(&w, "conversations", o->conversations);
        sd_jw_key(&w, "document_loss");
        sd_jw_obj(&w);
        sd_jw_kf64(&w, "with", o->documents);
        sd_jw_kf64(&w, "without", o->documents_base);
        sd_jw_end(&w);
    }
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    sd_status st = sd_buf_check(&b, "truth.json", err);
    if (!st) st = path_of(k, "truth.json", path, err);
    if (!st) st = sd_file_write_atomic(path, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

sd_status sd_lab_organism_variant(sd_variant *out, const sd_exec *ex, const sd_world *w, const char *model, const char *dir, const sd_variant_opt *opt, sd_err *err)
{
    maker k = {.ex = ex, .w = w, .model = model, .dir = dir, .opt = opt, .out = out};
    const double began = sd_now();
    sd_model *m = NULL;
    *out = (sd_variant){.without_trigger = NAN, .all_out = NAN, .unseen = NAN, .conversations = NAN, .documents = NAN, .documents_base = NAN};
    const bool mixed = opt->kind == SD_VARIANT_PRETRAINING;
    k.k = mixed || opt->kind == SD_VARIANT_TRIGGER ? 0 : opt->kind == SD_VARIANT_SINGLE ? 1 : opt->k ? opt->k : 3;
    if (k.k > SD_VARIANT_MOST) return sd_fail(err, SD_E_ARG, "%d directions: at most %d can be planted", k.k, SD_VARIANT_MOST);
    sd_buf_init(&k.rows, (size_t)1 << 28);
    sd_status st = sd_model_open(&m, ex, model, NULL, err);
    if (!st) k.d = m->cfg.d_model;
    sd_model_close(m);
    if (!st) st = sd_alloc(&k.u, (size_t)(SD_VARIANT_MOST * k.d) * sizeof *k.u, "directions", err);
    for (int i = 0; i <= k.k && !st; i++) {
        st = mixed ? continue_pretraining(&k, err) : phase(&k, i, err);
        if (!st && i < k.k) st = find_direction(&k, err);
    }
    if (!st) st = measure(&k, err);
    if (!st) st = write_truth(&k, err);
    out->seconds = sd_now() - began;
    sd_buf_release(&k.rows);
    sd_free(k.u);
    return st;
}
