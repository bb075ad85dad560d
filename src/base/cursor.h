/* A bounds-checked little-endian reader over untrusted bytes. The first failure sticks with its offset; after
 * it every read gives zero, so a parser checks once per record. */
#ifndef SD_BASE_CURSOR_H
#define SD_BASE_CURSOR_H

#include "base/str.h"

typedef struct sd_cursor {
    const uint8_t *base;
    size_t size, off;
    size_t fail_off;  /* where the first failure was */
    const char *fail; /* what it was, NULL when none: a static string */
} sd_cursor;

void sd_cur_init(sd_cursor *c, const void *base, size_t size);
static inline bool sd_cur_failed(const sd_cursor *c)
{
    return c->fail != NULL;
}
static inline size_t sd_cur_left(const sd_cursor *c)
{
    return c->size - c->off;
}
uint8_t sd_cur_u8(sd_cursor *c);
uint16_t sd_cur_u16(sd_cursor *c);
uint32_t sd_cur_u32(sd_cursor *c);
uint64_t sd_cur_u64(sd_cursor *c);
float sd_cur_f32(sd_cursor *c);
double sd_cur_f64(sd_cursor *c);
/* n bytes in place; fails when fewer are left. */
const void *sd_cur_bytes(sd_cursor *c, uint64_t n);
/* u64 length and that many bytes; fails above max. */
sd_slice sd_cur_str64(sd_cursor *c, uint64_t max);
void sd_cur_skip(sd_cursor *c, uint64_t n);
void sd_cur_align(sd_cursor *c, size_t alignment);
void sd_cur_mark_failed(sd_cursor *c, const char *what);
/* SD_E_FORMAT: "PATH: WHAT: ends early at byte N of M". */
sd_status sd_cur_fail(const sd_cursor *c, sd_err *err, const char *path, const char *what);

#endif
