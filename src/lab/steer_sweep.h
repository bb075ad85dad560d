/* steer_sweep: one steer in rising strength: how much of the concept comes, and what it costs; beside the plain model that is told to by a system message.
 *
 * At each strength every prompt is answered, and each answer is read again:
 *   kl      mean KL(p_steered || p_plain) a token of the answer, nats (lab/measure.h)
 *   ppl     perplexity of the answer under the plain model; rep4 share of its runs of four tokens that came before in it
 *   active  share of the answer's tokens on which the concept's feature fires when the plain model reads it (a transcoder's where it reads; a
 *           crosscoder's is refused: it is read at several sites); of a vector or direction, the mean projection on its unit vector, raw. The plain
 *           model reads, so the steer itself does not count
 *   words   share of the answers with one of the words that were given
 * kl, ppl (exp of the mean cross-entropy) and active are over the tokens of all answers, rep4 and words over answers. Suggested: the strength with
 * the most of the concept among those whose ppl is at most most_ppl times the plain one's and whose rep4 is at most 0.1 above it. */
#ifndef SD_LAB_STEER_SWEEP_H
#define SD_LAB_STEER_SWEEP_H

#include "base/log.h"
#include "lab/steer_set.h"
#include "model/sample.h"

enum { SD_SWEEP_POINTS = 64, SD_SWEEP_PROMPTS = 256 };
#define SD_SWEEP_MOST_PPL 2.0

typedef struct sd_steer_sweep_opt {
    sd_slice spec;              /* the steer, JSON; its "value" is replaced */
    const double *value;        /* [n_value] */
    int n_value;
    const char *const *prompt;  /* [n_prompt] */
    int n_prompt;
    const char *baseline;       /* a system message for the plain model; NULL: none (needs chat) */
    const char *const *word;    /* [n_word]; 0: words are not counted */
    int n_word;
    bool chat;
    int64_t n_gen;
    sd_sample_opt sample;
    uint64_t seed;              /* of the first prompt; the others draw by their own (sd_seed_of), each the same at every strength */
    double most_ppl;            /* suggested: at most this many times the plain perplexity; 0: SD_SWEEP_MOST_PPL */
    const sd_progress *progress;
} sd_steer_sweep_opt;

typedef struct sd_steer_point {
    bool prompt_only;           /* the baseline: no edit, value and kl NaN */
    double value, kl, ppl, rep4, active, words; /* words NaN when not asked for */
    int64_t n_tokens, n_empty;  /* tokens of all answers; answers that ended at once, which count in words alone */
    sd_buf *answer;             /* [n_prompt] owns */
} sd_steer_point;
typedef struct sd_steer_sweep {
    sd_steer_point *point;      /* [n]: the plain model (value NaN, kl 0), the values, the baseline */
    int n, n_prompt, suggested; /* suggested: a point, -1 none */
    bool of_feature;            /* active is a share; else a projection */
} sd_steer_sweep;
void sd_steer_sweep_release(sd_steer_sweep *s);
/* SD_E_ARG for a spec without a value to replace, or that the guard of refusal directions refuses at any of the values. */
sd_status sd_lab_steer_sweep(sd_steer_sweep *out, const sd_steer_env *env, const sd_steer_sweep_opt *opt, sd_err *err);
/* One page with the curves, a table and the answers. */
sd_status sd_steer_sweep_page(sd_buf *out, const sd_steer_sweep *s, const sd_steer_sweep_opt *opt, const char *model_name, sd_err *err);

#endif
