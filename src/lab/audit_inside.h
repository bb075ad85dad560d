/* Evidence from inside two models: their directions between harmful and harmless prompts, block by block, and what changed in their weights.
 *
 *   cosine[l]   of the two models' differences of means at the input of block l, last position
 *   gap[l]      mean over harmful minus mean over harmless of the projection on A's unit direction, for A and for B: how much of what parts the prompts in
 *               A is left in B (rho = gap_b / gap_a)
 *   weights     of the blocks' matrices, adapters merged, in one order whatever the container: ||B - A|| / ||A|| (Frobenius), and the share of the change's energy in its largest singular value (power iteration): near 1 is an
 *               edit of rank one, such as a direction cut out; a fine-tune of all weights is far below
 *   features    of a dictionary: which ones told the prompts apart in A, and in B (lab/audit_drift.h), and which of those that rose took the refusals (lab/audit_raised.h)
 * Two models whose tokenizers cut the same prompts differently have behaviour in common only; comparable is false and says why. */
#ifndef SD_LAB_AUDIT_INSIDE_H
#define SD_LAB_AUDIT_INSIDE_H

#include "lab/audit_drift.h"
#include "lab/audit_raised.h"
#include "lab/behave.h"

typedef struct sd_weight_change { char name[96]; double relative, rank_one; } sd_weight_change;
enum { SD_MAX_WEIGHTS = 16 };

typedef struct sd_inside {
    bool comparable, weights_comparable;
    char why[160];                 /* when they are not */
    int n_layer;
    float *cosine, *gap_a, *gap_b; /* [n_layer] own; NaN where a side has no direction */
    int64_t n_harmful, n_harmless;
    double weight_total;           /* ||B - A|| / ||A|| over all matrices */
    int64_t n_matrix, n_changed;
    int64_t n_requantised;         /* matrices that B keeps in a coarser type than A, which we can write */
    double requantised, rounding;  /* of those: ||B - A|| / ||A||, and ||A in B's types - A|| / ||A||, what quantisation alone did; NaN without any */
    sd_weight_change top[SD_MAX_WEIGHTS]; /* largest relative changes */
    int n_top;
    bool has_drift;                /* a dictionary was given, and the activations are comparable */
    sd_drift drift;
    sd_raised raised;              /* beside the drift */
} sd_inside;
void sd_inside_release(sd_inside *r);
/* suites: the prompts; at most n of each kind (0: 64). */
typedef struct sd_inside_opt {
    const sd_suite *suite;
    int n_suite;
    sd_system system;
    int64_t n;
    const sd_dict *dict;           /* whose features are looked at in both models, at `site`; NULL: none */
    sd_site site;
    const sd_phrases *phrases;     /* of refusals, for features put back; needed with dict */
    int64_t n_gen;                 /* most tokens of those answers; 0: SD_RAISED_GEN */
    uint64_t seed;
    const char *adapter_a, *adapter_b; /* PEFT folders that are on the models; NULL or empty: none */
    const sd_progress *progress;
} sd_inside_opt;
/* Positions that it runs, about, for the time that is told before the start; *perhaps: those of features put back, which are run when refusals are lost. */
int64_t sd_inside_rows(int64_t *perhaps, const sd_inside_opt *opt);
/* out is to be released. SD_E_FORMAT: a matrix with a number that is not finite. Cost: a forward of the prompts in each model, every matrix decoded twice, and a changed one read 24 times more. */
sd_status sd_lab_inside(sd_inside *out, const sd_exec *ex, const sd_model *a, const sd_model *b, const sd_inside_opt *opt, sd_err *err);

#endif
