/* Named, typed tensors of a file or a folder, whatever the container; borrowed views into a read-only map. */
#ifndef SD_FILE_WEIGHTS_H
#define SD_FILE_WEIGHTS_H

#include "base/hash.h"
#include "base/json.h"
#include "base/map.h"
#include "num/dtype.h"

#define SD_MAX_RANK 4

typedef struct sd_tensor {
    sd_slice name;
    sd_dtype dtype;
    int rank;
    int64_t dim[SD_MAX_RANK]; /* logical order, outermost first: a matrix is [rows = outputs, cols = inputs] in both containers */
    const void *data;
    size_t bytes;
    const char *type_name; /* as the container calls it: "Q4_1", "BOOL"; static */
} sd_tensor;

typedef enum sd_container { SD_CONTAINER_GGUF, SD_CONTAINER_HF } sd_container;

typedef struct sd_weights sd_weights;
/* path: a .gguf file, a .safetensors file, or a folder with config.json and model.safetensors (or a shard index). */
sd_status sd_weights_open(sd_weights **out, const char *path, sd_err *err);
/* A GGUF in parts, NAME-00001-of-00003.gguf, is opened by its first. The parts that the name of the first says there are, 1 for any other name; the
 * path of part i from 1; and which part of how many a name says it is. */
int64_t sd_gguf_parts(const char *path);
bool sd_gguf_part(char *out, size_t cap, const char *path, int64_t i);
bool sd_gguf_part_of(const char *path, int64_t *no, int64_t *count);
/* Zero is what a loader wants: everything is read and a type without a decoder is an error. */
typedef struct sd_weights_opt {
    bool meta_only;     /* GGUF metadata or config.json alone, no tensors: the tokenizer of any model */
    bool arrays;        /* numpy's .npz and torch's .pt too, the latter by a reader that builds nothing but tensors */
    bool keep_unknown;  /* tensors of known size whose type has no decoder stay listed, with dtype SD_DTYPE_NONE: for `info` */
} sd_weights_opt;
sd_status sd_weights_open_opt(sd_weights **out, const char *path, const sd_weights_opt *opt, sd_err *err);
/* The same on bytes in memory, 8-byte aligned and borrowed until close; `name` stands for the path. */
sd_status sd_weights_open_bytes(sd_weights **out, const void *p, size_t n, const char *name, const sd_weights_opt *opt,
                                sd_err *err);
void sd_weights_close(sd_weights *w);
/* Lets the pages of the files go, of which a copy has been made (sd_map_forget). */
void sd_weights_forget(const sd_weights *w);
sd_container sd_weights_container(const sd_weights *w);
int64_t sd_weights_count(const sd_weights *w);
const sd_tensor *sd_weights_at(const sd_weights *w, int64_t i);
/* NULL when absent. A found tensor is marked as asked for. */
const sd_tensor *sd_weights_find(const sd_weights *w, const char *name);
/* First tensor that nobody asked for, NULL when none is left: strict loaders refuse it by name. */
const sd_tensor *sd_weights_unasked(const sd_weights *w);
const char *sd_weights_path(const sd_weights *w);
uint64_t sd_weights_bytes(const sd_weights *w); /* of all tensors */
/* Every matrix becomes numbers of a normal distribution with its own mean and spread, in f32 and in memory (4 bytes a weight), from the seed and its
 * name; vectors stay. The same for any number of threads. */
sd_status sd_weights_randomise(sd_weights *w, uint64_t seed, int n_threads, sd_err *err);

/* GGUF metadata. SD_E_NOTFOUND names the key; wrong type is SD_E_FORMAT. Strings borrow from the map. */
bool sd_weights_has_kv(const sd_weights *w, const char *key);
sd_status sd_weights_kv_u64(const sd_weights *w, const char *key, uint64_t *out, sd_err *err); /* any integer type; bool too */
sd_status sd_weights_kv_f64(const sd_weights *w, const char *key, double *out, sd_err *err);
sd_status sd_weights_kv_str(const sd_weights *w, const char *key, sd_slice *out, sd_err *err);
typedef struct sd_kv_array { uint32_t type; int64_t n; const uint8_t *p; size_t bytes; } sd_kv_array; /* type: GGUF's number; elements unaligned, little-endian */
sd_status sd_weights_kv_arr(const sd_weights *w, const char *key, sd_kv_array *out, sd_err *err);
/* Strings of an array (type 8) as slices into the map: *out [n] by sd_free. */
sd_status sd_kv_array_strings(const sd_kv_array *a, sd_slice **out, sd_err *err);

/* config.json of a Hugging Face folder, of its text model where it wraps one; NULL for a GGUF or a lone .safetensors file. Borrowed. */
const json_t *sd_weights_config(const sd_weights *w);
/* Puts the text model's configuration in the place of a config.json that wraps one; others stay. */
sd_status sd_hf_text_config(json_t **config, sd_err *err);
/* Value of a "__metadata__" key of the (first) safetensors file; NULL when absent. Borrowed. */
const char *sd_weights_meta(const sd_weights *w, const char *key);

/* Writing safetensors: header first, 8-byte aligned, atomic. */
typedef struct sd_st_tensor {
    const char *name;
    sd_dtype dtype;           /* a type with st_name */
    int rank;
    int64_t dim[SD_MAX_RANK];
    const void *data;
} sd_st_tensor;
/* meta: "__metadata__" pairs {key, value, key, value, NULL} or NULL. Wider element types are laid down first, otherwise in the
 * order of the list, so that every tensor is aligned to its element (the format allows no padding between tensors). */
sd_status sd_safetensors_write(const char *path, const sd_st_tensor *t, int64_t n, const char *const *meta, sd_err *err);

/* The same in pieces, for tensors that are never in memory as a whole. `data` of the list is not read; the bytes of all tensors
 * are appended in the order of the list, which must keep each aligned to its element (SD_E_ARG otherwise). */
typedef struct sd_st_writer sd_st_writer;
sd_status sd_safetensors_begin(sd_st_writer **out, const char *path, const sd_st_tensor *t, int64_t n, const char *const *meta,
                               sd_err *err);
sd_status sd_safetensors_append(sd_st_writer *w, const void *p, size_t n, sd_err *err);
sd_status sd_safetensors_end(sd_st_writer *w, sd_err *err); /* refuses a file with bytes missing; frees w also on failure */
void sd_safetensors_abort(sd_st_writer *w);                 /* nothing stays behind; NULL is fine */

#endif
