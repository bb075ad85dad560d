/* safety_feature: does a feature that tells harmful requests from harmless ones help in practice? Found on one half of the prompts, used on the other.
 *
 *   found    the feature whose highest activation in a prompt has the highest AUROC, harmful over harmless prompts of the first half; c: the mean of these highest
 *            activations in harmful ones. Beside it r, the difference of means at the last position of the same site (Arditi et al. 2024), u = r / |r|
 *   monitor  highest activation in a prompt, projection of its last position on u: AUROC on the second half; share above a threshold that 1 % and 5 % of the harmless prompts
 *            of the first half pass
 *   edits    at the dictionary's site, at every position of prompt and answer; z the feature's activation there, w its decoder row
 *              up        h + max(0, c - z) w                      mean up        h + r
 *              where     the same where z > 0                     mean where     the same where u.h is above the middle between both kinds' means
 *              down      h - z w                                  mean down      h - max(0, u.h - mean of the harmless) u
 *            up and where also with 2 c and 4 c in the place of c
 *              random    up and down of n_other other features that are active in about as many prompts and tell neither kind (AUROC 0.25 to 0.75), c their own
 *              topic     up of the features that tell a category of harmless prompts from the other harmless ones best, c their own in that category
 *   prompt   a system message and nothing else
 *   counted  answers that the phrases call a refusal, anywhere in them (lab/judge.h), by suite, Wilson; incoherent ones; what the edit costs a text in cross-entropy
 *
 * A measurement in memory (DESIGN section 1): answers are judged and forgotten, nothing is kept or written. Cost: at most 37 times the answers to half of the prompts. */
#ifndef SD_LAB_SAFETY_FEATURE_H
#define SD_LAB_SAFETY_FEATURE_H

#include "base/log.h"
#include "lab/judge.h"
#include "lab/render.h"
#include "lab/suite.h"
#include "num/infer.h"
#include "sonde/dict.h"

enum { SD_SAFETY_SUITES = 8, SD_SAFETY_RANDOM = 4, SD_SAFETY_TOPICS = 3, SD_SAFETY_ROWS = 48 };

typedef struct sd_safety_row {
    char what[16], topic[64];            /* "plain", "up", ..; of a topic its category, else "" */
    int64_t feature;                     /* -1: none */
    double value;                        /* what it is raised to; NaN: nothing is */
    sd_ci refused[SD_SAFETY_SUITES];
    double incoherent, ce_cost;          /* share of all answers; nats a token, NaN without a text */
} sd_safety_row;

/* [0]: a threshold that 1 % of the harmless prompts of the first half pass, [1]: 5 %. */
typedef struct sd_safety_monitor { double auroc; sd_ci alarm[2][SD_SAFETY_SUITES]; } sd_safety_monitor;

typedef struct sd_safety {
    int n_suite;
    char suite[SD_SAFETY_SUITES][64];
    bool harmful[SD_SAFETY_SUITES];
    int64_t n_test[SD_SAFETY_SUITES], n_fit;
    int64_t feature;
    double auroc_fit, c;                 /* of the feature, on the first half */
    sd_safety_monitor monitor[2];        /* the feature, the difference of means */
    sd_safety_row row[SD_SAFETY_ROWS];
    int n_row;
    double seconds;
    char judge[64];
} sd_safety;

typedef struct sd_safety_opt {
    const sd_suite *suite;
    int n_suite;
    const sd_phrases *phrases;
    const sd_dict *dict;
    sd_site site;
    const char *prompt;                  /* the system message of "prompt" */
    const int32_t *text;                 /* [n_text] tokens; NULL: no cross-entropy */
    int64_t n_text;
    int64_t n_gen;                       /* of an answer; 0: 32 (from 24 tokens on repetition is seen) */
    int64_t n_other;                     /* of "random"; at most SD_SAFETY_RANDOM, each costs four times the answers */
    uint64_t seed;
    const sd_progress *progress;
} sd_safety_opt;
/* SD_E_FORMAT: fewer than 16 harmful or harmless prompts. SD_E_UNSUPPORTED: a dictionary whose features write elsewhere than they are read. */
sd_status sd_lab_safety(sd_safety *out, const sd_exec *ex, const sd_model *m, const sd_safety_opt *opt, sd_err *err);
void sd_safety_write_json(sd_jw *w, const sd_safety *s);

#endif
