/* Loops whose every element is one or two roundings: written once in plain C and compiled by each ISA's file with its
 * own flags. -ffp-contract=off keeps the roundings, so the bits are the same on every ISA. */
#ifndef SD_NUM_KERN_OPS_PLAIN_H
#define SD_NUM_KERN_OPS_PLAIN_H

#include "num/kern_ops.h"

#include <stdint.h>
#include <string.h>

static void plain_add(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

static void plain_rope(float *restrict x, const float *restrict cos, const float *restrict sin, int64_t half)
{
    float *restrict hi = x + half;
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = hi[i];
        x[i] = a * cos[i] - b * sin[i];
        hi[i] = b * cos[i] + a * sin[i];
    }
}

/* bf16 as the upper half of an f32: decoding is a shift in every vector set. */
static float plain_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static void plain_to_q8(int8_t *restrict q, uint16_t *restrict scale, const float *restrict src, int64_t d)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it leaves no room for a fraction */
    for (int64_t b = 0; b < d; b += SD_KV_BLOCK) {
        const int64_t n = d - b < SD_KV_BLOCK ? d - b : SD_KV_BLOCK;
        uint32_t most = 0, bits; /* magnitudes as integers are in order, NaN and infinity above all */
        for (int64_t i = 0; i < n; i++) {
            memcpy(&bits, src + b + i, sizeof bits);
            bits &= 0x7fffffffu;
            most = bits > most ? bits : most;
        }
        float max, s = 0;
        memcpy(&max, &most, sizeof max);
        uint16_t h = 0;
        if (most >= 0x7f800000u)
            h = 0x7fc0;
        else if (max >= 1e-30f) {
            s = max / 127.0f;
            memcpy(&bits, &s, sizeof bits);
            h = (uint16_t)((bits + 0xffffu) >> 16);
        }
        const float inv = h && h != 0x7fc0 ? 1.0f / plain_bf16(h) : 0.0f;
        for (int64_t i = 0; i < n; i++) q[b + i] = inv > 0 ? (int8_t)((src[b + i] * inv + magic) - magic) : 0;
        scale[b / SD_KV_BLOCK] = h;
    }
}

static void plain_keys_q8(float *restrict dst, const void *panel, int64_t d)
{
    enum { LANES = 16 };
    const int8_t *q = panel;
    for (int64_t b = 0; b < d; b += SD_KV_BLOCK) {
        const int64_t end = b + SD_KV_BLOCK < d ? b + SD_KV_BLOCK : d;
        uint16_t h[LANES];
        float s[LANES];
        memcpy(h, q + d * LANES + b / SD_KV_BLOCK * LANES * 2, sizeof h);
        for (int j = 0; j < LANES; j++) s[j] = plain_bf16(h[j]);
        for (int64_t c = b; c < end; c++)
            for (int j = 0; j < LANES; j++) dst[c * LANES + j] = (float)q[c * LANES + j] * s[j];
    }
}

static void plain_values_q8(float *restrict dst, const void *row, int64_t d)
{
    const int8_t *q = row;
    for (int64_t b = 0; b < d; b += SD_KV_BLOCK) {
        const int64_t end = b + SD_KV_BLOCK < d ? b + SD_KV_BLOCK : d;
        uint16_t h;
        memcpy(&h, q + d + b / SD_KV_BLOCK * 2, sizeof h);
        const float s = plain_bf16(h);
        for (int64_t c = b; c < end; c++) dst[c] = (float)q[c] * s;
    }
}

#endif
