/* Hashes: xxh3 for keys, SHA-256 (nettle) for provenance; string -> index table. */
#ifndef SD_BASE_HASH_H
#define SD_BASE_HASH_H

#include "base/str.h"

uint64_t sd_hash64(const void *p, size_t n);

typedef struct sd_sha256 {
    uint8_t b[32];
} sd_sha256;
void sd_sha256_of(sd_sha256 *out, const void *p, size_t n);
void sd_sha256_hex(const sd_sha256 *h, char out[65]);
/* SHA-256 of a file, read in pieces. cache_dir (may be NULL) keeps results by (device, inode, size, mtime). */
sd_status sd_sha256_file(sd_sha256 *out, const char *path, const char *cache_dir, sd_err *err);

/* Borrowed keys -> int64 values; open addressing. */
typedef struct sd_table sd_table;
sd_status sd_table_new(sd_table **out, int64_t expected, sd_err *err);
void sd_table_free(sd_table *t);
/* Sets or replaces; *old (may be NULL) gets the former value or -1. The key's bytes must outlive the table. */
sd_status sd_table_set(sd_table *t, sd_slice key, int64_t value, int64_t *old, sd_err *err);
int64_t sd_table_get(const sd_table *t, sd_slice key); /* -1 when absent */
int64_t sd_table_count(const sd_table *t);

#endif
