/* The tables that every kind of tokenizer has: pieces as stored and as bytes, byte tokens, special tokens; and the checks
 * that a vocabulary is whole. */
#include "text/tok_int.h"

#include "base/hash.h"

#define MAX_VOCAB       (1 << 22)         /* the largest vocabularies have 262,144 pieces */
#define MAX_VOCAB_BYTES ((size_t)1 << 30) /* offsets into the pieces' bytes have 32 bits */

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

static const char *const kind_name[] = {"byte-level BPE", "BPE of characters", "SentencePiece", "unigram", "WordPiece"};

static sd_status copy_types(sd_tok *t, const sd_tok_spec *s, sd_err *err)
{
    size_t n = (size_t)s->n_vocab;
    sd_status st = sd_alloc(&t->type, n, "token types", err);
    if (st) return st;
    for (size_t i = 0; i < n; i++) {
        uint8_t type = s->type ? s->type[i] : SD_PIECE_NORMAL;
        t->type[i] = type >= SD_PIECE_NORMAL && type <= SD_PIECE_BYTE ? type : SD_PIECE_NORMAL;
    }
    if (!s->added) return SD_OK;
    st = sd_alloc(&t->added, n, "token flags", err);
    if (!st) memcpy(t->added, s->added, n);
    return st;
}

static sd_status copy_ends(sd_tok *t, const sd_tok_spec *s, sd_err *err)
{
    const int32_t *from = s->n_end ? s->end : &s->eos;
    const int n = s->n_end ? s->n_end : s->eos >= 0;
    for (int i = 0; i < n; i++)
        if (from[i] < 0 || from[i] >= s->n_vocab)
            return sd_fail(err, SD_E_FORMAT, "tokenizer: a text ends at token %d, the vocabulary has %d", (int)from[i], (int)s->n_vocab);
    sd_status st = n ? sd_alloc(&t->end, (size_t)n * sizeof *t->end, "the ends of a text", err) : SD_OK;
    if (st || !n) return st;
    memcpy(t->end, from, (size_t)n * sizeof *t->end);
    t->n_end = n;
    return SD_OK;
}

static bool is_text_piece(uint8_t type)
{
    return type == SD_PIECE_NORMAL || type == SD_PIECE_UNUSED || type == SD_PIECE_BYTE;
}

static bool is_special_type(uint8_t type)
{
    return type == SD_PIECE_CONTROL || type == SD_PIECE_USER || type == SD_PIECE_UNKNOWN;
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
static size_t unescaped(char *out, sd_slice piece)
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

/* tokenizers' decoders/wordpiece.rs, cleanup: one after the other, in each piece by itself. Returns what is left of n bytes. */
static size_t clean_up(char *p, size_t n)
{
    static const struct { const char *from, *to; } rule[] = {{" .", "."},     {" ?", "?"},     {" !", "!"},           {" ,", ","},   {" ' ", "'"},    {" n't", "n't"},
                                                             {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t k = 0; k < sizeof rule / sizeof *rule; k++) {
        const size_t a = strlen(rule[k].from), b = strlen(rule[k].to);
        size_t kept = 0;
        for (size_t i = 0; i < n;) {
            if (n - i >= a && memcmp(p + i, rule[k].from, a) == 0) {
                memcpy(p + kept, rule[k].to, b);
                kept += b, i += a;
            } else {
                p[kept++] = p[i++];
            }
        }
        n = kept;
    }
    return n;
}

/* A WordPiece piece: a space and the word's beginning, or what continues it. */
static size_t wpm_bytes(char *out, sd_slice piece, const sd_tok_spec *s)
{
    size_t n = 0, skip = 0;
    bool marked = piece.n >= 3 && memcmp(piece.p, "\xe2\x96\x81", 3) == 0;
    bool continues = s->continuing.n && piece.n > s->continuing.n &&
                     memcmp(piece.p, s->continuing.p, s->continuing.n) == 0;
    if (continues)
        skip = s->continuing.n;
    else if (s->continuing.n || marked)
        out[n++] = ' ', skip = s->continuing.n ? 0 : 3;
    if (piece.n > skip) memcpy(out + n, piece.p + skip, piece.n - skip);
    n += piece.n - skip;
    return s->cleanup ? clean_up(out, n) : n;
}

/* What piece i adds to a text; out holds piece.n + 1 bytes. */
static size_t text_bytes(char *out, sd_slice piece, uint8_t type, const sd_tok_spec *s)
{
    int byte = s->kind != SD_TOK_BPE && type == SD_PIECE_BYTE ? byte_piece(piece) : -1;
    if (byte >= 0) {
        out[0] = (char)byte;
        return 1;
    }
    if (s->kind == SD_TOK_WPM && is_text_piece(type)) return wpm_bytes(out, piece, s);
    if (s->escaped_spaces && (is_text_piece(type) || type == SD_PIECE_USER)) return unescaped(out, piece);
    if (s->kind == SD_TOK_BPE && is_text_piece(type)) {
        int64_t n = sd_bpe__piece_bytes(out, piece);
        if (n >= 0) return (size_t)n;
    }
    if (piece.n) memcpy(out, piece.p, piece.n);
    return piece.n;
}

/* Decoding is a look-up: what each token adds to a text is written out once. */
static sd_status fill_bytes(sd_tok *t, const sd_tok_spec *s, sd_err *err)
{
    size_t total = 0, n = (size_t)s->n_vocab;
    bool keys = s->kind != SD_TOK_BPE;
    for (size_t i = 0; i < n; i++) total += s->piece[i].n;
    sd_status st = sd_alloc(&t->bytes, total + n + 1, "the vocabulary", err);
    if (!st) st = sd_alloc(&t->off, (n + 1) * sizeof *t->off, "the vocabulary", err);
    if (!st && keys) st = sd_alloc(&t->key, total + 1, "the vocabulary", err);
    if (!st && keys) st = sd_alloc(&t->key_off, (n + 1) * sizeof *t->key_off, "the vocabulary", err);
    if (st) return st;
    size_t at = 0, key_at = 0;
    for (size_t i = 0; i < n; i++) {
        sd_slice piece = s->piece[i];
        t->off[i] = (uint32_t)at;
        at += text_bytes(t->bytes + at, piece, t->type[i], s);
        if (!keys) continue;
        t->key_off[i] = (uint32_t)key_at;
        if (piece.n) memcpy(t->key + key_at, piece.p, piece.n);
        key_at += piece.n;
    }
    t->off[n] = (uint32_t)at;
    if (keys) t->key_off[n] = (uint32_t)key_at;
    return SD_OK;
}

/* The token of each byte: in GPT-2's alphabet a piece of one byte, elsewhere "<0x0A>". */
static sd_status find_bytes(sd_tok *t, const sd_tok_spec *s, sd_err *err)
{
    for (int v = 0; v < 256; v++) t->byte_id[v] = -1;
    for (int32_t i = s->n_vocab - 1; i >= 0; i--) {
        if (s->kind == SD_TOK_BPE) {
            char one[8];
            if (s->piece[i].n == 0 || s->piece[i].n > 2 || t->type[i] == SD_PIECE_UNUSED) continue;
            if (sd_bpe__piece_bytes(one, s->piece[i]) == 1) t->byte_id[(unsigned char)one[0]] = i;
            continue;
        }
        int v = t->type[i] == SD_PIECE_BYTE || t->byte_fallback ? byte_piece(s->piece[i]) : -1;
        if (v >= 0) t->byte_id[v] = i;
    }
    int missing = -1;
    for (int v = 255; v >= 0; v--)
        if (t->byte_id[v] < 0) missing = v;
    t->all_bytes = missing < 0;
    if (s->kind == SD_TOK_BPE || s->unk >= 0 || t->all_bytes || s->skip_missing) return SD_OK;
    return sd_fail(err, SD_E_FORMAT, "tokenizer: the %s vocabulary has no piece for byte 0x%02X and no unknown token",
                   kind_name[s->kind], (unsigned)missing);
}

/* Special tokens by the text in which they are looked for. */
static sd_status fill_tries(sd_tok *t, const sd_tok_spec *s, sd_err *err)
{
    size_t n = (size_t)s->n_vocab;
    sd_slice *text;
    sd_encode_scratch w = {0};
    sd_buf kept;
    bool some = false;
    sd_buf_init(&kept, MAX_VOCAB_BYTES);
    sd_status st = sd_alloc_zero(&text, n * sizeof *text, "special tokens", err);
    if (st) return st;
    for (size_t i = 0; i < n; i++) {
        if (!is_special_type(t->type[i])) continue;
        if (t->added && (t->added[i] & SD_ADDED_NORMALIZED))
            some = true;
        else
            text[i] = s->piece[i];
    }
    st = sd_trie__build(&t->special, text, s->n_vocab, err);
    memset(text, 0, n * sizeof *text);
    sd_buf *const all[] = {&w.norm[0], &w.norm[1], &w.wide};
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) sd_buf_init(all[k], MAX_VOCAB_BYTES);
    for (size_t i = 0; i < n && some && !st; i++) {
        if (!is_special_type(t->type[i]) || !(t->added[i] & SD_ADDED_NORMALIZED)) continue;
        sd_slice norm = s->piece[i];
        if (t->norm) st = sd_norm__apply(t->norm, &w, &norm, err);
        text[i].n = norm.n;
        sd_buf_put(&kept, norm.p, norm.n);
    }
    if (!st) st = sd_buf_check(&kept, "special tokens", err);
    for (size_t i = 0, at = 0; i < n; at += text[i++].n) text[i].p = kept.p ? kept.p + at : ""; /* the buffer has stopped moving */
    if (!st) st = sd_trie__build(&t->normalized, text, s->n_vocab, err);
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) sd_buf_release(all[k]);
    sd_buf_release(&kept);
    sd_free(text);
    return st;
}

static sd_status make_pretok(sd_tok *t, const sd_tok_spec *s, sd_err *err)
{
    if (s->n_cut == 0 && s->pre.n) return sd_pretok_named(&t->pretok, s->pre, err);
    return sd_pretok_new(&t->pretok, s->cut, s->n_cut, err);
}

static sd_status make_kind(sd_tok *t, const sd_tok_spec *s, sd_err *err)
{
    if (s->kind == SD_TOK_UGM) return sd_ugm__new(&t->ugm, t, s, err);
    if (s->kind == SD_TOK_WPM) return sd_wpm__new(&t->wpm, t, s, err);
    return sd_bpe__new(&t->bpe, t, s, err);
}

sd_status sd_tok_new(sd_tok **out, const sd_tok_spec *spec, sd_err *err)
{
    sd_tok *t = NULL;
    *out = NULL;
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
    t->strip_space = spec->strip_space;
    t->byte_fallback = spec->byte_fallback;
    t->fuse_unk = spec->fuse_unk;
    st = copy_types(t, spec, err);
    if (!st) st = copy_ends(t, spec, err);
    if (!st) st = fill_bytes(t, spec, err);
    if (!st) st = find_bytes(t, spec, err);
    if (!st && spec->n_norm) st = sd_norm__new(&t->norm, spec->norm, spec->n_norm, err);
    if (!st) st = fill_tries(t, spec, err);
    if (!st) st = make_pretok(t, spec, err);
    if (!st) st = make_kind(t, spec, err);
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
    sd_ugm__free(t->ugm);
    sd_wpm__free(t->wpm);
    sd_norm__free(t->norm);
    sd_pretok_free(t->pretok);
    sd_trie__release(&t->special);
    sd_trie__release(&t->normalized);
    sd_free(t->added);
    sd_free(t->type);
    sd_free(t->end);
    sd_free(t->key_off);
    sd_free(t->key);
    sd_free(t->off);
    sd_free(t->bytes);
    sd_free(t);
}

/* ---- pieces by their text ---- */

sd_status sd_pieces__init(sd_piece_index *x, int64_t n_max, const char *bytes, const uint32_t *off, sd_err *err)
{
    *x = (sd_piece_index){.cap = 64, .bytes = bytes, .off = off};
    while (x->cap < 2 * (uint64_t)n_max) x->cap *= 2;
    sd_status st = sd_alloc(&x->slot, x->cap * sizeof *x->slot, "the vocabulary's index", err);
    for (uint32_t i = 0; i < x->cap && !st; i++) x->slot[i] = (sd_piece_slot){0, -1};
    return st;
}

/* The slot of text: its piece's, or the empty one where it would stand. */
static sd_piece_slot *find_slot(const sd_piece_index *x, sd_slice text, uint32_t *tag)
{
    uint64_t h = sd_hash64(text.p, text.n);
    *tag = (uint32_t)(h >> 32);
    for (uint32_t i = (uint32_t)h & (x->cap - 1);; i = (i + 1) & (x->cap - 1)) {
        sd_piece_slot *s = &x->slot[i];
        if (s->id < 0) return s;
        if (s->tag == *tag && x->off[s->id + 1] - x->off[s->id] == text.n &&
            memcmp(x->bytes + x->off[s->id], text.p, text.n) == 0)
            return s;
    }
}

void sd_pieces__add(sd_piece_index *x, int32_t id)
{
    uint32_t tag;
    sd_piece_slot *s = find_slot(x, (sd_slice){x->bytes + x->off[id], x->off[id + 1] - x->off[id]}, &tag);
    if (s->id < 0) *s = (sd_piece_slot){tag, id};
}

int32_t sd_pieces__find(const sd_piece_index *x, sd_slice text)
{
    uint32_t tag;
    return find_slot(x, text, &tag)->id;
}
