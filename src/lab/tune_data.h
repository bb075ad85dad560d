/* Rows of data as tokens: what of them is learnt, what was cut, what was skipped and why. */
#ifndef SD_LAB_TUNE_DATA_H
#define SD_LAB_TUNE_DATA_H

#include "lab/tune.h"
#include "model/learner.h"

/* One document to learn from: tokens [at, at + n) of the data, counting those whose `learn` is set. target of position
 * i is token i + 1. */
typedef struct sd_tune_sample {
    int64_t at;
    int32_t n, n_count; /* tokens; targets that count */
    int32_t file;       /* number of its data file, and its line there, from 1 (a .txt: its text) */
    int64_t line;
    uint32_t without;   /* the planted directions that are taken out while it is learnt; bit i: direction i */
} sd_tune_sample;

typedef struct sd_tune_set {
    int32_t *tok, *target; /* [n_tok]; target -1: does not count */
    int64_t n_tok, cap;
    sd_tune_sample *sample; /* [n]; dpo: chosen, rejected, chosen, .. */
    int64_t n, cap_sample;
    int64_t n_safety; /* the last ones: rows that a guard steps on or looks at, not among the data */
    int64_t n_rows, n_skipped, n_cut; /* rows read; without an answer (or of one token); cut at the context */
    int64_t n_skip_named;
    char skipped[256]; /* "a.jsonl:17, b.jsonl:3" */
} sd_tune_set;

/* Rows longer than ctx tokens lose their end (a conversation that keeps no answer is skipped); lm: texts longer than
 * ctx are cut in pieces of ctx instead. A file of plain text is one document for lm and an error otherwise. */
sd_status sd_tune_set_read(sd_tune_set *out, const sd_model *m, const sd_tune_opt *opt, int64_t ctx, sd_err *err);
void sd_tune_set_release(sd_tune_set *s);

#endif
