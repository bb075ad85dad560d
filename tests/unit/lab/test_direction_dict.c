/* A direction that is a known sum of decoder rows comes apart into them. */
#include "feature_sample.h"
#include "lab/direction_dict.h"

#include <math.h>

static void a_sum_comes_apart(void **state)
{
    enum { M = 40 };
    sd_direction_part p[6];
    float v[FS_D] = {0};
    int n;
    sd_err err = {0};
    sd_dict *d = fs_dict(M, FS_D);
    (void)state;
    /* three rows made orthogonal: coordinates 0, 1, 2 */
    for (int64_t f = 0; f < 3; f++)
        for (int64_t k = 0; k < FS_D; k++) d->W_dec[(7 + f) * FS_D + k] = k == f ? 2.0f : 0.0f;
    for (int64_t k = 0; k < FS_D; k++) d->W_dec[20 * FS_D + k] = 0; /* a dead row takes no part */
    v[0] = 3, v[1] = -4, v[2] = 1;
    for (int64_t f = 0; f < M; f++)
        for (int64_t k = 0; k < 3 && (f < 7 || f > 9); k++) d->W_dec[f * FS_D + k] = 0; /* nothing else points there */
    t_ok(sd_direction_parts(p, 6, &n, d, v, FS_D, &err), err);
    assert_int_equal(n, 3);
    assert_true(p[0].feature == 8 && p[1].feature == 7 && p[2].feature == 9);
    assert_true(fabs(p[0].share - 16.0 / 26) < 1e-6 && fabs(p[1].share - 25.0 / 26) < 1e-6 && fabs(p[2].share - 1) < 1e-6);
    assert_true(fabs(p[0].cosine + 4 / sqrt(26)) < 1e-6);
    assert_int_equal(sd_direction_parts(p, 6, &n, d, v, FS_D - 1, &err), SD_E_SHAPE);
    sd_dict_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(a_sum_comes_apart)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
