/* What the trainer (tok_train.c) and the writer (tok_write.c) share. */
#ifndef SD_TEXT_TOK_TRAIN_INT_H
#define SD_TEXT_TOK_TRAIN_INT_H

#include "text/tok_train.h"

struct sd_tok_trained {
    int32_t n_vocab, n_special;
    char **piece;        /* [n_vocab] in GPT-2's alphabet; owns each */
    int32_t (*merge)[2]; /* [n_merge] ids of left and right, in rank order */
    int64_t n_merge;
    sd_buf lines;        /* "left right" of all merges, one after another */
    size_t *line;        /* [n_merge + 1] where each begins */
    int32_t bos, eos, pad, unk;
    bool add_bos;
};

#endif
