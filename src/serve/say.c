/* Owns: what may be sent already. */
#include "serve/say.h"

void sd_say_init(sd_say *s)
{
    *s = (sd_say){0};
    sd_buf_init(&s->held, 1 << 26);
}

void sd_say_release(sd_say *s)
{
    sd_buf_release(&s->held);
}

/* Bytes at the end of t that may be the beginning of a character: at most 3. */
static size_t open_bytes(sd_slice t)
{
    for (size_t k = 1; k <= 3 && k <= t.n; k++) {
        unsigned char c = (unsigned char)t.p[t.n - k];
        if ((c & 0xc0) == 0x80) continue;
        size_t need = c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
        return c >= 0xc2 && c <= 0xf4 && need > k ? k : 0;
    }
    return 0;
}

/* The first stop string in t: its place, or t.n. *tail: bytes at the end of t that could begin one. */
static size_t find_stop(const sd_say *s, sd_slice t, size_t *tail)
{
    size_t best = t.n;
    *tail = 0;
    for (int k = 0; k < s->n_stop; k++) {
        sd_slice w = s->stop[k];
        for (size_t i = 0; i < best; i++) {
            size_t left = t.n - i < w.n ? t.n - i : w.n;
            if (memcmp(t.p + i, w.p, left) != 0) continue;
            if (left == w.n) best = i;
            else if (t.n - i > *tail) *tail = t.n - i;
            break;
        }
    }
    return best;
}

static void put_valid(sd_buf *out, sd_slice t)
{
    while (t.n) {
        size_t n = sd_utf8_valid_prefix(t);
        sd_buf_put(out, t.p, n);
        t.p += n;
        t.n -= n;
        if (!t.n) return;
        sd_buf_puts(out, "\xef\xbf\xbd");
        t.p++;
        t.n--;
    }
}

bool sd_say_put(sd_say *s, sd_slice bytes, sd_buf *out)
{
    size_t tail;
    if (s->stopped) return false;
    sd_buf_put(&s->held, bytes.p, bytes.n);
    sd_slice t = {s->held.p, s->held.n};
    if (!t.n) return true;
    size_t at = find_stop(s, t, &tail);
    if (at < t.n) {
        put_valid(out, (sd_slice){t.p, at});
        s->stopped = true;
        sd_buf_reset(&s->held);
        return false;
    }
    size_t open = open_bytes(t), keep = tail > open ? tail : open, give = t.n - keep;
    if (keep > open) give -= open_bytes((sd_slice){t.p, give}); /* never inside a character, should a stop string begin with half of one */
    put_valid(out, (sd_slice){t.p, give});
    memmove(s->held.p, s->held.p + give, t.n - give);
    s->held.n = t.n - give;
    return true;
}

void sd_say_end(sd_say *s, sd_buf *out)
{
    if (!s->stopped && s->held.n) put_valid(out, (sd_slice){s->held.p, s->held.n});
    sd_buf_reset(&s->held);
}
