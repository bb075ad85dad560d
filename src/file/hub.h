/* Model ids of the Hugging Face hub, resolved in a cache on this machine. Nothing is fetched. */
#ifndef SD_FILE_HUB_H
#define SD_FILE_HUB_H

#include "sonde/model.h"
#include <stdbool.h>

/* The + between MODEL and ADAPTER, each of which may have signs of its own: the last one behind what is a file, a folder or an id, else the last. NULL:
 * none, or text is a file or folder itself. */
const char *sd_hub_plus(const char *text);
/* Whether text has the form ORG/NAME[@REVISION][:PART]. */
bool sd_hub_is_id(const char *text);
/* "ORG/NAME" of .../models--ORG--NAME/snapshots/COMMIT; false, with out as it was, when path is none. */
bool sd_hub_name(char *out, size_t cap, const char *path);

#endif
