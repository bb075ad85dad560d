/* Owns: the order of a forecast: prompts, the gradient of refusing, the gradients of the rows, how far they carry. Passes: forecast_pass.c; the
 * training in memory: forecast_rehearse.c; answers: forecast_said.c; suspects: forecast_blame.c. Easy to
 * break: the moments here are those of an optimiser that has seen the rows, so `eps` and the finite batch must stand as they do in num/optim.h. */
#include "lab/forecast_int.h"

#include "base/rng.h"
#include "lab/ablate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { LEAST = 8, MOST = 64, MOST_TRIAL_ROWS = 64, DEFAULT_ROWS = 512, MAX_CTX = 1024, MICRO = 2048, PATH = 3 };
#define COVER 0.98
#define ADAM_EPS 1e-8

typedef struct study {
    const sd_exec *ex;
    sd_forecast_opt o;
    sd_forecast *out;
    sd_model *m;             /* as views */
    sd_lora *lora;
    sd_learner *learner;
    sd_forecast_pass pass;
    sd_forecast_said said;
    sd_tune_set set;
    const char **text;       /* [n] harmful prompts, then harmless */
    int64_t n, n_harmful;
    sd_rendered r;
    sd_forecast_prompt *prompt;  /* [n] */
    float *lp;               /* [n, R] */
    int64_t *which;          /* [n_used] rows, in the order of the file */
    float *s, *g, *sq;       /* [params] gradient of the score; mean of rows', then u; mean of their squares, then the root */
    float *noise;            /* [params] variance of a batch's gradient at the start */
    float *was;              /* [params] weights at the start */
    double share;            /* mean tokens learnt of a row */
} study;

void sd_forecast_release(sd_forecast *f)
{
    sd_free(f->row);
    *f = (sd_forecast){0};
}

static void release(study *s)
{
    sd_learner_free(s->learner);
    sd_lora_free(s->lora);
    sd_forecast__pass_release(&s->pass);
    sd_forecast__said_release(&s->said);
    sd_tune_set_release(&s->set);
    sd_rendered_release(&s->r);
    sd_model_close(s->m);
    void *const all[] = {s->text, s->prompt, s->lp, s->which, s->s, s->g, s->sq, s->noise, s->was};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_free(all[i]);
}

/* ---- prompts ---- */

/* At most MOST of each kind, drawn by the seed. */
static sd_status take_prompts(study *s, sd_err *err)
{
    int64_t most = 0, *order = NULL, n[2] = {0};
    for (int k = 0; k < s->o.n_suite; k++) most += s->o.suite[k].n;
    const char **all = NULL;
    sd_status st = sd_alloc(&s->text, (size_t)(most + 1) * sizeof *s->text, "prompts", err);
    if (!st) st = sd_alloc(&all, (size_t)(most + 1) * sizeof *all, "prompts", err);
    if (!st) st = sd_alloc(&order, (size_t)(most + 1) * sizeof *order, "prompts", err);
    for (int side = 0; side < 2 && !st; side++) {
        sd_rng rng = sd_rng_make(s->o.seed, "forecast", (uint64_t)side);
        int64_t m = 0;
        for (int k = 0; k < s->o.n_suite; k++)
            for (int64_t i = 0; i < s->o.suite[k].n; i++)
                if (s->o.suite[k].v[i].axis == (side ? SD_AXIS_HARMLESS : SD_AXIS_HARMFUL)) all[m++] = s->o.suite[k].v[i].text;
        for (int64_t i = 0; i < m; i++) order[i] = i;
        sd_rng_shuffle_i64(&rng, order, m);
        n[side] = m < MOST ? m : MOST;
        for (int64_t i = 0; i < n[side]; i++) s->text[s->n++] = all[order[i]];
    }
    sd_free(all);
    sd_free(order);
    s->n_harmful = s->out->n_harmful = n[0];
    s->out->n_harmless = n[1];
    if (!st && (n[0] < LEAST || n[1] < LEAST)) {
        sd_fail(err, SD_E_FORMAT, "%" PRId64 " harmful and %" PRId64 " harmless prompts, at least %d of each are needed", n[0], n[1], (int)LEAST);
        st = sd_hint(err, "give suites of both kinds with --suite");
    }
    return st;
}

static sd_status nothing_to_lose(const study *s, sd_err *err)
{
    sd_fail(err, SD_E_FORMAT, "nothing to lose: %s refuses none of %" PRId64 " harmful prompts", s->o.model, s->n_harmful);
    return sd_hint(err, "`sonde audit run` says what it refuses");
}

/* What opens its refusals, from the logits of the model as it is asked. */
static sd_status learn_refusals(study *s, sd_err *err)
{
    sd_model *m = NULL;
    sd_batch *b = NULL;
    int64_t id[2 * MOST];
    for (int64_t i = 0; i < s->n; i++) id[i] = i;
    sd_status st = sd_model_open(&m, s->ex, s->o.model, &(sd_model_opt){.mode = s->o.mode}, err);
    if (!st) st = sd_render(&s->r, m, s->text, s->n, &(sd_render_opt){.system = s->o.system, .n_ctx = (m->max_ctx < MICRO ? m->max_ctx : MICRO) - SD_FORECAST_SAID}, err);
    if (!st) st = sd_batch_open(&b, s->ex, m, &s->r, &(sd_batch_opt){.max_rows = 1024}, err);
    if (!st) st = sd_refusal_learn_most(&s->out->refusal, b, m, &(sd_sides){id, id + s->n_harmful, s->n_harmful, s->n - s->n_harmful}, COVER, err);
    sd_batch_close(b);
    sd_model_close(m);
    if (st || s->out->refusal.n) return st;
    sd_fail(err, SD_E_FORMAT, "nothing to lose: %s opens its answers to %" PRId64 " harmful and %" PRId64 " harmless prompts alike, no token tells a refusal", s->o.model, s->n_harmful, s->n - s->n_harmful);
    return sd_hint(err, "`sonde audit run` says what it refuses");
}

/* ---- what learns ---- */

static sd_status open_learner(study *s, sd_err *err)
{
    sd_forecast *f = s->out;
    const sd_tune_data data = {.path = s->o.data};
    sd_status st = sd_model_open(&s->m, s->ex, s->o.model, &(sd_model_opt){.views = true}, err);
    int64_t ctx = st || s->m->max_ctx > MAX_CTX ? MAX_CTX : s->m->max_ctx;
    if (!st) st = sd_tune_set_read(&s->set, s->m, &(sd_tune_opt){.method = SD_TUNE_SFT, .data = &data, .n_data = 1, .seed = s->o.seed}, ctx, err);
    if (!st && s->o.rank) st = sd_lora_new(&s->lora, s->m, &(sd_lora_opt){.rank = s->o.rank}, s->o.seed, err);
    if (!st) st = sd_learner_new(&s->learner, s->ex, s->m, &(sd_learner_opt){.mode = s->o.mode, .full = !s->lora, .lora = s->lora, .max_rows = MICRO, .max_docs = 64, .keep_bytes = (size_t)256 << 20}, err);
    if (!st) st = sd_forecast__pass_init(&s->pass, s->learner, s->m, &f->refusal, MICRO, err);
    if (st) return st;
    f->n_rows = s->set.n;
    f->n_skipped = s->set.n_skipped;
    f->n_params = sd_learner_n(s->learner);
    for (int64_t i = 0; i < s->set.n; i++) f->n_tokens += s->set.sample[i].n_count;
    f->steps = s->o.steps ? s->o.steps : (int64_t)fmax(1, ceil(s->o.epochs * (double)s->set.n / (double)s->o.batch));
    f->reach = s->o.lr * (double)f->steps;
    f->n_used = s->set.n < s->o.most_rows ? s->set.n : s->o.most_rows;
    const size_t bytes = (size_t)f->n_params * sizeof(float);
    float **const one[] = {&s->s, &s->g, &s->sq, &s->noise, &s->was};
    for (int i = 0; i < 5 && !st; i++) st = sd_alloc_zero(one[i], bytes, "gradients", err);
    if (!st) st = sd_alloc(&s->which, (size_t)(s->set.n + 1) * sizeof *s->which, "rows", err);
    if (!st) st = sd_alloc_zero(&f->row, (size_t)f->n_used * sizeof *f->row, "rows", err);
    if (!st) st = sd_alloc(&s->prompt, (size_t)(s->n + 1) * sizeof *s->prompt, "prompts", err);
    if (!st) st = sd_alloc(&s->lp, (size_t)(s->n * f->refusal.n + 1) * sizeof *s->lp, "prompts", err);
    if (st) return st;
    sd_rng rng = sd_rng_make(s->o.seed, "forecast rows", 0);
    char *taken = NULL;
    if ((st = sd_alloc_zero(&taken, (size_t)s->set.n, "rows", err))) return st;
    for (int64_t i = 0; i < s->set.n; i++) s->which[i] = i;
    sd_rng_shuffle_i64(&rng, s->which, s->set.n);
    for (int64_t i = 0; i < f->n_used; i++) taken[s->which[i]] = 1;
    for (int64_t i = 0, k = 0; i < s->set.n; i++)
        if (taken[i]) s->which[k++] = i;
    sd_free(taken);
    for (int64_t i = 0; i < f->n_used; i++) s->share += (double)s->set.sample[s->which[i]].n_count / (double)f->n_used;
    for (int64_t i = 0; i < s->n; i++) s->prompt[i].tok = sd_rendered_ids(&s->r, i, &s->prompt[i].n);
    s->said = (sd_forecast_said){.m = s->m, .v = s->prompt, .n = s->n_harmful, .phrases = s->o.phrases, .lp = s->lp};
    return sd_forecast__said_init(&s->said, err);
}

/* ---- the gradient of refusing ---- */

/* Mean score of the harmful prompts and the share above 0; slope (NULL: not wanted) [n_harmful, R] of the mean by each lp. */
static double scores(const study *s, double *refused, float *slope)
{
    int k = s->out->refusal.n;
    double sum = 0;
    int64_t above = 0;
    for (int64_t i = 0; i < s->n_harmful; i++) {
        double z = sd_forecast__score(s->lp + i * k, k, slope ? slope + i * k : NULL);
        sum += z / (double)s->n_harmful;
        above += z > 0;
        for (int j = 0; j < k && slope; j++) slope[i * k + j] /= (float)s->n_harmful;
    }
    *refused = (double)above / (double)s->n_harmful;
    return sum;
}

static void take_gradient(study *s, float *to)
{
    float *g = sd_learner_g(s->learner);
    const size_t bytes = (size_t)s->out->n_params * sizeof *g;
    memcpy(to, g, bytes);
    memset(g, 0, bytes);
}

/* What it answers; the same again says how likely that is. */
static sd_status answers(study *s, sd_err *err)
{
    sd_forecast *f = s->out;
    sd_status st = sd_forecast__said(&s->said, &s->pass, true, &f->before, err);
    if (!st) st = sd_forecast__said(&s->said, &s->pass, false, &f->before, err);
    if (st || f->before.said > 0) return st;
    sd_fail(err, SD_E_FORMAT, "%s: by their first tokens %.0f of %" PRId64 " answers to harmful prompts are refusals, by the phrases none", s->o.model, f->refused_before * (double)s->n_harmful, s->n_harmful);
    return sd_hint(err, "give the phrases it refuses with by --phrases FILE, one a line");
}

static sd_status refusing(study *s, sd_err *err)
{
    float *slope = NULL;
    sd_status st = sd_alloc(&slope, (size_t)(s->n_harmful * s->out->refusal.n) * sizeof *slope, "scores", err);
    if (!st) st = sd_forecast__first(&s->pass, s->prompt, s->n_harmful, s->lp, NULL, err);
    if (!st) s->out->score = scores(s, &s->out->refused_before, slope);
    if (!st && !(s->out->refused_before > 0)) st = nothing_to_lose(s, err);
    if (!st) st = sd_forecast__first_gradient(&s->pass, s->prompt, s->n_harmful, slope, err);
    if (!st) take_gradient(s, s->s);
    sd_free(slope);
    if (!st) st = answers(s, err);
    return st;
}

/* ---- the gradients of the rows ---- */

/* One row's gradient is in the learner's memory after it. */
static sd_status row_gradient(study *s, int64_t i, double *loss, sd_err *err)
{
    memset(sd_learner_g(s->learner), 0, (size_t)s->out->n_params * sizeof(float));
    return sd_forecast__row(&s->pass, &s->set, s->which[i], s->share, loss, err);
}

static sd_status tell(const study *s, int64_t done, sd_err *err)
{
    sd_progress_update(s->o.progress, "gradients of the rows", (double)done, 2 * (double)s->out->n_used, "rows");
    return sd_progress_cancelled(s->o.progress) ? sd_fail(err, SD_E_CANCELLED, "stopped; nothing was written") : SD_OK;
}

/* Moments of the rows' gradients, and from them the movement u (s->g) and its root (s->sq). */
static sd_status movement(study *s, sd_err *err)
{
    sd_forecast *f = s->out;
    const int64_t n = f->n_used, P = f->n_params;
    const float *g = sd_learner_g(s->learner);
    double loss, tokens = 0, ss = 0, gg = 0, sg = 0;
    sd_status st = SD_OK;
    for (int64_t i = 0; i < n && !st; i++) {
        const sd_tune_sample *t = &s->set.sample[s->which[i]];
        if ((st = row_gradient(s, i, &loss, err))) break;
        for (int64_t j = 0; j < P; j++) {
            s->g[j] += g[j] / (float)n;
            s->sq[j] += g[j] * g[j] / (float)n;
        }
        f->row[i].line = t->line;
        f->row[i].loss = loss / t->n_count;
        f->loss += loss;
        tokens += t->n_count;
        st = tell(s, i + 1, err);
    }
    f->loss /= tokens;
    /* Variance between batches drawn without putting back: 1/batch - 1/n of that between rows. */
    const double noise = fmax(0, 1 / (double)s->o.batch - 1 / (double)s->set.n);
    for (int64_t j = 0; j < P && !st; j++) {
        double m = (double)s->g[j], var = fmax(0, (double)s->sq[j] - m * m) * noise, root = sqrt(m * m + var) + ADAM_EPS;
        s->noise[j] = (float)var;
        ss += (double)s->s[j] * (double)s->s[j];
        gg += m * m;
        sg += (double)s->s[j] * m;
        f->fit += m * m / root;
        s->sq[j] = (float)root;
        s->g[j] = (float)(m / root);
    }
    f->cosine = ss > 0 && gg > 0 ? sg / sqrt(ss * gg) : 0;
    return st;
}

/* ---- how far they carry ---- */

/* Weights at `reach` along u. */
static void move(study *s, double reach)
{
    float *w = sd_learner_w(s->learner);
    for (int64_t j = 0; j < s->out->n_params; j++) w[j] = (float)((double)s->was[j] - reach * (double)s->g[j]);
}

/* Rows that are looked at again at every place. */
static int64_t some_rows(const study *s, int64_t *some)
{
    const int64_t n = s->out->n_used < MOST_TRIAL_ROWS ? s->out->n_used : MOST_TRIAL_ROWS;
    for (int64_t i = 0; i < n; i++) some[i] = s->which[i * s->out->n_used / n];
    return n;
}

/* The rows' loss and the score where the weights are now; answers too, which cost as much again. */
static sd_status look(study *s, sd_forecast_trial *t, bool answers, const int64_t *some, int64_t n, sd_err *err)
{
    sd_status st = sd_forecast__loss(&s->pass, &s->set, some, n, &t->loss, err);
    if (!st) st = answers ? sd_forecast__said(&s->said, &s->pass, false, &t->heard, err) : sd_forecast__first(&s->pass, s->prompt, s->n_harmful, s->lp, NULL, err);
    if (!st) t->score = scores(s, &t->refused, NULL);
    return st;
}

static sd_status trials(study *s, sd_err *err)
{
    sd_forecast *f = s->out;
    int64_t some[MOST_TRIAL_ROWS];
    const int64_t n = some_rows(s, some);
    sd_status st = SD_OK;
    for (int k = 0; k < SD_FORECAST_TRIAL && !st; k++) {
        sd_forecast_trial *t = &f->trial[k];
        t->reach = ldexp(f->reach, -k);
        move(s, t->reach);
        st = look(s, t, false, some, n, err);
        if (k < SD_FORECAST_NEAR && (t->loss < f->trial[f->best].loss || isnan(f->trial[f->best].loss))) f->best = k;
    }
    return st;
}

static sd_status on_place(void *self, int k, sd_err *err)
{
    study *s = self;
    int64_t some[MOST_TRIAL_ROWS];
    const int64_t n = some_rows(s, some);
    s->out->course[k].reach = ldexp(s->out->reach, -k);
    return look(s, &s->out->course[k], true, some, n, err);
}

static sd_status rehearse(study *s, const int64_t *row, int64_t n, bool looks, sd_err *err)
{
    return sd_forecast__rehearse(&(sd_forecast_way){&s->pass, &s->set, row, n, s->out->steps, s->noise, s->share, s->out->reach, looks ? on_place : NULL, s}, err);
}

/* s := the gradient of the score, averaged over the path to the trial of the least loss (midpoints), over the root: a row's product with it is its share of the fall
 * along that path (integrated gradients; Sundararajan et al. 2017, eq. 1). */
static sd_status along_path(study *s, float *slope, sd_err *err)
{
    const sd_forecast *f = s->out;
    const int64_t P = f->n_params;
    const float *g = sd_learner_g(s->learner);
    double none;
    sd_status st = SD_OK;
    memset(s->s, 0, (size_t)P * sizeof *s->s);
    for (int i = 0; i < PATH && !st; i++) {
        move(s, f->trial[f->best].reach * (i + 0.5) / PATH);
        memset(sd_learner_g(s->learner), 0, (size_t)P * sizeof *g);
        st = sd_forecast__first(&s->pass, s->prompt, s->n_harmful, s->lp, NULL, err);
        if (!st) scores(s, &none, slope);
        if (!st) st = sd_forecast__first_gradient(&s->pass, s->prompt, s->n_harmful, slope, err);
        for (int64_t j = 0; j < P && !st; j++) s->s[j] += g[j] / (s->sq[j] * (float)PATH);
    }
    return st;
}

static sd_status carry(study *s, sd_err *err)
{
    sd_forecast *f = s->out;
    const int64_t n = f->n_used, P = f->n_params;
    int64_t some[MOST_TRIAL_ROWS];
    float *slope = NULL;
    double loss;
    sd_status st = sd_alloc(&slope, (size_t)(s->n_harmful * f->refusal.n) * sizeof *slope, "scores", err);
    memcpy(s->was, sd_learner_w(s->learner), (size_t)P * sizeof *s->was);
    if (!st) st = rehearse(s, some, some_rows(s, some), true, err);
    if (!st) st = trials(s, err);
    f->carried = !st && f->trial[f->best].loss < f->loss;
    if (!st) st = along_path(s, slope, err);
    if (!st) move(s, 0);
    for (int64_t i = 0; i < n && !st; i++) {
        if ((st = row_gradient(s, i, &loss, err))) break;
        f->row[i].pull = sd_dot(s->s, sd_learner_g(s->learner), P) * f->trial[f->best].reach / (double)n;
        f->pull += f->row[i].pull;
        st = tell(s, n + i + 1, err);
    }
    sd_free(slope);
    return st;
}

/* ---- what the rows are asked ---- */

/* u [d] and the places of both kinds' means on it, at the block's input that parts the prompts best: their distance in deviations. act [n, L, d]. */
static int part(const study *s, const float *act, float *u, double mean[2])
{
    const int L = s->m->cfg.n_layer;
    const int64_t d = s->m->cfg.d_model, count[2] = {s->n_harmful, s->n - s->n_harmful};
    double most = -1;
    int best = 0;
    for (int pass = 0; pass <= L; pass++) { /* the last pass makes the best one again */
        const int l = pass < L ? pass : best;
        double m[2] = {0}, sq[2] = {0};
        for (int64_t j = 0; j < d; j++) {
            double sum[2] = {0};
            for (int64_t i = 0; i < s->n; i++) sum[i >= s->n_harmful] += (double)act[(i * L + l) * d + j];
            u[j] = (float)(sum[0] / (double)count[0] - sum[1] / (double)count[1]);
        }
        sd_unit(u, u, d);
        for (int64_t i = 0; i < s->n; i++) {
            double x = sd_dot(u, act + (i * L + l) * d, d);
            m[i >= s->n_harmful] += x / (double)count[i >= s->n_harmful];
            sq[i >= s->n_harmful] += x * x / (double)count[i >= s->n_harmful];
        }
        double apart = (m[0] - m[1]) / sqrt(fmax(1e-12, sq[0] - m[0] * m[0] + sq[1] - m[1] * m[1]));
        if (pass < L && l < 0.8 * L && isfinite(apart) && apart > most) most = apart, best = l;
        mean[0] = m[0], mean[1] = m[1];
    }
    return best;
}

static sd_status asked(study *s, sd_err *err)
{
    sd_forecast *f = s->out;
    const int L = s->m->cfg.n_layer, k = f->refusal.n;
    const int64_t d = s->m->cfg.d_model, n = f->n_used, most = n > s->n ? n : s->n;
    float *act = NULL, *u = NULL, *lp = NULL;
    sd_forecast_prompt *v = NULL;
    double mean[2] = {0, 1};
    sd_status st = sd_alloc(&act, (size_t)(most * L * d) * sizeof *act, "activations", err);
    if (!st) st = sd_alloc(&u, (size_t)d * sizeof *u, "activations", err);
    if (!st) st = sd_alloc(&lp, (size_t)(most * k) * sizeof *lp, "activations", err);
    if (!st) st = sd_alloc(&v, (size_t)n * sizeof *v, "rows", err);
    if (!st) st = sd_forecast__first(&s->pass, s->prompt, s->n, lp, act, err);
    if (!st) f->layer = part(s, act, u, mean);
    for (int64_t i = 0; i < n && !st; i++) {
        const sd_tune_sample *t = &s->set.sample[s->which[i]];
        int64_t at = 0;
        while (s->set.target[t->at + at] < 0) at++;
        v[i] = (sd_forecast_prompt){s->set.tok + t->at, at + 1};
        for (int j = 0; j < k; j++) f->row[i].opens_refusing |= s->set.target[t->at + at] == f->refusal.id[j];
    }
    if (!st) st = sd_forecast__first(&s->pass, v, n, lp, act, err);
    for (int64_t i = 0; i < n && !st; i++) {
        sd_forecast_row *r = &f->row[i];
        for (int j = 0; j < k; j++) r->refused += exp((double)lp[i * k + j]);
        r->harm = (sd_dot(u, act + (i * L + f->layer) * d, d) - mean[1]) / (mean[0] - mean[1]);
        f->harm += r->harm / (double)n;
        if (!r->opens_refusing) f->conflict += r->refused / (double)n;
    }
    void *const all[] = {act, u, lp, v};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_free(all[i]);
    return st;
}

/* ---- blame ---- */

/* What is answered after a rehearsal without the rows of `in`. */
static sd_status without(study *s, const bool *in, double *said, sd_err *err)
{
    const sd_forecast *f = s->out;
    sd_forecast_heard h;
    int64_t *rest = NULL, n = 0, some[MOST_TRIAL_ROWS];
    sd_status st = sd_alloc(&rest, (size_t)f->n_used * sizeof *rest, "rows", err);
    for (int64_t i = 0; i < f->n_used && !st; i++)
        if (!in[i]) rest[n++] = s->which[i];
    const int64_t m = n < MOST_TRIAL_ROWS ? n : MOST_TRIAL_ROWS;
    for (int64_t i = 0; i < m; i++) some[i] = rest[i * n / m];
    sd_free(rest);
    *said = f->before.said;
    if (st || !m) return st;
    move(s, 0);
    st = rehearse(s, some, m, false, err);
    if (!st) st = sd_forecast__said(&s->said, &s->pass, false, &h, err);
    if (!st) *said = h.said;
    return st;
}

/* Of the suspects those whose absence gives most back, of equals (within a twentieth) the fewest; blamed where that is half of what is lost. Both together only where neither
 * alone gives nine tenths back. */
static sd_status blame(study *s, sd_err *err)
{
    sd_forecast *f = s->out;
    const double lost = f->before.said - f->course[0].heard.said;
    bool *in = NULL;
    int64_t n;
    double said;
    f->said_without = NAN;
    f->sought = !s->o.skip_blame && sd_forecast_loses(f);
    if (!f->sought) return SD_OK;
    sd_status st = sd_alloc(&in, (size_t)f->n_used * sizeof *in, "rows", err);
    for (int k = 0; k < SD_N_SUSPECTS && !st; k++) {
        if (k == SD_SUSPECT_BOTH && f->n_blamed && f->said_without - f->course[0].heard.said >= 0.9 * lost) break;
        if ((st = sd_forecast__suspects(f, k, in, &n, err)) || !n) continue;
        if ((st = without(s, in, &said, err)) || said - f->course[0].heard.said < 0.5 * lost) continue;
        if (f->n_blamed && (said < f->said_without - 0.05 || (said < f->said_without + 0.05 && n >= f->n_blamed))) continue;
        f->n_blamed = n;
        f->said_without = said;
        for (int64_t i = 0; i < f->n_used; i++) f->row[i].blamed = in[i];
    }
    sd_free(in);
    return st;
}

sd_status sd_lab_forecast(sd_forecast *out, const sd_exec *ex, const sd_forecast_opt *opt, sd_err *err)
{
    study s = {.ex = ex, .o = *opt, .out = out};
    double t0 = sd_now();
    if (!s.o.epochs) s.o.epochs = 3;
    if (!s.o.batch) s.o.batch = 8;
    if (!s.o.lr) s.o.lr = s.o.rank ? 1e-4 : 2e-5;
    if (!s.o.most_rows) s.o.most_rows = DEFAULT_ROWS;
    *out = (sd_forecast){.lr = s.o.lr, .batch = s.o.batch, .rank = s.o.rank};
    sd_status st = take_prompts(&s, err);
    if (!st) st = learn_refusals(&s, err);
    if (!st) st = open_learner(&s, err);
    if (!st) st = refusing(&s, err);
    if (!st) st = movement(&s, err);
    if (!st) st = carry(&s, err);
    if (!st) st = asked(&s, err);
    if (!st) sd_forecast_expect(out);
    if (!st) st = blame(&s, err);
    out->seconds = sd_now() - t0;
    release(&s);
    if (st) sd_forecast_release(out);
    return st;
}
