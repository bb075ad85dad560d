/* Every op that learns, forward and backward under one formula, in plain loops over sd_real: include it once with float
 * and once with double (REF(name) gives each its names). Backward adds to its outputs. */
#ifndef SD_REF_HEADERS
#define SD_REF_HEADERS
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#define SD_REF_CAT(a, b)  a##_##b
#define SD_REF_NAME(a, b) SD_REF_CAT(a, b)
enum { REF_SILU, REF_GELU_TANH, REF_GELU_ERF, REF_GELU_QUICK, REF_RELU };
#endif
#ifndef sd_real
#define sd_real double
#endif
#define REF(f) SD_REF_NAME(f, sd_real)

/* y_i = g_i (x_i - mu) r + b_i, r = 1/sqrt(mean((x - mu)^2) + eps); mu = mean(x) for a layer norm, 0 for an RMS norm.
 * gx_i = r (t_i - [layer] mean(t) - xh_i mean(t xh)), t = g gy, xh = (x - mu) r;  gg_i = gy_i xh_i;  gb_i = gy_i */
static inline void REF(norm_fwd)(sd_real *y, const sd_real *x, const sd_real *g, const sd_real *b, int layer,
                                 sd_real eps, int n)
{
    sd_real mu = 0, s = 0;
    for (int i = 0; layer && i < n; i++) mu += x[i] / (sd_real)n;
    for (int i = 0; i < n; i++) s += (x[i] - mu) * (x[i] - mu) / (sd_real)n;
    for (int i = 0; i < n; i++) y[i] = g[i] * (x[i] - mu) / (sd_real)sqrt((double)(s + eps)) + (b ? b[i] : 0);
}
static inline void REF(norm_bwd)(sd_real *gx, sd_real *gg, sd_real *gb, const sd_real *gy, const sd_real *x,
                                 const sd_real *g, int layer, sd_real eps, int n)
{
    sd_real mu = 0, s = 0, mt = 0, mtx = 0;
    for (int i = 0; layer && i < n; i++) mu += x[i] / (sd_real)n;
    for (int i = 0; i < n; i++) s += (x[i] - mu) * (x[i] - mu) / (sd_real)n;
    const sd_real r = 1 / (sd_real)sqrt((double)(s + eps));
    for (int i = 0; i < n; i++) {
        mt += layer ? g[i] * gy[i] / (sd_real)n : 0;
        mtx += g[i] * gy[i] * (x[i] - mu) * r / (sd_real)n;
    }
    for (int i = 0; i < n; i++) {
        const sd_real xh = (x[i] - mu) * r;
        gx[i] += r * (g[i] * gy[i] - mt - xh * mtx);
        gg[i] += gy[i] * xh;
        gb[i] += gy[i];
    }
}

/* h = f(g) u;  gg = gh u f'(g), gu = gh f(g).  silu x s(x); gelu x Phi(x), Phi by erf or by tanh; quick x s(1.702 x) */
static inline void REF(gate)(int f, sd_real x, sd_real *y, sd_real *dy)
{
    const double v = (double)x;
    double a = 0, b = 0;
    if (f == REF_SILU || f == REF_GELU_QUICK) {
        const double c = f == REF_SILU ? 1 : 1.702, s = 1 / (1 + exp(-c * v));
        a = v * s, b = s + c * v * s * (1 - s);
    } else if (f == REF_GELU_TANH) {
        const double k = sqrt(2 / 3.14159265358979323846), t = tanh(k * (v + 0.044715 * v * v * v));
        a = 0.5 * v * (1 + t), b = 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * k * (1 + 3 * 0.044715 * v * v);
    } else if (f == REF_GELU_ERF) {
        const double c = 0.5 * (1 + erf(v / sqrt(2)));
        a = v * c, b = c + v * exp(-v * v / 2) / sqrt(2 * 3.14159265358979323846);
    } else
        a = v > 0 ? v : 0, b = v > 0;
    *y = (sd_real)a, *dy = (sd_real)b;
}

/* o_i = sum_j p_ij v_j, p = softmax over j <= i, i - j < window of cap(scale q_i.k_j). One head of width d; backward as
 * in num/ops_grad.h. p [n, n] scratch. */
static inline void REF(attn_p)(sd_real *p, sd_real *slope, const sd_real *q, const sd_real *k, int n, int d,
                               sd_real scale, sd_real cap, int window)
{
    for (int i = 0; i < n; i++) {
        sd_real sum = 0;
        for (int j = 0; j < n; j++) {
            sd_real s = 0;
            for (int c = 0; c < d; c++) s += q[i * d + c] * k[j * d + c];
            s *= scale;
            const sd_real t = cap > 0 ? (sd_real)tanh((double)(s / cap)) : 0;
            slope[i * n + j] = cap > 0 ? 1 - t * t : 1;
            p[i * n + j] = j > i || (window > 0 && i - j >= window) ? 0 : (sd_real)exp((double)(cap > 0 ? cap * t : s));
            sum += p[i * n + j];
        }
        for (int j = 0; j < n; j++) p[i * n + j] /= sum;
    }
}
static inline void REF(attn_fwd)(sd_real *o, sd_real *p, sd_real *slope, const sd_real *q, const sd_real *k,
                                 const sd_real *v, int n, int d, sd_real scale, sd_real cap, int window)
{
    REF(attn_p)(p, slope, q, k, n, d, scale, cap, window);
    for (int i = 0; i < n * d; i++) o[i] = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            for (int c = 0; c < d; c++) o[i * d + c] += p[i * n + j] * v[j * d + c];
}
static inline void REF(attn_bwd)(sd_real *gq, sd_real *gk, sd_real *gv, sd_real *p, sd_real *slope, const sd_real *go,
                                 const sd_real *q, const sd_real *k, const sd_real *v, int n, int d, sd_real scale,
                                 sd_real cap, int window)
{
    REF(attn_p)(p, slope, q, k, n, d, scale, cap, window);
    for (int i = 0; i < n; i++) {
        sd_real mean = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int j = 0; j < n; j++) {
                sd_real gp = 0;
                for (int c = 0; c < d; c++) gp += go[i * d + c] * v[j * d + c];
                const sd_real P = p[i * n + j], gs = P * (gp - mean) * slope[i * n + j] * scale;
                if (pass == 0) mean += P * gp;
                for (int c = 0; pass && c < d; c++) {
                    gq[i * d + c] += gs * k[j * d + c];
                    gk[j * d + c] += gs * q[i * d + c];
                    gv[j * d + c] += P * go[i * d + c];
                }
            }
    }
}

/* lp = l_t - log sum exp(l), l_v = cap(h.W_v);  d lp/d l_v = (1[v = t] - p_v) slope_v. l [V] scratch. */
static inline sd_real REF(xent)(sd_real *gh, sd_real *gw, sd_real *l, const sd_real *h, const sd_real *w, int V, int d,
                                int t, sd_real cap, sd_real row)
{
    double sum = 0;
    for (int v = 0; v < V; v++) {
        sd_real s = 0;
        for (int c = 0; c < d; c++) s += h[c] * w[v * d + c];
        l[v] = cap > 0 ? cap * (sd_real)tanh((double)(s / cap)) : s;
        sum += exp((double)l[v]);
    }
    for (int v = 0; gh && v < V; v++) {
        const sd_real f = cap > 0 ? 1 - l[v] / cap * (l[v] / cap) : 1,
                      g = ((v == t) - (sd_real)(exp((double)l[v]) / sum)) * f;
        for (int c = 0; c < d; c++) {
            gh[c] += g * w[v * d + c];
            gw[v * d + c] += row * g * h[c];
        }
    }
    return l[t] - (sd_real)log(sum);
}
#undef REF
