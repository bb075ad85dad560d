/* What the readers of other tools' dictionaries (format_*.c) share: typed tensors into the rows of a sd_dict. */
#ifndef SD_DICT_FORMAT_INT_H
#define SD_DICT_FORMAT_INT_H

#include "base/json.h"
#include "dict/dict_format.h"
#include "dict/dict_int.h"
#include "file/weights.h"

#define SD_FORMAT_PATH 4096

/* dict_format.c. The two dimensions of a matrix, by name. */
sd_status sd_format__dims(const sd_weights *w, const char *name, int64_t dim[2], sd_err *err);
/* The matrix has this shape as it lies. To be asked of a skip before sd_dict__new: [d_out, d] numbers are more than the other matrices have. */
sd_status sd_format__expect(const sd_weights *w, const char *name, int64_t rows, int64_t cols, sd_err *err);
/* out [rows, cols] from the tensor of that shape, or of the transposed one. F32, F16, BF16, F64. */
sd_status sd_format__matrix(float *out, int64_t rows, int64_t cols, const sd_weights *w, const char *name, bool transposed, sd_err *err);
sd_status sd_format__vector(float *out, int64_t n, const sd_weights *w, const char *name, sd_err *err);
/* A tensor of one number, of any of these types or an integer one. */
sd_status sd_format__scalar(double *out, const sd_weights *w, const char *name, sd_err *err);
/* The last step: what is read is centred by b_dec (subtract) or not; thresholds from the gate; nothing left over, everything finite. */
sd_status sd_format__seal(sd_dict *d, const sd_weights *w, bool subtract, sd_err *err);
/* The layer in a path or name ("layer_12", "layers.12", "blocks.12", "L12R"); -1: none. */
int sd_format__layer(const char *text);
/* A site by TransformerLens's name for it. */
void sd_format__site(sd_dict_info *info, const char *name);
void sd_format__site_out(sd_dict_info *info, const char *name);
sd_status sd_format__in(char out[SD_FORMAT_PATH], const char *dir, const char *name, sd_err *err);

sd_status sd_format__open_sparsify(sd_dict **out, const char *dir, sd_err *err);
sd_status sd_format__open_gemma(sd_dict **out, const char *path, sd_err *err);
sd_status sd_format__open_dictionary_learning(sd_dict **out, const char *dir, sd_err *err);
sd_status sd_format__open_openai(sd_dict **out, const char *path, sd_err *err);
sd_status sd_format__open_llama(sd_dict **out, const char *dir, sd_err *err);
sd_status sd_format__open_circuit(sd_dict **out, const char *path, sd_err *err);
sd_status sd_format__save_sparsify(const sd_dict *d, const char *dir, sd_err *err);
sd_status sd_format__save_circuit(const sd_dict *d, const char *dir, sd_err *err);
sd_status sd_dict__open_saelens(sd_dict **out, const char *dir, sd_err *err);

#endif
