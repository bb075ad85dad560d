/* The tiny model of tiny_model.h as a GGUF: matrices in F32, Q8_0, Q4_0 or Q4_1, q and k rows in llama.cpp's order. */
#ifndef SD_TEST_TINY_GGUF_H
#define SD_TEST_TINY_GGUF_H

#include "tiny_model.h"

static inline void tiny_u32(sd_buf *b, uint32_t v)
{
    sd_buf_put(b, &v, 4);
}
static inline void tiny_u64(sd_buf *b, uint64_t v)
{
    sd_buf_put(b, &v, 8);
}
static inline void tiny_str(sd_buf *b, const char *s)
{
    tiny_u64(b, strlen(s));
    sd_buf_puts(b, s);
}
static inline void tiny_kv_u32(sd_buf *b, const char *key, int64_t v)
{
    tiny_str(b, key), tiny_u32(b, 4), tiny_u32(b, (uint32_t)v);
}
static inline void tiny_kv_str(sd_buf *b, const char *key, const char *v)
{
    tiny_str(b, key), tiny_u32(b, 8), tiny_str(b, v);
}
static inline void tiny_kv_arr(sd_buf *b, const char *key, uint32_t type, uint64_t n)
{
    tiny_str(b, key), tiny_u32(b, 9), tiny_u32(b, type), tiny_u64(b, n);
}

/* One block of 32 values by round to nearest: the simplest quantiser of each type. */
static inline void tiny_block(sd_buf *b, sd_dtype t, const float *x)
{
    float lo = x[0], hi = x[0], amax = 0;
    for (int i = 0; i < 32; i++) lo = fminf(lo, x[i]), hi = fmaxf(hi, x[i]), amax = fmaxf(amax, fabsf(x[i]));
    float d = t == SD_Q8_0 ? amax / 127 : t == SD_Q4_0 ? amax / 7 : (hi - lo) / 15;
    uint16_t h = sd_f32_to_f16(d), hm = sd_f32_to_f16(lo);
    float inv = d > 0 ? 1 / sd_f16_to_f32(h) : 0, m = sd_f16_to_f32(hm);
    sd_buf_put(b, &h, 2);
    if (t == SD_Q4_1) sd_buf_put(b, &hm, 2);
    if (t == SD_Q8_0) {
        for (int i = 0; i < 32; i++) sd_buf_putc(b, (char)(int8_t)fminf(127, fmaxf(-127, rintf(x[i] * inv))));
        return;
    }
    for (int i = 0; i < 16; i++) {
        int q[2];
        for (int k = 0; k < 2; k++) {
            float v = x[i + 16 * k];
            float r = t == SD_Q4_0 ? rintf(v * inv) + 8 : rintf((v - m) * inv);
            q[k] = (int)fminf(15, fmaxf(0, r));
        }
        sd_buf_putc(b, (char)(q[0] | q[1] << 4));
    }
}

static inline void tiny_pad(sd_buf *b, size_t align)
{
    while (b->n % align) sd_buf_putc(b, 0);
}

static inline void tiny_rows(sd_buf *b, const tiny_tensor *t, sd_dtype dtype)
{
    int64_t cols = t->rank == 2 ? t->dim[1] : 1, per_head = t->permute_heads ? t->dim[0] / t->permute_heads : 0;
    for (int64_t i = 0; i < t->dim[0]; i++) {
        int64_t from = i;
        if (per_head) { /* stored row 2j + k of a head is its row k*half + j */
            int64_t in = i % per_head;
            from = i - in + in % 2 * (per_head / 2) + in / 2;
        }
        const float *row = t->data + from * cols;
        if (dtype == SD_F32)
            sd_buf_put(b, row, (size_t)cols * 4);
        else
            for (int64_t c = 0; c < cols; c += 32) tiny_block(b, dtype, row + c);
    }
}

static inline void tiny_gguf_meta(sd_buf *b, const tiny_spec *s, int n_tensors)
{
    sd_buf_puts(b, "GGUF");
    tiny_u32(b, 3), tiny_u64(b, (uint64_t)n_tensors), tiny_u64(b, 16);
    tiny_kv_str(b, "general.architecture", s->model_type ? s->model_type : "llama");
    tiny_kv_str(b, "general.name", "tiny");
    tiny_kv_u32(b, "llama.block_count", s->n_layer), tiny_kv_u32(b, "llama.context_length", s->n_ctx);
    tiny_kv_u32(b, "llama.embedding_length", s->d), tiny_kv_u32(b, "llama.feed_forward_length", s->ffn);
    tiny_kv_u32(b, "llama.attention.head_count", s->n_head),
        tiny_kv_u32(b, "llama.attention.head_count_kv", s->n_head_kv);
    tiny_kv_u32(b, "llama.attention.key_length", s->d_head), tiny_kv_u32(b, "llama.attention.value_length", s->d_head);
    float eps = 1e-5f;
    tiny_str(b, "llama.attention.layer_norm_rms_epsilon"), tiny_u32(b, 6), sd_buf_put(b, &eps, 4);
    tiny_kv_str(b, "tokenizer.ggml.model", "gpt2"), tiny_kv_str(b, "tokenizer.ggml.pre", "gpt-2");
    tiny_kv_arr(b, "tokenizer.ggml.tokens", 8, TINY_VOCAB);
    for (int id = 0; id < TINY_VOCAB; id++) {
        char piece[32];
        tiny_piece(id, piece);
        tiny_str(b, piece);
    }
    tiny_kv_arr(b, "tokenizer.ggml.token_type", 5, TINY_VOCAB);
    for (int id = 0; id < TINY_VOCAB; id++) tiny_u32(b, id ? 1 : 3);
    tiny_kv_arr(b, "tokenizer.ggml.merges", 8, 3);
    for (int i = 0; i < 3; i++) tiny_str(b, tiny_merges[i]);
}

static inline void tiny_write_gguf(const char *path, const tiny_spec *s)
{
    tiny m;
    sd_buf b, data;
    sd_err err = {0};
    tiny_make(&m, s);
    sd_buf_init(&b, 1 << 26), sd_buf_init(&data, 1 << 26);
    tiny_gguf_meta(&b, s, m.n);
    for (int i = 0; i < m.n; i++) {
        const tiny_tensor *t = &m.t[i];
        sd_dtype dtype = t->rank == 2 && s->dtype ? s->dtype : SD_F32;
        tiny_str(&b, t->gguf);
        tiny_u32(&b, (uint32_t)t->rank);
        for (int k = t->rank - 1; k >= 0; k--) tiny_u64(&b, (uint64_t)t->dim[k]);
        tiny_u32(&b, (uint32_t)sd_dtype_get(dtype)->ggml_id);
        tiny_u64(&b, data.n);
        tiny_rows(&data, t, dtype);
        tiny_pad(&data, 32);
    }
    tiny_pad(&b, 32);
    sd_buf_put(&b, data.p, data.n);
    t_ok(sd_buf_check(&b, path, &err), err);
    t_ok(sd_file_write_atomic(path, b.p, b.n, &err), err);
    sd_buf_release(&b), sd_buf_release(&data);
    tiny_release(&m);
}

#endif
