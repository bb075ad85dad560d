/* showcase: the most interesting features of a store, one of them turned up, and the page that shows both.
 *
 * Features are ranked by the store's `interest` (lab/interest.h). With a model and its dictionary, the first n_candidate of them are
 * measured by lab/effect.h and the one with the highest score is turned up in answers to a few everyday questions. */
#ifndef SD_LAB_SHOWCASE_H
#define SD_LAB_SHOWCASE_H

#include "lab/effect.h"
#include "store/store.h"

typedef struct sd_showcase_opt {
    int64_t n_feature;    /* cards; 0: 10 */
    int64_t n_candidate;  /* features measured; 0: 32 */
    int64_t feature;      /* turn up this one instead of choosing; -1: choose */
    double value;         /* times the site's mean token norm; 0: SD_EFFECT_VALUE */
    int64_t n_gen;        /* tokens an answer; 0: 60 */
    const char *data_dir, *model_sha256; /* where refusal directions of the model are kept: features that push one down are not turned up (lab/direction_file.h) */
    const sd_progress *progress; /* may be NULL */
} sd_showcase_opt;

enum { SD_SHOWCASE_PAIRS = 3 };
typedef struct sd_showcase {
    sd_feature_list list;        /* the cards' features, best first */
    int64_t steered;             /* -1: nothing was turned up */
    int64_t n_measured;
    bool asked;                  /* the feature was given, not chosen */
    char label[160];             /* of the steered one: its label, else the words at its peaks, else "unnamed" */
    sd_effect effect;            /* of the steered one */
    char applied[160];
    const char *prompt[SD_SHOWCASE_PAIRS]; /* static */
    char *plain[SD_SHOWCASE_PAIRS], *answer[SD_SHOWCASE_PAIRS]; /* owned */
    sd_buf html;                 /* the page, owned */
} sd_showcase;
void sd_showcase_release(sd_showcase *s);

/* m and dict may be NULL together: the page then has no steering. */
sd_status sd_lab_showcase(sd_showcase *out, const sd_exec *ex, sd_store *store, const sd_model *m, const sd_dict *dict,
                          const sd_showcase_opt *opt, sd_err *err);

#endif
