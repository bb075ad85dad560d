/* The map: on points whose true neighbours are known; its own figures against plain ones; the same bits twice; clusters that are there. */
#include "feature_sample.h"
#include "lab/map_int.h"
#include "lab/neighbours.h"

#include <math.h>

/* m points of a curved strip in d dimensions: neighbours along the strip are neighbours in direction. */
static void strip(float *w, int64_t m, int64_t d)
{
    for (int64_t i = 0; i < m; i++) {
        double t = 6.0 * (double)i / (double)m, u = (double)((i * 7919) % m) / (double)m;
        for (int64_t k = 0; k < d; k++) w[i * d + k] = (float)(cos(t * (1 + (double)(k % 5) * 0.3) + (double)k) + 0.4 * sin(u * (double)(1 + k % 3) + (double)(k * k)));
        sd_lab_unit_row(w + i * d, w + i * d, d);
    }
}

static void near_stays_near(void **state)
{
    (void)state;
    enum { M = 600, D = 24 };
    sd_err err = {0};
    sd_exec *ex = NULL;
    static float w[M * D];
    sd_feature_map a, b;
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    strip(w, M, D);
    t_ok(sd_lab_map(&a, ex, sd_mat_of(w, M, D), &(sd_map_opt){.seed = 3}, &err), err);
    t_ok(sd_lab_map(&b, ex, sd_mat_of(w, M, D), &(sd_map_opt){.seed = 3}, &err), err);
    assert_int_equal(a.n_point, M);
    assert_int_equal(a.n_checked, M);
    for (int i = 0; i < M; i++) assert_true(a.point[i].x == b.point[i].x && a.point[i].y == b.point[i].y && a.point[i].cluster == b.point[i].cluster);
    /* A two-dimensional strip fits in the plane: umap-learn keeps 0.6 of its neighbours and trusts 0.98; chance is 0.025 and 0.5. */
    if (!(a.kept > 0.45 && a.trust > 0.95)) fail_msg("kept %g, trust %g", a.kept, a.trust);
    assert_true(a.n_cluster > 3 && a.n_cluster < 60 && a.modularity > 0.5);
    int64_t n = 0;
    for (int64_t c = 0; c < a.n_cluster; c++) {
        assert_true(c == 0 || a.cluster[c].n <= a.cluster[c - 1].n);
        n += a.cluster[c].n;
    }
    assert_int_equal(n, M);
    sd_lab_map_release(&a);
    sd_lab_map_release(&b);
    sd_exec_free(ex);
}

/* kept and trust by their definitions, in double, over all pairs. */
static void quality_is_what_it_says(void **state)
{
    (void)state;
    enum { M = 120, D = 12, K = 7 };
    sd_err err = {0};
    sd_exec *ex = NULL;
    static float w[M * D], xy[2 * M];
    static int32_t near[M * K];
    static float cosine[M * K];
    sd_map_quality q;
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    strip(w, M, D);
    for (int i = 0; i < M; i++) xy[2 * i] = 10 * sinf(12.9898f * (float)i), xy[2 * i + 1] = 10 * sinf(78.233f * (float)i + 1); /* no two distances alike */
    t_ok(sd_lab_neighbours_of(near, cosine, K, ex, sd_mat_of(w, M, D), NULL, &err), err);
    t_ok(sd_map__check(&q, ex, sd_mat_of(w, M, D), xy, near, K, &err), err);
    double kept = 0, over = 0;
    for (int i = 0; i < M; i++)
        for (int j = 0; j < M; j++) {
            int by_map = 0, by_cos = 0;
            double dj = hypot((double)(xy[2 * i] - xy[2 * j]), (double)(xy[2 * i + 1] - xy[2 * j + 1])), cj = 0;
            for (int k = 0; k < D; k++) cj += (double)w[i * D + k] * (double)w[j * D + k];
            for (int g = 0; g < M; g++) {
                double dg = hypot((double)(xy[2 * i] - xy[2 * g]), (double)(xy[2 * i + 1] - xy[2 * g + 1])), cg = 0;
                for (int k = 0; k < D; k++) cg += (double)w[i * D + k] * (double)w[g * D + k];
                by_map += g != i && g != j && dg < dj;
                by_cos += g != i && g != j && cg > cj;
            }
            if (i == j || by_map >= K) continue;
            if (by_cos < K) kept++;
            else over += by_cos + 1 - K;
        }
    kept /= M * K;
    double trust = 1 - 2 * over / (M * K * (2.0 * M - 3 * K - 1));
    /* One pair may change sides where two cosines agree to f32. */
    if (!(fabs(q.kept - kept) < 1.5 / (M * K) && fabs(q.trust - trust) < 1e-4)) fail_msg("kept %g, plain %g; trust %g, plain %g", q.kept, kept, q.trust, trust);
    sd_exec_free(ex);
}

static void clusters_that_are_there(void **state)
{
    (void)state;
    enum { M = 400, D = 16, GROUPS = 4 };
    sd_err err = {0};
    sd_exec *ex = NULL;
    static float w[M * D];
    sd_feature_map m;
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    for (int i = 0; i < M; i++) {
        for (int k = 0; k < D; k++) w[i * D + k] = 0.2f * sinf((float)(i * 37 + k * 11)) + (k == i % GROUPS ? 1 : 0);
        sd_lab_unit_row(w + i * D, w + i * D, D);
    }
    for (int k = 0; k < D; k++) w[5 * D + k] = 0; /* a feature without a direction has no place */
    t_ok(sd_lab_map(&m, ex, sd_mat_of(w, M, D), &(sd_map_opt){.epochs = 50}, &err), err);
    assert_int_equal(m.n_point, M - 1);
    for (int64_t i = 1; i < m.n_point; i++) {
        assert_true(m.point[i].index != 5);
        for (int64_t j = 0; j < i; j++) /* never two groups in one cluster */
            if (m.point[i].cluster == m.point[j].cluster) assert_int_equal(m.point[i].index % GROUPS, m.point[j].index % GROUPS);
    }
    sd_lab_map_release(&m);
    t_ok(sd_lab_map(&m, ex, sd_mat_of(w, 4, D), &(sd_map_opt){.epochs = 5}, &err), err); /* fewer features than neighbours: all of them are near */
    assert_true(m.n_point == 4 && m.kept_chance == 1 && isnan(m.kept));
    sd_lab_map_release(&m);
    assert_int_equal(sd_lab_map(&m, ex, sd_mat_of(w + 5 * D, 1, D), &(sd_map_opt){0}, &err), SD_E_FORMAT);
    sd_exec_free(ex);
}

static void graph_is_symmetric(void **state)
{
    (void)state;
    enum { M = 200, D = 10, K = 5 };
    sd_err err = {0};
    sd_exec *ex = NULL;
    static float w[M * D], cosine[M * K];
    static int32_t near[M * K];
    sd_map_graph g;
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    strip(w, M, D);
    t_ok(sd_lab_neighbours_of(near, cosine, K, ex, sd_mat_of(w, M, D), NULL, &err), err);
    t_ok(sd_map__graph(&g, near, cosine, M, K, &err), err);
    for (int64_t i = 0; i < M; i++) {
        double own = 0;
        for (int64_t e = g.start[i]; e < g.start[i + 1]; e++) {
            bool back = false;
            assert_true(g.w[e] > 0 && g.w[e] <= 1 && (e == g.start[i] || g.to[e] > g.to[e - 1]));
            for (int64_t f = g.start[g.to[e]]; f < g.start[g.to[e] + 1]; f++) back |= g.to[f] == i && g.w[f] == g.w[e];
            assert_true(back);
            own += (double)g.w[e];
        }
        assert_true(own >= log2(K + 1.0) - 1e-3); /* its own list alone sums to that */
    }
    sd_map__graph_release(&g);
    sd_exec_free(ex);
}

/* Ten groups of ten copies, each with six more neighbours far away: the weights towards those are nothing, and nothing is no edge. */
static void copies_are_clusters(void **state)
{
    (void)state;
    enum { G = 10, S = 10, N = G * S, K = 15 };
    static int32_t near[N * K], of[N];
    static float cosine[N * K];
    sd_err err = {0};
    sd_map_graph g;
    int64_t n_cluster;
    double q;
    for (int i = 0; i < N; i++) {
        int n = 0;
        for (int s = 0; s < S; s++)
            if (s != i % S) near[i * K + n] = i / S * S + s, cosine[i * K + n++] = nextafterf(1, 0);
        for (int j = 1; n < K; j++) near[i * K + n] = (i + j * S) % N, cosine[i * K + n++] = 0.1f;
    }
    t_ok(sd_map__graph(&g, near, cosine, N, K, &err), err);
    assert_int_equal(g.start[N], N * (S - 1));
    for (int64_t e = 0; e < g.start[N]; e++) assert_true(g.w[e] > 0);
    t_ok(sd_map__clusters(of, &n_cluster, &q, &g, &err), err);
    assert_int_equal(n_cluster, G);
    for (int i = 0; i < N; i++) assert_int_equal(of[i], of[i / S * S]);
    sd_map__graph_release(&g);
}

/* A cluster's words by the share of its features that have them: one that has a word in three spellings has it once. */
static void words_of_a_cluster(void **state)
{
    (void)state;
    enum { M = 6 };
    static const char *const words[M] = {"King, king, KING", "queen", "queen", "river", "river", "river"};
    sd_err err = {0};
    sd_store *s = NULL;
    sd_store_info in = {.model = {.n_vocab = 1}, .dict = {.m = M}};
    sd_feature_point point[M];
    sd_feature_cluster cluster[2] = {{.n = 3}, {.n = 3}};
    sd_feature_map m = {.point = point, .n_point = M, .cluster = cluster, .n_cluster = 2};
    const char *dir = t_tmpdir();
    char path[300];
    snprintf(path, sizeof path, "%s/s.db", dir);
    t_ok(sd_store_create(&s, path, false, &err), err);
    t_ok(sd_store_put_info(s, &in, &err), err);
    for (int i = 0; i < M; i++) {
        point[i] = (sd_feature_point){.index = i, .cluster = i / 3};
        t_ok(sd_store_put_feature(s, &(sd_feature){.stats = {.index = i}, .words = words[i]}, NULL, &err), err);
    }
    t_ok(sd_store_commit(s, &err), err);
    t_ok(sd_store_open(&s, path, &err), err);
    t_ok(sd_lab_map_words(&m, s, &err), err);
    assert_string_equal(cluster[0].words, "queen, king");
    assert_string_equal(cluster[1].words, "river");
    for (int c = 0; c < 2; c++) sd_free((char *)(uintptr_t)cluster[c].words);
    sd_store_close(s);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(copies_are_clusters), T(near_stays_near), T(quality_is_what_it_says), T(clusters_that_are_there), T(graph_is_symmetric), T(words_of_a_cluster)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
