/* The dtype table, half and bfloat16 conversions over every bit pattern, and rows of typed matrices. */
#include "num/dtype.h"
#include "t.h"
#include <math.h>

static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* Every half is sign * 2^(e-15) * (1 + m/1024), or sign * 2^-14 * m/1024 (IEEE 754-2008, 3.4). */
static void every_half_becomes_its_value(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
        const double sign = h & 0x8000 ? -1 : 1;
        const float got = sd_f16_to_f32((uint16_t)h);
        if (e == 31 && m) {
            assert_true(isnan(got));
        } else {
            const double want = e == 31 ? sign * INFINITY
                                : e     ? sign * ldexp(1 + m / 1024.0, e - 15)
                                        : sign * ldexp(m, -24);
            assert_int_equal(bits(got), bits((float)want));
        }
        if (!isnan(got)) assert_int_equal(sd_f32_to_f16(got), h); /* there and back */
    }
}

/* Between neighbouring halves: below the middle rounds down, the middle to even, above rounds up. */
static void rounding_to_half_is_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        const float a = sd_f16_to_f32((uint16_t)h), b = sd_f16_to_f32((uint16_t)(h + 1));
        const float mid = (float)(((double)a + b) / 2); /* exact: one bit more than a half has */
        assert_int_equal(sd_f32_to_f16(nextafterf(mid, 0)), h);
        assert_int_equal(sd_f32_to_f16(mid), h + (h & 1));
        assert_int_equal(sd_f32_to_f16(nextafterf(mid, 1e9f)), h + 1);
        assert_int_equal(sd_f32_to_f16(-mid), 0x8000 | (h + (h & 1)));
    }
    assert_int_equal(sd_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(sd_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(sd_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(sd_f32_to_f16(-INFINITY), 0xfc00);
    assert_true(isnan(sd_f16_to_f32(sd_f32_to_f16(NAN))));
}

static void bfloat16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7f7f; h++) {
        const float a = sd_bf16_to_f32((uint16_t)h);
        union {
            uint32_t u;
            float f;
        } mid = {h << 16 | 0x8000};
        assert_int_equal(sd_f32_to_bf16(a), h);
        assert_int_equal(sd_f32_to_bf16(nextafterf(mid.f, 0)), h);
        assert_int_equal(sd_f32_to_bf16(mid.f), h + (h & 1));
        assert_int_equal(sd_f32_to_bf16(nextafterf(mid.f, INFINITY)), h + 1);
        assert_int_equal(sd_f32_to_bf16(-mid.f), 0x8000 | (h + (h & 1)));
    }
    const union {
        uint32_t u;
        float f;
    } low_nan = {0x7f800001};
    assert_true(isnan(sd_bf16_to_f32(sd_f32_to_bf16(low_nan.f)))); /* its payload lies in the half that is cut off */
    assert_int_equal(sd_f32_to_bf16(INFINITY), 0x7f80);
}

static void the_table_is_consistent(void **state)
{
    (void)state;
    for (int t = 1; t < SD_DTYPE_COUNT; t++) {
        const sd_dtype_info *i = sd_dtype_get((sd_dtype)t);
        assert_true(i->name && i->block >= 1 && i->bytes >= 1);
        if (i->ggml_id >= 0) assert_int_equal(sd_dtype_from_ggml((uint32_t)i->ggml_id), t);
        if (i->st_name) assert_int_equal(sd_dtype_from_st(i->st_name, strlen(i->st_name)), t);
        assert_int_equal(sd_dtype_row_bytes((sd_dtype)t, 3 * i->block), 3 * i->bytes);
        if (i->block > 1) assert_int_equal(sd_dtype_row_bytes((sd_dtype)t, i->block + 1), 0);
        assert_int_equal(sd_dtype_row_bytes((sd_dtype)t, -1), 0);
    }
    assert_null(sd_dtype_get(SD_DTYPE_NONE)->name);
    assert_int_equal(sd_dtype_from_ggml(4), SD_DTYPE_NONE); /* Q4_2, removed from ggml */
    assert_int_equal(sd_dtype_from_ggml(UINT32_MAX), SD_DTYPE_NONE);
    assert_int_equal(sd_dtype_from_st("F3", 2), SD_DTYPE_NONE);
    assert_int_equal(sd_dtype_from_st("F32X", 4), SD_DTYPE_NONE);
    assert_int_equal(sd_dtype_from_st("F32X", 3), SD_F32);
}

static void rows_know_order_and_transposes(void **state)
{
    static const float m[3][2] = {{1, 2}, {3, 4}, {5, 6}};
    static const uint16_t turned[2][3] = {{0x3f80, 0x4040, 0x40a0}, {0x4000, 0x4080, 0x40c0}}; /* m, in bf16 */
    static const int32_t perm[3] = {2, 0, 1};
    sd_wmat w = {m, SD_F32, 3, 2, NULL, 0};
    float row[2];
    (void)state;
    sd_wmat_decode_row(row, &w, 1);
    assert_true(row[0] == 3 && row[1] == 4);
    w.perm = perm;
    sd_wmat_decode_row(row, &w, 0);
    assert_true(row[0] == 5 && row[1] == 6);
    w = (sd_wmat){turned, SD_BF16, 3, 2, NULL, 3};
    sd_wmat_decode_row(row, &w, 1);
    assert_true(row[0] == 3 && row[1] == 4);
    w.perm = perm;
    sd_wmat_decode_row(row, &w, 2);
    assert_true(row[0] == 3 && row[1] == 4);
    w = (sd_wmat){&turned[0][1], SD_BF16, 2, 2, NULL, 3}; /* a part of the columns of a fused tensor */
    sd_wmat_decode_row(row, &w, 1);
    assert_true(row[0] == 5 && row[1] == 6);
}

/* A block by hand, at an odd address. Element 16 + i is the high nibble of byte i. */
static void q4_1_by_hand(void **state)
{
    uint8_t raw[1 + 20] = {0}, *b = raw + 1;
    float out[32];
    (void)state;
    b[1] = 0x38, b[3] = 0xbc; /* d = 0.5, m = -1 */
    for (int i = 0; i < 16; i++) b[4 + i] = (uint8_t)(i | (15 - i) << 4);
    sd_dtype_get(SD_Q4_1)->decode(out, b, 32);
    for (int i = 0; i < 16; i++)
        assert_true(out[i] == 0.5f * (float)i - 1 && out[16 + i] == 0.5f * (float)(15 - i) - 1);
}

static void f64_and_bytes(void **state)
{
    const double d[2] = {0.1, -1e300};
    float out[2];
    (void)state;
    sd_dtype_get(SD_F64)->decode(out, d, 2);
    assert_true(out[0] == 0.1f && out[1] == -INFINITY);
    assert_true(sd_dtype_get(SD_I32)->decode == NULL); /* no meaning as weights */
}

T_MAIN(((const struct CMUnitTest[]){T(every_half_becomes_its_value), T(rounding_to_half_is_to_nearest_even),
                                    T(bfloat16_rounds_to_nearest_even), T(the_table_is_consistent),
                                    T(rows_know_order_and_transposes), T(q4_1_by_hand), T(f64_and_bytes)}))
