/* measure: what a steer did to an answer, told by the plain model. The answer's tokens are run twice after the same prompt, plain and
 * steered, and at each of them:
 *   lp      log-probability of the token that was said, nats, under either
 *   kl      KL(p_steered || p_plain), nats, over the whole vocabulary; summed in double
 * and for the whole: their means, perplexity = exp(-mean lp), and rep4 = 1 - different runs of four tokens / runs of four (Welleck et
 * al. 2020, Neural Text Generation with Unlikelihood Training, section 6: seq-rep-n). */
#ifndef SD_LAB_MEASURE_H
#define SD_LAB_MEASURE_H

#include "lab/steer_set.h"

enum { SD_MEASURE_MAX_TOKENS = 4096 };
typedef struct sd_measure_token { double lp_plain, lp_steered, kl; } sd_measure_token;
typedef struct sd_measure {
    int64_t n;           /* tokens of the answer */
    sd_measure_token *v; /* [n] owned */
    double kl_mean, kl_max, ppl_plain, ppl_steered, rep4;
} sd_measure;
void sd_measure_release(sd_measure *x);
/* ids: the prompt, then the answer from n_prompt >= 1 on. edits: not attached to any session; NULL: none. m: with its head. */
sd_status sd_lab_measure(sd_measure *out, const sd_exec *ex, const sd_model *m, const sd_ids *ids, int64_t n_prompt, const sd_steer_set *edits, sd_err *err);

#endif
