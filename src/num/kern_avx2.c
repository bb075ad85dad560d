/* AVX2 + FMA. The f32 tile holds 6 x 16 sums in 12 of 16 registers. */
#include "num/dtype.h"
#include "num/kern.h"
#include "num/kern_avx2_vec.h"
#include <immintrin.h>

static float dot_avx2(const float *a, const float *b, int64_t n)
{
    __m256 s[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int j = 0; j < 4; j++)
            s[j] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8 * j), _mm256_loadu_ps(b + i + 8 * j), s[j]);
    for (; i + 8 <= n; i += 8) s[0] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s[0]);
    if (i < n) {
        const __m256i m = live8(n - i);
        s[1] = _mm256_fmadd_ps(_mm256_maskload_ps(a + i, m), _mm256_maskload_ps(b + i, m), s[1]);
    }
    return hsum8(_mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3])));
}

static void axpy_avx2(float *y, float a, const float *x, int64_t n)
{
    const __m256 va = _mm256_set1_ps(a);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(va, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    if (i < n) {
        const __m256i m = live8(n - i);
        _mm256_maskstore_ps(y + i, m, _mm256_fmadd_ps(va, _mm256_maskload_ps(x + i, m), _mm256_maskload_ps(y + i, m)));
    }
}

/* mr rows x 8 nv outputs; mr and nv are constants at every call, so the loops unroll and s stays in registers. */
static inline __attribute__((always_inline)) void f32_rows(const sd_tile *t, int64_t row, int col, const int mr, const int nv)
{
    float *y = t->y + row * t->ldy + col;
    const float *x = (const float *)t->x + row * t->ldx, *w = (const float *)t->w + col;
    __m256 s[6][4];
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++) s[i][j] = t->carry ? _mm256_loadu_ps(y + i * t->ldy + 8 * j) : _mm256_setzero_ps();
    for (int64_t p = 0; p < t->k; p++, w += SD_PANEL) {
        __m256 v[4];
        for (int j = 0; j < nv; j++) v[j] = _mm256_loadu_ps(w + 8 * j);
        for (int i = 0; i < mr; i++) {
            const __m256 a = _mm256_broadcast_ss(x + i * t->ldx + p);
            for (int j = 0; j < nv; j++) s[i][j] = _mm256_fmadd_ps(a, v[j], s[i][j]);
        }
    }
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++) _mm256_storeu_ps(y + i * t->ldy + 8 * j, s[i][j]);
}

static void f32_few(const sd_tile *t, int64_t r)
{
    switch (t->m - r) {
    case 5: f32_rows(t, r, 0, 5, 2), f32_rows(t, r, 16, 5, 2); break;
    case 4: f32_rows(t, r, 0, 4, 2), f32_rows(t, r, 16, 4, 2); break;
    case 3: f32_rows(t, r, 0, 3, 4); break;
    case 2: f32_rows(t, r, 0, 2, 4); break;
    case 1: f32_rows(t, r, 0, 1, 4); break;
    default: break;
    }
}

/* A piece of k at a time, 12 KB of the panel and 2 KB of the rows, which stay in L1 while all rows pass (32 KB, which a busy
 * second thread of the core halves). Two Zen 3 cores, 1024^3: 62 without, 66 of 80 GFLOP/s so while neighbours are busy; alone both
 * 84 of 96. */
enum { F32_PIECE = 96 };

static void tile_f32_avx2(const sd_tile *t)
{
    sd_tile q = *t;
    const int64_t most = t->m > 6 ? F32_PIECE : t->k;
    int64_t left = t->k, r;
    do {
        q.k = left < most ? left : most;
        for (r = 0; r + 6 <= t->m; r += 6) {
            f32_rows(&q, r, 0, 6, 2);
            if (!t->narrow) f32_rows(&q, r, 16, 6, 2);
        }
        f32_few(&q, r);
        q.x = (const float *)q.x + q.k;
        q.w = (const float *)q.w + q.k * SD_PANEL;
        q.carry = true;
        left -= q.k;
    } while (left > 0);
}

/* n panels; a constant at every call. With four some sums are kept in memory, which costs less than the memory's waiting. */
static inline __attribute__((always_inline)) void f32_panels(const sd_spread *t, const int n)
{
    const float *x = t->x, *w[SD_SPREAD];
    __m256 s[SD_SPREAD][4];
    for (int i = 0; i < n; i++) {
        w[i] = t->w[i];
        for (int j = 0; j < 4; j++) s[i][j] = _mm256_setzero_ps();
    }
    for (int64_t p = 0; p < t->k; p++) {
        const __m256 a = _mm256_broadcast_ss(x + p);
        for (int i = 0; i < n; i++)
            for (int j = 0; j < 4; j++) s[i][j] = _mm256_fmadd_ps(a, _mm256_loadu_ps(w[i] + p * SD_PANEL + 8 * j), s[i][j]);
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < 4; j++) _mm256_storeu_ps(t->y[i] + 8 * j, s[i][j]);
}

static void spread_f32_avx2(const sd_spread *t)
{
    SD_SPREAD_BY_N(f32_panels, t)
}

/* Eight to nearest even, a NaN made quiet: sd_f32_to_bf16. */
static inline __m256i rounded(const float *x)
{
    const __m256 v = _mm256_loadu_ps(x);
    const __m256i u = _mm256_castps_si256(v), one = _mm256_set1_epi32(1);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), one);
    const __m256i near = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(near, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
}

static void to_bf16_avx2(uint16_t *dst, const float *src, int64_t n)
{
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) { /* both are read before a place is written */
        const __m256i both = _mm256_packus_epi32(rounded(src + i), rounded(src + i + 8)); /* by halves: 0-3 8-11 4-7 12-15 */
        _mm256_storeu_si256((__m256i *)(void *)(dst + i), _mm256_permute4x64_epi64(both, 0xd8));
    }
    for (; i < n; i++) dst[i] = sd_f32_to_bf16(src[i]);
}

void sd_kern_fill_avx2(sd_kern *k, uint32_t cpu_flags)
{
    k->cpu_flags = cpu_flags;
    k->dot = dot_avx2;
    k->axpy = axpy_avx2;
    k->tile_f32 = tile_f32_avx2;
    k->spread_f32 = spread_f32_avx2;
    k->to_bf16 = to_bf16_avx2;
    sd_kern_fill_avx2_q(k);
}
