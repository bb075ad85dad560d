/* libcurl's multi interface: a few transfers under way, their places taken by the next prompts. */
#include "lab/endpoint.h"

#include "base/json.h"

#include <ctype.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <strings.h>

enum { PARALLEL = 4, MAX_PARALLEL = 32, RETRIES = 2, SAME = 16, WORD = 4 }; /* SAME: bytes of a prompt that tell it; WORD: of a word that is not shown */
#define TIMEOUT 120.0
#define PAUSE 0.5 /* before the first try again, doubled each time: what OpenAI's client does */
#define MAX_PAUSE 60.0
#define MAX_BODY ((size_t)1 << 24)
#define MAX_KEY ((size_t)1 << 14) /* of a header: servers take 8 KB, 16 at most */

bool sd_endpoint_is(const char *spec)
{
    return strncmp(spec, "http://", 7) == 0 || strncmp(spec, "https://", 8) == 0;
}

void sd_endpoint__body(sd_buf *out, const sd_endpoint *e, const char *system, const char *text, int64_t n_gen)
{
    sd_jw w;
    sd_jw_init(&w, out);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "model", e->model ? e->model : "default");
    sd_jw_key(&w, "messages");
    sd_jw_arr(&w);
    for (int k = system ? 0 : 1; k < 2; k++) {
        sd_jw_obj(&w);
        sd_jw_kstr(&w, "role", k ? "user" : "system");
        sd_jw_kstr(&w, "content", k ? text : system);
        sd_jw_end(&w);
    }
    sd_jw_end(&w);
    sd_jw_ki64(&w, "max_tokens", n_gen);
    sd_jw_ki64(&w, "temperature", 0);
    sd_jw_kbool(&w, "stream", false);
    sd_jw_end(&w);
}

sd_status sd_endpoint__answer(sd_buf *out, int64_t *n_tokens, sd_slice body, sd_err *err)
{
    json_t *root = NULL;
    *n_tokens = -1;
    sd_status st = sd_json_parse(&root, body.p, body.n, "the endpoint's answer", err);
    if (st) return st;
    const json_t *content = json_object_get(json_object_get(json_array_get(json_object_get(root, "choices"), 0), "message"), "content");
    if (json_is_string(content)) {
        sd_buf_put(out, json_string_value(content), json_string_length(content));
        const json_t *n = json_object_get(json_object_get(root, "usage"), "completion_tokens");
        if (json_is_integer(n)) *n_tokens = json_integer_value(n);
    } else {
        st = sd_fail(err, SD_E_FORMAT, "the endpoint's answer has no choices[0].message.content");
    }
    json_decref(root);
    return st;
}

typedef struct transfer {
    CURL *curl;
    sd_buf in, out;
    int64_t prompt; /* -1: free */
    int tries;
    double again;   /* when it is to be tried again; 0: it is under way, or free */
} transfer;

typedef struct asker {
    const sd_endpoint *e;
    const sd_endpoint_want *w;
    const char *const *text;
    char url[1100], bare[1100]; /* bare: as it may be shown */
    struct curl_slist *headers;
    CURLM *multi;
    transfer t[MAX_PARALLEL];
    int n_t;
    sd_buf answer;
    int64_t done, n;
} asker;

static size_t receive(char *p, size_t size, size_t n, void *self)
{
    sd_buf *b = self;
    sd_buf_put(b, p, size * n);
    return b->failed ? 0 : size * n;
}

static sd_status start(asker *a, transfer *t, sd_err *err)
{
    double s = a->e->timeout_s > 0 ? a->e->timeout_s : TIMEOUT;
    sd_buf_reset(&t->in);
    sd_buf_reset(&t->out);
    sd_endpoint__body(&t->out, a->e, a->w->system, a->text[t->prompt], a->w->n_gen);
    sd_status st = sd_buf_check(&t->out, "a request", err);
    if (st) return st;
    curl_easy_setopt(t->curl, CURLOPT_URL, a->url);
    curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(t->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, a->headers);
    curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, t->out.p);
    curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE, (long)t->out.n);
    curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, &t->in);
    curl_easy_setopt(t->curl, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->curl, CURLOPT_TIMEOUT_MS, (long)(1000 * s));
    return curl_multi_add_handle(a->multi, t->curl) == CURLM_OK ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: a request");
}

void sd_url_bare(char *out, size_t cap, const char *text)
{
    size_t n = 0;
    for (const char *c = text; *c && n + 1 < cap; c++) {
        out[n++] = *c;
        if (*c != '/' || c - text < 2 || c[-1] != '/' || c[-2] != ':') continue;
        const char *end = c + 1 + strcspn(c + 1, "/?# \t\n\"'"), *at = NULL;
        for (const char *k = c + 1; k < end; k++)
            if (*k == '@') at = k;
        if (at) c = at;
    }
    out[n] = 0;
}

bool sd_endpoint__repeats(const char *said, const char *prompt)
{
    size_t n = strlen(prompt), k = n < SAME ? n : SAME;
    for (size_t i = 0; k && i + k <= n; i++) {
        char part[SAME + 1];
        memcpy(part, prompt + i, k);
        part[k] = 0;
        if (strstr(said, part)) return true;
    }
    return false;
}

static bool in_word(char c) { return (unsigned char)c >= 0x80 || isalnum((unsigned char)c); }

/* Is the word w [n] one of text's, whatever its case? */
static bool has_word(const char *text, const char *w, size_t n)
{
    for (const char *c = text; *c; c++)
        if (strncasecmp(c, w, n) == 0 && !in_word(c[n]) && (c == text || !in_word(c[-1]))) return true;
    return false;
}

/* Scripts without spaces: two letters of theirs in a row. */
static bool has_part(const char *text, const char *w, size_t n)
{
    for (size_t i = 0; i + 6 <= n; i++) {
        char part[7] = {0};
        memcpy(part, w + i, 6);
        if ((unsigned char)part[0] >= 0xC0 && strstr(text, part)) return true;
    }
    return false;
}

void sd_endpoint__mask(char *said, const char *prompt)
{
    char *to = said;
    for (const char *c = said; *c;) {
        size_t n = 0;
        while (c[n] && in_word(c[n])) n++;
        if (n >= WORD && (has_word(prompt, c, n) || has_part(prompt, c, n))) *to++ = '.', *to++ = '.';
        else memmove(to, c, n ? n : 1), to += n ? n : 1;
        c += n ? n : 1;
    }
    *to = 0;
}

/* The sentence an OpenAI-compatible server puts into error.message, or the first bytes of what it said; not when it repeats the prompt, which may be of a
 * set of harmful ones, and without the prompt's words. */
static void server_says(char *out, size_t cap, sd_slice body, const char *prompt)
{
    json_t *root = NULL;
    const char *s = NULL;
    if (body.n && !sd_json_parse(&root, body.p, body.n, "the endpoint's answer", NULL)) s = json_string_value(json_object_get(json_object_get(root, "error"), "message"));
    snprintf(out, cap, "%.*s", s ? 200 : (int)(body.n < 80 ? body.n : 80), s ? s : body.n ? body.p : "nothing");
    json_decref(root);
    if (sd_endpoint__repeats(out, prompt)) snprintf(out, cap, "a sentence that repeats the prompt and is not shown");
    else sd_endpoint__mask(out, prompt);
}

/* Seconds until a transfer is tried again: what the server asks for (Retry-After), at most a minute. */
static double pause_of(const transfer *t)
{
    curl_off_t asked = 0;
    double s = PAUSE * (double)(1 << (t->tries < 7 ? t->tries : 7));
    if (curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &asked) == CURLE_OK && asked > 0) s = (double)asked;
    return s < MAX_PAUSE ? s : MAX_PAUSE;
}

/* A transfer is over: an answer, none, another try, or the end of all. */
static sd_status finish(asker *a, transfer *t, CURLcode code, sd_err *err)
{
    long status = 0;
    int64_t n_tokens = -1;
    char why[160] = "", says[256];
    int retries = a->e->retries < 0 ? 0 : a->e->retries ? a->e->retries : RETRIES;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(a->multi, t->curl);
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_URL_MALFORMAT || code == CURLE_PEER_FAILED_VERIFICATION) {
        /* A server that is not there is no bad input: as a port that is in use. */
        sd_fail(err, code == CURLE_URL_MALFORMAT ? SD_E_ARG : SD_E_FAIL, "%s: %s", a->bare, curl_easy_strerror(code));
        return sd_hint(err, "is the server running, and the address right?");
    }
    if (code == CURLE_OK && status >= 400 && status < 500 && status != 408 && status != 429) {
        server_says(says, sizeof says, (sd_slice){t->in.p, t->in.n}, a->text[t->prompt]);
        sd_fail(err, SD_E_IO, "%s answers %ld: %s", a->bare, status, says);
        return sd_hint(err, status == 401 || status == 403 ? "give the key with --api-key-file" : "look at the address and at the model's name");
    }
    if (code != CURLE_OK) snprintf(why, sizeof why, "%s", code == CURLE_OPERATION_TIMEDOUT ? "timed out" : curl_easy_strerror(code));
    else if (status != 200) snprintf(why, sizeof why, "status %ld", status);
    if (*why && t->tries < retries) {
        t->again = sd_now() + pause_of(t);
        t->tries++;
        return SD_OK;
    }
    sd_buf_reset(&a->answer);
    if (!*why && sd_endpoint__answer(&a->answer, &n_tokens, (sd_slice){t->in.p ? t->in.p : "", t->in.n}, NULL)) snprintf(why, sizeof why, "no chat completion");
    sd_status st = a->w->on_answer(a->w->self, t->prompt, *why ? (sd_slice){"", 0} : (sd_slice){a->answer.n ? a->answer.p : "", a->answer.n}, n_tokens, *why ? why : NULL, err);
    t->prompt = -1;
    a->done++;
    sd_progress_update(a->w->progress, "answers", (double)a->done, (double)a->n, "prompts");
    return st;
}

static sd_status run(asker *a, sd_err *err)
{
    int64_t next = 0;
    sd_status st = SD_OK;
    while (!st && a->done < a->n) {
        int running = 0, left = 0;
        CURLMsg *msg;
        for (int i = 0; i < a->n_t && next < a->n && !st; i++)
            if (a->t[i].prompt < 0) {
                a->t[i].prompt = next++;
                a->t[i].tries = 0;
                st = start(a, &a->t[i], err);
            }
        for (int i = 0; i < a->n_t && !st; i++)
            if (a->t[i].again > 0 && sd_now() >= a->t[i].again) {
                a->t[i].again = 0;
                st = start(a, &a->t[i], err);
            }
        if (st) break;
        curl_multi_perform(a->multi, &running);
        while (!st && (msg = curl_multi_info_read(a->multi, &left)))
            if (msg->msg == CURLMSG_DONE) {
                transfer *t = NULL;
                curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
                st = finish(a, t, msg->data.result, err);
            }
        if (!st && a->done < a->n) curl_multi_poll(a->multi, NULL, 0, 200, NULL); /* also through pauses: it returns early when something comes */
        if (!st && sd_progress_cancelled(a->w->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %" PRId64 " of %" PRId64 " prompts", a->done, a->n);
    }
    return st;
}

sd_status sd_endpoint_ask(const sd_endpoint *e, const char *const *text, int64_t n, const sd_endpoint_want *want, sd_err *err)
{
    static bool begun;
    asker *a = NULL;
    sd_buf auth;
    sd_status st = sd_alloc_zero(&a, sizeof *a, "requests", err);
    if (st) return st;
    if (!begun) curl_global_init(CURL_GLOBAL_DEFAULT), begun = true; /* from the main thread, before any transfer */
    a->e = e, a->w = want, a->text = text, a->n = n;
    size_t length = strlen(e->url);
    while (length && e->url[length - 1] == '/') length--;
    const char *tail = "/chat/completions";
    bool has = length > strlen(tail) && strncmp(e->url + length - strlen(tail), tail, strlen(tail)) == 0;
    sd_url_bare(a->bare, sizeof a->bare, e->url);
    if (length > 1000) st = sd_fail(err, SD_E_ARG, "the address is too long");
    else snprintf(a->url, sizeof a->url, "%.*s%s", (int)length, e->url, has ? "" : tail);
    a->n_t = e->parallel > 0 ? e->parallel < MAX_PARALLEL ? e->parallel : MAX_PARALLEL : PARALLEL;
    sd_buf_init(&a->answer, MAX_BODY);
    a->headers = curl_slist_append(NULL, "Content-Type: application/json");
    sd_buf_init(&auth, MAX_KEY);
    if (e->key) {
        sd_buf_printf(&auth, "Authorization: Bearer %s", e->key);
        if (!st) st = sd_buf_check(&auth, "the endpoint's key", err);
        if (!st) a->headers = curl_slist_append(a->headers, sd_buf_str(&auth));
    }
    sd_buf_release(&auth);
    a->multi = curl_multi_init();
    if (!st && !a->multi) st = sd_fail(err, SD_E_NOMEM, "out of memory: requests");
    for (int i = 0; i < a->n_t; i++) {
        sd_buf_init(&a->t[i].in, MAX_BODY);
        sd_buf_init(&a->t[i].out, MAX_BODY);
        a->t[i].prompt = -1;
        if (!st && !(a->t[i].curl = curl_easy_init())) st = sd_fail(err, SD_E_NOMEM, "out of memory: requests");
    }
    if (!st) st = run(a, err);
    for (int i = 0; i < a->n_t; i++) {
        if (a->t[i].curl && a->t[i].prompt >= 0) curl_multi_remove_handle(a->multi, a->t[i].curl);
        if (a->t[i].curl) curl_easy_cleanup(a->t[i].curl);
        sd_buf_release(&a->t[i].in);
        sd_buf_release(&a->t[i].out);
    }
    if (a->multi) curl_multi_cleanup(a->multi);
    curl_slist_free_all(a->headers);
    sd_buf_release(&a->answer);
    sd_free(a);
    return st;
}
