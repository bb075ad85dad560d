/* interest: which features are worth a person's first look. A number in [0, 1] from the top examples and the logits alone:
 *
 *   interest = D V F L (0.2 + 0.5 C + 0.3 P)
 *   D  density     min(1, p / 1e-4, 1e-2 / p): neither hardly ever nor nearly always
 *   V  variety     min(1, (N - 1) / 3), N = exp(H) the effective number of different words at the peaks of the top examples (H the
 *                  entropy of their counts; case and endings folded), or of different tokens where those are fewer: a
 *                  feature of one word, or of one token that begins many words, scores 0
 *   F  freshness   share of the top examples whose surroundings are no near copy of an earlier one's (at most half of their
 *                  words in common): a feature of a licence header that every file repeats is not a topic
 *   L  letters     0.25 + 0.75 x share of the peaks that hold a letter: words before signs and numbers
 *   C  context     mean over the five strongest words w of min(1, 4 s_w), s_w = max(0, a_w - e_w - 2 sd_w) ln(T/c_w) / ln(T): how much
 *                  oftener w stands near the peaks (share a_w of the n examples) than chance says (e_w = 1 - (1 - c_w/T)^K for
 *                  K tokens of context, sd_w = sqrt(e_w (1 - e_w) / n)), weighted by how rare it is (c_w of T tokens of
 *                  the study); peak tokens left out
 *   P  logits      min(1, max(0, peak - 4) / 4), peak the mean of its ten highest effects on the logits, each in units of that
 *                  token's own spread over the dictionary (lab/logit_effect.h): ten of 50,000 random values reach 3.9
 * A choice, not a measure of truth: it prefers features of a topic over features of a word, and what it prefers is stated here. */
#ifndef SD_LAB_INTEREST_H
#define SD_LAB_INTEREST_H

#include "lab/rows.h"
#include "text/tok.h"

typedef struct sd_interest sd_interest;
/* Counts the tokens of rows; folds " The", "the" and "THE" to one word. */
sd_status sd_interest_new(sd_interest **out, const sd_rows *rows, const sd_tok *tok, sd_err *err);
void sd_interest_free(sd_interest *s);

typedef struct sd_interest_parts { double density, n_tokens, fresh, context, logits; } sd_interest_parts; /* n_tokens: N of tokens */
/* f: with its top examples (tok filled). logit_peak: see sd_logit_lists; 0 when unknown, which leaves P at 0. Thread-safe. */
sd_interest_parts sd_interest_of(const sd_interest *s, const sd_feature *f, double logit_peak);
/* The formula. n_words: N of words; letters: the share of the peaks that hold a letter (both of lab/feature_words.h). */
double sd_interest_score(const sd_interest_parts *p, double n_words, double letters);

#endif
