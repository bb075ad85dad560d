/* np_json: features in the shapes of the field. Neuronpedia's feature (`GET /api/feature/..`) and SAEDashboard's batch have the same fields under two
 * spellings ("binMin", "bin_min"): one writer and one reader serve both.
 *
 *   Neuronpedia    [{"modelId", "layer", "index": "4021", .., "activations": [..], "explanations": [..]}, ..], or one of them
 *   SAEDashboard   {"model_id", "layer", "sae_set", "features": [{"feature_index": 4021, ..}, ..]}
 * binMin -1 marks the strongest examples; of the others [binMin, binMax] is the interval and binContains its share of all tokens. */
#ifndef SD_LAB_NP_JSON_H
#define SD_LAB_NP_JSON_H

#include "base/json.h"
#include "store/store.h"

typedef enum sd_np_form { SD_NP_NEURONPEDIA, SD_NP_DASHBOARD } sd_np_form;
/* The members of one feature; in Neuronpedia's form model and layer are its identity. */
void sd_np_feature_write(sd_jw *w, sd_store *s, const sd_feature *f, sd_np_form form, const char *model, const char *layer);

typedef struct sd_np_import_opt { bool force; const char *tool, *created, *data_sha256; } sd_np_import_opt;
typedef struct sd_np_import { int64_t n_features, n_examples, n_labels, n_tokens, m; } sd_np_import;
/* A store of what stands in the documents (any mixture of the shapes). Tokens are the texts that occur; each example is a document of its own; a
 * feature that no document has is silent; of explanations labels are made. Directions are not in such files: the store has no map. */
sd_status sd_lab_np_import(sd_np_import *out, const char *path, json_t *const *doc, int n_doc, const sd_np_import_opt *opt, sd_err *err);

#endif
