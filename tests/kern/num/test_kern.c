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
};
enum { N_ISA = 5 };

/* NULL when this CPU lacks it: said aloud once. */
static const sd_kern *table(int i)
{
    static bool said[N_ISA];
    sd_cpu cpu;
    assert_true(sd_cpu_detect(&cpu, NULL));
    if ((cpu.flags & isas[i].flags) == isas[i].flags) return sd_kern_select(isas[i].flags);
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
static void fill_normal(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = sd_rng_normal(&rng);
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

static const int64_t tile_m[] = {0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 18, 24, 96};
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
    c.t = (sd_tile){(float *)(void *)c.y.p, c.x.p, c.w.p, LDY, k + LDX_EXTRA, m, k, carry};
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
                    ((uint16_t *)(void *)t.x.p)[e] = sd_f32_to_bf16(sd_rng_normal(&rng));
                for (size_t e = 0; e < t.w.n / 2; e++)
                    ((uint16_t *)(void *)t.w.p)[e] = sd_f32_to_bf16(sd_rng_normal(&rng));
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
                int sum = 0;
                for (int i = 0; i < SD_QBLOCK; i++) {
                    const float e = fabsf(v[b * SD_QBLOCK + i] - want[b].d * (float)want_q[b * SD_QBLOCK + i]);
                    sum += want_q[b * SD_QBLOCK + i];
                    /* half a step, and an eps for d itself */
                    if (isfinite(want[b].d) && want[b].d > 0) assert_true(e <= want[b].d * 0.50002f);
                }
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
    guarded y, q, act, values, scales;
    float *before;
    sd_qtile t;
} q_case;

/* worst: all weights and activations at their ends, so that a 16-bit sum that may overflow does. */
static q_case q_new(int64_t m, int64_t nb, sd_qkind kind, bool nibbles, bool worst)
{
    const size_t ny = (size_t)(m ? (m - 1) * LDY + SD_PANEL : 0), vb = nibbles ? SD_QNIBBLE_BYTES : SD_QBYTE_BYTES;
    const size_t sb = kind == SD_QKIND_4_1 ? 2 * SD_QSCALE_BYTES : SD_QSCALE_BYTES;
    q_case c = {.y = guard_new(ny * 4, 4),
                .q = guard_new((size_t)(m * nb * SD_QBLOCK), 1),
                .act = guard_new((size_t)(m * nb) * sizeof(sd_qact), 4),
                .values = guard_new((size_t)nb * vb, 1),
                .scales = guard_new((size_t)nb * sb, 2)};
    c.before = sd_malloc(ny * 4 + 4);
    fill_normal((float *)(void *)c.y.p, (int64_t)ny);
    memcpy(c.before, c.y.p, ny * 4);
    sd_qact *act = (sd_qact *)(void *)c.act.p;
    for (int64_t i = 0; i < m * nb; i++) {
        int sum = 0;
        for (int64_t j = 0; j < SD_QBLOCK; j++) {
            const int8_t v = worst ? (int8_t)(i & 1 ? -127 : 127) : (int8_t)((int)sd_rng_below(&rng, 255) - 127);
            ((int8_t *)c.q.p)[i * SD_QBLOCK + j] = v;
            sum += v;
        }
        const float d = 0.01f + 0.01f * (float)sd_rng_uniform(&rng);
        act[i] = (sd_qact){d, d * (float)sum, -sum};
    }
    for (size_t i = 0; i < (size_t)nb * vb; i++) {
        const uint8_t v = (uint8_t)sd_rng_u32(&rng);
        c.values.p[i] = worst                             ? (kind == SD_QKIND_8_0 ? (uint8_t)(i & 64 ? 0 : 255)
                                                             : nibbles            ? 255
                                                                                  : 15)
                        : nibbles || kind == SD_QKIND_8_0 ? v
                                                          : v & 15;
    }
    for (size_t i = 0; i < (size_t)nb * sb; i += 2) {
        const uint16_t h = sd_f32_to_f16(sd_rng_normal(&rng));
        memcpy(c.scales.p + i, &h, 2);
    }
    c.t = (sd_qtile){.y = (float *)(void *)c.y.p,
                     .ldy = LDY,
                     .q = (const int8_t *)c.q.p,
                     .ldq = nb * SD_QBLOCK,
                     .act = act,
                     .ld_act = nb,
                     .values = c.values.p,
                     .scales = c.scales.p,
                     .value_step = (int64_t)vb,
                     .scale_step = (int64_t)sb,
                     .m = m,
                     .n_block = nb,
                     .kind = kind,
                     .nibbles = nibbles};
    return c;
}

static void q_compare(const sd_kern *k, q_case *c, const char *what)
{
    const size_t ny = c->y.n / 4;
    float *want = sd_malloc(ny * 4 + 4);
    for (int carry = 0; carry < 2; carry++) {
        sd_qtile r = c->t;
        memcpy(want, c->before, ny * 4);
        memcpy(c->t.y, c->before, ny * 4);
        r.y = want;
        r.carry = c->t.carry = carry;
        sd_kern_select(0)->tile_q8(&r);
        k->tile_q8(&c->t);
        for (size_t i = 0; i < ny; i++)
            if (memcmp(&want[i], &c->t.y[i], 4) != 0)
                fail_msg("%s kind %d nibbles %d m=%lld blocks=%lld: [%zu,%zu] is %.9g, plain C %.9g", what,
                         (int)c->t.kind, c->t.nibbles, (long long)c->t.m, (long long)c->t.n_block, i / LDY, i % LDY,
                         (double)c->t.y[i], (double)want[i]);
    }
    sd_free(want);
}

static void q8_tile_equals_plain_c(void **state)
{
    static const int64_t rows[] = {0, 1, 2, 3, 4, 5, 6, 7, 13, 96}, blocks[] = {0, 1, 2, 5, 18};
    (void)state;
    for (int c = 0; c < N_ISA; c++) {
        const sd_kern *k = table(c);
        for (int form = 0; k && form < 5; form++)
            for (size_t i = 0; i < 10; i++)
                for (size_t b = 0; b < 10; b++) {
                    const sd_qkind kind = form == 4 ? SD_QKIND_8_0 : form & 1 ? SD_QKIND_4_1 : SD_QKIND_4_0;
                    q_case t = q_new(rows[i], blocks[b / 2], kind, form < 2, b & 1);
                    q_compare(k, &t, isas[c].name);
                    guard_check(&t.y, "tile_q8"), guard_check(&t.q, "tile_q8"), guard_check(&t.act, "tile_q8");
                    guard_check(&t.values, "tile_q8"), guard_check(&t.scales, "tile_q8");
                    sd_free(t.before);
                }
    }
}

/* The plain form against the formula in double, weight by weight; nibbles and bytes agree through unpack_q4 on every
 * ISA. */
static void q8_tile_means_the_formula(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        const sd_qkind kind = (sd_qkind)form;
        const int64_t nb = 7;
        q_case c = q_new(2, nb, kind, kind != SD_QKIND_8_0, false);
        guarded bytes = guard_new((size_t)nb * SD_QBYTE_BYTES, 1);
        float nib[2 * LDY];
        c.t.carry = false;
        sd_kern_select(0)->tile_q8(&c.t);
        for (int r = 0; r < 2; r++)
            for (int j = 0; j < SD_PANEL; j++) {
                double s = 0, mag = 0;
                for (int64_t b = 0; b < nb; b++) {
                    uint16_t h;
                    memcpy(&h, c.t.scales + b * c.t.scale_step + 2 * j, 2);
                    const double dw = sd_f16_to_f32(h);
                    double mw = 0;
                    if (kind == SD_QKIND_4_1) {
                        memcpy(&h, c.t.scales + b * c.t.scale_step + SD_QSCALE_BYTES + 2 * j, 2);
                        mw = sd_f16_to_f32(h);
                    }
                    for (int t = 0; t < SD_QBLOCK; t++) {
                        const uint8_t *v = c.t.values + b * c.t.value_step +
                                           j / 16 * (kind == SD_QKIND_8_0 ? 512 : 256) + j % 16 * 4 + t % 4;
                        const int w = kind == SD_QKIND_8_0 ? v[t / 4 * 64] - 128
                                                           : (t < 16 ? v[t / 4 * 64] & 15 : v[(t / 4 - 4) * 64] >> 4) -
                                                                 (kind == SD_QKIND_4_0 ? 8 : 0);
                        const double p =
                            (dw * w + mw) * c.t.act[r * nb + b].d * c.t.q[r * nb * SD_QBLOCK + b * SD_QBLOCK + t];
                        s += p, mag += fabs(p) + fabs(mw);
                    }
                }
                /* two roundings a block and those of the scales: below 6 nb u */
                assert_true(fabs(c.t.y[r * LDY + j] - s) <= 6.0 * (double)nb * 0x1p-24 * (mag + 1));
            }
        memcpy(nib, c.t.y, c.y.n);
        if (kind != SD_QKIND_8_0)
            for (int i = 0; i < N_ISA; i++) {
                const sd_kern *k = table(i);
                if (!k) continue;
                memset(bytes.p, 0xa5, bytes.n);
                k->unpack_q4(bytes.p, c.t.values, SD_QNIBBLE_BYTES, nb);
                sd_qtile t = c.t;
                t.values = bytes.p, t.value_step = SD_QBYTE_BYTES, t.nibbles = false;
                k->tile_q8(&t);
                for (int r = 0; r < 2; r++) assert_memory_equal(nib + r * LDY, t.y + r * LDY, SD_PANEL * 4);
            }
        guard_check(&bytes, "unpack_q4"), guard_check(&c.y, "q"), guard_check(&c.q, "q"), guard_check(&c.act, "q");
        guard_check(&c.values, "q"), guard_check(&c.scales, "q");
        sd_free(c.before);
    }
}

static void tables_are_whole(void **state)
{
    enum { N_SLOTS = (int)((sizeof(sd_kern) - offsetof(sd_kern, dot)) / sizeof(void (*)(void))) };
    (void)state;
    for (uint32_t f = 0; f < 16; f++) {
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(tables_are_whole),        T(dot_is_close),           T(axpy_equals_plain_c),
        T(f32_tile_equals_plain_c), T(bf16_tile_is_close),     T(bf16_rounds_to_even),
        T(quantise_equals_plain_c), T(q8_tile_equals_plain_c), T(q8_tile_means_the_formula)};
    rng = sd_rng_make(1, "test_kern", 0);
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
