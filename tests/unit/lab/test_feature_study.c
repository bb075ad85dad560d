/* Statistics and examples of features against the plain definition over all codes. */
#include "feature_sample.h"
#include "lab/feature_study.h"

#include <math.h>

enum { M = 12, BEFORE = 9, AFTER = 4 };
static const sd_study_opt OPT = {.n_top = 8, .n_intervals = 5, .per_interval = 3, .hist_bins = 10, .n_fires = 6, .before = BEFORE, .after = AFTER, .seed = 1};

typedef struct world {
    fs_source src;
    sd_rows rows;
    float *z; /* [rows in order, M] */
    sd_postings post;
    sd_codelog *log;
    const char *dir;
} world;

/* Feature f fires on about every 2^f-th row; f = 0 everywhere with one value, M - 1 never. */
static void make(world *w, bool mixed)
{
    sd_err err = {0};
    char path[512];
    fs_source_init(&w->src, mixed, FS_ROWS);
    w->rows = (sd_rows){0};
    w->post = (sd_postings){0};
    w->z = calloc(FS_ROWS * M, sizeof *w->z);
    w->dir = t_tmpdir();
    snprintf(path, sizeof path, "%s/x", w->dir);
    t_ok(sd_rows_put(&w->rows, w->src.token, w->src.doc, w->src.pos, FS_ROWS, &err), err);
    t_ok(sd_rows_finish(&w->rows, &err), err);
    t_ok(sd_codelog_new(&w->log, path, M, &err), err);
    int64_t ptr[FS_ROWS + 1] = {0};
    int32_t *idx = calloc(FS_ROWS * M, sizeof *idx);
    float *val = calloc(FS_ROWS * M, sizeof *val);
    sd_codes z = {.n = FS_ROWS, .row_ptr = ptr, .idx = idx, .val = val};
    for (int64_t i = 0; i < FS_ROWS; i++) {
        int64_t place = w->rows.place ? w->rows.place[i] : i;
        for (int32_t f = 0; f < M - 1; f++) {
            /* by document and position, so that a mixed stream has the same codes */
            sd_rng r = sd_rng_make((uint64_t)f, "z", (uint64_t)w->src.doc[i] * 1000 + (uint64_t)w->src.pos[i]);
            if (f && sd_rng_below(&r, (uint64_t)1 << f) != 0) continue;
            float v = f == 0 ? 2.0f : 0.5f + 7 * (float)sd_rng_uniform(&r);
            idx[z.nnz] = f;
            val[z.nnz++] = w->z[place * M + f] = v;
        }
        ptr[i + 1] = z.nnz;
    }
    t_ok(sd_codelog_put(w->log, &z, NULL, &err), err);
    t_ok(sd_codelog_postings(&w->post, w->log, 0, M, &err), err);
    free(idx);
    free(val);
}

static void drop(world *w)
{
    fs_source_release(&w->src);
    sd_rows_release(&w->rows);
    sd_postings_release(&w->post);
    sd_codelog_free(w->log);
    free(w->z);
    t_rmtree(w->dir);
}

static int64_t row_of(const world *w, int32_t doc, int32_t pos)
{
    for (int64_t i = 0; i < FS_ROWS; i++)
        if (w->rows.doc[i] == doc && w->rows.pos[i] == pos) return i;
    return -1;
}

static void check_statistics(const world *w, const sd_feature *f)
{
    int64_t n = 0, in_hist = 0, hist[10] = {0}, in_intervals = 0;
    double max = 0, sum = 0, min = 1e9;
    int64_t id = f->stats.index;
    for (int64_t i = 0; i < FS_ROWS; i++) {
        double v = (double)w->z[i * M + id];
        if (!(v > 0)) continue;
        n++, sum += v;
        max = v > max ? v : max, min = v < min ? v : min;
    }
    assert_int_equal(f->stats.n_fire, n);
    assert_true(f->stats.max_act == max);
    assert_true(fabs(f->stats.density - (double)n / FS_ROWS) < 1e-15);
    assert_true(n == 0 ? f->stats.mean_act == 0 : fabs(f->stats.mean_act - sum / (double)n) < 1e-12);
    assert_int_equal(f->hist.n, n ? 10 : 0);
    for (int64_t i = 0; i < FS_ROWS && n; i++) {
        double v = (double)w->z[i * M + id];
        if (!(v > 0)) continue;
        for (int b = 0; b < 10; b++) hist[b] += v > max * b / 10 && v <= max * (b + 1) / 10;
    }
    for (int b = 0; b < f->hist.n; b++) {
        in_hist += f->hist.count[b];
        assert_true(llabs(f->hist.count[b] - hist[b]) <= 1); /* a value on the border, to rounding */
    }
    assert_int_equal(in_hist, n);
    if (n) assert_true(f->hist.count[9] > 0); /* the last bar holds the maximum */
    assert_int_equal(f->n_interval, n ? 5 : 0);
    for (int g = 0; g < f->n_interval; g++) {
        in_intervals += f->interval[g].n;
        assert_true(fabs(f->interval[g].share - (double)f->interval[g].n / FS_ROWS) < 1e-15);
        if (g) assert_true(f->interval[g].hi <= f->interval[g - 1].lo + 1e-6f);
    }
    assert_int_equal(in_intervals, n);
    if (n) assert_true((double)f->interval[0].hi == max && (double)f->interval[4].lo == min);
}

static void check_window(const world *w, const sd_feature *f, const sd_example *e)
{
    int64_t row = row_of(w, e->doc, e->pos);
    assert_true(row >= 0);
    assert_true(e->act == w->z[row * M + f->stats.index]);
    assert_true(e->pos - e->pos0 <= BEFORE && e->pos0 + e->n - 1 - e->pos <= AFTER && e->n >= 1);
    for (int t = 0; t < e->n; t++) {
        int64_t r = row_of(w, e->doc, e->pos0 + t);
        assert_int_equal(e->tok[t], r < 0 ? SD_FEATURE_GAP : w->rows.token[r]);
        assert_true(e->val[t] == (r < 0 ? 0 : w->z[r * M + f->stats.index]));
    }
    /* as wide as it can be */
    if (e->pos - e->pos0 < BEFORE) assert_true(row_of(w, e->doc, e->pos0 - 1) < 0);
    if (e->pos0 + e->n - 1 - e->pos < AFTER) assert_true(row_of(w, e->doc, e->pos0 + e->n) < 0);
}

static void check_examples(const world *w, const sd_feature *f)
{
    int n_top = 0, in_group[6] = {0};
    for (int i = 0; i < f->n_example; i++) {
        const sd_example *e = &f->example[i];
        check_window(w, f, e);
        assert_in_range(e->group, 0, 5);
        assert_int_equal(e->rank, in_group[e->group]++);
        if (e->rank) assert_true(e->act <= f->example[i - 1].act);
        if (e->group == 0) {
            n_top++;
        } else {
            const sd_interval *v = &f->interval[e->group - 1];
            assert_true(e->act >= v->lo - 1e-5f && e->act <= v->hi + 1e-5f);
        }
        for (int k = 0; k < i; k++)
            assert_true(f->example[k].doc != e->doc || abs(f->example[k].pos - e->pos) > AFTER);
    }
    if (f->stats.n_fire) assert_true(n_top > 0 && (double)f->example[0].act == f->stats.max_act);
    if (f->stats.n_fire >= 60) assert_int_equal(n_top, 8);
    /* No top example was passed over: what is higher than the last is there, or too near to one that is. */
    for (int64_t i = 0; i < FS_ROWS && n_top == 8; i++) {
        if (!(w->z[i * M + f->stats.index] > f->example[7].act)) continue;
        bool there = false;
        for (int k = 0; k < 8; k++)
            there |= f->example[k].doc == w->rows.doc[i] && abs(f->example[k].pos - w->rows.pos[i]) <= AFTER;
        assert_true(there);
    }
}

static void check_fires(const world *w, const sd_feature *f)
{
    double sum[FS_VOCAB] = {0}, total = 0;
    int64_t n[FS_VOCAB] = {0};
    float max[FS_VOCAB] = {0};
    int different = 0;
    for (int64_t i = 0; i < FS_ROWS; i++) {
        float v = w->z[i * M + f->stats.index];
        int32_t t = w->rows.token[i];
        if (!(v > 0)) continue;
        different += n[t]++ == 0;
        sum[t] += (double)v, total += (double)v, max[t] = v > max[t] ? v : max[t];
    }
    assert_int_equal(f->n_token, different < 6 ? different : 6);
    for (int k = 0; k < f->n_token; k++) {
        int32_t t = f->token[k].id;
        assert_int_equal(f->token[k].n, n[t]);
        assert_true(f->token[k].max_act == max[t]);
        assert_true(fabs((double)f->token[k].share - sum[t] / total) < 1e-6);
        if (k) assert_true(f->token[k].share <= f->token[k - 1].share);
        sum[t] = 0;
    }
    for (int t = 0; t < FS_VOCAB && f->n_token == 6; t++) assert_true(sum[t] / total <= (double)f->token[5].share + 1e-6);
}

static void features_equal_the_codes(void **state)
{
    for (int mixed = 0; mixed < 2; mixed++) {
        (void)state;
        sd_err err = {0};
        world w;
        sd_study *s = NULL;
        sd_study_slot slot;
        make(&w, mixed);
        assert_true((w.rows.place != NULL) == (mixed == 1));
        t_ok(sd_study_new(&s, &w.rows, &OPT, &(sd_study_size){FS_ROWS, FS_VOCAB, FS_ROWS, 1}, &err), err);
        t_ok(sd_study_slot_init(&slot, &OPT, 0, 0, &err), err);
        for (int64_t f = 0; f < M; f++) {
            sd_study_run(&slot, s, &w.post, f, 0);
            assert_int_equal(slot.f.stats.index, f);
            check_statistics(&w, &slot.f);
            check_examples(&w, &slot.f);
            check_fires(&w, &slot.f);
        }
        sd_study_slot_release(&slot);
        sd_study_free(s);
        drop(&w);
    }
}

static void the_seed_moves_only_the_draw(void **state)
{
    (void)state;
    sd_err err = {0};
    world w;
    make(&w, false);
    sd_study_slot slot[3];
    for (int k = 0; k < 3; k++) {
        sd_study *s = NULL;
        sd_study_opt o = OPT;
        o.seed = k == 2 ? 99 : 1;
        t_ok(sd_study_new(&s, &w.rows, &o, &(sd_study_size){FS_ROWS, FS_VOCAB, FS_ROWS, 1}, &err), err);
        t_ok(sd_study_slot_init(&slot[k], &o, 0, 0, &err), err);
        sd_study_run(&slot[k], s, &w.post, 3, 0);
        sd_study_free(s);
    }
    int moved = 0;
    for (int i = 0; i < slot[0].f.n_example; i++) {
        const sd_example *a = &slot[0].f.example[i], *b = &slot[1].f.example[i], *c = &slot[2].f.example[i];
        assert_true(a->doc == b->doc && a->pos == b->pos && a->group == b->group);
        if (a->group == 0) assert_true(a->doc == c->doc && a->pos == c->pos);
        else moved += a->doc != c->doc || a->pos != c->pos;
    }
    assert_true(moved > 3);
    for (int k = 0; k < 3; k++) sd_study_slot_release(&slot[k]);
    drop(&w);
}

/* The same eight tokens before every peak: one example stands for them all. */
static void repeated_text_is_shown_once(void **state)
{
    (void)state;
    sd_err err = {0};
    enum { N = 400 };
    sd_rows rows = {0};
    uint32_t row[N];
    float val[N];
    int64_t start[2] = {0, 0};
    for (int32_t i = 0; i < N; i++) {
        int32_t token = 1 + i % 20, doc = i / 100, pos = i % 100;
        t_ok(sd_rows_put(&rows, &token, &doc, &pos, 1, &err), err);
        if (i % 20 == 15) row[start[1]] = (uint32_t)i, val[start[1]++] = 1.0f + (float)i / N;
    }
    t_ok(sd_rows_finish(&rows, &err), err);
    sd_postings p = {.f0 = 0, .f1 = 1, .start = start, .row = row, .val = val};
    sd_study *s = NULL;
    sd_study_slot slot;
    t_ok(sd_study_new(&s, &rows, &OPT, &(sd_study_size){N, FS_VOCAB, N, 1}, &err), err);
    t_ok(sd_study_slot_init(&slot, &OPT, 0, 0, &err), err);
    sd_study_run(&slot, s, &p, 0, 0);
    assert_int_equal(slot.f.stats.n_fire, 20);
    assert_int_equal(slot.f.n_example, 1);
    assert_true(slot.f.example[0].doc == 3 && slot.f.example[0].pos == 95);
    sd_study_slot_release(&slot);
    sd_study_free(s);
    sd_rows_release(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(features_equal_the_codes), T(the_seed_moves_only_the_draw), T(repeated_text_is_shown_once)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
