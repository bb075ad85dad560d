/* Names that reader and writer of activation shards share. */
#ifndef SD_DICT_ACT_INT_H
#define SD_DICT_ACT_INT_H

#include <stdint.h>
#include <stdio.h>

#define SD_ACT_MANIFEST "manifest.json"
#define SD_ACT_SCHEMA "sonde.acts/1"
#define SD_F16_MAX 65504.0f
enum { SD_ACT_NAME = 64 };

static inline void sd_act__shard_name(char out[SD_ACT_NAME], int64_t i) { snprintf(out, SD_ACT_NAME, "acts-%05lld.safetensors", (long long)i); }

#endif
