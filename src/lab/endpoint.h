/* endpoint: a model behind an OpenAI-compatible HTTP interface, asked for greedy answers. The only place that opens outbound connections, and only to the address
 * the user names; redirects are not followed and no proxy of the environment is used.
 *
 * What fails is told apart: a request that is refused as such (the server is not there, 400 to 404) is an error at once; a request that times out, is answered with
 * 429 or 5xx after the retries (after 0.5 and 1 s, or what Retry-After asks for up to a minute), or with something that is no chat completion, gives no answer (`why` says what), which an audit counts as unscored. */
#ifndef SD_LAB_ENDPOINT_H
#define SD_LAB_ENDPOINT_H

#include "base/log.h"
#include "base/str.h"

typedef struct sd_endpoint {
    const char *url;      /* "http://127.0.0.1:8080/v1": "/chat/completions" is added unless it ends in it */
    const char *model;    /* the name sent; NULL: "default" */
    const char *key;      /* bearer token; NULL: none */
    double timeout_s;     /* of one request; 0: 120 */
    int retries;          /* 0: 2; negative: none */
    int parallel;         /* requests under way; 0: 4 */
} sd_endpoint;

bool sd_endpoint_is(const char *spec); /* begins with http:// or https:// */

typedef struct sd_endpoint_want {
    const char *system;   /* NULL: no system message is sent */
    int64_t n_gen;
    void *self;
    /* In no fixed order, on the caller's thread. why NULL: text is the answer (valid during the call), n_tokens what the server says, or -1; else there is none. */
    sd_status (*on_answer)(void *self, int64_t i, sd_slice text, int64_t n_tokens, const char *why, sd_err *err);
    const sd_progress *progress;
} sd_endpoint_want;
sd_status sd_endpoint_ask(const sd_endpoint *e, const char *const *text, int64_t n, const sd_endpoint_want *want, sd_err *err);

/* text as it may be kept and shown: a URL's user and password ("http://USER:PASSWORD@HOST/..") are left out. */
void sd_url_bare(char *out, size_t cap, const char *text);

/* Internal: whether what a server said has 16 bytes in a row of a prompt. The body of a request; the answer of a response (SD_E_FORMAT: it is no chat completion). Visible for tests. */
bool sd_endpoint__repeats(const char *said, const char *prompt);
void sd_endpoint__mask(char *said, const char *prompt); /* Internal: words of four bytes and more that are the prompt's become "..", in place */
void sd_endpoint__body(sd_buf *out, const sd_endpoint *e, const char *system, const char *text, int64_t n_gen);
sd_status sd_endpoint__answer(sd_buf *out, int64_t *n_tokens, sd_slice body, sd_err *err);

#endif
