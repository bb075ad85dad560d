/* Owns: jobs, the queue, the engine's life and the loop of its thread. */
#include "serve/engine_int.h"

#include "base/log.h"

#include <inttypes.h>
#include <math.h>
#include <time.h>

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

sd_status sd_engine_fits(const sd_engine *e, int64_t n, bool says, sd_err *err)
{
    const int64_t ctx = e->opt.n_ctx;
    if (n < 1) return sd_fail(err, SD_E_ARG, "the prompt has no tokens");
    if (n + says <= ctx) return SD_OK;
    sd_fail(err, SD_E_ARG, "the prompt has %" PRId64 " tokens, the context is %" PRId64, n, ctx);
    return sd_hint(err, ctx < e->m->max_ctx ? "shorten the prompt, or start the server with a larger --ctx" : "shorten the prompt; the model reads no more");
}

static sd_status prepare(sd_engine *e, sd_seq *s, sd_err *err)
{
    const int64_t left = e->opt.n_ctx - s->ids.n;
    sd_status st = sd_sample_check(&s->sample, err);
    if (!st) st = sd_engine_fits(e, s->ids.n, s->n_new > 0, err);
    if (st) return st;
    if (s->n_new > left) s->n_new = left;
    if (s->n_top > e->m->cfg.n_vocab) s->n_top = (int)e->m->cfg.n_vocab; /* there are no more tokens to tell of */
    if (s->n_new > 0) st = sd_alloc(&s->said, (size_t)s->n_new * sizeof *s->said, "an answer", err);
    if (!st && s->n_new > 0 && s->n_top > 0) st = sd_alloc(&s->top, (size_t)(s->n_new * s->n_top) * sizeof *s->top, "an answer", err);
    if (!st && (s->presence != 0 || s->frequency != 0))
        st = sd_alloc_zero(&s->said_count, (size_t)e->m->cfg.n_vocab * sizeof *s->said_count, "penalties", err);
    return st;
}

sd_status sd_engine_submit(sd_engine *e, sd_job *j, sd_err *err)
{
    sd_status st = SD_OK;
    const int room = e->opt.n_queue + e->opt.n_slots;
    if (j->n_seq > room) {
        sd_fail(err, SD_E_ARG, "the request has %d sequences (prompts times choices), the server takes %d at a time", j->n_seq, room);
        return sd_hint(err, "ask in parts, or start the server with a larger --queue");
    }
    for (int i = 0; i < j->n_seq && !st; i++) st = prepare(e, &j->seq[i], err);
    if (st) return st;
    j->arrived = sd_now();
    pthread_mutex_lock(&e->lock);
    if (e->closed) st = sd_fail(err, SD_E_CANCELLED, "the server is stopping");
    else if (e->n_waiting + j->n_seq > room - e->n_running) {
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

/* ---- the thread ---- */

static void drop_cancelled(sd_engine *e, bool all)
{
    for (int i = 0; i < e->opt.n_slots; i++) {
        sd_slot *sl = &e->slot[i];
        if (!sl->seq) continue;
        if (all || atomic_load(&sl->job->cancel)) sd_engine__end(e, sl, SD_SEQ_CANCELLED, NULL);
        else if (atomic_load(&sl->seq->halt)) sd_engine__end(e, sl, SD_SEQ_HALTED, NULL);
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
        sd_engine__admit(e);
        sd_engine__step(e);
    }
}

/* ---- life ---- */

static sd_status open_slot(sd_engine *e, sd_slot *sl, sd_err *err)
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
        st = sd_runner_new(&e->runner, ex, m, &(sd_runner_opt){.max_rows = SD_STEP_ROWS, .max_logit_rows = n, .n_ctx = e->opt.n_ctx, .stop = sd_engine__left, .self = e}, err);
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
