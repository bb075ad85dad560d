/* score: cross-entropy and perplexity of a text. */
#ifndef SD_LAB_SCORE_H
#define SD_LAB_SCORE_H

#include "base/log.h"
#include "model/session.h"

typedef struct sd_score_opt {
    int64_t window; /* tokens a window; 0: 512 */
    int64_t stride; /* tokens from one window to the next; 0: window (windows do not overlap) */
    const sd_hook *edit; /* attached to the session, so that a spliced or steered model is scored the same way; may be NULL */
    const sd_model *against; /* scored beside, unedited, with the same vocabulary; may be NULL */
    const sd_progress *progress; /* may be NULL */
} sd_score_opt;

/* Of the predictions of two models at the same positions, those that are not finite left out:
 *   kl = KL(p_against || p_model), nats: mean, the value that 1 % exceed, the largest; same_top: positions with the same likeliest token */
typedef struct sd_score_pair { double ce_loss, kl_mean, kl_p99, kl_max; int64_t n_same_top; } sd_score_pair;
typedef struct sd_score_result {
    int64_t n_tokens, n_windows, n_nonfinite;
    double ce_loss, ppl;
    sd_score_pair against; /* ce_loss is the other model's; zeros without one */
} sd_score_result;

/* As llama-perplexity does by default (tools/perplexity/perplexity.cpp): the ids are cut in windows, a rest is dropped; where the
 * tokenizer adds BOS it replaces the first token of each window; the second half of each window is scored, its first token given.
 * With a stride: each window scores its last `stride` tokens (the first window all but the first). ce in nats a token. */
sd_status sd_lab_score(sd_score_result *out, const sd_exec *ex, const sd_model *m, const int32_t *ids, int64_t n,
                       const sd_score_opt *opt, sd_err *err);

#endif
