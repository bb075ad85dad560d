/* Tiles against sums in double: f32 and bf16, both orders of w, several workers at once. */
#include "t.h"

#include "base/par.h"
#include "base/rng.h"
#include "num/dtype.h"
#include "num/kern_dict.h"
#include "num/gemm_tile.h"

#include <math.h>

typedef struct job { sd_score *s; const void *x; const uint8_t *packed; float *out; int64_t n_tok, n_row, d; size_t elem; } job;

static void run(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    job *j = arg;
    (void)end;
    (void)chunk;
    sd_score_run(j->s, j->out + begin * j->n_tok * j->n_row, (const uint8_t *)j->x + (size_t)(begin * j->n_tok * j->d) * j->elem, j->packed);
}
static void pack(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    void **p = arg;
    (void)chunk, (void)begin, (void)end;
    sd_score_pack(p[0], p[1], p[2]);
}

static void check(const sd_exec *ex, bool bf16, bool d_major, int64_t n_tok, int64_t n_row, int64_t d)
{
    enum { TILES = 5 };
    sd_err err = {0};
    sd_score *s;
    const sd_kern_dict *kd = sd_kern_dict_select(ex->cpu.flags);
    float *x = sd_malloc((size_t)(TILES * n_tok * d) * 4), *w = sd_malloc((size_t)(n_row * d) * 4), *out = sd_malloc((size_t)(TILES * n_tok * n_row) * 4);
    uint16_t *xb = sd_malloc((size_t)(TILES * n_tok * d) * 2), *wb = sd_malloc((size_t)(n_row * d) * 2);
    sd_rng r = sd_rng_make(3, "score", (uint64_t)d);
    for (int64_t i = 0; i < TILES * n_tok * d; i++) x[i] = sd_rng_normal(&r);
    for (int64_t i = 0; i < n_row * d; i++) w[i] = sd_rng_normal(&r);
    kd->to_bf16(xb, x, TILES * n_tok * d), kd->to_bf16(wb, w, n_row * d);
    t_ok(sd_score_new(&s, ex, &(sd_score_shape){n_tok, n_row, d, bf16, d_major}, &err), err);
    uint8_t *packed = sd_malloc(sd_score_pack_bytes(s));
    void *pk[3] = {s, packed, bf16 ? (void *)wb : (void *)w};
    sd_parallel_for(ex->n_threads, 1, 1, pack, pk);
    job j = {s, bf16 ? (void *)xb : (void *)x, packed, out, n_tok, n_row, d, bf16 ? 2 : 4};
    sd_parallel_for(ex->n_threads, TILES, 1, run, &j);
    for (int64_t i = 0; i < TILES * n_tok; i++)
        for (int64_t f = 0; f < n_row; f++) {
            double sum = 0, mag = 0;
            for (int64_t c = 0; c < d; c++) {
                const int64_t at = d_major ? c * n_row + f : f * d + c;
                const double a = bf16 ? (double)sd_bf16_to_f32(xb[i * d + c]) : (double)x[i * d + c];
                const double b = bf16 ? (double)sd_bf16_to_f32(wb[at]) : (double)w[at];
                sum += a * b, mag += fabs(a * b);
            }
            /* Any order of d f32 additions: d 2^-24 of the sum of magnitudes (Higham 2002, eq. 3.5), with a margin of 2. */
            if (!(fabs((double)out[i * n_row + f] - sum) <= (double)d * 0x1p-23 * mag + 1e-30))
                fail_msg("%s tile %lld x %lld x %lld, d_major %d: [%lld, %lld] is %.9g, expected %.9g", bf16 ? "bf16" : "f32", (long long)n_tok,
                         (long long)n_row, (long long)d, d_major, (long long)i, (long long)f, (double)out[i * n_row + f], sum);
        }
    sd_score_free(s);
    sd_free(x), sd_free(w), sd_free(out), sd_free(xb), sd_free(wb), sd_free(packed);
}

static void test_tiles(void **state)
{
    sd_err err = {0};
    sd_exec *ex;
    sd_cpu cpu;
    const char *level = *state;
    if (!sd_cpu_detect(&cpu, level)) t_skip("this CPU has no %s", level ? level : "auto");
    const int64_t before = sd_mem_live_blocks();
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){level, 2}, &err), err);
    const int64_t shape[][3] = {{1, 1, 1}, {16, 64, 32}, {37, 96, 576}, {64, 512, 100}, {5, 33, 17}, {64, 320, 576}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int bf = 0; bf <= (int)sd_score_can_bf16(ex); bf++)
            for (int dm = 0; dm < 2; dm++) check(ex, bf, dm, shape[i][0], shape[i][1], shape[i][2]);
    sd_exec_free(ex);
    assert_int_equal(sd_mem_live_blocks(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {{"tiles ref", test_tiles, NULL, NULL, (void *)(uintptr_t)"ref"}, {"tiles auto", test_tiles, NULL, NULL, NULL}};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
