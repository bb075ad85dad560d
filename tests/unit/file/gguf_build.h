/* Builds GGUF files byte by byte, true or lying: every count, length, type and offset is what the test says.
 * Also the check that all such tests share: opening gives this status and a sentence with the file and these words. */
#ifndef SD_TEST_GGUF_BUILD_H
#define SD_TEST_GGUF_BUILD_H

#include "t.h"
#include "base/map.h"
#include "file/weights_int.h"

enum { GB_F32 = 0, GB_F16 = 1, GB_Q4_0 = 2, GB_Q8_0 = 8 };

static inline void gb_u8(sd_buf *b, unsigned v)
{
    sd_buf_putc(b, (char)(uint8_t)v);
}
static inline void gb_le(sd_buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) gb_u8(b, (unsigned)(v >> (8 * i)) & 0xff);
}
static inline void gb_u32(sd_buf *b, uint32_t v)
{
    gb_le(b, v, 4);
}
static inline void gb_u64(sd_buf *b, uint64_t v)
{
    gb_le(b, v, 8);
}
static inline void gb_strn(sd_buf *b, const char *s, size_t n)
{
    gb_u64(b, n);
    sd_buf_put(b, s, n);
}
static inline void gb_str(sd_buf *b, const char *s)
{
    gb_strn(b, s, strlen(s));
}

static inline void gb_header(sd_buf *b, uint32_t version, uint64_t n_tensor, uint64_t n_kv)
{
    sd_buf_puts(b, "GGUF");
    gb_u32(b, version);
    gb_u64(b, n_tensor);
    gb_u64(b, n_kv);
}
/* A key and its type; the value follows. */
static inline void gb_key(sd_buf *b, const char *key, uint32_t type)
{
    gb_str(b, key);
    gb_u32(b, type);
}
static inline void gb_kv_u32(sd_buf *b, const char *key, uint32_t v)
{
    gb_key(b, key, SD_V_U32);
    gb_u32(b, v);
}
static inline void gb_kv_str(sd_buf *b, const char *key, const char *v)
{
    gb_key(b, key, SD_V_STR);
    gb_str(b, v);
}
static inline void gb_arr(sd_buf *b, const char *key, uint32_t elem, uint64_t n)
{
    gb_key(b, key, SD_V_ARR);
    gb_u32(b, elem);
    gb_u64(b, n);
}
/* dim: innermost first, as in the file. */
static inline void gb_tensor(sd_buf *b, const char *name, uint32_t rank, const uint64_t *dim, uint32_t type,
                             uint64_t offset)
{
    gb_str(b, name);
    gb_u32(b, rank);
    for (uint32_t i = 0; i < rank; i++) gb_u64(b, dim[i]);
    gb_u32(b, type);
    gb_u64(b, offset);
}
static inline void gb_pad(sd_buf *b, size_t alignment)
{
    while (b->n % alignment) gb_u8(b, 0);
}
static inline void gb_f32(sd_buf *b, float v)
{
    uint32_t u;
    memcpy(&u, &v, 4);
    gb_u32(b, u);
}

/* A small true file: four metadata entries, `up` [3,32] f32 of 0, 1, 2, .., `q` [2,32] Q4_0, `norm` [5] f16. */
static inline void gb_valid(sd_buf *b, uint32_t version)
{
    gb_header(b, version, 3, 4);
    gb_kv_str(b, "general.architecture", "llama");
    gb_kv_u32(b, "llama.block_count", 7);
    gb_arr(b, "tokenizer.ggml.tokens", SD_V_STR, 3);
    gb_str(b, "a");
    gb_str(b, "");
    gb_str(b, "\xc4\xa0the");
    gb_arr(b, "tokenizer.ggml.token_type", SD_V_I32, 3);
    for (uint32_t i = 1; i <= 3; i++) gb_u32(b, i);
    gb_tensor(b, "blk.0.ffn_up.weight", 2, (uint64_t[]){32, 3}, GB_F32, 0);
    gb_tensor(b, "blk.0.ffn_down.weight", 2, (uint64_t[]){32, 2}, GB_Q4_0, 384);
    gb_tensor(b, "output_norm.weight", 1, (uint64_t[]){5}, GB_F16, 448);
    gb_pad(b, 32);
    for (int i = 0; i < 96; i++) gb_f32(b, (float)i);
    for (int i = 0; i < 36; i++) gb_u8(b, (unsigned)i);
    gb_pad(b, 32);
    for (int i = 0; i < 10; i++) gb_u8(b, (unsigned)i);
}

/* Writes the bytes to dir/name and opens it: the status, and a sentence that has the path and the words. Nothing leaks.
 */
static inline void gb_expect(const sd_buf *b, const char *dir, const char *name, sd_status want,
                             const char *const *word)
{
    char path[512];
    sd_err err = {0};
    sd_weights *w = NULL;
    assert_true(sd_path_join(path, sizeof path, dir, name));
    assert_false(b->failed);
    t_ok(sd_file_write_atomic(path, b->p, b->n, &err), err);
    int64_t live = sd_mem_live_blocks();
    sd_status st = sd_weights_open(&w, path, &err);
    if (st != want) fail_msg("%s: status %s, expected %s: %s", name, sd_status_name(st), sd_status_name(want), err.msg);
    sd_weights_close(w);
    assert_int_equal(sd_mem_live_blocks(), live);
    if (want == SD_OK) return;
    assert_null(w);
    if (!strstr(err.msg, path)) fail_msg("the file is not named: %s", err.msg);
    for (; word && *word; word++)
        if (!strstr(err.msg, *word)) fail_msg("\"%s\" is not said: %s", *word, err.msg);
}

#endif
