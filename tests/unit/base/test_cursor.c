/* The cursor never passes its end, whatever the lengths claim, and tells the first thing that went wrong. */
#include "base/cursor.h"

#include "t.h"

static void reads_little_endian(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e,
                                    0x0f, 0,    0,    0xc0, 0x3f, 0,    0,    0,    0,    0,    0,    0xf8, 0xbf};
    sd_cursor c;
    sd_cur_init(&c, bytes, sizeof bytes);
    assert_int_equal(sd_cur_u8(&c), 0x01);
    assert_int_equal(sd_cur_u16(&c), 0x0302);
    assert_int_equal(sd_cur_u32(&c), 0x07060504);
    assert_true(sd_cur_u64(&c) == 0x0f0e0d0c0b0a0908u);
    assert_true(sd_cur_f32(&c) == 1.5f);
    assert_true(sd_cur_f64(&c) == -1.5);
    assert_int_equal(sd_cur_left(&c), 0);
    assert_false(sd_cur_failed(&c));
}

static void the_first_failure_sticks(void **state)
{
    (void)state;
    static const uint8_t bytes[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    sd_cursor c;
    sd_err err = {0};
    sd_cur_init(&c, bytes, sizeof bytes);
    sd_cur_skip(&c, 7);
    assert_int_equal(sd_cur_u32(&c), 0);
    assert_true(sd_cur_failed(&c));
    assert_int_equal(sd_cur_u8(&c), 0); /* three bytes are left, but nothing is read any more */
    assert_null(sd_cur_bytes(&c, 1));
    sd_cur_mark_failed(&c, "later");
    assert_int_equal(sd_cur_fail(&c, &err, "m.gguf", "tensor table"), SD_E_FORMAT);
    assert_string_equal(err.msg, "m.gguf: tensor table: ends early at byte 7 of 10");
}

static void lengths_are_claims(void **state)
{
    (void)state;
    static const uint64_t claims[] = {3, 4, 100, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, (uint64_t)1 << 32};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        uint8_t bytes[11] = {0};
        for (int k = 0; k < 8; k++) bytes[k] = (uint8_t)(claims[i] >> (8 * k));
        memcpy(bytes + 8, "abc", 3);
        sd_cursor c;
        sd_cur_init(&c, bytes, sizeof bytes);
        sd_slice s = sd_cur_str64(&c, 1000);
        if (claims[i] == 3) {
            assert_true(sd_slice_eq_str(s, "abc"));
        } else {
            assert_true(sd_cur_failed(&c) && s.n == 0 && s.p != NULL && c.fail_off == 0);
        }
        sd_cur_init(&c, bytes, sizeof bytes);
        sd_cur_skip(&c, 8);
        const void *p = sd_cur_bytes(&c, claims[i]);
        assert_true((p != NULL) == (claims[i] == 3));
        assert_true(c.off <= c.size);
    }
    uint8_t bytes[11] = {3, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 'c'};
    sd_cursor c;
    sd_err err = {0};
    sd_cur_init(&c, bytes, sizeof bytes);
    assert_int_equal(sd_cur_str64(&c, 2).n, 0);
    sd_cur_fail(&c, &err, "f", "names");
    assert_non_null(strstr(err.msg, "longer than allowed at byte 0 of 11"));
}

static void aligns(void **state)
{
    (void)state;
    static const uint8_t bytes[70];
    sd_cursor c;
    sd_cur_init(&c, bytes, sizeof bytes);
    sd_cur_align(&c, 32);
    assert_int_equal(c.off, 0);
    sd_cur_skip(&c, 1);
    sd_cur_align(&c, 32);
    assert_int_equal(c.off, 32);
    sd_cur_skip(&c, 1);
    sd_cur_align(&c, 24); /* GGUF asks for multiples of 8, not powers of two */
    assert_int_equal(c.off, 48);
    sd_cur_skip(&c, 17);
    sd_cur_align(&c, 32);
    assert_true(sd_cur_failed(&c) && c.off == 65);
    sd_cur_init(&c, bytes, sizeof bytes);
    sd_cur_align(&c, 0);
    assert_true(sd_cur_failed(&c));
}

static void nothing_at_all(void **state)
{
    (void)state;
    sd_cursor c;
    sd_cur_init(&c, NULL, 0);
    assert_null(sd_cur_bytes(&c, 0));
    assert_false(sd_cur_failed(&c));
    assert_int_equal(sd_cur_u64(&c), 0);
    assert_true(sd_cur_failed(&c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(reads_little_endian), T(the_first_failure_sticks), T(lengths_are_claims), T(aligns), T(nothing_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
