/* Activations of all prompts at the one position are kept, so that shuffled categories cost only their ablations. */
#include "lab/topics.h"

#include "base/rng.h"
#include "lab/ablate.h"

#include <inttypes.h>
#include <math.h>

enum { LEAST = 8, SHUFFLES = 5, MOST_NEGATIVE = 128 };

void sd_topics_release(sd_topics *t)
{
    sd_free(t->layer_cosine);
    sd_free(t->layer_shuffled);
    *t = (sd_topics){0};
}

typedef struct study {
    const sd_topics_opt *o;
    sd_topics *out;
    const sd_model *m;
    sd_rendered rendered;
    sd_batch *b;
    const char **text;
    int64_t n_pos, n_neg, d; /* prompts: n_pos positive ones by category, then negative ones */
    int *topic;              /* [n_pos] */
    bool *fit;               /* [n_pos] */
    float *x;                /* [n_pos + n_neg][n_layer][d] */
    float *dir;              /* [n + 1][n_layer][d] */
    double *score;           /* [n_pos + n_neg] */
    int64_t *which;          /* [n_pos + n_neg] */
} study;

/* ---- prompts ---- */

static int topic_of(const sd_topics *t, const char *category)
{
    for (int k = 0; k < t->n; k++)
        if (strcmp(t->name[k], category) == 0) return k;
    return -1;
}

/* Categories with enough prompts, in the order of the suite. */
static void find_topics(sd_topics *t, const sd_suite *s, int64_t least)
{
    for (int64_t i = 0; i < s->n && t->n < SD_MAX_TOPICS; i++) {
        int64_t n = 0;
        char name[sizeof t->name[0]];
        snprintf(name, sizeof name, "%s", s->v[i].category);
        if (!*name || topic_of(t, name) >= 0) continue;
        for (int64_t j = 0; j < s->n; j++) n += strncmp(s->v[j].category, name, sizeof name - 1) == 0;
        if (n >= least) snprintf(t->name[t->n++], sizeof name, "%s", name);
    }
}

static sd_status gather(study *s, sd_err *err)
{
    const sd_topics_opt *o = s->o;
    sd_topics *t = s->out;
    find_topics(t, o->pos, o->least ? o->least : LEAST);
    if (t->n < 2) {
        sd_fail(err, SD_E_FORMAT, "%d categor%s of the positive prompts ha%s at least %" PRId64 " prompts, two are needed", t->n, t->n == 1 ? "y" : "ies", t->n == 1 ? "s" : "ve",
                o->least ? o->least : LEAST);
        return sd_hint(err, "give a suite with a column category (JailbreakBench has one), or a lower --least");
    }
    size_t most = (size_t)(o->pos->n + MOST_NEGATIVE + 1);
    sd_status st = sd_alloc(&s->text, most * sizeof *s->text, "prompts", err);
    if (!st) st = sd_alloc(&s->topic, most * sizeof *s->topic, "prompts", err);
    if (!st) st = sd_alloc_zero(&s->fit, most * sizeof *s->fit, "prompts", err);
    if (!st) st = sd_alloc(&s->which, most * sizeof *s->which, "prompts", err);
    for (int k = 0; k < t->n && !st; k++) {
        int64_t first = s->n_pos;
        for (int64_t i = 0; i < o->pos->n; i++) {
            if (strncmp(o->pos->v[i].category, t->name[k], sizeof t->name[0] - 1) != 0) continue;
            s->topic[s->n_pos] = k;
            s->which[s->n_pos] = s->n_pos;
            s->text[s->n_pos++] = o->pos->v[i].text;
        }
        sd_rng rng = sd_rng_make(o->seed, "halves of a topic", (uint64_t)k);
        sd_rng_shuffle_i64(&rng, s->which + first, s->n_pos - first);
        t->n_fit[k] = (s->n_pos - first) / 2;
        t->n_test[k] = s->n_pos - first - t->n_fit[k];
        for (int64_t i = 0; i < t->n_fit[k]; i++) s->fit[s->which[first + i]] = true;
    }
    t->n_left_out = o->pos->n - s->n_pos;
    for (int64_t i = 0; i < o->neg->n && s->n_neg < MOST_NEGATIVE && !st; i++) s->text[s->n_pos + s->n_neg++] = o->neg->v[i].text;
    t->n_neg = s->n_neg;
    return st || s->n_neg ? st : sd_fail(err, SD_E_FORMAT, "there are no negative prompts");
}

/* ---- activations and directions ---- */

static sd_status take_row(void *self, int64_t prompt, const sd_act *act, int64_t from_end, sd_err *err)
{
    study *s = self;
    int64_t row = from_end + s->o->position;
    (void)err;
    if (row >= 0 && row < act->x.rows)
        memcpy(s->x + (prompt * s->m->cfg.n_layer + act->site.layer) * s->d, sd_mat_row(act->x, row), (size_t)s->d * sizeof(float));
    return SD_OK;
}

static sd_status activations(study *s, sd_err *err)
{
    int n_layer = s->m->cfg.n_layer;
    sd_site *site = NULL;
    sd_status st = sd_alloc(&site, (size_t)n_layer * sizeof *site, "sites", err);
    for (int l = 0; l < n_layer && !st; l++) site[l] = (sd_site){SD_SITE_RESID_PRE, l};
    if (!st)
        st = sd_batch_run(s->b, &(sd_batch_want){.self = s, .last_layer = n_layer > 1 ? n_layer - 1 : 1, .site = site, .n_site = n_layer, .n_tail = -s->o->position, .on_rows = take_row,
                                                 .progress = s->o->progress, .what = "activations"}, err);
    sd_free(site);
    return st;
}

/* dir [n + 1][n_layer][d] for the given names of the positive prompts; row n: of all. */
static void directions(study *s, const int *topic)
{
    int64_t one = (int64_t)s->m->cfg.n_layer * s->d;
    int n = s->out->n;
    int64_t count[SD_MAX_TOPICS + 1] = {0};
    memset(s->dir, 0, (size_t)(n + 1) * (size_t)one * sizeof(float));
    for (int64_t i = 0; i < s->n_pos; i++) count[topic[i]] += s->fit[i], count[n] += s->fit[i];
    for (int64_t i = 0; i < s->n_pos + s->n_neg; i++) {
        if (i < s->n_pos && !s->fit[i]) continue;
        for (int k = 0; k <= n; k++) {
            if (i < s->n_pos && k < n && topic[i] != k) continue;
            float w = i < s->n_pos ? 1.0f / (float)count[k] : -1.0f / (float)s->n_neg;
            for (int64_t j = 0; j < one; j++) s->dir[k * one + j] += w * s->x[i * one + j];
        }
    }
}

static const float *dir_at(const study *s, int k, int layer)
{
    return s->dir + ((int64_t)k * s->m->cfg.n_layer + layer) * s->d;
}

static double mean_cosine(const study *s, int layer)
{
    double sum = 0;
    int n = s->out->n;
    for (int a = 0; a < n; a++)
        for (int b = 0; b < a; b++) sum += sd_cosine(dir_at(s, a, layer), dir_at(s, b, layer), s->d);
    return sum / (n * (n - 1) / 2.0);
}

/* ---- ablation ---- */

/* Scores of the test prompts while direction k is taken out (k < 0: plain), averaged by the names. */
static sd_status ablated(study *s, int k, const int *topic, double *score, double *share, sd_err *err)
{
    sd_ablate a = {0};
    sd_hook h;
    float *unit = NULL;
    int64_t n = 0, of[SD_MAX_TOPICS] = {0};
    sd_status st = sd_alloc(&unit, (size_t)s->d * sizeof *unit, "a direction", err);
    if (!st && k >= 0 && !sd_unit(unit, dir_at(s, k, s->o->layer), s->d)) st = sd_fail(err, SD_E_FORMAT, "the direction of %s is zero", k < s->out->n ? s->out->name[k] : "all topics");
    if (!st && k >= 0 && !(st = sd_ablate_init(&a, s->m, unit, 1, err))) {
        h = sd_ablate_hook(&a);
        st = sd_batch_edit(s->b, &h, 1, err);
    }
    for (int64_t i = 0; i < s->n_pos; i++)
        if (!s->fit[i]) s->which[n++] = i;
    if (!st) st = sd_refusal_scores(s->score, s->b, &s->out->refusal, s->m, s->which, n, err);
    sd_status off = sd_batch_edit(s->b, NULL, 0, st ? NULL : err);
    sd_ablate_release(&a);
    sd_free(unit);
    if (st || off) return st ? st : off;
    for (int c = 0; c < s->out->n; c++) score[c] = share[c] = 0;
    for (int64_t i = 0; i < n; i++) of[topic[s->which[i]]]++;
    for (int64_t i = 0; i < n; i++) {
        int c = topic[s->which[i]];
        score[c] += s->score[s->which[i]];
        share[c] += s->score[s->which[i]] > 0;
    }
    for (int c = 0; c < s->out->n; c++) score[c] /= (double)of[c], share[c] /= (double)of[c];
    return SD_OK;
}

static double gap_of(const double score[][SD_MAX_TOPICS], int n)
{
    double gap = 0;
    for (int b = 0; b < n; b++) {
        double others = 0;
        for (int a = 0; a < n; a++) others += a == b ? 0 : score[a][b] / (n - 1);
        gap += (others - score[b][b]) / n;
    }
    return gap;
}

/* Names moved among the prompts of each half, so that sizes stay. */
static void shuffle_names(const study *s, int *to, int number)
{
    for (int half = 0; half < 2; half++) {
        sd_rng rng = sd_rng_make(s->o->seed, "shuffled topics", (uint64_t)(2 * number + half));
        int64_t n = 0, at = 0;
        for (int64_t i = 0; i < s->n_pos; i++)
            if (s->fit[i] == (half == 0)) s->which[n++] = s->topic[i];
        sd_rng_shuffle_i64(&rng, s->which, n);
        for (int64_t i = 0; i < s->n_pos; i++)
            if (s->fit[i] == (half == 0)) to[i] = (int)s->which[at++];
    }
}

static sd_status tick(const study *s, int done, int total, sd_err *err)
{
    sd_progress_update(s->o->progress, "topics", done, total, "ablations");
    return sd_progress_cancelled(s->o->progress) ? sd_fail(err, SD_E_CANCELLED, "stopped after %d of %d ablations", done, total) : SD_OK;
}

static sd_status shuffled(study *s, int number, int *topic, double table[][SD_MAX_TOPICS], int *done, int total, sd_err *err)
{
    sd_topics *t = s->out;
    double share[SD_MAX_TOPICS];
    shuffle_names(s, topic, number);
    directions(s, topic);
    for (int l = 0; l < t->n_layer; l++) t->layer_shuffled[l] += (float)(mean_cosine(s, l) / t->n_shuffle);
    for (int k = 0; k < t->n; k++) {
        sd_status st = ablated(s, k, topic, table[k], share, err);
        if (!st) st = tick(s, ++*done, total, err);
        if (st) return st;
    }
    double gap = gap_of((const double(*)[SD_MAX_TOPICS])table, t->n);
    t->n_as_large += gap >= t->gap;
    t->shuffled_mean += gap / t->n_shuffle;
    t->shuffled_largest = number ? fmax(t->shuffled_largest, gap) : gap;
    return SD_OK;
}

static sd_status measure(study *s, sd_err *err)
{
    sd_topics *t = s->out;
    int *topic = NULL, done = 0, total = t->n + 1 + t->n_shuffle * t->n;
    double(*table)[SD_MAX_TOPICS] = NULL;
    sd_status st = sd_alloc(&topic, (size_t)s->n_pos * sizeof *topic, "topics", err);
    if (!st) st = sd_alloc(&table, SD_MAX_TOPICS * sizeof *table, "topics", err);
    if (!st) st = ablated(s, -1, s->topic, t->plain, t->refused, err);
    if (st) goto done;
    directions(s, s->topic);
    for (int l = 0; l < t->n_layer; l++) t->layer_cosine[l] = (float)mean_cosine(s, l);
    for (int a = 0; a < t->n; a++)
        for (int b = 0; b < t->n; b++) t->cosine[a][b] = a == b ? 1 : sd_cosine(dir_at(s, a, s->o->layer), dir_at(s, b, s->o->layer), s->d);
    for (int k = 0; k <= t->n && !st; k++)
        if (!(st = ablated(s, k, s->topic, t->score[k], t->share[k], err))) st = tick(s, ++done, total, err);
    if (st) goto done;
    t->gap = gap_of((const double(*)[SD_MAX_TOPICS])t->score, t->n);
    t->shuffled_mean = t->n_shuffle ? 0 : NAN;
    t->shuffled_largest = t->p = NAN;
    for (int i = 0; i < t->n_shuffle && !st; i++) st = shuffled(s, i, topic, table, &done, total, err);
    if (t->n_shuffle) t->p = (1.0 + t->n_as_large) / (1.0 + t->n_shuffle);
done:
    sd_free(topic);
    sd_free(table);
    return st;
}

static sd_status learn(study *s, sd_err *err)
{
    int64_t *neg = NULL, n = 0;
    sd_status st = sd_alloc(&neg, (size_t)s->n_neg * sizeof *neg, "prompts", err);
    for (int64_t i = 0; i < s->n_neg && !st; i++) neg[i] = s->n_pos + i;
    for (int64_t i = 0; i < s->n_pos; i++)
        if (s->fit[i]) s->which[n++] = i;
    if (!st) st = sd_refusal_learn(&s->out->refusal, s->b, s->m, &(sd_sides){s->which, neg, n, s->n_neg}, err);
    sd_free(neg);
    if (st || s->out->refusal.n) return st;
    sd_fail(err, SD_E_FORMAT, "no first token is clearly likelier on the positive prompts than on the negative ones");
    return sd_hint(err, "the model answers both kinds alike: there is no refusal to divide by topics");
}

sd_status sd_lab_topics(sd_topics *out, const sd_exec *ex, const sd_model *m, const sd_topics_opt *opt, sd_err *err)
{
    study s = {.o = opt, .out = out, .m = m, .d = m->cfg.d_model};
    size_t one = (size_t)m->cfg.n_layer * (size_t)m->cfg.d_model * sizeof(float);
    *out = (sd_topics){.n_layer = m->cfg.n_layer, .n_shuffle = opt->n_shuffle < 0 ? 0 : opt->n_shuffle ? opt->n_shuffle : SHUFFLES};
    if (opt->layer < 0 || opt->layer >= m->cfg.n_layer || opt->position >= 0) return sd_fail(err, SD_E_ARG, "block %d, position %d: the model has %d blocks and positions are below 0", opt->layer, opt->position, m->cfg.n_layer);
    sd_status st = gather(&s, err);
    if (!st) st = sd_render(&s.rendered, m, s.text, s.n_pos + s.n_neg, &(sd_render_opt){.system = opt->system}, err);
    if (!st && -opt->position > s.rendered.n_after + 1)
        st = sd_fail(err, SD_E_ARG, "position %d: the template has %" PRId64 " tokens behind the instruction", opt->position, s.rendered.n_after);
    if (!st) st = sd_batch_open(&s.b, ex, m, &s.rendered, &(sd_batch_opt){.max_rows = 1024}, err);
    if (!st) st = sd_alloc_zero(&s.x, (size_t)(s.n_pos + s.n_neg) * one, "activations of all prompts", err);
    if (!st) st = sd_alloc(&s.dir, (size_t)(out->n + 1) * one, "directions of topics", err);
    if (!st) st = sd_alloc_zero(&s.score, (size_t)(s.n_pos + s.n_neg) * sizeof *s.score, "scores", err);
    if (!st) st = sd_alloc(&out->layer_cosine, (size_t)out->n_layer * sizeof(float), "cosines", err);
    if (!st) st = sd_alloc_zero(&out->layer_shuffled, (size_t)out->n_layer * sizeof(float), "cosines", err);
    if (!st) st = learn(&s, err);
    if (!st) st = activations(&s, err);
    if (!st) st = measure(&s, err);
    snprintf(out->prompts_sha256, sizeof out->prompts_sha256, "%s", s.rendered.sha256);
    out->rows = s.b ? sd_batch_rows(s.b) : 0;
    sd_batch_close(s.b);
    sd_rendered_release(&s.rendered);
    sd_free(s.text);
    sd_free(s.topic);
    sd_free(s.fit);
    sd_free(s.x);
    sd_free(s.dir);
    sd_free(s.score);
    sd_free(s.which);
    if (st) sd_topics_release(out);
    return st;
}
