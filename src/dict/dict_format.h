/* Dictionaries as other tools keep them. Reading turns every one into the same struct of matrices and a gate; what cannot be carried out
 * exactly (another gate, a normalisation by row, a factor behind the encoder) is refused by name. docs/FORMATS.md has the tables. */
#ifndef SD_DICT_FORMAT_H
#define SD_DICT_FORMAT_H

#include "sonde/dict.h"

typedef enum sd_dict_format {
    SD_FORMAT_SAELENS,             /* cfg.json + sae_weights.safetensors, 6.0 and before */
    SD_FORMAT_SPARSIFY,            /* cfg.json + sae.safetensors */
    SD_FORMAT_GEMMA_SCOPE,         /* params.npz (1), or config.json + params.safetensors (2) */
    SD_FORMAT_DICTIONARY_LEARNING, /* ae.pt + config.json */
    SD_FORMAT_OPENAI,              /* a .pt file */
    SD_FORMAT_LLAMA_SCOPE,         /* hyperparams.json + checkpoints/final.safetensors; R1: config.json + sae_weights.safetensors */
    SD_FORMAT_CIRCUIT_TRACER,      /* layer_N.safetensors beside config.yaml */
    SD_FORMAT_COUNT
} sd_dict_format;
const char *sd_dict_format_name(sd_dict_format f); /* "gemma-scope" */
/* SD_FORMAT_COUNT when unknown. */
sd_dict_format sd_dict_format_of_name(const char *name);
/* What lies at path, by the names of its files; SD_FORMAT_COUNT when none is known. */
sd_dict_format sd_dict_format_at(const char *path);

/* The names of the site that is read, or (out) written, in our spelling and TransformerLens's: readers of other tools' files set the latter
 * alone. Not while others use d. */
void sd_dict_set_site(sd_dict *d, bool out, const char *site, const char *hook_name);

sd_status sd_dict_open_as(sd_dict **out, const char *path, sd_dict_format f, sd_err *err);
/* saelens, sparsify and circuit-tracer are written; SD_E_UNSUPPORTED says why a dictionary has no such form. */
sd_status sd_dict_save_as(const sd_dict *d, const char *dir, sd_dict_format f, sd_err *err);

#endif
