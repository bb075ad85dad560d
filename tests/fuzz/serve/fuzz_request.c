/* The body of a request, whatever its bytes: every route that takes one answers with an answer or with a problem that has a sentence, and the
 * server lives on. The first line is the route's path; one that is none chooses by its bytes. */
#include "t_fuzz.h"
#include "tiny_server.h"

#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static tiny_server t;
    static sd_buf out;
    if (!t.m) {
        tiny_server_open(&t, 2, 4);
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
