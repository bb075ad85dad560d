/* Owns: from bodies to ids, and the waiting of an exchange for its job. */
#include "serve/server_int.h"

#include "text/chat_ids.h"

#include <inttypes.h>

/* Sixteen times the body: ids, texts and vectors take six times theirs, short messages up to 25. So a body of 8 MB costs at most 144 MB. */
enum { MEMORY_BASE = 16 << 20, MEMORY_EACH = 16 };

int sd_body__parse(json_t **out, sd_slice body, const sd_field *table, sd_reply *rp, sd_problem *p)
{
    sd_err err = {0};
    *out = NULL;
    sd_status st = sd_json_parse_within(out, body.p ? body.p : "", body.n, MEMORY_BASE + MEMORY_EACH * body.n, "the body, read as JSON", &err);
    if (st) return sd_problem_of(p, &err, NULL);
    int http = json_is_object(*out) ? sd_fields_check(*out, table, "", &rp->ignored, p) : sd_problem_set(p, 400, NULL, "the body is no JSON object");
    if (!http) return 0;
    json_decref(*out);
    *out = NULL;
    return http;
}

int sd_body__ids(sd_ids *ids, const sd_server *s, const json_t *v, const char *param, sd_problem *p)
{
    sd_err err = {0};
    sd_status st = SD_OK;
    const sd_model *m = s->opt.m;
    if (json_is_string(v)) {
        st = sd_tok_encode(m->tok, (sd_slice){json_string_value(v), json_string_length(v)}, &(sd_encode_opt){0}, ids, &err);
        return st ? sd_problem_of(p, &err, param) : 0;
    }
    if (!json_is_array(v)) return sd_problem_set(p, 400, param, "%s: expected a string or an array of token ids", param);
    for (size_t i = 0; i < json_array_size(v) && !st; i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= m->cfg.n_vocab)
            return sd_problem_set(p, 400, param, "%s[%zu] is no token of a vocabulary of %" PRId64, param, i, m->cfg.n_vocab);
        st = sd_ids_push(ids, (int32_t)json_integer_value(id), &err);
    }
    return st ? sd_problem_of(p, &err, param) : 0;
}

/* Content is a string, or an array of parts {"type":"text","text":..}; it is appended to b. */
static int put_content(sd_buf *b, const json_t *content, const char *param, sd_problem *p)
{
    size_t n = json_array_size(content);
    if (json_is_string(content)) sd_buf_put(b, json_string_value(content), json_string_length(content));
    else if (!json_is_array(content)) return sd_problem_set(p, 400, param, "%s.content: expected a string or an array of text parts", param);
    for (size_t i = 0; i < n; i++) {
        const json_t *part = json_array_get(content, i), *text = json_object_get(part, "text"), *type = json_object_get(part, "type");
        if (!json_is_string(text) || !json_is_string(type) || strcmp(json_string_value(type), "text") != 0)
            return sd_problem_set(p, 400, param, "%s.content[%zu]: only parts {\"type\":\"text\",\"text\":..} are read", param, i);
        sd_buf_put(b, json_string_value(text), json_string_length(text));
    }
    return 0;
}

/* One message as the template reads it. */
static int one_message(json_t **out, const json_t *msg, const char *param, sd_problem *p)
{
    sd_buf b;
    const json_t *role = json_object_get(msg, "role"), *content = json_object_get(msg, "content");
    if (!json_is_object(msg) || !json_is_string(role)) return sd_problem_set(p, 400, param, "%s: a message is {\"role\":..,\"content\":..}", param);
    const char *r = json_string_value(role);
    if (strcmp(r, "developer") == 0) r = "system";
    if (strcmp(r, "system") != 0 && strcmp(r, "user") != 0 && strcmp(r, "assistant") != 0)
        return sd_problem_set(p, 400, param, "%s.role \"%.40s\" is none of system, developer, user, assistant", param, r);
    sd_err err = {0};
    sd_buf_init(&b, SIZE_MAX / 2); /* as long as the body at most */
    int http = put_content(&b, content, param, p);
    if (!http && sd_buf_check(&b, "a message", &err)) http = sd_problem_of(p, &err, param);
    if (!http) *out = json_pack("{s:s, s:s%}", "role", r, "content", b.p ? b.p : "", b.n);
    if (!http && !*out) http = sd_problem_set(p, 503, param, "out of memory");
    sd_buf_release(&b);
    return http;
}

static int read_messages(json_t **out, const json_t *messages, const char *param, sd_problem *p)
{
    char where[96];
    size_t n = json_array_size(messages);
    if (!json_is_array(messages) || n == 0) return sd_problem_set(p, 400, param, "%s: expected an array with at least one message", param);
    *out = json_array();
    int http = *out ? 0 : sd_problem_set(p, 503, param, "out of memory");
    for (size_t i = 0; i < n && !http; i++) {
        json_t *msg = NULL;
        snprintf(where, sizeof where, "%.60s[%zu]", param, i);
        http = one_message(&msg, json_array_get(messages, i), where, p);
        if (msg && json_array_append_new(*out, msg)) http = sd_problem_set(p, 503, param, "out of memory");
    }
    return http;
}

/* The messages, and with `open` a last one of the assistant, which is gone on with; both are the caller's, also after an error. */
static int read_chat(json_t **read, json_t **last, const sd_model *m, const json_t *messages, bool open, const char *param, sd_problem *p)
{
    *read = *last = NULL;
    if (!m->chat) return sd_problem_set(p, 400, param, "this model has no chat template that can be rendered (%s): use /v1/completions", m->no_chat);
    int http = read_messages(read, messages, param, p);
    if (!http && open) {
        size_t n = json_array_size(*read);
        json_t *msg = json_array_get(*read, n - 1);
        if (strcmp(json_string_value(json_object_get(msg, "role")), "assistant") == 0) {
            *last = json_incref(msg);
            json_array_remove(*read, n - 1);
        }
    }
    return http;
}

static sd_slice content_of(const json_t *msg)
{
    const json_t *content = json_object_get(msg, "content");
    return (sd_slice){json_string_value(content), json_string_length(content)};
}

int sd_body__chat_text(sd_buf *out, const sd_server *s, const json_t *messages, bool open, const char *param, sd_problem *p)
{
    json_t *read, *last;
    sd_err err = {0};
    const sd_model *m = s->opt.m;
    int http = read_chat(&read, &last, m, messages, open, param, p);
    if (!http) {
        sd_status st = sd_chat_render_json(m->chat, &(sd_chat_input){.messages = read, .add_generation_prompt = open}, out, &err);
        if (st) http = sd_problem_of(p, &err, param);
    }
    if (!http && last) sd_buf_put(out, content_of(last).p, content_of(last).n);
    if (!http && sd_buf_check(out, "the chat", &err)) http = sd_problem_of(p, &err, param);
    json_decref(last);
    json_decref(read);
    return http;
}

int sd_body__chat_ids(sd_ids *ids, const sd_server *s, const json_t *messages, bool parse_special, const char *param, sd_problem *p)
{
    json_t *read, *last;
    sd_err err = {0};
    const sd_model *m = s->opt.m;
    int http = read_chat(&read, &last, m, messages, true, param, p);
    if (!http) {
        const sd_chat_ids_opt opt = {.parse_special = parse_special, .tail = last ? content_of(last) : (sd_slice){"", 0}};
        sd_status st = sd_chat_ids(m->chat, m->tok, &(sd_chat_input){.messages = read, .add_generation_prompt = true}, &opt, ids, &err);
        if (st) http = sd_problem_of(p, &err, param);
    }
    json_decref(last);
    json_decref(read);
    return http;
}

int sd_job__problem(const sd_job *j, sd_problem *p)
{
    for (int i = 0; i < j->n_seq; i++) {
        if (j->seq[i].end == SD_SEQ_FAILED) return sd_problem_of(p, &j->seq[i].err, NULL);
        if (j->seq[i].end == SD_SEQ_CANCELLED) return sd_problem_set(p, 503, NULL, "the request was cancelled: the server is stopping, or the client has gone");
    }
    return 0;
}

int sd_body__fits(const sd_server *s, int64_t n, bool says, const char *param, sd_problem *p)
{
    sd_err err = {0};
    if (!sd_engine_fits(s->engine, n, says, &err)) return 0;
    sd_problem_of(p, &err, param);
    if (n) p->code = "context_length_exceeded";
    return p->http;
}

int sd_job__submit(sd_server *s, sd_job *j, sd_problem *p)
{
    sd_err err = {0};
    sd_status st = sd_engine_submit(s->engine, j, &err);
    if (st) sd_problem_of(p, &err, NULL);
    if (st == SD_E_BUSY) p->http = 429;
    return st ? p->http : 0;
}

/* How soon a client that hung up is noticed. */
static const double LOOK_S = 0.25;

int sd_job__run(sd_server *s, sd_job *j, const sd_request *rq, sd_problem *p)
{
    uint64_t seen = 0;
    int http = sd_job__submit(s, j, p);
    if (http) return http;
    while (!sd_engine_wait(s->engine, j, &seen, LOOK_S, NULL)) {
        if (!rq->gone(rq->self)) continue;
        sd_engine_cancel(s->engine, j);
    }
    return sd_job__problem(j, p);
}
