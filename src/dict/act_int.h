/* Names that reader and writer of activation shards share. */
#ifndef SD_DICT_ACT_INT_H
#define SD_DICT_ACT_INT_H

#include "base/hash.h"
#include <stdint.h>
#include <stdio.h>

#define SD_ACT_MANIFEST "manifest.json"
#define SD_ACT_SCHEMA "sonde.acts/1"
#define SD_F16_MAX 65504.0f
enum { SD_ACT_NAME = 64 };

static inline void sd_act__shard_name(char out[SD_ACT_NAME], int64_t i) { snprintf(out, SD_ACT_NAME, "acts-%05lld.safetensors", (long long)i); }

/* A shard's content as one hash: that of the hashes of its four arrays, n rows. */
static inline void sd_act__hash(char out[65], const void *acts, size_t acts_bytes, const int32_t *const column[3], int64_t n)
{
    sd_sha256 h[4], all;
    sd_sha256_of(&h[0], acts, acts_bytes);
    for (int i = 0; i < 3; i++) sd_sha256_of(&h[1 + i], column[i], (size_t)n * sizeof(int32_t));
    sd_sha256_of(&all, h, sizeof h);
    sd_sha256_hex(&all, out);
}

#endif
