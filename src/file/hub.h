/* Model ids of the Hugging Face hub, resolved in a cache on this machine. Nothing is fetched. */
#ifndef SD_FILE_HUB_H
#define SD_FILE_HUB_H

#include "sonde/model.h"
#include <stdbool.h>

/* Whether text has the form ORG/NAME[@REVISION][:PART]. */
bool sd_hub_is_id(const char *text);
/* "ORG/NAME" of .../models--ORG--NAME/snapshots/COMMIT; false, with out as it was, when path is none. */
bool sd_hub_name(char *out, size_t cap, const char *path);

#endif
