/* Requests, whatever their bytes: every route answers with an answer or with a problem that has a sentence, and the server lives on. The first line is
 * "PATH" of a route that takes a body, or "GET PATH?QUERY"; one that is neither chooses a route by its bytes. What follows is the body. */
#include "../../unit/store/store_sample.h"
#include "tiny_server.h"
#include "t_fuzz.h"
#include "t_fuzz_json.h"

/* The monitor "x", which bodies can name. */
static void add_monitor(sd_server *s)
{
    sd_buf b;
    sd_err err = {0};
    sd_buf_init(&b, 1 << 12);
    sd_buf_puts(&b, "{\"name\":\"x\",\"when\":{\"site\":\"embed\",\"gt\":0,\"vector\":[1");
    for (int64_t i = 1; i < s->opt.m->cfg.d_model; i++) sd_buf_puts(&b, ",0");
    sd_buf_puts(&b, "]}}");
    if (sd_monitor__open(s, t_fuzz_write("x.json", (const uint8_t *)b.p, b.n), &err)) fprintf(stderr, "%s\n", err.msg), abort();
    sd_buf_release(&b);
}

static void open_server(tiny_server *t)
{
    static const char events[] = "{\"event\":\"start\",\"seed\":1}\n{\"event\":\"step\",\"loss\":0.5}\nnone\n{\"event\":\"st", audit[] = "{\"schema\":\"sonde.audit_run/1\",\"replies\":[]}";
    static const char *store[1], *run[1], *record[1];
    sd_err err = {0};
    tiny_server_open(t, 2, 4);
    sd_registry__close(&t->s);
    run[0] = t_fuzz_dir();
    (void)t_fuzz_write("events.jsonl", (const uint8_t *)events, strlen(events));
    record[0] = strdup(t_fuzz_write("a.json", (const uint8_t *)audit, strlen(audit)));
    store[0] = sample_path(t_fuzz_dir());
    sd_status st = sample_build(store[0], false, &err);
    t->s.opt.store = store, t->s.opt.n_store = 1;
    t->s.opt.run = run, t->s.opt.n_run = 1;
    t->s.opt.audit = record, t->s.opt.n_audit = 1;
    if (!st) st = sd_registry__open(&t->s, &err);
    if (st) fprintf(stderr, "%s\n", err.msg), abort();
    add_monitor(&t->s);
}

static int ask(tiny_server *t, const uint8_t *p, size_t n, sd_buf *out)
{
    char line[600];
    int n_post = 0;
    const sd_route *post[32];
    for (int i = 0; sd_route__at(i); i++)
        if (sd_route__at(i)->body) post[n_post++] = sd_route__at(i);
    const uint8_t *end = memchr(p, '\n', n);
    size_t n_path = end ? (size_t)(end - p) : 0;
    const sd_slice body = {(const char *)p + n_path + (end != NULL), n - n_path - (end != NULL)};
    snprintf(line, sizeof line, "%.*s", (int)(n_path < sizeof line ? n_path : sizeof line - 1), (const char *)p);
    if (strncmp(line, "GET /", 5) == 0) return tiny_ask(t, "GET", line + 4, (sd_slice){"", 0}, out);
    for (int i = 0; i < n_post; i++)
        if (strcmp(post[i]->path, line) == 0) return tiny_ask(t, post[i]->method, line, body, out);
    if (strncmp(line, "/sonde/v1/features/", 19) == 0) return tiny_ask(t, "POST", line, body, out); /* a label by hand */
    return tiny_ask(t, "POST", post[sd_hash64(p, n_path) % (uint64_t)n_post]->path, body, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static tiny_server t;
    static sd_buf out;
    if (!t.m) {
        open_server(&t);
        sd_buf_init(&out, 1 << 26);
    }
    int http = ask(&t, p, n, &out);
    json_t *j;
    if (http == 200) return 0;
    /* 500 would be a fault of ours that a request brought about. */
    if (http >= 500 && http != 503) fprintf(stderr, "%d: %.*s\n", http, (int)out.n, out.p), abort();
    if (sd_json_parse(&j, out.p, out.n, "problem", NULL)) fprintf(stderr, "%.*s\n", (int)out.n, out.p), abort();
    if (!json_string_length(json_object_get(json_object_get(j, "error"), "message"))) abort();
    json_decref(j);
    return 0;
}
T_FUZZ_MAIN("fuzz_request")
