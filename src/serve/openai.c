/* Owns: OpenAI's shapes: answers in one piece, chunks of a stream, log-probabilities, usage. */
#include "serve/openai.h"

#include <inttypes.h>

#define SAMPLING                                                                                                                    \
    {.name = "model", .type = SD_FIELD_STR, .help = "a name of /v1/models; the only model when absent"},                            \
    {.name = "max_tokens", .type = SD_FIELD_INT, .lo = 1, .hi = 1 << 30, .help = "tokens at most"},                                 \
    {.name = "temperature", .type = SD_FIELD_NUM, .lo = 0, .hi = 2, .help = "0 is greedy; default 1"},                              \
    {.name = "top_p", .type = SD_FIELD_NUM, .lo = 0, .hi = 1, .help = "the likeliest tokens that hold this share"},                 \
    {.name = "top_k", .type = SD_FIELD_INT, .lo = 0, .hi = 1 << 20, .help = "the K likeliest; 0 is all"},                           \
    {.name = "min_p", .type = SD_FIELD_NUM, .lo = 0, .hi = 1, .help = "tokens at least this times as likely as the likeliest"},     \
    {.name = "n", .type = SD_FIELD_INT, .lo = 1, .hi = 16, .help = "choices"},                                                      \
    {.name = "stop", .type = SD_FIELD_ANY, .help = "a string, or up to 4: the text ends before the first one"},                     \
    {.name = "stream", .type = SD_FIELD_BOOL, .help = "server-sent events"},                                                        \
    {.name = "stream_options", .type = SD_FIELD_OBJ, .help = "{\"include_usage\": true}"},                                          \
    {.name = "seed", .type = SD_FIELD_INT, .help = "of the random stream"},                                                         \
    {.name = "logit_bias", .type = SD_FIELD_OBJ, .help = "token id: -100 to 100, added to its logit"},                              \
    {.name = "presence_penalty", .type = SD_FIELD_NUM, .lo = -2, .hi = 2, .help = "off the logit of what was said"},                \
    {.name = "frequency_penalty", .type = SD_FIELD_NUM, .lo = -2, .hi = 2, .help = "the same, a time"},                             \
    {.name = "user", .type = SD_FIELD_ANY, .help = "not looked at"},                                                                \
    {.name = "sonde", .type = SD_FIELD_OBJ, .help = "steer, monitors, compare, prompt_baseline, parse_special, top_k, min_p; another field is refused"}

const sd_field sd_body_chat[] = {
    {.name = "messages", .type = SD_FIELD_ARR, .required = true, .help = "role (system, developer, user, assistant) and content; a last one of the assistant is gone on with"},
    SAMPLING,
    {.name = "max_completion_tokens", .type = SD_FIELD_INT, .lo = 1, .hi = 1 << 30, .help = "as max_tokens"},
    {.name = "logprobs", .type = SD_FIELD_BOOL, .help = "log-probabilities of what was said, before temperature, after steering"},
    {.name = "top_logprobs", .type = SD_FIELD_INT, .lo = 0, .hi = SD_SEQ_TOP_MAX, .help = "the likeliest tokens beside each"},
    {.name = "response_format", .type = SD_FIELD_OBJ, .help = "only {\"type\":\"text\"}"},
    {.name = "tools", .type = SD_FIELD_ARR, .help = "refused unless empty"},
    {.name = "functions", .type = SD_FIELD_ARR, .help = "refused unless empty"},
    {.name = "tool_choice", .type = SD_FIELD_ANY, .help = "only \"none\" and \"auto\""},
    {0}};
const sd_field sd_body_completions[] = {
    {.name = "prompt", .type = SD_FIELD_ANY, .required = true, .help = "a string, an array of ids, or an array of either"},
    SAMPLING,
    {.name = "logprobs", .type = SD_FIELD_INT, .lo = 0, .hi = SD_SEQ_TOP_MAX, .help = "the likeliest tokens beside each"},
    {.name = "echo", .type = SD_FIELD_BOOL, .help = "refused when true"},
    {.name = "suffix", .type = SD_FIELD_STR, .help = "refused unless empty"},
    {.name = "best_of", .type = SD_FIELD_INT, .lo = 1, .hi = 16, .help = "refused when more than n"},
    {0}};

/* ---- reading the engine ---- */

/* What a token adds to the answer: a control token nothing. */
static sd_slice said_text(const sd_tok *tok, int32_t id) { return sd_tok_is_special(tok, id) ? (sd_slice){"", 0} : sd_tok_bytes(tok, id); }

void sd_run__read(sd_run *r, int i, sd_buf *out)
{
    sd_lane_text *l = &r->lane[i];
    sd_seq *s = &r->job->seq[i];
    while (l->n_read < r->state[i].n_said && !l->say.stopped) {
        if (!sd_say_put(&l->say, said_text(r->s->opt.m->tok, s->said[l->n_read].id), out)) atomic_store(&s->halt, true);
        l->n_read++;
    }
    if (r->state[i].end == SD_SEQ_RUNS || l->over) return;
    sd_say_end(&l->say, out);
    l->over = true;
}

const char *sd_run__reason(const sd_run *r, int i)
{
    if (!r->lane[i].over) return NULL;
    return r->state[i].end == SD_SEQ_LENGTH && !r->lane[i].say.stopped ? "length" : "stop";
}

int sd_run__finish(sd_run *r, const sd_request *rq, sd_problem *p)
{
    for (bool finished = false; !finished;) {
        finished = sd_engine_wait(r->s->engine, r->job, &r->seen, 0.25, r->state);
        for (int i = 0; i < r->n; i++) sd_run__read(r, i, &r->lane[i].text);
        if (!finished && rq->gone(rq->self)) sd_engine_cancel(r->s->engine, r->job);
    }
    return sd_job__problem(r->job, p);
}

/* ---- log-probabilities ---- */

static void put_token(sd_jw *w, const sd_run *r, int32_t id, double lp)
{
    sd_slice b = sd_tok_bytes(r->s->opt.m->tok, id);
    sd_jw_key(w, "token");
    sd_jw_slice(w, b);
    sd_jw_kf64(w, "logprob", lp);
    sd_jw_key(w, "bytes");
    sd_jw_arr(w);
    for (size_t k = 0; k < b.n; k++) sd_jw_i64(w, (unsigned char)b.p[k]);
    sd_jw_end(w);
}

void sd_run__logprobs(sd_jw *w, const sd_run *r, int i, int64_t from, int64_t to)
{
    const sd_seq *s = &r->job->seq[i];
    sd_jw_obj(w);
    sd_jw_key(w, "content");
    sd_jw_arr(w);
    for (int64_t t = from; t < to; t++) {
        sd_jw_obj(w);
        put_token(w, r, s->said[t].id, (double)s->said[t].lp);
        sd_jw_key(w, "top_logprobs");
        sd_jw_arr(w);
        for (int k = 0; k < s->n_top; k++) {
            sd_jw_obj(w);
            put_token(w, r, s->top[t * s->n_top + k].id, (double)s->top[t * s->n_top + k].lp);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_key(w, "refusal");
    sd_jw_null(w);
    sd_jw_end(w);
}

/* A token of a text, as the next value or key; what is no text is spelt as OpenAI spells it: "bytes:\xe2\x82". */
static void put_text_token(sd_jw *w, sd_slice text, bool key)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    if (sd_utf8_valid_prefix(text) == text.n) sd_buf_put(&b, text.p, text.n);
    else {
        sd_buf_puts(&b, "bytes:");
        for (size_t i = 0; i < text.n; i++) sd_buf_printf(&b, "\\x%02x", (unsigned char)text.p[i]);
    }
    (key ? sd_jw_key : sd_jw_str)(w, sd_buf_str(&b));
    sd_buf_release(&b);
}

/* A member of the object of likeliest tokens; of tokens with the same text only the likeliest. */
static void put_text_top(sd_jw *w, const sd_tok *tok, const sd_top *top, int k)
{
    sd_slice text = sd_tok_bytes(tok, top[k].id);
    for (int i = 0; i < k; i++)
        if (sd_slice_eq(sd_tok_bytes(tok, top[i].id), text)) return;
    put_text_token(w, text, true);
    sd_jw_f64(w, (double)top[k].lp);
}

/* Characters that begin in a token: what stands before a token in the text is the sum of these. */
static int64_t n_begun(sd_slice t)
{
    int64_t n = 0;
    for (size_t i = 0; i < t.n; i++) n += ((unsigned char)t.p[i] & 0xc0) != 0x80;
    return n;
}

static void put_text_logprobs(sd_jw *w, const sd_run *r, int i, int64_t from, int64_t to)
{
    const sd_seq *s = &r->job->seq[i];
    const sd_tok *tok = r->s->opt.m->tok;
    int64_t at = 0;
    sd_jw_obj(w);
    sd_jw_key(w, "tokens");
    sd_jw_arr(w);
    for (int64_t t = from; t < to; t++) put_text_token(w, sd_tok_bytes(tok, s->said[t].id), false);
    sd_jw_end(w);
    sd_jw_key(w, "token_logprobs");
    sd_jw_arr(w);
    for (int64_t t = from; t < to; t++) sd_jw_f64(w, (double)s->said[t].lp);
    sd_jw_end(w);
    sd_jw_key(w, "top_logprobs");
    sd_jw_arr(w);
    for (int64_t t = from; t < to; t++) {
        const sd_top *top = s->n_top ? s->top + t * s->n_top : NULL;
        sd_jw_obj(w);
        for (int k = 0; k < s->n_top; k++) put_text_top(w, tok, top, k);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_key(w, "text_offset");
    sd_jw_arr(w);
    for (int64_t t = 0; t < to; t++) {
        if (t >= from) sd_jw_i64(w, at);
        at += n_begun(said_text(tok, s->said[t].id));
    }
    sd_jw_end(w);
    sd_jw_end(w);
}

static void put_logprobs(sd_jw *w, sd_run *r, int i)
{
    sd_lane_text *l = &r->lane[i];
    sd_jw_key(w, "logprobs");
    if (r->job->seq[i].n_top < 0) {
        sd_jw_null(w);
        return;
    }
    (r->chat ? sd_run__logprobs : put_text_logprobs)(w, r, i, l->n_told, l->n_read);
    l->n_told = l->n_read;
}

/* ---- answers ---- */

static void put_head(sd_jw *w, const sd_run *r, const char *object)
{
    char print[64];
    snprintf(print, sizeof print, "sonde-%s-%.8s", sd_version(), r->s->opt.model_sha256);
    sd_jw_kstr(w, "id", r->id);
    sd_jw_kstr(w, "object", object);
    sd_jw_ki64(w, "created", r->created);
    sd_jw_kstr(w, "model", r->model);
    sd_jw_kstr(w, "system_fingerprint", print);
}

static void put_usage(sd_jw *w, const sd_run *r)
{
    int64_t prompt = 0, said = 0, cached = 0;
    for (int i = 0; i < r->n; i++) {
        said += r->lane[i].n_read;
        if (i % r->n_each) continue; /* a prompt counts once, however many choices follow it */
        prompt += r->lane[i].n_prompt;
        cached += r->job->seq[i].n_cached;
    }
    sd_jw_key(w, "usage");
    sd_jw_obj(w);
    sd_jw_ki64(w, "prompt_tokens", prompt);
    sd_jw_ki64(w, "completion_tokens", said);
    sd_jw_ki64(w, "total_tokens", prompt + said);
    sd_jw_key(w, "prompt_tokens_details");
    sd_jw_obj(w);
    sd_jw_ki64(w, "cached_tokens", cached);
    sd_jw_end(w);
    sd_jw_end(w);
}

/* What was done to a choice that is over: nothing is said of plain ones outside compare. */
static void put_sonde(sd_jw *w, const sd_run *r, int i)
{
    const sd_lane_text *l = &r->lane[i];
    if (!l->name && !r->edits[i].n) return;
    sd_jw_key(w, "sonde");
    sd_jw_obj(w);
    if (l->name) sd_jw_kstr(w, "lane", l->name);
    sd_jw_ki64(w, "cached_positions", r->job->seq[i].n_cached);
    sd_edits__write(w, &r->edits[i]);
    sd_jw_end(w);
}

static void put_run(sd_jw *w, const sd_run *r)
{
    sd_jw_key(w, "sonde");
    sd_jw_obj(w);
    sd_jw_kstr(w, "mode", sd_mode_name(sd_model_get_mode(r->s->opt.m)));
    sd_jw_key(w, "seed");
    sd_jw_u64(w, r->seed);
    sd_jw_end(w);
}

static void put_choice(sd_jw *w, sd_run *r, int i)
{
    const sd_buf *t = &r->lane[i].text;
    sd_slice text = {t->p ? t->p : "", t->n};
    sd_jw_obj(w);
    sd_jw_ki64(w, "index", i);
    if (r->chat) {
        sd_jw_key(w, "message");
        sd_jw_obj(w);
        sd_jw_kstr(w, "role", "assistant");
        sd_jw_key(w, "content");
        sd_jw_slice(w, text);
        sd_jw_key(w, "refusal");
        sd_jw_null(w);
        sd_jw_end(w);
    } else {
        sd_jw_key(w, "text");
        sd_jw_slice(w, text);
    }
    put_logprobs(w, r, i);
    sd_jw_kstr(w, "finish_reason", sd_run__reason(r, i));
    put_sonde(w, r, i);
    sd_jw_end(w);
}

static void put_answer(sd_run *r, sd_buf *out)
{
    sd_jw w;
    sd_jw_init(&w, out);
    sd_jw_obj(&w);
    put_head(&w, r, r->chat ? "chat.completion" : "text_completion");
    sd_jw_key(&w, "choices");
    sd_jw_arr(&w);
    for (int i = 0; i < r->n; i++) put_choice(&w, r, i);
    sd_jw_end(&w);
    put_usage(&w, r);
    put_run(&w, r);
    sd_jw_end(&w);
}

/* ---- streams ---- */

/* One event with one choice. role: the first of a chat; reason: the last. */
static void put_chunk(sd_run *r, int i, sd_slice text, bool role, const char *reason, sd_buf *out)
{
    sd_jw w;
    sd_buf_puts(out, "data: ");
    sd_jw_init(&w, out);
    sd_jw_obj(&w);
    put_head(&w, r, r->chat ? "chat.completion.chunk" : "text_completion");
    sd_jw_key(&w, "choices");
    sd_jw_arr(&w);
    sd_jw_obj(&w);
    sd_jw_ki64(&w, "index", i);
    if (r->chat) {
        sd_jw_key(&w, "delta");
        sd_jw_obj(&w);
        if (role) sd_jw_kstr(&w, "role", "assistant");
        if (role || text.n) {
            sd_jw_key(&w, "content");
            sd_jw_slice(&w, text);
        }
        sd_jw_end(&w);
    } else {
        sd_jw_key(&w, "text");
        sd_jw_slice(&w, text);
    }
    if (text.n || r->lane[i].n_told < r->lane[i].n_read) put_logprobs(&w, r, i); /* the last chunk tells those whose text was held back and dropped */
    else {
        sd_jw_key(&w, "logprobs");
        sd_jw_null(&w);
    }
    sd_jw_key(&w, "finish_reason");
    if (reason) sd_jw_str(&w, reason);
    else sd_jw_null(&w);
    if (reason) put_sonde(&w, r, i);
    sd_jw_end(&w);
    sd_jw_end(&w);
    if (r->usage) {
        sd_jw_key(&w, "usage");
        sd_jw_null(&w);
    }
    if (reason) put_run(&w, r);
    sd_jw_end(&w);
    sd_buf_puts(out, "\n\n");
}

static void put_usage_chunk(sd_run *r, sd_buf *out)
{
    sd_jw w;
    sd_buf_puts(out, "data: ");
    sd_jw_init(&w, out);
    sd_jw_obj(&w);
    put_head(&w, r, r->chat ? "chat.completion.chunk" : "text_completion");
    sd_jw_key(&w, "choices");
    sd_jw_arr(&w);
    sd_jw_end(&w);
    put_usage(&w, r);
    sd_jw_end(&w);
    sd_buf_puts(out, "\n\n");
}

static bool put_failure(const sd_run *r, sd_buf *out)
{
    sd_problem p = {0};
    if (!sd_job__problem(r->job, &p)) return false;
    if (!r->s->loopback) sd_registry__hide_folders(r->s, &p.e);
    sd_buf_puts(out, "data: ");
    sd_problem_write(&p, out);
    sd_buf_puts(out, "\n\n");
    return true;
}

static bool stream_next(void *self, sd_buf *out, double seconds)
{
    sd_run *r = self;
    sd_slice none = {"", 0};
    if (!r->began && r->chat)
        for (int i = 0; i < r->n; i++) put_chunk(r, i, none, true, NULL, out);
    if (!r->began && out->n) {
        r->began = true;
        return true;
    }
    bool finished = sd_engine_wait(r->s->engine, r->job, &r->seen, seconds, r->state);
    for (int i = 0; i < r->n; i++) {
        sd_lane_text *l = &r->lane[i];
        sd_buf_reset(&l->text);
        sd_run__read(r, i, &l->text);
        if (l->text.n) put_chunk(r, i, (sd_slice){l->text.p, l->text.n}, false, NULL, out);
        if (l->over && !l->done && r->state[i].end < SD_SEQ_CANCELLED) {
            put_chunk(r, i, none, false, sd_run__reason(r, i), out);
            l->done = true;
        }
    }
    if (!finished) return true;
    if (!put_failure(r, out)) {
        if (r->usage) put_usage_chunk(r, out);
        sd_buf_puts(out, "data: [DONE]\n\n");
    }
    return false;
}

static void stream_end(void *self)
{
    sd_run__free(self);
}

static int answer(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p, bool chat)
{
    json_t *body;
    sd_run *r;
    int http = sd_body__parse(&body, rq->body, chat ? sd_body_chat : sd_body_completions, rp, p);
    if (!http) http = sd_run__new(&r, s, body, chat, p);
    if (http) return http;
    if (r->stream) {
        rp->type = "text/event-stream";
        rp->stream = (sd_stream){stream_next, stream_end, r};
        return 0;
    }
    http = sd_run__finish(r, rq, p);
    if (!http) put_answer(r, &rp->body);
    sd_run__free(r);
    return http;
}

int sd_handle__chat(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    return answer(s, rq, rp, p, true);
}

int sd_handle__completions(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    return answer(s, rq, rp, p, false);
}
