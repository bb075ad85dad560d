/* Writing GGUF, version 3: metadata and the list of tensors first, then each tensor's bytes, streamed and padded to 32
 * bytes. A file that is not completed never takes the place of the old one (base/map.h, sd_wfile). Layout: gguf.c. */
#ifndef SD_FILE_GGUF_WRITE_H
#define SD_FILE_GGUF_WRITE_H

#include "file/weights.h"

/* Metadata entries in the order in which they are put. A failed allocation shows when the header is made. */
typedef struct sd_gguf_meta {
    sd_buf b;
    uint64_t n;
} sd_gguf_meta;
void sd_gguf_meta_init(sd_gguf_meta *m);
void sd_gguf_meta_release(sd_gguf_meta *m);
void sd_gguf_put_u32(sd_gguf_meta *m, const char *key, uint32_t v);
void sd_gguf_put_f32(sd_gguf_meta *m, const char *key, float v);
void sd_gguf_put_bool(sd_gguf_meta *m, const char *key, bool v);
void sd_gguf_put_str(sd_gguf_meta *m, const char *key, sd_slice v);
void sd_gguf_put_strings(sd_gguf_meta *m, const char *key, const sd_slice *v, int64_t n);
void sd_gguf_put_i32s(sd_gguf_meta *m, const char *key, const int32_t *v, int64_t n);
void sd_gguf_put_f32s(sd_gguf_meta *m, const char *key, const float *v, int64_t n);
void sd_gguf_put_bools(sd_gguf_meta *m, const char *key, const bool *v, int64_t n);
/* Every entry of a GGUF but those whose keys begin with one of `but` (NULL-terminated), value for value. */
void sd_gguf_put_all(sd_gguf_meta *m, const sd_weights *from, const char *const *but);

/* dim: logical order, outermost first; the last is a whole number of dtype's blocks. */
typedef struct sd_gguf_tensor {
    char name[64]; /* GGML_MAX_NAME */
    sd_dtype dtype;
    int rank;
    int64_t dim[2];
} sd_gguf_tensor;

/* Everything in front of the data, padding included. SD_E_ARG: a tensor that a GGUF cannot hold, a name used twice. */
sd_status sd_gguf_header(sd_buf *out, const sd_gguf_meta *m, const sd_gguf_tensor *t, int64_t n, sd_err *err);

/* The bytes of all tensors are appended in the order of the list, each whole before the next, in any pieces. */
typedef struct sd_gguf_writer sd_gguf_writer;
sd_status sd_gguf_begin(sd_gguf_writer **out, const char *path, const sd_gguf_meta *m, const sd_gguf_tensor *t,
                        int64_t n, sd_err *err);
sd_status sd_gguf_append(sd_gguf_writer *w, const void *p, size_t n, sd_err *err);
sd_status sd_gguf_end(sd_gguf_writer *w, sd_err *err); /* refuses a file with bytes missing; frees w also on failure */
void sd_gguf_abort(sd_gguf_writer *w);                 /* nothing stays behind; NULL is fine */

#endif
