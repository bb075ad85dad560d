/* What the files that read tokenizer.json share. */
#ifndef SD_MODEL_TOKSPEC_INT_H
#define SD_MODEL_TOKSPEC_INT_H

#include "model/tokspec.h"

#include "base/hash.h"

#define SD_HF_MAX_NORM 32
#define SD_HF_MAX_KEPT 32

typedef struct sd_hf {
    const char *dir;
    char what[4096];   /* path of tokenizer.json, in front of errors */
    json_t *tok, *cfg; /* tokenizer.json; tokenizer_config.json with what stands in older files */
    sd_tok_spec spec;
    sd_slice *piece, *merge;
    uint8_t *type, *added;
    double *logprob;
    int32_t *end;
    uint32_t *left; /* of merges: bytes of the left piece */
    sd_table *by_text;
    sd_buf joined; /* merges that are pairs, as lines */
    sd_cut cut[SD_PRETOK_MAX];
    sd_norm_step norm[SD_HF_MAX_NORM];
    char *kept[SD_HF_MAX_KEPT]; /* escaped patterns, decoded maps */
    int n_kept;
    int64_t n_rows;  /* vocab_size of config.json, 0: unknown */
    bool byte_level;
} sd_hf;

/* Reads tokenizer.json (json: its path, NULL: the one in dir) and tokenizer_config.json into h->spec. config: config.json,
 * may be NULL. release also after a failure. */
sd_status sd_hf__read(sd_hf *h, const char *dir, const char *json, const json_t *config, sd_err *err);
void sd_hf__release(sd_hf *h);
/* The text of the chat template, no bytes when there is none; in hold (released by the caller, also on failure) or h. */
sd_status sd_hf__template(sd_slice *text, sd_buf *hold, const sd_hf *h, sd_err *err);

/* Tokens that are named beside tokenizer.json. config fills h->cfg; n_added: at most so many pieces more; added gives them ids behind spec.n_vocab. */
sd_status sd_hf__config(sd_hf *h, sd_err *err);
int64_t sd_hf__n_added(const sd_hf *h);
sd_status sd_hf__added(sd_hf *h, sd_err *err);
uint8_t sd_hf__added_flags(const json_t *token, bool outside); /* SD_ADDED_* */

const char *sd_hf__type_of(const json_t *o); /* "" when there is none */
bool sd_hf__is_true(const json_t *o, const char *key, bool otherwise);
bool sd_hf__is_absent(const json_t *v);
sd_status sd_hf__unsupported(const sd_hf *h, const char *part, const char *name, sd_err *err);

/* Fill spec.cut, spec.norm, and what decoding does with spaces. read_model comes first, the pre-tokeniser second. */
sd_status sd_hf__pre_tokenizers(sd_hf *h, sd_err *err);
sd_status sd_hf__normalizers(sd_hf *h, sd_err *err);
sd_status sd_hf__decoders(sd_hf *h, sd_err *err);

#endif
