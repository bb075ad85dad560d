/* Owns the thread and the blocks. The source is touched by the thread, or by seek while the thread stands still. */
#include "lab/learn_ahead.h"
#include "base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { SLOTS = 3 }; /* one is being trained on, one waits, one is being written */

typedef struct slot { float *x; int32_t *column; int64_t cap, rows; } slot; /* column [3, cap] */

struct sd_ahead {
    sd_act_source in;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    slot slot[SLOTS];
    int64_t written, taken; /* slots so far; the block that was handed out last is taken - 1 and keeps its slot */
    int64_t row;            /* rows handed out: the taker's */
    bool busy, ended, quit, hold, started;
    sd_status st;           /* what stopped the source */
    sd_err err;
};

static sd_status copy(slot *s, const sd_act_block *b, int64_t d, sd_err *err)
{
    const int64_t n = b->x.rows;
    if (n > s->cap) {
        sd_free(s->x), sd_free(s->column);
        *s = (slot){0};
        sd_status st = sd_alloc(&s->x, (size_t)(n * d) * sizeof *s->x, "a block read ahead", err);
        if (!st) st = sd_alloc(&s->column, (size_t)(3 * n) * sizeof *s->column, "a block read ahead", err);
        if (st) return st;
        s->cap = n;
    }
    for (int64_t i = 0; i < n; i++) memcpy(s->x + i * d, sd_mat_row(b->x, i), (size_t)d * sizeof *s->x);
    memcpy(s->column, b->token_id, (size_t)n * sizeof *s->column);
    memcpy(s->column + s->cap, b->doc, (size_t)n * sizeof *s->column);
    memcpy(s->column + 2 * s->cap, b->pos, (size_t)n * sizeof *s->column);
    s->rows = n;
    return SD_OK;
}

static void *reads(void *self)
{
    sd_ahead *a = self;
    pthread_mutex_lock(&a->lock);
    while (!a->quit) {
        if (a->hold || a->ended || a->st || a->written - a->taken >= SLOTS - 1) { /* one slot is with the taker */
            pthread_cond_wait(&a->changed, &a->lock);
            continue;
        }
        a->busy = true;
        pthread_mutex_unlock(&a->lock);
        sd_act_block b;
        sd_err err = {0};
        sd_status st = a->in.next(a->in.self, &b, &err);
        if (!st && b.x.rows) st = copy(&a->slot[a->written % SLOTS], &b, a->in.d, &err);
        pthread_mutex_lock(&a->lock);
        a->busy = false;
        if (st) a->st = st, a->err = err;
        else if (b.x.rows == 0) a->ended = true;
        else a->written++;
        pthread_cond_broadcast(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

sd_status sd_ahead_new(sd_ahead **out, sd_act_source in, sd_err *err)
{
    sd_ahead *a = NULL;
    sigset_t all, before;
    *out = NULL;
    const sd_status st = sd_alloc_zero(&a, sizeof *a, "a source read ahead", err);
    if (st) return st;
    a->in = in;
    a->row = in.tell(in.self);
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->changed, NULL);
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the thread that started the run */
    a->started = pthread_create(&a->thread, NULL, reads, a) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (a->started) {
        *out = a;
        return SD_OK;
    }
    sd_ahead_free(a);
    return sd_fail(err, SD_E_NOMEM, "no thread can be started to read the model");
}

void sd_ahead_free(sd_ahead *a)
{
    if (!a) return;
    if (a->started) {
        pthread_mutex_lock(&a->lock);
        a->quit = true;
        pthread_cond_broadcast(&a->changed);
        pthread_mutex_unlock(&a->lock);
        (void)pthread_join(a->thread, NULL);
    }
    for (int i = 0; i < SLOTS; i++) sd_free(a->slot[i].x), sd_free(a->slot[i].column);
    (void)pthread_mutex_destroy(&a->lock);
    (void)pthread_cond_destroy(&a->changed);
    sd_free(a);
}

static sd_status next(void *self, sd_act_block *out, sd_err *err)
{
    sd_ahead *a = self;
    sd_status st = SD_OK;
    *out = (sd_act_block){.x = sd_mat_of(NULL, 0, a->in.d)};
    pthread_mutex_lock(&a->lock);
    while (a->taken == a->written && !a->ended && !a->st) pthread_cond_wait(&a->changed, &a->lock);
    if (a->taken < a->written) { /* what was read before an error comes first */
        const slot *s = &a->slot[a->taken % SLOTS];
        *out = (sd_act_block){sd_mat_of(s->x, s->rows, a->in.d), s->column, s->column + s->cap, s->column + 2 * s->cap};
        a->taken++;
        a->row += s->rows;
        pthread_cond_broadcast(&a->changed);
    } else if (a->st) {
        st = a->st;
        if (err) *err = a->err;
    }
    pthread_mutex_unlock(&a->lock);
    return st;
}

static int64_t tell(void *self) { return ((sd_ahead *)self)->row; }

static sd_status seek(void *self, int64_t row, sd_err *err)
{
    sd_ahead *a = self;
    pthread_mutex_lock(&a->lock);
    a->hold = true;
    while (a->busy) pthread_cond_wait(&a->changed, &a->lock);
    const sd_status st = a->in.seek(a->in.self, row, err);
    if (!st) {
        a->row = row;
        a->written = a->taken = 0;
        a->ended = false;
        a->st = SD_OK;
    }
    a->hold = false;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    return st;
}

sd_act_source sd_ahead_source(sd_ahead *a) { return (sd_act_source){.self = a, .d = a->in.d, .next = next, .tell = tell, .seek = seek}; }
