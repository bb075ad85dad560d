/* A template is a program: where in its output a message's words stand cannot be told from outside, and it may trim or split them. So before it runs, each control token's text in
 * a message becomes one character that no text has (of a private-use plane, U+F0000 and up), and after it each such character becomes that text again, at a place that is known.
 * Characters of that plane which a message has itself are taken out in the same way, so that none is mistaken. */
#include "text/chat_ids.h"

#include "base/str.h"

enum { FIRST = 0xF0000, PLANE = 1 << 16, MOST = PLANE - 2, MAX_TEXT_BYTES = 1 << 26 };

typedef struct swap {
    const sd_tok *t;
    int32_t *known;      /* [V + PLANE] 1 + the stand-in of a control token, or of a character of the plane; 0: none yet. NULL: nothing was found */
    sd_slice *text;      /* [n] what stands for U+F0000 + i: borrowed from the messages */
    bool *control;       /* [n] a control token's text */
    int64_t n, cap;
    sd_byte_span *plain; /* [n_plain] of the restored text */
    int64_t n_plain, cap_plain;
} swap;

static void release(swap *w)
{
    sd_free(w->known);
    sd_free(w->text);
    sd_free(w->control);
    sd_free(w->plain);
}

/* What has to be taken out at the front of s, as an index of `known`, and its bytes; -1: nothing. */
static int64_t found(const swap *w, sd_slice s, size_t *len)
{
    uint32_t cp;
    int32_t id = sd_tok_control_at(w->t, s, len);
    if (id >= 0) return id;
    if ((unsigned char)s.p[0] != 0xF3 || sd_utf8_decode(s.p, s.n, &cp) != 4 || cp < FIRST || cp >= FIRST + PLANE) return -1;
    *len = 4;
    return (int64_t)sd_tok_n_vocab(w->t) + (int64_t)(cp - FIRST);
}

static sd_status grow(swap *w, sd_err *err)
{
    int64_t cap = w->cap ? 2 * w->cap : 16;
    sd_slice *text = sd_realloc(w->text, (size_t)cap * sizeof *text);
    if (text) w->text = text;
    bool *is = text ? sd_realloc(w->control, (size_t)cap * sizeof *is) : NULL;
    if (!is) return sd_fail(err, SD_E_NOMEM, "out of memory: a chat");
    w->control = is;
    w->cap = cap;
    return SD_OK;
}

/* The character for s, a part of a message that lives as long as w. */
static sd_status stand_in(swap *w, sd_buf *out, sd_slice s, int64_t what, sd_err *err)
{
    sd_status st = w->known ? SD_OK : sd_alloc_zero(&w->known, ((size_t)sd_tok_n_vocab(w->t) + (size_t)PLANE) * sizeof *w->known, "a chat", err);
    if (!st && !w->known[what]) {
        if (w->n == MOST) return sd_fail(err, SD_E_ARG, "the messages have more than %d different texts of control tokens", MOST);
        if (w->n == w->cap && (st = grow(w, err))) return st;
        w->text[w->n] = s;
        w->control[w->n] = what < sd_tok_n_vocab(w->t);
        w->known[what] = (int32_t)++w->n;
    }
    if (st) return st;
    uint32_t cp = FIRST + (uint32_t)w->known[what] - 1;
    const char ch[4] = {(char)(0xF0 | cp >> 18), (char)(0x80 | (cp >> 12 & 63)), (char)(0x80 | (cp >> 6 & 63)), (char)(0x80 | (cp & 63))};
    sd_buf_put(out, ch, sizeof ch);
    return SD_OK;
}

static sd_status swap_text(swap *w, sd_buf *out, sd_slice s, sd_err *err)
{
    sd_status st = SD_OK;
    for (size_t i = 0; i < s.n && !st;) {
        size_t n = 1;
        int64_t what = found(w, (sd_slice){s.p + i, s.n - i}, &n);
        if (what >= 0) st = stand_in(w, out, (sd_slice){s.p + i, n}, what, err);
        else sd_buf_putc(out, s.p[i]);
        i += what >= 0 ? n : 1;
    }
    return st ? st : sd_buf_check(out, "a chat", err);
}

/* A copy of v with its strings swapped; *out is NULL when v is. */
static sd_status swap_json(swap *w, json_t **out, const json_t *v, sd_err *err)
{
    sd_status st = SD_OK;
    const char *key;
    json_t *one, *to = NULL;
    size_t i;
    *out = NULL;
    if (!v) return SD_OK;
    if (json_is_string(v)) {
        sd_buf b;
        sd_buf_init(&b, MAX_TEXT_BYTES);
        st = swap_text(w, &b, (sd_slice){json_string_value(v), json_string_length(v)}, err);
        if (!st) to = json_stringn(b.p ? b.p : "", b.n);
        sd_buf_release(&b);
    } else if (json_is_array(v)) {
        to = json_array();
        json_array_foreach((json_t *)v, i, one) {
            json_t *copy;
            if (st || !to || (st = swap_json(w, &copy, one, err))) break;
            if (json_array_append_new(to, copy)) st = sd_fail(err, SD_E_NOMEM, "out of memory: a chat");
        }
    } else if (json_is_object(v)) {
        to = json_object();
        json_object_foreach((json_t *)v, key, one) {
            json_t *copy;
            if (st || !to || (st = swap_json(w, &copy, one, err))) break;
            if (json_object_set_new(to, key, copy)) st = sd_fail(err, SD_E_NOMEM, "out of memory: a chat");
        }
    } else {
        to = json_deep_copy(v);
    }
    if (!st && !to) st = sd_fail(err, SD_E_NOMEM, "out of memory: a chat");
    if (st) json_decref(to);
    else *out = to;
    return st;
}

static sd_status put_plain(swap *w, sd_buf *out, sd_slice s, sd_err *err)
{
    if (w->n_plain == w->cap_plain) {
        int64_t cap = w->cap_plain ? 2 * w->cap_plain : 16;
        sd_byte_span *v = sd_realloc(w->plain, (size_t)cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: a chat");
        w->plain = v;
        w->cap_plain = cap;
    }
    w->plain[w->n_plain++] = (sd_byte_span){out->n, out->n + s.n};
    sd_buf_put(out, s.p, s.n);
    return SD_OK;
}

/* The rendered text with every stand-in as what it stands for. */
static sd_status restore(swap *w, sd_buf *out, sd_slice s, sd_err *err)
{
    sd_status st = SD_OK;
    for (size_t i = 0; i < s.n && !st;) {
        uint32_t cp = 0;
        const int len = (unsigned char)s.p[i] == 0xF3 ? sd_utf8_decode(s.p + i, s.n - i, &cp) : 0;
        if (len != 4 || cp < FIRST || cp - FIRST >= w->n) {
            sd_buf_putc(out, s.p[i++]);
            continue;
        }
        sd_slice text = w->text[cp - FIRST];
        if (w->control[cp - FIRST]) st = put_plain(w, out, text, err);
        else sd_buf_put(out, text.p, text.n);
        i += (size_t)len;
    }
    return st ? st : sd_buf_check(out, "the rendered chat", err);
}

sd_status sd_chat_ids(const sd_chat *c, const sd_tok *t, const sd_chat_input *in, const sd_chat_ids_opt *opt, sd_ids *ids, sd_err *err)
{
    static const sd_chat_ids_opt none;
    swap w = {.t = t};
    json_t *messages = NULL, *tools = NULL, *documents = NULL;
    sd_buf raw, text;
    sd_chat_input swapped = *in;
    sd_status st = SD_OK;
    if (!opt) opt = &none;
    sd_buf_init(&raw, MAX_TEXT_BYTES);
    sd_buf_init(&text, MAX_TEXT_BYTES);
    if (!opt->parse_special) {
        st = swap_json(&w, &messages, in->messages, err);
        if (!st) st = swap_json(&w, &tools, in->tools, err);
        if (!st) st = swap_json(&w, &documents, in->documents, err);
        swapped.messages = messages;
        swapped.tools = tools;
        swapped.documents = documents;
    }
    if (!st) st = sd_chat_render_json(c, &swapped, &raw, err);
    if (!st) st = restore(&w, &text, (sd_slice){raw.p, raw.n}, err);
    if (!st && opt->tail.n && !opt->parse_special) st = put_plain(&w, &text, opt->tail, err);
    else if (!st && opt->tail.n) sd_buf_put(&text, opt->tail.p, opt->tail.n);
    if (!st) st = sd_buf_check(&text, "the rendered chat", err);
    if (!st) st = sd_tok_encode(t, (sd_slice){text.p, text.n}, &(sd_encode_opt){.no_bos = true, .plain = w.plain, .n_plain = w.n_plain}, ids, err);
    json_decref(messages);
    json_decref(tools);
    json_decref(documents);
    sd_buf_release(&raw);
    sd_buf_release(&text);
    release(&w);
    return st;
}
