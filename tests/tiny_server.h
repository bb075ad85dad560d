/* A server without its HTTP part on the tiny model: what handlers get. */
#ifndef SD_TEST_TINY_SERVER_H
#define SD_TEST_TINY_SERVER_H

#include "tiny_open.h"

#include "base/json.h"
#include "model/model.h"
#include "serve/server_int.h"

typedef struct tiny_server { sd_exec *ex; sd_model *m; sd_server s; } tiny_server;

static inline void tiny_server_open(tiny_server *t, int n_slots, int n_queue)
{
    sd_err err = {0};
    *t = (tiny_server){0};
    sd_status st = tiny_open(&t->ex, &t->m, &err);
    t->s.opt = (sd_serve_opt){.ex = t->ex, .m = t->m, .model_name = "tiny", .model_sha256 = "0", .data_dir = "/nonexistent"};
    if (!st) st = sd_metrics_new(&t->s.metrics, &err);
    if (!st) st = sd_registry__open(&t->s, &err);
    if (!st) st = sd_engine_new(&t->s.engine, t->ex, t->m, &(sd_engine_opt){.n_slots = n_slots, .n_queue = n_queue, .metrics = t->s.metrics}, &err);
    if (st) fprintf(stderr, "%s\n", err.msg), abort();
}

static inline void tiny_server_close(tiny_server *t)
{
    sd_engine_free(t->s.engine);
    sd_registry__close(&t->s);
    sd_metrics_free(t->s.metrics);
    sd_model_close(t->m);
    sd_exec_free(t->ex);
}

static inline bool tiny_gone(void *self) { (void)self; return false; }
/* self: what stands behind the '?'; a value is good until the next call. */
static inline const char *tiny_query(void *self, const char *key)
{
    static char value[256];
    size_t n = strlen(key);
    for (const char *p = self; p && *p; p += strcspn(p, "&"), p += *p == '&')
        if (strncmp(p, key, n) == 0 && p[n] == '=') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(p + n + 1, "&"), p + n + 1);
            return value;
        }
    return NULL;
}

/* A request with this body to a route; the whole answer (of a stream: all its events) in out, NUL-terminated. */
static inline int tiny_ask(tiny_server *t, const char *method, const char *path, sd_slice body, sd_buf *out)
{
    char allow[64], bare[256];
    const char *query = strchr(path, '?');
    sd_problem p = {0};
    sd_request rq = {.body = body, .query = tiny_query, .gone = tiny_gone, .self = (void *)(uintptr_t)(query ? query + 1 : NULL)};
    sd_reply rp = {0};
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(path, "?"), path);
    const sd_route *r = sd_route__find(method, bare, rq.arg, allow);
    sd_buf_init(&rp.body, 1 << 26);
    sd_buf_init(&rp.ignored, 1024);
    sd_buf_reset(out);
    int http = r ? sd_route__run(&t->s, r, &rq, &rp, &p) : sd_problem_set(&p, *allow ? 405 : 404, NULL, "there is no such route");
    if (http) sd_problem_write(&p, out);
    else sd_buf_put(out, rp.body.p, rp.body.n);
    while (rp.stream.next && rp.stream.next(rp.stream.self, out, 0.25)) {}
    if (rp.stream.end) rp.stream.end(rp.stream.self);
    sd_buf_release(&rp.body);
    sd_buf_release(&rp.ignored);
    return http ? http : 200;
}

/* GET without a body, else POST; *out, the answer, is the caller's. */
static inline int tiny_ask_json(tiny_server *t, const char *path, const char *body, json_t **out)
{
    sd_buf b;
    sd_err err = {0};
    sd_buf_init(&b, 1 << 26);
    int http = tiny_ask(t, body ? "POST" : "GET", path, sd_slice_of(body), &b);
    t_ok(sd_json_parse(out, b.p, b.n, "answer", &err), err);
    sd_buf_release(&b);
    return http;
}

#endif
