/* The body of a request, whatever its bytes: every route that takes one answers with an answer or with a problem that has a sentence, and the
 * server lives on. The first line is the route's path; one that is none chooses by its bytes. */
#include "t_fuzz.h"
#include "tiny_server.h"

#include "base/hash.h"
#include "base/map.h"

/* The monitor "x", which bodies can name. */
static void add_monitor(sd_server *s)
{
    const char *dir = t_tmpdir();
    char path[300];
    sd_buf b;
    sd_err err = {0};
    sd_buf_init(&b, 1 << 12);
    sd_buf_puts(&b, "{\"name\":\"x\",\"when\":{\"site\":\"embed\",\"gt\":0,\"vector\":[1");
    for (int64_t i = 1; i < s->opt.m->cfg.d_model; i++) sd_buf_puts(&b, ",0");
    sd_buf_puts(&b, "]}}");
    snprintf(path, sizeof path, "%s/x.json", dir);
    if (sd_file_write_atomic(path, b.p, b.n, &err) || sd_monitor__open(s, path, &err)) fprintf(stderr, "%s\n", err.msg), abort();
    sd_buf_release(&b);
    t_rmtree(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static tiny_server t;
    static sd_buf out;
    if (!t.m) {
        tiny_server_open(&t, 2, 4);
        add_monitor(&t.s);
        sd_buf_init(&out, 1 << 26);
    }
    int n_post = 0;
    const sd_route *post[32];
    for (int i = 0; sd_route__at(i); i++)
        if (sd_route__at(i)->body) post[n_post++] = sd_route__at(i);
    const uint8_t *end = memchr(p, '\n', n);
    size_t n_path = end ? (size_t)(end - p) : 0;
    const sd_route *r = post[sd_hash64(p, n_path) % (uint64_t)n_post];
    for (int i = 0; i < n_post; i++)
        if (strlen(post[i]->path) == n_path && memcmp(post[i]->path, p, n_path) == 0) r = post[i];
    if (end) n_path++;
    int http = tiny_ask(&t, r->method, r->path, (sd_slice){(const char *)p + n_path, n - n_path}, &out);
    json_t *j;
    if (http == 200) return 0;
    /* 500 would be a fault of ours that a body brought about. */
    if (http >= 500 && http != 503) abort();
    if (sd_json_parse(&j, out.p, out.n, "problem", NULL)) abort();
    if (!json_string_length(json_object_get(json_object_get(j, "error"), "message"))) abort();
    json_decref(j);
    return 0;
}
T_FUZZ_MAIN("fuzz_request")
