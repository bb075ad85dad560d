/* effect: what turning a feature up does to the model's own words, measured, so that the feature to show is chosen by what it
 * does and not by its fame.
 *
 * For each feature the model continues a few neutral prompts greedily with the feature's direction added (value times the site's
 * mean token norm, all positions); the plain model then reads the continuations, and the feature's activation is counted there,
 * where nothing is added:
 *   active   share of continued tokens on which the feature is active while the plain model reads them
 *   ce       their mean cross-entropy under the plain model, nats a token
 *   distinct share of different token pairs among them
 *   score = max(0, active_steered - active_plain) x distinct x min(1, max(0, (6 - ce) / 3))
 * 3 nats is what prose costs a small model and 6 is near noise: text that the plain model finds incoherent scores nothing. */
#ifndef SD_LAB_EFFECT_H
#define SD_LAB_EFFECT_H

#include "base/log.h"
#include "lab/steer.h"

/* Times the site's mean token norm, where none is given. Scores of the best of 12 features of SmolLM2 (resid_post.14) at 0.25, 0.5 and 1: 0.040, 0.058, 0.052,
 * of 32 of the organism at 0.25 and 0.5: 0.091 and 0.091, though its sentences begin to break. */
#define SD_EFFECT_VALUE 0.5

typedef struct sd_effect_opt {
    double value;              /* times the site's mean token norm; 0: SD_EFFECT_VALUE */
    int64_t n_gen;             /* tokens a continuation; 0: 24 */
    const sd_ids *prompt;      /* [n_prompt] neutral prompts, the same for all features */
    int n_prompt;
    const int64_t *feature;    /* [n_feature] */
    int64_t n_feature;
    const sd_progress *progress; /* may be NULL */
} sd_effect_opt;

typedef struct sd_effect {
    int64_t feature;
    double active_steered, active_plain, ce_steered, ce_plain, distinct, score;
} sd_effect;

/* The caller has asked the guard of refusal directions (lab/direction_file.h) about each. out [n_feature], in the order of feature[]. m must have its head; dict must state its site and mean token norm. */
sd_status sd_lab_effect(sd_effect *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_effect_opt *opt, sd_err *err);

#endif
