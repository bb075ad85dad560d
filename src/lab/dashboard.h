/* dashboard: a store of features, from one pass over a corpus.
 *
 *   pass      the rows of a source (a model that runs, or shards of activations) are encoded block by block; tokens and codes are kept
 *   features  for a range of features at a time the codes are turned round; statistics, examples, logits are put together
 *             in parallel and written in order
 * The model runs once. Sinks (rows with a norm above opt.sink times the dictionary's mean token norm, or the median of the first rows
 * where it states none) are not counted; they stay visible as text. Memory: 12 bytes a token (28 a token of the most frequent feature), the budget below, a block of logits and a
 * block of features;
 * disk: 8 bytes a code beside the store while it is built. The result does not depend on the number of threads. */
#ifndef SD_LAB_DASHBOARD_H
#define SD_LAB_DASHBOARD_H

#include "base/prov.h"
#include "dict/act.h"
#include "model/model.h"
#include "store/store.h"
#include "text/corpus.h"

typedef struct sd_features_in {
    const sd_dict *dict;
    const sd_tok *tok;         /* the model's tokenizer */
    const sd_model *model;     /* for the logits: its last norm and head; NULL or without head: no logits */
    const char *model_name, *model_sha256; /* may be NULL: what the dictionary says */
    int64_t n_layer;           /* of the model; 0: unknown */
    sd_act_source source;
    int64_t n_rows;            /* that the source will give, for the progress; 0: unknown */
    const sd_corpus *corpus;   /* names of the documents; may be NULL */
    const sd_prov *prov;       /* tool, time, threads, seed, hash of the data; may be NULL */
} sd_features_in;

typedef struct sd_features_opt {
    const char *path;          /* of the store */
    bool force;                /* replace what is there */
    int n_top;                 /* top examples; 0: 20 */
    int n_intervals, per_interval; /* 0: 10, 5 */
    int hist_bins;             /* 0: 50 */
    int n_logits;              /* at each end; 0: 15 */
    int n_near;                /* 0: SD_SINK_FACTOR */
    int n_fires;               /* tokens it fires on; 0: 10 */
    int before, after;         /* tokens of a window; 0: 48, 16 */
    double sink;               /* 0: 10 */
    int64_t max_rows;          /* stop after so many; 0: all */
    size_t budget_bytes;       /* codes in memory at a time; 0: 24 MiB */
    uint64_t seed;             /* of the draw of interval examples */
} sd_features_opt;

typedef struct sd_features_result {
    int64_t n_features, n_alive, n_tokens, n_docs, n_sinks, n_codes, n_examples;
    double l0;                                  /* codes a token */
    double source_s, encode_s, near_s, logits_s, study_s, write_s, total_s; /* wall seconds */
    uint64_t store_bytes;
} sd_features_result;

/* SD_E_SHAPE when the dictionary does not fit the source; SD_E_FORMAT when the source has no row. Nothing is left at path unless it is whole. */
sd_status sd_lab_features_build(sd_features_result *out, const sd_exec *ex, const sd_features_in *in, const sd_features_opt *opt,
                                const sd_progress *progress, sd_err *err);

#endif
