/* Hashes and the string table. SHA-256 names artefacts; xxh3 only places keys. The cache of file hashes is
 * fail-soft: a cache that cannot be read or written costs time, never an error. */
#include "base/hash.h"

#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <nettle/version.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define READ_BYTES ((size_t)1 << 20) /* a read large enough that the call itself costs nothing */

uint64_t sd_hash64(const void *p, size_t n)
{
    return XXH3_64bits(p, n);
}

/* nettle 4 (Debian 14) drops the length argument of the digest functions. */
static void digest(struct sha256_ctx *ctx, sd_sha256 *out)
{
#if NETTLE_VERSION_MAJOR >= 4
    sha256_digest(ctx, out->b);
#else
    sha256_digest(ctx, sizeof out->b, out->b);
#endif
}

void sd_sha256_of(sd_sha256 *out, const void *p, size_t n)
{
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    sha256_update(&ctx, n, p);
    digest(&ctx, out);
}

void sd_sha256_hex(const sd_sha256 *h, char out[65])
{
    for (size_t i = 0; i < sizeof h->b; i++) {
        out[2 * i] = "0123456789abcdef"[h->b[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[h->b[i] & 15];
    }
    out[64] = '\0';
}

typedef struct cache_key {
    char text[160], path[1024];
} cache_key;

static bool cache_key_make(cache_key *k, const char *cache_dir, const struct stat *s)
{
    snprintf(k->text, sizeof k->text, "%llu %llu %llu %lld.%09ld", (unsigned long long)s->st_dev,
             (unsigned long long)s->st_ino, (unsigned long long)s->st_size, (long long)s->st_mtim.tv_sec,
             s->st_mtim.tv_nsec);
    char name[64];
    snprintf(name, sizeof name, "sha256-%016llx", (unsigned long long)sd_hash64(k->text, strlen(k->text)));
    return sd_path_join(k->path, sizeof k->path, cache_dir, name);
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The file holds "HEX KEY\n": the key is compared in full, its hash is only the name. */
static bool cache_get(sd_sha256 *out, const cache_key *k)
{
    sd_buf b;
    sd_buf_init(&b, 512);
    bool ok = sd_file_read(&b, k->path, NULL) == SD_OK && b.n > 66 && b.p[64] == ' ' && b.p[b.n - 1] == '\n' &&
              sd_slice_eq_str((sd_slice){b.p + 65, b.n - 66}, k->text);
    for (size_t i = 0; ok && i < sizeof out->b; i++) {
        int hi = hex_value(b.p[2 * i]), lo = hex_value(b.p[2 * i + 1]);
        ok = hi >= 0 && lo >= 0;
        if (ok) out->b[i] = (uint8_t)(hi << 4 | lo);
    }
    sd_buf_release(&b);
    return ok;
}

static void cache_put(const sd_sha256 *h, const cache_key *k, const char *cache_dir)
{
    char hex[65], line[256];
    sd_sha256_hex(h, hex);
    int n = snprintf(line, sizeof line, "%s %s\n", hex, k->text);
    if (n > 0 && (size_t)n < sizeof line && sd_dir_make(cache_dir, NULL) == SD_OK)
        (void)sd_file_write_atomic(k->path, line, (size_t)n, NULL);
}

static sd_status hash_fd(sd_sha256 *out, int fd, const char *path, sd_err *err)
{
    uint8_t *buf;
    sd_status st = sd_alloc(&buf, READ_BYTES, "a read buffer", err);
    if (st) return st;
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    for (;;) {
        ssize_t n = read(fd, buf, READ_BYTES);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) st = sd_fail_errno(err, errno, "cannot read %s", path);
        if (n <= 0) break;
        sha256_update(&ctx, (size_t)n, buf);
    }
    if (!st) digest(&ctx, out);
    sd_free(buf);
    return st;
}

sd_status sd_sha256_file(sd_sha256 *out, const char *path, const char *cache_dir, sd_err *err)
{
    sd_status st = SD_OK;
    struct stat before, after;
    cache_key key;
    bool cached = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return sd_fail_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &before) != 0) {
        st = sd_fail_errno(err, errno, "cannot read %s", path);
        goto done;
    }
    if (!S_ISREG(before.st_mode)) {
        st = sd_fail(err, SD_E_IO, "cannot hash %s: it is not a regular file", path);
        goto done;
    }
    cached = cache_dir && cache_key_make(&key, cache_dir, &before);
    if (cached && cache_get(out, &key)) goto done;
    st = hash_fd(out, fd, path, err);
    if (st) goto done;
    if (fstat(fd, &after) != 0 || after.st_size != before.st_size || after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
        after.st_mtim.tv_nsec != before.st_mtim.tv_nsec) {
        st = sd_fail(err, SD_E_IO, "%s changed while it was read", path);
        goto done;
    }
    if (cached) cache_put(out, &key, cache_dir);
done:
    close(fd);
    return st;
}

typedef struct slot {
    const char *p;
    size_t n;
    uint64_t hash;
    int64_t value;
} slot; /* free when p is NULL */

struct sd_table {
    slot *v;
    int64_t cap, count; /* cap is a power of two, count <= cap / 2 */
};

/* The slot of key, or the free one where it belongs. There always is a free one. */
static slot *find(slot *v, int64_t cap, sd_slice key, uint64_t hash)
{
    uint64_t mask = (uint64_t)cap - 1;
    for (uint64_t i = hash & mask;; i = (i + 1) & mask) {
        slot *s = &v[i];
        if (!s->p || (s->hash == hash && sd_slice_eq((sd_slice){s->p, s->n}, key))) return s;
    }
}

static sd_status new_slots(slot **out, int64_t cap, sd_err *err)
{
    size_t bytes;
    if (!sd_mul_size((size_t)cap, sizeof(slot), &bytes))
        return sd_fail(err, SD_E_NOMEM, "out of memory: a table of %lld entries", (long long)cap);
    return sd_alloc_zero(out, bytes, "a table", err);
}

sd_status sd_table_new(sd_table **out, int64_t expected, sd_err *err)
{
    *out = NULL;
    sd_table *t;
    int64_t cap = 16;
    while (cap / 2 < expected && cap < INT64_MAX / 4) cap *= 2;
    sd_status st = sd_alloc_zero(&t, sizeof *t, "a table", err);
    if (st) return st;
    t->cap = cap;
    st = new_slots(&t->v, cap, err);
    if (st) {
        sd_free(t);
        return st;
    }
    *out = t;
    return SD_OK;
}

void sd_table_free(sd_table *t)
{
    if (!t) return;
    sd_free(t->v);
    sd_free(t);
}

static sd_status grow(sd_table *t, sd_err *err)
{
    slot *v;
    sd_status st = new_slots(&v, t->cap * 2, err);
    if (st) return st;
    for (int64_t i = 0; i < t->cap; i++)
        if (t->v[i].p) *find(v, t->cap * 2, (sd_slice){t->v[i].p, t->v[i].n}, t->v[i].hash) = t->v[i];
    sd_free(t->v);
    t->v = v;
    t->cap *= 2;
    return SD_OK;
}

sd_status sd_table_set(sd_table *t, sd_slice key, int64_t value, int64_t *old, sd_err *err)
{
    if (!key.p) key = (sd_slice){"", 0};
    uint64_t hash = sd_hash64(key.p, key.n);
    slot *s = find(t->v, t->cap, key, hash);
    if (old) *old = s->p ? s->value : -1;
    if (!s->p) {
        if (t->count + 1 > t->cap / 2) {
            sd_status st = grow(t, err);
            if (st) return st;
            s = find(t->v, t->cap, key, hash);
        }
        t->count++;
    }
    *s = (slot){key.p, key.n, hash, value};
    return SD_OK;
}

int64_t sd_table_get(const sd_table *t, sd_slice key)
{
    if (!key.p) key = (sd_slice){"", 0};
    const slot *s = find(t->v, t->cap, key, sd_hash64(key.p, key.n));
    return s->p ? s->value : -1;
}

int64_t sd_table_count(const sd_table *t)
{
    return t->count;
}
