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

/* Shards (docs/FORMATS.md): acts-%05d.safetensors + manifest.json. */
typedef struct sd_act_writer sd_act_writer;
typedef struct sd_act_manifest { char model_name[128], model_sha256[65], data_sha256[65], site[64], mode[16]; int64_t d, n_rows, rows_per_shard; bool f16; } sd_act_manifest;
/* Bytes on disk that n_rows of width d will take, before anything starts. */
uint64_t sd_act_plan(int64_t n_rows, int64_t d, bool f16);
/* Bytes on disk that come free when the shards in dir are replaced. */
uint64_t sd_act_replaced(const char *dir);
/* m->n_rows: rows expected (0: unknown); SD_E_NOSPACE when they will not fit on the disk, with force in the room of those they replace too. rows_per_shard 0: 65,536, fewer where that
 * is over 128 MB. Without force a folder that holds shards already is refused; with it they are removed now. */
sd_status sd_act_writer_open(sd_act_writer **out, const char *dir, const sd_act_manifest *m, bool force, sd_err *err);
/* Refuses NaN and infinities, naming the row; f16 keeps larger numbers at 65,504. After an error only abort is left. */
sd_status sd_act_writer_put(sd_act_writer *w, const sd_act_block *b, sd_err *err);
sd_status sd_act_writer_finish(sd_act_writer *w, sd_err *err); /* writes the manifest, last; frees, also on failure */
void sd_act_writer_abort(sd_act_writer *w);                    /* removes what it wrote, the folder too if it made it; NULL is fine */

typedef struct sd_act_reader sd_act_reader;
/* Checks the manifest and every shard's size now, shapes and finiteness as shards are read (the error names row and shard). */
sd_status sd_act_reader_open(sd_act_reader **out, const char *dir, sd_err *err);
void sd_act_reader_close(sd_act_reader *r);
const sd_act_manifest *sd_act_reader_manifest(const sd_act_reader *r);
sd_act_source sd_act_reader_source(sd_act_reader *r);

/* The rows of r in the order that the int32 vector "order" of a safetensors file at path gives, then the last n_heldout of all. Its numbers count
 * the rows whose norm is below SD_SINK_FACTOR medians, which are kept in memory as f16; those held out are not among them. r is read here alone. */
typedef struct sd_act_order sd_act_order;
sd_status sd_act_order_open(sd_act_order **out, sd_act_reader *r, const char *path, int64_t n_heldout, sd_err *err);
void sd_act_order_close(sd_act_order *o);
sd_act_source sd_act_order_source(sd_act_order *o);
int64_t sd_act_order_rows(const sd_act_order *o); /* those held out too */
sd_status sd_act_order_all(const sd_act_order *o, sd_mat *out, sd_err *err); /* every row that is no sink, once; out->data by sd_free */

/* The shuffle buffer: cap rows as f16. A batch takes random rows, and each gap is filled with the next row of the source, so
 * neighbours in a document end up about cap rows apart. The order depends on seed and source alone. */
typedef struct sd_shuffle sd_shuffle;
/* max_norm 0: no limit. */
sd_status sd_shuffle_new(sd_shuffle **out, int64_t cap_rows, int64_t d, uint64_t seed, double max_norm, sd_err *err);
void sd_shuffle_free(sd_shuffle *s);
/* Fills x [n, d] with the next shuffled rows; *n_got < n only at the end of the data. left: how many will be asked for, these among them, so that none
 * is read which nobody wants: the buffer runs empty with the last of them; INT64_MAX: not known. Rows with norm above max_norm are dropped
 * and counted; a row that is not finite or does not fit f16 is SD_E_FORMAT. */
sd_status sd_shuffle_next(sd_shuffle *s, sd_act_source *src, int64_t left, sd_mat x, int64_t *n_got, sd_err *err);
/* Reads the rows that the first sd_shuffle_next would read before it takes one; what follows stays the same bit for bit. */
sd_status sd_shuffle_fill(sd_shuffle *s, sd_act_source *src, int64_t left, sd_err *err);
int64_t sd_shuffle_held(const sd_shuffle *s);
/* n of the rows held, evenly apart, all where there are fewer; they stay. out->data by sd_free. */
sd_status sd_shuffle_look(const sd_shuffle *s, int64_t n, sd_mat *out, sd_err *err);
int64_t sd_shuffle_dropped(const sd_shuffle *s);
int64_t sd_shuffle_width(const sd_shuffle *s);
/* Rows, those read from the source but not yet in the buffer, and the generator's place: with the source at the same
 * tell(), what follows is the same bit for bit. */
sd_status sd_shuffle_save(const sd_shuffle *s, const char *path, sd_err *err);
sd_status sd_shuffle_load(sd_shuffle **out, const char *path, sd_err *err);

#endif
