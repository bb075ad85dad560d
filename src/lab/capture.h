/* capture: the rows of a harvest written as shards. */
#ifndef SD_LAB_CAPTURE_H
#define SD_LAB_CAPTURE_H

#include "lab/harvest.h"

typedef struct sd_capture_result { int64_t n_rows, n_tokens, n_docs, n_nonfinite; double seconds; } sd_capture_result;
/* Writes the whole harvest to dir (f16), manifest last. Cancelled: the folder is removed again and SD_E_CANCELLED returned. */
sd_status sd_lab_capture(sd_capture_result *out, sd_harvest *h, const char *dir, const sd_act_manifest *manifest, bool force,
                         const sd_progress *progress, sd_err *err);

#endif
