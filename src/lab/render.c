/* Owns: where an instruction ends. The template is rendered around a marker to see what follows it; the same ids at the end of every
 * prompt are then counted, so a tokenizer that joins the instruction's last character with the template is seen, not assumed away. */
#include "lab/render.h"

#include <inttypes.h>

#define MAX_TEXT ((size_t)1 << 24)

static sd_status render_one(sd_buf *b, const sd_model *m, const sd_system *sys, bool empty_system, sd_slice text, sd_err *err)
{
    sd_message msg[2];
    int n = 0;
    sd_buf_reset(b);
    if (sys->kind == SD_SYSTEM_TEXT) msg[n++] = (sd_message){SD_LIT("system"), sd_slice_of(sys->text)};
    else if (empty_system) msg[n++] = (sd_message){SD_LIT("system"), SD_LIT("")};
    msg[n++] = (sd_message){SD_LIT("user"), text};
    sd_status st = sd_chat_render(m->chat, msg, n, true, b, err);
    return st ? st : sd_buf_check(b, "a rendered prompt", err);
}

/* Does the template bring a system message of its own? Rendered with a system message S it reads A S B user ..; without one it then
 * begins with A and ends, before the user's text, with B, and has something between. */
static bool has_own_system(const sd_model *m)
{
    static const char mark[] = "\x01S\x01", user[] = "\x01U\x01";
    sd_buf with, without;
    bool own = false;
    sd_buf_init(&with, MAX_TEXT);
    sd_buf_init(&without, MAX_TEXT);
    sd_system sys = {SD_SYSTEM_TEXT, mark}, none = {0};
    if (!render_one(&with, m, &sys, false, sd_slice_of(user), NULL) && !render_one(&without, m, &none, false, sd_slice_of(user), NULL)) {
        const char *a = sd_buf_str(&with), *p = sd_buf_str(&without), *s = strstr(a, mark), *u = s ? strstr(s, user) : NULL, *v = strstr(p, user);
        if (s && u && v) {
            size_t n_a = (size_t)(s - a), n_b = (size_t)(u - s) - strlen(mark), n_p = (size_t)(v - p);
            own = n_p > n_a + n_b && memcmp(p, a, n_a) == 0 && memcmp(v - n_b, s + strlen(mark), n_b) == 0;
        }
    }
    sd_buf_release(&with);
    sd_buf_release(&without);
    return own;
}

void sd_rendered_release(sd_rendered *r)
{
    sd_free(r->ids);
    sd_free(r->start);
    *r = (sd_rendered){0};
}

static sd_status wrapped(sd_buf *b, const char *wrap, const char *text, sd_err *err)
{
    const char *hole = wrap ? strstr(wrap, "{}") : NULL;
    sd_buf_reset(b);
    if (wrap && !hole) return sd_fail(err, SD_E_ARG, "a prompt template without {}: %.60s", wrap);
    if (hole) sd_buf_put(b, wrap, (size_t)(hole - wrap));
    sd_buf_puts(b, text);
    if (hole) sd_buf_puts(b, hole + 2);
    return sd_buf_check(b, "a prompt", err);
}

/* Tokens of the rendered text behind the instruction, tokenised alone: the text around a marker shows it. */
static sd_status count_after(int64_t *n, const sd_model *m, const sd_system *sys, bool empty_system, sd_buf *b, sd_err *err)
{
    static const char mark[] = "\x01U\x01";
    sd_ids ids = {0};
    sd_status st = render_one(b, m, sys, empty_system, sd_slice_of(mark), err);
    if (st) return st;
    const char *at = strstr(sd_buf_str(b), mark);
    if (!at) return sd_fail(err, SD_E_UNSUPPORTED, "the chat template of %s does not put the user's text into the prompt as it is", m->path);
    at += strlen(mark);
    st = sd_tok_encode(m->tok, sd_slice_of(at), &(sd_encode_opt){0}, &ids, err);
    *n = ids.n - (ids.n > 0 && sd_tok_add_bos(m->tok) && ids.v[0] == sd_tok_bos(m->tok));
    sd_ids_release(&ids);
    return st;
}

/* Same ids at the front, and at the back up to `most`. A shared front leaves at least one token to run. */
static void shared_ends(sd_rendered *r, int64_t most)
{
    r->n_prefix = r->longest;
    r->n_after = most;
    for (int64_t i = 0; i < r->n; i++) {
        int64_t n0, n, same = 0;
        const int32_t *a = sd_rendered_ids(r, 0, &n0), *b = sd_rendered_ids(r, i, &n);
        while (same < n - 1 && same < n0 - 1 && a[same] == b[same]) same++;
        if (same < r->n_prefix) r->n_prefix = same;
        for (same = 0; same < r->n_after && same < n && same < n0 && a[n0 - 1 - same] == b[n - 1 - same];) same++;
        r->n_after = same;
        if (n > r->longest) r->longest = n;
    }
}

sd_status sd_render(sd_rendered *out, const sd_model *m, const char *const *text, int64_t n, const sd_render_opt *opt, sd_err *err)
{
    sd_buf b, body, all;
    sd_ids ids = {0};
    sd_sha256 h;
    int64_t after = 0, n_ctx = opt->n_ctx ? opt->n_ctx : m->max_ctx;
    *out = (sd_rendered){.n = n};
    if (!m->chat) {
        sd_fail(err, SD_E_UNSUPPORTED, "%s has no chat template that can be rendered: %s", m->path, m->no_chat);
        return sd_hint(err, "an audit asks through the chat template; use an instruction-tuned model");
    }
    bool empty_system = opt->system.kind == SD_SYSTEM_NONE && has_own_system(m);
    sd_buf_init(&b, MAX_TEXT);
    sd_buf_init(&body, MAX_TEXT);
    sd_buf_init(&all, (size_t)1 << 32);
    sd_status st = sd_alloc(&out->start, (size_t)(n + 1) * sizeof *out->start, "prompts", err);
    if (!st) st = count_after(&after, m, &opt->system, empty_system, &b, err);
    for (int64_t i = 0; i < n && !st; i++) {
        out->start[i] = ids.n;
        if ((st = wrapped(&body, opt->wrap, text[i], err))) break;
        if ((st = render_one(&b, m, &opt->system, empty_system, (sd_slice){body.p, body.n}, err))) break;
        sd_buf_printf(&all, "%zu\n", b.n);
        sd_buf_put(&all, b.p, b.n);
        st = sd_tok_encode(m->tok, (sd_slice){b.p, b.n}, &(sd_encode_opt){0}, &ids, err);
        if (!st && ids.n - out->start[i] > n_ctx - 1)
            st = sd_fail(err, SD_E_ARG, "prompt %" PRId64 " has %" PRId64 " tokens, the context %" PRId64, i + 1, ids.n - out->start[i], n_ctx);
        if (!st && ids.n - out->start[i] > out->longest) out->longest = ids.n - out->start[i];
    }
    if (!st) st = sd_buf_check(&all, "rendered prompts", err);
    if (!st) {
        out->start[n] = ids.n;
        out->ids = ids.v;
        ids.v = NULL;
        shared_ends(out, after);
        sd_sha256_of(&h, all.p, all.n);
        sd_sha256_hex(&h, out->sha256);
    }
    sd_ids_release(&ids);
    sd_buf_release(&b);
    sd_buf_release(&body);
    sd_buf_release(&all);
    if (st) sd_rendered_release(out);
    return st;
}
