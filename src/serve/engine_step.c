/* Owns: one step: which rows, the next token of each sequence. */
#include "serve/engine_int.h"

#include "base/log.h"
#include "base/par.h"
#include "num/ops.h"

#include <inttypes.h>

enum {
    PREFILL_ROWS = 256, /* rows from prompts while others decode: a step of theirs then stays short */
    LONG_ROWS = 64      /* a prompt's rows that are worth giving a step up for when their client has left */
};

static void add_segment(sd_engine *e, int *n_seg, int i, int64_t rows)
{
    sd_slot *sl = &e->slot[i];
    sd_seq *s = sl->seq;
    bool prompt = sd_slot__in_prompt(sl), want = s->n_new > 0 && (!prompt || sl->n_run + rows == s->ids.n);
    const int32_t *tok = prompt ? s->ids.v + sl->n_run : &s->said[s->n_said - 1].id;
    sl->rows = rows;
    e->seg_slot[*n_seg] = i;
    e->seg[(*n_seg)++] = (sd_segment){.s = sl->s, .tok = tok, .n = rows, .want = want ? SD_LOGITS_LAST : SD_LOGITS_NONE};
}

/* Those that decode get a row each; prompts share what is left, those that came first first. */
static int make_step(sd_engine *e)
{
    int n_seg = 0;
    int64_t decoding = 0;
    for (int i = 0; i < e->opt.n_slots; i++)
        if (e->slot[i].seq && !sd_slot__in_prompt(&e->slot[i])) add_segment(e, &n_seg, i, 1), decoding++;
    int64_t left = decoding ? (PREFILL_ROWS < SD_STEP_ROWS - decoding ? PREFILL_ROWS : SD_STEP_ROWS - decoding) : SD_STEP_ROWS;
    bool taken[SD_ENGINE_SLOTS_MAX] = {false};
    while (left > 0) {
        int best = -1;
        for (int i = 0; i < e->opt.n_slots; i++) {
            const sd_slot *sl = &e->slot[i];
            if (!sl->seq || taken[i] || !sd_slot__in_prompt(sl)) continue;
            if (best < 0 || sl->job->arrived < e->slot[best].job->arrived) best = i;
        }
        if (best < 0) break;
        int64_t rows = e->slot[best].seq->ids.n - e->slot[best].n_run;
        if (rows > left) rows = left;
        taken[best] = true;
        add_segment(e, &n_seg, best, rows);
        left -= rows;
    }
    return n_seg;
}

/* The n likeliest of logits, likeliest first, ties to the lower id. */
static void find_top(sd_top *out, int n, const float *logits, int64_t n_vocab, double log_sum)
{
    int k = 0;
    for (int64_t i = 0; i < n_vocab; i++) {
        if (k == n && !(logits[i] > out[k - 1].lp)) continue;
        int at = k < n ? k++ : k - 1;
        while (at > 0 && out[at - 1].lp < logits[i]) out[at] = out[at - 1], at--;
        out[at] = (sd_top){(int32_t)i, logits[i]};
    }
    for (int i = 0; i < k; i++) out[i].lp = (float)((double)out[i].lp - log_sum);
}

/* The logits that are sampled from: with biases and penalties where there are any. */
static const float *shaped(sd_slot *sl, const float *logits, int64_t n)
{
    const sd_seq *s = sl->seq;
    if (!s->n_bias && !s->said_count) return logits;
    float *y = sl->scratch + n;
    memcpy(y, logits, (size_t)n * sizeof *y);
    for (int i = 0; i < s->n_bias; i++) y[s->bias[i].id] += s->bias[i].add;
    for (int64_t t = 0; t < n && s->said_count; t++)
        if (s->said_count[t]) y[t] -= (float)(s->presence + s->frequency * (double)s->said_count[t]);
    return y;
}

typedef struct choice { sd_slot *sl; const float *logits; int32_t id; float lp; } choice;
typedef struct choose_job { const sd_engine *e; choice *c; } choose_job;

/* Chooses the next token of one sequence; runs on a worker. The stream of chance is that of `sonde run`: by seed and position. */
static void pick(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const choose_job *a = arg;
    int64_t n = a->e->m->cfg.n_vocab;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        choice *c = &a->c[i];
        sd_seq *s = c->sl->seq;
        sd_rng rng = sd_rng_make(s->seed, "sample", (uint64_t)c->sl->n);
        c->id = sd_sample(a->e->ex, &s->sample, shaped(c->sl, c->logits, n), n, &rng, c->sl->scratch);
        if (c->id < 0 || s->n_top < 0) continue;
        double sum = sd_logsumexp(a->e->ex, c->logits, n);
        c->lp = (float)((double)c->logits[c->id] - sum);
        if (s->n_top > 0) find_top(s->top + s->n_said * s->n_top, s->n_top, c->logits, n, sum);
    }
}

static void say(sd_engine *e, const choice *c)
{
    sd_slot *sl = c->sl;
    sd_seq *s = sl->seq;
    sd_err err = {0};
    double now = sd_now();
    if (c->id < 0) {
        sd_fail(&err, SD_E_FAIL, "the logits at position %" PRId64 " are not finite%s", sl->n - 1, s->edits ? " under the steer" : "");
        sd_hint(&err, "%s", s->edits ? "take a smaller value for the steer" : "the weights may hold NaN, or numbers too large for this --mode");
        sd_engine__end(e, sl, SD_SEQ_FAILED, &err);
        return;
    }
    sd_metrics_observe(e->opt.metrics, s->n_said ? SD_HIST_BETWEEN : SD_HIST_FIRST_TOKEN, now - s->last_said);
    s->last_said = now;
    if (sd_tok_ends(e->m->tok, c->id)) {
        sd_engine__end(e, sl, SD_SEQ_STOP, NULL);
        return;
    }
    if (s->said_count && s->said_count[c->id] < UINT16_MAX) s->said_count[c->id]++;
    sd_metrics_add(e->opt.metrics, SD_COUNT_COMPLETION_TOKENS, 1);
    pthread_mutex_lock(&e->lock);
    s->said[s->n_said] = (sd_said){c->id, c->lp};
    bool full = ++s->n_said == s->n_new;
    sl->job->version++;
    pthread_cond_broadcast(&sl->job->changed);
    pthread_mutex_unlock(&e->lock);
    if (full) sd_engine__end(e, sl, SD_SEQ_LENGTH, NULL);
}

/* What a step gave: positions move on, tokens are chosen. */
static void take(sd_engine *e, const sd_segment *seg, const int *which, int n_seg)
{
    choice c[SD_ENGINE_SLOTS_MAX];
    int n = 0;
    for (int k = 0; k < n_seg; k++) {
        sd_slot *sl = &e->slot[which[k]];
        memcpy(sl->tok + sl->n, seg[k].tok, (size_t)seg[k].n * sizeof *sl->tok);
        sl->n += seg[k].n;
        if (sd_slot__in_prompt(sl)) {
            sl->n_run += seg[k].n;
            sd_metrics_add(e->opt.metrics, SD_COUNT_PROMPT_TOKENS, (uint64_t)seg[k].n);
        }
        if (seg[k].want) c[n++] = (choice){.sl = sl, .logits = seg[k].logits.data};
    }
    choose_job a = {e, c};
    sd_parallel_for(e->ex->n_threads, n, 1, pick, &a);
    for (int k = 0; k < n_seg; k++) {
        sd_slot *sl = &e->slot[which[k]];
        if (sl->seq->n_new == 0 && !sd_slot__in_prompt(sl)) sd_engine__end(e, sl, SD_SEQ_LENGTH, NULL);
    }
    for (int i = 0; i < n; i++) say(e, &c[i]);
}

bool sd_engine__left(void *self)
{
    const sd_engine *e = self;
    for (int k = 0; k < e->n_seg; k++) {
        const sd_slot *sl = &e->slot[e->seg_slot[k]];
        /* Short segments cost a step little, and giving it up costs the others what it had done. */
        if (sl->rows >= LONG_ROWS && atomic_load(&sl->job->cancel)) return true;
    }
    return false;
}

void sd_engine__step(sd_engine *e)
{
    sd_err err = {0};
    int n_seg = e->n_seg = make_step(e);
    if (n_seg == 0) return;
    sd_metrics_add(e->opt.metrics, SD_COUNT_STEPS, 1);
    sd_status st = sd_runner_step(e->runner, e->seg, n_seg, -1, &err);
    if (!st) take(e, e->seg, e->seg_slot, n_seg);
    if (!st || st == SD_E_CANCELLED) return; /* cancelled: the loop ends that job, then the others' step is made */
    e->n_seg = 0;
    /* One sequence's hook or numbers stopped the step, and no session has moved: each alone, so that only that one fails. */
    for (int k = 0; k < n_seg; k++) {
        sd_slot *sl = &e->slot[e->seg_slot[k]];
        if (!sd_runner_step(e->runner, &e->seg[k], 1, -1, &err)) {
            take(e, &e->seg[k], &e->seg_slot[k], 1);
            continue;
        }
        sd_session_rewind(sl->s, 0);
        sl->n = 0;
        sd_engine__end(e, sl, SD_SEQ_FAILED, &err);
    }
}
