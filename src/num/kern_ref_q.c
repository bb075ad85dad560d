/* The meaning of the quantised and bf16 slots, in plain C. */
#include "num/kern.h"
#include "num/kern_ref.h"
#include "num/dtype.h"
#include <float.h>
#include <math.h>
#include <string.h>

SD_REF_CLONES static void tile_bf16_ref(const sd_tile *t)
{
    for (int64_t i = 0; i < t->m; i++) {
        const uint16_t *x = (const uint16_t *)t->x + i * t->ldx, *w = t->w;
        float *y = t->y + i * t->ldy;
        if (!t->carry) memset(y, 0, SD_PANEL * sizeof *y);
        for (int64_t p = 0; p < t->k; p += 2, w += 2 * SD_PANEL) {
            const float even = sd_bf16_to_f32(x[p]), odd = sd_bf16_to_f32(x[p + 1]);
            for (int j = 0; j < SD_PANEL; j++) {
                y[j] = fmaf(odd, sd_bf16_to_f32(w[2 * j + 1]), y[j]);
                y[j] = fmaf(even, sd_bf16_to_f32(w[2 * j]), y[j]);
            }
        }
    }
}

static void to_bf16_ref(uint16_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) dst[i] = sd_f32_to_bf16(src[i]);
}

static inline float half_at(const uint8_t *p)
{
    return sd_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* Number of line l, byte i (input l * 4 + i % 4 of output 16 g + i / 4) of a packed block. */
static int value_at(const uint8_t *v, sd_qform f, int g, int l, int i)
{
    static const uint8_t book[16] = {SD_QBOOK};
    if (f.bits == 8) return v[512 * g + 64 * l + i];
    if (f.bits < 4) {
        const int low = v[128 * g + l % 2 * 64 + i] >> 2 * (l / 2) & 3;
        return f.bits == 2 ? low : low | (v[256 + 64 * g + 8 * l + i / 8] >> i % 8 & 1) << 2;
    }
    const int low = v[256 * g + l % 4 * 64 + i] >> 4 * (l / 4) & 15;
    if (f.bits == 5) return low | (v[512 + 64 * g + 8 * l + i / 8] >> i % 8 & 1) << 4;
    if (f.bits == 6) return low | (v[512 + 128 * g + l % 2 * 64 + i] >> 2 * (l / 2) & 3) << 4;
    return f.book ? book[low] : low;
}

/* Scales and minima of output j, block b of the super at p: into s [halves][SD_PANEL], m the same. */
static void scales_at(float *s, const uint8_t *p, sd_qform f, int b, int j)
{
    const int n = f.halves ? 2 : 1;
    const float d = half_at(p + 2 * j), dm = f.min ? half_at(p + 2 * SD_PANEL + 2 * j) : 0.0f;
    const uint8_t *sub = p + (f.min ? 4 : 2) * SD_PANEL + b * f.subs * SD_PANEL + j;
    for (int h = 0; h < n; h++, s += SD_PANEL) {
        if (f.subs == 0) {
            s[j] = d;
            if (f.min) s[n * SD_PANEL + j] = dm;
        } else if (f.bits == 2) {
            s[j] = d * (float)(sub[h * SD_PANEL] & 15);
            s[n * SD_PANEL + j] = dm * (float)(sub[h * SD_PANEL] >> 4);
        } else if (f.min) {
            s[j] = d * (float)sub[0];
            s[SD_PANEL + j] = dm * (float)sub[SD_PANEL];
        } else {
            s[j] = d * (float)(int8_t)sub[h * SD_PANEL];
        }
    }
}

static void unpack_q_ref(const sd_qunpack *u)
{
    const sd_qform f = sd_qform_of(u->kind);
    const uint8_t *p = u->packed;
    uint8_t *to = u->bytes;
    float *s = u->scales;
    for (int64_t k = 0; k < u->n_block; k += f.blocks, p += sd_qsuper_bytes(f))
        for (int b = 0; b < f.blocks; b++, s += sd_qscale_floats(f)) {
            const uint8_t *v = p + sd_qhead_bytes(f) + b * sd_qvalue_bytes(f);
            for (int j = 0; j < SD_PANEL; j++) scales_at(s, p, f, b, j);
            for (int i = 0; u->bytes && i < SD_QBYTE_BYTES; i++)
                *to++ = (uint8_t)value_at(v, f, i / 512, i / 64 % 8, i % 64);
        }
}

SD_REF_CLONES static void block_ref(float *y, const uint8_t *v, const float *s, const int8_t *q, const sd_qact *a, sd_qform f)
{
    const int n = f.halves ? 2 : 1, inputs = SD_QBLOCK / n;
    for (int j = 0; j < SD_PANEL; j++)
        for (int h = 0; h < n; h++) {
            int sum = 0, all = 0;
            for (int t = h * inputs; t < (h + 1) * inputs; t++) {
                sum += (v[j / 16 * 512 + t / 4 * 64 + j % 16 * 4 + t % 4] - f.zero) * q[t];
                all += q[t];
            }
            y[j] = fmaf((float)sum, s[h * SD_PANEL + j] * a->d, y[j]);
            if (f.min) y[j] = fmaf(s[(n + h) * SD_PANEL + j], f.halves ? a->d * (float)all : a->ds, y[j]);
        }
}

static void tile_q8_ref(const sd_qtile *t)
{
    const sd_qform f = sd_qform_of(t->kind);
    for (int64_t i = 0; i < t->m; i++) {
        float *y = t->y + i * t->ldy;
        if (!t->carry) memset(y, 0, SD_PANEL * sizeof *y);
        for (int64_t b = 0; b < t->n_block; b++)
            block_ref(y, t->values + b * t->value_step, t->scales + b * sd_qscale_floats(f),
                      t->q + i * t->ldq + b * SD_QBLOCK, &t->act[i * t->ld_act + b], f);
    }
}

static void tile_qpack_ref(const sd_qtile *t)
{
    uint8_t bytes[SD_QSUPER * SD_QBYTE_BYTES];
    float scales[SD_QSUPER * SD_PANEL * 4];
    const sd_qform f = sd_qform_of(t->kind);
    sd_qtile piece = *t;
    piece.values = bytes, piece.value_step = SD_QBYTE_BYTES, piece.scales = scales, piece.n_block = f.blocks;
    if (t->n_block == 0) tile_q8_ref(t);
    for (int64_t b = 0; b < t->n_block; b += f.blocks) {
        unpack_q_ref(&(sd_qunpack){bytes, scales, t->values + b / f.blocks * sd_qsuper_bytes(f), f.blocks, t->kind});
        piece.q = t->q + b * SD_QBLOCK, piece.act = t->act + b, piece.carry = t->carry || b > 0;
        tile_q8_ref(&piece);
    }
}

static void spread_q_ref(const sd_spread *t)
{
    for (int i = 0; i < t->n; i++)
        tile_qpack_ref(&(sd_qtile){.y = t->y[i], .ldy = SD_PANEL, .q = t->x, .act = t->act, .values = t->w[i], .m = 1, .n_block = t->k / SD_QBLOCK, .kind = t->kind});
}

static void quantise_ref(int8_t *q, sd_qact *act, const float *x, int64_t n_block)
{
    for (int64_t b = 0; b < n_block; b++, q += SD_QBLOCK, x += SD_QBLOCK) {
        float top = 0.0f;
        int sum = 0, low = 0;
        bool finite = true;
        for (int i = 0; i < SD_QBLOCK; i++) {
            const float v = fabsf(x[i]);
            finite = finite && isfinite(v);
            top = v > top ? v : top;
        }
        const float d = top / 127.0f;
        const bool live = finite && d >= FLT_MIN; /* below, 1/d overflows */
        const float inv = live ? 1.0f / d : 0.0f;
        for (int i = 0; i < SD_QBLOCK; i++) {
            q[i] = live ? (int8_t)lrintf(x[i] * inv) : 0;
            sum += q[i];
            if (i < SD_QBLOCK / 2) low += q[i];
        }
        act[b].d = live ? d : finite ? 0.0f : NAN;
        act[b].ds = act[b].d * (float)sum;
        act[b].nsum = -sum;
        act[b].nlow = -low;
    }
}

void sd_kern__group_q(sd_qgroup *to, const int8_t *q, int64_t ldq, const sd_qact *act, int64_t ld_act, int64_t m, int64_t n_block)
{
    if (m < SD_QGROUP_ROWS) memset(to, 0, (size_t)n_block * sizeof *to);
    for (int64_t b = 0; b < n_block; b++, to++, q += SD_QBLOCK, act++)
        for (int64_t k = 0; k < m; k++) {
            const sd_qact *a = act + k * ld_act;
            memcpy(to->q[k], q + k * ldq, SD_QBLOCK);
            to->d[k] = a->d;
            to->ds[k] = a->ds;
            to->low[k] = a->d * (float)-a->nlow;
            to->high[k] = a->d * (float)-(a->nsum - a->nlow);
        }
}

void sd_kern_fill_ref_q(sd_kern *k)
{
    k->tile_bf16 = tile_bf16_ref;
    k->to_bf16 = to_bf16_ref;
    k->tile_q8 = tile_q8_ref;
    k->tile_qpack = tile_qpack_ref;
    k->spread_q = spread_q_ref;
    k->unpack_q = unpack_q_ref;
    k->quantise = quantise_ref;
}
