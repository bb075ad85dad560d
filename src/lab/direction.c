/* Owns: the plan of the study, the prompts that stay, and the means. Choosing is direction_select.c's, what stands beside the chosen one
 * direction_beside.c's. */
#include "lab/direction_int.h"

#include "num/infer.h"

#include <inttypes.h>
#include <math.h>

enum { LEAST_PROMPTS = 4 }; /* below it a mean and a filter say nothing */

void sd_direction_release(sd_direction *r)
{
    sd_free(r->cand);
    sd_free(r->mean_diff);
    sd_free(r->vector);
    sd_free(r->layer_cosine);
    *r = (sd_direction){.best = -1};
}

/* ---- means ---- */

typedef struct summer { double *sum; int64_t n_tail, n_layer, d; } summer; /* sum [n_tail][n_layer][d] */

static sd_status add_rows(void *self, int64_t prompt, const sd_act *act, int64_t from_end, sd_err *err)
{
    summer *s = self;
    (void)prompt;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) {
        double *to = s->sum + ((s->n_tail - from_end + i) * s->n_layer + act->site.layer) * s->d;
        const float *x = sd_mat_row(act->x, i);
        for (int64_t j = 0; j < s->d; j++) to[j] += (double)x[j];
    }
    return SD_OK;
}

sd_status sd_lab_mean_diff(float *out, sd_batch *b, const sd_model *m, const sd_sides *sides, int64_t n_tail, sd_err *err)
{
    summer s[2] = {{.n_tail = n_tail, .n_layer = m->cfg.n_layer, .d = m->cfg.d_model}, {.n_tail = n_tail, .n_layer = m->cfg.n_layer, .d = m->cfg.d_model}};
    const int64_t *which[2] = {sides->pos, sides->neg}, n[2] = {sides->n_pos, sides->n_neg};
    int64_t total = n_tail * m->cfg.n_layer * m->cfg.d_model;
    sd_site *site = NULL;
    sd_status st = sd_alloc(&site, (size_t)m->cfg.n_layer * sizeof *site, "sites", err);
    for (int l = 0; l < m->cfg.n_layer && !st; l++) site[l] = (sd_site){SD_SITE_RESID_PRE, l};
    for (int k = 0; k < 2 && !st; k++) {
        if ((st = sd_alloc_zero(&s[k].sum, (size_t)total * sizeof(double), "sums of activations", err))) break;
        st = sd_batch_run(b, &(sd_batch_want){.which = which[k], .n = n[k], .self = &s[k], .last_layer = m->cfg.n_layer - 1, .site = site,
                                              .n_site = m->cfg.n_layer, .n_tail = n_tail, .on_rows = add_rows}, err);
    }
    for (int64_t i = 0; i < total && !st; i++) out[i] = (float)(s[0].sum[i] / (double)n[0] - s[1].sum[i] / (double)n[1]);
    sd_free(s[0].sum);
    sd_free(s[1].sum);
    sd_free(site);
    return st;
}

/* ---- plan ---- */

static sd_status open_set(direction_study *s, const sd_exec *ex, const sd_direction_data *data, sd_err *err)
{
    const char **text = NULL;
    int64_t n = 0;
    for (int k = 0; k < 4; k++) {
        s->first[k] = n;
        n += data->n[k];
        s->out->n_given[k] = data->n[k];
        if (data->n[k] < LEAST_PROMPTS) {
            static const char *const what[] = {"positive training", "negative training", "positive validation", "negative validation"};
            sd_fail(err, SD_E_FORMAT, "%" PRId64 " %s prompts, at least %d are needed", data->n[k], what[k], LEAST_PROMPTS);
            return sd_hint(err, "give larger files");
        }
    }
    s->first[4] = n;
    sd_status st = sd_alloc(&text, (size_t)n * sizeof *text, "prompts", err);
    for (int k = 0; k < 4 && !st; k++)
        for (int64_t i = 0; i < data->n[k]; i++) text[s->first[k] + i] = data->text[k][i];
    if (!st) st = sd_render(&s->rendered, s->m, text, n, &(sd_render_opt){.system = s->opt->system}, err);
    sd_free(text);
    if (st) return st;
    s->out->n_after = s->rendered.n_after;
    snprintf(s->out->prompts_sha256, sizeof s->out->prompts_sha256, "%s", s->rendered.sha256);
    if (s->rendered.n_after < 1) {
        sd_fail(err, SD_E_UNSUPPORTED, "the chat template puts nothing behind the instruction, so there is no position to look at");
        return sd_hint(err, "use a model whose template opens the assistant's turn");
    }
    return sd_batch_open(&s->b, ex, s->m, &s->rendered, &(sd_batch_opt){.max_rows = 1024}, err);
}

static sd_status list_sets(direction_study *s, bool filter, sd_err *err)
{
    static const char *const what[] = {"positive training", "negative training", "positive validation", "negative validation"};
    for (int k = 0; k < 4; k++) {
        bool positive = k == SD_POS_TRAIN || k == SD_POS_VAL;
        s->n_set[k] = 0;
        for (int64_t i = s->first[k]; i < s->first[k + 1]; i++)
            if (!filter || (positive ? s->score[i] > 0 : s->score[i] < 0)) s->set[k][s->n_set[k]++] = i;
        s->out->n_used[k] = s->n_set[k];
        if (s->n_set[k] >= LEAST_PROMPTS) continue;
        sd_fail(err, SD_E_FORMAT, "the model %s only %" PRId64 " of %" PRId64 " %s prompts, too few to find a direction of refusal",
                positive ? "opens a refusal on" : "opens an answer on", s->n_set[k], s->first[k + 1] - s->first[k], what[k]);
        return sd_hint(err, "there may be no refusal to find; --no-filter keeps all prompts");
    }
    return SD_OK;
}

/* Score of all prompts, what R is, how well the score tells the kinds apart, the filter. */
static sd_status baseline(direction_study *s, sd_err *err)
{
    sd_direction *o = s->out;
    double *copy = NULL;
    sd_status st = list_sets(s, false, err);
    if (!st)
        st = sd_refusal_learn(&o->refusal, s->b, s->m, &(sd_sides){s->set[SD_POS_TRAIN], s->set[SD_NEG_TRAIN], s->n_set[SD_POS_TRAIN], s->n_set[SD_NEG_TRAIN]}, err);
    if (!st && o->refusal.n == 0) {
        sd_fail(err, SD_E_FORMAT, "no first token is clearly likelier on the positive prompts than on the negative ones");
        st = sd_hint(err, "the model answers both kinds alike: there is no refusal to find. --select best looks at activations only");
    }
    if (!st) st = sd_refusal_scores(s->score, s->b, &o->refusal, s->m, NULL, 0, err);
    if (!st) st = sd_alloc(&copy, (size_t)s->rendered.n * sizeof *copy, "scores", err);
    if (st) return st;
    int64_t n_pos = s->first[SD_POS_VAL + 1] - s->first[SD_POS_VAL], n_neg = s->first[SD_NEG_VAL + 1] - s->first[SD_NEG_VAL];
    memcpy(copy, s->score, (size_t)s->rendered.n * sizeof *copy);
    o->metric_auroc = sd_auroc(copy + s->first[SD_POS_VAL], n_pos, copy + s->first[SD_NEG_VAL], n_neg);
    sd_free(copy);
    for (int k = SD_POS_VAL; k <= SD_NEG_VAL; k++)
        for (int64_t i = s->first[k]; i < s->first[k + 1]; i++) o->table[k - SD_POS_VAL][s->score[i] > 0 ? 0 : 1]++;
    if (!s->opt->keep_all && (st = list_sets(s, true, err))) return st;
    for (int64_t i = 0; i < s->n_set[SD_POS_VAL]; i++) o->base_positive += s->score[s->set[SD_POS_VAL][i]] / (double)s->n_set[SD_POS_VAL];
    for (int64_t i = 0; i < s->n_set[SD_NEG_VAL]; i++) o->base_negative += s->score[s->set[SD_NEG_VAL][i]] / (double)s->n_set[SD_NEG_VAL];
    return SD_OK;
}

const float *sd_direction__diff(const direction_study *s, int64_t row, int64_t layer)
{
    return s->out->mean_diff + (row * s->n_layer + layer) * s->d;
}

static sd_status allocate(direction_study *s, sd_err *err)
{
    size_t n = (size_t)s->rendered.n, diff = (size_t)((s->rendered.n_after + 1) * s->n_layer * s->d);
    sd_status st = sd_alloc_zero(&s->score, n * sizeof(double), "scores", err);
    if (!st) st = sd_alloc_zero(&s->edited, n * sizeof(double), "scores", err);
    if (!st) st = sd_alloc(&s->unit, (size_t)s->d * sizeof(float), "a direction", err);
    if (!st) st = sd_alloc(&s->out->mean_diff, diff * sizeof(float), "directions of all places", err);
    for (int k = 0; k < 4 && !st; k++) st = sd_alloc(&s->set[k], (size_t)(s->first[k + 1] - s->first[k]) * sizeof(int64_t), "prompts", err);
    return st;
}

sd_status sd_lab_direction(sd_direction *out, const sd_exec *ex, const sd_model *m, const sd_direction_data *data, const sd_direction_opt *opt,
                           sd_err *err)
{
    direction_study s = {.m = m, .opt = opt, .out = out, .d = m->cfg.d_model, .n_layer = m->cfg.n_layer, .n_vocab = m->cfg.n_vocab};
    *out = (sd_direction){.best = -1, .d = s.d, .n_layer = s.n_layer};
    sd_status st = open_set(&s, ex, data, err);
    if (!st) st = allocate(&s, err);
    if (!st) st = opt->select == SD_SELECT_BEST ? list_sets(&s, false, err) : baseline(&s, err);
    if (!st)
        st = sd_lab_mean_diff(out->mean_diff, s.b, m, &(sd_sides){s.set[SD_POS_TRAIN], s.set[SD_NEG_TRAIN], s.n_set[SD_POS_TRAIN], s.n_set[SD_NEG_TRAIN]},
                              s.rendered.n_after + 1, err);
    if (!st) st = sd_direction__select(&s, err);
    if (!st && out->best >= 0) {
        const sd_candidate *c = &out->cand[out->best];
        st = sd_alloc(&out->vector, (size_t)s.d * sizeof(float), "the direction", err);
        if (!st) memcpy(out->vector, sd_direction__diff(&s, s.rendered.n_after + 1 + c->position, c->layer), (size_t)s.d * sizeof(float));
        if (!st) st = sd_direction__beside(&s, err);
    }
    out->rows = s.b ? sd_batch_rows(s.b) : 0;
    sd_batch_close(s.b);
    sd_rendered_release(&s.rendered);
    for (int k = 0; k < 4; k++) sd_free(s.set[k]);
    sd_free(s.score);
    sd_free(s.edited);
    sd_free(s.p_plain);
    sd_free(s.unit);
    if (st) sd_direction_release(out);
    return st;
}
