/* Every slot of sd_kern, every instruction set of this machine: against sums in double and against the plain C table,
 * at odd sizes, unaligned, with guards around what may be written, with NaN, infinity and subnormals where they have a
 * meaning. */
#include "num/kern.h"
#include "num/dtype.h"
#include "base/mem.h"
#include "base/rng.h"
#include "t.h"
#include <float.h>
#include <math.h>

static const struct {
    const char *name;
    uint32_t flags;
} isas[] = {
    {"ref", 0},
    {"avx2", SD_CPU_AVX2},
    {"avx512", SD_CPU_AVX2 | SD_CPU_AVX512},
    {"avx512+vnni", SD_CPU_AVX2 | SD_CPU_AVX512 | SD_CPU_AVX512_VNNI},
    {"avx512+bf16", SD_CPU_AVX2 | SD_CPU_AVX512 | SD_CPU_AVX512_VNNI | SD_CPU_AVX512_BF16},
    {"avx512+bf16, widened", SD_CPU_AVX2 | SD_CPU_AVX512 | SD_CPU_AVX512_VNNI | SD_CPU_AVX512_BF16 | SD_CPU_BF16_SLOW},
    {"amx", SD_CPU_AVX2 | SD_CPU_AVX512 | SD_CPU_AVX512_VNNI | SD_CPU_AVX512_BF16 | SD_CPU_AMX},
};
enum { BF16 = 4, WIDENED, AMX, N_ISA };

/* NULL when this CPU lacks it: said aloud once. */
static const sd_kern *table(int i)
{
    static bool said[N_ISA];
    sd_cpu cpu;
    assert_true(sd_cpu_detect(&cpu, NULL));
    const uint32_t need = isas[i].flags & ~(uint32_t)SD_CPU_BF16_SLOW; /* which asks for nothing */
    if ((cpu.flags & need) == need) return sd_kern_select(isas[i].flags);
    if (!said[i]) printf("skip: this CPU has no %s\n", isas[i].name);
    said[i] = true;
    return NULL;
}

/* n bytes with 64 guard bytes on both sides; `shift` bytes off the alignment of 64. */
typedef struct guarded {
    uint8_t *all, *p;
    size_t n, shift;
} guarded;
static guarded guard_new(size_t n, size_t shift)
{
    guarded g = {sd_malloc(n + shift + 128), NULL, n, shift};
    memset(g.all, 0xa5, n + shift + 128);
    g.p = g.all + 64 + shift;
    return g;
}
static void guard_check(guarded *g, const char *what)
{
    for (size_t i = 0; i < 64 + g->shift; i++)
        if (g->all[i] != 0xa5) fail_msg("%s: wrote %zu bytes before its output", what, 64 + g->shift - i);
    for (size_t i = 0; i < 64; i++)
        if (g->p[g->n + i] != 0xa5) fail_msg("%s: wrote %zu bytes past its output", what, i + 1);
    sd_free(g->all);
}

static sd_rng rng;
/* Normal numbers out of a pool, from another place each time: drawing them anew was two thirds of this program's time. */
static float normal(void)
{
    enum { N = 99991 }; /* a prime: no row length divides it */
    static float pool[N];
    static int at, drawn;
    if (drawn < N) return pool[drawn++] = sd_rng_normal(&rng);
    at = at + 1 < N ? at + 1 : 0;
    return pool[at];
}
static void fill_normal(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = normal();
}

static const int64_t lengths[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 1000, 4097};
enum { N_LENGTH = sizeof lengths / sizeof *lengths };

/* A sum of n products in any order errs by at most gamma_n sum|a b|, gamma_n = n u / (1 - n u), u = 2^-24 (Higham 2002,
 * sec. 3.1). With 16 lanes or more the chains are shorter; the bound of the plain chain holds for all. */
static void dot_is_close(void **state)
{
    (void)state;
    for (int c = 0; c < N_ISA; c++) {
        const sd_kern *k = table(c);
        for (int l = 0; k && l < N_LENGTH; l++)
            for (size_t shift = 0; shift < 8; shift += 4) {
                const int64_t n = lengths[l];
                guarded a = guard_new((size_t)n * 4, shift), b = guard_new((size_t)n * 4, 4 - shift);
                float *x = (float *)(void *)a.p, *y = (float *)(void *)b.p;
                double s = 0, mag = 0;
                fill_normal(x, n);
                fill_normal(y, n);
                for (int64_t i = 0; i < n; i++) s += (double)x[i] * y[i], mag += fabs((double)x[i] * y[i]);
                const float got = k->dot(x, y, n);
                if (!(fabs(got - s) <= (double)n * 0x1p-24 * 1.001 * mag))
                    fail_msg("dot %s n=%lld: %.9g, in double %.9g", isas[c].name, (long long)n, (double)got, s);
                if (n > 0) {
                    x[n - 1] = NAN;
                    assert_true(isnan(k->dot(x, y, n)));
                    x[n - 1] = INFINITY;
                    assert_true(!isfinite(k->dot(x, y, n)));
                }
                guard_check(&a, "dot"), guard_check(&b, "dot");
            }
    }
}

static void axpy_equals_plain_c(void **state)
{
    (void)state;
    for (int c = 0; c < N_ISA; c++) {
        const sd_kern *k = table(c);
        for (int l = 0; k && l < N_LENGTH; l++) {
            const int64_t n = lengths[l];
            guarded a = guard_new((size_t)n * 4, 4), b = guard_new((size_t)n * 4, 0),
                    want = guard_new((size_t)n * 4, 0);
            float *y = (float *)(void *)a.p, *x = (float *)(void *)b.p;
            fill_normal(y, n);
            fill_normal(x, n);
            if (n > 2) x[n / 2] = 1e-40f, y[n / 2] = -1e-41f, x[n - 1] = NAN, y[0] = INFINITY;
            memcpy(want.p, y, (size_t)n * 4);
            sd_kern_select(0)->axpy((float *)(void *)want.p, 0.37f, x, n);
            k->axpy(y, 0.37f, x, n);
            assert_memory_equal(y, want.p, (size_t)n * 4);
            guard_check(&a, "axpy"), guard_check(&b, "axpy"), guard_check(&want, "axpy");
        }
    }
}

/* ---- f32 and bf16 tiles ---- */

static const int64_t tile_m[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 18, 24, 33, 96};
static const int64_t tile_k[] = {0, 1, 2, 31, 64, 577};
enum { LDY = SD_PANEL + 5, LDX_EXTRA = 3 };

typedef struct tile_case {
    guarded y, x, w;
    float *before;
    sd_tile t;
} tile_case;

static tile_case tile_new(int64_t m, int64_t k, bool carry, size_t elem)
{
    const size_t nx = (size_t)(m ? (m - 1) * (k + LDX_EXTRA) + k : 0), ny = (size_t)(m ? (m - 1) * LDY + SD_PANEL : 0);
    tile_case c = {
        .y = guard_new(ny * 4, 4), .x = guard_new(nx * elem, 4), .w = guard_new((size_t)(k * SD_PANEL) * elem, 0)};
    c.before = sd_malloc(ny * 4 + 4);
    fill_normal((float *)(void *)c.y.p, (int64_t)ny);
    memcpy(c.before, c.y.p, ny * 4);
    c.t = (sd_tile){(float *)(void *)c.y.p, c.x.p, c.w.p, LDY, k + LDX_EXTRA, m, k, carry, false};
    return c;
}

static void tile_free(tile_case *c, const char *what)
{
    guard_check(&c->y, what), guard_check(&c->x, what), guard_check(&c->w, what);
    sd_free(c->before);
}

/* Same bits as plain C, columns between the rows untouched. */
static void tile_compare(void (*fn)(const sd_tile *), void (*ref)(const sd_tile *), tile_case *c, const char *what)
{
    const size_t ny = c->y.n / 4;
    float *want = sd_malloc(ny * 4 + 4);
    sd_tile r = c->t;
    memcpy(want, c->before, ny * 4);
    r.y = want;
    ref(&r);
    fn(&c->t);
    for (size_t i = 0; i < ny; i++)
        if (memcmp(&want[i], &c->t.y[i], 4) != 0 && !(isnan(want[i]) && isnan(c->t.y[i])))
            fail_msg("%s m=%lld k=%lld carry=%d: [%zu,%zu] is %.9g, plain C %.9g", what, (long long)c->t.m,
                     (long long)c->t.k, c->t.carry, i / LDY, i % LDY, (double)c->t.y[i], (double)want[i]);
    sd_free(want);
}

static void f32_tile_equals_plain_c(void **state)
{
    (void)state;
    for (int c = 1; c < N_ISA; c++) {
        const sd_kern *k = table(c);
        for (size_t i = 0; k && i < sizeof tile_m / sizeof *tile_m * 2; i++)
            for (size_t j = 0; j < sizeof tile_k / sizeof *tile_k; j++) {
                tile_case t = tile_new(tile_m[i / 2], tile_k[j], i & 1, 4);
                fill_normal((float *)(void *)t.x.p, (int64_t)t.x.n / 4);
                fill_normal((float *)(void *)t.w.p, (int64_t)t.w.n / 4);
                if (t.x.n > 16) ((float *)(void *)t.x.p)[2] = 1e-39f, ((float *)(void *)t.x.p)[3] = NAN;
                if (t.w.n > 16) ((float *)(void *)t.w.p)[1] = INFINITY, ((float *)(void *)t.w.p)[2] = 1e-42f;
                tile_compare(k->tile_f32, sd_kern_select(0)->tile_f32, &t, isas[c].name);
                tile_free(&t, isas[c].name);
            }
    }
}

/* The plain form of the bf16 tile is two chained multiply-adds a pair. */
static void bf16_tile_is_close(void **state)
{
    (void)state;
    for (int c = 0; c < N_ISA; c++) {
        const sd_kern *k = table(c);
        for (size_t i = 0; k && i < sizeof tile_m / sizeof *tile_m * 2; i++)
            for (int64_t kk = 0; kk <= 578; kk += 34) {
                tile_case t = tile_new(tile_m[i / 2], kk, i & 1, 2);
                for (size_t e = 0; e < t.x.n / 2; e++)
                    ((uint16_t *)(void *)t.x.p)[e] = sd_f32_to_bf16(normal());
                for (size_t e = 0; e < t.w.n / 2; e++)
                    ((uint16_t *)(void *)t.w.p)[e] = sd_f32_to_bf16(normal());
                k->tile_bf16(&t.t);
                for (int64_t r = 0; r < t.t.m; r++)
                    for (int j = 0; j < SD_PANEL; j++) {
                        double s = t.t.carry ? t.before[r * LDY + j] : 0, mag = fabs(s);
                        for (int64_t p = 0; p < kk; p++) {
                            const double v =
                                (double)sd_bf16_to_f32(((const uint16_t *)t.t.x)[r * t.t.ldx + p]) *
                                sd_bf16_to_f32(((const uint16_t *)t.t.w)[(p & ~1) * SD_PANEL + 2 * j + (p & 1)]);
                            s += v, mag += fabs(v);
                        }
                        /* gamma_k as for dot: products of bf16 are exact in f32, each sum rounds once */
                        if (!(fabs(t.t.y[r * LDY + j] - s) <= (double)(kk + 1) * 0x1p-24 * 1.001 * mag))
                            fail_msg("bf16 %s m=%lld k=%lld: %.9g, in double %.9g", isas[c].name, (long long)t.t.m,
                                     (long long)kk, (double)t.t.y[r * LDY + j], s);
                    }
                for (int64_t r = 0; r + 1 < t.t.m; r++)
                    assert_memory_equal(t.t.y + r * LDY + SD_PANEL, t.before + r * LDY + SD_PANEL,
                                        (LDY - SD_PANEL) * 4);
                tile_free(&t, isas[c].name);
            }
    }
}

/* VDPBF16PS and multiply-adds of widened halves give the same bits: subnormals, infinities and NaN among them, over several chunks, in
 * two pieces. */
static void bf16_tiles_agree(void **state)
{
    enum { K = 602 };
    const sd_kern *k = table(BF16), *wide = table(WIDENED);
    (void)state;
    if (!k) t_skip("this CPU does not multiply bf16");
    assert_true(k->tile_bf16 != wide->tile_bf16);
    for (size_t i = 0; i < sizeof tile_m / sizeof *tile_m * 2; i++) {
        tile_case t = tile_new(tile_m[i / 2], K, i & 1, 2);
        uint16_t *x = (uint16_t *)(void *)t.x.p, *w = (uint16_t *)(void *)t.w.p;
        for (size_t e = 0; e < t.x.n / 2; e++) x[e] = sd_f32_to_bf16(normal() * (e % 7 ? 1 : 1e-19f));
        for (size_t e = 0; e < t.w.n / 2; e++) w[e] = sd_f32_to_bf16(normal() * (e % 5 ? 1 : 1e-20f));
        if (t.x.n) x[1] = 0x7f80, x[2] = 0x0001, x[K / 2] = 0x8033, w[70] = 0x7fc0, w[131] = 0x0042, w[200] = 0xff80;
        if (t.x.n && t.t.carry) t.t.y[0] = t.before[0] = 1e-40f, t.t.y[3] = t.before[3] = 1e-38f;
        sd_tile first = t.t;
        first.k = 288;
        wide->tile_bf16(&first);
        first.x = x + 288, first.w = w + 288 * SD_PANEL, first.k = K - 288, first.carry = true;
        wide->tile_bf16(&first);
        float *got = sd_malloc(t.y.n + 4);
        memcpy(got, t.y.p, t.y.n);
        memcpy(t.y.p, t.before, t.y.n);
        k->tile_bf16(&t.t);
        for (size_t e = 0; e < t.y.n / 4; e++)
            if (memcmp(&got[e], &t.t.y[e], 4) != 0 && !(isnan(got[e]) && isnan(t.t.y[e])))
                fail_msg("m=%lld carry=%d [%zu,%zu]: widened %a, VDPBF16PS %a", (long long)t.t.m, t.t.carry, e / LDY, e % LDY, (double)got[e], (double)t.t.y[e]);
        sd_free(got);
        tile_free(&t, "bf16");
    }
}

/* The order of AMX's sums, as kern_slots.h says; also in two pieces, and with NaN, which stays in its row. */
static void bf16_tile_sums_as_amx_does(void **state)
{
    enum { K = 106, M = 37 };
    static const int64_t cut[] = {K, 32, 64, 96};
    const sd_kern *k = table(AMX);
    (void)state;
    if (!k) t_skip("this CPU has no AMX");
    for (size_t c = 0; c < 4; c++) {
        tile_case t = tile_new(M, K, true, 2);
        uint16_t *x = (uint16_t *)(void *)t.x.p, *w = (uint16_t *)(void *)t.w.p;
        for (size_t e = 0; e < t.x.n / 2; e++) x[e] = sd_f32_to_bf16(normal());
        for (size_t e = 0; e < t.w.n / 2; e++) w[e] = sd_f32_to_bf16(normal());
        x[3 * t.t.ldx + 7] = 0x7fc0;
        sd_tile a = t.t, b = t.t;
        a.k = cut[c], b.k = K - cut[c], b.x = x + cut[c], b.w = w + cut[c] * SD_PANEL;
        k->tile_bf16(&a);
        k->tile_bf16(&b);
        for (int r = 0; r < M; r++)
            for (int j = 0; j < SD_PANEL; j++) {
                float y = t.before[r * LDY + j];
                for (int p0 = 0; p0 < K; p0 += 32) {
                    float s[2] = {0, 0};
                    for (int p = p0; p < p0 + 32 && p < K; p++)
                        s[p & 1] = fmaf(sd_bf16_to_f32(x[r * t.t.ldx + p]), sd_bf16_to_f32(w[(p & ~1) * SD_PANEL + 2 * j + (p & 1)]), s[p & 1]);
                    y += s[0] + s[1];
                }
                if (r == 3) assert_true(isnan(t.t.y[r * LDY + j]));
                else assert_memory_equal(&t.t.y[r * LDY + j], &y, 4);
            }
        tile_free(&t, "amx");
    }
}

static void bf16_rounds_to_even(void **state)
{
    (void)state;
    static const struct {
        uint32_t f32;
        uint16_t bf16;
    } cases[] = {
        {0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81},
        {0x7f7fffff, 0x7f80}, {0xff800000, 0xff80}, {0x80000000, 0x8000}, {0x00800000, 0x0080},
    };
    for (int c = 0; c < N_ISA; c++) {
        const sd_kern *k = table(c);
        for (int l = 0; k && l < N_LENGTH; l++) {
            const int64_t n = lengths[l];
            guarded d = guard_new((size_t)n * 2, 2), s = guard_new((size_t)n * 4, 4);
            for (int64_t i = 0; i < n; i++) memcpy(s.p + 4 * i, &cases[i % 8].f32, 4);
            k->to_bf16((uint16_t *)(void *)d.p, (const float *)(const void *)s.p, n);
            for (int64_t i = 0; i < n; i++) assert_int_equal(((uint16_t *)(void *)d.p)[i], cases[i % 8].bf16);
            if (n > 0) {
                const float nan = NAN;
                memcpy(s.p, &nan, 4);
                k->to_bf16((uint16_t *)(void *)d.p, (const float *)(const void *)s.p, n);
                assert_true(isnan(sd_bf16_to_f32(*(uint16_t *)(void *)d.p)));
            }
            guard_check(&d, "to_bf16"), guard_check(&s, "to_bf16");
        }
    }
}

/* ---- quantised slots ---- */

static void quantise_equals_plain_c(void **state)
{
    (void)state;
    for (int c = 0; c < N_ISA; c++) {
        const sd_kern *k = table(c);
        for (int64_t nb = 0; k && nb < 12; nb++) {
            const int64_t n = nb * SD_QBLOCK;
            guarded q = guard_new((size_t)n, 1), act = guard_new((size_t)nb * sizeof(sd_qact), 4),
                    x = guard_new((size_t)n * 4, 4);
            float *v = (float *)(void *)x.p;
            int8_t want_q[12 * SD_QBLOCK];
            sd_qact want[12];
            fill_normal(v, n);
            if (nb > 6) {
                memset(v, 0, 32 * 4);
                v[32 + 5] = NAN, v[64 + 31] = -INFINITY;
                for (int i = 0; i < 32; i++) v[96 + i] = 1e-40f, v[128 + i] = (float)(i - 16), v[160 + i] = 3e38f;
                v[192] = -127.0f, v[193] = 0.5f, v[194] = 1.5f, v[195] = 127.0f; /* ties to even */
            }
            sd_kern_select(0)->quantise(want_q, want, v, nb);
            k->quantise((int8_t *)q.p, (sd_qact *)(void *)act.p, v, nb);
            assert_memory_equal(q.p, want_q, (size_t)n);
            const sd_qact *got = (const sd_qact *)(const void *)act.p;
            for (int64_t b = 0; b < nb; b++) {
                int sum = 0, low = 0;
                for (int i = 0; i < SD_QBLOCK; i++) {
                    const float e = fabsf(v[b * SD_QBLOCK + i] - want[b].d * (float)want_q[b * SD_QBLOCK + i]);
                    sum += want_q[b * SD_QBLOCK + i];
                    /* half a step, and an eps for d itself */
                    if (isfinite(want[b].d) && want[b].d > 0) assert_true(e <= want[b].d * 0.50002f);
                }
                for (int i = 0; i < SD_QBLOCK / 2; i++) low += want_q[b * SD_QBLOCK + i];
                assert_true(want[b].nlow == -low && got[b].nlow == -low);
                assert_int_equal(want[b].nsum, -sum);
                assert_int_equal(got[b].nsum, -sum);
                assert_true(isnan(want[b].d) ? isnan(got[b].d) && isnan(got[b].ds)
                                             : got[b].d == want[b].d && got[b].ds == want[b].ds);
            }
            if (nb > 6) {
                assert_true(want[0].d == 0 && isnan(want[1].d) && isnan(want[2].d) && want[3].d == 0);
                assert_int_equal(want_q[193], 0), assert_int_equal(want_q[194], 2);
            }
            guard_check(&q, "quantise"), guard_check(&act, "quantise"), guard_check(&x, "quantise");
        }
    }
}

typedef struct q_case {
    guarded y, q, act, packed;
    float *before;
    sd_qtile t;
} q_case;

static const char *const kind_names[SD_QKIND_COUNT] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL",
                                                       "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"};

/* worst: all weights and activations at their ends, so that a 16-bit sum that may overflow does. Super heads are f16
 * numbers; subs and values are any bytes. */
static q_case q_new(int64_t m, int64_t nb, sd_qkind kind, bool worst)
{
    const sd_qform f = sd_qform_of(kind);
    const size_t ny = (size_t)(m ? (m - 1) * LDY + SD_PANEL : 0), np = (size_t)(nb / f.blocks * sd_qsuper_bytes(f));
    q_case c = {.y = guard_new(ny * 4, 4),
                .q = guard_new((size_t)(m * nb * SD_QBLOCK), 1),
                .act = guard_new((size_t)(m * nb) * sizeof(sd_qact), 4),
                .packed = guard_new(np, 1)};
    c.before = sd_malloc(ny * 4 + 4);
    fill_normal((float *)(void *)c.y.p, (int64_t)ny);
    memcpy(c.before, c.y.p, ny * 4);
    sd_qact *act = (sd_qact *)(void *)c.act.p;
    for (int64_t i = 0; i < m * nb; i++) {
        int sum = 0, low = 0;
        for (int64_t j = 0; j < SD_QBLOCK; j++) {
            const int8_t v = worst ? (int8_t)(i & 1 ? -127 : 127) : (int8_t)((int)sd_rng_below(&rng, 255) - 127);
            ((int8_t *)c.q.p)[i * SD_QBLOCK + j] = v;
            sum += v;
            if (j < SD_QBLOCK / 2) low += v;
        }
        const float d = 0.01f + 0.01f * (float)sd_rng_uniform(&rng);
        act[i] = (sd_qact){d, d * (float)sum, -sum, -low};
    }
    for (size_t i = 0; i < np; i++)
        c.packed.p[i] = worst ? (kind == SD_QKIND_8_0 && i & 64 ? 0 : 255) : (uint8_t)sd_rng_u32(&rng);
    for (size_t k = 0; k < np; k += (size_t)sd_qsuper_bytes(f))
        for (size_t i = 0; i < (f.min ? 4 : 2) * SD_PANEL; i += 2) {
            const uint16_t h = sd_f32_to_f16(normal());
            memcpy(c.packed.p + k + i, &h, 2);
        }
    c.t = (sd_qtile){.y = (float *)(void *)c.y.p,
                     .ldy = LDY,
                     .q = (const int8_t *)c.q.p,
                     .ldq = nb * SD_QBLOCK,
                     .act = act,
                     .ld_act = nb,
                     .values = c.packed.p,
                     .m = m,
                     .n_block = nb,
                     .kind = kind};
    return c;
}

static void q_free(q_case *c)
{
    guard_check(&c->y, "q tile"), guard_check(&c->q, "q tile"), guard_check(&c->act, "q tile");
    guard_check(&c->packed, "q tile");
    sd_free(c->before);
}

static void q_same(const q_case *c, const float *want, const char *what)
{
    for (size_t i = 0; i < c->y.n / 4; i++)
        if (memcmp(&want[i], &c->t.y[i], 4) != 0)
            fail_msg("%s %s m=%lld blocks=%lld: [%zu,%zu] is %.9g, plain C %.9g", what, kind_names[c->t.kind],
                     (long long)c->t.m, (long long)c->t.n_block, i / LDY, i % LDY, (double)c->t.y[i], (double)want[i]);
}

/* The packed tile, and the tile of bytes over what the same ISA unpacked, against the packed tile in plain C. */
static void q_compare(const sd_kern *k, q_case *c, const char *what)
{
    const sd_qform f = sd_qform_of(c->t.kind);
    const size_t ny = c->y.n / 4, nb = (size_t)c->t.n_block;
    float *want = sd_malloc(ny * 4 + 4);
    guarded bytes = guard_new(nb * SD_QBYTE_BYTES, 1), scales = guard_new(nb * (size_t)sd_qscale_floats(f) * 4, 4);
    for (int carry = 0; carry < 2; carry++) {
        sd_qtile r = c->t;
        memcpy(want, c->before, ny * 4);
        memcpy(c->t.y, c->before, ny * 4);
        r.y = want;
        r.carry = c->t.carry = carry;
        sd_kern_select(0)->tile_qpack(&r);
        k->tile_qpack(&c->t);
        q_same(c, want, what);
        k->unpack_q(&(sd_qunpack){bytes.p, (float *)(void *)scales.p, c->packed.p, c->t.n_block, c->t.kind});
        sd_qtile b = c->t;
        b.values = bytes.p, b.value_step = SD_QBYTE_BYTES, b.scales = (const float *)(const void *)scales.p;
        memcpy(c->t.y, c->before, ny * 4);
        k->tile_q8(&b);
        q_same(c, want, what);
    }
    guard_check(&bytes, "unpack_q"), guard_check(&scales, "unpack_q");
    sd_free(want);
}

static void q_tiles_equal_plain_c(void **state)
{
    static const int64_t rows[] = {0, 1, 2, 3, 4, 5, 6, 7, 13, 24};
    (void)state;
    for (int c = 0; c < N_ISA; c++) {
        const sd_kern *k = table(c);
        for (int kind = 0; k && kind < SD_QKIND_COUNT; kind++)
            for (size_t i = 0; i < 10; i++)
                for (size_t b = 0; b < 8; b++) {
                    /* Last more than a tile keeps in the first cache at a time, and not a multiple of it. */
                    const int64_t super = sd_qform_of((sd_qkind)kind).blocks, nb = b < 6 ? (int64_t)(b / 2) * super : super == 1 ? 27 : 24;
                    q_case t = q_new(rows[i], nb, (sd_qkind)kind, b & 1);
                    q_compare(k, &t, isas[c].name);
                    q_free(&t);
                }
    }
}

/* One row over 1 to SD_SPREAD panels at once, each against the packed tile in plain C. */
static void q_spread_equals_plain_c(void **state)
{
    (void)state;
    for (int c = 0; c < N_ISA; c++) {
        const sd_kern *k = table(c);
        for (int kind = 0; k && kind < SD_QKIND_COUNT; kind++)
            for (int i = 0; sd_qkind_in_order((sd_qkind)kind) && i < 4 * SD_SPREAD; i++) {
                const int64_t nb = i < SD_SPREAD ? 0 : 8 * (i / SD_SPREAD);
                const int n = i % SD_SPREAD + 1;
                q_case t[SD_SPREAD] = {0};
                float want[SD_SPREAD][SD_PANEL], got[SD_SPREAD][SD_PANEL];
                sd_spread s = {.n = n, .k = nb * SD_QBLOCK, .kind = (sd_qkind)kind};
                for (int p = 0; p < n; p++) {
                    t[p] = q_new(1, nb, (sd_qkind)kind, i / SD_SPREAD == 2);
                    sd_qtile r = t[p].t;
                    r.y = want[p], r.q = t[0].t.q, r.act = t[0].t.act;
                    sd_kern_select(0)->tile_qpack(&r);
                    s.y[p] = got[p], s.w[p] = r.values;
                }
                s.x = t[0].t.q, s.act = t[0].t.act;
                k->spread_q(&s);
                for (int p = 0; p < n; p++)
                    if (memcmp(got[p], want[p], sizeof want[p]) != 0) fail_msg("%s %s, panel %d of %d, %lld blocks", isas[c].name, kind_names[kind], p, n, (long long)nb);
                for (int p = 0; p < n; p++) q_free(&t[p]);
            }
    }
}

/* Plain C against the formula in double, from the unpacked numbers and scales. (That packing and unpacking mean what the
 * file's types mean is test_linear's.) */
static void q_tile_means_the_formula(void **state)
{
    (void)state;
    for (int kind = 0; kind < SD_QKIND_COUNT; kind++) {
        const sd_qform f = sd_qform_of((sd_qkind)kind);
        const int64_t nb = 8, n_half = f.halves ? 2 : 1;
        q_case c = q_new(2, nb, (sd_qkind)kind, false);
        uint8_t *bytes = sd_malloc((size_t)nb * SD_QBYTE_BYTES);
        float *scales = sd_malloc((size_t)(nb * sd_qscale_floats(f)) * 4);
        sd_kern_select(0)->unpack_q(&(sd_qunpack){bytes, scales, c.packed.p, nb, c.t.kind});
        sd_kern_select(0)->tile_qpack(&c.t);
        for (int r = 0; r < 2; r++)
            for (int j = 0; j < SD_PANEL; j++) {
                double s = 0, mag = 0;
                for (int64_t b = 0; b < nb; b++)
                    for (int t = 0; t < SD_QBLOCK; t++) {
                        const float *sc = scales + b * sd_qscale_floats(f) + t * n_half / SD_QBLOCK * SD_PANEL + j;
                        const int u = bytes[b * SD_QBYTE_BYTES + j / 16 * 512 + t / 4 * 64 + j % 16 * 4 + t % 4];
                        const double a = (double)c.t.act[r * nb + b].d * c.t.q[r * nb * SD_QBLOCK + b * SD_QBLOCK + t];
                        const double m = f.min ? (double)sc[n_half * SD_PANEL] : 0;
                        s += ((double)sc[0] * (u - f.zero) + m) * a;
                        mag += (fabs((double)sc[0]) * abs(u - f.zero) + fabs(m)) * fabs(a);
                    }
                /* At most four fused additions a block, each rounding sums below mag: gamma_4nb (Higham 2002, sec. 3.1);
                 * the products s d and d sum(q) round once more each. */
                assert_true(fabs(c.t.y[r * LDY + j] - s) <= (4.0 * (double)nb + 2) * 0x1p-24 * 1.001 * mag);
            }
        sd_free(bytes), sd_free(scales);
        q_free(&c);
    }
}

static void tables_are_whole(void **state)
{
    enum { N_SLOTS = (int)((sizeof(sd_kern) - offsetof(sd_kern, dot)) / sizeof(void (*)(void))) };
    (void)state;
    for (uint32_t f = 0; f < 64; f++) {
        const sd_kern *k = sd_kern_select(f);
        for (int s = 0; s < N_SLOTS; s++) {
            void (*fn)(void);
            memcpy(&fn, (const char *)k + offsetof(sd_kern, dot) + (size_t)s * sizeof fn, sizeof fn);
            assert_non_null(fn);
            if (!(f & SD_CPU_AVX2)) assert_string_equal(sd_kern_isa_of(k, s), "ref");
        }
    }
    assert_string_equal(sd_kern_isa_of(sd_kern_select(SD_CPU_AVX2), 0), "avx2");
    assert_string_equal(sd_kern_isa_of(sd_kern_select(SD_CPU_AVX2 | SD_CPU_AVX512), 0), "avx512");
    assert_ptr_equal(sd_kern_select(SD_CPU_AVX512)->dot, sd_kern_select(0)->dot); /* a flag without the level below */
    assert_ptr_equal(sd_kern_select(31 & ~(uint32_t)SD_CPU_AVX512_VNNI), sd_kern_select(15 & ~(uint32_t)SD_CPU_AVX512_VNNI));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(tables_are_whole),        T(dot_is_close),           T(axpy_equals_plain_c),
        T(f32_tile_equals_plain_c), T(bf16_tile_is_close),     T(bf16_tiles_agree), T(bf16_tile_sums_as_amx_does), T(bf16_rounds_to_even),
        T(quantise_equals_plain_c), T(q_tiles_equal_plain_c), T(q_spread_equals_plain_c), T(q_tile_means_the_formula)};
    rng = sd_rng_make(1, "test_kern", 0);
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
