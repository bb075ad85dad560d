/* recover: which concepts of a labelled text a dictionary found, and whether that means something.
 *
 * A detector is one number a token; with a threshold it says "the concept is here". F1 = 2 tp / (2 tp + fp + fn) over tokens, AUROC
 * the chance that a labelled token has more of it than another (ties half), both from 1024 equal steps between the detector's
 * extremes. Documents are split in two: which detector, its sign and its threshold are chosen on one half by the highest F1
 * and judged on the other. Beside the best feature of the dictionary stand
 *   floors     the best of random directions, of the block's neurons (mlp_post), of the principal components, and of the
 *              dictionary's features when the labels are turned round against the tokens (the same maximum over features)
 *   ceiling    a logistic probe on the same activations
 *   baselines  a probe on the token's own embedding, a table of token pairs, a naive Bayes bag of the last 16 tokens
 * Five features together are a logistic regression on their codes, or the union of them with a threshold each; both chosen greedily. A concept counts as recovered at F1 >= 0.8. */
#ifndef SD_LAB_RECOVER_H
#define SD_LAB_RECOVER_H

#include "base/log.h"
#include "model/session.h"
#include "sonde/dict.h"

#define SD_RECOVERED_F1 0.8 /* frozen with the organism's labels */
enum { SD_RECOVER_TOGETHER = 5, SD_RECOVER_CONCEPTS = 64 };

typedef struct sd_detector {
    int64_t index;     /* feature, neuron, component, random direction; 0 for a probe; -1: none was above chance */
    bool negative;     /* the concept is where there is little of it */
    float threshold;
    double f1, auroc;  /* on the judging half */
    double f1_chosen;  /* on the choosing half */
} sd_detector;

typedef struct sd_recovered {
    char name[48];
    int64_t n_choose, n_judge; /* labelled tokens of the halves */
    sd_detector feature, shuffled, random, neuron, component, probe, embedding, pairs, bag;
    int64_t together[SD_RECOVER_TOGETHER];  /* the regression: logit = together_w . codes + a constant */
    double together_w[SD_RECOVER_TOGETHER];
    int n_together;
    double together_f1, together_shuffled;  /* the latter: features and weights chosen for the turned labels, judged on them */
    int64_t any[SD_RECOVER_TOGETHER];       /* the union */
    int n_any;
    double any_f1;
} sd_recovered;

typedef struct sd_recovery {
    sd_recovered *v; /* [n] in order of first appearance in the file */
    int n;
    int n_one, n_five, n_any, n_probe, n_shuffled, n_five_shuffled; /* how many have F1 >= SD_RECOVERED_F1; five: the regression, any: the union */
    int n_contextual;    /* the embedding probe's F1 is under 0.5 */
    int64_t n_docs, n_tokens, n_features;
    double l0;           /* features active a token */
    double seconds;
} sd_recovery;
void sd_recovery_release(sd_recovery *r);

typedef struct sd_recover_opt {
    uint64_t seed;         /* random directions */
    bool quick;            /* only features, together and shuffled labels: no floors, probes and baselines */
    const sd_progress *progress; /* may be NULL */
} sd_recover_opt;

/* labels: a file of rows {"text", "labels": [[name, begin, end], ..]}, byte offsets (heldout.jsonl). m holds at least the blocks up
 * to the dictionary's site. Concepts with fewer than 8 labelled tokens in a half are SD_E_FORMAT. Cost on 130,000
 * tokens, d = 256, 512 features: some seconds. */
sd_status sd_lab_recover(sd_recovery *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const char *labels,
                         const sd_recover_opt *opt, sd_err *err);

#endif
