/* YAML settings as JSON: mappings, sequences and scalars, every scalar as a text (null as null). Anchors, aliases and tags that ask for
 * more are refused, as are more than 16 levels and 65,536 nodes. */
#ifndef SD_FILE_YAML_H
#define SD_FILE_YAML_H

#include "base/json.h"

sd_status sd_yaml_parse(json_t **out, const char *text, size_t n, const char *path, sd_err *err);
sd_status sd_yaml_load(json_t **out, const char *path, size_t max_bytes, sd_err *err);

#endif
