/* Chat templates on top of the Jinja engine: which names a template finds, and the assistant's spans. */
#include "text/chat.h"

#include "text/jinja.h"

#include <stdio.h>

struct sd_chat {
    sd_jinja *jinja;
    sd_buf bos, eos;
    int64_t now;
    char name[16];
};

/* The globals of transformers' apply_chat_template: tools and documents are None when there are none. */
static json_t *names_of(const sd_chat *c, const sd_chat_input *in, json_t *messages)
{
    json_t *names = json_object();
    int bad = 0;
    const char *key;
    json_t *v;
    if (!names) return NULL;
    json_object_foreach((json_t *)(uintptr_t)in->more, key, v) bad |= json_object_set(names, key, v);
    bad |= json_object_set(names, "messages", messages);
    bad |= json_object_set_new(names, "tools", in->tools ? json_incref((json_t *)(uintptr_t)in->tools) : json_null());
    bad |= json_object_set_new(names, "documents",
                               in->documents ? json_incref((json_t *)(uintptr_t)in->documents) : json_null());
    bad |= json_object_set_new(names, "add_generation_prompt", json_boolean(in->add_generation_prompt));
    if (c->bos.n) bad |= json_object_set_new(names, "bos_token", json_stringn(c->bos.p, c->bos.n));
    if (c->eos.n) bad |= json_object_set_new(names, "eos_token", json_stringn(c->eos.p, c->eos.n));
    if (!bad) return names;
    json_decref(names);
    return NULL;
}

static sd_status no_memory(sd_err *err)
{
    return sd_fail(err, SD_E_NOMEM, "out of memory: a chat's messages");
}

static sd_status check_messages(const json_t *messages, sd_err *err)
{
    if (!json_is_array(messages)) return sd_fail(err, SD_E_FORMAT, "messages have to be an array");
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (!json_is_string(json_object_get(json_array_get(messages, i), "role")))
            return sd_fail(err, SD_E_FORMAT, "message %zu has to be an object with a \"role\"", i);
    return SD_OK;
}

sd_status sd_chat_render_json(const sd_chat *c, const sd_chat_input *in, sd_buf *out, sd_err *err)
{
    sd_status st = check_messages(in->messages, err);
    if (st) return st;
    json_t *names = names_of(c, in, (json_t *)(uintptr_t)in->messages);
    if (!names) return no_memory(err);
    st = sd_jinja_render(c->jinja, &(sd_jinja_input){names, c->now}, out, err);
    json_decref(names);
    return st;
}

sd_status sd_chat_render(const sd_chat *c, const sd_message *msg, int n_msg, bool add_generation_prompt, sd_buf *out,
                         sd_err *err)
{
    json_t *messages = json_array();
    bool bad = !messages;
    for (int i = 0; i < n_msg && !bad; i++) {
        json_t *role = json_stringn(msg[i].role.p, msg[i].role.n);
        json_t *content = json_stringn(msg[i].content.p ? msg[i].content.p : "", msg[i].content.n);
        json_t *m = json_object();
        if (!role || !content) { /* jansson takes valid UTF-8 only */
            sd_status st = sd_fail(err, SD_E_FORMAT, "message %d is not UTF-8", i);
            json_decref(role);
            json_decref(content);
            json_decref(m);
            json_decref(messages);
            return st;
        }
        /* All three, whatever fails: each takes its value over. */
        bad = json_object_set_new(m, "role", role) != 0;
        bad |= json_object_set_new(m, "content", content) != 0;
        bad |= json_array_append_new(messages, m) != 0;
    }
    const sd_chat_input in = {.messages = messages, .add_generation_prompt = add_generation_prompt};
    sd_status st = bad ? no_memory(err) : sd_chat_render_json(c, &in, out, err);
    json_decref(messages);
    return st;
}

/* ---- the assistant's spans ---- */

/* The first n messages, rendered. */
static sd_status render_first(const sd_chat *c, const sd_chat_input *in, size_t n, bool open, sd_buf *out, sd_err *err)
{
    json_t *some = json_array();
    sd_buf_reset(out);
    for (size_t i = 0; i < n && some; i++)
        if (json_array_append(some, json_array_get(in->messages, i))) {
            json_decref(some);
            some = NULL;
        }
    if (!some) return no_memory(err);
    sd_chat_input part = *in;
    part.messages = some;
    part.add_generation_prompt = open;
    sd_status st = sd_chat_render_json(c, &part, out, err);
    json_decref(some);
    return st;
}

static bool begins_with(const sd_buf *s, const sd_buf *prefix)
{
    return s->n >= prefix->n && (prefix->n == 0 || memcmp(s->p, prefix->p, prefix->n) == 0);
}

static size_t find_in(const sd_buf *s, size_t from, sd_slice what)
{
    const char *hit = what.n && from < s->n ? memmem(s->p + from, s->n - from, what.p, what.n) : NULL;
    return hit ? (size_t)(hit - s->p) : from;
}

/* The turn of message i. part: the text before it with the prompt open, the same with it closed, the text with it. */
static sd_status span_of(const sd_chat *c, const sd_chat_input *in, size_t i, sd_buf part[3], const sd_buf *whole,
                         sd_chat_span *span, sd_err *err)
{
    const sd_buf *open = &part[0], *closed = &part[1], *after = &part[2];
    const json_t *content = json_object_get(json_array_get(in->messages, i), "content");
    sd_slice said = sd_slice_trim((sd_slice){json_string_value(content), json_string_length(content)});
    sd_status st = render_first(c, in, i, true, &part[0], err);
    if (!st) st = render_first(c, in, i, false, &part[1], err);
    if (!st) st = render_first(c, in, i + 1, false, &part[2], err);
    if (st) return st;
    /* Where the template has no open prompt, or opens other than a finished turn begins, the content is looked for. */
    size_t from = after->n, to = after->n;
    if (begins_with(after, open) && open->n > closed->n)
        from = open->n;
    else if (begins_with(after, closed))
        from = find_in(after, closed->n, said);
    while (to > from && strchr(" \t\r\n", after->p[to - 1])) to--;
    if (from >= to || whole->n < to || memcmp(whole->p, after->p, to) != 0)
        return sd_fail(err, SD_E_UNSUPPORTED,
                       "the chat template does not show message %zu in the whole conversation as it does at its end",
                       i);
    *span = (sd_chat_span){from, to, (int)i};
    return SD_OK;
}

sd_status sd_chat_spans(const sd_chat *c, const sd_chat_input *in, sd_buf *out, sd_chat_span *span, int *n_span,
                        sd_err *err)
{
    sd_buf part[3], whole;
    sd_status st = check_messages(in->messages, err);
    *n_span = 0;
    if (st) return st;
    for (int i = 0; i < 3; i++) sd_buf_init(&part[i], SD_JINJA_MAX_HEAP);
    sd_buf_init(&whole, SD_JINJA_MAX_HEAP);
    size_t n = json_array_size(in->messages);
    st = render_first(c, in, n, false, &whole, err);
    for (size_t i = 0; i < n && !st; i++) {
        const json_t *role = json_object_get(json_array_get(in->messages, i), "role");
        if (strcmp(json_string_value(role), "assistant") != 0) continue;
        st = span_of(c, in, i, part, &whole, &span[*n_span], err);
        if (!st) (*n_span)++;
    }
    if (!st) {
        sd_buf_put(out, whole.p, whole.n);
        st = sd_buf_check(out, "the rendered chat", err);
    }
    for (int i = 0; i < 3; i++) sd_buf_release(&part[i]);
    sd_buf_release(&whole);
    return st;
}

/* ---- the object ---- */

sd_status sd_chat_set_tokens(sd_chat *c, sd_slice bos, sd_slice eos, sd_err *err)
{
    sd_buf_reset(&c->bos);
    sd_buf_reset(&c->eos);
    sd_buf_put(&c->bos, bos.p, bos.n);
    sd_buf_put(&c->eos, eos.p, eos.n);
    sd_status st = sd_buf_check(&c->bos, "the BOS token", err);
    return st ? st : sd_buf_check(&c->eos, "the EOS token", err);
}

void sd_chat_set_clock(sd_chat *c, int64_t seconds)
{
    c->now = seconds;
}

static bool mentions(sd_slice text, const char *what)
{
    return text.n && memmem(text.p, text.n, what, strlen(what)) != NULL;
}

sd_status sd_chat_new(sd_chat **out, sd_slice template_text, sd_err *err)
{
    sd_chat *c;
    *out = NULL;
    sd_status st = sd_alloc_zero(&c, sizeof *c, "a chat template", err);
    if (st) return st;
    sd_buf_init(&c->bos, 65536);
    sd_buf_init(&c->eos, 65536);
    c->now = -1;
    st = sd_jinja_new(&c->jinja, template_text, err);
    if (st) {
        sd_chat_free(c);
        return st;
    }
    const char *name = mentions(template_text, "<|im_start|>") && mentions(template_text, "<|im_end|>") ? "chatml"
                       : mentions(template_text, "<|start_header_id|>")                                 ? "llama3"
                                                                                                        : "template";
    snprintf(c->name, sizeof c->name, "%s", name);
    *out = c;
    return SD_OK;
}

void sd_chat_free(sd_chat *c)
{
    if (!c) return;
    sd_buf_release(&c->bos);
    sd_buf_release(&c->eos);
    sd_jinja_free(c->jinja);
    sd_free(c);
}

const char *sd_chat_name(const sd_chat *c)
{
    return c->name;
}
