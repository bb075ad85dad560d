/* Activations on their way: shards on disk and the token-level shuffle buffer in memory.
 * Rows are kept as f16; a row carries nothing but its numbers once it is in the buffer. */
#ifndef SD_DICT_ACT_H
#define SD_DICT_ACT_H

#include "base/log.h"
#include "base/rng.h"
#include "sonde/dict.h"

/* Where rows come from (a model run, or shards). */
typedef struct sd_act_block {
    sd_mat x;                 /* [n, d] raw activations */
    const int32_t *token_id;  /* [n] */
    const int32_t *doc;       /* [n] document in the corpus */
    const int32_t *pos;       /* [n] position in the document */
} sd_act_block;               /* borrowed until the next call */
typedef struct sd_act_source {
    void *self;
    int64_t d;
    /* The next rows, already without special tokens; n = 0 at the end of the data. */
    sd_status (*next)(void *self, sd_act_block *out, sd_err *err);
    /* Rows handed out so far; and back to a former position (for resume and further epochs). */
    int64_t (*tell)(void *self);
    sd_status (*seek)(void *self, int64_t row, sd_err *err);
} sd_act_source;

/* Shards as CONTRACT section 6 says: acts-%05d.safetensors + manifest.json. */
typedef struct sd_act_writer sd_act_writer;
typedef struct sd_act_manifest { char model_name[128], model_sha256[65], data_sha256[65], site[64], mode[16]; int64_t d, n_rows, rows_per_shard; bool f16; } sd_act_manifest;
sd_status sd_act_writer_open(sd_act_writer **out, const char *dir, const sd_act_manifest *m, bool force, sd_err *err);
sd_status sd_act_writer_put(sd_act_writer *w, const sd_act_block *b, sd_err *err);
sd_status sd_act_writer_finish(sd_act_writer *w, sd_err *err); /* writes the manifest; frees */
void sd_act_writer_abort(sd_act_writer *w);

typedef struct sd_act_reader sd_act_reader;
sd_status sd_act_reader_open(sd_act_reader **out, const char *dir, sd_err *err); /* checks shapes, hashes of sizes, finiteness on read */
void sd_act_reader_close(sd_act_reader *r);
const sd_act_manifest *sd_act_reader_manifest(const sd_act_reader *r);
sd_act_source sd_act_reader_source(sd_act_reader *r);

/* The shuffle buffer: holds cap rows; each batch takes random rows and fills the gaps from the source. */
typedef struct sd_shuffle sd_shuffle;
sd_status sd_shuffle_new(sd_shuffle **out, int64_t cap_rows, int64_t d, uint64_t seed, double max_norm, sd_err *err);
void sd_shuffle_free(sd_shuffle *s);
/* Fills x [n, d] with the next shuffled rows; *n_got < n only at the end of the data. Rows with norm above max_norm are dropped and counted. epochs: how often the source may start again. */
sd_status sd_shuffle_next(sd_shuffle *s, sd_act_source *src, sd_mat x, int64_t *n_got, sd_err *err);
void sd_shuffle_set_max_norm(sd_shuffle *s, double max_norm);
int64_t sd_shuffle_dropped(const sd_shuffle *s);
sd_status sd_shuffle_save(const sd_shuffle *s, const char *path, sd_err *err);
sd_status sd_shuffle_load(sd_shuffle **out, const char *path, sd_err *err);

#endif
