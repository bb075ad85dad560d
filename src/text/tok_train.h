/* Training a byte-level BPE vocabulary, and writing it as a Hugging Face tokenizer.
 *
 *   sd_tok_trainer_new(&t, &opt, err); for each document sd_tok_trainer_add(t, text, err);
 *   sd_tok_trainer_finish(&v, t, err); sd_tok_trained_make(&tok, v, err); sd_tok_trained_write(v, dir, template, err);
 *
 * Words are cut by GPT-2's pattern. Ids: the special tokens in the order given, the 256 bytes in the order of GPT-2's
 * alphabet, then a piece a merge. The pair that occurs most often is merged next, of equal ones the one with the smaller
 * ids, left first: the merges of tokenizers' BpeTrainer (Sennrich et al. 2016, algorithm 1). The order of documents does
 * not matter. The same input gives the same bytes on every machine. */
#ifndef SD_TEXT_TOK_TRAIN_H
#define SD_TEXT_TOK_TRAIN_H

#include "text/tok.h"

typedef struct sd_tok_train_opt {
    int32_t n_vocab;              /* pieces in all, at least n_special + 256; fewer come out when no pair is left */
    const sd_slice *special;      /* [n_special] control tokens; a document is cut where one stands in it */
    int n_special;
    sd_slice bos, eos, pad, unk;  /* each one of `special`, or empty */
    bool add_bos;                 /* encoding puts bos in front */
    int64_t min_count;            /* pairs rarer than this are not merged; 0: every pair */
} sd_tok_train_opt;

typedef struct sd_tok_trainer sd_tok_trainer;
typedef struct sd_tok_trained sd_tok_trained; /* a vocabulary; immutable */

sd_status sd_tok_trainer_new(sd_tok_trainer **out, const sd_tok_train_opt *opt, sd_err *err); /* copies opt */
void sd_tok_trainer_free(sd_tok_trainer *t);
/* Counts the words of a document; the text may go afterwards. Bytes that are not UTF-8 part words; a word of more than
 * 65,536 bytes is data, not language, and is left out. */
sd_status sd_tok_trainer_add(sd_tok_trainer *t, sd_slice text, sd_err *err);
/* Learns the merges. t has then done its work and can only be freed. Memory: about 12 bytes for each pair of neighbours
 * in the different words of the corpus. */
sd_status sd_tok_trainer_finish(sd_tok_trained **out, sd_tok_trainer *t, sd_err *err);

void sd_tok_trained_free(sd_tok_trained *v);
int32_t sd_tok_trained_n_vocab(const sd_tok_trained *v);
int64_t sd_tok_trained_n_merge(const sd_tok_trained *v);
sd_slice sd_tok_trained_merge(const sd_tok_trained *v, int64_t rank); /* "left right" in GPT-2's alphabet, borrowed */
sd_status sd_tok_trained_make(sd_tok **out, const sd_tok_trained *v, sd_err *err);
/* Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json into the folder dir, and chat_template.jinja when
 * chat_template is not empty. The same ids from transformers, and from sd_tokenizer_open. */
sd_status sd_tok_trained_write(const sd_tok_trained *v, const char *dir, sd_slice chat_template, sd_err *err);

extern const char sd_tok_chatml[]; /* the template of <|im_start|> and <|im_end|> */

#endif
