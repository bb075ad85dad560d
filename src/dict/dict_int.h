/* The body of sd_dict, for the files of this folder. */
#ifndef SD_DICT_INT_H
#define SD_DICT_INT_H

#include "base/mem.h"
#include "dict/scan.h"
#include "sonde/dict.h"
#include <pthread.h>

/* What is done to a row before it is encoded, by the row's own numbers (dict_rownorm.c). */
typedef enum sd_row_norm { SD_ROW_AS_IS, SD_ROW_LAYER, SD_ROW_CONSTANT } sd_row_norm;

struct sd_dict {
    sd_dict_info info;
    float *W_enc, *W_dec; /* [m, d], [m, d_out] */
    float *b_enc;         /* [m] */
    float *b_dec;         /* [d_out] */
    float *W_skip;        /* [d_out, d]; NULL but for skip transcoders */
    float *b_in;          /* [d] subtracted before encoding: b_dec, or zeros where apply_b_dec_to_input is false */
    float *gate;          /* [m] the pre-activation must exceed it; NULL: TopK or plain ReLU */
    float *threshold, *max_act, *density, *proj_std; /* [m] see sonde/dict.h */
    bool topk, has_threshold, input_centred;
    sd_row_norm row_norm;
    sd_arena arena;
    pthread_mutex_t lock; /* guards scan */
    sd_scan *scan;        /* packed encoder, made at first use, remade when another exec needs another */
};

/* SD_E_SHAPE when no dictionary has such a width and so many features: before memory is asked for. */
sd_status sd_dict__possible(const sd_dict_info *info, sd_err *err);
/* All arrays zero, threshold and density NaN; info.d, d_out (0: d), m, k and kind are taken from `info`; a skip where the kind has one.
 * with_gate: gate is there. */
sd_status sd_dict__new(sd_dict **out, const sd_dict_info *info, bool topk, bool with_gate, sd_err *err);
/* Refuses numbers that are not finite, by tensor and index. `where` begins the sentence. */
sd_status sd_dict__check(const sd_dict *d, const char *where, sd_err *err);
/* dict_rownorm.c: one row; rows in memory of their own (out->data by sd_free); back, by the rows that were read. */
void sd_dict__scale_in(float *to, const sd_dict *d, const float *x);
sd_status sd_dict__scaled(sd_mat *out, const sd_exec *ex, const sd_dict *d, sd_mat x, sd_err *err);
void sd_dict__scale_out(sd_mat y, const sd_dict *d, sd_mat x);
/* info.fvu and info.l0 from rows x [n, d] and what is to come out of them, y [n, d_out] (x itself but for a transcoder), a thousand at a time. */
sd_status sd_dict__measure(sd_dict *d, const sd_exec *ex, sd_mat x, sd_mat y, sd_err *err);

#endif
