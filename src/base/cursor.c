/* The cursor over untrusted bytes. `off` never passes `size`, so "n bytes are left" is one comparison that cannot
 * overflow. A failed read leaves `off` where it was and every later read gives zero. Bytes are put together one
 * by one, which is little-endian on any machine and needs no alignment. */
#include "base/cursor.h"

void sd_cur_init(sd_cursor *c, const void *base, size_t size)
{
    *c = (sd_cursor){.base = base, .size = size};
}

void sd_cur_mark_failed(sd_cursor *c, const char *what)
{
    if (c->fail) return;
    c->fail = what;
    c->fail_off = c->off;
}

const void *sd_cur_bytes(sd_cursor *c, uint64_t n)
{
    if (c->fail) return NULL;
    if (n > sd_cur_left(c)) {
        sd_cur_mark_failed(c, "ends early");
        return NULL;
    }
    const uint8_t *p = c->base ? c->base + c->off : NULL;
    c->off += (size_t)n;
    return p;
}

static uint64_t read_le(sd_cursor *c, unsigned n)
{
    const uint8_t *p = sd_cur_bytes(c, n);
    uint64_t v = 0;
    if (!p) return 0;
    for (unsigned i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t sd_cur_u8(sd_cursor *c)
{
    return (uint8_t)read_le(c, 1);
}

uint16_t sd_cur_u16(sd_cursor *c)
{
    return (uint16_t)read_le(c, 2);
}

uint32_t sd_cur_u32(sd_cursor *c)
{
    return (uint32_t)read_le(c, 4);
}

uint64_t sd_cur_u64(sd_cursor *c)
{
    return read_le(c, 8);
}

float sd_cur_f32(sd_cursor *c)
{
    uint32_t bits = sd_cur_u32(c);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

double sd_cur_f64(sd_cursor *c)
{
    uint64_t bits = sd_cur_u64(c);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

sd_slice sd_cur_str64(sd_cursor *c, uint64_t max)
{
    size_t at = c->off;
    uint64_t n = sd_cur_u64(c);
    if (c->fail) return (sd_slice){"", 0};
    const char *what = n > sd_cur_left(c) ? "ends early" : n > max ? "a text is longer than allowed" : NULL;
    if (what) {
        c->off = at;
        sd_cur_mark_failed(c, what);
        return (sd_slice){"", 0};
    }
    return (sd_slice){sd_cur_bytes(c, n), (size_t)n};
}

void sd_cur_skip(sd_cursor *c, uint64_t n)
{
    (void)sd_cur_bytes(c, n);
}

void sd_cur_align(sd_cursor *c, size_t alignment)
{
    if (c->fail) return;
    if (alignment == 0) {
        sd_cur_mark_failed(c, "an alignment of zero");
        return;
    }
    size_t over = c->off % alignment;
    if (over) sd_cur_skip(c, alignment - over);
}

sd_status sd_cur_fail(const sd_cursor *c, sd_err *err, const char *path, const char *what)
{
    return sd_fail(err, SD_E_FORMAT, "%s: %s: %s at byte %zu of %zu", path, what, c->fail ? c->fail : "is not right",
                   c->fail ? c->fail_off : c->off, c->size);
}
