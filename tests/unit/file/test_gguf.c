/* GGUF: a true file is read as it is, and no prefix of it opens. Lies are in test_gguf_lies.c. */
#include "gguf_build.h"

#define MAX_BYTES ((size_t)1 << 20)

static sd_weights *open_bytes(const sd_buf *b, const sd_weights_opt *opt)
{
    sd_weights *w = NULL;
    sd_err err = {0};
    t_ok(sd_weights_open_bytes(&w, b->p, b->n, "mem.gguf", opt, &err), err);
    return w;
}

static void reads_what_is_there(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        sd_buf b;
        sd_buf_init(&b, MAX_BYTES);
        gb_valid(&b, version);
        sd_weights *w = open_bytes(&b, NULL);
        assert_int_equal(sd_weights_container(w), SD_CONTAINER_GGUF);
        assert_int_equal(sd_weights_count(w), 3);
        assert_null(sd_weights_config(w));
        assert_int_equal(sd_weights_bytes(w), 384 + 36 + 10);
        assert_string_equal(sd_weights_path(w), "mem.gguf");
        /* The file says [32, 3], innermost first: 3 rows of 32. */
        const sd_tensor *t = sd_weights_find(w, "blk.0.ffn_up.weight");
        assert_non_null(t);
        assert_int_equal(t->rank, 2);
        assert_int_equal(t->dim[0], 3);
        assert_int_equal(t->dim[1], 32);
        assert_int_equal(t->dtype, SD_F32);
        assert_string_equal(t->type_name, "F32");
        for (int i = 0; i < 96; i++) assert_true(((const float *)t->data)[i] == (float)i);
        t = sd_weights_at(w, 1);
        assert_int_equal(t->dtype, SD_Q4_0);
        assert_int_equal(t->bytes, 36);
        assert_int_equal(((const uint8_t *)t->data)[35], 35);
        assert_null(sd_weights_at(w, 3));
        assert_null(sd_weights_at(w, -1));
        assert_null(sd_weights_find(w, "blk.0"));
        sd_weights_close(w);
        sd_buf_release(&b);
    }
}

static void counts_what_nobody_asked_for(void **state)
{
    (void)state;
    sd_buf b;
    sd_buf_init(&b, MAX_BYTES);
    gb_valid(&b, 3);
    sd_weights *w = open_bytes(&b, NULL);
    assert_non_null(sd_weights_find(w, "blk.0.ffn_up.weight"));
    assert_non_null(sd_weights_find(w, "output_norm.weight"));
    assert_true(sd_slice_eq_str(sd_weights_unasked(w)->name, "blk.0.ffn_down.weight"));
    assert_non_null(sd_weights_find(w, "blk.0.ffn_down.weight"));
    assert_null(sd_weights_unasked(w));
    sd_weights_close(w);
    sd_buf_release(&b);
}

static void metadata_only_needs_no_tensors(void **state)
{
    (void)state;
    sd_buf b;
    sd_slice s;
    sd_err err = {0};
    sd_buf_init(&b, MAX_BYTES);
    gb_header(&b, 3, 1, 1);
    gb_kv_str(&b, "general.architecture", "mamba");
    gb_tensor(&b, "odd", 1, (uint64_t[]){4}, 99, 0);
    sd_weights *w = open_bytes(&b, &(sd_weights_opt){.meta_only = true});
    assert_int_equal(sd_weights_count(w), 0);
    assert_null(sd_weights_find(w, "odd"));
    assert_null(sd_weights_unasked(w));
    t_ok(sd_weights_kv_str(w, "general.architecture", &s, &err), err);
    assert_true(sd_slice_eq_str(s, "mamba"));
    sd_weights_close(w);
    sd_buf_release(&b);
}

static void keeps_unknown_types_when_asked(void **state)
{
    (void)state;
    sd_buf b;
    sd_buf_init(&b, MAX_BYTES);
    gb_header(&b, 3, 1, 0);
    gb_tensor(&b, "odd", 1, (uint64_t[]){128}, 41, 0); /* Q1_0: 18 bytes a block of 128 */
    gb_pad(&b, 32);
    for (int i = 0; i < 18; i++) gb_u8(&b, 1);
    sd_weights *w = open_bytes(&b, &(sd_weights_opt){.keep_unknown = true});
    const sd_tensor *t = sd_weights_at(w, 0);
    assert_int_equal(t->dtype, SD_DTYPE_NONE);
    assert_string_equal(t->type_name, "Q1_0");
    assert_int_equal(t->bytes, 18);
    sd_weights_close(w);
    sd_buf_release(&b);
}

/* Sizes of blocks stand in two tables: what a file may hold, what can be computed with. */
static void block_tables_agree(void **state)
{
    (void)state;
    for (int d = SD_DTYPE_NONE + 1; d < SD_DTYPE_COUNT; d++) {
        const sd_dtype_info *info = sd_dtype_get((sd_dtype)d);
        if (!info->name || info->ggml_id < 0) continue;
        sd_buf b;
        sd_buf_init(&b, MAX_BYTES);
        gb_header(&b, 3, 1, 0);
        gb_tensor(&b, "t", 1, (uint64_t[]){256}, (uint32_t)info->ggml_id, 0);
        gb_pad(&b, 32);
        size_t bytes = (size_t)(256 / info->block) * info->bytes;
        for (size_t i = 0; i < bytes; i++) gb_u8(&b, 0);
        sd_weights *w = open_bytes(&b, NULL);
        assert_int_equal(sd_weights_at(w, 0)->bytes, bytes);
        assert_int_equal(sd_weights_at(w, 0)->dtype, d);
        assert_string_equal(sd_weights_at(w, 0)->type_name, info->name);
        sd_weights_close(w);
        sd_buf_release(&b);
    }
}

static void values(sd_buf *b)
{
    gb_header(b, 3, 0, 14);
    gb_key(b, "u8", SD_V_U8), gb_le(b, 200, 1);
    gb_key(b, "i8", SD_V_I8), gb_le(b, 0xff, 1);
    gb_key(b, "u16", SD_V_U16), gb_le(b, 60000, 2);
    gb_key(b, "i16", SD_V_I16), gb_le(b, 0xfffe, 2);
    gb_key(b, "u32", SD_V_U32), gb_le(b, 4000000000u, 4);
    gb_key(b, "i32", SD_V_I32), gb_le(b, 0xfffffffdu, 4);
    gb_key(b, "f32", SD_V_F32), gb_f32(b, 1.5f);
    gb_key(b, "yes", SD_V_BOOL), gb_le(b, 1, 1);
    gb_key(b, "maybe", SD_V_BOOL), gb_le(b, 2, 1);
    gb_key(b, "u64", SD_V_U64), gb_u64(b, UINT64_MAX);
    gb_key(b, "i64", SD_V_I64), gb_u64(b, 12);
    double v = 0.1;
    uint64_t bits;
    memcpy(&bits, &v, 8);
    gb_key(b, "f64", SD_V_F64), gb_u64(b, bits);
    gb_kv_str(b, "str", "text");
    gb_arr(b, "arr", SD_V_U16, 2), gb_le(b, 7, 2), gb_le(b, 8, 2);
}

static void getters_convert_or_say_the_type(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint64_t v;
    } good[] = {{"u8", 200}, {"u16", 60000}, {"u32", 4000000000u}, {"u64", UINT64_MAX}, {"i64", 12}, {"yes", 1}};
    static const char *const bad[] = {"i8", "i16", "i32", "f32", "f64", "maybe", "str", "arr"};
    sd_buf b;
    sd_err err = {0};
    uint64_t u;
    double f;
    sd_slice s;
    sd_kv_array a;
    sd_buf_init(&b, MAX_BYTES);
    values(&b);
    sd_weights *w = open_bytes(&b, NULL);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        t_ok(sd_weights_kv_u64(w, good[i].key, &u, &err), err);
        assert_true(u == good[i].v);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(sd_weights_kv_u64(w, bad[i], &u, &err), SD_E_FORMAT);
        assert_non_null(strstr(err.msg, bad[i]));
        assert_non_null(strstr(err.msg, "mem.gguf"));
    }
    t_ok(sd_weights_kv_f64(w, "f32", &f, &err), err);
    assert_true(f == 1.5);
    t_ok(sd_weights_kv_f64(w, "f64", &f, &err), err);
    assert_true(f == 0.1);
    t_ok(sd_weights_kv_f64(w, "i16", &f, &err), err);
    assert_true(f == -2.0);
    assert_int_equal(sd_weights_kv_f64(w, "str", &f, &err), SD_E_FORMAT);
    assert_int_equal(sd_weights_kv_f64(w, "yes", &f, &err), SD_E_FORMAT);
    t_ok(sd_weights_kv_str(w, "str", &s, &err), err);
    assert_true(sd_slice_eq_str(s, "text"));
    assert_int_equal(sd_weights_kv_str(w, "u8", &s, &err), SD_E_FORMAT);
    t_ok(sd_weights_kv_arr(w, "arr", &a, &err), err);
    assert_int_equal(a.type, SD_V_U16);
    assert_int_equal(a.n, 2);
    assert_int_equal(a.bytes, 4);
    assert_int_equal(a.p[2], 8);
    assert_int_equal(sd_weights_kv_arr(w, "str", &a, &err), SD_E_FORMAT);
    assert_true(sd_weights_has_kv(w, "arr"));
    assert_false(sd_weights_has_kv(w, "ar"));
    assert_int_equal(sd_weights_kv_u64(w, "llama.block_count", &u, &err), SD_E_NOTFOUND);
    assert_non_null(strstr(err.msg, "llama.block_count"));
    sd_weights_close(w);
    sd_buf_release(&b);
}

static void strings_of_arrays(void **state)
{
    (void)state;
    sd_buf b;
    sd_err err = {0};
    sd_kv_array a;
    sd_slice *s = NULL;
    sd_buf_init(&b, MAX_BYTES);
    gb_valid(&b, 3);
    sd_weights *w = open_bytes(&b, NULL);
    t_ok(sd_weights_kv_arr(w, "tokenizer.ggml.tokens", &a, &err), err);
    t_ok(sd_kv_array_strings(&a, &s, &err), err);
    assert_true(sd_slice_eq_str(s[0], "a"));
    assert_int_equal(s[1].n, 0);
    assert_true(sd_slice_eq_str(s[2], "\xc4\xa0the"));
    sd_free(s);
    a.n = INT64_MAX;
    assert_int_equal(sd_kv_array_strings(&a, &s, &err), SD_E_FORMAT);
    a.n = 3;
    a.bytes--;
    assert_int_equal(sd_kv_array_strings(&a, &s, &err), SD_E_FORMAT);
    assert_null(s);
    t_ok(sd_weights_kv_arr(w, "tokenizer.ggml.token_type", &a, &err), err);
    assert_int_equal(sd_kv_array_strings(&a, &s, &err), SD_E_FORMAT);
    sd_weights_close(w);
    sd_buf_release(&b);
}

static void no_prefix_opens(void **state)
{
    (void)state;
    sd_buf b;
    sd_err err = {0};
    sd_weights *w;
    sd_buf_init(&b, MAX_BYTES);
    gb_valid(&b, 3);
    int64_t live = sd_mem_live_blocks();
    for (size_t n = 0; n < b.n; n++) {
        /* A block of exactly n bytes, so that a read past the end is seen by the sanitizer. */
        void *p = sd_malloc(n ? n : 1);
        memcpy(p, b.p, n);
        sd_status st = sd_weights_open_bytes(&w, p, n, "cut.gguf", NULL, &err);
        if (st != SD_E_FORMAT) fail_msg("%zu of %zu bytes: status %d", n, b.n, (int)st);
        assert_null(w);
        assert_non_null(strstr(err.msg, "cut.gguf"));
        sd_free(p);
    }
    assert_int_equal(sd_mem_live_blocks(), live);
    sd_buf_release(&b);
}

static void order_and_gaps_are_free(void **state)
{
    (void)state;
    sd_buf b;
    sd_buf_init(&b, MAX_BYTES);
    gb_header(&b, 3, 4, 0);
    gb_tensor(&b, "late", 1, (uint64_t[]){2}, GB_F32, 96);
    gb_tensor(&b, "early", 1, (uint64_t[]){1}, GB_F32, 0);
    gb_tensor(&b, "empty", 2, (uint64_t[]){0, 5}, GB_F32, 0);
    gb_tensor(&b, "scalar", 0, NULL, GB_F32, 64);
    gb_pad(&b, 32);
    for (int i = 0; i < 26; i++) gb_f32(&b, (float)i);
    sd_weights *w = open_bytes(&b, NULL);
    assert_true(*(const float *)sd_weights_find(w, "late")->data == 24.0f);
    assert_true(*(const float *)sd_weights_find(w, "scalar")->data == 16.0f);
    assert_int_equal(sd_weights_find(w, "scalar")->rank, 0);
    assert_int_equal(sd_weights_find(w, "empty")->bytes, 0);
    assert_int_equal(sd_weights_find(w, "empty")->dim[0], 5);
    sd_weights_close(w);
    sd_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(reads_what_is_there),
        T(counts_what_nobody_asked_for),
        T(metadata_only_needs_no_tensors),
        T(keeps_unknown_types_when_asked),
        T(block_tables_agree),
        T(getters_convert_or_say_the_type),
        T(strings_of_arrays),
        T(no_prefix_opens),
        T(order_and_gaps_are_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
