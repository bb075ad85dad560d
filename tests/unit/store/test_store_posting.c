/* Posting lists: what is put comes back, parts join, co-activation is the correlation computed the long way, damage is refused. */
#include "store_sample.h"
#include "store/store_int.h"

#include <math.h>

static sd_store *open_sample(const char *path)
{
    sd_err err = {0};
    sd_store *s = NULL;
    t_ok(sample_build(path, true, &err), err);
    t_ok(sd_store_open(&s, path, &err), err);
    return s;
}

static void what_is_put_comes_back(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    sd_store *s = open_sample(sample_path(dir));
    static int64_t at[SAMPLE_DOCS * SAMPLE_DOC_LEN];
    static float val[SAMPLE_DOCS * SAMPLE_DOC_LEN];
    sd_posting *v;
    int64_t n;
    for (int i = 0; i < SAMPLE_M; i++) {
        int64_t want = sample_postings(i, at, val);
        t_ok(sd_store_postings(&v, &n, s, i, &err), err);
        assert_int_equal(n, want);
        for (int64_t k = 0; k < n; k++) {
            assert_int_equal(v[k].doc, at[k] / SAMPLE_DOC_LEN);
            assert_int_equal(v[k].pos, at[k] % SAMPLE_DOC_LEN);
            assert_int_equal(v[k].level, 2 * (int)val[k]); /* sixteenths of 8 */
        }
        sd_free(v);
    }
    assert_int_equal(sd_store_postings(&v, &n, s, SAMPLE_M, &err), SD_E_NOTFOUND);
    sd_store_close(s);
    t_rmtree(dir);
}

/* 200,000 entries of one feature make four parts. */
static void parts_join(void **state)
{
    (void)state;
    enum { N = 200000, LEN = 300000 };
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    sd_store *s = NULL;
    sd_store_info in = sample_info();
    int64_t *at = malloc(N * sizeof *at), n;
    float *val = malloc(N * sizeof *val);
    int32_t *tok = calloc(LEN, sizeof *tok);
    sd_posting *v;
    in.dict.m = 1;
    for (int64_t i = 0; i < N; i++) at[i] = i + i / 2, val[i] = i % 3 ? 0.001f : 1;
    t_ok(sd_store_create(&s, path, false, &err), err);
    t_ok(sd_store_put_info(s, &in, &err), err);
    t_ok(sd_store_put_doc(s, 3, NULL, tok, LEN, &err), err);
    t_ok(sd_store_put_postings(s, 0, at, val, N, 1, &err), err);
    t_ok(sd_store_commit(s, &err), err);
    t_ok(sd_store_open(&s, path, &err), err);
    t_ok(sd_store_postings(&v, &n, s, 0, &err), err);
    assert_int_equal(n, N);
    for (int64_t i = 0; i < N; i++)
        if (v[i].doc != 3 || v[i].pos != at[i] || v[i].level != (i % 3 ? 1 : 16)) fail_msg("entry %lld", (long long)i);
    sd_free(v);
    sd_store_close(s);
    free(at), free(val), free(tok);
    t_rmtree(dir);
}

/* Pearson's r of two columns of zeros and ones. */
static double pearson(int a, int b, int64_t n, int64_t *both)
{
    double sa = 0, sb = 0, sab = 0;
    for (int64_t t = 0; t < n; t++) {
        int x = t % (a + 2) == 0, y = t % (b + 2) == 0;
        sa += x, sb += y, sab += x * y;
    }
    *both = (int64_t)sab;
    double ma = sa / (double)n, mb = sb / (double)n;
    return (sab / (double)n - ma * mb) / sqrt(ma * (1 - ma) * mb * (1 - mb));
}

static void coactivation_is_correlation(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    sd_store *s = open_sample(sample_path(dir));
    sd_feature_list l;
    t_ok(sd_store_coactive(&l, s, 4, 1000, &err), err);
    assert_int_equal(l.n, SAMPLE_M - 2); /* all but itself and the one that never fires: token 0 is everybody's */
    for (int64_t i = 0; i < l.n; i++) {
        int64_t both;
        double r = pearson(4, (int)l.v[i].stats.index, SAMPLE_DOCS * SAMPLE_DOC_LEN, &both);
        assert_true(fabs(l.v[i].score - r) < 1e-12);
        assert_int_equal(l.v[i].n_both, both);
        assert_true(i == 0 || l.v[i].score <= l.v[i - 1].score);
    }
    assert_true(l.v[0].score > 0.3 && l.v[l.n - 1].score < 0.3);
    sd_feature_list_release(&l);
    t_ok(sd_store_coactive(&l, s, 4, 3, &err), err);
    assert_int_equal(l.n, 3);
    assert_int_equal(l.n_total, SAMPLE_M - 2);
    sd_feature_list_release(&l);
    assert_int_equal(sd_store_coactive(&l, s, -1, 3, &err), SD_E_NOTFOUND);
    sd_store_close(s);
    t_rmtree(dir);
}

/* Of token t<id>: does its number begin with the digits of w? */
static bool begins_with(int32_t id, const char *digits)
{
    char b[16];
    if (id < 1) return false; /* the first is special, a gap has no text */
    snprintf(b, sizeof b, "%d", id);
    return strncmp(b, digits, strlen(digits)) == 0;
}

/* F1 of feature i against "each of the words stood among the last SD_PASSAGE tokens of the document", the long way. */
static double f1_of(int i, const char *a, const char *b, int64_t *both)
{
    int64_t fire = 0, in = 0;
    *both = 0;
    for (int d = 0; d < SAMPLE_DOCS; d++)
        for (int64_t p = 0; p < SAMPLE_DOC_LEN; p++) {
            bool has_a = false, has_b = false, on = (d * SAMPLE_DOC_LEN + p) % (i + 2) == 0;
            for (int64_t q = p; q >= 0 && q > p - SD_PASSAGE; q--) {
                has_a |= begins_with(sample_token(d, q), a);
                has_b |= begins_with(sample_token(d, q), b);
            }
            fire += on;
            in += has_a && has_b;
            *both += on && has_a && has_b;
        }
    return 2.0 * (double)*both / (double)(fire + in);
}

static void passages_are_f1(void **state)
{
    (void)state;
    static const char *const query[][3] = {{"t17", "17", "17"}, {"T17 t4", "17", "4"}, {"\"t17\"", "17", "17"}, {"\"t10 t17\"", "-", "-"}};
    sd_err err = {0};
    const char *dir = t_tmpdir();
    sd_store *s = open_sample(sample_path(dir));
    sd_feature_list l;
    for (int k = 0; k < 3; k++) {
        t_ok(sd_store_passages(&l, s, query[k][0], 1000, &err), err);
        assert_int_equal(l.n, SAMPLE_M - 1);
        for (int64_t i = 0; i < l.n; i++) {
            int64_t both;
            double want = f1_of((int)l.v[i].stats.index, query[k][1], query[k][2], &both);
            assert_true(fabs(l.v[i].score - want) < 1e-12);
            assert_int_equal(l.v[i].n_both, both);
            assert_true(i == 0 || l.v[i].score <= l.v[i - 1].score);
        }
        sd_feature_list_release(&l);
    }
    t_ok(sd_store_passages(&l, s, query[3][0], 3, &err), err); /* t10 is followed by t17 */
    assert_int_equal(l.n, 3);
    sd_feature_list_release(&l);
    static const char *const nothing[] = {"", "  \"", "zebra", "17", "\"t17 t10\""}; /* a word begins where a word begins */
    for (size_t k = 0; k < sizeof nothing / sizeof *nothing; k++) {
        t_ok(sd_store_passages(&l, s, nothing[k], 3, &err), err);
        if (l.n) fail_msg("'%s' is in the text", nothing[k]);
        sd_feature_list_release(&l);
    }
    sd_store_close(s);
    t_rmtree(dir);
}

static void raw_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void damage_is_refused(void **state)
{
    static const char *const sql[] = {
        "UPDATE posting SET entries = x'' WHERE id = 2 * 65536",
        "UPDATE posting SET entries = x'ff' WHERE id = 2 * 65536",
        "UPDATE posting SET n = n + 1 WHERE id = 2 * 65536",
        "UPDATE posting SET n = 0 WHERE id = 2 * 65536",
        "UPDATE posting SET n = 2, entries = x'10ffffffffffff0f' WHERE id = 2 * 65536",
        "UPDATE posting SET n = 1, entries = x'00' WHERE id = 2 * 65536",
        "UPDATE document SET n_tokens = -1 WHERE id = 1",
        "UPDATE document SET n_tokens = 5",
    };
    (void)state;
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        sd_err err = {0};
        sd_feature_list l;
        sd_posting *v = NULL;
        int64_t n;
        sd_store_close(open_sample(path));
        raw_sql(path, sql[i]);
        sd_store *s = NULL;
        t_ok(sd_store_open(&s, path, &err), err);
        if (sd_store_coactive(&l, s, 4, 3, &err) != SD_E_STORE) fail_msg("%s is not noticed", sql[i]);
        assert_int_equal(sd_store_postings(&v, &n, s, 2, &err), SD_E_STORE);
        assert_null(v);
        sd_store_close(s);
    }
    t_rmtree(dir);
}

/* A store of version 2 has no postings, is read as it is, and is brought up to date by an edit. */
static void older_stores(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    sd_store *s = open_sample(path);
    sd_feature_list l;
    sd_feature *f;
    sd_store_close(s);
    raw_sql(path, "DROP TABLE posting; DROP INDEX feature_density; DROP INDEX feature_max_act; DROP INDEX feature_interest; CREATE INDEX feature_interest ON feature (interest); PRAGMA user_version = 2");
    t_ok(sd_store_open(&s, path, &err), err);
    t_ok(sd_store_feature(&f, s, 3, 0, &err), err);
    sd_feature_free(f);
    assert_int_equal(sd_store_coactive(&l, s, 4, 3, &err), SD_E_NOTFOUND);
    assert_non_null(strstr(err.msg, "no postings"));
    sd_store_close(s);
    t_ok(sd_store_edit(&s, path, &err), err);
    sd_store_close(s);
    t_ok(sd_store_open(&s, path, &err), err);
    assert_int_equal(sd_store_get_info(s)->n_alive, SAMPLE_M - 1);
    sd_store_close(s);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(what_is_put_comes_back), T(parts_join), T(coactivation_is_correlation), T(passages_are_f1), T(damage_is_refused), T(older_stores)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
