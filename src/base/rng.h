/* A counter-based generator: (seed, purpose, index) names a stream, and the n-th number of a stream is a pure
 * function of n. Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */
#ifndef SD_BASE_RNG_H
#define SD_BASE_RNG_H

#include <stdint.h>

typedef struct sd_rng {
    uint32_t key[2];
    uint64_t stream, pos;
} sd_rng; /* by value; copying forks nothing, it repeats */
/* One block: out = Philox4x32-10(ctr, key). What the functions below are made of. */
void sd_philox(uint32_t out[4], const uint32_t ctr[4], const uint32_t key[2]);
/* purpose: a short name such as "shuffle"; index: a feature, a batch, an epoch. */
sd_rng sd_rng_make(uint64_t seed, const char *purpose, uint64_t index);
/* The seed of the i-th of several who draw alike: seed itself of the first, then numbers that no other seed shares. */
uint64_t sd_seed_of(uint64_t seed, uint64_t i);
uint32_t sd_rng_u32(sd_rng *r);
uint64_t sd_rng_u64(sd_rng *r);
uint64_t sd_rng_below(sd_rng *r, uint64_t n); /* uniform in [0,n), unbiased; n >= 1 */
double sd_rng_uniform(sd_rng *r);             /* [0,1), 53 bits */
float sd_rng_normal(sd_rng *r);               /* Box-Muller, one value a call */
void sd_rng_shuffle_i64(sd_rng *r, int64_t *v, int64_t n);

#endif
