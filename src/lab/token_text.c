/* Owns: the rules above. The model's bytes are never trusted to be text. */
#include "lab/token_text.h"

static void put_hex(sd_buf *out, const char *p, size_t n)
{
    sd_buf_puts(out, "\xe2\x9f\xa8"); /* ⟨ */
    for (size_t i = 0; i < n; i++) sd_buf_printf(out, "%s%02X", i ? " " : "", (unsigned)(unsigned char)p[i]);
    sd_buf_puts(out, "\xe2\x9f\xa9"); /* ⟩ */
}

/* Characters that show nothing or turn the text around them: no-break space, soft hyphen, zero-width and directional marks, line and
 * paragraph separators, byte order mark. */
static bool is_unseen(uint32_t cp)
{
    return cp == 0xa0 || cp == 0xad || cp == 0x61c || (cp >= 0x200b && cp <= 0x200f) || (cp >= 0x2028 && cp <= 0x202f) || (cp >= 0x2060 && cp <= 0x206f) ||
           cp == 0xfeff;
}

void sd_token_show(sd_buf *out, sd_slice s)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        int n = sd_utf8_decode(s.p + i, s.n - i, &cp);
        if (n == 0) { /* everything up to the next character is shown as bytes together */
            size_t j = i + 1;
            while (j < s.n && sd_utf8_decode(s.p + j, s.n - j, &cp) == 0) j++;
            put_hex(out, s.p + i, j - i);
            i = j;
            continue;
        }
        if (cp == '\n') sd_buf_puts(out, "\xe2\x86\xb5");
        else if (cp == '\t') sd_buf_puts(out, "\xe2\x87\xa5");
        else if (is_unseen(cp)) sd_buf_printf(out, "\xe2\x9f\xa8U+%04X\xe2\x9f\xa9", (unsigned)cp);
        else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) put_hex(out, s.p + i, (size_t)n);
        else sd_buf_put(out, s.p + i, (size_t)n);
        i += (size_t)n;
    }
}

void sd_token_show_id(sd_buf *out, sd_store *s, int32_t id)
{
    if (id < 0) sd_buf_puts(out, "\xe2\x80\xa6");
    else sd_token_show(out, sd_store_token(s, id));
}

void sd_token_name(sd_buf *out, sd_slice bytes)
{
    for (; bytes.n && *bytes.p == ' '; bytes.p++, bytes.n--) sd_buf_puts(out, "\xc2\xb7");
    sd_token_show(out, bytes);
}

void sd_token_name_id(sd_buf *out, sd_store *s, int32_t id)
{
    if (id < 0) sd_token_show_id(out, s, id);
    else sd_token_name(out, sd_store_token(s, id));
}

void sd_tokens_text(sd_buf *out, const sd_vocab *v, const int32_t *tok, int a, int b)
{
    size_t from = out->n;
    for (int i = a; i < b; i++) {
        sd_slice s = tok[i] < 0 ? SD_LIT(" ") : v->bytes(v->self, tok[i]);
        sd_buf_put(out, s.p, s.n);
    }
    if (out->failed) return;
    /* In place: what is no whole character goes, what would break a line becomes a space. */
    size_t to = from;
    for (size_t i = from; i < out->n;) {
        uint32_t cp;
        int n = sd_utf8_decode(out->p + i, out->n - i, &cp);
        for (int k = 0; k < n; k++) out->p[to++] = cp < 0x20 || cp == 0x7f ? ' ' : out->p[i + (size_t)k];
        i += n ? (size_t)n : 1;
    }
    out->n = to;
}

static bool is_word(unsigned char c)
{
    return c >= 0x80 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* A joint holds two word bytes together: don't, well-known. */
static bool joins(const char *p, size_t n, size_t i)
{
    return (p[i] == '\'' || p[i] == '-') && i > 0 && i + 1 < n && is_word((unsigned char)p[i - 1]) && is_word((unsigned char)p[i + 1]);
}

/* Signs above ASCII are no letters: U+0080..U+00BF and general punctuation (U+2000..U+206F: dashes, quotes) become spaces, byte by
 * byte; the apostrophe U+2019 stays, for it stands inside words. */
static void blank_signs(char *p, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        unsigned char a = (unsigned char)p[i], b = (unsigned char)p[i + 1], c = i + 2 < n ? (unsigned char)p[i + 2] : 0;
        size_t len = a == 0xc2 ? 2 : a == 0xe2 && (b == 0x80 || b == 0x81) && c && !(b == 0x80 && c == 0x99) ? 3 : 0;
        for (size_t k = 0; k < len; k++) p[i + k] = ' ';
    }
}

void sd_word_at(sd_buf *out, const sd_vocab *v, const int32_t *tok, int n, int at)
{
    char text[512];
    size_t len = 0, from = 0, to = 0;
    enum { SIDE = 6 }; /* tokens of a long word on each side */
    for (int i = at > SIDE ? at - SIDE : 0; i < n && i <= at + SIDE; i++) {
        sd_slice s = tok[i] < 0 ? SD_LIT(" ") : v->bytes(v->self, tok[i]);
        if (len + s.n > sizeof text) break;
        if (i == at) from = len;
        memcpy(text + len, s.p, s.n);
        len += s.n;
        if (i == at) to = len;
    }
    blank_signs(text, len);
    size_t a = from;
    while (a < to && !is_word((unsigned char)text[a])) a++;
    if (a == to) { /* no word in it */
        sd_slice whole = tok[at] < 0 ? SD_LIT("") : v->bytes(v->self, tok[at]), s = sd_slice_trim(whole);
        if (s.n) sd_token_show(out, s);
        for (size_t i = 0; i < whole.n && !s.n; i++) {
            if (whole.p[i] == ' ') sd_buf_puts(out, "\xc2\xb7"); /* · */
            else sd_token_show(out, (sd_slice){whole.p + i, 1});
        }
        return;
    }
    size_t b = a + 1;
    while (a > 0 && (is_word((unsigned char)text[a - 1]) || joins(text, len, a - 1))) a--;
    while (b < len && (is_word((unsigned char)text[b]) || joins(text, len, b))) b++;
    sd_slice word = {text + a, b - a};
    while (word.n && (word.p[0] & 0xc0) == 0x80) word.p++, word.n--; /* cut at the border of what was looked at */
    sd_buf_put(out, word.p, sd_utf8_valid_prefix(word));
}
