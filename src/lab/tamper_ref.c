/* Owns: the evidence with a reference: what changed in each matrix, and whether the change takes one direction out of many of them. */
#include "lab/tamper_int.h"

#include "lab/ablate.h"
#include "num/eig.h"

#include <math.h>

/* A matrix counts as cut when a fifth of the direction is gone (heretic's weights go from about 0.2 up), when the change points against what was
 * there (rounding of a quantised candidate turns the cosine from 1 to 0.96 at most, measured at Q2_K; unrelated directions have 1/sqrt(d)), and when random
 * directions lost less than a tenth as much: a matrix that was shrunk, merged with another model's or trained from another start loses many directions, a quarter to
 * a half as much as the shared one, a cut one none (a hundredth through Q4_K; tools/study-tamper on the organism). */
#define REMOVED 0.2
#define AGAINST 0.7
#define RANDOM_SHARE 0.1
enum { LEAST_CUT = 3 }; /* matrices with the same direction, one of which it was taken from */
/* Participation rank at most an eighth of the width: adapters; rounding and full fine-tunes spread over most of it. */
enum { LOW_RANK_PART = 8, N_RANDOM = 16 };

typedef struct work {
    const sd_exec *ex;
    const sd_model *a, *b; /* reference, candidate */
    int64_t d, n_vec;
    float *A, *B, *G;      /* two matrices; the change's Gram matrix */
    float *vec;            /* [n_vec, d]: the writers' singular vectors, then random ones */
    float *PA, *PB;        /* products of vec with the two */
    double *g, *eig;       /* G in double, one eigenvector, scratch */
    double *removed, *against; /* [n_writer][n_vec] */
    void *scratch;
} work;

static bool is_writer(int role) { return role == SD_MAT_O || role == SD_MAT_DOWN; }

static sd_status take_memory(work *k, sd_tamper_ref *r, const sd_tamper_opt *opt, sd_err *err)
{
    int64_t elements, side, small = k->d;
    sd_tamper__sizes(k->a, &elements, &side);
    for (int l = 0; l < k->a->n_layer_loaded; l++)
        for (int role = 0; role < SD_MAT_COUNT; role++) {
            const sd_wmat *w = &k->a->block[l].mat[role].w;
            int64_t least = w->rows < w->cols ? w->rows : w->cols;
            if (!w->data) continue;
            r->n++;
            r->n_writer += is_writer(role);
            if (least > small) small = least;
        }
    k->n_vec = r->n_writer + N_RANDOM;
    size_t square = (size_t)small * (size_t)small, table = (size_t)r->n_writer * (size_t)k->n_vec * sizeof(double);
    sd_status st = sd_alloc_zero(&r->v, (size_t)r->n * sizeof *r->v, "changes of weights", err);
    if (!st) st = sd_alloc(&k->A, (size_t)elements * sizeof(float), "a matrix", err);
    if (!st) st = sd_alloc(&k->B, (size_t)elements * sizeof(float), "a matrix", err);
    if (!st) st = sd_alloc(&k->G, square * sizeof(float), "a Gram matrix", err);
    if (!st) st = sd_alloc(&k->g, (square + (size_t)small) * sizeof(double), "a Gram matrix", err);
    if (!st) st = sd_alloc(&k->eig, sd_eig_scratch(small), "eigenvectors", err);
    if (!st) st = sd_alloc_zero(&k->vec, (size_t)k->n_vec * (size_t)k->d * sizeof(float), "directions", err);
    if (!st) st = sd_alloc(&k->PA, (size_t)k->n_vec * (size_t)side * sizeof(float), "products", err);
    if (!st) st = sd_alloc(&k->PB, (size_t)k->n_vec * (size_t)side * sizeof(float), "products", err);
    if (!st) st = sd_alloc(&k->removed, table, "removed shares", err);
    if (!st) st = sd_alloc(&k->against, table, "removed shares", err);
    if (!st) st = sd_alloc(&k->scratch, sd_prod_scratch(k->ex, k->n_vec > small ? k->n_vec : small, side), "products", err);
    if (!st) sd_tamper__random(k->vec + r->n_writer * k->d, N_RANDOM, k->d, opt->seed);
    return st;
}

/* The Gram matrix of D [rows, cols] over its smaller side (over its rows for a writer, whose left vector is wanted). */
static int64_t gram(work *k, int64_t rows, int64_t cols, bool left)
{
    bool by_rows = left || rows <= cols;
    int64_t n = by_rows ? rows : cols;
    sd_prod p = {.kind = by_rows ? SD_PROD_NT : SD_PROD_TN, .c = sd_mat_of(k->G, n, n), .a = sd_mat_of(k->B, rows, cols), .b = sd_wmat_of(k->B, rows, cols)};
    sd_prod_run(k->ex, &p, k->scratch);
    return n;
}

/* One matrix of both; u [d] gets a writer's first left singular vector, and stays zero when nothing changed. */
static void one_matrix(work *k, sd_tamper_ref *r, sd_tamper_matrix *x, float *u, double *sums)
{
    const sd_wmat *wa = &k->a->block[x->layer].mat[x->role].w, *wb = &k->b->block[x->layer].mat[x->role].w;
    double base = sd_tamper__decode(k->A, wa), change = 0, frob = 0, top;
    sd_tamper__decode(k->B, wb);
    for (int64_t i = 0; i < wa->rows; i++) {
        float *p = k->B + i * wa->cols;
        for (int64_t j = 0; j < wa->cols; j++) p[j] -= k->A[i * wa->cols + j];
        change += sd_dot(p, p, wa->cols);
    }
    sums[0] += base;
    sums[1] += change;
    x->relative = x->rank_one = x->rank = x->removed = x->against = x->removed_random = NAN;
    if (!(change > 0)) return;
    int64_t n = gram(k, wa->rows, wa->cols, is_writer(x->role));
    for (int64_t i = 0; i < n * n; i++) {
        k->g[i] = (double)k->G[i];
        frob += k->g[i] * k->g[i];
    }
    sd_eig_highest(&top, k->g + n * n, k->g, n, 1, k->eig);
    x->relative = base > 0 ? sqrt(change / base) : INFINITY;
    x->rank_one = fmin(1, top / change);
    x->rank = change * change / frob;
    for (int64_t i = 0; u && i < n; i++) u[i] = (float)k->g[n * n + i];
    r->n_changed++;
    r->n_low_rank += x->rank <= (double)(k->d / LOW_RANK_PART);
}

/* What the candidates lost of one writer. */
static void along(work *k, const sd_tamper_matrix *x, double *removed, double *against)
{
    const sd_wmat *wa = &k->a->block[x->layer].mat[x->role].w, *wb = &k->b->block[x->layer].mat[x->role].w;
    int64_t n = wa->cols;
    for (int side = 0; side < 2; side++) {
        float *W = side ? k->B : k->A;
        sd_tamper__decode(W, side ? wb : wa);
        sd_prod p = {.kind = SD_PROD_NN, .c = sd_mat_of(side ? k->PB : k->PA, k->n_vec, n), .a = sd_mat_of(k->vec, k->n_vec, k->d), .b = sd_wmat_of(W, k->d, n)};
        sd_prod_run(k->ex, &p, k->scratch);
    }
    for (int64_t v = 0; v < k->n_vec; v++) {
        const float *a = k->PA + v * n, *b = k->PB + v * n;
        double aa = sd_dot(a, a, n), ab = sd_dot(a, b, n), moved = aa - 2 * ab + sd_dot(b, b, n);
        removed[v] = aa > 0 ? 1 - ab / aa : 0;
        against[v] = aa > 0 && moved > 0 ? (aa - ab) / sqrt(aa * moved) : 0;
    }
}

static double mean_random(const work *k, const double *removed)
{
    double sum = 0;
    for (int64_t v = k->n_vec - N_RANDOM; v < k->n_vec; v++) sum += removed[v] / N_RANDOM;
    return sum;
}

static bool is_cut(double removed, double against, double random)
{
    return removed >= REMOVED && against >= AGAINST && random <= RANDOM_SHARE * removed;
}

/* The candidate that is cut from most writers becomes the shared direction. */
static void judge(const work *k, sd_tamper_ref *r)
{
    int64_t best = 0, n_u = 0;
    double most = -1, square = 0;
    for (int64_t v = 0; v < r->n_writer; v++) {
        double score = 0; /* matrices cut, ties by how much was removed */
        for (int64_t i = 0; i < r->n_writer; i++) {
            const double *removed = k->removed + i * k->n_vec;
            if (is_cut(removed[v], k->against[i * k->n_vec + v], mean_random(k, removed))) score += 1 + 1e-3 * fmin(2, removed[v]);
        }
        if (score > most) most = score, best = v;
    }
    const float *shared = k->vec + best * k->d;
    for (int64_t i = 0, w = 0; i < r->n; i++) {
        sd_tamper_matrix *x = &r->v[i];
        if (!is_writer((int)x->role)) continue;
        const float *u = k->vec + w * k->d;
        const double *removed = k->removed + w * k->n_vec;
        w++;
        x->removed = removed[best];
        x->against = k->against[(w - 1) * k->n_vec + best];
        x->removed_random = mean_random(k, removed);
        x->cut = is_cut(x->removed, x->against, x->removed_random);
        r->n_cut += x->cut;
        if (isnan(x->relative)) continue;
        double c = sd_dot(u, shared, k->d);
        square += c * c;
        n_u++;
    }
    r->shared = n_u ? square / (double)n_u : NAN;
    r->consistent = r->n_cut >= LEAST_CUT;
    r->low_rank = r->n_changed && 2 * r->n_low_rank > r->n_changed;
}

static sd_status walk(work *k, sd_tamper_ref *r, const sd_progress *progress, double *sums, sd_err *err)
{
    int64_t i = 0, w = 0;
    for (int l = 0; l < k->a->n_layer_loaded; l++) {
        for (int role = 0; role < SD_MAT_COUNT; role++) {
            if (!k->a->block[l].mat[role].w.data) continue;
            r->v[i].layer = l;
            r->v[i].role = (sd_mat_role)role;
            one_matrix(k, r, &r->v[i], is_writer(role) ? k->vec + w * k->d : NULL, sums);
            w += is_writer(role);
            i++;
        }
        sd_progress_update(progress, "changes", l + 1, k->a->n_layer_loaded, "blocks");
        if (sd_progress_cancelled(progress)) return sd_fail(err, SD_E_CANCELLED, "stopped after %d of %d blocks", l + 1, k->a->n_layer_loaded);
    }
    for (i = 0, w = 0; i < r->n; i++) {
        if (!is_writer((int)r->v[i].role)) continue;
        along(k, &r->v[i], k->removed + w * k->n_vec, k->against + w * k->n_vec);
        w++;
        sd_progress_update(progress, "shared directions", (double)w, (double)r->n_writer, "matrices");
        if (sd_progress_cancelled(progress)) return sd_fail(err, SD_E_CANCELLED, "stopped after %lld of %lld matrices", (long long)w, (long long)r->n_writer);
    }
    return SD_OK;
}

/* Do the two render a conversation alike? */
static sd_status same_template(bool *differs, const sd_model *a, const sd_model *b, sd_err *err)
{
    static const sd_message msg[] = {{{"user", 4}, {"Which day is it?", 16}}, {{"assistant", 9}, {"Monday.", 7}}, {{"user", 4}, {"And then?", 9}}};
    sd_buf x, y;
    sd_err why = {0};
    *differs = !a->chat != !b->chat;
    if (!a->chat || !b->chat) return SD_OK;
    sd_buf_init(&x, 1 << 20);
    sd_buf_init(&y, 1 << 20);
    sd_status sx = sd_chat_render(a->chat, msg, 3, true, &x, &why), sy = sd_chat_render(b->chat, msg, 3, true, &y, &why), st = SD_OK;
    if (sx == SD_E_NOMEM || sy == SD_E_NOMEM) st = sd_fail(err, SD_E_NOMEM, "out of memory for a conversation");
    *differs = sx != sy || x.n != y.n || (x.n && memcmp(x.p, y.p, x.n) != 0);
    sd_buf_release(&x);
    sd_buf_release(&y);
    return st;
}

sd_status sd_tamper__ref(sd_tamper *out, const sd_exec *ex, const sd_model *m, const sd_model *ref, const sd_tamper_opt *opt, sd_err *err)
{
    sd_tamper_ref *r = &out->ref;
    work k = {.ex = ex, .a = ref, .b = m, .d = m->cfg.d_model};
    double sums[2] = {0, 0};
    sd_status st = take_memory(&k, r, opt, err);
    if (!st) st = same_template(&r->template_differs, ref, m, err);
    if (!st) st = walk(&k, r, opt->progress, sums, err);
    if (!st) {
        r->measured = true;
        r->relative = sums[0] > 0 ? sqrt(sums[1] / sums[0]) : NAN;
        judge(&k, r);
    }
    sd_free(k.A);
    sd_free(k.B);
    sd_free(k.G);
    sd_free(k.g);
    sd_free(k.eig);
    sd_free(k.vec);
    sd_free(k.PA);
    sd_free(k.PB);
    sd_free(k.removed);
    sd_free(k.against);
    sd_free(k.scratch);
    return st;
}
