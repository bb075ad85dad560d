/* Memory. Every block carries a header of one cache line in front of it: where the C library's block begins,
 * how long ours is, and a mark that tells a block from a stray pointer. That keeps user memory 64-byte
 * aligned, lets realloc copy and lets tests count what is out. The failure hook and the guard are per thread,
 * the counters are shared. */
#include "base/mem.h"

#include "base/log.h"
#include "base/mem_int.h"
#include "base/sys_int.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct header {
    void *raw;     /* what free() takes */
    size_t size;   /* bytes the caller asked for */
    uint64_t mark; /* MARK_LIVE until the block is freed */
} header;
_Static_assert(sizeof(header) <= SD_ALIGN, "the header fits in front of an aligned block");

#define MARK_LIVE 0x53444d454d4c4956u
#define MARK_DEAD 0x53444d454d444541u
/* No object is larger than PTRDIFF_MAX; the header and the padding come on top. */
#define MAX_BYTES ((size_t)PTRDIFF_MAX - 4096)
#define LARGE_PAGE ((size_t)2 << 20)
/* From here on calloc() hands out fresh pages of the kernel, which are zero without being touched
 * (glibc's M_MMAP_THRESHOLD starts at 128 KiB). */
#define LAZY_ZERO_BYTES ((size_t)128 << 10)

static atomic_int_fast64_t live_blocks, live_bytes;
static _Thread_local int64_t fail_in, requests;
static _Thread_local const char *guard_what;
static _Thread_local int guard_depth;

static header *header_of(void *p)
{
    header *h = (header *)(void *)((uint8_t *)p - SD_ALIGN);
    SD_ASSERT(h->mark == MARK_LIVE);
    return h;
}

/* Counts a request; false when the test hook says that it fails. */
static bool may_allocate(void)
{
#ifdef SD_DEV
    if (guard_depth > 0) {
        fprintf(stderr, "sonde: memory asked for inside %s, which must not allocate\n", guard_what);
        abort();
    }
#endif
    requests++;
    return fail_in == 0 || --fail_in > 0;
}

static void *note_block(void *raw, uint8_t *p, size_t n)
{
    *(header *)(void *)(p - SD_ALIGN) = (header){raw, n, MARK_LIVE};
    atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&live_bytes, (int64_t)n, memory_order_relaxed);
    return p;
}

static void *allocate(size_t n, bool zero)
{
    if (!may_allocate() || n > MAX_BYTES) return NULL;
    void *raw = NULL;
    uint8_t *p;
    if (zero && n >= LAZY_ZERO_BYTES) {
        raw = calloc(1, n + 2 * SD_ALIGN);
        if (!raw) return NULL;
        p = (uint8_t *)raw + SD_ALIGN;
        p += (SD_ALIGN - (uintptr_t)p % SD_ALIGN) % SD_ALIGN;
    } else {
        if (posix_memalign(&raw, SD_ALIGN, n + SD_ALIGN) != 0) return NULL;
        p = (uint8_t *)raw + SD_ALIGN;
        if (zero) memset(p, 0, n);
    }
    return note_block(raw, p, n);
}

/* The header lies in the page before the first large one. */
static void *allocate_wide(size_t n, bool zero)
{
    if (!may_allocate() || n > MAX_BYTES - LARGE_PAGE) return NULL;
    const size_t all = n + LARGE_PAGE + SD_ALIGN;
    uint8_t *raw = zero ? calloc(1, all) : malloc(all); /* as a rule zeros of this size are the system's: nothing is touched */
    if (!raw) return NULL;
    uint8_t *p = raw + SD_ALIGN;
    p += (LARGE_PAGE - (uintptr_t)p % LARGE_PAGE) % LARGE_PAGE;
    (void)madvise(p, n, MADV_HUGEPAGE); /* advice: systems without large pages refuse it */
    return note_block(raw, p, n);
}

void *sd_malloc(size_t n)
{
    return allocate(n, false);
}

void *sd_calloc(size_t n)
{
    return allocate(n, true);
}

void *sd_realloc(void *p, size_t n)
{
    if (!p) return sd_malloc(n);
    size_t old = header_of(p)->size;
    void *q = sd_malloc(n);
    if (!q) return NULL;
    memcpy(q, p, old < n ? old : n);
    sd_free(p);
    return q;
}

void sd_free(void *p)
{
    if (!p) return;
    header *h = header_of(p);
    atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&live_bytes, (int64_t)h->size, memory_order_relaxed);
    h->mark = MARK_DEAD;
    free(h->raw);
}

void *sd_mem__foreign_malloc(size_t n)
{
    void *p = may_allocate() ? malloc(n) : NULL;
    if (p) atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    return p;
}

void *sd_mem__foreign_malloc_anyway(size_t n)
{
    void *p = malloc(n);
    if (p) atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    return p;
}

void sd_mem__foreign_free(void *p)
{
    if (p) atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
    free(p);
}

char *sd_strdup(const char *s)
{
    return sd_strndup(s, strlen(s));
}

char *sd_strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = sd_malloc(len + 1);
    if (!p) return NULL;
    memcpy(p, s, len);
    p[len] = '\0';
    return p;
}

static sd_status give(void *out_ptr, void *p, size_t n, const char *what, sd_err *err)
{
    memcpy(out_ptr, &p, sizeof p);
    if (p) return SD_OK;
    char bytes[32];
    sd_fail(err, SD_E_NOMEM, "out of memory: %s for %s", sd_fmt_bytes(bytes, sizeof bytes, (double)n), what);
    sd_hint(err, "Close other programs, or use a smaller model, context or batch.");
    return SD_E_NOMEM;
}

sd_status sd_alloc(void *out_ptr, size_t n, const char *what, sd_err *err)
{
    return give(out_ptr, allocate(n, false), n, what, err);
}

sd_status sd_alloc_zero(void *out_ptr, size_t n, const char *what, sd_err *err)
{
    return give(out_ptr, allocate(n, true), n, what, err);
}

sd_status sd_alloc_wide(void *out_ptr, size_t n, const char *what, sd_err *err)
{
    return give(out_ptr, allocate_wide(n, false), n, what, err);
}

sd_status sd_alloc_wide_zero(void *out_ptr, size_t n, const char *what, sd_err *err)
{
    return give(out_ptr, allocate_wide(n, true), n, what, err);
}

bool sd_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool sd_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

void sd_alloc_guard_begin(const char *what)
{
    if (guard_depth++ == 0) guard_what = what;
}

void sd_alloc_guard_end(void)
{
    SD_ASSERT(guard_depth > 0);
    guard_depth--;
}

int64_t sd_mem_fail_nth(int64_t n)
{
    int64_t seen = requests;
    requests = 0;
    fail_in = n;
    return seen;
}

int64_t sd_mem_live_blocks(void)
{
    return atomic_load(&live_blocks);
}

int64_t sd_mem_live_bytes(void)
{
    return atomic_load(&live_bytes);
}

/* The number of kB after "\nKEY" in a /proc file, in bytes; 0 when the line is not there. */
static uint64_t proc_kb(const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, key, n) == 0) return strtoull(line + n, NULL, 10) * 1024;
    return 0;
}

sd_mem_info sd_mem_query(void)
{
    sd_mem_info info = {0};
    char text[8192];
    if (sd_sys__read_small("/proc/meminfo", text, sizeof text)) {
        info.total = proc_kb(text, "MemTotal:");
        info.available = proc_kb(text, "MemAvailable:");
    }
    if (sd_sys__read_small("/proc/self/status", text, sizeof text)) {
        info.rss = proc_kb(text, "VmRSS:");
        info.rss_peak = proc_kb(text, "VmHWM:");
    }
    sd_sys_limits group = sd_sys__cgroup_limits(SD_SYS_SELF, SD_SYS_ROOT);
    if (group.memory_bytes < info.total) info.total = group.memory_bytes;
    if (group.memory_left < info.available) info.available = group.memory_left;
    return info;
}

static sd_status arena_of(sd_arena *a, void *p, size_t size, const char *what, sd_err *err)
{
    *a = (sd_arena){.base = p, .size = p ? size : 0};
    return give(&p, p, size, what, err);
}

sd_status sd_arena_init(sd_arena *a, size_t size, const char *what, sd_err *err)
{
    return arena_of(a, allocate(size, false), size, what, err);
}

sd_status sd_arena_init_wide(sd_arena *a, size_t size, const char *what, sd_err *err)
{
    return arena_of(a, allocate_wide(size, false), size, what, err);
}

void sd_arena_release(sd_arena *a)
{
    if (!a) return;
    sd_free(a->base);
    *a = (sd_arena){0};
}

void *sd_arena_push(sd_arena *a, size_t n)
{
    /* The last block may end short of its padding: only its own bytes have to be there. */
    SD_ASSERT(a->used <= a->size && n <= a->size - a->used);
    uint8_t *p = a->base + a->used;
    size_t need = sd_arena_need(n);
    a->used = need <= a->size - a->used ? a->used + need : a->size;
    if (a->used > a->peak) a->peak = a->used;
    return p;
}

void sd_arena_rewind(sd_arena *a, size_t mark)
{
    SD_ASSERT(mark <= a->used);
    a->used = mark;
}
