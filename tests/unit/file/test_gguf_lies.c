/* GGUF files that lie: each is refused with the right status and a sentence that names the file and the place. */
#include "gguf_build.h"

#define MAX_BYTES ((size_t)1 << 20)

static void version_1(sd_buf *b)
{
    gb_header(b, 1, 0, 0);
}
static void version_4(sd_buf *b)
{
    gb_header(b, 4, 0, 0);
}
static void big_endian(sd_buf *b)
{
    gb_header(b, 0x03000000u, 0, 0);
}
static void many_entries(sd_buf *b)
{
    gb_header(b, 3, 0, UINT64_MAX);
}
static void many_tensors(sd_buf *b)
{
    gb_header(b, 3, UINT64_C(1) << 60, 0);
}
static void only_magic(sd_buf *b)
{
    sd_buf_puts(b, "GGUF");
}
static void key_too_long(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_u64(b, 65536);
    for (int i = 0; i < 70000; i++) gb_u8(b, 'k');
}
static void key_past_end(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_u64(b, UINT64_MAX - 7);
    gb_u64(b, 0);
}
static void key_not_utf8(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_kv_u32(b, "a\xff", 1);
}
static void key_with_escape(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_kv_u32(b, "\x1b[31mred", 1);
}
static void key_empty(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_kv_u32(b, "", 1);
}
static void key_twice(sd_buf *b)
{
    gb_header(b, 3, 0, 2);
    gb_kv_u32(b, "same.key", 1);
    gb_kv_u32(b, "same.key", 2);
}
static void value_type(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_key(b, "k.v", 13);
    gb_u64(b, 0);
}
static void value_past_end(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_key(b, "a", SD_V_STR);
    gb_u64(b, 1000);
}
static void array_of_arrays(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_arr(b, "k.arr", SD_V_ARR, 1);
    gb_u32(b, SD_V_U8);
    gb_u64(b, 0);
}
static void array_type(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_arr(b, "k.arr", 77, 1);
    gb_u64(b, 0);
}
static void array_count(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_arr(b, "k.arr", SD_V_F64, UINT64_C(1) << 61); /* times 8 is 0 in 64 bits */
    gb_u64(b, 0);
}
static void array_string_count(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_arr(b, "k.arr", SD_V_STR, UINT64_C(1) << 62);
    gb_u64(b, 0);
}
static void array_string_past_end(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_arr(b, "k.arr", SD_V_STR, 2);
    gb_str(b, "fine");
    gb_u64(b, 4000);
}
static void alignment_of(sd_buf *b, uint32_t v)
{
    gb_header(b, 3, 1, 1);
    gb_kv_u32(b, "general.alignment", v);
    gb_tensor(b, "t", 1, (uint64_t[]){1}, GB_F32, 0);
    gb_pad(b, 64);
    gb_f32(b, 1);
}
static void alignment_0(sd_buf *b)
{
    alignment_of(b, 0);
}
static void alignment_24(sd_buf *b)
{
    alignment_of(b, 24);
}
static void alignment_4(sd_buf *b)
{
    alignment_of(b, 4);
}
static void alignment_huge(sd_buf *b)
{
    alignment_of(b, 1u << 30);
}
static void alignment_text(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_kv_str(b, "general.alignment", "32");
}
static void split(sd_buf *b)
{
    gb_header(b, 3, 0, 1);
    gb_kv_u32(b, "split.count", 3);
}
static void one_tensor(sd_buf *b, uint32_t rank, const uint64_t *dim, uint32_t type, uint64_t offset)
{
    gb_header(b, 3, 1, 0);
    gb_tensor(b, "blk.3.ffn_up.weight", rank, dim, type, offset);
    gb_pad(b, 32);
    for (int i = 0; i < 256; i++) gb_u8(b, 0);
}
static void rank_9(sd_buf *b)
{
    one_tensor(b, 9, (uint64_t[9]){1, 1, 1, 1, 1, 1, 1, 1, 1}, GB_F32, 0);
}
static void rank_huge(sd_buf *b)
{
    gb_header(b, 3, 1, 0);
    gb_str(b, "blk.3.ffn_up.weight");
    gb_u32(b, UINT32_MAX);
    gb_u64(b, 0);
}
static void type_99(sd_buf *b)
{
    one_tensor(b, 1, (uint64_t[]){32}, 99, 0);
}
static void type_withdrawn(sd_buf *b)
{
    one_tensor(b, 1, (uint64_t[]){32}, 4, 0);
}
static void type_unread(sd_buf *b)
{
    one_tensor(b, 1, (uint64_t[]){128}, 41, 0);
}
static void past_end(sd_buf *b)
{
    one_tensor(b, 1, (uint64_t[]){65}, GB_F32, 0);
}
static void offset_past_end(sd_buf *b)
{
    one_tensor(b, 1, (uint64_t[]){1}, GB_F32, 4096);
}
static void offset_wraps(sd_buf *b)
{
    one_tensor(b, 1, (uint64_t[]){16}, GB_F32, UINT64_MAX - 31);
}
static void offset_unaligned(sd_buf *b)
{
    one_tensor(b, 1, (uint64_t[]){1}, GB_F32, 16);
}
static void product_wraps(sd_buf *b)
{
    one_tensor(b, 4, (uint64_t[]){UINT64_C(1) << 32, UINT64_C(1) << 32, 1, 1}, GB_F32, 0);
}
static void bytes_wrap(sd_buf *b)
{
    one_tensor(b, 1, (uint64_t[]){UINT64_C(1) << 62}, GB_F32, 0);
}
static void dim_negative(sd_buf *b)
{
    one_tensor(b, 1, (uint64_t[]){UINT64_MAX}, GB_F32, 0);
}
static void row_not_blocks(sd_buf *b)
{
    one_tensor(b, 2, (uint64_t[]){48, 2}, GB_Q8_0, 0);
}
static void name_too_long(sd_buf *b)
{
    char name[80];
    memset(name, 'n', 79);
    name[79] = 0;
    gb_header(b, 3, 1, 0);
    gb_tensor(b, name, 1, (uint64_t[]){1}, GB_F32, 0);
}
static void name_not_utf8(sd_buf *b)
{
    gb_header(b, 3, 1, 0);
    gb_tensor(b, "\xed\xa0\x80", 1, (uint64_t[]){1}, GB_F32, 0); /* a surrogate */
}
static void name_twice(sd_buf *b)
{
    gb_header(b, 3, 2, 0);
    gb_tensor(b, "same.weight", 1, (uint64_t[]){1}, GB_F32, 0);
    gb_tensor(b, "same.weight", 1, (uint64_t[]){1}, GB_F32, 32);
    gb_pad(b, 32);
    for (int i = 0; i < 64; i++) gb_u8(b, 0);
}
static void overlap(sd_buf *b)
{
    gb_header(b, 3, 2, 0);
    gb_tensor(b, "second.weight", 1, (uint64_t[]){4}, GB_F32, 32);
    gb_tensor(b, "first.weight", 1, (uint64_t[]){9}, GB_F32, 0); /* 36 bytes */
    gb_pad(b, 32);
    for (int i = 0; i < 64; i++) gb_u8(b, 0);
}
static void same_place(sd_buf *b)
{
    gb_header(b, 3, 2, 0);
    gb_tensor(b, "a.weight", 1, (uint64_t[]){4}, GB_F32, 0);
    gb_tensor(b, "b.weight", 1, (uint64_t[]){4}, GB_F32, 0);
    gb_pad(b, 32);
    for (int i = 0; i < 64; i++) gb_u8(b, 0);
}
static void no_padding(sd_buf *b)
{
    gb_header(b, 3, 1, 0);
    gb_tensor(b, "t", 1, (uint64_t[]){0}, GB_F32, 0);
}
static void not_gguf(sd_buf *b)
{
    sd_buf_puts(b, "GGML-no");
}
static void lfs_pointer(sd_buf *b)
{
    sd_buf_puts(b, "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
}
static void web_page(sd_buf *b)
{
    sd_buf_puts(b, "<!doctype html><title>log in</title>");
}

#define W(...) ((const char *const[]){__VA_ARGS__, NULL})
typedef struct lie {
    const char *name;
    void (*make)(sd_buf *);
    sd_status st;
    const char *const *word;
} lie;
#define LIE(f, st, ...)                                                                                                \
    {                                                                                                                  \
#f ".gguf", f, st, W(__VA_ARGS__)                                                                              \
    }

static void every_lie_is_refused_by_name(void **state)
{
    (void)state;
    const lie lies[] = {
        LIE(version_1, SD_E_UNSUPPORTED, "version 1"),
        LIE(version_4, SD_E_UNSUPPORTED, "version 4"),
        LIE(big_endian, SD_E_UNSUPPORTED, "big-endian"),
        LIE(many_entries, SD_E_FORMAT, "18446744073709551615 metadata entries"),
        LIE(many_tensors, SD_E_FORMAT, "1152921504606846976 tensors"),
        LIE(only_magic, SD_E_FORMAT, "header", "byte 4"),
        LIE(key_too_long, SD_E_FORMAT, "metadata entry 1 of 1", "longer", "byte 24"),
        LIE(key_past_end, SD_E_FORMAT, "metadata entry 1 of 1", "byte 24"),
        LIE(key_not_utf8, SD_E_FORMAT, "metadata entry 1", "byte 24", "UTF-8"),
        LIE(key_with_escape, SD_E_FORMAT, "metadata entry 1", "printable"),
        LIE(key_empty, SD_E_FORMAT, "metadata entry 1"),
        LIE(key_twice, SD_E_FORMAT, "same.key", "twice"),
        LIE(value_type, SD_E_FORMAT, "k.v", "type 13"),
        LIE(value_past_end, SD_E_FORMAT, "metadata entry 1 of 1", "ends early"),
        LIE(array_of_arrays, SD_E_UNSUPPORTED, "k.arr", "array of arrays"),
        LIE(array_type, SD_E_FORMAT, "k.arr", "type 77"),
        LIE(array_count, SD_E_FORMAT, "k.arr", "2305843009213693952"),
        LIE(array_string_count, SD_E_FORMAT, "k.arr", "4611686018427387904"),
        LIE(array_string_past_end, SD_E_FORMAT, "metadata entry 1 of 1", "ends early"),
        LIE(alignment_0, SD_E_FORMAT, "general.alignment is 0"),
        LIE(alignment_24, SD_E_FORMAT, "general.alignment is 24"),
        LIE(alignment_4, SD_E_FORMAT, "general.alignment is 4"),
        LIE(alignment_huge, SD_E_FORMAT, "padding"),
        LIE(alignment_text, SD_E_FORMAT, "general.alignment", "string"),
        LIE(split, SD_E_FORMAT, "first of 3 parts"),
        LIE(rank_9, SD_E_FORMAT, "blk.3.ffn_up.weight", "rank 9"),
        LIE(rank_huge, SD_E_FORMAT, "blk.3.ffn_up.weight", "rank 4294967295"),
        LIE(type_99, SD_E_UNSUPPORTED, "blk.3.ffn_up.weight", "type 99"),
        LIE(type_withdrawn, SD_E_UNSUPPORTED, "blk.3.ffn_up.weight", "type 4"),
        LIE(type_unread, SD_E_UNSUPPORTED, "blk.3.ffn_up.weight", "type 41 (Q1_0)"),
        LIE(past_end, SD_E_FORMAT, "tensor blk.3.ffn_up.weight ends at byte 356 of a file of 352"),
        LIE(offset_past_end, SD_E_FORMAT, "tensor blk.3.ffn_up.weight ends at byte 4196 of a file of 352"),
        LIE(offset_wraps, SD_E_FORMAT, "blk.3.ffn_up.weight", "beyond any file"),
        LIE(offset_unaligned, SD_E_FORMAT, "blk.3.ffn_up.weight", "offset 16", "multiple of 32"),
        LIE(product_wraps, SD_E_FORMAT, "blk.3.ffn_up.weight", "impossible dimensions"),
        LIE(bytes_wrap, SD_E_FORMAT, "blk.3.ffn_up.weight", "impossible dimensions"),
        LIE(dim_negative, SD_E_FORMAT, "blk.3.ffn_up.weight", "impossible dimensions"),
        LIE(row_not_blocks, SD_E_FORMAT, "blk.3.ffn_up.weight", "Q8_0", "rows of 48 in blocks of 32"),
        LIE(name_too_long, SD_E_FORMAT, "tensor entry 1 of 1", "longer"),
        LIE(name_not_utf8, SD_E_FORMAT, "tensor entry 1", "UTF-8"),
        LIE(name_twice, SD_E_FORMAT, "same.weight"),
        LIE(overlap, SD_E_FORMAT, "first.weight and second.weight overlap at byte 160"),
        LIE(same_place, SD_E_FORMAT, "a.weight and b.weight overlap"),
        LIE(no_padding, SD_E_FORMAT, "padding"),
        LIE(not_gguf, SD_E_FORMAT, "neither GGUF nor safetensors"),
        LIE(lfs_pointer, SD_E_FORMAT, "neither GGUF nor safetensors"),
        LIE(web_page, SD_E_FORMAT, "neither GGUF nor safetensors"),
    };
    const char *dir = t_tmpdir();
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        sd_buf b;
        sd_buf_init(&b, MAX_BYTES);
        lies[i].make(&b);
        gb_expect(&b, dir, lies[i].name, lies[i].st, lies[i].word);
        sd_buf_release(&b);
    }
    t_rmtree(dir);
}

/* A claim must not cost memory: the largest request stays under a small multiple of the file. */
static void claims_do_not_allocate(void **state)
{
    (void)state;
    sd_buf b;
    sd_err err = {0};
    sd_weights *w;
    sd_buf_init(&b, (size_t)8 << 20);
    gb_header(&b, 3, 100000, 100000); /* fits the bytes left by count, but the second entry is no entry */
    gb_kv_u32(&b, "first.key", 1);
    while (b.n < ((size_t)4 << 20)) gb_u64(&b, UINT64_MAX);
    sd_mem_info before = sd_mem_query();
    sd_mem_fail_nth(0);
    assert_int_equal(sd_weights_open_bytes(&w, b.p, b.n, "mem.gguf", NULL, &err), SD_E_FORMAT);
    int64_t requests = sd_mem_fail_nth(0);
    sd_mem_info after = sd_mem_query();
    assert_true(requests < 32);
    if (after.rss_peak && before.rss_peak) assert_true(after.rss_peak - before.rss_peak < (uint64_t)16 << 20);
    sd_buf_release(&b);
}

static void hints_say_what_to_do(void **state)
{
    (void)state;
    static const struct {
        void (*make)(sd_buf *);
        const char *word;
    } rows[] = {{past_end, "SHA-256"},     {array_count, "SHA-256"},      {key_past_end, "SHA-256"},
                {many_tensors, "SHA-256"}, {version_1, "convert"},        {type_unread, "Q8_0"},
                {lfs_pointer, "git lfs pull"}, {web_page, "web page"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sd_buf b;
        sd_err err = {0};
        sd_weights *w;
        sd_buf_init(&b, MAX_BYTES);
        rows[i].make(&b);
        assert_int_not_equal(sd_weights_open_bytes(&w, b.p, b.n, "mem.gguf", NULL, &err), SD_OK);
        if (!strstr(err.hint, rows[i].word)) fail_msg("\"%s\" is not hinted at: %s", rows[i].word, err.hint);
        sd_buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(every_lie_is_refused_by_name),
        T(claims_do_not_allocate),
        T(hints_say_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
