/* safetensors: what is written is read back, every lie in a header is refused by name, no prefix opens. */
#include "t.h"
#include "base/map.h"
#include "file/weights_int.h"

#define MAX_BYTES ((size_t)1 << 20)

/* A file of this header (padded or not) and n bytes of data counting up. */
static void make(sd_buf *b, const char *header, size_t data)
{
    uint64_t n = strlen(header);
    for (int i = 0; i < 8; i++) sd_buf_putc(b, (char)(uint8_t)(n >> (8 * i)));
    sd_buf_puts(b, header);
    for (size_t i = 0; i < data; i++) sd_buf_putc(b, (char)(uint8_t)i);
}

static sd_status try_open(sd_weights **w, const sd_buf *b, sd_err *err)
{
    return sd_weights_open_bytes(w, b->p, b->n, "mem.safetensors", NULL, err);
}

static void round_trip(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    sd_weights *w = NULL;
    float f[6] = {0.5f, -1, 2, 3, 4, 1e30f};
    uint16_t h[3] = {0x3c00, 0, 0x8000};
    int32_t ids[2] = {-1, 49151};
    double d = 0.1;
    int8_t s8[5] = {1, 2, 3, 4, -5};
    const sd_st_tensor t[] = {
        {"bytes", SD_I8, 1, {5}, s8},
        {"acts", SD_F16, 2, {1, 3}, h},
        {"W \"dec\"\n\xc3\xa9", SD_F32, 2, {2, 3}, f},
        {"token_id", SD_I32, 1, {2}, ids},
        {"scalar", SD_F64, 0, {0}, &d},
        {"empty", SD_F32, 2, {0, 7}, NULL},
    };
    const char *meta[] = {"format", "pt", "note", "a \"quoted\" \xc3\xa9", NULL};
    assert_true(sd_path_join(path, sizeof path, dir, "a.safetensors"));
    assert_int_equal(sd_safetensors_write(path, t, 6, meta, &err), SD_E_ARG); /* a line feed is no part of a name */
    assert_false(sd_file_exists(path));
    sd_st_tensor good[6];
    memcpy(good, t, sizeof t);
    good[2].name = "W_dec";
    t_ok(sd_safetensors_write(path, good, 6, meta, &err), err);
    t_ok(sd_weights_open(&w, path, &err), err);
    assert_int_equal(sd_weights_container(w), SD_CONTAINER_HF);
    assert_int_equal(sd_weights_count(w), 6);
    assert_string_equal(sd_weights_meta(w, "format"), "pt");
    assert_string_equal(sd_weights_meta(w, "note"), "a \"quoted\" \xc3\xa9");
    assert_null(sd_weights_meta(w, "other"));
    assert_null(sd_weights_config(w));
    for (int i = 0; i < 6; i++) {
        const sd_tensor *r = sd_weights_find(w, good[i].name);
        assert_non_null(r);
        assert_int_equal(r->dtype, good[i].dtype);
        assert_int_equal(r->rank, good[i].rank);
        for (int k = 0; k < r->rank; k++) assert_int_equal(r->dim[k], good[i].dim[k]);
        assert_int_equal((uintptr_t)r->data % sd_dtype_get(r->dtype)->bytes, 0);
        if (r->bytes) assert_memory_equal(r->data, good[i].data, r->bytes);
    }
    sd_weights_close(w);
    t_rmtree(dir);
}

/* Header: multiple of 8, no gaps; the widest types come first. The reference implementation writes the same layout. */
static void layout_is_the_reference_layout(void **state)
{
    (void)state;
    static const char want[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
                               "\"h\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[8,14]}}";
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    sd_buf b;
    float f[2] = {1, 2};
    uint16_t h[3] = {1, 2, 3};
    const sd_st_tensor t[] = {{"h", SD_BF16, 1, {3}, h}, {"w", SD_F32, 2, {1, 2}, f}};
    assert_true(sd_path_join(path, sizeof path, dir, "a.safetensors"));
    t_ok(sd_safetensors_write(path, t, 2, NULL, &err), err);
    sd_buf_init(&b, MAX_BYTES);
    t_ok(sd_file_read(&b, path, &err), err);
    size_t n = (sizeof want - 1 + 7) / 8 * 8;
    assert_int_equal((uint8_t)b.p[0], n);
    assert_memory_equal(b.p + 8, want, sizeof want - 1);
    for (size_t i = sizeof want - 1; i < n; i++) assert_int_equal(b.p[8 + i], ' ');
    assert_int_equal(b.n, 8 + n + 14);
    assert_memory_equal(b.p + 8 + n, f, 8);
    assert_memory_equal(b.p + 16 + n, h, 6);
    sd_buf_release(&b);
    t_rmtree(dir);
}

static void streams_in_pieces(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    sd_st_writer *out = NULL;
    sd_weights *w = NULL;
    const sd_st_tensor t[] = {{"x", SD_F32, 2, {1000, 2}, NULL}, {"y", SD_U8, 1, {3}, NULL}};
    const sd_st_tensor wrong[] = {t[1], t[0]};
    assert_true(sd_path_join(path, sizeof path, dir, "a.safetensors"));
    assert_int_equal(sd_safetensors_begin(&out, path, wrong, 2, NULL, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "tensor x would begin at offset 3"));
    t_ok(sd_safetensors_begin(&out, path, t, 2, NULL, &err), err);
    for (int i = 0; i < 1000; i++) {
        float row[2] = {(float)i, (float)-i};
        t_ok(sd_safetensors_append(out, row, sizeof row, &err), err);
    }
    assert_false(sd_file_exists(path));
    assert_int_equal(sd_safetensors_append(out, "abcd", 4, &err), SD_E_ARG);
    t_ok(sd_safetensors_append(out, "abc", 3, &err), err);
    t_ok(sd_safetensors_end(out, &err), err);
    t_ok(sd_weights_open(&w, path, &err), err);
    assert_true(((const float *)sd_weights_find(w, "x")->data)[1999] == -999.0f);
    assert_memory_equal(sd_weights_find(w, "y")->data, "abc", 3);
    sd_weights_close(w);
    /* Bytes missing: the old file stays. */
    t_ok(sd_safetensors_begin(&out, path, t, 2, NULL, &err), err);
    assert_int_equal(sd_safetensors_end(out, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, path));
    t_ok(sd_weights_open(&w, path, &err), err);
    sd_weights_close(w);
    sd_paths left;
    t_ok(sd_dir_list(&left, dir, &err), err);
    assert_int_equal(left.n, 1);
    sd_paths_free(&left);
    t_rmtree(dir);
}

static void writer_refuses(void **state)
{
    (void)state;
    float f[4] = {0};
    const struct {
        sd_st_tensor t[2];
        int n;
        const char *word;
    } rows[] = {
        {{{"", SD_F32, 1, {1}, f}}, 1, "tensor 0 has no valid name"},
        {{{"__metadata__", SD_F32, 1, {1}, f}}, 1, "tensor 0 has no valid name"},
        {{{"a\xff", SD_F32, 1, {1}, f}}, 1, "tensor 0 has no valid name"},
        {{{"a", SD_F32, 1, {1}, f}, {"a", SD_F32, 1, {1}, f}}, 2, "two tensors would be called a"},
        {{{"q", SD_Q4_0, 1, {32}, f}}, 1, "tensor q has type Q4_0"},
        {{{"q", SD_DTYPE_NONE, 1, {32}, f}}, 1, "tensor q has type none"},
        {{{"r", SD_F32, 5, {1}, f}}, 1, "rank 5"},
        {{{"r", SD_F32, 1, {-1}, f}}, 1, "impossible dimensions"},
        {{{"r", SD_F32, 2, {INT64_MAX, 8}, f}}, 1, "impossible dimensions"},
    };
    const char *dir = t_tmpdir();
    char path[512];
    assert_true(sd_path_join(path, sizeof path, dir, "a.safetensors"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sd_err err = {0};
        assert_int_equal(sd_safetensors_write(path, rows[i].t, rows[i].n, NULL, &err), SD_E_ARG);
        if (!strstr(err.msg, rows[i].word) || !strstr(err.msg, path)) fail_msg("row %zu: %s", i, err.msg);
        assert_false(sd_file_exists(path));
    }
    t_rmtree(dir);
}

#define T1(dtype, shape, begin, end)                                                                                   \
    "{\"t.w\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}}"
#define TWO(b1, e1, b2, e2)                                                                                            \
    "{\"a.w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" b1 "," e1 "]},"                                      \
    "\"b.w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" b2 "," e2 "]}}"

static void every_lie_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        sd_status st;
        const char *word[2];
    } rows[] = {
        {T1("F32", "[2]", "0", "12"), 12, SD_E_FORMAT, {"tensor t.w", "takes 8 bytes by its shape, 12 by its offsets"}},
        {T1("F32", "[2]", "0", "4"), 4, SD_E_FORMAT, {"tensor t.w", "takes 8 bytes"}},
        {T1("F32", "[2]", "8", "0"), 8, SD_E_FORMAT, {"tensor t.w", "data_offsets"}},
        {T1("F32", "[2]", "-8", "0"), 8, SD_E_FORMAT, {"tensor t.w", "data_offsets"}},
        {T1("F32", "[2]", "0.0", "8"), 8, SD_E_FORMAT, {"tensor t.w", "data_offsets"}},
        {T1("F32", "[2]", "0", "8,9"), 8, SD_E_FORMAT, {"tensor t.w", "data_offsets"}},
        {T1("F32", "[2]", "0", "99999999999999999999"), 8, SD_E_FORMAT, {"mem.safetensors", ""}},
        {T1("F32", "[2]", "0", "8"), 7, SD_E_FORMAT, {"tensor t.w ends at byte", "of a file of"}},
        {T1("F32", "[2]", "0", "8"), 9, SD_E_FORMAT, {"1 bytes follow the last tensor", ""}},
        {T1("F32", "[2]", "4", "12"), 12, SD_E_FORMAT, {"tensor t.w begins at offset 4", "ends at 0"}},
        {T1("F32", "[-2]", "0", "8"), 8, SD_E_FORMAT, {"tensor t.w", "dimension"}},
        {T1("F32", "[2.5]", "0", "8"), 8, SD_E_FORMAT, {"tensor t.w", "dimension"}},
        {T1("F32", "2", "0", "8"), 8, SD_E_FORMAT, {"tensor t.w", "shape"}},
        {T1("F32", "[1,1,1,1,2]", "0", "8"), 8, SD_E_UNSUPPORTED, {"tensor t.w", "rank 5"}},
        {T1("F32", "[4294967296,4294967296]", "0", "0"), 0, SD_E_FORMAT, {"tensor t.w", "counted"}},
        {T1("F32", "[4611686018427387904]", "0", "0"), 0, SD_E_FORMAT, {"tensor t.w", "counted"}},
        {T1("F33", "[2]", "0", "8"), 8, SD_E_UNSUPPORTED, {"tensor t.w", "dtype F33"}},
        {T1("U64", "[1]", "0", "8"), 8, SD_E_UNSUPPORTED, {"tensor t.w", "dtype U64"}},
        {T1("\\u001b[2J", "[1]", "0", "8"), 8, SD_E_UNSUPPORTED, {"tensor t.w", "odd name"}},
        {"{\"t.w\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, SD_E_FORMAT, {"tensor t.w", "dtype"}},
        {"{\"t.w\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, SD_E_FORMAT, {"tensor t.w", "shape"}},
        {"{\"t.w\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, SD_E_FORMAT, {"tensor t.w", "data_offsets"}},
        {"{\"t.w\":[]}", 0, SD_E_FORMAT, {"tensor t.w", "object"}},
        {"{\"\\u001b]0;x\":{}}", 0, SD_E_FORMAT, {"printable", ""}},
        {"{\"\":{}}", 0, SD_E_FORMAT, {"printable", ""}},
        {"{\"__metadata__\":{\"a\":1}}", 0, SD_E_FORMAT, {"__metadata__", ""}},
        {"{\"__metadata__\":[]}", 0, SD_E_FORMAT, {"__metadata__", ""}},
        {TWO("0", "4", "3", "7"), 7, SD_E_FORMAT, {"tensor b.w begins at offset 3", "ends at 4"}},
        {TWO("0", "4", "0", "4"), 4, SD_E_FORMAT, {"tensor b.w begins at offset 0", "ends at 4"}},
        {TWO("0", "4", "5", "9"), 9, SD_E_FORMAT, {"tensor b.w begins at offset 5", "ends at 4"}},
        {"{\"t.w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"t.w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
         1,
         SD_E_FORMAT,
         {"t.w", ""}},
        {"{\"t.w\":", 0, SD_E_FORMAT, {"mem.safetensors", ""}},
        {"{} x", 0, SD_E_FORMAT, {"mem.safetensors", ""}},
    };
    int64_t live = sd_mem_live_blocks();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sd_buf b;
        sd_err err = {0};
        sd_weights *w;
        sd_buf_init(&b, MAX_BYTES);
        make(&b, rows[i].header, rows[i].data);
        sd_status st = try_open(&w, &b, &err);
        if (st != rows[i].st) fail_msg("%s: status %s: %s", rows[i].header, sd_status_name(st), err.msg);
        for (int k = 0; k < 2; k++)
            if (!strstr(err.msg, rows[i].word[k]))
                fail_msg("%s: not said: \"%s\": %s", rows[i].header, rows[i].word[k], err.msg);
        assert_non_null(strstr(err.msg, "mem.safetensors"));
        assert_null(w);
        sd_buf_release(&b);
    }
    assert_int_equal(sd_mem_live_blocks(), live);
}

static void header_length_is_a_claim(void **state)
{
    (void)state;
    static const struct {
        uint64_t n;
        const char *word;
    } rows[] = {{0, "'{'"},
                {100000001, "claims 100000001 bytes"},
                {UINT64_MAX, "claims 18446744073709551615 bytes"},
                {9, "header ends at byte 17 of a file of 16"},
                {100000000, "header ends at byte 100000008 of a file of 16"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sd_buf b;
        sd_err err = {0};
        sd_weights *w;
        sd_buf_init(&b, MAX_BYTES);
        for (int k = 0; k < 8; k++) sd_buf_putc(&b, (char)(uint8_t)(rows[i].n >> (8 * k)));
        sd_buf_puts(&b, "{}      ");
        assert_int_equal(try_open(&w, &b, &err), SD_E_FORMAT);
        if (!strstr(err.msg, rows[i].word)) fail_msg("%s", err.msg);
        sd_buf_release(&b);
    }
}

static void no_prefix_opens(void **state)
{
    (void)state;
    sd_buf b;
    sd_err err = {0};
    sd_weights *w;
    sd_buf_init(&b, MAX_BYTES);
    make(&b, TWO("0", "4", "4", "8"), 8);
    int64_t live = sd_mem_live_blocks();
    for (size_t n = 0; n < b.n; n++) {
        /* A block of exactly n bytes, so that a read past the end is seen by the sanitizer. */
        void *p = sd_malloc(n ? n : 1);
        memcpy(p, b.p, n);
        sd_status st = sd_weights_open_bytes(&w, p, n, "cut.safetensors", NULL, &err);
        if (st != SD_E_FORMAT) fail_msg("%zu of %zu bytes: status %d", n, b.n, (int)st);
        assert_non_null(strstr(err.msg, "cut.safetensors"));
        sd_free(p);
    }
    assert_int_equal(sd_mem_live_blocks(), live);
    t_ok(try_open(&w, &b, &err), err);
    sd_weights_close(w);
    sd_buf_release(&b);
}

static void unaligned_data_is_copied(void **state)
{
    (void)state;
    static const char header[] = "{\"h\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                                 "\"f\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[3,11]}}";
    sd_buf b;
    sd_err err = {0};
    sd_weights *w;
    sd_buf_init(&b, MAX_BYTES);
    make(&b, header, 11);
    t_ok(try_open(&w, &b, &err), err);
    const sd_tensor *t = sd_weights_find(w, "f");
    assert_int_equal((uintptr_t)t->data % 4, 0);
    for (int i = 0; i < 8; i++) assert_int_equal(((const uint8_t *)t->data)[i], 3 + i);
    sd_weights_close(w);
    sd_buf_release(&b);
}

static void reads_what_others_write(void **state)
{
    (void)state;
    /* No tensors; trailing spaces; a bool; names in any order; an unknown key in an entry. */
    static const char *const good[] = {
        "{}", "{}      ", "{\"__metadata__\":{}}",
        "{\"m\":{\"dtype\":\"BOOL\",\"shape\":[2,2],\"data_offsets\":[0,4],\"more\":null}}",
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},\"a\":{\"shape\":[1,2],\"data_offsets\":[0,2],"
        "\"dtype\":\"I8\"},\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[2,2]}}"};
    static const size_t data[] = {0, 0, 0, 4, 4};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        sd_buf b;
        sd_err err = {0};
        sd_weights *w;
        sd_buf_init(&b, MAX_BYTES);
        make(&b, good[i], data[i]);
        t_ok(try_open(&w, &b, &err), err);
        if (i == 3) assert_int_equal(sd_weights_at(w, 0)->dtype, SD_U8);
        if (i == 3) assert_string_equal(sd_weights_at(w, 0)->type_name, "BOOL");
        if (i == 4) assert_true(sd_slice_eq_str(sd_weights_at(w, 0)->name, "a")); /* by place in the file */
        sd_weights_close(w);
        sd_buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(round_trip),      T(layout_is_the_reference_layout), T(streams_in_pieces),
        T(writer_refuses),  T(every_lie_is_refused_by_name),   T(header_length_is_a_claim),
        T(no_prefix_opens), T(unaligned_data_is_copied),       T(reads_what_others_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
