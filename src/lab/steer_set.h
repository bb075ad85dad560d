/* The steers of one run: parsed, then resolved against a model, with the dictionaries they name. */
#ifndef SD_LAB_STEER_SET_H
#define SD_LAB_STEER_SET_H

#include "lab/steer.h"

typedef struct sd_steer_set {
    sd_steer_spec *spec; /* [n] */
    sd_steer **steer;    /* [n]; NULL until opened */
    sd_dict **dict;      /* [n]; NULL for vectors */
    sd_dict **when_dict; /* [n]; of the conditions */
    int n;
} sd_steer_set; /* zero-initialise */

/* Appends one spec (a JSON object). On error the set is as it was. */
sd_status sd_steer_set_add(sd_steer_set *s, sd_slice text, sd_err *err);
/* Where a model's steers find what they name. */
typedef struct sd_steer_env {
    const sd_exec *ex;
    const sd_model *m;           /* borrowed until release */
    const char *data_dir;        /* sonde's data folder */
    const char *model_sha256;
    sd_slice reference;          /* text that units of plain vectors are measured on; empty: the built-in one */
} sd_steer_env;
/* Opens the dictionaries, resolves every spec and refuses those that push a refusal direction down (lab/direction_file.h). */
sd_status sd_steer_set_open(sd_steer_set *s, const sd_steer_env *env, sd_err *err);
/* One steer whose dictionaries are open: fills a named direction, makes the steer, asks the guard. from.rows may be NULL. */
sd_status sd_steer_resolve(sd_steer **out, sd_steer_spec *spec, const sd_steer_env *env, const sd_steer_from *from, sd_err *err);
void sd_steer_set_release(sd_steer_set *s);
/* "applied": an array with what each steer did: the spec, site, value_raw, n_positions, mean_abs_change. */
void sd_steer_set_write(sd_jw *w, const sd_steer_set *s);

#endif
