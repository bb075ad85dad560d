/* http: libmicrohttpd, a thread a connection. Everything a request has to pass before a handler sees it stands here: the size of its
 * body, its Host and Origin, its key, its route; and how an answer leaves: in one piece, or as server-sent events with a sign of life. */
#include "serve/crowd.h"
#include "serve/server_int.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/map.h"
#include "base/rng.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 512, IDLE_S = 60, BLOCK = 16384, MAX_BODY = 8 << 20, BACKLOG = 511, NS_LOOK = 250000000 };

/* One request from its head to the end of its answer. */
typedef struct exchange {
    sd_server *s;
    struct MHD_Connection *conn;
    const sd_route *route;
    sd_request rq;
    sd_reply rp;
    sd_buf body, out;       /* out: of a stream, bytes [out_at, n) are to be sent */
    size_t out_at;
    bool too_large, last;
    double t0, spoke;       /* when the stream last had something to say */
    char method[12], allow[64];
    int code;
} exchange;

static const char *header(const exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, name);
}

static const char *query(void *self, const char *key)
{
    const exchange *x = self;
    return MHD_lookup_connection_value(x->conn, MHD_GET_ARGUMENT_KIND, key);
}

/* The peer's end of the connection is closed and nothing is left to be read. */
static bool gone(void *self)
{
    const exchange *x = self;
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    char c;
    if (!i) return true;
    ssize_t n = recv(i->connect_fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static void wait_for(const exchange *x, sd_crowd_for what)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (i) sd_crowd_wait_for(x->s->crowd, i->socket_context, what);
}

/* ---- what a request has to pass ---- */

/* "Host: NAME[:PORT]" is this machine's own name for itself, or the address that was listened at. */
static bool is_own_name(const sd_server *s, const char *text)
{
    const char *const name[] = {"localhost", "127.0.0.1", "[::1]", s->opt.host ? s->opt.host : "127.0.0.1"};
    for (int i = 0; i < 4; i++) {
        size_t n = strlen(name[i]);
        if (strncasecmp(text, name[i], n) == 0 && (text[n] == '\0' || text[n] == ':')) return true;
    }
    return false;
}

static bool same_key(sd_slice a, const char *b, size_t n)
{
    unsigned char d = a.n == n ? 0 : 1; /* every byte is looked at: the time does not tell how many were right */
    for (size_t i = 0; i < a.n; i++) d |= (unsigned char)(a.p[i] ^ (i < n ? b[i] : 0));
    return d == 0;
}

static int check_key(const exchange *x, sd_problem *p)
{
    sd_slice rest = {x->s->keys.p, x->s->keys.n}, line;
    const char *given = header(x, "Authorization");
    bool right = false;
    if (!rest.n || (x->route->flags & SD_ROUTE_OPEN)) return 0;
    if (given && strncasecmp(given, "Bearer ", 7) == 0) /* a scheme has no case (RFC 9110, 11.1) */
        while (sd_slice_cut(&rest, '\n', &line)) {
            line = sd_slice_trim(line);
            if (line.n) right |= same_key(line, given + 7, strlen(given + 7));
        }
    return right ? 0 : sd_problem_set(p, 401, NULL, "this server wants a key: Authorization: Bearer KEY");
}

/* "application/json", whatever parameters follow. */
static bool is_json(const char *type)
{
    static const char want[] = "application/json";
    size_t n = sizeof want - 1;
    if (!type || strncasecmp(type, want, n) != 0) return false;
    return type[n + strspn(type + n, " \t")] == '\0' || type[n + strspn(type + n, " \t")] == ';';
}

static int check_head(exchange *x, const char *url, sd_problem *p)
{
    const char *host = header(x, "Host"), *origin = header(x, "Origin"), *type = header(x, "Content-Type"), *length = header(x, "Content-Length");
    bool post = strcmp(x->method, "POST") == 0;
    uint64_t n;
    x->route = sd_route__find(x->method, url, x->rq.arg, x->allow);
    /* A page of another site that had its name point here would send that name (DNS rebinding). */
    if (x->s->loopback && !(host && is_own_name(x->s, host))) return sd_problem_set(p, 403, NULL, "the Host header is not this machine's: use http://127.0.0.1");
    bool own = origin && host && strstr(origin, "://") && strcmp(strstr(origin, "://") + 3, host) == 0;
    if (origin && !own && !(x->s->opt.cors && (strcmp(x->s->opt.cors, "*") == 0 || strcmp(x->s->opt.cors, origin) == 0)))
        return sd_problem_set(p, 403, NULL, "pages of %.100s may not call this server (--cors-origin)", origin);
    if (!x->route && !*x->allow) return sd_problem_set(p, 404, NULL, "there is no %.200s here: /openapi.json lists what there is", url);
    if (!x->route) return sd_problem_set(p, 405, NULL, "%.200s takes %s", url, x->allow);
    int http = check_key(x, p);
    if (http) return http;
    if (length && (!sd_parse_u64(sd_slice_of(length), &n) || n > (uint64_t)x->s->opt.max_body))
        return sd_problem_set(p, 413, NULL, "the body has more than %lld bytes", (long long)x->s->opt.max_body);
    /* Without a type too: a page of another site may send such a body without asking first (a Blob of no type). */
    if (post && !is_json(type)) return sd_problem_set(p, 415, NULL, "the body has to be application/json: Content-Type says %.100s", type ? type : "nothing");
    return 0;
}

/* ---- answers ---- */

static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
    exchange *x = cls;
    (void)pos;
    while (x->out_at == x->out.n) {
        if (x->last) return MHD_CONTENT_READER_END_OF_STREAM;
        sd_buf_reset(&x->out);
        x->out_at = 0;
        if (gone(x)) return MHD_CONTENT_READER_END_WITH_ERROR;
        x->last = !x->rp.stream.next(x->rp.stream.self, &x->out, NS_LOOK * 1e-9);
        double now = sd_now();
        if (x->out.n) x->spoke = now;
        else if (!x->last && now - x->spoke >= x->s->opt.ping_s) {
            sd_buf_puts(&x->out, ": ping\n\n");
            x->spoke = now;
        }
        if (x->out.failed) return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    size_t n = x->out.n - x->out_at < max ? x->out.n - x->out_at : max;
    memcpy(buf, x->out.p + x->out_at, n);
    x->out_at += n;
    return (ssize_t)n;
}

static void add_headers(exchange *x, struct MHD_Response *r)
{
    bool sse = x->rp.stream.next != NULL;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, x->rp.type ? x->rp.type : "application/json");
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, *x->rp.tag ? "no-cache" : "no-store");
    if (*x->rp.tag) MHD_add_response_header(r, MHD_HTTP_HEADER_ETAG, x->rp.tag);
    if (x->rp.policy) MHD_add_response_header(r, "Content-Security-Policy", x->rp.policy);
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (sse) MHD_add_response_header(r, "X-Accel-Buffering", "no");
    if (x->rp.ignored.n) MHD_add_response_header(r, "X-Sonde-Ignored", sd_buf_str(&x->rp.ignored));
    if (x->s->opt.cors) {
        MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, x->s->opt.cors);
        MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_EXPOSE_HEADERS, "Retry-After, X-Sonde-Ignored"); /* else a page's script reads neither */
    }
    if (x->code == 429 || x->code == 503) MHD_add_response_header(r, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    if (x->code == 405) MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, x->allow);
    if (x->code == 401) MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
}

static enum MHD_Result send_reply(exchange *x)
{
    struct MHD_Response *r;
    x->spoke = sd_now();
    wait_for(x, SD_CROWD_NOTHING);
    if (x->rp.stream.next) r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_stream, x, NULL);
    else if (x->code == 304) r = MHD_create_response_from_buffer(0, (void *)(uintptr_t)"", MHD_RESPMEM_PERSISTENT);
    else if (x->rp.fixed.p && x->code == 200) r = MHD_create_response_from_buffer(x->rp.fixed.n, (void *)(uintptr_t)x->rp.fixed.p, MHD_RESPMEM_PERSISTENT);
    else r = MHD_create_response_from_buffer(x->rp.body.n, x->rp.body.p ? x->rp.body.p : (void *)(uintptr_t)"", MHD_RESPMEM_MUST_COPY);
    if (!r) return MHD_NO;
    add_headers(x, r);
    enum MHD_Result rc = MHD_queue_response(x->conn, (unsigned)x->code, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result send_problem(exchange *x, sd_problem *p)
{
    if (!x->s->loopback && !atomic_load(&x->s->loading)) sd_registry__hide_folders(x->s, &p->e);
    sd_buf_reset(&x->rp.body);
    x->rp.body.failed = false;
    x->rp.type = NULL;
    x->code = p->http;
    sd_problem_write(p, &x->rp.body);
    return send_reply(x);
}

/* Pages of the allowed origin ask first whether they may. */
static enum MHD_Result send_preflight(exchange *x)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(0, (void *)(uintptr_t)"", MHD_RESPMEM_PERSISTENT);
    if (!r) return MHD_NO;
    x->code = 204;
    MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, x->s->opt.cors);
    MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_METHODS, "GET, POST");
    /* What a client calls itself by (OpenAI's for JavaScript sends a dozen X-Stainless-..) is no danger from an origin that may call at all. */
    const char *asked = header(x, MHD_HTTP_HEADER_ACCESS_CONTROL_REQUEST_HEADERS);
    MHD_add_response_header(r, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_HEADERS, asked ? asked : "authorization, content-type");
    enum MHD_Result rc = MHD_queue_response(x->conn, 204, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result handle(exchange *x)
{
    sd_problem p = {0};
    sd_err err = {0};
    x->rq.body = (sd_slice){x->body.p, x->body.n};
    wait_for(x, SD_CROWD_NOTHING);
    int http = sd_route__run(x->s, x->route, &x->rq, &x->rp, &p);
    if (!http && sd_buf_check(&x->rp.body, "the answer", &err)) http = sd_problem_of(&p, &err, NULL);
    if (http) return send_problem(x, &p);
    const char *has = header(x, "If-None-Match");
    x->code = x->rp.http ? x->rp.http : 200;
    if (*x->rp.tag && has && strcmp(has, x->rp.tag) == 0) x->code = 304;
    return send_reply(x);
}

static enum MHD_Result begin(exchange *x, const char *url)
{
    sd_problem p = {0};
    if (x->s->opt.cors && strcmp(x->method, "OPTIONS") == 0) return send_preflight(x);
    return check_head(x, url, &p) ? send_problem(x, &p) : MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method, const char *version,
                                  const char *upload, size_t *n_upload, void **state)
{
    exchange *x = *state;
    (void)version;
    if (!x) {
        x = sd_calloc(sizeof *x);
        if (!x) return MHD_NO;
        *state = x;
        x->s = cls;
        x->conn = conn;
        x->t0 = sd_now();
        x->rq = (sd_request){.query = query, .gone = gone, .self = x};
        snprintf(x->method, sizeof x->method, "%s", strcmp(method, "HEAD") == 0 ? "GET" : method);
        sd_buf_init(&x->body, (size_t)x->s->opt.max_body);
        sd_buf_init(&x->out, 1 << 26);
        sd_buf_init(&x->rp.body, 1 << 28);
        sd_buf_init(&x->rp.ignored, 1024);
        atomic_fetch_add(&x->s->n_open, 1);
        wait_for(x, SD_CROWD_BODY);
        return begin(x, url);
    }
    if (x->code) return MHD_YES;
    if (*n_upload) {
        sd_buf_put(&x->body, upload, *n_upload);
        *n_upload = 0;
        return MHD_YES;
    }
    if (x->body.failed) {
        sd_problem p = {0};
        sd_problem_set(&p, 413, NULL, "the body has more than %lld bytes", (long long)x->s->opt.max_body);
        return send_problem(x, &p);
    }
    return handle(x);
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why)
{
    exchange *x = *state;
    sd_server *s = cls;
    (void)conn;
    (void)why;
    if (!x) return;
    *state = NULL;
    wait_for(x, SD_CROWD_HEAD);
    if (x->rp.stream.end) x->rp.stream.end(x->rp.stream.self);
    /* A method that no route has is a client's own text: labels stay bounded. */
    sd_metrics_answer(s->metrics, x->route ? x->route->path : "other", x->route ? x->route->method : "other", x->code);
    sd_metrics_observe(s->metrics, SD_HIST_REQUEST, sd_now() - x->t0);
    sd_buf_release(&x->body);
    sd_buf_release(&x->out);
    sd_buf_release(&x->rp.body);
    sd_buf_release(&x->rp.ignored);
    sd_free(x);
    atomic_fetch_sub(&s->n_open, 1);
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **place, enum MHD_ConnectionNotificationCode what)
{
    const sd_server *s = cls;
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) sd_crowd_leave(s->crowd, *place);
    else *place = i ? sd_crowd_enter(s->crowd, i->connect_fd) : NULL;
}

/* ---- life ---- */

static sd_status open_socket(sd_server *s, int *out, sd_err *err)
{
    const char *host = s->opt.host ? s->opt.host : "127.0.0.1";
    struct addrinfo hint = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_PASSIVE}, *a = NULL;
    char port[16];
    int one = 1, fd = -1;
    snprintf(port, sizeof port, "%d", s->opt.port);
    if (getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, &hint, &a) != 0) {
        sd_fail(err, SD_E_ARG, "--host %s is no address", host);
        return sd_hint(err, "give a number such as 127.0.0.1, ::1 or 0.0.0.0");
    }
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)a->ai_addr;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)a->ai_addr;
    s->loopback = a->ai_family == AF_INET ? (ntohl(v4->sin_addr.s_addr) >> 24) == 127 : IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) != 0;
    sd_status st = SD_OK;
    if (!s->loopback && !s->keys.n) {
        sd_fail(err, SD_E_ARG, "%s can be reached from other machines: that needs --api-key-file", host);
        st = sd_hint(err, "leave --host out to serve this machine alone");
    }
    if (!st && (fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0) st = sd_fail_errno(err, errno, "a socket");
    if (!st) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!st && (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)) {
        int e = errno;
        st = e == EADDRINUSE ? sd_fail(err, SD_E_BUSY, "port %d of %s is in use", s->opt.port, host) : sd_fail_errno(err, e, "port %d of %s", s->opt.port, host);
        sd_hint(err, "choose another with --port");
        close(fd);
    }
    freeaddrinfo(a);
    if (!st) *out = fd;
    return st;
}

static sd_status start_daemon(sd_server *s, sd_err *err)
{
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    int fd = -1;
    sd_status st = open_socket(s, &fd, err);
    if (st) return st;
    if (getsockname(fd, (struct sockaddr *)&at, &n) == 0)
        s->port = ntohs(at.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&at)->sin_port : ((struct sockaddr_in6 *)(void *)&at)->sin6_port);
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | MHD_USE_ITC;
    s->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
                                 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_END);
    if (s->daemon) return SD_OK;
    close(fd);
    return sd_fail(err, SD_E_FAIL, "the HTTP server could not be started");
}

static sd_status read_keys(sd_server *s, sd_err *err)
{
    sd_slice rest, line;
    bool any = false;
    sd_buf_init(&s->keys, 1 << 16);
    if (!s->opt.key_file) return SD_OK;
    sd_status st = sd_file_read(&s->keys, s->opt.key_file, err);
    if (st) return st;
    rest = (sd_slice){s->keys.p, s->keys.n};
    while (sd_slice_cut(&rest, '\n', &line)) any |= sd_slice_trim(line).n > 0;
    if (any) return SD_OK;
    sd_fail(err, SD_E_FORMAT, "%s has no key in it", s->opt.key_file);
    return sd_hint(err, "one key a line");
}

sd_status sd_serve_listen(sd_server **out, const sd_serve_opt *opt, sd_err *err)
{
    sd_server *s;
    struct timespec now;
    *out = NULL;
    sd_status st = sd_alloc_zero(&s, sizeof *s, "the server", err);
    if (st) return st;
    s->opt = *opt;
    if (!s->opt.max_body) s->opt.max_body = MAX_BODY;
    if (!(s->opt.ping_s > 0)) s->opt.ping_s = 5;
    s->opt.model_sha256 = "";
    clock_gettime(CLOCK_REALTIME, &now);
    s->started = now.tv_sec;
    s->salt = sd_hash64(&now, sizeof now) ^ (uint64_t)getpid();
    atomic_store(&s->loading, true);
    st = sd_metrics_new(&s->metrics, err);
    if (!st) st = read_keys(s, err);
    if (!st) st = sd_crowd_new(&s->crowd, CONNECTIONS, err);
    if (!st) st = start_daemon(s, err);
    if (st) sd_serve_stop(s, 0);
    else *out = s;
    return st;
}

sd_status sd_serve_load(sd_server *s, const sd_serve_model *m, sd_err *err)
{
    const sd_serve_opt *o = &s->opt;
    s->opt.ex = m->ex;
    s->opt.m = m->m;
    s->opt.model_sha256 = m->model_sha256 ? m->model_sha256 : "";
    s->opt.reference = m->reference;
    sd_status st = sd_registry__open(s, err);
    if (!st && m->m)
        st = sd_engine_new(&s->engine, m->ex, m->m, &(sd_engine_opt){.n_slots = o->n_slots, .n_queue = o->n_queue, .n_ctx = o->n_ctx, .metrics = s->metrics}, err);
    if (!st) atomic_store(&s->loading, false); /* what was written above is seen by who sees this */
    return st;
}

int sd_serve_port(const sd_server *s)
{
    return s->port;
}

void sd_serve_stop(sd_server *s, double grace)
{
    if (!s) return;
    double t0 = sd_now();
    const struct timespec look = {.tv_nsec = NS_LOOK / 10};
    atomic_store(&s->stopping, true);
    if (s->daemon) {
        MHD_socket fd = MHD_quiesce_daemon(s->daemon);
        if (fd != MHD_INVALID_SOCKET) close(fd);
    }
    if (s->engine) sd_engine_close(s->engine);
    while (atomic_load(&s->n_open) > 0 && sd_now() - t0 < grace) nanosleep(&look, NULL);
    if (s->engine) sd_engine_stop(s->engine);
    if (s->daemon) MHD_stop_daemon(s->daemon);
    sd_crowd_free(s->crowd);
    sd_engine_free(s->engine);
    sd_registry__close(s);
    sd_metrics_free(s->metrics);
    sd_buf_release(&s->keys);
    sd_free(s);
}
