/* logit_effect: which tokens a feature's direction makes likelier by itself, straight through the head.
 *
 *   effect_f = U (g * w_f)        w_f decoder row, g weights of the last norm, U head [V, d]
 * The direct path only (nostalgebraist 2020, "logit lens", applied to a direction): later blocks are not run, and the norm's
 * division by the token's own norm, common to all tokens of the vocabulary, is left out. */
#ifndef SD_LAB_LOGIT_EFFECT_H
#define SD_LAB_LOGIT_EFFECT_H

#include "model/model.h"
#include "sonde/dict.h"
#include "store/feature.h"

typedef struct sd_logit_effect sd_logit_effect;
/* n: tokens at each end. *out is NULL (and the status OK) when there is no path to the head: m NULL, without head, or of another width. */
sd_status sd_logit_effect_new(sd_logit_effect **out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, int n, sd_err *err);
void sd_logit_effect_free(sd_logit_effect *e);

/* The n highest (descending) and lowest (ascending) effects of a feature, ties to the lower token; mean and standard deviation over
 * the vocabulary; and `peak`: the mean of the ten highest of effect_t / spread_t, spread_t the root mean square of the effects on
 * token t of 64 features spread evenly over the dictionary. (Tokens with a long row in the head top the plain lists of most
 * features; by its own spread a token stands out only where the direction is really its own.) */
typedef struct sd_logit_lists { sd_token_logit *top, *bottom; double mean, std, peak; } sd_logit_lists; /* top, bottom: [n] of the caller */
enum { SD_LOGIT_BLOCK = 128 }; /* features a call */
void sd_logit_effect_run(sd_logit_lists *out, sd_logit_effect *e, int64_t f0, int64_t n_features);

#endif
