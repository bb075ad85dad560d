/* The body of a request, whatever its bytes: every route that takes one answers with an answer or with a problem that has a sentence, and the
 * server lives on. The first byte chooses the route. */
#include "t_fuzz.h"
#include "tiny_server.h"

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
    if (!n) return 0;
    const sd_route *r = post[(p[0] - 'a') % n_post < 0 ? 0 : (p[0] - 'a') % n_post];
    int http = tiny_ask(&t, r->method, r->path, (sd_slice){(const char *)p + 1, n - 1}, &out);
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
