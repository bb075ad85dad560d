/* Model ids of the Hugging Face hub, resolved in a cache on this machine. Nothing is fetched. */
#ifndef SD_FILE_HUB_H
#define SD_FILE_HUB_H

#include "sonde/model.h"
#include <stdbool.h>

/* Whether text has the form ORG/NAME[@REVISION][:PART]. */
bool sd_hub_is_id(const char *text);

#endif
