/* A byte-level vocabulary made in the test: 256 bytes, the products of a list of merges, and special tokens. */
#ifndef SD_TEST_VOCAB_H
#define SD_TEST_VOCAB_H

#include "t.h"

#include "text/tok.h"

enum { VOCAB_MAX = 1024 };

typedef struct vocab {
    sd_tok_spec spec;
    sd_slice piece[VOCAB_MAX], merge[VOCAB_MAX];
    uint8_t type[VOCAB_MAX], added[VOCAB_MAX];
    char text[1 << 16];
    size_t used;
} vocab;

/* GPT-2's byte-to-unicode alphabet (Radford et al. 2019, encoder.py), counted out the long way. */
static inline int vocab_byte(int b, char out[4])
{
    int shifted = 0;
    for (int i = 0; i < b; i++) shifted += !((i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174);
    bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    return sd_utf8_encode(plain ? (uint32_t)b : 256u + (uint32_t)shifted, out);
}

static inline sd_slice vocab_keep(vocab *v, const char *p, size_t n)
{
    char *at = v->text + v->used;
    if (v->used + n > sizeof v->text) abort();
    memcpy(at, p, n);
    v->used += n;
    return (sd_slice){at, n};
}

static inline int32_t vocab_add(vocab *v, sd_slice piece, int type)
{
    int32_t id = v->spec.n_vocab++;
    if (id >= VOCAB_MAX) abort();
    v->piece[id] = vocab_keep(v, piece.p, piece.n);
    v->type[id] = (uint8_t)type;
    return id;
}

static inline int32_t vocab_special(vocab *v, const char *text, int type)
{
    return vocab_add(v, sd_slice_of(text), type);
}

/* Ids 0..255 are the bytes. */
static inline void vocab_init(vocab *v)
{
    memset(v, 0, sizeof *v);
    v->spec = (sd_tok_spec){.kind = SD_TOK_BPE, .bos = -1, .eos = -1, .unk = -1, .pad = -1};
    v->spec.piece = v->piece;
    v->spec.merge = v->merge;
    v->spec.type = v->type;
    v->spec.added = v->added;
    for (int b = 0; b < 256; b++) {
        char c[4];
        vocab_add(v, (sd_slice){c, (size_t)vocab_byte(b, c)}, SD_PIECE_NORMAL);
    }
}

/* A merge of two ASCII strings; makes the piece when `piece`. Returns its id, -1 without. */
static inline int32_t vocab_merge(vocab *v, const char *left, const char *right, bool piece)
{
    char line[256], joined[256];
    snprintf(line, sizeof line, "%s %s", left, right);
    snprintf(joined, sizeof joined, "%s%s", left, right);
    v->merge[v->spec.n_merge++] = vocab_keep(v, line, strlen(line));
    return piece ? vocab_add(v, sd_slice_of(joined), SD_PIECE_NORMAL) : -1;
}

/* "12 300 45" of ids; static. */
static inline const char *vocab_ids(const sd_ids *ids)
{
    static char text[4096];
    size_t n = 0;
    text[0] = '\0';
    for (int64_t i = 0; i < ids->n && n + 16 < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%d", i ? " " : "", (int)ids->v[i]);
    return text;
}

/* Encodes and prints the ids; static. */
static inline const char *vocab_encode(const sd_tok *t, const char *text, bool no_special)
{
    sd_ids ids = {0};
    sd_err err = {0};
    sd_encode_opt opt = {.no_special = no_special};
    t_ok(sd_tok_encode(t, sd_slice_of(text), &opt, &ids, &err), err);
    const char *s = vocab_ids(&ids);
    sd_ids_release(&ids);
    return s;
}

#endif
