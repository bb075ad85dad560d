/* sd_exec_new and sd_linear_new when the 1st, 2nd, .. request for memory fails: a sentence, NULL, and nothing left
 * behind. */
#include "num/linear.h"
#include "t.h"

static void each_request_may_fail(void **state)
{
    static float w[40 * 64], bias[40];
    static const sd_mode modes[] = {SD_MODE_FAITHFUL, SD_MODE_BF16, SD_MODE_FAST};
    (void)state;
    for (int m = 0; m < 3; m++) {
        const sd_wmat f32 = {w, SD_F32, 40, 64, NULL, 0}, q4 = {w, SD_Q4_1, 40, 64, NULL, 0};
        int64_t n = 1;
        for (;; n++) {
            const int64_t before = sd_mem_live_blocks();
            sd_exec *ex = NULL;
            sd_linear *l = NULL;
            sd_err err = {0};
            (void)sd_mem_fail_nth(n);
            sd_status st = sd_exec_new(&ex, &(sd_exec_opt){"ref", 1}, &err);
            if (!st) st = sd_linear_new(&l, ex, m == 2 ? &q4 : &f32, bias, modes[m], &err);
            (void)sd_mem_fail_nth(0);
            if (st) {
                assert_int_equal(st, SD_E_NOMEM);
                assert_int_equal(err.code, SD_E_NOMEM);
                assert_true(strlen(err.msg) > 15);
                assert_null(l);
            }
            sd_linear_free(l);
            sd_exec_free(ex);
            assert_int_equal(sd_mem_live_blocks(), before);
            if (!st) break;
        }
        assert_int_equal(n, 6); /* context, struct, packed, decoding, bias; then all succeed */
    }
}

T_MAIN(((const struct CMUnitTest[]){T(each_request_may_fail)}))
