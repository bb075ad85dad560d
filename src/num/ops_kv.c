/* The key-value cache: its layouts, and how rows go into it. */
#include "num/ops_kv_int.h"

#include "base/par.h"
#include "num/kern_ops.h"

#include <string.h>

int64_t sd_kv_cap(int64_t n_pos)
{
    return (n_pos + SD_KV_PANEL - 1) / SD_KV_PANEL * SD_KV_PANEL;
}

const char *sd_kv_type_name(sd_kv_type t)
{
    static const char *const names[] = {"default", "f32", "f16", "q8", "bf16"};
    SD_ASSERT((unsigned)t < sizeof names / sizeof *names);
    return names[t];
}

bool sd_kv_can(const sd_exec *ex, sd_kv_type type)
{
    return type != SD_KV_BF16 || sd_kern_half_select(ex->cpu.flags);
}

size_t sd_kv_row_bytes(sd_kv_type type, int d_head)
{
    if (type == SD_KV_Q8) return (size_t)d_head + (size_t)sd_kv_blocks(d_head) * sizeof(uint16_t);
    if (type == SD_KV_BF16) return (size_t)sd_kv__pairs(d_head) * sizeof(uint32_t);
    return (size_t)d_head * (type == SD_KV_F16 ? 2 : 4);
}

bool sd_kv_bytes(size_t *out, int64_t cap, int n_head, int d_head, sd_kv_type type)
{
    return cap >= 0 && sd_mul_size((size_t)cap, (size_t)n_head, out) && sd_mul_size(*out, sd_kv_row_bytes(type, d_head), out);
}

typedef struct kv_job {
    const sd_kern_ops *kern;
    const sd_kern_half *half; /* of a bf16 cache */
    sd_kv kv;
    int64_t pos0;
    sd_mat k, v;
} kv_job;

/* Position pos of one head: its bytes and scales go to lane pos % 16 of their panel. */
static void write_key_q8(const kv_job *j, int head, int64_t pos)
{
    enum { COLS = 1024 };
    const int64_t d = j->kv.d_head, lane = pos % SD_KV_PANEL;
    uint8_t *to = sd_kv__at(&j->kv, j->kv.k, head, pos - lane) + lane, *scale = to + d * SD_KV_PANEL + lane;
    const float *from = sd_mat_row(j->k, pos - j->pos0) + head * d;
    for (int64_t c0 = 0; c0 < d; c0 += COLS) { /* a multiple of SD_KV_BLOCK */
        const int64_t n = d - c0 < COLS ? d - c0 : COLS;
        int8_t q[COLS];
        uint16_t s[COLS / SD_KV_BLOCK];
        j->kern->to_q8(q, s, from + c0, n);
        for (int64_t c = 0; c < n; c++) to[(c0 + c) * SD_KV_PANEL] = (uint8_t)q[c];
        for (int64_t b = 0; b < sd_kv_blocks(n); b++) memcpy(scale + (c0 / SD_KV_BLOCK + b) * SD_KV_PANEL * 2, &s[b], 2);
    }
}

/* Positions [pos, pos + n) of one panel and one head. */
static void write_keys_half(const kv_job *j, int head, int64_t pos, int64_t n)
{
    enum { COLS = 64, PAIRS = COLS / 2 };
    const int64_t d = j->kv.d_head, lane = pos % SD_KV_PANEL;
    uint32_t *panel = (uint32_t *)(void *)sd_kv__at(&j->kv, j->kv.k, head, pos - lane) + lane;
    for (int64_t c0 = 0; c0 < d; c0 += COLS) {
        const int64_t nc = d - c0 < COLS ? d - c0 : COLS;
        uint32_t one[PAIRS], t[PAIRS * SD_KV_PANEL];
        for (int64_t i = 0; i < n; i++) {
            j->half->row(one, sd_mat_row(j->k, pos - j->pos0 + i) + head * d + c0, nc);
            for (int64_t c = 0; c < sd_kv__pairs(nc); c++) t[c * n + i] = one[c];
        }
        for (int64_t c = 0; c < sd_kv__pairs(nc); c++) memcpy(panel + (c0 / 2 + c) * SD_KV_PANEL, t + c * n, (size_t)n * sizeof *t);
    }
}

static void write_values_half(const kv_job *j, int head, int64_t pos, int64_t n)
{
    enum { COLS = 64 };
    const int64_t d = j->kv.d_head;
    for (int64_t i = pos; i < pos + n; i++) {
        const float *x = sd_mat_row(j->v, i - j->pos0) + head * d;
        uint32_t *to = (uint32_t *)(void *)sd_kv__at(&j->kv, j->kv.v, head, i / 2 * 2), one[COLS];
        if (i % 2 == 0 && i + 1 < pos + n) {
            j->half->pair(to, x, sd_mat_row(j->v, i + 1 - j->pos0) + head * d, d);
            i++;
            continue;
        }
        const uint32_t mask = i % 2 ? 0xffff0000u : 0xffffu; /* the other half is another position's */
        for (int64_t c0 = 0; c0 < d; c0 += COLS) {
            const int64_t nc = d - c0 < COLS ? d - c0 : COLS;
            j->half->pair(one, x + c0, x + c0, nc);
            for (int64_t c = 0; c < nc; c++) to[c0 + c] = (to[c0 + c] & ~mask) | (one[c] & mask);
        }
    }
}

static void write_keys(const kv_job *j, int head, int64_t pos, int64_t n)
{
    enum { COLS = 64 };
    const bool half = j->kv.type == SD_KV_F16;
    int64_t d = j->kv.d_head, lane = pos % SD_KV_PANEL, width = half ? 2 : 4;
    uint8_t *panel = sd_kv__at(&j->kv, j->kv.k, head, pos - lane);
    if (j->kv.type == SD_KV_Q8) {
        for (int64_t i = 0; i < n; i++) write_key_q8(j, head, pos + i);
        return;
    }
    for (int64_t c0 = 0; c0 < d; c0 += COLS) {
        int64_t nc = d - c0 < COLS ? d - c0 : COLS;
        float t[COLS * SD_KV_PANEL];
        uint16_t h[COLS * SD_KV_PANEL];
        for (int64_t c = 0; c < nc; c++)
            for (int64_t i = 0; i < n; i++) t[c * n + i] = sd_mat_row(j->k, pos - j->pos0 + i)[head * d + c0 + c];
        if (half) j->kern->to_f16(h, t, nc * n);
        for (int64_t c = 0; c < nc; c++) {
            void *to = panel + ((c0 + c) * SD_KV_PANEL + lane) * width;
            if (half)
                memcpy(to, h + c * n, (size_t)n * 2);
            else
                memcpy(to, t + c * n, (size_t)n * 4);
        }
    }
}

static void write_value_q8(const kv_job *j, uint8_t *to, const float *from)
{
    enum { COLS = 1024 };
    const int64_t d = j->kv.d_head;
    for (int64_t c0 = 0; c0 < d; c0 += COLS) {
        const int64_t n = d - c0 < COLS ? d - c0 : COLS;
        uint16_t s[COLS / SD_KV_BLOCK]; /* the row's own place may be odd */
        j->kern->to_q8((int8_t *)to + c0, s, from + c0, n);
        memcpy(to + d + c0 / SD_KV_BLOCK * 2, s, (size_t)sd_kv_blocks(n) * 2);
    }
}

static void write_values(const kv_job *j, int head, int64_t pos, int64_t n)
{
    int64_t d = j->kv.d_head;
    for (int64_t i = 0; i < n; i++) {
        const float *from = sd_mat_row(j->v, pos - j->pos0 + i) + head * d;
        void *to = sd_kv__at(&j->kv, j->kv.v, head, pos + i);
        if (j->kv.type == SD_KV_Q8)
            write_value_q8(j, to, from);
        else if (j->kv.type == SD_KV_F16)
            j->kern->to_f16(to, from, d);
        else
            memcpy(to, from, (size_t)d * 4);
    }
}

static void kv_panels(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const kv_job *j = arg;
    int64_t panel0 = j->pos0 / SD_KV_PANEL, limit = j->pos0 + j->k.rows;
    for (int64_t p = panel0 + begin; p < panel0 + end; p++) {
        int64_t from = p * SD_KV_PANEL > j->pos0 ? p * SD_KV_PANEL : j->pos0;
        int64_t to = (p + 1) * SD_KV_PANEL < limit ? (p + 1) * SD_KV_PANEL : limit;
        for (int h = 0; h < j->kv.n_head; h++) {
            if (j->half) {
                write_keys_half(j, h, from, to - from);
                write_values_half(j, h, from, to - from);
                continue;
            }
            write_keys(j, h, from, to - from);
            write_values(j, h, from, to - from);
        }
    }
}

void sd_kv_write(const sd_exec *ex, sd_kv kv, int64_t pos0, sd_mat k, sd_mat v)
{
    SD_ASSERT(pos0 >= 0 && pos0 + k.rows <= kv.cap && k.rows == v.rows);
    SD_ASSERT(k.cols == (int64_t)kv.n_head * kv.d_head && v.cols == k.cols);
    if (k.rows == 0) return;
    kv_job j = {.kern = sd_kern_ops_select(ex->cpu.flags), .half = sd_kv__half(ex, kv.type), .kv = kv, .pos0 = pos0, .k = k, .v = v};
    int64_t n_panel = (pos0 + k.rows - 1) / SD_KV_PANEL - pos0 / SD_KV_PANEL + 1;
    sd_parallel_for(ex->n_threads, n_panel, 4, kv_panels, &j);
}
