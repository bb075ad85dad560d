/* Backward of every op: the plain form in double against central differences of its own forward, then the fast form in
 * f32 against the plain one, on every ISA of this CPU. */
#include "t.h"

#include "base/mem.h"
#include "base/rng.h"
#include "num/distill.h"
#include "num/ops_grad.h"
#include "num/product.h"
#include "num/stats.h"
#include "num/xent.h"

#define sd_real double
#include "ops_ref.h"
#undef sd_real

/* What a test took; drained at its end. */
static void *pool[8192];
static int n_pool;
static void *keep(void *p)
{
    assert_true(p && n_pool < (int)(sizeof pool / sizeof *pool));
    return pool[n_pool++] = p;
}
static void drain(void)
{
    while (n_pool > 0) sd_free(pool[--n_pool]);
}

static sd_exec *make(const char *cpu)
{
    sd_exec *ex = keep(sd_calloc(sizeof *ex));
    assert_true(sd_cpu_detect(&ex->cpu, cpu));
    ex->kern = sd_kern_select(ex->cpu.flags);
    ex->n_threads = 2;
    return ex;
}

static double *draw(int64_t n, uint64_t index, double scale)
{
    double *x = keep(sd_malloc((size_t)n * sizeof *x));
    sd_rng r = sd_rng_make(3, "test_ops_grad", index);
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(scale * (double)sd_rng_normal(&r)); /* exact in f32 as well */
    return x;
}
static double *zeros(int64_t n)
{
    return keep(sd_calloc((size_t)n * sizeof(double)));
}
static float *narrow(const double *x, int64_t n)
{
    float *y = keep(sd_malloc((size_t)n * sizeof *y));
    for (int64_t i = 0; i < n; i++) y[i] = (float)x[i];
    return y;
}

/* loss = sum gy y(x): its slope in x_i by central differences. Step 1e-5: truncation 1e-10, rounding 1e-11 of values
 * near 1. */
typedef double (*loss_fn)(void *self);
static void check_slope(const double *grad, double *x, int64_t n, loss_fn loss, void *self)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(grad[i]));
    for (int64_t i = 0; i < n; i += 1 + n / 40) {
        const double keep = x[i], e = 1e-5;
        x[i] = keep + e;
        const double up = loss(self);
        x[i] = keep - e;
        const double down = loss(self);
        x[i] = keep;
        if (!(fabs((up - down) / (2 * e) - grad[i]) <= 1e-7 * (1 + top)))
            fail_msg("element %ld: slope %g, gradient %g", (long)i, (up - down) / (2 * e), grad[i]);
    }
}
/* Within rel of the largest entry. */
static void check_fast(const float *got, const double *want, int64_t n, double rel)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= rel * top))
            fail_msg("element %ld of %ld: %g, expected %g", (long)i, (long)n, (double)got[i], want[i]);
}
/* f32 chains of a few hundred terms: rounding grows with the root of their number; 2e-6 is 30 roundings. */
#define F32_TOL 2e-6

typedef struct norm_case {
    double *x, *g, *b, *gy;
    int layer, rows, n;
} norm_case;
static double norm_loss(void *self)
{
    const norm_case *c = self;
    double s = 0, y[2048];
    for (int r = 0; r < c->rows; r++) {
        norm_fwd_double(y, c->x + r * c->n, c->g, c->b, c->layer, 1e-5, c->n);
        for (int i = 0; i < c->n; i++) s += y[i] * c->gy[r * c->n + i];
    }
    return s;
}

static void test_norm(void **state)
{
    sd_exec *ex = make(*state);
    const int sizes[][2] = {{1, 1}, {3, 7}, {5, 64}, {70, 576}, {2, 1030}};
    for (int s = 0; s < 5; s++)
        for (int layer = 0; layer < 2; layer++) {
            const int rows = sizes[s][0], n = sizes[s][1];
            norm_case c = {draw(rows * n, 1, 2), draw(n, 2, 1), draw(n, 3, 1), draw(rows * n, 4, 1), layer, rows, n};
            double *gx = zeros(rows * n), *gg = zeros(n), *gb = zeros(n);
            for (int r = 0; r < rows; r++)
                norm_bwd_double(gx + r * n, gg, gb, c.gy + r * n, c.x + r * n, c.g, layer, 1e-5, n);
            if (rows < 10) {
                check_slope(gx, c.x, rows * n, norm_loss, &c);
                check_slope(gg, c.g, n, norm_loss, &c);
                check_slope(gb, c.b, n, norm_loss, &c);
            }
            float *x = narrow(c.x, rows * n), *gy = narrow(c.gy, rows * n), *g = narrow(c.g, n),
                  *fx = narrow(zeros(rows * n), rows * n), *fg = narrow(zeros(n), n), *fb = narrow(zeros(n), n),
                  *stat = keep(sd_malloc((size_t)rows * 8));
            sd_norm_grad a = {.gx = sd_mat_of(fx, rows, n),
                              .gy = sd_mat_of(gy, rows, n),
                              .x = sd_mat_of(x, rows, n),
                              .g = g,
                              .gg = fg,
                              .gb = fb,
                              .stat = stat,
                              .eps = 1e-5f};
            (layer ? sd_layernorm_bwd : sd_rmsnorm_bwd)(ex, &a);
            if (n > 1)
                check_fast(fx, gx, rows * n, F32_TOL); /* of one number a layer norm is constant, an RMS norm almost */
            check_fast(fg, gg, n, n > 1 ? F32_TOL : 1);
            check_fast(fb, gb, n, F32_TOL);
            a.replace = true;
            a.gx = a.gy; /* in place */
            (layer ? sd_layernorm_bwd : sd_rmsnorm_bwd)(ex, &a);
            if (n > 1) check_fast(gy, gx, rows * n, F32_TOL);
        }
    drain();
}

static void test_gate(void **state)
{
    sd_exec *ex = make(*state);
    enum { ROWS = 3, N = 133, ALL = ROWS * N };
    const int kinds[] = {REF_SILU, REF_GELU_TANH, REF_GELU_ERF, REF_GELU_QUICK, REF_RELU};
    const sd_nonlin fast[] = {SD_NONLIN_SILU, SD_NONLIN_GELU_TANH, SD_NONLIN_GELU_ERF, SD_NONLIN_GELU_QUICK,
                              SD_NONLIN_RELU};
    for (int k = 0; k < 5; k++) {
        double *g = draw(ALL, 5, 3), *u = draw(ALL, 6, 1), *gh = draw(ALL, 7, 1), gg[ALL], gu[ALL], alone[ALL];
        g[0] = -30, g[1] = 30, g[2] = -100, g[3] = 100; /* the flat ends */
        for (int i = 0; i < ALL; i++) {
            double y, dy, hi, lo, none;
            gate_double(kinds[k], g[i], &y, &dy);
            gate_double(kinds[k], g[i] + 1e-5, &hi, &none);
            gate_double(kinds[k], g[i] - 1e-5, &lo, &none);
            assert_true(fabs((hi - lo) / 2e-5 - dy) < 1e-7);
            gg[i] = gh[i] * u[i] * dy;
            gu[i] = gh[i] * y;
            alone[i] = gh[i] * dy;
        }
        float *fg = narrow(g, ALL), *fu = narrow(u, ALL), *fh = narrow(gh, ALL), o1[ALL], o2[ALL];
        const sd_mat G = sd_mat_of(fg, ROWS, N), U = sd_mat_of(fu, ROWS, N), H = sd_mat_of(fh, ROWS, N);
        sd_gate_bwd(ex, sd_mat_of(o1, ROWS, N), sd_mat_of(o2, ROWS, N), H, G, (sd_mat){0}, fast[k]);
        check_fast(o1, alone, ALL, F32_TOL);
        sd_gate_bwd(ex, sd_mat_of(o1, ROWS, N), sd_mat_of(o2, ROWS, N), H, G, U, fast[k]);
        check_fast(o1, gg, ALL, F32_TOL);
        check_fast(o2, gu, ALL, F32_TOL);
        sd_gate_bwd(ex, G, U, H, G, U, fast[k]); /* in place */
        assert_memory_equal(fg, o1, sizeof o1);
        assert_memory_equal(fu, o2, sizeof o2);
    }
    drain();
}

typedef struct attn_case {
    double *q, *k, *v, *go, *o, *p, *f, cap;
    int n, d, window;
} attn_case;
static double attn_loss(void *self)
{
    const attn_case *c = self;
    double s = 0;
    attn_fwd_double(c->o, c->p, c->f, c->q, c->k, c->v, c->n, c->d, 0.3, c->cap, c->window);
    for (int i = 0; i < c->n * c->d; i++) s += c->o[i] * c->go[i];
    return s;
}

/* Two documents, two query heads on one kv head, beside a second kv head. */
static void run_attn(sd_exec *ex, const int n[2], int d, double cap, int window, bool bf16)
{
    enum { HKV = 2, GROUP = 2, H = HKV * GROUP };
    sd_attn_doc doc[2];
    double *want_k[2][HKV], *want_v[2][HKV], *want_q[2][H];
    for (int s = 0; s < 2; s++) {
        const int N = n[s] > 0 ? n[s] : 1;
        doc[s] = (sd_attn_doc){.q = sd_mat_of(narrow(draw(N * H * d, 11, 1), N * H * d), n[s], H * d),
                               .go = sd_mat_of(narrow(draw(N * H * d, 12, 1), N * H * d), n[s], H * d),
                               .k = sd_mat_of(narrow(draw(N * HKV * d, 13, 1), N * HKV * d), n[s], HKV * d),
                               .v = sd_mat_of(narrow(draw(N * HKV * d, 14, 1), N * HKV * d), n[s], HKV * d),
                               .gq = sd_mat_of(keep(sd_malloc((size_t)(N * H * d) * 4)), n[s], H * d),
                               .gk = sd_mat_of(keep(sd_malloc((size_t)(N * HKV * d) * 4)), n[s], HKV * d),
                               .gv = sd_mat_of(keep(sd_malloc((size_t)(N * HKV * d) * 4)), n[s], HKV * d)};
        for (int kv = 0; kv < HKV; kv++) want_k[s][kv] = zeros(N * d), want_v[s][kv] = zeros(N * d);
        for (int h = 0; h < H; h++) {
            attn_case c = {zeros(N * d), zeros(N * d), zeros(N * d), zeros(N * d), zeros(N * d),
                           zeros(N * N), zeros(N * N), cap,          n[s],         d,
                           window};
            for (int i = 0; i < n[s]; i++)
                for (int j = 0; j < d; j++) {
                    c.q[i * d + j] = (double)sd_mat_row(doc[s].q, i)[h * d + j];
                    c.go[i * d + j] = (double)sd_mat_row(doc[s].go, i)[h * d + j];
                    c.k[i * d + j] = (double)sd_mat_row(doc[s].k, i)[h / GROUP * d + j];
                    c.v[i * d + j] = (double)sd_mat_row(doc[s].v, i)[h / GROUP * d + j];
                }
            double *gq = want_q[s][h] = zeros(N * d), *gk = zeros(N * d), *gv = zeros(N * d);
            attn_bwd_double(gq, gk, gv, c.p, c.f, c.go, c.q, c.k, c.v, n[s], d, 0.3, cap, window);
            if (n[s] < 20) {
                check_slope(gq, c.q, n[s] * d, attn_loss, &c);
                check_slope(gk, c.k, n[s] * d, attn_loss, &c);
                check_slope(gv, c.v, n[s] * d, attn_loss, &c);
            }
            for (int i = 0; i < n[s] * d; i++) want_k[s][h / GROUP][i] += gk[i], want_v[s][h / GROUP][i] += gv[i];
        }
    }
    const sd_attn_grad o = {
        .n_head = H, .n_head_kv = HKV, .d_head = d, .scale = 0.3f, .softcap = (float)cap, .window = window, .bf16 = bf16};
    void *scratch = keep(sd_malloc(sd_attn_bwd_scratch(ex, &o, n[0] > n[1] ? n[0] : n[1])));
    sd_attn_bwd(ex, &o, doc, 2, scratch);
    /* f32: sums of up to 300 rounded products twice over. bf16: factors of 8 bits, three roundings deep. */
    const double tol = bf16 && sd_prod_multiplies_bf16(ex) ? 2e-2 : 1e-5;
    float *got = keep(sd_malloc((size_t)(300 * d) * 4));
    for (int s = 0; s < 2; s++)
        for (int h = 0; h < H; h++) {
            for (int i = 0; i < n[s]; i++) memcpy(got + i * d, sd_mat_row(doc[s].gq, i) + h * d, (size_t)d * 4);
            check_fast(got, want_q[s][h], n[s] * d, tol);
            if (h >= HKV) continue;
            for (int i = 0; i < n[s]; i++) memcpy(got + i * d, sd_mat_row(doc[s].gk, i) + h * d, (size_t)d * 4);
            check_fast(got, want_k[s][h], n[s] * d, tol);
            for (int i = 0; i < n[s]; i++) memcpy(got + i * d, sd_mat_row(doc[s].gv, i) + h * d, (size_t)d * 4);
            check_fast(got, want_v[s][h], n[s] * d, tol);
        }
}

static void test_attn(void **state)
{
    sd_exec *ex = make(*state);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        run_attn(ex, (const int[]){1, 9}, 8, 0, 0, bf16);
        run_attn(ex, (const int[]){17, 5}, 40, 3, 4, bf16);
        run_attn(ex, (const int[]){100, 300}, 16, 0, 0, bf16);
        run_attn(ex, (const int[]){0, 211}, 33, 2, 50, bf16);
    }
    drain();
}

typedef struct xent_case {
    double *h, *w, *l, cap;
    int V, d, t;
} xent_case;
static double xent_loss(void *self)
{
    const xent_case *c = self;
    return xent_double(NULL, NULL, c->l, c->h, c->w, c->V, c->d, c->t, c->cap, 1);
}

static void test_xent(void **state)
{
    sd_exec *ex = make(*state);
    const int shapes[][3] = {{1, 5, 3}, {7, 33, 8}, {40, 2500, 24}};
    for (int s = 0; s < 6; s++) {
        const int n = shapes[s / 2][0], V = shapes[s / 2][1], d = shapes[s / 2][2];
        const double cap = s % 2 ? 4 : 0;
        double *h = draw(n * d, 21, 1), *w = draw(V * d, 22, 1), *row = draw(n, 23, 1), *gw = zeros(V * d),
               *gh = zeros(n * d), *lp = zeros(n), *l = zeros(V);
        int32_t target[40], best[40], top[40], also[2] = {V - 1, V / 2};
        double *la = zeros(2 * n);
        float fla[80];
        for (int i = 0; i < n; i++) {
            target[i] = i == 0 ? V - 1 : (i * 331) % V;
            lp[i] = xent_double(gh + i * d, gw, l, h + i * d, w, V, d, target[i], cap, row[i]);
            xent_case c = {h + i * d, w, l, cap, V, d, target[i]};
            for (int v = best[i] = 0; v < V; v++) best[i] = l[v] > l[best[i]] ? v : best[i];
            for (int k = 0; k < 2; k++) la[2 * i + k] = lp[i] + l[also[k]] - l[target[i]];
            if (n < 10) check_slope(gh + i * d, c.h, d, xent_loss, &c);
        }
        float *fh = narrow(h, n * d), *fw = narrow(w, V * d), *fr = narrow(row, n), *fgw = narrow(zeros(V * d), V * d),
              *fgh = narrow(h, n * d), flp[40], lse[40];
        sd_xent x = {.h = sd_mat_of(fh, n, d),
                     .w = {.data = fw, .dtype = SD_F32, .rows = V, .cols = d},
                     .target = target,
                     .softcap = (float)cap,
                     .lp = flp,
                     .lse = lse,
                     .top = top,
                     .also = also,
                     .n_also = 2,
                     .lp_also = fla,
                     .gh = sd_mat_of(fgh, n, d)};
        void *scratch = keep(sd_malloc(sd_xent_scratch(ex, n, d)));
        sd_xent_fwd(ex, &x, scratch);
        assert_memory_equal(top, best, (size_t)n * sizeof *top); /* numbers are drawn: none of the first two are within rounding */
        check_fast(flp, lp, n, F32_TOL);
        check_fast(fla, la, 2 * n, F32_TOL);
        check_fast(fgh, gh, n * d, F32_TOL);
        sd_xent_bwd_w(ex, &x, sd_mat_of(fgw, V, d), fr, scratch);
        check_fast(fgw, gw, V * d, 5e-6); /* p = exp(l - lse) carries the rounding of both, about 1e-6 */
    }
    drain();
}

/* T^2 KL of one row. g [V] out: its slope in the student's logits before the cap; may be NULL. */
typedef struct distill_case {
    double *h, *w, *ht, *wt, *b, *a, cap, cap_t, T;
    int V, d, dt;
} distill_case;
static double lse_of(double *l, const double *h, const double *w, int V, int d, double cap, double T)
{
    double sum = 0;
    for (int v = 0; v < V; v++) {
        l[v] = 0;
        for (int c = 0; c < d; c++) l[v] += h[c] * w[v * d + c];
        if (cap > 0) l[v] = cap * tanh(l[v] / cap);
        sum += exp(l[v] /= T);
    }
    return log(sum);
}
static double distill_double(const distill_case *c, double *g)
{
    const double p = lse_of(c->b, c->h, c->w, c->V, c->d, c->cap, c->T), q = lse_of(c->a, c->ht, c->wt, c->V, c->dt, c->cap_t, c->T);
    double kl = 0;
    for (int v = 0; v < c->V; v++) {
        const double la = c->a[v] - q, lb = c->b[v] - p, y = c->cap > 0 ? c->b[v] * c->T / c->cap : 0;
        kl += exp(la) * (la - lb);
        if (g) g[v] = c->T * (exp(lb) - exp(la)) * (1 - y * y);
    }
    return c->T * c->T * kl;
}
static double distill_loss(void *self)
{
    return distill_double(self, NULL);
}

static void test_distill(void **state)
{
    sd_exec *ex = make(*state);
    const int shapes[][4] = {{1, 5, 3, 3}, {7, 33, 8, 12}, {40, 2500, 24, 9}};
    for (int s = 0; s < 6; s++) {
        const int n = shapes[s / 2][0], V = shapes[s / 2][1], d = shapes[s / 2][2], dt = shapes[s / 2][3];
        const double T = s % 2 ? 1 : 2.5, weight = 0.75;
        double *h = draw(n * d, 41, 1), *w = draw(V * d, 42, 0.5), *ht = draw(n * dt, 43, 1), *wt = draw(V * dt, 44, 0.5), *gh = zeros(n * d),
               *gw = zeros(V * d), *kl = zeros(n), *g = zeros(V);
        for (int i = 0; i < n; i++) {
            distill_case c = {h + i * d, w, ht + i * dt, wt, zeros(V), zeros(V), s % 2 ? 4 : 0, s % 2 ? 0 : 3, T, V, d, dt};
            kl[i] = distill_double(&c, g);
            double *one = zeros(d), *one_w = zeros(V * d);
            for (int v = 0; v < V; v++)
                for (int k = 0; k < d; k++) one[k] += g[v] * w[v * d + k], one_w[v * d + k] = g[v] * c.h[k];
            if (n < 10) check_slope(one, c.h, d, distill_loss, &c), check_slope(one_w, w, V * d, distill_loss, &c);
            for (int k = 0; k < d; k++) gh[i * d + k] = 1 + weight * one[k];
            for (int k = 0; k < V * d; k++) gw[k] += weight * one_w[k];
        }
        float *fh = narrow(h, n * d), *fw = narrow(w, V * d), *fgh = keep(sd_malloc((size_t)(n * d) * 4)), *fgw = narrow(zeros(V * d), V * d), fkl[40];
        for (int k = 0; k < n * d; k++) fgh[k] = 1; /* gradients are added */
        sd_distill x = {.student = {sd_mat_of(fh, n, d), {.data = fw, .dtype = SD_F32, .rows = V, .cols = d}, s % 2 ? 4.0f : 0.0f, false},
                        .teacher = {sd_mat_of(narrow(ht, n * dt), n, dt), {.data = narrow(wt, V * dt), .dtype = SD_F32, .rows = V, .cols = dt}, s % 2 ? 0.0f : 3.0f, false},
                        .temperature = (float)T,
                        .weight = (float)weight,
                        .kl = fkl,
                        .gh = sd_mat_of(fgh, n, d),
                        .gw = sd_mat_of(fgw, V, d)};
        void *scratch = keep(sd_malloc(sd_distill_scratch(ex, n, d, dt)));
        sd_distill_run(ex, &x, scratch);
        check_fast(fkl, kl, n, 5e-6); /* exp(l - lse) carries the rounding of both, about 1e-6 */
        check_fast(fgh, gh, n * d, 5e-6);
        check_fast(fgw, gw, V * d, 5e-6);
        x.teacher = x.student; /* nothing to learn from oneself */
        memset(fgh, 0, (size_t)(n * d) * 4), memset(fgw, 0, (size_t)(V * d) * 4);
        sd_distill_run(ex, &x, scratch);
        for (int i = 0; i < n; i++) assert_true(fkl[i] == 0.0f);
        for (int k = 0; k < n * d; k++) assert_true(fgh[k] == 0.0f);
        for (int k = 0; k < V * d; k++) assert_true(fgw[k] == 0.0f);
    }
    drain();
}

static void test_columns(void **state)
{
    sd_exec *ex = make(*state);
    enum { N = 50, D = 70, V = 9 };
    double *gy = draw(N * D, 31, 1), *gb = zeros(D), *gw = zeros(V * D);
    int32_t tok[N];
    for (int i = 0; i < N; i++) {
        tok[i] = i * 7 % V;
        for (int c = 0; c < D; c++) gb[c] += gy[i * D + c], gw[tok[i] * D + c] += 2.5 * gy[i * D + c];
    }
    float *f = narrow(gy, N * D), *b = narrow(zeros(D), D), *w = narrow(zeros(V * D), V * D);
    sd_bias_bwd(ex, b, sd_mat_of(f, N, D));
    check_fast(b, gb, D, F32_TOL);
    sd_embed_bwd(ex, sd_mat_of(w, V, D), tok, sd_mat_of(f, N, D), 2.5f);
    check_fast(w, gw, V * D, F32_TOL);
    drain();
}

int main(void)
{
    static const char *const levels[] = {"ref", "avx2", "auto"};
    int failed = 0;
    for (int i = 0; i < 3; i++) {
        sd_cpu cpu;
        union {
            const char *c;
            void *v;
        } level = {levels[i]};
        if (!sd_cpu_detect(&cpu, levels[i])) continue;
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(test_norm, level.v), cmocka_unit_test_prestate(test_gate, level.v),
            cmocka_unit_test_prestate(test_attn, level.v), cmocka_unit_test_prestate(test_xent, level.v),
            cmocka_unit_test_prestate(test_distill, level.v),
            cmocka_unit_test_prestate(test_columns, level.v)};
        failed += cmocka_run_group_tests_name(levels[i], tests, NULL, NULL);
    }
    return failed ? 1 : 0;
}
