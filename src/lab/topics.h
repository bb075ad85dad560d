/* topics: is there one direction of refusal for all topics? A direction is fitted on each category of harmful requests, at one place, and ablated on the others.
 *
 *   r_a        mean over half of category a's prompts minus mean over harmless ones, input of a block, one position behind the instruction
 *   cosine     of r_a and r_b at that place; averaged over pairs for every block
 *   score      [a][b] mean refusal score (lab/refusal.h) on the other half of category b with r_a ablated everywhere; the last row is of the direction of all
 *              categories together
 *   gap        mean over b of (mean over a != b of score[a][b]) - score[b][b]: how much more a topic's own direction takes away than another's
 *
 * The same is done with the categories' names shuffled over the prompts, sizes kept: p = (1 + shuffles with a gap as large) / (1 + shuffles). A gap no larger than of
 * shuffled categories says that topics share what their directions carry. Measured in memory; nothing is kept or written. */
#ifndef SD_LAB_TOPICS_H
#define SD_LAB_TOPICS_H

#include "lab/refusal.h"
#include "lab/suite.h"

enum { SD_MAX_TOPICS = 24 };
typedef struct sd_topics_opt {
    const sd_suite *pos, *neg;  /* pos has categories */
    int64_t least;              /* prompts a category must have; 0: 8 */
    sd_system system;
    int position, layer;        /* -1 is the last token */
    int n_shuffle;              /* 0: 5; negative: none */
    uint64_t seed;
    const sd_progress *progress;
} sd_topics_opt;

typedef struct sd_topics {
    int n;                      /* categories */
    int64_t n_left_out;         /* prompts of categories that are too small, or without one */
    char name[SD_MAX_TOPICS][48];
    int64_t n_fit[SD_MAX_TOPICS], n_test[SD_MAX_TOPICS], n_neg;
    double plain[SD_MAX_TOPICS], refused[SD_MAX_TOPICS];       /* of the test prompts, plain: mean score, share above 0 */
    double cosine[SD_MAX_TOPICS][SD_MAX_TOPICS];
    double score[SD_MAX_TOPICS + 1][SD_MAX_TOPICS], share[SD_MAX_TOPICS + 1][SD_MAX_TOPICS]; /* row n: all together */
    int n_layer;
    float *layer_cosine, *layer_shuffled; /* [n_layer] mean over pairs; of shuffled categories too; own */
    double gap, shuffled_mean, shuffled_largest, p; /* NaN without shuffles */
    int n_shuffle, n_as_large;
    sd_refusal_set refusal;
    char prompts_sha256[65];
    int64_t rows;
} sd_topics;
void sd_topics_release(sd_topics *t);
/* SD_E_FORMAT: fewer than two categories are large enough, no harmless prompts, or no token that opens refusals. SD_E_ARG: the place is not there. */
sd_status sd_lab_topics(sd_topics *out, const sd_exec *ex, const sd_model *m, const sd_topics_opt *opt, sd_err *err);

#endif
