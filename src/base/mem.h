/* All memory of the library comes from here, so that tests can make the n-th request fail and can forbid
 * requests inside a step. Blocks are aligned to 64 bytes. */
#ifndef SD_BASE_MEM_H
#define SD_BASE_MEM_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SD_ALIGN 64

/* 64-byte aligned; NULL when memory is out (or the test hook says so). n = 0 gives a valid, unusable pointer. */
void *sd_malloc(size_t n);
void *sd_calloc(size_t n); /* zeroed */
/* Grows or shrinks; keeps alignment. On failure the old block stays valid and NULL is returned. p may be NULL. */
void *sd_realloc(void *p, size_t n);
void sd_free(void *p); /* NULL is fine */
char *sd_strdup(const char *s);
char *sd_strndup(const char *s, size_t n);

/* The same with an sd_err sentence: "out of memory: 12.3 GB for the key-value cache". */
sd_status sd_alloc(void *out_ptr, size_t n, const char *what, sd_err *err); /* *(void **)out_ptr = block */
sd_status sd_alloc_zero(void *out_ptr, size_t n, const char *what, sd_err *err);

/* For megabytes that are read whole again and again: the block begins at a large page, and the system is asked for large pages (places of
 * 4 KB pages are looked up 256 times a MB: on a virtual machine that halved the bandwidth). What is never written takes no memory. */
sd_status sd_alloc_wide(void *out_ptr, size_t n, const char *what, sd_err *err);
sd_status sd_alloc_wide_zero(void *out_ptr, size_t n, const char *what, sd_err *err);

/* a*b and a+b with overflow check: false when it would not fit. */
bool sd_mul_size(size_t a, size_t b, size_t *out);
bool sd_add_size(size_t a, size_t b, size_t *out);

/* No allocation allowed on this thread between begin and end; dev builds abort with `what`. */
void sd_alloc_guard_begin(const char *what);
void sd_alloc_guard_end(void);

/* Tests only: the n-th request from now on this thread fails (1 = the next); 0 turns it off. Returns requests since the
 * last call. */
int64_t sd_mem_fail_nth(int64_t n);
/* Bytes and blocks out at the moment, for leak tests. */
int64_t sd_mem_live_blocks(void);
int64_t sd_mem_live_bytes(void);
/* Physical memory of this machine (or of this control group, when that is less) and of this process (resident, peak),
 * in bytes; 0 when unknown. */
typedef struct sd_mem_info {
    uint64_t total, available, rss, rss_peak;
} sd_mem_info;
sd_mem_info sd_mem_query(void);

/* An arena: one block reserved at init, pushed from the bottom, rewound to a mark. */
typedef struct sd_arena {
    uint8_t *base;
    size_t size, used, peak;
} sd_arena;
sd_status sd_arena_init(sd_arena *a, size_t size, const char *what, sd_err *err);
sd_status sd_arena_init_wide(sd_arena *a, size_t size, const char *what, sd_err *err); /* as sd_alloc_wide */
void sd_arena_release(sd_arena *a);
/* n bytes, 64-byte aligned, not zeroed. Asserts that it fits: the plan was computed beforehand. */
void *sd_arena_push(sd_arena *a, size_t n);
static inline size_t sd_arena_mark(const sd_arena *a)
{
    return a->used;
}
void sd_arena_rewind(sd_arena *a, size_t mark);
/* What a push of n bytes takes. */
static inline size_t sd_arena_need(size_t n)
{
    return (n + (SD_ALIGN - 1)) & ~(size_t)(SD_ALIGN - 1);
}

#endif
