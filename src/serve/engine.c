/* Owns: the queue, the slots, the loop of steps. Only the engine's thread touches slots, the runner and a sequence's own fields; the
 * lock guards the queue, the counts that others read, and what was said. */
#include "serve/engine.h"

#include "base/log.h"
#include "base/par.h"
#include "num/ops.h"

#include <inttypes.h>
#include <math.h>
#include <time.h>

enum {
    STEP_ROWS = 512,    /* rows of a step */
    PREFILL_ROWS = 256, /* of them from prompts while others decode: a step of theirs then stays short */
    MIN_SHARED = 16,    /* tokens of a common beginning that are worth waiting for or copying */
    NO_ID = -1
};

typedef struct slot {
    sd_session *s;
    int32_t *tok;       /* [n_ctx] tokens whose keys and values are in s */
    int64_t n;
    uint64_t edits;     /* under which they were computed */
    sd_job *job;        /* NULL: idle */
    sd_seq *seq;
    int64_t n_run;      /* tokens of the prompt that are computed */
    int *hook;          /* [n_hook] ids to detach; owned while busy */
    int n_hook;
    uint64_t used;      /* tick of the last use */
    int64_t rows;       /* in the step that is being made */
    float *scratch;     /* [2 V] a copy of the logits, the sampler's */
} slot;

struct sd_engine {
    const sd_exec *ex;
    const sd_model *m;
    sd_runner *runner;
    sd_engine_opt opt;
    slot *slot;             /* [opt.n_slots] */
    sd_segment *seg;        /* [opt.n_slots] */
    int *seg_slot;          /* [opt.n_slots] */
    uint64_t tick;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work;
    sd_job *first, *last;   /* jobs with sequences that were not admitted yet */
    int n_waiting, n_running;
    bool closed, stop;
};

/* ---- jobs ---- */

sd_status sd_job_new(sd_job **out, int n_seq, sd_err *err)
{
    pthread_condattr_t a;
    sd_job *j;
    *out = NULL;
    sd_status st = sd_alloc_zero(&j, sizeof *j, "a request", err);
    if (st) return st;
    if ((st = sd_alloc_zero(&j->seq, (size_t)n_seq * sizeof *j->seq, "a request", err))) {
        sd_free(j);
        return st;
    }
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&j->changed, &a);
    pthread_condattr_destroy(&a);
    j->n_seq = n_seq;
    for (int i = 0; i < n_seq; i++) j->seq[i].n_top = -1;
    *out = j;
    return SD_OK;
}

void sd_job_free(sd_job *j)
{
    if (!j) return;
    for (int i = 0; i < j->n_seq; i++) {
        sd_ids_release(&j->seq[i].ids);
        sd_free(j->seq[i].said);
        sd_free(j->seq[i].top);
        sd_free(j->seq[i].said_count);
    }
    pthread_cond_destroy(&j->changed);
    sd_free(j->seq);
    sd_free(j);
}

static sd_status prepare(sd_engine *e, sd_seq *s, sd_err *err)
{
    sd_status st = sd_sample_check(&s->sample, err);
    int64_t n = s->ids.n, ctx = e->opt.n_ctx;
    if (st) return st;
    if (n < 1) return sd_fail(err, SD_E_ARG, "the prompt has no tokens");
    if (n + (s->n_new > 0) > ctx) {
        sd_fail(err, SD_E_ARG, "the prompt has %" PRId64 " tokens, the context is %" PRId64, n, ctx);
        return sd_hint(err, "shorten the prompt, or start the server with a larger --ctx");
    }
    if (s->n_new > ctx - n) s->n_new = ctx - n;
    if (s->n_new > 0) st = sd_alloc(&s->said, (size_t)s->n_new * sizeof *s->said, "an answer", err);
    if (!st && s->n_new > 0 && s->n_top > 0) st = sd_alloc(&s->top, (size_t)(s->n_new * s->n_top) * sizeof *s->top, "an answer", err);
    if (!st && (s->presence != 0 || s->frequency != 0))
        st = sd_alloc_zero(&s->said_count, (size_t)e->m->cfg.n_vocab * sizeof *s->said_count, "penalties", err);
    return st;
}

sd_status sd_engine_submit(sd_engine *e, sd_job *j, sd_err *err)
{
    sd_status st = SD_OK;
    for (int i = 0; i < j->n_seq && !st; i++) st = prepare(e, &j->seq[i], err);
    if (st) return st;
    j->arrived = sd_now();
    pthread_mutex_lock(&e->lock);
    if (e->closed) st = sd_fail(err, SD_E_CANCELLED, "the server is stopping");
    else if (e->n_waiting + j->n_seq > e->opt.n_queue + e->opt.n_slots - e->n_running) {
        st = sd_fail(err, SD_E_BUSY, "the queue is full: %d sequences run, %d wait", e->n_running, e->n_waiting);
        sd_hint(err, "try again in a moment");
    } else {
        if (e->last) e->last->next = j;
        else e->first = j;
        e->last = j;
        e->n_waiting += j->n_seq;
        pthread_cond_signal(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
    if (st == SD_E_BUSY) sd_metrics_add(e->opt.metrics, SD_COUNT_REFUSED, 1);
    return st;
}

static struct timespec deadline(double seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double ns = (double)t.tv_nsec + (seconds - floor(seconds)) * 1e9;
    t.tv_sec += (time_t)floor(seconds) + (ns >= 1e9);
    t.tv_nsec = (long)(ns >= 1e9 ? ns - 1e9 : ns);
    return t;
}

bool sd_engine_wait(sd_engine *e, sd_job *j, uint64_t *seen, double seconds, sd_seq_state *state)
{
    struct timespec until = deadline(seconds);
    pthread_mutex_lock(&e->lock);
    while (j->version == *seen && !j->finished)
        if (pthread_cond_timedwait(&j->changed, &e->lock, &until) != 0) break;
    *seen = j->version;
    for (int i = 0; state && i < j->n_seq; i++) state[i] = (sd_seq_state){j->seq[i].n_said, j->seq[i].end};
    bool finished = j->finished;
    pthread_mutex_unlock(&e->lock);
    return finished;
}

void sd_engine_cancel(sd_engine *e, sd_job *j)
{
    atomic_store(&j->cancel, true);
    pthread_mutex_lock(&e->lock);
    pthread_cond_signal(&e->work);
    while (!j->finished) pthread_cond_wait(&j->changed, &e->lock);
    pthread_mutex_unlock(&e->lock);
}

void sd_engine_close(sd_engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->closed = true;
    pthread_mutex_unlock(&e->lock);
}

void sd_engine_load(sd_engine *e, int *running, int *waiting)
{
    pthread_mutex_lock(&e->lock);
    *running = e->n_running;
    *waiting = e->n_waiting;
    pthread_mutex_unlock(&e->lock);
}

int64_t sd_engine_ctx(const sd_engine *e)
{
    return e->opt.n_ctx;
}

/* ---- the end of a sequence ---- */

/* Under the lock. */
static void count_end(sd_job *j)
{
    j->n_ended++;
    j->version++;
    if (j->n_ended == j->n_seq && !j->after) j->finished = true;
    pthread_cond_broadcast(&j->changed);
}

static void run_after(sd_engine *e, sd_job *j)
{
    bool well = true;
    for (int i = 0; i < j->n_seq; i++) well &= j->seq[i].end < SD_SEQ_CANCELLED;
    if (well) j->after(j->self);
    pthread_mutex_lock(&e->lock);
    j->finished = true;
    j->version++;
    pthread_cond_broadcast(&j->changed);
    pthread_mutex_unlock(&e->lock);
}

static void end_seq(sd_engine *e, sd_job *j, sd_seq *s, sd_seq_end how, const sd_err *err)
{
    if (how == SD_SEQ_CANCELLED) sd_metrics_add(e->opt.metrics, SD_COUNT_CANCELLED, 1);
    pthread_mutex_lock(&e->lock);
    s->end = how;
    if (err) s->err = *err;
    bool last = j->n_ended + 1 == j->n_seq, after = j->after != NULL;
    count_end(j); /* without `after` the job may be gone from here on */
    pthread_mutex_unlock(&e->lock);
    if (last && after) run_after(e, j);
}

static void end_slot(sd_engine *e, slot *sl, sd_seq_end how, const sd_err *err)
{
    sd_job *j = sl->job;
    sd_seq *s = sl->seq;
    for (int i = 0; i < sl->n_hook; i++) sd_session_detach(sl->s, sl->hook[i]);
    sd_free(sl->hook);
    sl->hook = NULL;
    sl->n_hook = 0;
    sl->job = NULL;
    sl->seq = NULL;
    sl->used = ++e->tick;
    pthread_mutex_lock(&e->lock);
    e->n_running--;
    pthread_mutex_unlock(&e->lock);
    end_seq(e, j, s, how, err);
}

/* ---- admission ---- */

static int64_t common(const slot *sl, const sd_seq *s, int64_t computed)
{
    int64_t n = computed < s->ids.n - 1 ? computed : s->ids.n - 1, i = 0; /* the last token is always run: its logits are wanted */
    if (sl->edits != s->edits) return 0;
    while (i < n && sl->tok[i] == s->ids.v[i]) i++;
    return i;
}

/* Another sequence is computing a beginning that this one could take over: it waits for it. */
static bool better_wait(const sd_engine *e, const sd_seq *s, int64_t have)
{
    for (int i = 0; i < e->opt.n_slots; i++) {
        const slot *sl = &e->slot[i];
        if (!sl->seq || sl->n_run >= sl->seq->ids.n || sl->edits != s->edits) continue;
        int64_t n = sl->seq->ids.n < s->ids.n - 1 ? sl->seq->ids.n : s->ids.n - 1, same = 0;
        while (same < n && sl->seq->ids.v[same] == s->ids.v[same]) same++;
        if (same > sl->n_run && same >= have + MIN_SHARED) return true;
    }
    return false;
}

/* The idle slot to take, and the slot whose beginning to take over; NULL when no slot is idle. */
static slot *choose(sd_engine *e, const sd_seq *s, slot **from, int64_t *shared)
{
    slot *idle = NULL;
    int64_t idle_n = 0;
    *from = NULL;
    *shared = 0;
    for (int i = 0; i < e->opt.n_slots; i++) {
        slot *sl = &e->slot[i];
        int64_t n = s->watch || s->afresh ? 0 : common(sl, s, sl->n);
        if (n > *shared) *shared = n, *from = sl;
        if (sl->seq) continue;
        /* The slot that fits best; among those that fit alike, the one used longest ago. */
        if (!idle || n > idle_n || (n == idle_n && sl->used < idle->used)) idle = sl, idle_n = n;
    }
    if (idle && *shared < idle_n + MIN_SHARED) *from = idle, *shared = idle_n;
    return idle;
}

static sd_status attach(slot *sl, sd_seq *s, sd_err *err)
{
    sd_status st = sd_alloc(&sl->hook, (size_t)(2 * s->n_steer + 1) * sizeof *sl->hook, "hooks", err);
    for (int i = 0; i < s->n_steer && !st; i++) {
        int id[2] = {NO_ID, NO_ID};
        st = sd_steer_attach_id(s->steer[i], sl->s, s->ids.n, id, err);
        for (int k = 0; k < 2; k++)
            if (id[k] >= 0) sl->hook[sl->n_hook++] = id[k];
    }
    if (!st && s->watch) {
        int id = NO_ID;
        st = sd_session_attach(sl->s, s->watch, &id, err);
        if (!st) sl->hook[sl->n_hook++] = id;
    }
    return st;
}

/* Puts a sequence into the slot that was chosen for it. */
static void start(sd_engine *e, slot *sl, slot *from, int64_t shared, sd_job *j, sd_seq *s)
{
    sd_err err = {0};
    sd_status st = SD_OK;
    if (from && from != sl) {
        st = sd_session_copy_prefix(sl->s, from->s, shared, &err);
        if (!st) memcpy(sl->tok, from->tok, (size_t)shared * sizeof *sl->tok);
    } else
        sd_session_rewind(sl->s, shared);
    sl->n = sl->n_run = st ? 0 : shared;
    sl->edits = s->edits;
    sl->job = j;
    sl->seq = s;
    s->n_cached = shared;
    s->last_said = j->arrived;
    pthread_mutex_lock(&e->lock);
    e->n_running++;
    pthread_mutex_unlock(&e->lock);
    if (!st) st = attach(sl, s, &err);
    if (st) {
        sl->n = 0;
        end_slot(e, sl, SD_SEQ_FAILED, &err);
        return;
    }
    sd_metrics_add(e->opt.metrics, SD_COUNT_PROMPT_CACHED, (uint64_t)shared);
    if (s->n_steer) sd_metrics_add(e->opt.metrics, SD_COUNT_STEERED, 1);
}

/* Takes waiting sequences in order; those of cancelled jobs end here. */
static void admit_waiting(sd_engine *e)
{
    for (;;) {
        slot *from = NULL, *sl = NULL;
        int64_t shared = 0;
        pthread_mutex_lock(&e->lock);
        sd_job *j = e->first;
        pthread_mutex_unlock(&e->lock);
        if (!j) return;
        sd_seq *s = &j->seq[j->n_admitted];
        bool dropped = atomic_load(&j->cancel);
        if (!dropped) {
            sl = choose(e, s, &from, &shared);
            if (!sl || (!s->watch && !s->afresh && better_wait(e, s, shared))) return;
        }
        /* Out of the list first: when its last sequence ends, the job is its maker's again. */
        pthread_mutex_lock(&e->lock);
        e->n_waiting--;
        if (++j->n_admitted == j->n_seq) {
            e->first = j->next;
            if (!e->first) e->last = NULL;
        }
        pthread_mutex_unlock(&e->lock);
        if (dropped) end_seq(e, j, s, SD_SEQ_CANCELLED, NULL);
        else start(e, sl, from, shared, j, s);
    }
}

/* ---- steps ---- */

static bool in_prompt(const slot *sl)
{
    return sl->n_run < sl->seq->ids.n;
}

static void add_segment(sd_engine *e, int *n_seg, int i, int64_t rows)
{
    slot *sl = &e->slot[i];
    sd_seq *s = sl->seq;
    bool prompt = in_prompt(sl), want = s->n_new > 0 && (!prompt || sl->n_run + rows == s->ids.n);
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
        if (e->slot[i].seq && !in_prompt(&e->slot[i])) add_segment(e, &n_seg, i, 1), decoding++;
    int64_t left = decoding ? (PREFILL_ROWS < STEP_ROWS - decoding ? PREFILL_ROWS : STEP_ROWS - decoding) : STEP_ROWS;
    bool taken[SD_ENGINE_SLOTS_MAX] = {false};
    while (left > 0) {
        int best = -1;
        for (int i = 0; i < e->opt.n_slots; i++) {
            const slot *sl = &e->slot[i];
            if (!sl->seq || taken[i] || !in_prompt(sl)) continue;
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
static const float *shaped(slot *sl, const float *logits, int64_t n)
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

typedef struct choice { slot *sl; const float *logits; int32_t id; float lp; } choice;
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
        c->id = sd_sample(&s->sample, shaped(c->sl, c->logits, n), n, &rng, c->sl->scratch);
        if (c->id < 0 || s->n_top < 0) continue;
        double sum = sd_logsumexp(c->logits, n);
        c->lp = (float)((double)c->logits[c->id] - sum);
        if (s->n_top > 0) find_top(s->top + s->n_said * s->n_top, s->n_top, c->logits, n, sum);
    }
}

static void say(sd_engine *e, const choice *c)
{
    slot *sl = c->sl;
    sd_seq *s = sl->seq;
    sd_err err = {0};
    double now = sd_now();
    if (c->id < 0) {
        sd_fail(&err, SD_E_FAIL, "the logits at position %" PRId64 " are not finite%s", sl->n - 1, s->n_steer ? " under the steer" : "");
        sd_hint(&err, "%s", s->n_steer ? "take a smaller value for the steer" : "the weights may hold NaN, or numbers too large for this --mode");
        end_slot(e, sl, SD_SEQ_FAILED, &err);
        return;
    }
    sd_metrics_observe(e->opt.metrics, s->n_said ? SD_HIST_BETWEEN : SD_HIST_FIRST_TOKEN, now - s->last_said);
    s->last_said = now;
    if (sd_tok_is_special(e->m->tok, c->id)) {
        end_slot(e, sl, SD_SEQ_STOP, NULL);
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
    if (full) end_slot(e, sl, SD_SEQ_LENGTH, NULL);
}

/* What a step gave: positions move on, tokens are chosen. */
static void take(sd_engine *e, const sd_segment *seg, const int *which, int n_seg)
{
    choice c[SD_ENGINE_SLOTS_MAX];
    int n = 0;
    for (int k = 0; k < n_seg; k++) {
        slot *sl = &e->slot[which[k]];
        memcpy(sl->tok + sl->n, seg[k].tok, (size_t)seg[k].n * sizeof *sl->tok);
        sl->n += seg[k].n;
        if (in_prompt(sl)) {
            sl->n_run += seg[k].n;
            sd_metrics_add(e->opt.metrics, SD_COUNT_PROMPT_TOKENS, (uint64_t)seg[k].n);
        }
        if (seg[k].want) c[n++] = (choice){.sl = sl, .logits = seg[k].logits.data};
    }
    choose_job a = {e, c};
    sd_parallel_for(e->ex->n_threads, n, 1, pick, &a);
    for (int k = 0; k < n_seg; k++) {
        slot *sl = &e->slot[which[k]];
        if (sl->seq->n_new == 0 && !in_prompt(sl)) end_slot(e, sl, SD_SEQ_LENGTH, NULL);
    }
    for (int i = 0; i < n; i++) say(e, &c[i]);
}

static void step(sd_engine *e)
{
    sd_err err = {0};
    int n_seg = make_step(e);
    if (n_seg == 0) return;
    sd_metrics_add(e->opt.metrics, SD_COUNT_STEPS, 1);
    if (!sd_runner_step(e->runner, e->seg, n_seg, -1, &err)) {
        take(e, e->seg, e->seg_slot, n_seg);
        return;
    }
    /* One sequence's hook or numbers stopped the step, and no session has moved: each alone, so that only that one fails. */
    for (int k = 0; k < n_seg; k++) {
        slot *sl = &e->slot[e->seg_slot[k]];
        if (!sd_runner_step(e->runner, &e->seg[k], 1, -1, &err)) {
            take(e, &e->seg[k], &e->seg_slot[k], 1);
            continue;
        }
        sd_session_rewind(sl->s, 0);
        sl->n = 0;
        end_slot(e, sl, SD_SEQ_FAILED, &err);
    }
}

static void drop_cancelled(sd_engine *e, bool all)
{
    for (int i = 0; i < e->opt.n_slots; i++) {
        slot *sl = &e->slot[i];
        if (!sl->seq) continue;
        if (all || atomic_load(&sl->job->cancel)) end_slot(e, sl, SD_SEQ_CANCELLED, NULL);
        else if (atomic_load(&sl->seq->halt)) end_slot(e, sl, SD_SEQ_HALTED, NULL);
    }
}

static void *run(void *self)
{
    sd_engine *e = self;
    for (;;) {
        pthread_mutex_lock(&e->lock);
        while (!e->stop && !e->first && !e->n_running) pthread_cond_wait(&e->work, &e->lock);
        bool stop = e->stop;
        for (sd_job *j = e->first; j && stop; j = j->next) atomic_store(&j->cancel, true);
        bool idle = !e->first && !e->n_running;
        pthread_mutex_unlock(&e->lock);
        drop_cancelled(e, stop);
        if (stop && idle) return NULL;
        admit_waiting(e);
        step(e);
    }
}

/* ---- life ---- */

static sd_status open_slot(sd_engine *e, slot *sl, sd_err *err)
{
    sd_status st = sd_session_new(&sl->s, e->m, &(sd_session_opt){.n_ctx = e->opt.n_ctx}, err);
    if (!st) st = sd_alloc(&sl->tok, (size_t)e->opt.n_ctx * sizeof *sl->tok, "a slot", err);
    if (!st) st = sd_alloc(&sl->scratch, (size_t)e->m->cfg.n_vocab * 2 * sizeof *sl->scratch, "a slot", err);
    return st;
}

sd_status sd_engine_new(sd_engine **out, const sd_exec *ex, const sd_model *m, const sd_engine_opt *opt, sd_err *err)
{
    sd_engine *e;
    *out = NULL;
    sd_status st = sd_alloc_zero(&e, sizeof *e, "the engine", err);
    if (st) return st;
    e->ex = ex;
    e->m = m;
    e->opt = *opt;
    if (!e->opt.n_slots) e->opt.n_slots = 8;
    if (!e->opt.n_queue) e->opt.n_queue = 128;
    if (!e->opt.n_ctx) e->opt.n_ctx = m->cfg.n_ctx < 4096 ? m->cfg.n_ctx : 4096;
    int64_t n = e->opt.n_slots;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    if (n > SD_ENGINE_SLOTS_MAX) st = sd_fail(err, SD_E_ARG, "%" PRId64 " slots: at most %d", n, SD_ENGINE_SLOTS_MAX);
    if (!st) st = sd_alloc_zero(&e->slot, (size_t)n * sizeof *e->slot, "slots", err);
    for (int i = 0; i < n && !st; i++) st = open_slot(e, &e->slot[i], err);
    if (!st) st = sd_alloc(&e->seg, (size_t)n * sizeof *e->seg, "slots", err);
    if (!st) st = sd_alloc(&e->seg_slot, (size_t)n * sizeof *e->seg_slot, "slots", err);
    if (!st)
        st = sd_runner_new(&e->runner, ex, m, &(sd_runner_opt){.max_rows = STEP_ROWS, .max_logit_rows = n, .n_ctx = e->opt.n_ctx}, err);
    int failed = st ? 0 : pthread_create(&e->thread, NULL, run, e);
    if (!st && failed) st = sd_fail_errno(err, failed, "the engine's thread");
    e->started = !st;
    if (st) sd_engine_free(e);
    else *out = e;
    return st;
}

void sd_engine_stop(sd_engine *e)
{
    if (!e->started) return;
    pthread_mutex_lock(&e->lock);
    e->closed = e->stop = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    e->started = false;
}

void sd_engine_free(sd_engine *e)
{
    if (!e) return;
    sd_engine_stop(e);
    for (int i = 0; e->slot && i < e->opt.n_slots; i++) {
        sd_session_free(e->slot[i].s);
        sd_free(e->slot[i].tok);
        sd_free(e->slot[i].scratch);
    }
    sd_runner_free(e->runner);
    sd_free(e->slot);
    sd_free(e->seg);
    sd_free(e->seg_slot);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->work);
    sd_free(e);
}
