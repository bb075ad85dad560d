/* Owns: from the queue into a slot, the prefix cache, and out of it again. */
#include "serve/engine_int.h"

enum { MIN_SHARED = 16, NO_ID = -1 }; /* MIN_SHARED: tokens of a common beginning that are worth waiting for or copying */

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

/* A monitor counts once a sequence, however many steers name it: by those that looked and held most. */
static void count_monitors(const sd_engine *e, const sd_seq *s)
{
    for (int i = 0; i < s->n_steer; i++) {
        const char *name = sd_steer_monitor(s->steer[i]);
        int64_t looked = 0, held = 0;
        bool counted = !*name;
        for (int k = 0; k < i && !counted; k++) counted = strcmp(sd_steer_monitor(s->steer[k]), name) == 0;
        for (int k = i; k < s->n_steer && !counted; k++) {
            const sd_steer_applied a = sd_steer_get_applied(s->steer[k]);
            if (strcmp(sd_steer_monitor(s->steer[k]), name) != 0) continue;
            if (a.n_looked > looked) looked = a.n_looked;
            if (a.n_held > held) held = a.n_held;
        }
        if (!counted) sd_metrics_monitor(e->opt.metrics, name, looked, held);
    }
}

void sd_engine__end(sd_engine *e, sd_slot *sl, sd_seq_end how, const sd_err *err)
{
    sd_job *j = sl->job;
    sd_seq *s = sl->seq;
    for (int i = 0; i < sl->n_hook; i++) sd_session_detach(sl->s, sl->hook[i]);
    count_monitors(e, s);
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

static int64_t common(const sd_slot *sl, const sd_seq *s, int64_t computed)
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
        const sd_slot *sl = &e->slot[i];
        if (!sl->seq || sl->n_run >= sl->seq->ids.n || sl->edits != s->edits) continue;
        int64_t n = sl->seq->ids.n < s->ids.n - 1 ? sl->seq->ids.n : s->ids.n - 1, same = 0;
        while (same < n && sl->seq->ids.v[same] == s->ids.v[same]) same++;
        if (same > sl->n_run && same >= have + MIN_SHARED) return true;
    }
    return false;
}

/* The idle slot to take, and the slot whose beginning to take over; NULL when no slot is idle. */
static sd_slot *choose(sd_engine *e, const sd_seq *s, sd_slot **from, int64_t *shared)
{
    sd_slot *idle = NULL;
    int64_t idle_n = 0;
    *from = NULL;
    *shared = 0;
    for (int i = 0; i < e->opt.n_slots; i++) {
        sd_slot *sl = &e->slot[i];
        int64_t n = s->watch || s->afresh ? 0 : common(sl, s, sl->n);
        if (n > *shared) *shared = n, *from = sl;
        if (sl->seq) continue;
        /* The slot that fits best; among those that fit alike, the one used longest ago. */
        if (!idle || n > idle_n || (n == idle_n && sl->used < idle->used)) idle = sl, idle_n = n;
    }
    if (idle && *shared < idle_n + MIN_SHARED) *from = idle, *shared = idle_n;
    return idle;
}

static sd_status attach(sd_slot *sl, sd_seq *s, sd_err *err)
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
static void start(sd_engine *e, sd_slot *sl, sd_slot *from, int64_t shared, sd_job *j, sd_seq *s)
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
        sd_engine__end(e, sl, SD_SEQ_FAILED, &err);
        return;
    }
    sd_metrics_add(e->opt.metrics, SD_COUNT_PROMPT_CACHED, (uint64_t)shared);
    if (s->edits) sd_metrics_add(e->opt.metrics, SD_COUNT_STEERED, 1);
}

/* Jobs of clients that left, wherever they wait: their places are free at once. */
static void drop_waiting(sd_engine *e)
{
    sd_job *gone = NULL, **at = &e->first;
    pthread_mutex_lock(&e->lock);
    e->last = NULL;
    while (*at) {
        sd_job *j = *at;
        if (!atomic_load(&j->cancel)) {
            e->last = j;
            at = &j->next;
            continue;
        }
        e->n_waiting -= j->n_seq - j->n_admitted;
        *at = j->next;
        j->next = gone;
        gone = j;
    }
    pthread_mutex_unlock(&e->lock);
    while (gone) {
        sd_job *j = gone;
        int n = j->n_seq;
        gone = j->next; /* with the end of its last sequence the job is its maker's again */
        for (int i = j->n_admitted; i < n; i++) end_seq(e, j, &j->seq[i], SD_SEQ_CANCELLED, NULL);
    }
}

void sd_engine__admit(sd_engine *e)
{
    drop_waiting(e);
    for (;;) {
        sd_slot *from, *sl;
        int64_t shared;
        pthread_mutex_lock(&e->lock);
        sd_job *j = e->first;
        pthread_mutex_unlock(&e->lock);
        if (!j) return;
        sd_seq *s = &j->seq[j->n_admitted];
        sl = choose(e, s, &from, &shared);
        if (!sl || (!s->watch && !s->afresh && better_wait(e, s, shared))) return;
        /* Out of the list first: when its last sequence ends, the job is its maker's again. */
        pthread_mutex_lock(&e->lock);
        e->n_waiting--;
        if (++j->n_admitted == j->n_seq) {
            e->first = j->next;
            if (!e->first) e->last = NULL;
        }
        pthread_mutex_unlock(&e->lock);
        start(e, sl, from, shared, j, s);
    }
}
