/* The scores of absorption on words made by hand, each case of the definition; and the sparse regression on planted features. */
#include "t.h"

#include "base/rng.h"
#include "dict/dict_int.h"
#include "lab/absorption_int.h"

#include <math.h>

enum { D = 4, M = 6 };

/* Features 0 and 1 along the probe, 2 at cos 0.6 to it, 3 at 0.05, 4 against it, 5 across. */
static sd_dict *make_dict(void)
{
    sd_err err = {0};
    sd_dict *d;
    static const float row[M][D] = {{1, 0, 0, 0}, {1, 0, 0, 0}, {0.6f, 0.8f, 0, 0}, {0.05f, 0.99875f, 0, 0}, {-1, 0, 0, 0}, {0, 0, 1, 0}};
    t_ok(sd_dict__new(&d, &(sd_dict_info){.kind = SD_DICT_STANDARD, .d = D, .d_out = D, .m = M}, false, false, &err), err);
    memcpy(d->W_dec, row, sizeof row);
    return d;
}

typedef struct word { float proj; struct { int32_t f; float z; } on[3]; double fraction, full; } word;

static void test_words(void **state)
{
    (void)state;
    static const word words[] = {
        {4, {{0, 4}}, 0, 0},                           /* main has it all */
        {4, {{0, 1}, {2, 5}}, 3.0 / 4, 0},             /* A = 3 of proj - M = 3: 3 / (3 + 1) */
        {10, {{0, 2}, {2, 10}}, 6.0 / 8, 0},           /* a = A = 6 under proj - M = 8 */
        {10, {{0, 2}, {2, 5}}, 0, 0},                  /* A = 3 is under 0.4 of proj */
        {4, {{2, 5}}, 1, 1},                           /* main silent, another took all */
        {4, {{4, 1}, {2, 5}}, 1, 1},                   /* an active feature against the probe is no main one */
        {4, {{3, 60}}, 0, 1},                          /* cos 0.05: no absorber, but enough for full absorption */
        {4, {{5, 9}}, 0, 0},                           /* nothing along the probe */
        {4, {{1, 4}}, 0, 0},                           /* the second main feature counts */
        {-4, {{2, 5}}, 0, 0},                          /* a word that lies against the probe has nothing to lose */
    };
    sd_dict *d = make_dict();
    const float p[D] = {1, 0, 0, 0};
    const sd_absorbed a = {.n_main = 2, .main = {0, 1}};
    /* Once as it is, once with a dictionary that scales its rows: activations are then in scaled units, and the scores are the same. */
    for (size_t turn = 0, n = sizeof words / sizeof *words; turn < 2 * n; turn++) {
        const size_t i = turn % n;
        float x[D] = {words[i].proj, 7, 0, 0}, val[3];
        int32_t idx[3];
        int64_t ptr[2] = {0, 0};
        double add[2] = {0, 0};
        d->row_norm = turn < n ? SD_ROW_AS_IS : SD_ROW_CONSTANT;
        for (int k = 0; k < 3 && words[i].on[k].z > 0; k++, ptr[1]++) idx[k] = words[i].on[k].f, val[k] = words[i].on[k].z / (float)sd_dict_row_scale(d, x);
        const absorb_words w = {.n = 1, .d = D, .m = M, .x = x, .z = {.n = 1, .nnz = ptr[1], .row_ptr = ptr, .idx = idx, .val = val}};
        sd_absorb__word(add, &w, d, &a, 0, p);
        if (!(fabs(add[0] - words[i].fraction) < 1e-6) || add[1] != words[i].full) fail_msg("word %zu: %g and %g, expected %g and %g", i, add[0], add[1], words[i].fraction, words[i].full);
    }
    sd_dict_free(d);
}

/* Feature 1 fires on every second word of the letter and 4 on the others, 2 on all words; 0, 3 and 5 by chance. */
static void test_rank(void **state)
{
    (void)state;
    enum { N = 400 };
    sd_err err = {0};
    static int32_t idx[N * 4];
    static float val[N * 4];
    int64_t ptr[N + 1], order[SD_ABSORB_MAIN], n = 0;
    int8_t letter[N];
    int found = 0;
    sd_rng r = sd_rng_make(3, "absorption test", 0);
    for (int i = 0; i < N; i++) {
        letter[i] = (int8_t)(i % 5);
        ptr[i] = n;
        for (int f = 0; f < M; f++) {
            const bool own = letter[i] == 2, on = f == 1 ? own && i % 2 : f == 4 ? own && i % 2 == 0 : f == 2 || sd_rng_uniform(&r) < 0.2;
            if (on && n < ptr[i] + 4) idx[n] = f, val[n++] = 1.0f + (float)sd_rng_uniform(&r);
        }
    }
    ptr[N] = n;
    const absorb_words w = {.n = N, .n_train = N, .d = D, .m = M, .letter = letter, .count = {{0, 0, N / 5}}, .z = {.n = N, .nnz = n, .row_ptr = ptr, .idx = idx, .val = val}};
    double left;
    t_ok(sd_absorb__rank(order, &found, &left, &w, 2, &err), err);
    assert_true(left <= SD_ABSORB_CLOSE);
    assert_true(found >= 2);
    assert_true((order[0] == 1 && order[1] == 4) || (order[0] == 4 && order[1] == 1));
    float cols[2];
    sd_absorb__columns(cols, &w, 2, (const int64_t[]){4, 1}, 2);
    assert_true(cols[0] >= 1 && cols[1] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_words), T(test_rank)};
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    if (sd_mem_live_blocks() != 0) return printf("%lld blocks left\n", (long long)sd_mem_live_blocks()), 1;
    return rc ? 1 : 0;
}
