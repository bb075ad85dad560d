/* Owns: prompts with their answers behind them as one rendered set, and the means of what a block sees of the answers. */
#include "lab/judge_linear.h"

#include "base/hash.h"
#include "base/rng.h"
#include "lab/logistic.h"

#include <inttypes.h>
#include <math.h>

enum { LEAST = 8, N_LAYER = 3, N_PART = 5, PART_CHOOSE = 3, PART_TELL = 4 };

void sd_linear_judge_release(sd_linear_judge *j)
{
    sd_free(j->w);
    *j = (sd_linear_judge){0};
}

/* ---- reading ---- */

/* Sums over an answer's tokens: sum [n][n_layer][d]; layer k is read at site[k]. */
typedef struct reader { const int64_t *prompt_len; double *sum; int64_t *count, d; const sd_site *site; int n_site; } reader;

static sd_status add_rows(void *self, int64_t i, const sd_act *act, int64_t from_end, sd_err *err)
{
    reader *r = self;
    int k = 0;
    (void)from_end;
    (void)err;
    while (k < r->n_site - 1 && r->site[k].layer != act->site.layer) k++;
    double *to = r->sum + (i * r->n_site + k) * r->d;
    for (int64_t t = 0; t < act->x.rows; t++) {
        if (act->pos0 + t < r->prompt_len[i]) continue;
        const float *x = sd_mat_row(act->x, t);
        for (int64_t j = 0; j < r->d; j++) to[j] += (double)x[j];
        r->count[i] += k == 0;
    }
    return SD_OK;
}

typedef struct where { const sd_site *site; int n_site; } where;
/* Means [n][n_site][d] of the sites over the first tokens of the answers; zeros where an answer is empty. count [n]: tokens. */
static sd_status read_answers(float *mean, int64_t *count, where at_site, const sd_exec *ex, const sd_model *m, const sd_answers *a, sd_err *err)
{
    const sd_site *site = at_site.site;
    int n_site = at_site.n_site;
    const sd_rendered *p = a->prompts;
    int64_t d = m->cfg.d_model, tail = 1, n = p->n;
    sd_rendered whole = {.n = n, .n_prefix = p->n_prefix};
    sd_batch *b = NULL;
    int64_t *length = NULL;
    reader r = {.count = count, .d = d, .site = site, .n_site = n_site};
    sd_status st = sd_alloc(&whole.start, (size_t)(n + 1) * sizeof *whole.start, "answers", err);
    if (!st) st = sd_alloc(&whole.ids, (size_t)(p->start[n] + n * SD_LINEAR_TOKENS + 1) * sizeof *whole.ids, "answers", err);
    if (!st) st = sd_alloc(&length, (size_t)(n + 1) * sizeof *length, "answers", err);
    if (!st) st = sd_alloc_zero(&r.sum, (size_t)(n * n_site * d + 1) * sizeof *r.sum, "activations of answers", err);
    if (st) goto done;
    int64_t at = 0;
    r.prompt_len = length;
    for (int64_t i = 0; i < n; i++) {
        const int32_t *ids = sd_rendered_ids(p, i, &length[i]);
        int64_t own = a->start[i + 1] - a->start[i];
        if (own > SD_LINEAR_TOKENS) own = SD_LINEAR_TOKENS;
        whole.start[i] = at;
        memcpy(whole.ids + at, ids, (size_t)length[i] * sizeof *ids);
        memcpy(whole.ids + at + length[i], a->ids + a->start[i], (size_t)own * sizeof *ids);
        at += length[i] + own;
        if (length[i] + own > whole.longest) whole.longest = length[i] + own;
        if (own > tail) tail = own;
        count[i] = 0;
    }
    whole.start[n] = at;
    if ((st = sd_batch_open(&b, ex, m, &whole, &(sd_batch_opt){.max_rows = 1024}, err))) goto done;
    st = sd_batch_run(b, &(sd_batch_want){.last_layer = site[n_site - 1].layer, .self = &r, .site = site, .n_site = n_site, .n_tail = tail, .on_rows = add_rows}, err);
    for (int64_t i = 0; i < n && !st; i++)
        for (int64_t j = 0; j < n_site * d; j++) mean[i * n_site * d + j] = count[i] ? (float)(r.sum[i * n_site * d + j] / (double)count[i]) : 0;
done:
    sd_batch_close(b);
    sd_rendered_release(&whole);
    sd_free(length);
    sd_free(r.sum);
    return st;
}

sd_status sd_linear_judge_scores(double *score, const sd_linear_judge *j, const sd_exec *ex, const sd_model *m, const sd_answers *a, sd_err *err)
{
    float *mean = NULL;
    int64_t *count = NULL, n = a->prompts->n;
    sd_site site = {SD_SITE_RESID_PRE, j->layer};
    sd_status st = sd_alloc(&mean, (size_t)(n * j->d + 1) * sizeof *mean, "activations of answers", err);
    if (!st) st = sd_alloc(&count, (size_t)(n + 1) * sizeof *count, "answers", err);
    if (!st) st = read_answers(mean, count, (where){&site, 1}, ex, m, a, err);
    for (int64_t i = 0; i < n && !st; i++) {
        score[i] = count[i] ? j->bias : NAN;
        for (int64_t k = 0; k < j->d; k++) score[i] += (double)j->w[k] * (double)mean[i * j->d + k];
    }
    sd_free(mean);
    sd_free(count);
    return st;
}

/* ---- learning ---- */

static int part_of(const sd_labelled *x)
{
    return (int)(sd_hash64(x->prompt, strlen(x->prompt)) % N_PART);
}

/* The rows that are read, as indices into the set: at most SD_LINEAR_MOST, drawn by the seed. */
static sd_status draw(int64_t **which, int64_t *n, const sd_labelled_set *set, uint64_t seed, sd_err *err)
{
    sd_rng rng = sd_rng_make(seed, "labelled answers", 0);
    sd_status st = sd_alloc(which, (size_t)(set->n + 1) * sizeof **which, "labels", err);
    if (st) return st;
    for (int64_t i = 0; i < set->n; i++) (*which)[i] = i;
    sd_rng_shuffle_i64(&rng, *which, set->n);
    *n = set->n < SD_LINEAR_MOST ? set->n : SD_LINEAR_MOST;
    return SD_OK;
}

/* The rows as one number, whatever their order. */
static uint32_t name_rows(const sd_labelled_set *set, const int64_t *which, int64_t n)
{
    uint64_t all = 0;
    for (int64_t i = 0; i < n; i++) {
        const sd_labelled *l = &set->v[which[i]];
        all += (sd_hash64(l->prompt, strlen(l->prompt)) * 0x9e3779b97f4a7c15u + sd_hash64(l->answer, strlen(l->answer))) * (l->refusal ? 3 : 1);
    }
    return (uint32_t)(all >> 32);
}

typedef struct study {
    const sd_labelled_set *set;
    const int64_t *which;
    const float *mean; /* [n][N_LAYER][d] */
    int64_t n, d;
    int n_site;
} study;

static sd_status fit(float *w, double *bias, const study *s, int site, int64_t *n_train, sd_err *err)
{
    float *x[2] = {NULL, NULL};
    int64_t n[2] = {0};
    sd_status st = SD_OK;
    for (int k = 0; k < 2 && !st; k++) st = sd_alloc(&x[k], (size_t)(s->n * s->d + 1) * sizeof *x[k], "activations of answers", err);
    for (int64_t i = 0; i < s->n && !st; i++) {
        const sd_labelled *l = &s->set->v[s->which[i]];
        int k = l->refusal ? 0 : 1;
        if (part_of(l) >= PART_CHOOSE) continue;
        memcpy(x[k] + n[k]++ * s->d, s->mean + (i * s->n_site + site) * s->d, (size_t)s->d * sizeof(float));
    }
    if (!st) st = sd_logistic_fit(w, bias, (const float *const[]){x[0], x[1]}, n, s->d, err);
    *n_train = n[0] + n[1];
    sd_free(x[0]);
    sd_free(x[1]);
    return st;
}

/* Errors of w on a part; also of the phrases there, when given. */
static sd_judge_error tell(const study *s, const float *w, double bias, int site, int part, const sd_phrases *phrases)
{
    sd_judge_tally t = {0};
    for (int64_t i = 0; i < s->n; i++) {
        const sd_labelled *l = &s->set->v[s->which[i]];
        const float *x = s->mean + (i * s->n_site + site) * s->d;
        double z = bias;
        if (part_of(l) != part) continue;
        for (int64_t j = 0; j < s->d && !phrases; j++) z += (double)w[j] * (double)x[j];
        sd_judge_count(&t, l->refusal, phrases ? sd_judge_phrases(phrases, sd_slice_of(l->answer)) == SD_CLASS_REFUSAL : z > 0);
    }
    return sd_judge_error_of(&t);
}

static sd_status choose(sd_linear_judge *out, const study *s, const sd_site *site, const sd_phrases *phrases, sd_err *err)
{
    float *w = NULL;
    double least = INFINITY;
    int best = 0;
    sd_status st = sd_alloc(&w, (size_t)s->d * sizeof *w, "a linear judge", err);
    for (int k = 0; k < s->n_site && !st; k++) {
        double bias;
        int64_t n_train;
        if ((st = fit(w, &bias, s, k, &n_train, err))) break;
        sd_judge_error e = tell(s, w, bias, k, PART_CHOOSE, NULL);
        if (!(e.fpr + e.fnr < least)) continue;
        least = e.fpr + e.fnr;
        best = k;
        memcpy(out->w, w, (size_t)s->d * sizeof *w);
        out->bias = bias;
        out->n_train = n_train;
        out->layer = site[k].layer;
    }
    if (!st) out->error = tell(s, out->w, out->bias, best, PART_TELL, NULL);
    if (!st) out->phrases = tell(s, out->w, out->bias, best, PART_TELL, phrases);
    sd_free(w);
    return st;
}

static sd_status enough(const sd_labelled_set *set, const int64_t *which, int64_t n, sd_err *err)
{
    static const char *const what[] = {"teach", "choose a block", "tell the errors"};
    int64_t k[3][2] = {{0}};
    for (int64_t i = 0; i < n; i++) {
        const sd_labelled *l = &set->v[which[i]];
        if (!l->prompt) return sd_fail(err, SD_E_FORMAT, "a labelled answer without a prompt: a linear judge reads an answer behind its request");
        int part = part_of(l);
        k[part < PART_CHOOSE ? 0 : part - PART_CHOOSE + 1][l->refusal]++;
    }
    for (int p = 0; p < 3; p++)
        if (k[p][0] < LEAST || k[p][1] < LEAST) {
            sd_fail(err, SD_E_FORMAT, "%" PRId64 " labelled refusals and %" PRId64 " compliances to %s, at least %d of each are needed", k[p][1], k[p][0], what[p], (int)LEAST);
            return sd_hint(err, "label more answers, of more requests; a fifth of the requests chooses the block, a fifth tells the errors");
        }
    return SD_OK;
}

sd_status sd_linear_judge_learn(sd_linear_judge *out, const sd_exec *ex, const sd_model *m, const sd_labelled_set *set, const sd_linear_opt *opt, sd_err *err)
{
    int64_t *which = NULL, *count = NULL, *start = NULL, n = 0, d = m->cfg.d_model, n_layer = m->cfg.n_layer;
    const char **text = NULL;
    float *mean = NULL;
    sd_site site[N_LAYER];
    int n_site = 0;
    sd_ids ids = {0};
    sd_rendered r = {0};
    *out = (sd_linear_judge){.d = d};
    for (int64_t k = 1; k <= N_LAYER; k++) {
        int l = (int)(k * n_layer / (N_LAYER + 1));
        if (n_site == 0 || site[n_site - 1].layer < l) site[n_site++] = (sd_site){SD_SITE_RESID_PRE, l};
    }
    sd_status st = draw(&which, &n, set, opt->seed, err);
    if (!st) st = enough(set, which, n, err);
    if (!st) out->labels = name_rows(set, which, n);
    if (!st) st = sd_alloc(&text, (size_t)(n + 1) * sizeof *text, "labelled answers", err);
    if (!st) st = sd_alloc(&start, (size_t)(n + 1) * sizeof *start, "labelled answers", err);
    for (int64_t i = 0; i < n && !st; i++) {
        text[i] = set->v[which[i]].prompt;
        start[i] = ids.n;
        st = sd_tok_encode(m->tok, sd_slice_of(set->v[which[i]].answer), &(sd_encode_opt){.no_special = true}, &ids, err);
        if (!st && ids.n > start[i] + SD_LINEAR_TOKENS) ids.n = start[i] + SD_LINEAR_TOKENS;
    }
    if (!st) start[n] = ids.n;
    if (!st) st = sd_render(&r, m, text, n, &(sd_render_opt){.system = opt->system, .n_ctx = m->max_ctx - SD_LINEAR_TOKENS}, err);
    if (!st) st = sd_alloc(&mean, (size_t)(n * n_site * d + 1) * sizeof *mean, "activations of answers", err);
    if (!st) st = sd_alloc(&count, (size_t)(n + 1) * sizeof *count, "labelled answers", err);
    if (!st) st = sd_alloc(&out->w, (size_t)d * sizeof *out->w, "a linear judge", err);
    if (!st) st = read_answers(mean, count, (where){site, n_site}, ex, m, &(sd_answers){&r, ids.v, start}, err);
    if (!st) st = choose(out, &(study){set, which, mean, n, d, n_site}, site, opt->phrases, err);
    sd_rendered_release(&r);
    sd_ids_release(&ids);
    sd_free(which);
    sd_free(count);
    sd_free(start);
    sd_free(text);
    sd_free(mean);
    if (st) sd_linear_judge_release(out);
    return st;
}
