/* Drift of a dictionary's features between two models that read the same prompts: which features told harmful from harmless before and do no longer, and
 * which began to.
 *
 *   active     a feature's code is above zero anywhere in the rendered prompt (lab/text_codes.h)
 *   safety     |share of harmful - share of harmless prompts in which it is active| is above the 95th percentile of the largest of any feature over shuffled
 *              labels (lab/contrast.h), so that one false one is expected in twenty studies, whatever the width
 *   moved      exact McNemar on the harmful prompts, active before against active after; Holm over all features active in any prompt of either model
 *   appeared   a safety feature of B that is none of A; gone: the reverse
 *   raised     moved and active in more harmful prompts, whether it tells the two kinds apart or not: such as a feature that was turned up on everything */
#ifndef SD_LAB_AUDIT_DRIFT_H
#define SD_LAB_AUDIT_DRIFT_H

#include "lab/text_codes.h"

enum { SD_DRIFT_ROWS = 24 };
/* Shares of prompts; [0] harmful, [1] harmless; act: mean of the highest activation in a harmful prompt, 0 where it is not active. */
typedef struct sd_drift_row { int64_t feature; double a[2], b[2], act_a, act_b, p_holm; bool safety_a, safety_b; } sd_drift_row;
typedef struct sd_drift {
    char site[32];
    int64_t n_feature, n_tested;                     /* of the dictionary; active in any prompt */
    int64_t n_safety_a, n_safety_b, n_moved, n_appeared, n_gone; /* moved: of the safety features of A or B, with p_holm < 0.05 */
    int64_t n_raised, n_lowered;                     /* of all features */
    double floor_a, floor_b;
    sd_drift_row row[SD_DRIFT_ROWS];                 /* safety features of either and those that moved, the largest change of share on harmful prompts first */
    int n_row;
} sd_drift;

/* a, b: codes of n_harmful harmful prompts, then harmless ones, the same in both; m: features. */
typedef struct sd_drift_in { const sd_text_codes *a, *b; int64_t n_harmful, m; uint64_t seed; } sd_drift_in;
sd_status sd_drift_of(sd_drift *out, const sd_drift_in *in, sd_err *err);

#endif
