/* Reference: PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12 to 4.3.16. Only the central directory is believed; a member's local header
 * gives nothing but the length of its own name and extra fields. Every length is compared with the bytes that are there. */
#include "file/zip.h"
#include "base/cursor.h"
#include <inttypes.h>
#include <zlib.h>

enum { END = 22, END_COMMENT = 65535, LOCATOR = 20, CENTRAL = 46, LOCAL = 30, MOST_MEMBERS = 1 << 14 };
/* Members may lie in the same bytes, and deflate packs a thousand to one: a megabyte could claim terabytes (Fifield 2019, A better zip bomb). All members
 * together hold at most this many times the archive's size, beyond a little: numbers that are no long runs of one byte pack far less. */
static const uint64_t MOST_TIMES = 64, FREE_BYTES = (uint64_t)64 << 20;
static const uint32_t SIG_END = 0x06054b50, SIG_LOCATOR = 0x07064b50, SIG_END64 = 0x06064b50, SIG_CENTRAL = 0x02014b50, SIG_LOCAL = 0x04034b50;

typedef struct dir { uint64_t n, at, bytes; } dir;

static sd_status broken(const char *path, const char *what, sd_err *err)
{
    (void)sd_fail(err, SD_E_FORMAT, "%s: as a zip archive it is broken: %s", path, what);
    return sd_hint(err, "the download may be cut short; compare its size and SHA-256");
}

static uint32_t u32_at(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

/* The directory's place from the record at the end, which a comment may follow. */
static sd_status find_directory(dir *out, const uint8_t *p, size_t n, const char *path, sd_err *err)
{
    sd_cursor c;
    size_t at = n;
    if (n < END) return broken(path, "it is too short", err);
    for (size_t back = END; back <= n && back <= END + END_COMMENT; back++)
        if (u32_at(p + n - back) == SIG_END) {
            at = n - back;
            break;
        }
    if (at == n) return broken(path, "there is no directory at its end", err);
    sd_cur_init(&c, p, n);
    sd_cur_skip(&c, at + 4);
    const uint16_t disk = sd_cur_u16(&c), first = sd_cur_u16(&c), here = sd_cur_u16(&c), all = sd_cur_u16(&c);
    out->bytes = sd_cur_u32(&c);
    out->at = sd_cur_u32(&c);
    out->n = all;
    if (disk == 0xffff || all == 0xffff || out->bytes == 0xffffffffu || out->at == 0xffffffffu) {
        if (at < LOCATOR || u32_at(p + at - LOCATOR) != SIG_LOCATOR) return broken(path, "the 64-bit record of its directory is missing", err);
        sd_cur_init(&c, p, n);
        sd_cur_skip(&c, at - LOCATOR + 8);
        const uint64_t end64 = sd_cur_u64(&c);
        sd_cur_init(&c, p, n);
        sd_cur_skip(&c, end64);
        if (sd_cur_u32(&c) != SIG_END64) return broken(path, "the 64-bit record of its directory is not where it is said to be", err);
        sd_cur_skip(&c, 8 + 2 + 2 + 4 + 4 + 8);
        out->n = sd_cur_u64(&c);
        out->bytes = sd_cur_u64(&c);
        out->at = sd_cur_u64(&c);
    } else if (disk != 0 || first != 0 || here != all) {
        return broken(path, "it spans several disks", err);
    }
    if (sd_cur_failed(&c) || out->at > n || out->bytes > n - out->at || out->n > MOST_MEMBERS || out->n > out->bytes / CENTRAL)
        return broken(path, "its directory does not fit the file", err);
    return SD_OK;
}

/* Sizes and offset that did not fit 32 bits, from the extra field 1. */
static bool read_extra64(sd_cursor *extra, uint64_t *n, uint64_t *packed, uint64_t *offset)
{
    while (sd_cur_left(extra) >= 4) {
        const uint16_t id = sd_cur_u16(extra), bytes = sd_cur_u16(extra);
        const void *body = sd_cur_bytes(extra, bytes);
        if (sd_cur_failed(extra)) return false;
        if (id != 1) continue;
        sd_cursor c;
        sd_cur_init(&c, body, bytes);
        if (*n == 0xffffffffu) *n = sd_cur_u64(&c);
        if (*packed == 0xffffffffu) *packed = sd_cur_u64(&c);
        if (*offset == 0xffffffffu) *offset = sd_cur_u64(&c);
        return !sd_cur_failed(&c);
    }
    return *n != 0xffffffffu && *packed != 0xffffffffu && *offset != 0xffffffffu;
}

static sd_status read_member(sd_zip_member *m, sd_cursor *c, const uint8_t *p, size_t n, const char *path, sd_err *err)
{
    if (sd_cur_u32(c) != SIG_CENTRAL) return broken(path, "an entry of its directory does not begin as one", err);
    sd_cur_skip(c, 4);
    const uint16_t flags = sd_cur_u16(c), method = sd_cur_u16(c);
    sd_cur_skip(c, 4);
    m->crc = sd_cur_u32(c);
    m->packed = sd_cur_u32(c);
    m->n = sd_cur_u32(c);
    const uint16_t name = sd_cur_u16(c), extra = sd_cur_u16(c), comment = sd_cur_u16(c);
    sd_cur_skip(c, 2 + 2 + 4);
    uint64_t offset = sd_cur_u32(c);
    m->name = (sd_slice){sd_cur_bytes(c, name), name};
    const void *more = sd_cur_bytes(c, extra);
    sd_cur_skip(c, comment);
    if (sd_cur_failed(c)) return broken(path, "its directory ends early", err);
    sd_cursor e;
    sd_cur_init(&e, more, extra);
    if (!read_extra64(&e, &m->n, &m->packed, &offset)) return broken(path, "a 64-bit size is missing", err);
    if (m->name.n == 0 || sd_utf8_valid_prefix(m->name) != m->name.n || memchr(m->name.p, 0, m->name.n)) return broken(path, "a name is no text", err);
    if (flags & 1) return sd_fail(err, SD_E_UNSUPPORTED, "%s: %.*s is encrypted", path, SD_SLICE(m->name));
    if (method != 0 && method != 8) return sd_fail(err, SD_E_UNSUPPORTED, "%s: %.*s is packed by method %u; stored and deflated members are read", path, SD_SLICE(m->name), method);
    m->deflated = method == 8;
    sd_cursor l;
    sd_cur_init(&l, p, n);
    sd_cur_skip(&l, offset);
    if (sd_cur_u32(&l) != SIG_LOCAL) return broken(path, "a member is not where its directory says", err);
    sd_cur_skip(&l, LOCAL - 4 - 4);
    const uint16_t own_name = sd_cur_u16(&l), own_extra = sd_cur_u16(&l);
    sd_cur_skip(&l, (uint64_t)own_name + own_extra);
    m->p = sd_cur_bytes(&l, m->packed);
    if (sd_cur_failed(&l)) return broken(path, "a member ends behind the end of the file", err);
    if (!m->deflated && m->n != m->packed) return broken(path, "a stored member has two sizes", err);
    /* Deflate packs at most 1032 to 1 (zlib's technical details), so a larger claim is refused before memory is taken for it. */
    if (m->n / 1032 > m->packed) return sd_fail(err, SD_E_FORMAT, "%s: %.*s claims %" PRIu64 " bytes from %" PRIu64 " packed ones", path, SD_SLICE(m->name), m->n, m->packed);
    return SD_OK;
}

sd_status sd_zip_open(sd_zip *z, const void *p, size_t n, const char *path, sd_err *err)
{
    dir d = {0};
    sd_cursor c;
    const uint64_t most = FREE_BYTES + MOST_TIMES * n;
    uint64_t all = 0;
    *z = (sd_zip){0};
    sd_status st = find_directory(&d, p, n, path, err);
    if (st) return st;
    st = sd_alloc_zero(&z->v, (size_t)(d.n + 1) * sizeof *z->v, "the directory of an archive", err);
    if (!st) st = sd_table_new(&z->by_name, (int64_t)d.n + 1, err);
    sd_cur_init(&c, (const uint8_t *)p + d.at, (size_t)d.bytes);
    for (; (uint64_t)z->n < d.n && !st; z->n++) {
        st = read_member(&z->v[z->n], &c, p, n, path, err);
        if (!st && z->v[z->n].n > most - all) st = sd_fail(err, SD_E_FORMAT, "%s: its members claim more than %" PRIu64 " bytes, in an archive of %zu", path, most, n);
        all += st ? 0 : z->v[z->n].n;
    }
    for (int64_t i = z->n - 1; i >= 0 && !st; i--) st = sd_table_set(z->by_name, z->v[i].name, i, NULL, err); /* the first of a name comes last */
    if (st) sd_zip_release(z);
    return st;
}

void sd_zip_release(sd_zip *z)
{
    sd_table_free(z->by_name);
    sd_free(z->v);
    *z = (sd_zip){0};
}

sd_zip_member *sd_zip_find(const sd_zip *z, const char *name)
{
    const int64_t i = sd_table_get(z->by_name, sd_slice_of(name));
    return i < 0 ? NULL : &z->v[i];
}

/* Raw deflate of a whole member, in pieces that fit zlib's 32-bit counters. */
static bool inflate_all(uint8_t *to, uint64_t n, const uint8_t *from, uint64_t packed)
{
    z_stream s = {0};
    int rc = Z_OK;
    uint64_t in = 0, out = 0;
    if (inflateInit2(&s, -MAX_WBITS) != Z_OK) return false;
    while (rc == Z_OK) {
        const uint64_t give = packed - in < 1u << 30 ? packed - in : 1u << 30, take = n - out < 1u << 30 ? n - out : 1u << 30;
        union { const uint8_t *c; uint8_t *v; } src = {from + in}; /* zlib's next_in is not const */
        s.next_in = src.v;
        s.avail_in = (uInt)give;
        s.next_out = to + out;
        s.avail_out = (uInt)take;
        rc = inflate(&s, Z_NO_FLUSH);
        in += give - s.avail_in;
        out += take - s.avail_out;
        if (rc == Z_OK && give == s.avail_in && take == s.avail_out) break; /* nothing moved */
    }
    (void)inflateEnd(&s);
    return rc == Z_STREAM_END && in == packed && out == n;
}

/* Disks and downloads change bytes without a word; the numbers of a tensor would show nothing. */
static sd_status check_crc(sd_zip_member *m, const uint8_t *p, const char *path, sd_err *err)
{
    if (m->checked || !m->crc) return SD_OK;
    const uint32_t crc = (uint32_t)crc32_z(0, p, (size_t)m->n);
    m->checked = crc == m->crc;
    if (m->checked) return SD_OK;
    sd_fail(err, SD_E_FORMAT, "%s: %.*s was changed after it was written: its CRC-32 is %08x, the archive says %08x", path, SD_SLICE(m->name), crc, m->crc);
    return sd_hint(err, "copy or download the file again");
}

sd_status sd_zip_bytes(sd_zip_member *m, uint64_t max, const uint8_t **p, void **owned, const char *path, sd_err *err)
{
    *owned = NULL;
    if (m->n > max) return sd_fail(err, SD_E_FORMAT, "%s: %.*s has %" PRIu64 " bytes; at most %" PRIu64 " are read", path, SD_SLICE(m->name), m->n, max);
    *p = m->p;
    if (m->n == 0 && m->packed == 0) return SD_OK; /* some writers mark nothing at all as deflated */
    if (!m->deflated) return check_crc(m, m->p, path, err);
    uint8_t *to = NULL;
    sd_status st = sd_alloc(&to, (size_t)m->n + 1, "an unpacked member of an archive", err);
    if (st) return st;
    if (!inflate_all(to, m->n, m->p, m->packed))
        st = sd_fail(err, SD_E_FORMAT, "%s: %.*s does not unpack to %" PRIu64 " bytes", path, SD_SLICE(m->name), m->n);
    else
        st = check_crc(m, to, path, err);
    if (st) sd_free(to);
    else *p = *owned = to;
    return st;
}
