/* The SHA-256 that names a model: of its file; of a folder's only weights file; of several shards' names and hashes. */
#ifndef SD_LAB_MODEL_HASH_H
#define SD_LAB_MODEL_HASH_H

#include "base/hash.h"

/* out [65]: hexadecimal. cache_dir: where hashes are kept by device, inode, size and time of change; NULL: nowhere. A
 * folder of several shards hashes the text "NAME SHA256\n" a shard, by name; MODEL+ADAPTER the two hashes, model first. */
sd_status sd_lab_model_hash(char out[65], const char *path, const char *cache_dir, sd_err *err);

#endif
