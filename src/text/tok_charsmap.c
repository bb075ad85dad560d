/* SentencePiece's precompiled character map: a double-array trie (Darts-clone) from texts to offsets of replacements.
 *
 *   u32 bytes of the trie | trie: u32 units | replacements, each ended by a NUL       all little-endian
 * A unit: bits 0..7 its own byte (with bit 31: the label that is checked), bit 8 "a value follows", bit 9 and 10..30 the
 * offset to the children. A unit with bit 31 holds a value. Source: darts-clone, darts.h, DoubleArrayUnit. */
#include "text/tok_int.h"

typedef struct trie {
    const char *unit;
    uint32_t n;
    sd_slice texts;
} trie;

static uint32_t get_u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static bool open_map(trie *t, sd_slice map)
{
    if (map.n < 8) return false;
    uint32_t bytes = get_u32(map.p);
    if (bytes < 4 || bytes % 4 || bytes > map.n - 4) return false;
    *t = (trie){map.p + 4, bytes / 4, {map.p + 4 + bytes, map.n - 4 - bytes}};
    return true;
}

static uint32_t offset_of(uint32_t unit)
{
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

sd_status sd_charsmap__check(sd_slice map, sd_err *err)
{
    trie t;
    if (!open_map(&t, map))
        return sd_fail(err, SD_E_FORMAT, "normaliser: the precompiled character map of %zu bytes is cut short or no map", map.n);
    if (t.texts.n && t.texts.p[t.texts.n - 1] != '\0')
        return sd_fail(err, SD_E_FORMAT, "normaliser: the last replacement of the precompiled character map has no end");
    return SD_OK;
}

bool sd_charsmap__find(sd_slice map, const char *p, size_t n, bool longest, sd_slice *to, size_t *used)
{
    trie t;
    bool hit = false;
    if (!open_map(&t, map)) return false;
    uint32_t at = offset_of(get_u32(t.unit));
    for (size_t i = 0; i < n && p[i]; i++) {
        unsigned char c = (unsigned char)p[i];
        at ^= c;
        if (at >= t.n) return hit;
        uint32_t unit = get_u32(t.unit + 4 * (size_t)at);
        if ((unit & ((1u << 31) | 0xff)) != c) return hit;
        at ^= offset_of(unit);
        if (at >= t.n) return hit;
        if (!(unit >> 8 & 1)) continue;
        uint32_t where = get_u32(t.unit + 4 * (size_t)at) & 0x7fffffffu;
        if (where >= t.texts.n) return hit;
        *to = sd_slice_of(t.texts.p + where);
        *used = i + 1;
        hit = true;
        if (!longest) return true;
    }
    return hit;
}
