/* How a dictionary's rows lie, without any activations. Means over the features, or over 8,192 of them spread evenly where there are more than
 * 16,384 (each beside all others):
 *   average_max_decoder_cosine_sim, average_max_encoder_cosine_sim   a row's largest cosine to another one: SAEBench's names and definition
 *   encoder_decoder_cosine_sim                 of a feature's two rows: SAELens; NaN for transcoders, whose rows are of two sites
 *   encoder_norm, encoder_bias                 |w_f|, b_f: SAELens */
#ifndef SD_DICT_GEOMETRY_H
#define SD_DICT_GEOMETRY_H

#include "sonde/dict.h"

typedef struct sd_dict_geometry { double max_decoder, max_encoder, both, encoder_norm, encoder_bias; int64_t n_rows; } sd_dict_geometry;
sd_status sd_dict_rows_geometry(sd_dict_geometry *out, const sd_exec *ex, const sd_dict *d, sd_err *err);

#endif
