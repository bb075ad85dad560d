/* What the containers share behind weights.h: the open handle and the few steps every reader takes.
 * Invariants: names and keys borrow from a source's bytes or JSON header, so sources close last; a tensor enters
 * through sd_weights__add only, which refuses a second one of the same name. */
#ifndef SD_FILE_WEIGHTS_INT_H
#define SD_FILE_WEIGHTS_INT_H

#include "file/weights.h"
#include "base/cursor.h"
#include "file/zip.h"

/* GGUF's value types (gguf.md, gguf_metadata_value_type). */
enum {
    SD_V_U8,
    SD_V_I8,
    SD_V_U16,
    SD_V_I16,
    SD_V_U32,
    SD_V_I32,
    SD_V_F32,
    SD_V_BOOL,
    SD_V_STR,
    SD_V_ARR,
    SD_V_U64,
    SD_V_I64,
    SD_V_F64,
    SD_V_COUNT
};

typedef struct sd_kv {
    sd_slice key;
    uint32_t type;    /* GGUF's value type */
    uint32_t elem;    /* element type of an array */
    int64_t n;        /* elements of an array */
    const uint8_t *p; /* the value; of a string its bytes, of an array its first element */
    size_t bytes;
} sd_kv;

typedef struct sd_wentry {
    sd_tensor t;
    int64_t source;
    bool asked;
} sd_wentry;

/* One file's bytes. */
typedef struct sd_wsource {
    sd_map map;     /* at least 8-byte aligned */
    bool borrowed;  /* bytes of the caller: not unmapped */
    char *path;     /* owns */
    json_t *header; /* safetensors: keeps the tensors' names alive */
} sd_wsource;

struct sd_weights {
    char *path;
    sd_container container;
    sd_weights_opt opt;
    sd_wentry *entry;
    int64_t n, cap;
    sd_table *by_name;
    uint64_t bytes;
    sd_kv *kv;
    int64_t n_kv, cap_kv;
    sd_table *by_key;
    json_t *config;
    sd_wsource *source;
    int64_t n_source, cap_source;
    void **copy; /* aligned copies of tensors that a safetensors file holds unaligned */
    int64_t n_copy, cap_copy;
};

/* Makes room for one more element: *(T **)array with n of *cap elements of `size` bytes. */
sd_status sd_weights__grow(void *array, int64_t n, int64_t *cap, size_t size, sd_err *err);
/* Appends a source; takes the map over, also on failure. Pointers to sources move. */
sd_status sd_weights__source(sd_weights *w, const sd_map *map, bool borrowed, const char *path, sd_err *err);
/* Appends a tensor of the source; SD_E_FORMAT when the name is taken. */
sd_status sd_weights__add(sd_weights *w, int64_t source, const sd_tensor *t, sd_err *err);
/* Memory that lives as long as w does; freed now when it cannot be kept. */
sd_status sd_weights__keep(sd_weights *w, void *p, sd_err *err);
/* Moves a tensor's bytes to an address that its element type can be read from, where they are not. */
sd_status sd_weights__align(sd_weights *w, sd_tensor *t, sd_err *err);
/* A value of the metadata; key and bytes as long as w. */
sd_status sd_weights__put_kv(sd_weights *w, const sd_kv *kv, sd_err *err);
/* Valid UTF-8, not empty, no control characters: fit to be printed in an error. */
bool sd_weights__name_ok(sd_slice name);
/* Elements of a shape, and bytes of that many elements of rows of t->dim[rank-1]; false on overflow, a negative size or
 * a row that does not fill its blocks. */
bool sd_weights__size(const sd_tensor *t, int block, size_t block_bytes, size_t *bytes);
/* "the download may be cut short.." */
void sd_weights__hint_cut(sd_err *err);

/* Readers; the source is already part of w. */
sd_status sd_gguf__read(sd_weights *w, int64_t source, sd_err *err);
/* One file: its metadata into meta, its tensors into w. */
sd_status sd_gguf__read_file(sd_weights *w, sd_weights *meta, int64_t source, sd_err *err);
sd_status sd_safetensors__read(sd_weights *w, int64_t source, sd_err *err);
sd_status sd_npz__read(sd_weights *w, int64_t source, const sd_zip *z, sd_err *err);
sd_status sd_torch__read(sd_weights *w, int64_t source, const sd_zip *z, sd_zip_member *pickle, sd_err *err);
sd_status sd_hf__open(sd_weights *w, const char *dir, sd_err *err);
/* Of a model that also sees pictures: its text model's tensors, under that model's names. */
sd_status sd_hf__text_tensors(sd_weights *w, sd_err *err);

#endif
