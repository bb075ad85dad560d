/* A made-up tokenizer, dictionary and stream of activations for the tests of the feature study. */
#ifndef SD_TEST_FEATURE_SAMPLE_H
#define SD_TEST_FEATURE_SAMPLE_H

#include "t.h"
#include "base/rng.h"
#include "dict/act.h"
#include "dict/dict_int.h"
#include "lab/dashboard.h"
#include "text/tok.h"

enum { FS_VOCAB = 120, FS_D = 16, FS_M = 96, FS_K = 4, FS_ROWS = 3000 };

static inline sd_tok *fs_tok(void)
{
    static char text[FS_VOCAB][24];
    sd_slice piece[FS_VOCAB];
    uint8_t type[FS_VOCAB];
    sd_err err = {0};
    sd_tok *t = NULL;
    for (int i = 0; i < FS_VOCAB; i++) {
        if (i == 0) snprintf(text[i], sizeof text[i], "<|end|>");
        else if (i == 1) snprintf(text[i], sizeof text[i], "\xc4\x8a");      /* a newline, in the byte alphabet */
        else if (i == 2) snprintf(text[i], sizeof text[i], "\xc3\xa2\xc4\xa4"); /* bytes E2 82: two thirds of a euro sign */
        else if (i == 3) snprintf(text[i], sizeof text[i], "<b>&\"'");
        else snprintf(text[i], sizeof text[i], "\xc4\xa0%s%d", i % 7 ? "word" : "Word", i); /* a leading space */
        piece[i] = sd_slice_of(text[i]);
        type[i] = i == 0 ? SD_PIECE_CONTROL : SD_PIECE_NORMAL;
    }
    sd_status st = sd_tok_new(&t, &(sd_tok_spec){.kind = SD_TOK_BPE, .n_vocab = FS_VOCAB, .piece = piece, .type = type, .pre = SD_LIT("gpt-2"),
                                                 .bos = -1, .eos = 0, .unk = -1, .pad = -1}, &err);
    if (st) fail_msg("%s", err.msg);
    return t;
}

static inline sd_dict *fs_dict(int64_t m, int64_t d)
{
    sd_err err = {0};
    sd_dict *dict = NULL;
    sd_dict_info in = {.kind = SD_DICT_TOPK, .d = d, .m = m, .k = FS_K, .site_rms = 0, .fvu = 0.25, .l0 = FS_K};
    snprintf(in.site, sizeof in.site, "resid_post.1");
    if (sd_dict__new(&dict, &in, true, false, &err)) fail_msg("%s", err.msg);
    sd_rng r = sd_rng_make(7, "dict", 0);
    for (int64_t i = 0; i < m * d; i++) dict->W_enc[i] = dict->W_dec[i] = sd_rng_normal(&r) / 4;
    for (int64_t f = 0; f < m; f++) dict->b_enc[f] = 0.01f * (float)(f % 5);
    for (int64_t i = 0; i < d; i++) dict->b_in[i] = dict->b_dec[i] = 0.1f * sd_rng_normal(&r);
    for (int64_t i = 0; i < d; i++) dict->W_enc[(m - 1) * d + i] = 0; /* never among the top k: a silent feature */
    dict->b_enc[m - 1] = -100;
    return dict;
}

/* Rows of documents of 40 to 139 tokens; every 50th row is a sink. mixed: two documents at a time, as packed batches come. */
typedef struct fs_source {
    int64_t n, at, block;
    float *x;
    int32_t *token, *doc, *pos;
} fs_source;

static inline void fs_source_init(fs_source *s, bool mixed, int64_t block)
{
    sd_rng r = sd_rng_make(3, "rows", 0);
    *s = (fs_source){.n = FS_ROWS, .block = block};
    s->x = calloc(FS_ROWS * FS_D, sizeof *s->x);
    s->token = calloc(FS_ROWS, sizeof *s->token);
    s->doc = calloc(FS_ROWS, sizeof *s->doc);
    s->pos = calloc(FS_ROWS, sizeof *s->pos);
    int32_t doc = 100, pos = 0, len = 40;
    for (int64_t i = 0; i < FS_ROWS; i++) {
        if (pos == len) doc--, pos = 0, len = 40 + (int32_t)sd_rng_below(&r, 100); /* numbers fall: order is as they come */
        s->doc[i] = doc;
        s->pos[i] = pos++;
        if (doc % 3 == 0 && pos == 20) pos++; /* a special token was left out here */
        s->token[i] = 1 + (int32_t)sd_rng_below(&r, FS_VOCAB - 1);
        for (int k = 0; k < FS_D; k++) s->x[i * FS_D + k] = sd_rng_normal(&r) + (k == s->token[i] % FS_D ? 3.0f : 0);
        if (i % 50 == 17) s->x[i * FS_D] += 2000;
    }
    if (!mixed) return;
    for (int64_t a = 0; a + 200 <= FS_ROWS; a += 200) /* halves of 200 rows, turn and turn about */
        for (int64_t i = 0; i < 100; i += 2) {
            int64_t p = a + i, q = a + 199 - i;
            int32_t t = s->token[p], d = s->doc[p], o = s->pos[p];
            s->token[p] = s->token[q], s->doc[p] = s->doc[q], s->pos[p] = s->pos[q];
            s->token[q] = t, s->doc[q] = d, s->pos[q] = o;
            for (int k = 0; k < FS_D; k++) {
                float x = s->x[p * FS_D + k];
                s->x[p * FS_D + k] = s->x[q * FS_D + k];
                s->x[q * FS_D + k] = x;
            }
        }
}

static inline void fs_source_release(fs_source *s)
{
    free(s->x);
    free(s->token);
    free(s->doc);
    free(s->pos);
}

static inline sd_status fs_next(void *self, sd_act_block *out, sd_err *err)
{
    fs_source *s = self;
    int64_t n = s->n - s->at < s->block ? s->n - s->at : s->block;
    (void)err;
    *out = (sd_act_block){.x = sd_mat_of(s->x + s->at * FS_D, n, FS_D), .token_id = s->token + s->at, .doc = s->doc + s->at, .pos = s->pos + s->at};
    s->at += n;
    return SD_OK;
}

static inline sd_act_source fs_act_source(fs_source *s) { return (sd_act_source){.self = s, .d = FS_D, .next = fs_next}; }

static inline bool fs_is_sink(const fs_source *s, int64_t row)
{
    double sq = 0;
    for (int k = 0; k < FS_D; k++) sq += (double)s->x[row * FS_D + k] * (double)s->x[row * FS_D + k];
    return sq > 1e6;
}

#endif
