/* The tokenizer's common part: the vocabulary as bytes, special tokens found in text, encode and decode. What lies
 * between special tokens goes to the file of the kind (tok_bpe.c, tok_spm.c).
 *
 * Special tokens are found leftmost first and longest first at one place, as Hugging Face does. llama.cpp takes the
 * longest of the whole text first; the two differ only where two special tokens overlap in the text. */
#include "text/tok_int.h"

#include "base/hash.h"

#include <utf8proc.h>

#define MAX_VOCAB       (1 << 22)         /* the largest vocabularies have 262,144 pieces */
#define MAX_VOCAB_BYTES ((size_t)1 << 30) /* offsets into the pieces' bytes have 32 bits */
#define MAX_TEXT_BYTES  ((size_t)1 << 40) /* no limit of the method; a bound for the buffers that grow with a text */

static sd_status check_spec(const sd_tok_spec *s, sd_err *err)
{
    if (s->n_vocab <= 0 || s->n_vocab > MAX_VOCAB)
        return sd_fail(err, SD_E_FORMAT, "tokenizer: a vocabulary of %d pieces, expected 1 to %d", (int)s->n_vocab,
                       MAX_VOCAB);
    const struct {
        const char *name;
        int32_t id;
    } special[] = {{"BOS", s->bos}, {"EOS", s->eos}, {"unknown", s->unk}, {"padding", s->pad}};
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        if (special[i].id < -1 || special[i].id >= s->n_vocab)
            return sd_fail(err, SD_E_FORMAT, "tokenizer: the %s token is %d, the vocabulary has %d", special[i].name,
                           (int)special[i].id, (int)s->n_vocab);
    if (s->add_bos && s->bos < 0) return sd_fail(err, SD_E_FORMAT, "tokenizer: adds a BOS token but names none");
    if (s->add_eos && s->eos < 0) return sd_fail(err, SD_E_FORMAT, "tokenizer: adds an EOS token but names none");
    size_t total = 0;
    for (int32_t i = 0; i < s->n_vocab; i++) {
        if (!sd_add_size(total, s->piece[i].n, &total) || total > MAX_VOCAB_BYTES)
            return sd_fail(err, SD_E_FORMAT, "tokenizer: the pieces take more than %zu bytes", MAX_VOCAB_BYTES);
    }
    return SD_OK;
}

static sd_status copy_types(sd_tok *t, const sd_tok_spec *s, sd_err *err)
{
    size_t n = (size_t)s->n_vocab;
    sd_status st = sd_alloc(&t->type, n, "token types", err);
    if (st) return st;
    for (size_t i = 0; i < n; i++) {
        uint8_t type = s->type ? s->type[i] : SD_PIECE_NORMAL;
        t->type[i] = type >= SD_PIECE_NORMAL && type <= SD_PIECE_BYTE ? type : SD_PIECE_NORMAL;
    }
    if (!s->strip) return SD_OK;
    st = sd_alloc(&t->strip, n, "token flags", err);
    if (!st) memcpy(t->strip, s->strip, n);
    return st;
}

static bool is_text_piece(uint8_t type)
{
    return type == SD_PIECE_NORMAL || type == SD_PIECE_UNUSED || type == SD_PIECE_BYTE;
}

/* "<0x0A>" */
static int byte_piece(sd_slice p)
{
    if (p.n != 6 || !sd_slice_starts(p, "<0x") || p.p[5] != '>') return -1;
    int v = 0;
    for (int i = 3; i < 5; i++) {
        char c = p.p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                       : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* SentencePiece writes a space as U+2581. */
static size_t spm_bytes(char *out, sd_slice piece)
{
    size_t n = 0;
    for (size_t i = 0; i < piece.n;) {
        if (piece.n - i >= 3 && memcmp(piece.p + i, "\xe2\x96\x81", 3) == 0) {
            out[n++] = ' ';
            i += 3;
        } else {
            out[n++] = piece.p[i++];
        }
    }
    return n;
}

/* Decoding is a look-up: what each token adds to a text is written out once. */
static sd_status fill_bytes(sd_tok *t, const sd_tok_spec *s, sd_err *err)
{
    size_t total = 0;
    for (int32_t i = 0; i < s->n_vocab; i++) total += s->piece[i].n;
    sd_status st = sd_alloc(&t->bytes, total + 1, "the vocabulary", err);
    if (!st) st = sd_alloc(&t->off, ((size_t)s->n_vocab + 1) * sizeof *t->off, "the vocabulary", err);
    if (st) return st;
    size_t at = 0;
    for (int32_t i = 0; i < s->n_vocab; i++) {
        sd_slice piece = s->piece[i];
        int64_t n = -1;
        t->off[i] = (uint32_t)at;
        int byte = s->kind == SD_TOK_SPM && t->type[i] == SD_PIECE_BYTE ? byte_piece(piece) : -1;
        if (byte >= 0) {
            t->bytes[at] = (char)byte;
            n = 1;
        } else if (s->kind == SD_TOK_SPM && (is_text_piece(t->type[i]) || t->type[i] == SD_PIECE_USER)) {
            n = (int64_t)spm_bytes(t->bytes + at, piece);
        } else if (s->kind == SD_TOK_BPE && is_text_piece(t->type[i])) {
            n = sd_bpe__piece_bytes(t->bytes + at, piece);
        }
        if (n < 0) {
            if (piece.n) memcpy(t->bytes + at, piece.p, piece.n);
            n = (int64_t)piece.n;
        }
        at += (size_t)n;
    }
    t->off[s->n_vocab] = (uint32_t)at;
    return SD_OK;
}

sd_status sd_tok_new(sd_tok **out, const sd_tok_spec *spec, sd_err *err)
{
    sd_tok *t = NULL;
    *out = NULL;
    if (spec->kind != SD_TOK_BPE)
        return sd_fail(err, SD_E_UNSUPPORTED, "tokenizer: %s is not supported yet, byte-level BPE is",
                       spec->kind == SD_TOK_SPM ? "SentencePiece" : "WordPiece");
    sd_status st = check_spec(spec, err);
    if (!st) st = sd_alloc_zero(&t, sizeof *t, "a tokenizer", err);
    if (st) return st;
    t->kind = spec->kind;
    t->n_vocab = spec->n_vocab;
    t->bos = spec->bos;
    t->eos = spec->eos;
    t->unk = spec->unk;
    t->add_bos = spec->add_bos;
    t->add_eos = spec->add_eos;
    t->add_space_prefix = spec->add_space_prefix;
    t->nfc = spec->nfc;
    st = copy_types(t, spec, err);
    if (!st) st = fill_bytes(t, spec, err);
    if (!st) st = sd_trie__build(&t->special, t, spec, err);
    if (!st) st = sd_bpe__new(&t->bpe, t, spec, err);
    if (st)
        sd_tok_free(t);
    else
        *out = t;
    return st;
}

void sd_tok_free(sd_tok *t)
{
    if (!t) return;
    sd_bpe__free(t->bpe);
    sd_trie__release(&t->special);
    sd_free(t->strip);
    sd_free(t->type);
    sd_free(t->off);
    sd_free(t->bytes);
    sd_free(t);
}

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

bool sd_tok_is_special(const sd_tok *t, int32_t id)
{
    return id >= 0 && id < t->n_vocab && (t->type[id] == SD_PIECE_CONTROL || t->type[id] == SD_PIECE_UNKNOWN);
}

bool sd_tok_pre_defaults(sd_slice pre, bool *add_bos)
{
    sd_pretok_traits traits;
    if (!sd_pretok_known(pre, &traits)) return false;
    *add_bos = traits.add_bos;
    return true;
}

void sd_ids_release(sd_ids *ids)
{
    sd_free(ids->v);
    *ids = (sd_ids){0};
}

sd_status sd_ids_push(sd_ids *ids, int32_t id, sd_err *err)
{
    if (ids->n == ids->cap) {
        int64_t cap = ids->cap ? ids->cap + ids->cap / 2 : 64;
        int32_t *v = sd_realloc(ids->v, (size_t)cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: %lld token ids", (long long)cap);
        ids->v = v;
        ids->cap = cap;
    }
    ids->v[ids->n++] = id;
    return SD_OK;
}

static bool is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}

static size_t leading_space(sd_slice s)
{
    size_t i = 0;
    uint32_t cp;
    for (int len; i < s.n && (len = sd_utf8_decode(s.p + i, s.n - i, &cp)) > 0 && is_space(cp);) i += (size_t)len;
    return i;
}

static sd_slice trim_right(sd_slice s)
{
    while (s.n) {
        size_t start = s.n - 1;
        while (start > 0 && s.n - start < 4 && ((unsigned char)s.p[start] & 0xc0) == 0x80) start--;
        uint32_t cp;
        int len = sd_utf8_decode(s.p + start, s.n - start, &cp);
        if (len <= 0 || (size_t)len != s.n - start || !is_space(cp)) break;
        s.n = start;
    }
    return s;
}

static bool is_ascii(sd_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80) return false;
    return true;
}

#define NFC_OPTIONS (UTF8PROC_STABLE | UTF8PROC_COMPOSE)

/* Appends the NFC of valid UTF-8 to b; wide holds code points. */
static sd_status nfc_run(sd_buf *b, sd_buf *wide, sd_slice s, sd_err *err)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)s.p;
    utf8proc_ssize_t n = utf8proc_decompose(p, (utf8proc_ssize_t)s.n, NULL, 0, NFC_OPTIONS);
    if (n < 0) return sd_fail(err, SD_E_FAIL, "cannot normalise a text of %zu bytes: %s", s.n, utf8proc_errmsg(n));
    sd_buf_reset(wide);
    for (size_t need = ((size_t)n + 1) * sizeof(utf8proc_int32_t); wide->n < need && !wide->failed;)
        sd_buf_put(wide, "\0\0\0\0\0\0\0\0", 8); /* reencode wants room for one more */
    sd_status st = sd_buf_check(wide, "normalised text", err);
    if (st) return st;
    utf8proc_int32_t *cp = (utf8proc_int32_t *)(void *)wide->p;
    n = utf8proc_decompose(p, (utf8proc_ssize_t)s.n, cp, n, NFC_OPTIONS);
    if (n >= 0) n = utf8proc_reencode(cp, n, NFC_OPTIONS);
    if (n < 0) return sd_fail(err, SD_E_FAIL, "cannot normalise a text of %zu bytes: %s", s.n, utf8proc_errmsg(n));
    sd_buf_put(b, cp, (size_t)n);
    return SD_OK;
}

/* Unicode NFC of s into b; invalid bytes stay. */
static sd_status to_nfc(sd_buf *b, sd_slice s, sd_err *err)
{
    sd_status st = SD_OK;
    sd_buf wide;
    sd_buf_init(&wide, MAX_TEXT_BYTES);
    sd_buf_reset(b);
    while (s.n && !st) {
        size_t n = sd_utf8_valid_prefix(s);
        if (n)
            st = nfc_run(b, &wide, (sd_slice){s.p, n}, err);
        else
            sd_buf_put(b, s.p, n = 1);
        s = (sd_slice){s.p + n, s.n - n};
    }
    if (!st) st = sd_buf_check(b, "normalised text", err);
    sd_buf_release(&wide);
    return st;
}

static sd_status encode_fragment(const sd_tok *t, sd_encode_scratch *s, sd_slice text, sd_ids *ids, sd_err *err)
{
    if (text.n == 0) return SD_OK;
    if (t->nfc && !is_ascii(text)) {
        sd_status st = to_nfc(&s->nfc, text, err);
        if (st) return st;
        text = (sd_slice){s->nfc.p, s->nfc.n};
    }
    /* ByteLevel of tokenizers: every stretch between added tokens begins with a space. */
    if (t->add_space_prefix && text.n && text.p[0] != ' ') {
        sd_buf_reset(&s->prefixed);
        sd_buf_putc(&s->prefixed, ' ');
        sd_buf_put(&s->prefixed, text.p, text.n);
        sd_status st = sd_buf_check(&s->prefixed, "text with a space in front", err);
        if (st) return st;
        text = (sd_slice){s->prefixed.p, s->prefixed.n};
    }
    return sd_bpe__encode(t, s, text, ids, err);
}

/* A token that strips to its right swallows white space only as text: a token that begins in it is still found (and
 * ends the swallowing where it ends), as in tokenizers. */
static sd_status encode_text(const sd_tok *t, sd_encode_scratch *s, sd_slice text, bool control, sd_ids *ids,
                             sd_err *err)
{
    sd_status st = SD_OK;
    size_t done = 0, at = 0; /* everything before `done` has been encoded or swallowed */
    while (!st && at < text.n) {
        size_t len;
        int32_t id = -1;
        if (t->special.first[(unsigned char)text.p[at]])
            id = sd_trie__match(&t->special, t->type, text.p + at, text.n - at, control, &len);
        if (id < 0) {
            at++;
            continue;
        }
        uint8_t strip = t->strip ? t->strip[id] : 0;
        sd_slice before = {text.p + done, at > done ? at - done : 0};
        if (strip & SD_STRIP_LEFT) before = trim_right(before);
        st = encode_fragment(t, s, before, ids, err);
        if (!st) st = sd_ids_push(ids, id, err);
        at += len;
        done = at;
        if (strip & SD_STRIP_RIGHT) done += leading_space((sd_slice){text.p + at, text.n - at});
    }
    if (!st) st = encode_fragment(t, s, (sd_slice){text.p + done, text.n - done}, ids, err);
    return st;
}

sd_status sd_tok_encode(const sd_tok *t, sd_slice text, const sd_encode_opt *opt, sd_ids *ids, sd_err *err)
{
    bool control = !opt || !opt->no_special;
    int64_t n0 = ids->n;
    sd_encode_scratch s = {0};
    sd_buf_init(&s.nfc, MAX_TEXT_BYTES);
    sd_buf_init(&s.prefixed, MAX_TEXT_BYTES);
    sd_buf_init(&s.kept, MAX_TEXT_BYTES);
    sd_status st = sd_bpe__scratch(t->bpe, &s, err);
    if (!st && control && t->add_bos) st = sd_ids_push(ids, t->bos, err);
    if (!st) st = encode_text(t, &s, text, control, ids, err);
    if (!st && control && t->add_eos) st = sd_ids_push(ids, t->eos, err);
    if (st) ids->n = n0;
    sd_pretok_scratch_release(&s.pretok);
    sd_buf_release(&s.kept);
    sd_buf_release(&s.prefixed);
    sd_buf_release(&s.nfc);
    sd_free(s.heap.v);
    sd_free(s.sym);
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

int32_t sd_tok_find(const sd_tok *t, sd_slice text)
{
    size_t len = 0;
    int32_t id = sd_trie__match(&t->special, t->type, text.p, text.n, true, &len);
    return id >= 0 && len == text.n ? id : -1;
}
