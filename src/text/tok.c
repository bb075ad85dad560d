/* The tokenizer's common part: special tokens found in text, encode and decode. What lies between special tokens is
 * normalised (tok_norm.c), cut into words (pretok.c) and given word by word to the file of the kind (tok_bpe.c,
 * tok_ugm.c, tok_wpm.c). tok_new.c makes the vocabulary's tables.
 *
 * Special tokens are found leftmost first and longest first at one place, as Hugging Face does. llama.cpp takes the
 * longest of the whole text first; the two differ only where two special tokens overlap in the text. */
#include "text/tok_int.h"

#include <utf8proc.h>

#define MAX_TEXT_BYTES ((size_t)1 << 40) /* no limit of the method; a bound for the buffers that grow with a text */

int32_t sd_tok_n_vocab(const sd_tok *t)
{
    return t->n_vocab;
}
int32_t sd_tok_bos(const sd_tok *t)
{
    return t->bos;
}
int32_t sd_tok_eos(const sd_tok *t)
{
    return t->eos;
}
bool sd_tok_add_bos(const sd_tok *t)
{
    return t->add_bos;
}

bool sd_tok_ends(const sd_tok *t, int32_t id)
{
    for (int i = 0; i < t->n_end; i++)
        if (t->end[i] == id) return true;
    return false;
}

bool sd_tok_is_special(const sd_tok *t, int32_t id)
{
    return id >= 0 && id < t->n_vocab && (t->type[id] == SD_PIECE_CONTROL || t->type[id] == SD_PIECE_UNKNOWN);
}

void sd_ids_release(sd_ids *ids)
{
    sd_free(ids->v);
    *ids = (sd_ids){0};
}

/* Room for n more. */
static sd_status ids_room(sd_ids *ids, int64_t n, sd_err *err)
{
    if (n <= ids->cap - ids->n) return SD_OK;
    int64_t cap = ids->cap ? ids->cap + ids->cap / 2 : 64;
    if (cap - ids->n < n) cap = ids->n + n;
    int32_t *v = sd_realloc(ids->v, (size_t)cap * sizeof *v);
    if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: %lld token ids", (long long)cap);
    ids->v = v;
    ids->cap = cap;
    return SD_OK;
}

sd_status sd_ids_push(sd_ids *ids, int32_t id, sd_err *err)
{
    sd_status st = ids_room(ids, 1, err);
    if (!st) ids->v[ids->n++] = id;
    return st;
}

sd_status sd_ids_add(sd_ids *ids, const int32_t *id, int64_t n, sd_err *err)
{
    sd_status st = ids_room(ids, n, err);
    if (st || n == 0) return st;
    memcpy(ids->v + ids->n, id, (size_t)n * sizeof *id);
    ids->n += n;
    return SD_OK;
}

bool sd_tok__is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}

/* \w of Rust's regular expressions: letters (circled ones too), marks, decimal digits, connecting punctuation, joiners. */
static bool is_word(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC: return true;
    default:
        return cp == 0x200c || cp == 0x200d || (cp >= 0x24b6 && cp <= 0x24e9) || (cp >= 0x1f130 && cp <= 0x1f149) || (cp >= 0x1f150 && cp <= 0x1f169) ||
               (cp >= 0x1f170 && cp <= 0x1f189);
    }
}

static size_t leading_space(sd_slice s)
{
    size_t i = 0;
    uint32_t cp;
    for (int len; i < s.n && (len = sd_utf8_decode(s.p + i, s.n - i, &cp)) > 0 && sd_tok__is_space(cp);) i += (size_t)len;
    return i;
}

/* The last character of s; its bytes, 0 when s is empty or ends in something else. */
static size_t last_char(sd_slice s, uint32_t *cp)
{
    size_t start = s.n;
    if (s.n == 0) return 0;
    do start--;
    while (start > 0 && s.n - start < 4 && ((unsigned char)s.p[start] & 0xc0) == 0x80);
    int len = sd_utf8_decode(s.p + start, s.n - start, cp);
    return len > 0 && (size_t)len == s.n - start ? (size_t)len : 0;
}

static sd_slice trim_right(sd_slice s)
{
    uint32_t cp;
    for (size_t len; (len = last_char(s, &cp)) > 0 && sd_tok__is_space(cp);) s.n -= len;
    return s;
}

static bool inside_word(sd_slice text, size_t begin, size_t end)
{
    uint32_t cp;
    if (last_char((sd_slice){text.p, begin}, &cp) > 0 && is_word(cp)) return true;
    return sd_utf8_decode(text.p + end, text.n - end, &cp) > 0 && is_word(cp);
}

/* ---- what no piece holds ---- */

sd_status sd_tok__push_unk(const sd_tok *t, sd_encode_scratch *s, sd_ids *ids, sd_err *err)
{
    if (t->unk < 0 || (t->fuse_unk && s->unk_last)) return SD_OK;
    s->unk_last = true;
    return sd_ids_push(ids, t->unk, err);
}

sd_status sd_tok__push_missing(const sd_tok *t, sd_encode_scratch *s, sd_slice ch, sd_ids *ids, sd_err *err)
{
    bool spell = t->kind == SD_TOK_BPE || t->byte_fallback;
    for (size_t i = 0; i < ch.n && spell && t->unk >= 0; i++) spell = t->byte_id[(unsigned char)ch.p[i]] >= 0;
    if (!spell) return sd_tok__push_unk(t, s, ids, err);
    sd_status st = SD_OK;
    for (size_t i = 0; i < ch.n && !st; i++) {
        int32_t id = t->byte_id[(unsigned char)ch.p[i]];
        if (id >= 0) st = sd_tok__push(s, ids, id, err);
    }
    return st;
}

/* ---- the way of a text ---- */

typedef struct encoding {
    const sd_tok *t;
    sd_encode_scratch *s;
    sd_ids *ids;
    bool control;
    const char *text;   /* of the whole call, which `plain` counts in */
    const sd_byte_span *plain; /* [n_plain] */
    int64_t n_plain;
} encoding;

/* Does a plain stretch hold any of the n bytes at p? */
static bool is_plain(const encoding *e, const char *p, size_t n)
{
    int64_t lo = 0, hi = e->n_plain;
    size_t from = e->n_plain ? (size_t)(p - e->text) : 0;
    while (lo < hi) { /* the first that ends behind from */
        int64_t mid = lo + (hi - lo) / 2;
        if (e->plain[mid].to > from) hi = mid;
        else lo = mid + 1;
    }
    return lo < e->n_plain && e->plain[lo].from < from + n;
}

static sd_status encode_word(void *self, sd_slice word, sd_err *err)
{
    encoding *e = self;
    e->s->unk_last = false;
    switch (e->t->kind) {
    case SD_TOK_BPE:
    case SD_TOK_CHAR:
    case SD_TOK_SPM: return sd_bpe__word(e->t, e->s, word, e->ids, err);
    case SD_TOK_UGM: return sd_ugm__word(e->t, e->s, word, e->ids, err);
    case SD_TOK_WPM: return sd_wpm__word(e->t, e->s, word, e->ids, err);
    }
    return SD_OK;
}

/* Normalised text without special tokens, any bytes: words of what is UTF-8, the rest byte by byte. */
static sd_status encode_plain(encoding *e, sd_slice text, bool at_start, sd_err *err)
{
    const sd_tok *t = e->t;
    sd_status st = SD_OK;
    /* ByteLevel of tokenizers: every stretch between added tokens begins with a space. */
    if (t->add_space_prefix && text.n && text.p[0] != ' ') {
        sd_buf *b = &e->s->prefixed;
        sd_buf_reset(b);
        sd_buf_putc(b, ' ');
        sd_buf_put(b, text.p, text.n);
        st = sd_buf_check(b, "text with a space in front", err);
        text = (sd_slice){b->p, b->n};
    }
    while (text.n && !st) {
        size_t n = sd_utf8_valid_prefix(text);
        if (n) {
            st = sd_pretok_split(t->pretok, &e->s->pretok, (sd_slice){text.p, n}, at_start, encode_word, e, err);
        } else {
            e->s->unk_last = false;
            st = sd_tok__push_missing(t, e->s, (sd_slice){text.p, n = 1}, e->ids, err);
        }
        at_start = false;
        text = (sd_slice){text.p + n, text.n - n};
    }
    return st;
}

typedef sd_status (*stretch_fn)(encoding *e, sd_slice text, bool at_start, sd_err *err);

/* The longest token of the trie at the front of text. The text as given knows what is plain; a normalised one has lost its places, see encode_given. */
static int32_t token_at(const encoding *e, const sd_trie *trie, sd_slice text, size_t *len)
{
    if (!trie->first[(unsigned char)text.p[0]]) return -1;
    int32_t id = sd_trie__match(trie, e->t->type, text.p, text.n, e->control, len);
    if (id < 0 || trie != &e->t->special || !is_plain(e, text.p, *len)) return id;
    return sd_trie__match(trie, e->t->type, text.p, text.n, false, len);
}

/* Gives what lies between the special tokens of `trie` to fn, and the tokens to the ids. A token that strips to its right
 * swallows white space only as text: a token that begins in it is still found (and ends the swallowing where it ends), as
 * in tokenizers. */
static sd_status cut_tokens(encoding *e, const sd_trie *trie, sd_slice text, bool at_start, stretch_fn fn, sd_err *err)
{
    const sd_tok *t = e->t;
    sd_status st = SD_OK;
    size_t done = 0, at = 0; /* everything before `done` has been encoded or swallowed */
    while (!st && at < text.n) {
        size_t len = 0;
        int32_t id = token_at(e, trie, (sd_slice){text.p + at, text.n - at}, &len);
        uint8_t added = id >= 0 && t->added ? t->added[id] : 0;
        if (id < 0 || ((added & SD_ADDED_SINGLE_WORD) && inside_word(text, at, at + len))) {
            at += id < 0 ? 1 : len; /* a token inside of a word is none, and what it covers is read by no other */
            continue;
        }
        sd_slice before = {text.p + done, at > done ? at - done : 0};
        if (added & SD_ADDED_LEFT) before = trim_right(before);
        if (before.n) st = fn(e, before, at_start && done == 0, err);
        if (!st) st = sd_ids_push(e->ids, id, err);
        at += len;
        done = at;
        if (added & SD_ADDED_RIGHT) done += leading_space((sd_slice){text.p + at, text.n - at});
    }
    if (!st && done < text.n) st = fn(e, (sd_slice){text.p + done, text.n - done}, at_start && done == 0, err);
    return st;
}

/* A stretch of the text as given, without the tokens that are looked for there. */
static sd_status encode_given(encoding *e, sd_slice text, bool at_start, sd_err *err)
{
    const bool control = e->control;
    e->control = control && !is_plain(e, text.p, text.n);
    sd_status st = e->t->norm ? sd_norm__apply(e->t->norm, e->s, &text, err) : SD_OK;
    if (!st && e->t->normalized.n_node > 1) st = cut_tokens(e, &e->t->normalized, text, at_start, encode_plain, err);
    else if (!st) st = encode_plain(e, text, at_start, err);
    e->control = control;
    return st;
}

static sd_status scratch_init(sd_encode_scratch *s, const sd_tok *t, sd_err *err)
{
    sd_buf *const all[] = {&s->norm[0], &s->norm[1], &s->wide, &s->prefixed, &s->kept, &s->path};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) sd_buf_init(all[i], MAX_TEXT_BYTES);
    return sd_pretok_scratch_init(&s->pretok, t->pretok, err);
}

static void scratch_release(sd_encode_scratch *s)
{
    sd_pretok_scratch_release(&s->pretok);
    sd_buf *const all[] = {&s->norm[0], &s->norm[1], &s->wide, &s->prefixed, &s->kept, &s->path};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) sd_buf_release(all[i]);
    sd_free(s->heap.v);
    sd_free(s->sym);
}

sd_status sd_tok_encode(const sd_tok *t, sd_slice text, const sd_encode_opt *opt, sd_ids *ids, sd_err *err)
{
    int64_t n0 = ids->n;
    sd_encode_scratch s = {0};
    encoding e = {t, &s, ids, !opt || !opt->no_special, text.p, opt ? opt->plain : NULL, opt ? opt->n_plain : 0};
    sd_status st = scratch_init(&s, t, err);
    if (!st && e.control && !(opt && opt->no_bos) && t->add_bos) st = sd_ids_push(ids, t->bos, err);
    if (!st) st = cut_tokens(&e, &t->special, text, true, encode_given, err);
    if (!st && e.control && !(opt && opt->no_bos) && t->add_eos) st = sd_ids_push(ids, t->eos, err);
    if (st) ids->n = n0;
    scratch_release(&s);
    return st;
}

sd_slice sd_tok_bytes(const sd_tok *t, int32_t id)
{
    if (id < 0 || id >= t->n_vocab) return (sd_slice){"", 0};
    return (sd_slice){t->bytes + t->off[id], t->off[id + 1] - t->off[id]};
}

sd_status sd_tok_decode(const sd_tok *t, const int32_t *ids, int64_t n, bool special, sd_buf *out, sd_err *err)
{
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= t->n_vocab)
            return sd_fail(err, SD_E_ARG, "token %lld of %lld is %d, the vocabulary has %d", (long long)i, (long long)n,
                           (int)ids[i], (int)t->n_vocab);
        if (!special && sd_tok_is_special(t, ids[i])) continue;
        sd_slice b = sd_tok_bytes(t, ids[i]);
        sd_buf_put(out, b.p, b.n);
    }
    return sd_buf_check(out, "decoded text", err);
}

sd_status sd_tok_decode_text(const sd_tok *t, const int32_t *ids, int64_t n, bool special, sd_buf *out, sd_err *err)
{
    size_t n0 = out->n;
    int64_t head = 0;
    while (head < n && sd_tok_is_special(t, ids[head])) head++;
    sd_status st = sd_tok_decode(t, ids, head, special, out, err);
    size_t start = out->n;
    if (!st && n > head) st = sd_tok_decode(t, ids + head, n - head, special, out, err);
    if (!st && t->strip_space && out->n > start && out->p[start] == ' ') {
        memmove(out->p + start, out->p + start + 1, out->n - start - 1);
        out->n--;
    }
    if (st && !out->failed) out->n = n0;
    return st;
}

int32_t sd_tok_control_at(const sd_tok *t, sd_slice text, size_t *len)
{
    const sd_trie *const trie[] = {&t->special, &t->normalized};
    for (int k = 0; k < 2 && text.n; k++) {
        int32_t id = trie[k]->first[(unsigned char)text.p[0]] ? sd_trie__match(trie[k], t->type, text.p, text.n, true, len) : -1;
        if (id >= 0 && t->type[id] != SD_PIECE_USER) return id;
    }
    return -1;
}

int32_t sd_tok_find(const sd_tok *t, sd_slice text)
{
    const sd_trie *const trie[] = {&t->special, &t->normalized};
    for (int k = 0; k < 2; k++) {
        size_t len = 0;
        int32_t id = sd_trie__match(trie[k], t->type, text.p, text.n, true, &len);
        if (id >= 0 && len == text.n) return id;
    }
    return -1;
}
