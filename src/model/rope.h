/* Which rotary embedding a model has, and the frequencies of a session of a given length. Reads nothing: config_*.c
 * fills the spec. */
#ifndef SD_MODEL_ROPE_H
#define SD_MODEL_ROPE_H

#include "base/str.h"
#include "num/ops.h"

typedef enum sd_rope_type {
    SD_ROPE_NONE,
    SD_ROPE_DEFAULT,
    SD_ROPE_LINEAR,
    SD_ROPE_DYNAMIC,
    SD_ROPE_YARN,
    SD_ROPE_LONGROPE,
    SD_ROPE_LLAMA3,
    SD_ROPE_FACTORS /* a GGUF's rope_freqs: one divisor a frequency, in `shorter` */
} sd_rope_type;

enum { SD_MAX_FREQS = 512 }; /* frequencies of a head with divisors of its own: four times the widest published */

typedef struct sd_rope_spec {
    sd_rope_type type;
    int n_rot;
    double theta, factor;
    double original_ctx, max_ctx;     /* positions of pretraining; of the configuration */
    double attn_factor;               /* of cos and sin; 0: what the type derives */
    double low, high;                 /* llama3 */
    double beta_fast, beta_slow, mscale, mscale_all; /* yarn */
    bool no_truncate;                 /* yarn: the range is not rounded to whole dimensions */
    float shorter[SD_MAX_FREQS], longer[SD_MAX_FREQS]; /* longrope: up to original_ctx positions, and beyond */
} sd_rope_spec;

/* "linear" and the like, transformers' names (and "su", LongRoPE's first); false when unknown. */
bool sd_rope_type_of(sd_rope_type *out, sd_slice name);
/* What cos and sin are multiplied by: as given, or as the type derives it. */
double sd_rope_factor(const sd_rope_spec *s);
/* What would be no number: SD_E_FORMAT says which value. */
sd_status sd_rope_check(const sd_rope_spec *s, sd_err *err);
/* Frequencies for a session of n_ctx positions: longrope and dynamic depend on it (transformers takes the length of the
 * sequence so far instead, which is the same for a sequence that fills its session). r is the caller's to release. */
sd_status sd_rope_make(sd_rope *r, const sd_rope_spec *s, int64_t n_ctx, sd_err *err);

#endif
