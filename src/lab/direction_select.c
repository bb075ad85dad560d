/* Owns: the scores of candidates and the choice. The cheapest test comes first: adding (one set), then the divergence (the other edit, the same
 * set), then bypass; a candidate that a rule has thrown out is not scored further unless all scores are wanted. */
#include "lab/direction_int.h"

#include "num/infer.h"

#include <inttypes.h>
#include <math.h>

#define MAX_KL 0.1      /* the reference code's kl_threshold */
#define MIN_INDUCE 0.0  /* its induce_refusal_threshold */
#define DEPTH 0.8       /* its prune_layer_percentage 0.2 */

/* ---- scores ---- */

sd_status sd_direction__mean_score(double *out, direction_study *s, int kind, const sd_hook *hook, sd_err *err)
{
    sd_status st = sd_batch_edit(s->b, hook, hook ? 1 : 0, err);
    if (!st) st = sd_refusal_scores(s->edited, s->b, &s->out->refusal, s->m, s->set[kind], s->n_set[kind], err);
    *out = 0;
    for (int64_t i = 0; i < s->n_set[kind] && !st; i++) *out += s->edited[s->set[kind][i]] / (double)s->n_set[kind];
    return st;
}

sd_status sd_direction__bypass(double *out, direction_study *s, const float *u, double w, sd_err *err)
{
    sd_ablate a;
    sd_status st = sd_ablate_init(&a, s->m, u, w, err);
    sd_hook h = sd_ablate_hook(&a);
    if (!st) st = sd_direction__mean_score(out, s, SD_POS_VAL, &h, err);
    sd_status off = sd_batch_edit(s->b, NULL, 0, st ? NULL : err);
    sd_ablate_release(&a);
    return st ? st : off;
}

typedef struct kl_job { direction_study *s; double sum; bool store; } kl_job;

static sd_status one_kl(void *self, int64_t prompt, const float *logits, sd_err *err)
{
    kl_job *j = self;
    direction_study *s = j->s;
    int64_t place = 0;
    (void)err;
    while (s->set[SD_NEG_VAL][place] != prompt) place++;
    float *p = s->p_plain + place * s->n_vocab;
    if (j->store) sd_first_probs(p, s->m->ex, logits, s->n_vocab);
    else j->sum += sd_first_kl(p, s->m->ex, logits, s->n_vocab);
    return SD_OK;
}

static sd_status mean_kl(double *out, direction_study *s, bool store, sd_err *err)
{
    kl_job j = {.s = s, .store = store};
    sd_status st = sd_batch_run(s->b, &(sd_batch_want){.which = s->set[SD_NEG_VAL], .n = s->n_set[SD_NEG_VAL], .self = &j, .on_first = one_kl}, err);
    *out = j.sum / (double)s->n_set[SD_NEG_VAL];
    return st;
}

static sd_status score_one(direction_study *s, sd_candidate *c, sd_err *err)
{
    const float *r = sd_direction__diff(s, s->rendered.n_after + 1 + c->position, c->layer);
    sd_ablate add = {0}, cut = {0};
    if (!sd_unit(s->unit, r, s->d)) {
        c->fate = SD_FATE_NOT_FINITE;
        return SD_OK;
    }
    sd_status st = sd_ablate_init_add(&add, s->m, r, c->layer, 1, err);
    if (!st) st = sd_ablate_init(&cut, s->m, s->unit, 1, err);
    sd_hook adding = sd_ablate_hook(&add), cutting = sd_ablate_hook(&cut);
    if (!st) st = sd_direction__mean_score(&c->induce, s, SD_NEG_VAL, &adding, err);
    if (!st && c->induce < MIN_INDUCE) c->fate = SD_FATE_INDUCE;
    if (!st && (c->fate == SD_FATE_KEPT || s->opt->full)) {
        st = sd_batch_edit(s->b, &cutting, 1, err);
        if (!st) st = mean_kl(&c->kl, s, false, err);
        if (!st && c->fate == SD_FATE_KEPT && c->kl > (s->opt->max_kl > 0 ? s->opt->max_kl : MAX_KL)) c->fate = SD_FATE_KL;
        if (!st && (c->fate == SD_FATE_KEPT || s->opt->full)) {
            double sum = 0;
            st = sd_refusal_scores(s->edited, s->b, &s->out->refusal, s->m, s->set[SD_POS_VAL], s->n_set[SD_POS_VAL], err);
            for (int64_t i = 0; i < s->n_set[SD_POS_VAL]; i++) sum += s->edited[s->set[SD_POS_VAL][i]];
            c->bypass = sum / (double)s->n_set[SD_POS_VAL];
        }
        if (!st && (isnan(c->kl) || (c->fate == SD_FATE_KEPT && isnan(c->bypass)))) c->fate = SD_FATE_NOT_FINITE;
    }
    if (!st && isnan(c->induce)) c->fate = SD_FATE_NOT_FINITE;
    sd_status off = sd_batch_edit(s->b, NULL, 0, st ? NULL : err); /* the hooks lose their owners here */
    sd_ablate_release(&add);
    sd_ablate_release(&cut);
    return st ? st : off;
}

/* ---- projections ---- */

typedef struct taker { float *x; const int64_t *set; int64_t n, d, from_end; } taker;

static sd_status take_row(void *self, int64_t prompt, const sd_act *act, int64_t from_end, sd_err *err)
{
    taker *t = self;
    int64_t row = from_end - t->from_end, place = 0;
    (void)err;
    if (row < 0 || row >= act->x.rows) return SD_OK;
    while (t->set[place] != prompt) place++;
    memcpy(t->x + place * t->d, sd_mat_row(act->x, row), (size_t)t->d * sizeof(float));
    return SD_OK;
}

sd_status sd_direction__rows(float *x, direction_study *s, const int64_t *which, int64_t n, int64_t row, int layer, sd_err *err)
{
    sd_site site = {SD_SITE_RESID_PRE, layer};
    taker t = {x, which, n, s->d, s->rendered.n_after + 1 - row};
    return sd_batch_run(s->b, &(sd_batch_want){.which = which, .n = n, .self = &t, .last_layer = layer > 0 ? layer : 1, .site = &site,
                                               .n_site = 1, .n_tail = t.from_end, .on_rows = take_row}, err);
}

double sd_direction__auroc(const float *v, const float *a, int64_t n_a, const float *b, int64_t n_b, int64_t d, double *gap)
{
    double *p = NULL, *q = NULL, mean[2] = {0}, var = 0, auroc = NAN;
    if (gap) *gap = NAN;
    if (sd_alloc(&p, (size_t)n_a * sizeof *p, "projections", NULL) || sd_alloc(&q, (size_t)n_b * sizeof *q, "projections", NULL)) goto done;
    for (int64_t i = 0; i < n_a; i++) mean[0] += (p[i] = sd_dot(v, a + i * d, d)) / (double)n_a;
    for (int64_t i = 0; i < n_b; i++) mean[1] += (q[i] = sd_dot(v, b + i * d, d)) / (double)n_b;
    for (int64_t i = 0; i < n_a; i++) var += (p[i] - mean[0]) * (p[i] - mean[0]);
    for (int64_t i = 0; i < n_b; i++) var += (q[i] - mean[1]) * (q[i] - mean[1]);
    if (gap && n_a + n_b > 2 && var > 0) *gap = (mean[0] - mean[1]) / sqrt(var / (double)(n_a + n_b - 2));
    auroc = sd_auroc(p, n_a, q, n_b);
done:
    sd_free(p);
    sd_free(q);
    return auroc;
}

/* Projections of validation prompts at every place: one pass a place keeps one row a prompt in memory. */
static sd_status select_best(direction_study *s, sd_err *err)
{
    float *a = NULL, *b = NULL;
    double best = -1, best_gap = 0;
    sd_status st = sd_alloc(&a, (size_t)(s->n_set[SD_POS_VAL] * s->d) * sizeof(float), "activations", err);
    if (!st) st = sd_alloc(&b, (size_t)(s->n_set[SD_NEG_VAL] * s->d) * sizeof(float), "activations", err);
    for (int64_t i = 0; i < s->out->n_cand && !st; i++) {
        sd_candidate *c = &s->out->cand[i];
        int64_t row = s->rendered.n_after + 1 + c->position;
        double gap = NAN;
        st = sd_direction__rows(a, s, s->set[SD_POS_VAL], s->n_set[SD_POS_VAL], row, c->layer, err);
        if (!st) st = sd_direction__rows(b, s, s->set[SD_NEG_VAL], s->n_set[SD_NEG_VAL], row, c->layer, err);
        if (st) break;
        c->auroc = sd_direction__auroc(sd_direction__diff(s, row, c->layer), a, s->n_set[SD_POS_VAL], b, s->n_set[SD_NEG_VAL], s->d, &gap);
        if (!isfinite(gap)) c->fate = SD_FATE_NOT_FINITE;
        if (isfinite(gap) && (c->auroc > best || (c->auroc == best && gap > best_gap))) best = c->auroc, best_gap = gap, s->out->best = (int)i;
        sd_progress_update(s->opt->progress, "directions", (double)(i + 1), (double)s->out->n_cand, "places");
    }
    sd_free(a);
    sd_free(b);
    return st;
}

static sd_status select_arditi(direction_study *s, sd_err *err)
{
    double kl;
    sd_direction *o = s->out;
    sd_status st = sd_alloc(&s->p_plain, (size_t)(s->n_set[SD_NEG_VAL] * s->n_vocab) * sizeof(float), "plain probabilities", err);
    if (!st) st = sd_batch_edit(s->b, NULL, 0, err);
    if (!st) st = mean_kl(&kl, s, true, err);
    for (int64_t i = 0; i < o->n_cand && !st; i++) {
        char note[64];
        if ((st = score_one(s, &o->cand[i], err))) break;
        if (o->cand[i].fate == SD_FATE_KEPT && (o->best < 0 || o->cand[i].bypass < o->cand[o->best].bypass)) o->best = (int)i;
        snprintf(note, sizeof note, o->best < 0 ? "none kept yet" : "best: layer %d, position %d", o->best < 0 ? 0 : o->cand[o->best].layer,
                 o->best < 0 ? 0 : o->cand[o->best].position);
        sd_progress_update(s->opt->progress, "directions", (double)(i + 1), (double)o->n_cand, note);
        if (sd_progress_cancelled(s->opt->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %" PRId64 " of %" PRId64 " directions", i + 1, o->n_cand);
    }
    return st;
}

sd_status sd_direction__select(direction_study *s, sd_err *err)
{
    sd_direction *o = s->out;
    bool arditi = s->opt->select == SD_SELECT_ARDITI;
    int64_t layers = arditi ? (int64_t)(DEPTH * (double)s->n_layer) : s->n_layer;
    if (layers < 1) layers = 1;
    o->n_cand = s->rendered.n_after * layers;
    sd_status st = sd_alloc(&o->cand, (size_t)o->n_cand * sizeof *o->cand, "candidates", err);
    if (st) return st;
    for (int64_t i = 0; i < o->n_cand; i++) {
        int64_t row = 1 + i / layers, layer = i % layers;
        const float *r = sd_direction__diff(s, row, layer);
        o->cand[i] = (sd_candidate){.position = (int)(row - s->rendered.n_after - 1), .layer = (int)layer, .bypass = NAN, .induce = NAN, .kl = NAN,
                                    .auroc = NAN, .norm = sqrt(sd_dot(r, r, s->d))};
    }
    return arditi ? select_arditi(s, err) : select_best(s, err);
}
