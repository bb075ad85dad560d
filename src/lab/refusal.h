/* The refusal metric (Arditi et al. 2024, section 2.3 and appendix; andyrdt/refusal_direction, select_direction.py): with P the probability
 * that the first answered token is one of a set R of tokens that open refusals,
 *   score = log(P + 1e-8) - log(1 - P + 1e-8)                          in double
 *
 * R is learned on training prompts: the tokens that gain probability from harmless to harmful, the largest gains first, until they hold
 * 80 % of all gain. A token counts only when it is at least twice as likely on harmful prompts as on harmless ones and opens at least 1 % of the harmful ones. */
#ifndef SD_LAB_REFUSAL_H
#define SD_LAB_REFUSAL_H

#include "lab/batch.h"

enum { SD_REFUSAL_TOKENS = 16 };
typedef struct sd_refusal_set {
    int32_t id[SD_REFUSAL_TOKENS];
    double gain[SD_REFUSAL_TOKENS]; /* mean probability on harmful minus harmless training prompts */
    int n;
    double covered;                 /* share of all gain that they hold */
} sd_refusal_set;

double sd_refusal_score(const sd_refusal_set *r, const float *logits, const sd_model *m);
/* Learns R from harmful (pos) and harmless (neg) training prompts. */
sd_status sd_refusal_learn(sd_refusal_set *out, sd_batch *b, const sd_model *m, const sd_sides *train, sd_err *err);
/* The same until they hold `cover` (0..1] of all gain: every way a model has of beginning to refuse, where an answer that only changes from one to another must not count. */
sd_status sd_refusal_learn_most(sd_refusal_set *out, sd_batch *b, const sd_model *m, const sd_sides *train, double cover, sd_err *err);
/* Scores of prompts which [n] (NULL: all); score [prompts of the set] is filled at their places. */
sd_status sd_refusal_scores(double *score, sd_batch *b, const sd_refusal_set *r, const sd_model *m, const int64_t *which, int64_t n, sd_err *err);

/* How far an edit moves a first token: p [V] of plain logits, then sum_i p_i (log(p_i + 1e-6) - log(q_i + 1e-6)) for q of edited ones; double, on all
 * threads (select_direction.py, kl_div_fn). */
void sd_first_probs(float *p, const sd_exec *ex, const float *logits, int64_t n_vocab);
double sd_first_kl(const float *p, const sd_exec *ex, const float *logits, int64_t n_vocab);

#endif
