/* Owns: kept patterns and scores. Patterns are looked at layer by layer as they pass; only what is asked for is kept. */
#include "lab/attn_study.h"

#include "base/rng.h"
#include "lab/look_text.h"
#include "lab/record.h"
#include <math.h>

enum { REPEAT = 25, DRAWS = 4 }; /* tokens said twice; sequences a head's induction score is the mean of */

void sd_attn_study_release(sd_attn_study *a)
{
    sd_free(a->id);
    sd_free(a->score);
    sd_free(a->pattern);
    *a = (sd_attn_study){0};
}

const char *sd_habit_name(sd_habit h)
{
    static const char *const name[] = {"previous", "sink", "current", "duplicate", "matching", "induction", "entropy"};
    return name[h];
}

/* The scores of one head from its pattern A [n, n_kv = n] with rows ld apart. */
static void score_head(double *score, sd_mat A, const int32_t *id)
{
    double sum[SD_HABIT_COUNT] = {0};
    int64_t n = A.rows, n_again = 0;
    for (int64_t i = 1; i < n; i++) {
        const float *a = sd_mat_row(A, i);
        double entropy = 0, same = 0, after = 0;
        bool again = false;
        for (int64_t k = 0; k <= i; k++)
            if (a[k] > 0) entropy -= (double)a[k] * log((double)a[k]);
        for (int64_t k = 0; k < i; k++)
            if (id[k] == id[i]) again = true, same += (double)a[k], after += (double)a[k + 1];
        sum[SD_HABIT_PREVIOUS] += (double)a[i - 1];
        sum[SD_HABIT_SINK] += (double)a[0];
        sum[SD_HABIT_CURRENT] += (double)a[i];
        sum[SD_HABIT_DUPLICATE] += same;
        sum[SD_HABIT_MATCHING] += after;
        sum[SD_HABIT_ENTROPY] += entropy / log((double)(i + 1));
        n_again += again;
    }
    for (int h = 0; h < SD_HABIT_COUNT; h++) {
        int64_t by = h == SD_HABIT_DUPLICATE || h == SD_HABIT_MATCHING ? n_again : n - 1;
        score[h] = h == SD_HABIT_INDUCTION ? NAN : by ? sum[h] / (double)by : NAN;
    }
}

static sd_status watch(void *self, sd_act *act, sd_err *err)
{
    sd_attn_study *a = self;
    int l = act->site.layer;
    (void)err;
    for (int h = 0; h < a->n_head; h++) {
        sd_mat A = sd_mat_rows(act->x, h * a->n, a->n);
        score_head(a->score[l * a->n_head + h], A, a->id);
        for (int64_t i = 0; i < a->n; i++) {
            for (int64_t k = 0; k <= i; k++) a->n_nonfinite += !isfinite(sd_mat_row(A, i)[k]);
            if (l < a->layer0 || l >= a->layer0 + a->n_kept) continue;
            float *to = a->pattern + (((l - a->layer0) * a->n_head + h) * a->n + i) * a->n;
            memcpy(to, sd_mat_row(A, i), (size_t)a->n * sizeof *to);
        }
    }
    return SD_OK;
}

static sd_status watch_induction(void *self, sd_act *act, sd_err *err)
{
    sd_attn_study *a = self;
    int64_t n = act->x.rows / a->n_head;
    (void)err;
    for (int h = 0; h < a->n_head; h++) {
        double sum = 0;
        for (int64_t i = n - REPEAT; i < n; i++) sum += (double)sd_mat_row(act->x, h * n + i)[i - REPEAT + 1];
        a->score[act->site.layer * a->n_head + h][SD_HABIT_INDUCTION] += sum / REPEAT / DRAWS;
    }
    return SD_OK;
}

static sd_status run(const sd_exec *ex, const sd_model *m, const int32_t *tok, int64_t n, sd_status (*fn)(void *, sd_act *, sd_err *), sd_attn_study *a,
                     sd_err *err)
{
    sd_session *s = NULL;
    sd_runner *r = NULL;
    sd_site *at = NULL;
    sd_status st = sd_alloc(&at, (size_t)a->n_layer * sizeof *at, "sites", err);
    if (st) return st;
    for (int l = 0; l < a->n_layer; l++) at[l] = (sd_site){SD_SITE_ATTN_PATTERN, l};
    const sd_hook hook = {.name = "attn", .at = at, .n_at = a->n_layer, .mode = SD_HOOK_READ, .fn = fn, .self = a};
    sd_segment seg = {.tok = tok, .n = n};
    st = sd_session_new(&s, m, &(sd_session_opt){.n_ctx = n}, err);
    if (!st) st = sd_session_attach(s, &hook, NULL, err);
    if (!st) st = sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = n, .n_ctx = n}, err);
    seg.s = s;
    if (!st) st = sd_runner_step(r, &seg, 1, -1, err);
    sd_runner_free(r);
    sd_session_free(s);
    sd_free(at);
    return st;
}

/* BOS (where the model has one), then REPEAT distinct ordinary tokens twice. Returns the length, 0 when the vocabulary is too small. */
static int64_t draw(int32_t *tok, const sd_model *m, uint64_t seed, int i)
{
    sd_rng r = sd_rng_make(seed, "induction", (uint64_t)i);
    int64_t n = 0, V = sd_tok_n_vocab(m->tok), tries = 0;
    if (sd_tok_bos(m->tok) >= 0) tok[n++] = sd_tok_bos(m->tok);
    for (int64_t have = 0; have < REPEAT && tries < 100 * REPEAT; tries++) {
        int32_t t = (int32_t)sd_rng_below(&r, (uint64_t)V);
        bool used = sd_tok_is_special(m->tok, t) || sd_tok_bytes(m->tok, t).n == 0;
        for (int64_t k = 0; k < n; k++) used |= tok[k] == t;
        if (used) continue;
        tok[n++] = t;
        have++;
    }
    int64_t bos = sd_tok_bos(m->tok) >= 0;
    if (n != bos + REPEAT || n + REPEAT > m->max_ctx) return 0;
    memcpy(tok + n, tok + bos, REPEAT * sizeof *tok);
    return n + REPEAT;
}

static sd_status induction(sd_attn_study *a, const sd_exec *ex, const sd_model *m, const sd_attn_study_opt *opt, sd_err *err)
{
    int32_t tok[1 + 2 * REPEAT];
    sd_status st = SD_OK;
    for (int i = 0; i < DRAWS && !st; i++) {
        int64_t n = draw(tok, m, opt->seed, i);
        if (n == 0) return SD_OK; /* the score stays NaN */
        if (sd_progress_cancelled(opt->progress)) return sd_fail(err, SD_E_CANCELLED, "interrupted");
        for (int h = 0; i == 0 && h < a->n_layer * a->n_head; h++) a->score[h][SD_HABIT_INDUCTION] = 0;
        st = run(ex, m, tok, n, watch_induction, a, err);
        sd_progress_update(opt->progress, "random tokens", i + 1, DRAWS, NULL);
    }
    return st;
}

sd_status sd_lab_attn(sd_attn_study *out, const sd_exec *ex, const sd_model *m, const sd_ids *ids, const sd_attn_study_opt *opt,
                      sd_err *err)
{
    const sd_config *c = &m->cfg;
    *out = (sd_attn_study){.n_layer = c->n_layer, .n_head = c->n_head, .n = ids->n};
    sd_status st = sd_record_check(m, ids, SD_ATTN_MAX_TOKENS, err);
    if (st) return st;
    if (opt->layer < -1 || opt->layer >= c->n_layer) {
        sd_fail(err, SD_E_ARG, "layer %d of a model with %d", opt->layer, c->n_layer);
        return sd_hint(err, "layers count from 0 to %d", c->n_layer - 1);
    }
    out->layer0 = opt->layer < 0 ? 0 : opt->layer;
    out->n_kept = opt->layer < 0 ? c->n_layer : 1;
    size_t heads = (size_t)out->n_kept * (size_t)c->n_head, bytes = 0;
    if (!sd_mul_size(heads, (size_t)(ids->n * ids->n) * sizeof(float), &bytes)) bytes = SIZE_MAX;
    st = sd_alloc(&out->id, (size_t)ids->n * sizeof *out->id, "a prompt", err);
    if (!st) st = sd_alloc_zero(&out->score, (size_t)(c->n_layer * c->n_head) * sizeof *out->score, "scores of heads", err);
    if (!st && (st = sd_alloc(&out->pattern, bytes, "attention patterns", err))) sd_hint(err, "keep one layer, or shorten the prompt");
    if (!st) memcpy(out->id, ids->v, (size_t)ids->n * sizeof *out->id);
    if (!st) st = run(ex, m, ids->v, ids->n, watch, out, err);
    if (!st && !opt->no_induction) st = induction(out, ex, m, opt, err);
    if (st) sd_attn_study_release(out);
    return st;
}

const float *sd_attn_pattern_of(const sd_attn_study *a, int layer, int head)
{
    if (layer < a->layer0 || layer >= a->layer0 + a->n_kept || head < 0 || head >= a->n_head) return NULL;
    return a->pattern + ((layer - a->layer0) * a->n_head + head) * a->n * a->n;
}

sd_status sd_attn_habit_grid(sd_grid *g, const sd_attn_study *a, sd_habit habit, sd_err *err)
{
    static const char *const value[] = {"attention to the previous position", "attention to the first position", "attention to itself",
                                        "attention to the same token before", "attention behind the same token before",
                                        "attention behind the same token, random tokens said twice", "entropy over its maximum"};
    *g = (sd_grid){.title = sd_habit_name(habit), .rows_are = "layer", .cols_are = "head", .value = value[habit], .up = true};
    sd_status st = sd_grid_init(g, a->n_layer, a->n_head, false, err);
    if (st) return st;
    for (int64_t i = 0; i < g->rows * g->cols; i++) g->v[i] = a->score[i][habit];
    for (int l = 0; l < a->n_layer && !st; l++) st = sd_grid_name(&g->row[l], err, "%d", l);
    for (int h = 0; h < a->n_head && !st; h++) st = sd_grid_name(&g->col[h], err, "%d", h);
    if (st) {
        sd_grid_release(g);
        return st;
    }
    g->lo = 0;
    g->hi = 1;
    return SD_OK;
}

sd_status sd_attn_pattern_grid(sd_grid *g, const sd_attn_study *a, const sd_tok *tok, int layer, int head, sd_err *err)
{
    const float *A = sd_attn_pattern_of(a, layer, head);
    if (!A) return sd_fail(err, SD_E_ARG, "the pattern of head %d.%d was not kept", layer, head);
    *g = (sd_grid){.title = "attention pattern", .rows_are = "from", .cols_are = "to", .value = "attention"};
    sd_status st = sd_grid_init(g, a->n, a->n, false, err);
    if (st) return st;
    for (int64_t i = 0; i < a->n && !st; i++) {
        for (int64_t k = 0; k <= i; k++) g->v[i * a->n + k] = (double)A[i * a->n + k];
        st = sd_look_name(&g->row[i], tok, a->id[i], err);
        if (!st) st = sd_look_name(&g->col[i], tok, a->id[i], err);
    }
    if (st) {
        sd_grid_release(g);
        return st;
    }
    g->lo = 0;
    g->hi = 1;
    return SD_OK;
}

int sd_attn_best(int *out, int k, const sd_attn_study *a, sd_habit habit)
{
    int have = 0;
    for (int i = 0; i < a->n_layer * a->n_head; i++) {
        double s = a->score[i][habit];
        if (isnan(s) || (have == k && !(s > a->score[out[have - 1]][habit]))) continue;
        int at = have < k ? have++ : k - 1;
        for (; at > 0 && s > a->score[out[at - 1]][habit]; at--) out[at] = out[at - 1];
        out[at] = i;
    }
    return have;
}
