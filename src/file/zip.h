/* The directory of a zip archive whose bytes are in memory, and the bytes of its members: what numpy (.npz) and torch (.pt) put
 * tensors in. Members that are encrypted, span disks or use another method than stored or deflate are refused by name. */
#ifndef SD_FILE_ZIP_H
#define SD_FILE_ZIP_H

#include "base/hash.h"
#include "base/str.h"

typedef struct sd_zip_member {
    sd_slice name;       /* in the archive's bytes */
    const uint8_t *p;    /* packed bytes */
    uint64_t packed, n;  /* bytes as they lie, bytes unpacked */
    uint32_t crc;        /* CRC-32 of the unpacked bytes; 0: the writer took none (torch.serialization.set_crc32_options(False)) */
    bool deflated;
    bool checked;        /* its bytes were compared with crc */
} sd_zip_member;
typedef struct sd_zip { sd_zip_member *v; int64_t n; sd_table *by_name; } sd_zip;

/* p borrowed as long as the archive is used; `path` for sentences. */
sd_status sd_zip_open(sd_zip *z, const void *p, size_t n, const char *path, sd_err *err);
void sd_zip_release(sd_zip *z);
sd_zip_member *sd_zip_find(const sd_zip *z, const char *name); /* the first of that name; NULL: not there */
/* The member's bytes: where they lie when stored; else unpacked into *owned (sd_free). Refuses more than max bytes, a size and a
 * CRC-32 that are not what the directory says. The first call for a member reads all of it: 0.4 s of CPU a GB (zlib 1.2.13, Emerald Rapids). */
sd_status sd_zip_bytes(sd_zip_member *m, uint64_t max, const uint8_t **p, void **owned, const char *path, sd_err *err);

#endif
