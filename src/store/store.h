/* The store: one SQLite file that holds what a study of a dictionary found. See docs/STORE.md.
 *
 *   build    sd_store_create .. put .. sd_store_commit: everything goes to PATH.tmp, which takes the place of PATH at commit;
 *            a crash, a full disk or an abort leaves what was at PATH.
 *   read     sd_store_open: read-only; any number of readers, one handle a thread.
 *   edit     sd_store_edit: one writer, WAL while it is open, one plain file after close.
 *
 * A store from elsewhere is untrusted: opened with trusted_schema off and defensive mode on, schema and small tables
 * checked at open, every blob checked when it is read. What is damaged, foreign or too new is SD_E_STORE with a hint. */
#ifndef SD_STORE_STORE_H
#define SD_STORE_STORE_H

#include "store/feature.h"

#define SD_STORE_APPLICATION_ID 0x736f6e64 /* "sond" */

typedef struct sd_store sd_store;

typedef struct sd_store_model { char name[128], sha256[65]; int64_t n_layer, d_model, n_vocab; } sd_store_model;
typedef struct sd_store_dict {
    char kind[24], site[64], sha256[65], dataset[256];
    int64_t d, m, k, n_dead, n_tokens;
    double site_rms, fvu, l0; /* NaN: unknown */
    uint64_t seed;
} sd_store_dict;
/* The study that filled the store. */
typedef struct sd_store_run {
    char tool[32], created[32], mode[16], isa[16], data_sha256[65], args[512];
    int64_t n_threads, n_tokens, n_docs, n_sinks; /* tokens counted; tokens left out for their norm */
    int64_t before, after;                        /* tokens of a window before and after the one that qualified */
    uint64_t seed;
} sd_store_run;
typedef struct sd_store_info {
    sd_store_model model;
    sd_store_dict dict;
    sd_store_run run;
    int64_t n_features, n_alive; /* rows; rows that fired at all */
} sd_store_info;

/* SD_E_ARG when something is at path and force is off; SD_E_BUSY when another process builds the same file. */
sd_status sd_store_create(sd_store **out, const char *path, bool force, sd_err *err);
/* model, dict and run of info; once, before the features. */
sd_status sd_store_put_info(sd_store *s, const sd_store_info *info, sd_err *err);
sd_status sd_store_put_token(sd_store *s, int32_t id, sd_slice bytes, bool special, sd_err *err);
/* tok [n] of document doc, positions from 0; name may be NULL. */
sd_status sd_store_put_doc(sd_store *s, int32_t doc, const char *name, const int32_t *tok, int64_t n, sd_err *err);
/* Labels and tok of the examples are not looked at. text may be NULL: not searchable. */
sd_status sd_store_put_feature(sd_store *s, const sd_feature *f, const sd_feature_text *text, sd_err *err);
/* half [info.dict.d]: feature index's decoder row at unit length, IEEE halves; zeros where it has none. */
sd_status sd_store_put_direction(sd_store *s, int64_t index, const uint16_t *half, sd_err *err);
/* Where feature index fires: at [n] tokens, strictly ascending, counted over all documents in the order of their numbers (a document's tokens from
 * position 0 to its last); val [n] > 0 its activations, kept as sixteenths of max_act, rounded up. */
sd_status sd_store_put_postings(sd_store *s, int64_t index, const int64_t *at, const float *val, int64_t n, float max_act, sd_err *err);
sd_status sd_store_commit(sd_store *s, sd_err *err); /* frees s, also on failure */
void sd_store_abort(sd_store *s);                    /* removes the temporary file; NULL is fine */

sd_status sd_store_open(sd_store **out, const char *path, sd_err *err);
/* As open, for labels; brings an older store to the current version. Waits up to 15 s for other processes that use the file, then SD_E_BUSY. */
sd_status sd_store_edit(sd_store **out, const char *path, sd_err *err);
/* The same, waiting no longer than this at a time: for who has other things to do meanwhile and asks again. */
sd_status sd_store_try_edit(sd_store **out, const char *path, int wait_ms, sd_err *err);
/* After an edit: the log is folded in and removed. Its failure is told by edit's functions; NULL is fine. */
void sd_store_close(sd_store *s);

const sd_store_info *sd_store_get_info(const sd_store *s);
/* Bytes of a token (empty when unknown) and whether it is special; valid until close. The vocabulary is read at the first call. */
sd_slice sd_store_token(sd_store *s, int32_t id);
bool sd_store_token_special(sd_store *s, int32_t id);
/* Document's name, "" when unknown; copied into out. */
const char *sd_store_doc_name(sd_store *s, int32_t doc, char *out, size_t cap);

/* Everything about one feature, by sd_feature_free. Out of range is SD_E_NOTFOUND: "feature 99999 of a store with 8192".
 * max_example: examples a group; 0: all that are stored; negative: none. */
sd_status sd_store_feature(sd_feature **out, sd_store *s, int64_t index, int max_example, sd_err *err);
void sd_feature_free(sd_feature *f);

typedef enum sd_feature_sort { SD_SORT_INDEX, SD_SORT_INTEREST, SD_SORT_DENSITY, SD_SORT_MAX_ACT, SD_SORT_COUNT } sd_feature_sort;
typedef struct sd_feature_query {
    sd_feature_sort sort;     /* INDEX ascending, the others descending; ties by index */
    double min_density, max_density;
    bool has_max;             /* false: max_density is not looked at */
    bool silent;              /* also features that never fired */
    bool has_label;           /* only those with a label that is shown: a person's, or a machine's that scored at least min_label_score */
    double min_label_score;
    int64_t limit, offset;    /* limit 0: 20 */
} sd_feature_query;
sd_status sd_store_list(sd_feature_list *out, sd_store *s, const sd_feature_query *q, sd_err *err);
/* Features whose labels, peak words, promoted tokens or contexts hold the words of query ("quoted phrases" stay together): those with
 * all words in a label first, then anywhere, then those with any. Any text is a valid query. score: by shares of the examples (store_rank.c), a label's BM25 plus a bonus, higher is
 * better. limit 0: 20. */
sd_status sd_store_search(sd_feature_list *out, sd_store *s, const char *query, int64_t limit, sd_err *err);
/* From now on a call that reads much asks now and then whether to stop, and then ends with SD_E_CANCELLED. NULL: it does not ask. */
void sd_store_stop_when(sd_store *s, bool (*stop)(void *self), void *self);
/* Stored neighbours of a feature, score = cosine. limit 0: all. */
sd_status sd_store_near(sd_feature_list *out, sd_store *s, int64_t index, int64_t limit, sd_err *err);
/* A place where a feature fires; level: its activation in sixteenths of the feature's highest, rounded up, 1 .. 16. */
typedef struct sd_posting { int32_t doc, pos; int level; } sd_posting;
/* All places of a feature in reading order: *out [*n] by sd_free. SD_E_NOTFOUND when the store was built without them. */
sd_status sd_store_postings(sd_posting **out, int64_t *n, sd_store *s, int64_t index, sd_err *err);
/* Features that fire on the same tokens, score = Pearson's correlation of "fires here" over all tokens of the study, exact, highest first; n_both: tokens
 * on which both do. Reads the postings of every feature once (64 MB a million tokens at 32 features a token). limit 0: 20. */
sd_status sd_store_coactive(sd_feature_list *out, sd_store *s, int64_t index, int64_t limit, sd_err *err);
/* Features that are on through passages: a token is in a passage when each of the words stood among the SD_PASSAGE tokens up to it (itself too; a word of the
 * text may go on after the word of the query; ASCII case folded, "quoted words" side by side, at most 8 words). score = F1 of "fires here" against "in a passage", n_both
 * tokens where it does both; highest first. Reads the text and the postings of every feature once. limit 0: 20. */
enum { SD_PASSAGE = 32 };
sd_status sd_store_passages(sd_feature_list *out, sd_store *s, const char *words, int64_t limit, sd_err *err);
/* The row of one feature; of many, in the order given, with their scores. */
sd_status sd_store_one(sd_feature_list *out, sd_store *s, int64_t index, sd_err *err);
sd_status sd_store_some(sd_feature_list *out, sd_store *s, const int64_t *index, const double *score, int64_t n, sd_err *err);
void sd_feature_list_release(sd_feature_list *l);

/* out [n, dict.d]: directions of features f0 .. f0 + n - 1. SD_E_NOTFOUND when the store was built without them. */
sd_status sd_store_directions(uint16_t *out, sd_store *s, int64_t f0, int64_t n, sd_err *err);
/* The map; n_point 0 when none was made. */
sd_status sd_store_get_map(sd_feature_map *out, sd_store *s, sd_err *err);
void sd_feature_map_release(sd_feature_map *m);
/* Replaces the map. Store opened by sd_store_edit. */
sd_status sd_store_put_map(sd_store *s, const sd_feature_map *m, sd_err *err);

/* Store opened by sd_store_edit. */
sd_status sd_store_add_label(sd_store *s, int64_t index, const sd_label *label, sd_err *err);
/* What is added between the two is written together, or not at all: where st is an error or writing fails. end returns st, or that. */
sd_status sd_store_labels_begin(sd_store *s, sd_err *err);
sd_status sd_store_labels_end(sd_store *s, sd_status st, sd_err *err);

#endif
