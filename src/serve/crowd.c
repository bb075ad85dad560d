/* Owns: the places and the thread that looks at them. A socket is shut down, never closed, here: its connection's own thread then sees its end. */
#include "serve/crowd.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <time.h>

enum { HEAD_S = 5, BODY_S = 60, LOOK_S = 1 }; /* BODY_S: 8 MB over 1 Mbit a second */

struct sd_crowd_place { int fd; bool taken; double until; /* 0: nothing is waited for */ };

struct sd_crowd {
    pthread_mutex_t lock;
    pthread_cond_t end;
    pthread_t thread;
    bool started, stop;
    int most, n;
    sd_crowd_place *place; /* [most] */
};

static void send_away(sd_crowd *c)
{
    const double now = sd_now();
    if (c->n <= c->most / 4 * 3) return;
    for (int i = 0; i < c->most; i++) {
        sd_crowd_place *p = &c->place[i];
        if (!p->taken || p->until == 0 || now < p->until) continue;
        shutdown(p->fd, SHUT_RDWR);
        p->until = 0;
    }
}

static void *look(void *self)
{
    sd_crowd *c = self;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        t.tv_sec += LOOK_S;
        while (!c->stop && pthread_cond_timedwait(&c->end, &c->lock, &t) == 0) {}
        if (!c->stop) send_away(c);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

sd_status sd_crowd_new(sd_crowd **out, int most, sd_err *err)
{
    sd_crowd *c;
    pthread_condattr_t a;
    *out = NULL;
    sd_status st = sd_alloc_zero(&c, sizeof *c, "the connections", err);
    if (st) return st;
    c->most = most;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&c->end, &a);
    pthread_condattr_destroy(&a);
    st = sd_alloc_zero(&c->place, (size_t)most * sizeof *c->place, "the connections", err);
    const int failed = st ? 0 : pthread_create(&c->thread, NULL, look, c);
    if (failed) st = sd_fail_errno(err, failed, "the thread that looks at connections");
    c->started = !st;
    if (st) sd_crowd_free(c);
    else *out = c;
    return st;
}

void sd_crowd_free(sd_crowd *c)
{
    if (!c) return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->end);
    pthread_mutex_unlock(&c->lock);
    if (c->started) pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->end);
    pthread_mutex_destroy(&c->lock);
    sd_free(c->place);
    sd_free(c);
}

sd_crowd_place *sd_crowd_enter(sd_crowd *c, int fd)
{
    sd_crowd_place *p = NULL;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < c->most && !p; i++)
        if (!c->place[i].taken) p = &c->place[i];
    if (p) {
        *p = (sd_crowd_place){.fd = fd, .taken = true, .until = sd_now() + HEAD_S};
        c->n++;
    }
    pthread_mutex_unlock(&c->lock);
    return p;
}

void sd_crowd_leave(sd_crowd *c, sd_crowd_place *p)
{
    if (!p) return;
    pthread_mutex_lock(&c->lock);
    p->taken = false;
    c->n--;
    pthread_mutex_unlock(&c->lock);
}

void sd_crowd_wait_for(sd_crowd *c, sd_crowd_place *p, sd_crowd_for what)
{
    if (!p) return;
    pthread_mutex_lock(&c->lock);
    p->until = what == SD_CROWD_NOTHING ? 0 : sd_now() + (what == SD_CROWD_HEAD ? HEAD_S : BODY_S);
    pthread_mutex_unlock(&c->lock);
}
