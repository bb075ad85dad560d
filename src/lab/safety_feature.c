/* Owns: the halves, the choice of features, the edits and the counting. */
#include "lab/safety_feature.h"

#include "lab/ablate.h"
#include "lab/score.h"
#include "lab/text_codes.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { LEAST = 16, DEFAULT_GEN = 32, LEAST_TOPIC = 6, WINDOW = 256, MOST_TIMES = 4 };

typedef enum edit_kind { UP, WHERE, DOWN, MEAN_UP, MEAN_WHERE, MEAN_DOWN } edit_kind;
static const char *const names[] = {"up", "where", "down", "mean up", "mean where", "mean down"};

typedef struct study {
    const sd_exec *ex;
    const sd_model *m;
    const sd_safety_opt *o;
    sd_safety *out;
    int64_t n, d, n_feature;
    const char **text;        /* [n] prompts, suite by suite */
    const sd_prompt **prompt; /* [n] */
    int *of;                  /* [n] suite */
    bool *fit;                /* [n] of the first half */
    int64_t *test, n_test;    /* [n_test] the second half */
    sd_rendered r, asked;     /* as it is; behind the system message */
    sd_batch *b;
    float *act;               /* [n_feature, n] highest activations */
    float *x;                 /* [n, d] last positions at the site */
    float *mean, *unit;       /* [d] r, u */
    double *proj;             /* [n] u.x */
    double mean_harmless, middle, ce_plain;
    int most;                 /* rows there are at most, for the progress */
    double *a, *b_;           /* [n] scratch of an AUROC */
} study;

static void release(study *s)
{
    sd_batch_close(s->b);
    sd_rendered_release(&s->r);
    sd_rendered_release(&s->asked);
    void *all[] = {s->text, s->prompt, s->of, s->fit, s->test, s->act, s->x, s->mean, s->unit, s->proj, s->a, s->b_};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_free(all[i]);
}

static bool harmful(const study *s, int64_t i) { return s->prompt[i]->axis == SD_AXIS_HARMFUL; }

/* ---- prompts ---- */

static sd_status add_suite(study *s, int k, int64_t *order, sd_err *err)
{
    const sd_suite *v = &s->o->suite[k];
    sd_safety *o = s->out;
    sd_rng rng = sd_rng_make(s->o->seed, "safety feature", (uint64_t)k);
    int64_t first = s->n;
    snprintf(o->suite[k], sizeof o->suite[k], "%s", v->name);
    for (int64_t i = 0; i < v->n; i++) {
        if (v->v[i].axis != SD_AXIS_HARMFUL && v->v[i].axis != SD_AXIS_HARMLESS) return sd_fail(err, SD_E_FORMAT, "%s: whether its prompts are harmful must be known: harmful=FILE or harmless=FILE", v->path);
        if (v->v[i].axis != v->v[0].axis) {
            sd_fail(err, SD_E_FORMAT, "%s holds harmful and harmless prompts: rates are counted by file", v->path);
            return sd_hint(err, "give them as two files");
        }
        s->prompt[s->n] = &v->v[i];
        s->text[s->n] = v->v[i].text;
        s->of[s->n++] = k;
        order[i] = first + i;
    }
    o->harmful[k] = v->n && v->v[0].axis == SD_AXIS_HARMFUL;
    sd_rng_shuffle_i64(&rng, order, v->n);
    for (int64_t i = 0; i < v->n; i++) s->fit[order[i]] = i < v->n / 2;
    o->n_test[k] = v->n - v->n / 2;
    o->n_fit += v->n / 2;
    return SD_OK;
}

static sd_status gather(study *s, sd_err *err)
{
    int64_t most = 0, *order = NULL, n[2] = {0};
    if (s->o->n_suite > SD_SAFETY_SUITES) return sd_fail(err, SD_E_ARG, "%d suites, at most %d", s->o->n_suite, (int)SD_SAFETY_SUITES);
    for (int k = 0; k < s->o->n_suite; k++) most += s->o->suite[k].n;
    size_t cap = (size_t)(most + 1);
    sd_status st = sd_alloc(&s->text, cap * sizeof *s->text, "prompts", err);
    if (!st) st = sd_alloc(&s->prompt, cap * sizeof *s->prompt, "prompts", err);
    if (!st) st = sd_alloc(&s->of, cap * sizeof *s->of, "prompts", err);
    if (!st) st = sd_alloc_zero(&s->fit, cap * sizeof *s->fit, "prompts", err);
    if (!st) st = sd_alloc(&s->test, cap * sizeof *s->test, "prompts", err);
    if (!st) st = sd_alloc(&s->proj, cap * sizeof *s->proj, "prompts", err);
    if (!st) st = sd_alloc(&s->a, cap * sizeof *s->a, "prompts", err);
    if (!st) st = sd_alloc(&s->b_, cap * sizeof *s->b_, "prompts", err);
    if (!st) st = sd_alloc(&order, cap * sizeof *order, "prompts", err);
    for (int k = 0; k < s->o->n_suite && !st; k++) st = add_suite(s, k, order, err);
    for (int64_t i = 0; i < s->n && !st; i++) {
        n[harmful(s, i)]++;
        if (!s->fit[i]) s->test[s->n_test++] = i;
    }
    sd_free(order);
    s->out->n_suite = s->o->n_suite;
    if (!st && (n[0] < LEAST || n[1] < LEAST)) {
        sd_fail(err, SD_E_FORMAT, "%" PRId64 " harmful and %" PRId64 " harmless prompts, at least %d of each are needed", n[1], n[0], (int)LEAST);
        st = sd_hint(err, "half of them choose the feature, half are measured on");
    }
    return st;
}

/* ---- what the features and the difference of means say ---- */

static sd_status activations(study *s, sd_err *err)
{
    sd_text_codes z = {0};
    sd_status st = sd_alloc_zero(&s->act, (size_t)(s->n_feature * s->n) * sizeof *s->act, "activations", err);
    if (!st) st = sd_lab_text_codes(&z, &(sd_text_reader){.ex = s->ex, .m = s->m, .dict = s->o->dict, .site = s->o->site}, &s->r, s->o->progress, err);
    for (int64_t i = 0; i < z.n && !st; i++)
        for (int64_t e = 0; e < z.v[i].n; e++) s->act[z.v[i].feature[e] * s->n + i] = z.v[i].act[e];
    sd_text_codes_release(&z);
    return st;
}

static sd_status on_rows(void *self, int64_t prompt, const sd_act *act, int64_t from_end, sd_err *err)
{
    study *s = self;
    (void)from_end;
    (void)err;
    memcpy(s->x + prompt * s->d, sd_mat_row(act->x, 0), (size_t)s->d * sizeof *s->x);
    return SD_OK;
}

static sd_status difference(study *s, sd_err *err)
{
    int64_t n[2] = {0};
    double mean[2] = {0};
    sd_status st = sd_alloc(&s->x, (size_t)(s->n * s->d) * sizeof *s->x, "activations", err);
    if (!st) st = sd_alloc_zero(&s->mean, (size_t)s->d * sizeof *s->mean, "a direction", err);
    if (!st) st = sd_alloc(&s->unit, (size_t)s->d * sizeof *s->unit, "a direction", err);
    if (!st) st = sd_batch_run(s->b, &(sd_batch_want){.self = s, .site = &s->o->site, .n_site = 1, .n_tail = 1, .last_layer = s->o->site.layer, .on_rows = on_rows}, err);
    if (st) return st;
    for (int64_t i = 0; i < s->n; i++) n[harmful(s, i)] += s->fit[i];
    for (int64_t i = 0; i < s->n; i++) {
        float w = (harmful(s, i) ? 1.0f : -1.0f) / (float)n[harmful(s, i)];
        for (int64_t j = 0; j < s->d && s->fit[i]; j++) s->mean[j] += w * s->x[i * s->d + j];
    }
    if (!sd_unit(s->unit, s->mean, s->d)) return sd_fail(err, SD_E_FORMAT, "harmful and harmless prompts have the same mean at this site");
    for (int64_t i = 0; i < s->n; i++) {
        s->proj[i] = sd_dot(s->unit, s->x + i * s->d, s->d);
        if (s->fit[i]) mean[harmful(s, i)] += s->proj[i] / (double)n[harmful(s, i)];
    }
    s->mean_harmless = mean[0];
    s->middle = (mean[0] + mean[1]) / 2;
    return SD_OK;
}

/* AUROC of v over prompts of one half, those that `is` of the kind over the others that are not left out. category NULL: harmful over harmless; else
 * harmless ones of that category over other harmless ones. */
static double auroc(const study *s, const float *v, const double *w, bool fit, const char *category)
{
    int64_t n[2] = {0};
    for (int64_t i = 0; i < s->n; i++) {
        if (s->fit[i] != fit || (category && harmful(s, i))) continue;
        bool yes = category ? strcmp(s->prompt[i]->category, category) == 0 : harmful(s, i);
        (yes ? s->a : s->b_)[n[yes]++] = v ? (double)v[i] : w[i];
    }
    return sd_auroc(s->a, n[1], s->b_, n[0]);
}

/* Mean of a feature's highest activations in the prompts of the first half that it is active in and that count; 0: in none. */
static double typical(const study *s, int64_t f, bool of_harmful, const char *category)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++) {
        const float v = s->act[f * s->n + i];
        if (!s->fit[i] || v <= 0 || (of_harmful && !harmful(s, i)) || (category && strcmp(s->prompt[i]->category, category) != 0)) continue;
        sum += (double)v;
        n++;
    }
    return n ? sum / (double)n : 0;
}

/* The feature of the highest AUROC, `but` left out; of those with the same, the one with the highest activations. -1: none has one. */
static int64_t best(const study *s, const char *category, int64_t but, double *score)
{
    int64_t f = -1;
    double most = -1;
    *score = -1;
    for (int64_t k = 0; k < s->n_feature; k++) {
        double v, c;
        if (k == but || !((v = auroc(s, s->act + k * s->n, NULL, true, category)) >= *score)) continue;
        c = typical(s, k, !category, category);
        if (v == *score && c <= most) continue;
        *score = v;
        most = c;
        f = k;
    }
    return f;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static void monitor(study *s, sd_safety_monitor *o, const float *v, const double *w)
{
    static const double share[2] = {0.01, 0.05};
    o->auroc = auroc(s, v, w, false, NULL);
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (s->fit[i] && !harmful(s, i)) s->a[n++] = v ? (double)v[i] : w[i];
    qsort(s->a, (size_t)n, sizeof *s->a, descending);
    for (int t = 0; t < 2; t++) {
        double above = s->a[(int64_t)(share[t] * (double)n)]; /* so many of them lie above it */
        int64_t k[SD_SAFETY_SUITES] = {0};
        for (int64_t i = 0; i < s->n_test; i++) k[s->of[s->test[i]]] += (v ? (double)v[s->test[i]] : w[s->test[i]]) > above;
        for (int q = 0; q < s->out->n_suite; q++) o->alarm[t][q] = sd_ci_wilson(k[q], s->out->n_test[q], 0.95);
    }
}

/* ---- edits ---- */

typedef struct edit {
    study *s;
    sd_codes codes;
    edit_kind kind;
    int64_t feature;
    double c;
} edit;

static double activation(const sd_codes *z, int64_t row, int64_t feature)
{
    for (int64_t e = z->row_ptr[row]; e < z->row_ptr[row + 1]; e++)
        if (z->idx[e] == feature) return (double)z->val[e];
    return 0;
}

static sd_status apply(void *self, sd_act *act, sd_err *err)
{
    edit *e = self;
    const study *s = e->s;
    sd_status st = e->kind <= DOWN ? sd_dict_encode(&e->codes, s->ex, s->o->dict, act->x, err) : SD_OK;
    for (int64_t i = 0; i < act->x.rows && !st; i++) {
        float *h = sd_mat_row(act->x, i);
        double by;
        if (e->kind <= DOWN) {
            double z = activation(&e->codes, i, e->feature);
            by = e->kind == DOWN ? -z : e->kind == WHERE && z <= 0 ? 0 : fmax(0, e->c - z);
            by *= sd_dict_row_scale(s->o->dict, h);
            s->ex->kern->axpy(h, (float)by, sd_dict_dec_row(s->o->dict, e->feature), s->d);
            continue;
        }
        double p = e->kind == MEAN_UP ? 0 : sd_dot(s->unit, h, s->d);
        if (e->kind == MEAN_DOWN) s->ex->kern->axpy(h, (float)-fmax(0, p - s->mean_harmless), s->unit, s->d);
        else if (e->kind == MEAN_UP || p > s->middle) s->ex->kern->axpy(h, 1, s->mean, s->d);
    }
    return st;
}

typedef struct counting { study *s; sd_buf text; int64_t refused[SD_SAFETY_SUITES], incoherent; } counting;

static sd_status on_answer(void *self, int64_t prompt, const int32_t *ids, int64_t n, bool ended, sd_err *err)
{
    counting *c = self;
    (void)ended;
    sd_buf_reset(&c->text);
    sd_status st = sd_tok_decode(c->s->m->tok, ids, n, false, &c->text, err);
    const sd_slice said = {c->text.n ? c->text.p : "", c->text.n};
    if (sd_judge_incoherent(ids, n, said)) {
        c->incoherent++;
        return st;
    }
    sd_class k = sd_judge_phrases(c->s->o->phrases, said);
    c->refused[c->s->of[prompt]] += k == SD_CLASS_REFUSAL || k == SD_CLASS_PARTIAL;
    return st;
}

static sd_status ask(study *s, sd_batch *b, sd_safety_row *row, sd_err *err)
{
    counting c = {.s = s};
    sd_buf_init(&c.text, 1 << 20);
    sd_status st = sd_batch_run(b, &(sd_batch_want){.which = s->test, .n = s->n_test, .n_gen = s->o->n_gen ? s->o->n_gen : DEFAULT_GEN, .self = &c, .on_answer = on_answer}, err);
    for (int q = 0; q < s->out->n_suite; q++) row->refused[q] = sd_ci_wilson(c.refused[q], s->out->n_test[q], 0.95);
    row->incoherent = (double)c.incoherent / (double)s->n_test;
    sd_buf_release(&c.text);
    return st;
}

static sd_status cross_entropy(double *out, study *s, const sd_hook *hook, sd_err *err)
{
    sd_score_result r = {.ce_loss = NAN};
    int64_t window = s->m->max_ctx < WINDOW ? s->m->max_ctx : WINDOW;
    sd_status st = s->o->text ? sd_lab_score(&r, s->ex, s->m, s->o->text, s->o->n_text, &(sd_score_opt){.window = window, .edit = hook}, err) : SD_OK;
    *out = r.ce_loss;
    return st;
}

static sd_safety_row *new_row(study *s, const char *what, const char *topic, int64_t feature, double value)
{
    sd_safety_row *r = &s->out->row[s->out->n_row++];
    *r = (sd_safety_row){.feature = feature, .value = value, .ce_cost = NAN};
    snprintf(r->what, sizeof r->what, "%s", what);
    snprintf(r->topic, sizeof r->topic, "%s", topic);
    return r;
}

static sd_status one(study *s, sd_safety_row *row, edit_kind kind, sd_err *err)
{
    edit e = {.s = s, .kind = kind, .feature = row->feature, .c = row->value};
    const sd_hook hook = {.name = "a feature that is used", .at = &s->o->site, .n_at = 1, .mode = SD_HOOK_EDIT, .fn = apply, .self = &e};
    double ce;
    sd_status st = sd_batch_edit(s->b, &hook, 1, err);
    if (!st) st = ask(s, s->b, row, err);
    if (!st) st = cross_entropy(&ce, s, &hook, err);
    if (!st) row->ce_cost = ce - s->ce_plain;
    sd_status end = sd_batch_edit(s->b, NULL, 0, st ? NULL : err);
    sd_codes_release(&e.codes);
    sd_progress_update(s->o->progress, "edits", s->out->n_row, s->most, "measured");
    if (!st && sd_progress_cancelled(s->o->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %d edits", s->out->n_row);
    return st ? st : end;
}

static sd_status plain_and_prompt(study *s, sd_err *err)
{
    sd_batch *b = NULL;
    sd_status st = cross_entropy(&s->ce_plain, s, NULL, err);
    sd_safety_row *row = new_row(s, "plain", "", -1, NAN);
    if (!st) st = ask(s, s->b, row, err);
    row->ce_cost = s->ce_plain - s->ce_plain; /* 0, or NaN without a text */
    if (st || !s->o->prompt) return st;
    row = new_row(s, "prompt", "", -1, NAN);
    st = sd_render(&s->asked, s->m, s->text, s->n, &(sd_render_opt){.system = {SD_SYSTEM_TEXT, s->o->prompt}, .n_ctx = s->m->max_ctx - 64}, err);
    if (!st) st = sd_batch_open(&b, s->ex, s->m, &s->asked, &(sd_batch_opt){.n_gen = s->o->n_gen ? s->o->n_gen : DEFAULT_GEN}, err);
    if (!st) st = ask(s, b, row, err);
    sd_batch_close(b);
    return st;
}

static int64_t n_active(const study *s, int64_t f)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++) n += s->fit[i] && s->act[f * s->n + i] > 0;
    return n;
}

/* The feature not yet taken that is active in about as many prompts as the safety feature and tells neither kind; -1: none is left. */
static int64_t unlike(const study *s, const int64_t *taken, int n_taken)
{
    const int64_t want = n_active(s, s->out->feature);
    int64_t f = -1, least = INT64_MAX;
    for (int64_t k = 0; k < s->n_feature; k++) {
        int64_t off = llabs(n_active(s, k) - want);
        bool used = k == s->out->feature || !n_active(s, k);
        for (int i = 0; i < n_taken; i++) used = used || taken[i] == k;
        if (used || off >= least || fabs(auroc(s, s->act + k * s->n, NULL, true, NULL) - 0.5) > 0.25) continue;
        least = off;
        f = k;
    }
    return f;
}

/* A feature raised (or, DOWN, taken out) at 1, 2 and 4 times c. */
static sd_status raised(study *s, const char *what, const char *category, int64_t feature, double c, edit_kind kind, sd_err *err)
{
    sd_status st = SD_OK;
    for (int x = 1; x <= (kind == DOWN ? 1 : MOST_TIMES) && !st; x *= 2) st = one(s, new_row(s, what, category, feature, kind == DOWN ? 0 : x * c), kind, err);
    return st;
}

static sd_status randoms(study *s, sd_err *err)
{
    int64_t taken[SD_SAFETY_RANDOM];
    sd_status st = SD_OK;
    for (int k = 0; k < s->o->n_other && !st; k++) {
        taken[k] = unlike(s, taken, k);
        if (taken[k] < 0) break;
        double c = typical(s, taken[k], false, NULL);
        st = raised(s, "random up", "", taken[k], c, UP, err);
        if (!st) st = raised(s, "random down", "", taken[k], c, DOWN, err);
    }
    return st;
}

typedef struct topic { const char *category; int64_t feature; double auroc; } topic;

static int by_auroc(const void *a, const void *b)
{
    const topic *x = a, *y = b;
    return x->auroc != y->auroc ? (x->auroc > y->auroc ? -1 : 1) : strcmp(x->category, y->category);
}

/* The categories of harmless prompts that a feature tells best; one that is all of them is told from nothing. */
static sd_status topics(study *s, sd_err *err)
{
    topic *v = NULL;
    int64_t n = 0, done = 0;
    sd_status st = sd_alloc(&v, (size_t)(s->n + 1) * sizeof *v, "topics", err);
    for (int64_t i = 0; i < s->n && !st; i++) {
        const char *c = s->prompt[i]->category;
        int64_t in[2] = {0}; /* harmless prompts of the first half: of another category, of this one */
        bool known = harmful(s, i) || !*c;
        for (int64_t k = 0; k < n && !known; k++) known = strcmp(v[k].category, c) == 0;
        for (int64_t k = 0; k < s->n && !known; k++)
            if (s->fit[k] && !harmful(s, k)) in[strcmp(s->prompt[k]->category, c) == 0]++;
        if (known || in[1] < LEAST_TOPIC || !in[0]) continue;
        v[n].category = c;
        v[n].feature = best(s, c, s->out->feature, &v[n].auroc);
        n++;
    }
    if (!st) qsort(v, (size_t)n, sizeof *v, by_auroc);
    for (int64_t k = 0; k < n && done < SD_SAFETY_TOPICS && !st; k++) {
        bool used = false;
        for (int64_t q = 0; q < k; q++) used = used || v[q].feature == v[k].feature;
        if (used || v[k].feature < 0) continue;
        done++;
        st = raised(s, "topic", v[k].category, v[k].feature, typical(s, v[k].feature, false, v[k].category), UP, err);
    }
    sd_free(v);
    return st;
}

sd_status sd_lab_safety(sd_safety *out, const sd_exec *ex, const sd_model *m, const sd_safety_opt *opt, sd_err *err)
{
    const sd_dict_info *info = sd_dict_get_info(opt->dict);
    study s = {.ex = ex, .m = m, .o = opt, .out = out, .d = m->cfg.d_model, .n_feature = info->m, .ce_plain = NAN, .most = 12 + (int)opt->n_other * 4 + SD_SAFETY_TOPICS * 3};
    double t0 = sd_now();
    SD_ASSERT(opt->n_other >= 0 && opt->n_other <= SD_SAFETY_RANDOM);
    *out = (sd_safety){.feature = -1};
    snprintf(out->judge, sizeof out->judge, "%s", opt->phrases->name);
    if (sd_dict_kind_maps(info->kind)) {
        sd_fail(err, SD_E_UNSUPPORTED, "a dictionary of kind %s reads one place and writes another", sd_dict_kind_name(info->kind));
        return sd_hint(err, "features that are raised must be read and written at one site of the residual stream");
    }
    if (info->d != s.d) return sd_fail(err, SD_E_SHAPE, "the dictionary reads rows of %" PRId64 " columns, the model's residual stream has %" PRId64, info->d, s.d);
    sd_status st = gather(&s, err);
    if (!st) st = sd_render(&s.r, m, s.text, s.n, &(sd_render_opt){.n_ctx = m->max_ctx - 64}, err);
    if (!st) st = sd_batch_open(&s.b, ex, m, &s.r, &(sd_batch_opt){.n_gen = opt->n_gen ? opt->n_gen : DEFAULT_GEN}, err);
    if (!st) st = activations(&s, err);
    if (!st) st = difference(&s, err);
    if (!st) {
        out->feature = best(&s, NULL, -1, &out->auroc_fit);
        out->c = typical(&s, out->feature, true, NULL);
        monitor(&s, &out->monitor[0], s.act + out->feature * s.n, NULL);
        monitor(&s, &out->monitor[1], NULL, s.proj);
        st = plain_and_prompt(&s, err);
    }
    for (int kind = UP; kind <= DOWN && !st; kind++) st = raised(&s, names[kind], "", out->feature, out->c, (edit_kind)kind, err);
    for (int kind = MEAN_UP; kind <= MEAN_DOWN && !st; kind++) st = one(&s, new_row(&s, names[kind], "", -1, NAN), (edit_kind)kind, err);
    if (!st) st = randoms(&s, err);
    if (!st) st = topics(&s, err);
    out->seconds = sd_now() - t0;
    release(&s);
    return st;
}
