/* sparse_probe: how well a few features alone tell labelled texts apart (Gurnee et al. 2023, arXiv 2305.01610), as SAEBench does it (Karvonen et al.
 * 2025, arXiv 2503.09532, evals/sparse_probing):
 *   a text's row is the mean over its tokens (special ones and sinks left out) of the features' activations
 *   a class against the others, as many of these as of it: at most 4,000 texts to learn from and 1,000 to judge (every fifth)
 *   the k features with the largest |mean of the class - mean of the others| on the first, k = 1, 2, 5
 *   logistic regression on these k columns (lab/logistic.h: L2, C = 1, on standardised columns, which SAEBench does not do)
 * and accuracy, F1 of the class and AUROC on the texts to judge; all three are means over classes. Since both sides are as many, guessing has
 * accuracy 0.5. `rows`: the same regression on all columns of the activations: what is there to be found. */
#ifndef SD_LAB_SPARSE_PROBE_H
#define SD_LAB_SPARSE_PROBE_H

#include "base/log.h"
#include "model/session.h"
#include "sonde/dict.h"

enum { SD_PROBE_KS = 3, SD_PROBE_MOST = 5, SD_PROBE_CLASSES = 64 };
extern const int sd_probe_k[SD_PROBE_KS]; /* 1, 2, 5 */

typedef struct sd_probe_score { double accuracy, f1, auroc; } sd_probe_score;
typedef struct sd_probed {
    char name[48];
    int64_t n_train, n_test;         /* texts, half of them of the class */
    int64_t feature[SD_PROBE_MOST];  /* best first; -1: there are fewer features */
    sd_probe_score k[SD_PROBE_KS], rows;
} sd_probed;

typedef struct sd_sparse_probe {
    sd_probed *v; /* [n] owns; by first appearance in the file */
    int n, n_few; /* few: classes left out, with fewer than 8 texts of either side to learn from or to judge */
    int64_t n_docs;
    sd_probe_score k[SD_PROBE_KS], rows; /* means over classes */
} sd_sparse_probe;
void sd_sparse_probe_release(sd_sparse_probe *p);

typedef struct sd_sparse_probe_opt { sd_site site; uint64_t seed; const sd_progress *progress; } sd_sparse_probe_opt; /* seed: which others are taken */
/* file: rows {"text", "label": NAME} or {"text", "labels": [NAME or [NAME, begin, end], ..]}; a text has a class when it is named anywhere in it. m
 * holds at least the blocks up to the site. SD_E_FORMAT: no class has texts enough. Holds a text's active features and its mean row. */
sd_status sd_lab_sparse_probe(sd_sparse_probe *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const char *file,
                              const sd_sparse_probe_opt *opt, sd_err *err);

#endif
