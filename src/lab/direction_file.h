/* Stored directions: one file a direction in sonde's data folder, by the hash of the model it is of, readable by its owner alone.
 *
 *   DATA/directions/MODEL_SHA256/NAME.json      {"schema":"sonde.direction/1", .., "vector":[..]}
 *
 * A direction of kind "refusal" marks what `run`, `serve` and recipes may not push down (CONTRACT section 5): sd_direction_guard refuses by name
 * and by cosine. There is no export. It guards against accident, not against an owner. */
#ifndef SD_LAB_DIRECTION_FILE_H
#define SD_LAB_DIRECTION_FILE_H

#include "base/json.h"
#include "lab/steer.h"

typedef struct sd_direction_file {
    char name[65], kind[16]; /* "refusal", "concept" */
    char model_sha256[65], prompts_sha256[65], created[32], select[16];
    int position, layer;     /* input of block `layer`, position counted from the end of the prompt */
    int64_t d;
    float *vector;           /* [d] raw; owns */
    double bypass, induce, kl, auroc, norm;
    char tokens[256];        /* the refusal tokens, for people */
} sd_direction_file;
void sd_direction_file_release(sd_direction_file *f);

/* Letters, digits, '.', '_', '-'; at most 64, not first a '.'. */
sd_status sd_direction_name_check(const char *name, sd_err *err);
/* SD_E_ARG when the model has one of that name and force is off; also to be asked before hours of work. */
sd_status sd_direction_check_free(const char *data_dir, const char *model_sha256, const char *name, bool force, sd_err *err);
/* SD_E_ARG when it is there and force is off. data_dir: "$XDG_DATA_HOME/sonde". */
sd_status sd_direction_save(const sd_direction_file *f, const char *data_dir, bool force, sd_err *err);
/* SD_E_NOTFOUND names the directions that there are. SD_E_SHAPE: it is of another width than d (0: any). */
sd_status sd_direction_load(sd_direction_file *out, const char *data_dir, const char *model_sha256, const char *name, int64_t d, sd_err *err);
/* All of a model, by name; *out [*n] by sd_direction_list_free. A damaged file is an error, not a gap in the guard. */
sd_status sd_direction_list(sd_direction_file **out, int *n, const char *data_dir, const char *model_sha256, sd_err *err);
void sd_direction_list_free(sd_direction_file *v, int n);

/* Fills vector and site of a spec that names a direction; nothing for others. */
sd_status sd_direction_resolve(sd_steer_spec *spec, const char *data_dir, const char *model_sha256, int64_t d, sd_err *err);
/* SD_E_ARG when the spec would ablate, cap, clamp or push down a refusal direction of this model: v [d] is what it edits along (a feature's decoder
 * row or a vector), and |cosine| above 0.5 counts as the direction itself. */
sd_status sd_direction_guard(const sd_steer_spec *spec, const float *v, int64_t d, const char *data_dir, const char *model_sha256, sd_err *err);

#endif
