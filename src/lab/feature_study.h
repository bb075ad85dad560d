/* feature_study: from the tokens one feature fires on to its statistics and examples.
 *
 *   histogram   non-zero activations in equal bins over [0, max]
 *   top         the highest activations, each from another place: not within a window's tail of one that was taken, not after
 *               the same eight tokens
 *   intervals   [min, max] of the non-zero activations in equal parts, strongest first, each with its count and a few of its
 *               tokens drawn at random from (seed, feature, interval); tokens that are the highest of their own window
 *               are preferred, so that an interval's examples show what it is about
 *   fires       the tokens (vocabulary) it fires on, by their share of the sum of activations */
#ifndef SD_LAB_FEATURE_STUDY_H
#define SD_LAB_FEATURE_STUDY_H

#include "lab/codelog.h"
#include "lab/rows.h"

typedef struct sd_study_opt {
    int n_top, n_intervals, per_interval, hist_bins, n_fires; /* how many of each */
    int before, after;                                        /* window of an example */
    uint64_t seed;
} sd_study_opt;

typedef struct sd_study sd_study; /* options and one set of scratch a thread */
/* n_tokens: what densities and shares are of; max_count: the longest list of entries a feature has. */
typedef struct sd_study_size { int64_t n_tokens, n_vocab, max_count; int n_threads; } sd_study_size;
/* rows are borrowed until free. */
sd_status sd_study_new(sd_study **out, const sd_rows *rows, const sd_study_opt *opt, const sd_study_size *size, sd_err *err);
void sd_study_free(sd_study *s);

/* One feature being put together: every list of f has its memory here. */
typedef struct sd_study_slot { sd_feature f; void *mem; } sd_study_slot;
/* n_logits, n_near: room for the lists that others fill. */
sd_status sd_study_slot_init(sd_study_slot *slot, const sd_study_opt *opt, int n_logits, int n_near, sd_err *err);
void sd_study_slot_release(sd_study_slot *slot);

/* Fills statistics (not interest), histogram, intervals, examples (with tok and val) and fires of feature f of the postings. Reorders
 * the feature's entries. Safe to call from several workers at once for different features; worker < n_threads. */
void sd_study_run(sd_study_slot *slot, sd_study *s, sd_postings *p, int64_t f, int worker);

#endif
