/* Names that reader and writer of SAELens directories share. */
#ifndef SD_DICT_SAELENS_INT_H
#define SD_DICT_SAELENS_INT_H

#include "dict/dict_int.h"

#define SD_SAE_CFG "cfg.json"
#define SD_SAE_WEIGHTS "sae_weights.safetensors"
#define SD_SAE_SPARSITY "sparsity.safetensors" /* SAELens: log10(firing frequency + 1e-10) */
#define SD_SAE_OWN "sonde.safetensors"         /* threshold, max_act, density, proj_std: SAELens loads weights strictly and has no place for them */

#endif
