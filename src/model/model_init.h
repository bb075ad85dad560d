/* Weights from nothing: what pretraining starts from. */
#ifndef SD_MODEL_MODEL_INIT_H
#define SD_MODEL_MODEL_INIT_H

#include "base/err.h"
#include <stdint.h>

/* dir: a Hugging Face folder with a config.json, whose weights (if any) are not read. Writes a model.safetensors in f32
 * to path: matrices from a normal of initializer_range (0.02 where config.json does not say), those that add to the
 * residual stream narrower by sqrt(2 L) (Radford et al. 2019, sec. 2.3), norms 1, biases 0; the embedding's from one of
 * embedding_initializer_range where it is given. The same bits for the same seed. */
sd_status sd_model_init_random(const char *dir, const char *path, uint64_t seed, sd_err *err);

#endif
