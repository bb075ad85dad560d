/* A finished generation as JSON: the fields of schema sonde.run/1 after "schema". */
#ifndef SD_LAB_GENERATE_JSON_H
#define SD_LAB_GENERATE_JSON_H

#include "lab/generate.h"
#include "lab/steer_set.h"

/* Writes "text", "tokens" (and "plain_text", "plain_tokens" where both lanes ran), "stop", "mode", "timings", "applied"
 * into an open object. */
sd_status sd_generate_write(sd_jw *w, const sd_model *m, const sd_generate_result *r, const sd_steer_set *s, sd_err *err);

#endif
