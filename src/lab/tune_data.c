/* Rows to tokens. A row is a JSON object in one of the field's forms; a conversation is rendered by the model's own
 * template, and what counts is the assistant's content and the mark that ends its turn. */
#include "lab/tune_data.h"

#include "base/json.h"
#include "base/map.h"
#include "base/rng.h"
#include "lab/guard.h"
#include "text/corpus.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_MESSAGES = 256, MAX_TEXT = 64 << 20, NAMED = 8 };

typedef struct reader {
    sd_tune_set *set;
    const sd_model *m;
    const sd_tune_opt *opt;
    int64_t ctx;
    const char *path;
    int file;
    int64_t line;
    sd_buf text; /* the rendered row */
    sd_ids ids;
    uint8_t *learn; /* [text.n] bytes that count */
    size_t learn_cap;
    uint32_t without; /* of this row */
    bool deep;        /* rows of a guard's safety, half of them behind an opening */
    sd_buf said;      /* the opening's tokens and the answer, of this row */
    size_t n_said;    /* bytes of the opening, which are not learnt; 0: none */
    sd_err *err;
} reader;

static sd_status bad(const reader *r, const char *what)
{
    sd_fail(r->err, SD_E_FORMAT, "%s, line %" PRId64 ": %s", r->path, r->line, what);
    return sd_hint(r->err, "docs/TUNE.md shows the rows that are read");
}

static void name_skipped(sd_tune_set *s, const char *what)
{
    if (s->n_skip_named >= NAMED) return;
    const size_t n = strlen(s->skipped);
    snprintf(s->skipped + n, sizeof s->skipped - n, "%s%s", n ? ", " : "", what);
    s->n_skip_named++;
}

static void skip(reader *r)
{
    char at[300];
    const char *slash = strrchr(r->path, '/');
    r->set->n_skipped++;
    snprintf(at, sizeof at, "%.250s:%" PRId64, slash ? slash + 1 : r->path, r->line);
    name_skipped(r->set, at);
}

static sd_status grow(void *p, int64_t *cap, int64_t need, size_t each, const char *what, sd_err *err)
{
    void **v = p;
    if (need <= *cap) return SD_OK;
    int64_t n = *cap ? *cap : 1024;
    while (n < need) n *= 2;
    size_t bytes;
    void *q = sd_mul_size((size_t)n, each, &bytes) ? sd_realloc(*v, bytes) : NULL;
    if (!q) return sd_fail(err, SD_E_NOMEM, "out of memory: %" PRId64 " entries of %s", n, what);
    *v = q;
    *cap = n;
    return SD_OK;
}

/* Tokens [0, n) of r->ids; learn NULL: every token. Position i predicts token i + 1. */
static sd_status push_sample(reader *r, const int32_t *ids, const bool *learn, int64_t n)
{
    sd_tune_set *s = r->set;
    int64_t cap_target = s->cap;
    sd_status st = grow(&s->target, &cap_target, s->n_tok + n, sizeof *s->target, "targets", r->err);
    if (!st) st = grow(&s->tok, &s->cap, s->n_tok + n, sizeof *s->tok, "tokens", r->err);
    if (!st) st = grow(&s->sample, &s->cap_sample, s->n + 1, sizeof *s->sample, "rows", r->err);
    if (st) return st;
    sd_tune_sample *t = &s->sample[s->n++];
    *t = (sd_tune_sample){.at = s->n_tok, .n = (int32_t)n, .file = r->file, .line = r->line, .without = r->without};
    for (int64_t i = 0; i < n; i++) {
        const bool counts = i + 1 < n && (!learn || learn[i + 1]);
        s->tok[s->n_tok + i] = ids[i];
        s->target[s->n_tok + i] = counts ? ids[i + 1] : -1;
        t->n_count += counts;
    }
    s->n_tok += n;
    return SD_OK;
}

/* ---- plain text ---- */

static sd_status push_text(reader *r, sd_slice text)
{
    const sd_tok *tok = r->m->tok;
    r->ids.n = 0;
    sd_status st = sd_tok_encode(tok, text, &(sd_encode_opt){.no_special = true}, &r->ids, r->err);
    if (st) return st;
    const int64_t n = r->ids.n;
    const bool bos = sd_tok_add_bos(tok), eos = sd_tok_eos(tok) >= 0;
    r->set->n_rows++;
    if (n + bos + eos < 2) {
        skip(r);
        return SD_OK;
    }
    if (eos && (st = sd_ids_push(&r->ids, sd_tok_eos(tok), r->err))) return st;
    if (bos) {
        if ((st = sd_ids_push(&r->ids, 0, r->err))) return st;
        memmove(r->ids.v + 1, r->ids.v, (size_t)(r->ids.n - 1) * sizeof *r->ids.v);
        r->ids.v[0] = sd_tok_bos(tok);
    }
    /* Pieces share one token, so that every token but the first is predicted once. */
    for (int64_t at = 0; at + 1 < r->ids.n; at += r->ctx - 1) {
        const int64_t left = r->ids.n - at;
        if ((st = push_sample(r, r->ids.v + at, NULL, left < r->ctx ? left : r->ctx))) return st;
    }
    return SD_OK;
}

/* ---- conversations ---- */

static sd_status mark(reader *r, size_t from, size_t to)
{
    if (r->learn_cap < r->text.n) {
        uint8_t *p = sd_realloc(r->learn, r->text.n);
        if (!p) return sd_fail(r->err, SD_E_NOMEM, "out of memory: %zu bytes of a conversation", r->text.n);
        memset(p + r->learn_cap, 0, r->text.n - r->learn_cap);
        r->learn = p;
        r->learn_cap = r->text.n;
    }
    memset(r->learn + from, 1, to - from);
    return SD_OK;
}

static sd_status render_template(reader *r, const sd_chat *chat, const sd_message *msg, int n)
{
    sd_chat_span span[MAX_MESSAGES + 1];
    int n_span = 0;
    json_t *list = json_array();
    sd_status st = list ? SD_OK : sd_fail(r->err, SD_E_NOMEM, "out of memory: a conversation");
    for (int i = 0; !st && i < n; i++) {
        json_t *m = json_pack("{s:s%, s:s%}", "role", msg[i].role.p, msg[i].role.n, "content", msg[i].content.p,
                              msg[i].content.n);
        if (!m || json_array_append_new(list, m) != 0)
            st = sd_fail(r->err, SD_E_NOMEM, "out of memory: a conversation");
    }
    if (!st && (st = sd_chat_spans(chat, &(sd_chat_input){.messages = list}, &r->text, span, &n_span, r->err)))
        sd_err_wrap(r->err, "%s, line %" PRId64, r->path, r->line);
    for (int i = 0; !st && i < n_span; i++) st = mark(r, span[i].from, span[i].to);
    json_decref(list);
    return st;
}

/* Renders the conversation into r->text and marks the assistant's turns in r->learn: content and the mark that ends it.
 * Without a template: contents one after another, the end of text after each answer. */
static sd_status render(reader *r, const sd_message *msg, int n)
{
    const sd_chat *chat = r->m->chat;
    sd_status st = SD_OK;
    sd_buf_reset(&r->text);
    if (r->learn) memset(r->learn, 0, r->learn_cap);
    if (!chat) {
        const sd_slice eos = sd_tok_bytes(r->m->tok, sd_tok_eos(r->m->tok));
        for (int i = 0; !st && i < n; i++) {
            const bool says = sd_slice_eq_str(msg[i].role, "assistant");
            const size_t from = r->text.n;
            sd_buf_put(&r->text, msg[i].content.p, msg[i].content.n);
            if (says)
                sd_buf_put(&r->text, eos.p, eos.n);
            else
                sd_buf_putc(&r->text, '\n');
            st = sd_buf_check(&r->text, "a conversation", r->err);
            if (!st && says) st = mark(r, from, r->text.n);
        }
        return st;
    }
    return render_template(r, chat, msg, n);
}

/* r->text to tokens; a token counts when all its bytes do. Tokens whose bytes are not the text's (a tokenizer that
 * rewrites) are placed by the length of the prefix' own tokens. */
static sd_status tokenise(reader *r, bool **learn)
{
    const sd_tok *tok = r->m->tok;
    r->ids.n = 0;
    sd_status st = sd_tok_encode(tok, (sd_slice){r->text.p, r->text.n}, NULL, &r->ids, r->err);
    if (!st) st = sd_alloc_zero(learn, (size_t)(r->ids.n + 1) * sizeof **learn, "a conversation", r->err);
    if (st) return st;
    /* A template that writes the BOS itself must not get a second one. */
    if (r->ids.n > 1 && sd_tok_add_bos(tok) && r->ids.v[0] == sd_tok_bos(tok) && r->ids.v[1] == sd_tok_bos(tok))
        memmove(r->ids.v, r->ids.v + 1, (size_t)--r->ids.n * sizeof *r->ids.v);
    size_t at = 0;
    for (int64_t i = 0; i < r->ids.n; i++) {
        const sd_slice b = sd_tok_bytes(tok, r->ids.v[i]);
        if (at + b.n > r->text.n || memcmp(r->text.p + at, b.p, b.n) != 0) {
            if (i == 0 && r->ids.v[0] == sd_tok_bos(tok)) continue; /* added by the tokenizer */
            return bad(r, "the tokenizer rewrites the text, so the answer's tokens cannot be told");
        }
        bool all = r->learn != NULL && b.n > 0;
        for (size_t k = 0; all && k < b.n; k++) all = r->learn[at + k];
        (*learn)[i] = all;
        at += b.n;
    }
    return SD_OK;
}

static sd_slice str_of(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    return json_is_string(v) ? (sd_slice){json_string_value(v), json_string_length(v)} : (sd_slice){0};
}

/* Half of the rows: the answer becomes the first k tokens of the opening and, after a space, the answer. */
static sd_status deepen(reader *r, const json_t *row, sd_message *answer)
{
    const sd_slice own = str_of(row, "prefill"), opening = own.n ? own : sd_slice_of(sd_guard_opening);
    sd_rng g = sd_rng_make(r->opt->seed, "tune deep", (uint64_t)r->line);
    r->n_said = 0;
    if (sd_rng_uniform(&g) < 0.5) return SD_OK;
    sd_buf_reset(&r->said);
    r->ids.n = 0;
    sd_status st = sd_tok_encode(r->m->tok, opening, &(sd_encode_opt){.no_special = true}, &r->ids, r->err);
    if (!st && r->ids.n == 0) return bad(r, "an opening without a token");
    if (!st) st = sd_tok_decode(r->m->tok, r->ids.v, (int64_t)(1 + sd_rng_below(&g, (uint64_t)r->ids.n)), false, &r->said, r->err);
    if (st) return st;
    const sd_slice said = sd_slice_trim((sd_slice){r->said.p, r->said.n});
    if (said.n == 0) return SD_OK;
    memmove(r->said.p, said.p, said.n);
    r->said.n = r->n_said = said.n; /* without the space that follows: a word begins with it, and is learnt */
    sd_buf_putc(&r->said, ' ');
    sd_buf_put(&r->said, answer->content.p, answer->content.n);
    answer->content = (sd_slice){r->said.p, r->said.n};
    return sd_buf_check(&r->said, "an opening and an answer", r->err);
}

/* The last answer's opening does not count. */
static sd_status hide_said(reader *r)
{
    size_t to = r->text.n, from;
    while (to > 0 && !r->learn[to - 1]) to--;
    for (from = to; from > 0 && r->learn[from - 1];) from--;
    if (to - from <= r->n_said || memcmp(r->text.p + from, r->said.p, r->n_said) != 0) return bad(r, "the template rewrites the answer, so its opening cannot be told");
    memset(r->learn + from, 0, r->n_said);
    return SD_OK;
}

/* counted: tokens that count after the cut; the sample is pushed only when there are some. */
static sd_status push_chat(reader *r, const sd_message *msg, int n, bool *pushed)
{
    bool *learn = NULL;
    *pushed = false;
    sd_status st = render(r, msg, n);
    if (!st && r->n_said) st = hide_said(r);
    if (!st) st = tokenise(r, &learn);
    if (st) goto done;
    int64_t keep = r->ids.n < r->ctx ? r->ids.n : r->ctx, counts = 0;
    const bool everything = r->opt->method == SD_TUNE_LM;
    for (int64_t i = 1; i < keep; i++) counts += everything || learn[i];
    if (counts == 0) goto done;
    r->set->n_cut += keep < r->ids.n;
    st = push_sample(r, r->ids.v, everything ? NULL : learn, keep);
    *pushed = !st;
done:
    sd_free(learn);
    return st;
}

/* ---- forms of rows ---- */

static sd_status add_messages(const reader *r, const json_t *list, sd_message *msg, int *n)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        if (*n >= MAX_MESSAGES) return bad(r, "a conversation has more than 256 messages");
        msg[*n] = (sd_message){str_of(m, "role"), str_of(m, "content")};
        if (!msg[*n].role.p || !msg[*n].content.p)
            return bad(r, "a message needs \"role\" and \"content\", both strings");
        ++*n;
    }
    return SD_OK;
}

/* A prompt (text or messages) into msg; an answer likewise. */
static sd_status add_part(const reader *r, const json_t *v, const char *role, sd_message *msg, int *n)
{
    if (json_is_array(v)) return add_messages(r, v, msg, n);
    if (!json_is_string(v)) return bad(r, "prompts and answers are strings or lists of messages");
    msg[(*n)++] = (sd_message){sd_slice_of(role), {json_string_value(v), json_string_length(v)}};
    return SD_OK;
}

static bool says_nothing(const sd_message *msg, int n)
{
    return n == 0 || !sd_slice_eq_str(msg[n - 1].role, "assistant") || sd_slice_trim(msg[n - 1].content).n == 0;
}

static sd_status pair_row(reader *r, const json_t *row)
{
    static const char *const sides[] = {"chosen", "rejected"};
    const json_t *prompt = json_object_get(row, "prompt");
    sd_tune_set *s = r->set;
    const int64_t n0 = s->n, tok0 = s->n_tok, cut0 = s->n_cut;
    sd_status st = SD_OK;
    for (int side = 0; side < 2; side++) {
        const json_t *answer = json_object_get(row, sides[side]);
        sd_message msg[MAX_MESSAGES + 1];
        int n = 0;
        bool pushed = false;
        /* Lists of messages often hold the prompt as well. */
        const bool whole = json_is_array(answer) && json_array_size(answer) > 1;
        if (prompt && !whole && (st = add_part(r, prompt, "user", msg, &n))) return st;
        if (answer && !json_is_null(answer) && (st = add_part(r, answer, "assistant", msg, &n))) return st;
        if (!says_nothing(msg, n) && (st = push_chat(r, msg, n, &pushed))) return st;
        if (pushed) continue;
        s->n = n0, s->n_tok = tok0, s->n_cut = cut0;
        skip(r);
        return SD_OK;
    }
    return SD_OK;
}

static sd_status chat_row(reader *r, const json_t *row)
{
    sd_message msg[MAX_MESSAGES + 1];
    sd_buf prompt;
    int n = 0;
    bool pushed = false;
    sd_status st = SD_OK;
    const sd_slice input = str_of(row, "input"), instruction = str_of(row, "instruction");
    const json_t *answer = json_object_get(row, "output");
    sd_buf_init(&prompt, MAX_TEXT);
    if (!answer) answer = json_object_get(row, "completion");
    if (!answer) answer = json_object_get(row, "chosen"); /* a preference row: its better answer */
    if (json_is_array(json_object_get(row, "messages"))) {
        st = add_messages(r, json_object_get(row, "messages"), msg, &n);
        while (n > 0 && says_nothing(msg, n)) n--; /* up to the last answer */
    } else if (instruction.p) {
        sd_buf_put(&prompt, instruction.p, instruction.n);
        if (input.n) {
            sd_buf_puts(&prompt, "\n\n");
            sd_buf_put(&prompt, input.p, input.n);
        }
        msg[n++] = (sd_message){SD_LIT("user"), {prompt.p, prompt.n}};
    } else if (json_object_get(row, "prompt"))
        st = add_part(r, json_object_get(row, "prompt"), "user", msg, &n);
    else
        st = bad(r, "a row needs messages, instruction and output, prompt and completion, prompt, chosen and rejected, "
                    "or text");
    if (!st && !json_object_get(row, "messages") && answer && !json_is_null(answer))
        st = add_part(r, answer, "assistant", msg, &n);
    r->n_said = 0;
    if (!st && r->deep && !says_nothing(msg, n)) st = deepen(r, row, &msg[n - 1]);
    if (!st && !says_nothing(msg, n)) st = push_chat(r, msg, n, &pushed);
    if (!st && !pushed) skip(r);
    sd_buf_release(&prompt);
    return st;
}

/* "without": [0, 2] names planted directions. */
static sd_status read_without(reader *r, const json_t *row)
{
    const json_t *v = json_object_get(row, "without"), *e;
    size_t i;
    r->without = 0;
    if (!r->opt->planted.n || !v) return SD_OK;
    if (!json_is_array(v)) return bad(r, "\"without\" is a list of numbers");
    json_array_foreach(v, i, e)
    {
        const json_int_t at = json_integer_value(e);
        if (!json_is_integer(e) || at < 0 || at >= r->opt->planted.n) return bad(r, "\"without\" names a direction that is not planted");
        r->without |= 1u << at;
    }
    return SD_OK;
}

/* Of rows that hold a conversation and its text, distill takes the conversation. */
static bool is_chat(const json_t *row)
{
    return json_object_get(row, "messages") || json_object_get(row, "instruction") || json_object_get(row, "prompt");
}

static sd_status read_row(reader *r, sd_slice line)
{
    json_t *row = NULL;
    sd_status st = sd_json_parse_line(&row, line, r->path, r->line, r->err);
    if (!st && (st = read_without(r, row))) json_decref(row);
    if (st) return st;
    const sd_slice text = str_of(row, "text").p ? str_of(row, "text") : str_of(row, "content");
    if (text.p && (r->opt->method == SD_TUNE_LM || (r->opt->method == SD_TUNE_DISTILL && !is_chat(row))))
        st = push_text(r, text);
    else {
        r->set->n_rows++;
        if (r->opt->method == SD_TUNE_DPO)
            st = json_object_get(row, "chosen") || json_object_get(row, "rejected") || json_object_get(row, "prompt")
                     ? pair_row(r, row)
                     : bad(r, "dpo needs rows with prompt, chosen and rejected");
        else
            st = chat_row(r, row);
    }
    json_decref(row);
    return st;
}

/* ---- files ---- */

/* Non-empty lines of a file and their numbers. */
typedef struct lines {
    sd_slice *v;
    int64_t *number;
    int64_t n;
} lines;

static sd_status split(lines *out, sd_map file, sd_err *err)
{
    for (int pass = 0; pass < 2; pass++) {
        sd_slice rest = {(const char *)file.p, file.n}, part;
        int64_t n = 0, number = 0;
        while (sd_slice_cut(&rest, '\n', &part)) {
            number++;
            if (sd_slice_trim(part).n == 0) continue;
            if (out->v) out->v[n] = part, out->number[n] = number;
            n++;
        }
        out->n = n;
        if (pass == 1) break;
        sd_status st = sd_alloc(&out->v, (size_t)(n + 1) * sizeof *out->v, "lines", err);
        if (!st) st = sd_alloc(&out->number, (size_t)(n + 1) * sizeof *out->number, "lines", err);
        if (st) return st;
    }
    return SD_OK;
}

/* want rows (0: all) of a .jsonl, or of `rows` where its p is not NULL, drawn by the seed without putting back, in the order of the file. */
static sd_status read_lines(reader *r, sd_slice rows, int64_t want, int file_no)
{
    sd_map file = {0};
    lines l = {0};
    int64_t *order = NULL;
    bool *drawn = NULL;
    sd_status st = rows.p ? SD_OK : sd_map_open(&file, r->path, r->err);
    if (rows.p) file = (sd_map){(const uint8_t *)rows.p, rows.n};
    if (!st) st = split(&l, file, r->err);
    if (!st) st = sd_alloc(&order, (size_t)(l.n + 1) * sizeof *order, "rows", r->err);
    if (!st) st = sd_alloc_zero(&drawn, (size_t)(l.n + 1) * sizeof *drawn, "rows", r->err);
    if (!st && want > l.n) {
        st = sd_fail(r->err, SD_E_ARG, "%s: %" PRId64 " rows are asked for, it has %" PRId64, r->path, want, l.n);
    }
    for (int64_t i = 0; !st && i < l.n; i++) order[i] = i;
    if (!st && want) {
        sd_rng rng = sd_rng_make(r->opt->seed, "tune mix", (uint64_t)file_no);
        sd_rng_shuffle_i64(&rng, order, l.n);
    }
    for (int64_t i = 0; !st && i < (want ? want : l.n); i++) drawn[order[i]] = true;
    for (int64_t i = 0; !st && i < l.n; i++) {
        if (!drawn[i]) continue;
        r->line = l.number[i];
        st = read_row(r, l.v[i]);
    }
    sd_free(order);
    sd_free(drawn);
    sd_free(l.v);
    sd_free(l.number);
    if (!rows.p) sd_map_close(&file);
    return st;
}

static sd_status read_texts(reader *r)
{
    sd_corpus *c = NULL;
    const char *why;
    sd_status st = sd_corpus_open(&c, &r->path, 1, r->err);
    if (!st && r->opt->method != SD_TUNE_LM && r->opt->method != SD_TUNE_DISTILL)
        st = sd_fail(r->err, SD_E_ARG, "%s: plain text has no answers; --method lm learns from it, %s needs .jsonl",
                     r->path, sd_tune_method_name(r->opt->method));
    const int64_t n = st ? 0 : sd_corpus_left_out(c, &why);
    if (n) name_skipped(r->set, why);
    r->set->n_skipped += n;
    r->set->n_rows += n;
    for (int64_t i = 0; !st && i < sd_corpus_count(c); i++) {
        r->line = i + 1;
        st = push_text(r, sd_corpus_text(c, i));
    }
    sd_corpus_close(c);
    return st;
}

sd_status sd_tune_set_read(sd_tune_set *out, const sd_model *m, const sd_tune_opt *opt, int64_t ctx, sd_err *err)
{
    reader r = {.set = out, .m = m, .opt = opt, .ctx = ctx, .err = err};
    sd_status st = SD_OK;
    *out = (sd_tune_set){0};
    if (ctx < 2) return sd_fail(err, SD_E_ARG, "a context of %" PRId64 " tokens, at least 2 are needed: one is learnt from those before it", ctx);
    sd_buf_init(&r.text, MAX_TEXT);
    sd_buf_init(&r.said, MAX_TEXT);
    if (opt->n_data < 1) {
        sd_fail(err, SD_E_ARG, "there is nothing to learn from");
        st = sd_hint(err, "give --data FILE");
    }
    for (int i = 0; !st && i < opt->n_data; i++) {
        r.path = opt->data[i].path;
        r.file = i;
        if (opt->data[i].rows.p || sd_slice_ends(sd_slice_of(r.path), ".jsonl"))
            st = read_lines(&r, opt->data[i].rows, opt->data[i].n, i);
        else if (opt->data[i].n)
            st = sd_fail(err, SD_E_ARG, "%s: rows are drawn from a .jsonl; texts are read whole", r.path);
        else
            st = read_texts(&r);
    }
    const int64_t n_data = out->n;
    if (!st && opt->guard.safety) {
        r.path = opt->guard.safety;
        r.file = opt->n_data;
        r.deep = opt->guard.kind == SD_GUARD_DEEP;
        st = sd_slice_ends(sd_slice_of(r.path), ".jsonl") ? read_lines(&r, (sd_slice){0}, opt->guard.n_safety, r.file) : sd_fail(err, SD_E_ARG, "%s: safety rows are a .jsonl", r.path);
        if (!st && out->n == n_data) st = sd_fail(err, SD_E_FORMAT, "%s: no row has an answer to learn", r.path);
        if (!r.deep) out->n_safety = out->n - n_data;
    }
    if (!st && n_data == 0) {
        st = sd_fail(err, SD_E_FORMAT, "none of %" PRId64 " rows has something to learn", out->n_rows);
        if (out->n_skipped) sd_hint(err, "without an answer: %s", out->skipped);
    }
    sd_buf_release(&r.text);
    sd_buf_release(&r.said);
    sd_ids_release(&r.ids);
    sd_free(r.learn);
    if (st) sd_tune_set_release(out);
    return st;
}

void sd_tune_set_release(sd_tune_set *s)
{
    sd_free(s->tok);
    sd_free(s->target);
    sd_free(s->sample);
    s->tok = s->target = NULL;
    s->sample = NULL;
    s->n = 0;
}
