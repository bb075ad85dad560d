/* Random numbers by counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy
 * as 1, 2, 3", section 3.2). The key is a hash of seed and purpose, the counter is (pos / 4, stream): `pos` counts
 * 32-bit words, so the n-th word of a stream needs nothing but n. u64 and normal take two words, below() two
 * and rarely more. */
#include "base/rng.h"

#include "base/err.h"
#include "base/hash.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

/* Multipliers and Weyl constants of the paper's table 2 and section 3.2 (as in Random123's philox.h). */
#define MUL_0  0xD2511F53u
#define MUL_1  0xCD9E8D57u
#define WEYL_0 0x9E3779B9u
#define WEYL_1 0xBB67AE85u

void sd_philox(uint32_t out[4], const uint32_t ctr[4], const uint32_t key[2])
{
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)MUL_0 * c0, b = (uint64_t)MUL_1 * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void block(const sd_rng *r, uint64_t index, uint32_t out[4])
{
    uint32_t ctr[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)r->stream, (uint32_t)(r->stream >> 32)};
    sd_philox(out, ctr, r->key);
}

sd_rng sd_rng_make(uint64_t seed, const char *purpose, uint64_t index)
{
    uint64_t k = XXH3_64bits_withSeed(purpose, strlen(purpose), seed);
    return (sd_rng){.key = {(uint32_t)k, (uint32_t)(k >> 32)}, .stream = index};
}

uint64_t sd_seed_of(uint64_t seed, uint64_t i)
{
    const uint64_t own[2] = {seed, i};
    return i == 0 ? seed : sd_hash64(own, sizeof own);
}

uint32_t sd_rng_u32(sd_rng *r)
{
    uint32_t w[4];
    block(r, r->pos >> 2, w);
    return w[r->pos++ & 3];
}

uint64_t sd_rng_u64(sd_rng *r)
{
    uint32_t w[4];
    unsigned at = r->pos & 3;
    block(r, r->pos >> 2, w);
    uint32_t lo = w[at], hi;
    if (at < 3) {
        hi = w[at + 1];
    } else {
        block(r, (r->pos >> 2) + 1, w);
        hi = w[0];
    }
    r->pos += 2;
    return (uint64_t)hi << 32 | lo;
}

/* Lemire 2019, "Fast random integer generation in an interval", algorithm 5. */
uint64_t sd_rng_below(sd_rng *r, uint64_t n)
{
    __extension__ typedef unsigned __int128 u128;
    SD_ASSERT(n >= 1);
    u128 product = (u128)sd_rng_u64(r) * n;
    if ((uint64_t)product < n) {
        uint64_t least = -n % n;
        while ((uint64_t)product < least) product = (u128)sd_rng_u64(r) * n;
    }
    return (uint64_t)(product >> 64);
}

double sd_rng_uniform(sd_rng *r)
{
    return (double)(sd_rng_u64(r) >> 11) * 0x1p-53;
}

/* Box and Muller 1958: sqrt(-2 ln u) cos(2 pi v). u lies in the middle of its cell, so it is never 0 and the
 * largest value is sqrt(66 ln 2) = 6.8. */
float sd_rng_normal(sd_rng *r)
{
    uint64_t w = sd_rng_u64(r);
    double u = ((double)(uint32_t)w + 0.5) * 0x1p-32, v = (double)(w >> 32) * 0x1p-32;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

/* Fisher and Yates, from the end (Durstenfeld 1964). */
void sd_rng_shuffle_i64(sd_rng *r, int64_t *v, int64_t n)
{
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)sd_rng_below(r, (uint64_t)i + 1), t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}
