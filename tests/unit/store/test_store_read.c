/* What was put in comes out: features, windows, lists, search, labels. */
#include "store_sample.h"
#include "store/store_int.h"

#include <math.h>

static const char *dir;
static sd_store *store;

static int setup(void **state)
{
    (void)state;
    sd_err err = {0};
    dir = t_tmpdir();
    if (sample_build(sample_path(dir), false, &err)) fail_msg("%s", err.msg);
    return sd_store_open(&store, sample_path(dir), &err) ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    sd_store_close(store);
    t_rmtree(dir);
    return 0;
}

static void feature_round_trip(void **state)
{
    (void)state;
    sd_err err = {0};
    for (int i = 0; i < SAMPLE_M; i++) {
        const sd_feature *w = sample_feature(i);
        sd_feature *f = NULL;
        t_ok(sd_store_feature(&f, store, i, 0, &err), err);
        assert_memory_equal(&f->stats, &w->stats, sizeof f->stats);
        assert_string_equal(f->words, w->words);
        assert_true(f->logit_mean == w->logit_mean && f->logit_std == w->logit_std);
        assert_int_equal(f->hist.n, w->hist.n);
        assert_memory_equal(f->hist.count, w->hist.count, sizeof *w->hist.count * (size_t)w->hist.n);
        assert_true(f->hist.lo == w->hist.lo && f->hist.hi == w->hist.hi);
        assert_int_equal(f->n_top, w->n_top);
        assert_memory_equal(f->top, w->top, sizeof *w->top * (size_t)w->n_top);
        assert_int_equal(f->n_bottom, w->n_bottom);
        assert_memory_equal(f->bottom, w->bottom, sizeof *w->bottom * (size_t)w->n_bottom);
        assert_int_equal(f->n_near, w->n_near);
        for (int k = 0; k < f->n_near; k++)
            assert_true(f->near[k].index == w->near[k].index && f->near[k].cosine == w->near[k].cosine);
        assert_int_equal(f->n_token, w->n_token);
        for (int k = 0; k < f->n_token; k++)
            assert_true(f->token[k].id == w->token[k].id && f->token[k].n == w->token[k].n &&
                        f->token[k].max_act == w->token[k].max_act && f->token[k].share == w->token[k].share);
        assert_int_equal(f->n_interval, w->n_interval);
        assert_memory_equal(f->interval, w->interval, sizeof *w->interval * (size_t)w->n_interval);
        assert_int_equal(f->n_example, w->n_example);
        for (int e = 0; e < f->n_example; e++) {
            const sd_example *a = &f->example[e], *b = &w->example[e];
            assert_true(a->group == b->group && a->rank == b->rank && a->doc == b->doc && a->pos == b->pos);
            assert_true(a->pos0 == b->pos0 && a->n == b->n && a->act == b->act);
            for (int t = 0; t < a->n; t++) {
                assert_int_equal(a->tok[t], sample_token(a->doc, a->pos0 + t));
                /* values are kept in 65535 steps of max_act: half a step off at most, and zero stays zero */
                assert_true(fabs((double)(a->val[t] - b->val[t])) <= 8.0 / 131070 + 1e-6);
                assert_true((a->val[t] == 0) == (b->val[t] == 0));
            }
        }
        sd_feature_free(f);
    }
}

static void example_limits(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_feature *f = NULL;
    t_ok(sd_store_feature(&f, store, 1, -1, &err), err);
    assert_int_equal(f->n_example, 0);
    sd_feature_free(f);
    t_ok(sd_store_feature(&f, store, 1, 1, &err), err);
    assert_int_equal(f->n_example, 2); /* one of each group */
    assert_int_equal(f->example[1].group, 1);
    sd_feature_free(f);
}

static void out_of_range(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_feature *f = NULL;
    sd_feature_list l;
    assert_int_equal(sd_store_feature(&f, store, 99999, 0, &err), SD_E_NOTFOUND);
    assert_string_equal(err.msg, "feature 99999 of a store with 40");
    assert_int_equal(sd_status_exit_code(err.code), 4);
    assert_int_equal(sd_store_feature(&f, store, -1, 0, &err), SD_E_NOTFOUND);
    assert_int_equal(sd_store_near(&l, store, SAMPLE_M, 0, &err), SD_E_NOTFOUND);
    assert_null(f);
}

static void tokens_and_documents(void **state)
{
    (void)state;
    char name[64];
    assert_true(sd_slice_eq_str(sd_store_token(store, 17), " t17"));
    assert_int_equal(sd_store_token(store, -1).n, 0);
    assert_int_equal(sd_store_token(store, SAMPLE_VOCAB).n, 0);
    assert_true(sd_store_token_special(store, 0));
    assert_false(sd_store_token_special(store, 1));
    assert_false(sd_store_token_special(store, -5));
    assert_string_equal(sd_store_doc_name(store, 1, name, sizeof name), "a/b.txt");
    assert_string_equal(sd_store_doc_name(store, 0, name, sizeof name), "");
    assert_string_equal(sd_store_doc_name(store, 77, name, sizeof name), "");
}

static void lists(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_feature_list l;
    t_ok(sd_store_list(&l, store, &(sd_feature_query){.sort = SD_SORT_INTEREST, .limit = 3}, &err), err);
    assert_int_equal(l.n, 3);
    assert_int_equal(l.n_total, SAMPLE_M - 1); /* the silent one is left out */
    assert_int_equal(l.v[0].stats.index, 0);
    assert_true(l.v[0].score == 1.0 && l.v[1].score == 0.5);
    assert_string_equal(l.v[1].words, "word1, common");
    assert_null(l.v[1].label);
    assert_int_equal(l.v[1].n_top, 3);
    assert_int_equal(l.v[1].top[0].id, 1);
    sd_feature_list_release(&l);
    t_ok(sd_store_list(&l, store, &(sd_feature_query){.sort = SD_SORT_DENSITY, .limit = 2, .offset = 1}, &err), err);
    assert_int_equal(l.v[0].stats.index, SAMPLE_M - 3);
    sd_feature_list_release(&l);
    t_ok(sd_store_list(&l, store, &(sd_feature_query){.sort = SD_SORT_INDEX, .silent = true, .limit = 1000}, &err), err);
    assert_int_equal(l.n, SAMPLE_M);
    sd_feature_list_release(&l);
    t_ok(sd_store_list(&l, store, &(sd_feature_query){.min_density = 0.0045, .max_density = 0.0085, .has_max = true, .limit = 10}, &err), err);
    assert_int_equal(l.n, 4); /* 0.005 .. 0.008 */
    assert_int_equal(l.v[0].stats.index, 4);
    sd_feature_list_release(&l);
    t_ok(sd_store_near(&l, store, 39, 0, &err), err);
    assert_int_equal(l.n, 2);
    assert_int_equal(l.v[0].stats.index, 0);
    assert_true(l.v[0].score == 0.75);
    sd_feature_list_release(&l);
}

static void search_finds(const char *query, int64_t limit, int64_t n, int64_t first)
{
    sd_err err = {0};
    sd_feature_list l;
    t_ok(sd_store_search(&l, store, query, limit, &err), err);
    if (l.n != n || (n && first >= 0 && l.v[0].stats.index != first))
        fail_msg("%s: %d rows, first %d", query, (int)l.n, l.n ? (int)l.v[0].stats.index : -1);
    for (int64_t i = 1; i < l.n; i++)
        for (int64_t j = 0; j < i; j++) assert_int_not_equal(l.v[i].stats.index, l.v[j].stats.index);
    sd_feature_list_release(&l);
}

/* The order of the first n. */
static void search_orders(const char *query, const int64_t *want, int n)
{
    sd_err err = {0};
    sd_feature_list l;
    t_ok(sd_store_search(&l, store, query, n, &err), err);
    assert_int_equal(l.n, n);
    for (int i = 0; i < n; i++) assert_int_equal(l.v[i].stats.index, want[i]);
    sd_feature_list_release(&l);
}

static bool at_once(void *self) { return ++*(int *)self > 0; }

/* A search that is told to stop ends so, and the next one is whole again. */
static void search_stops(void **state)
{
    sd_err err = {0};
    sd_feature_list l;
    int n = 0;
    (void)state;
    sd_store_stop_when(store, at_once, &n);
    sd_status st = SD_OK;
    for (int i = 0; i < 50 && !st; i++) /* it asks every thousand steps, some searches of this store */
        if (!(st = sd_store_search(&l, store, "word3 golden", 10, &err))) sd_feature_list_release(&l);
    assert_int_equal(st, SD_E_CANCELLED);
    assert_int_equal(n, 1);
    sd_store_stop_when(store, NULL, NULL);
    t_ok(sd_store_search(&l, store, "word3 golden", 10, &err), err);
    assert_true(l.n > 0);
    sd_feature_list_release(&l);
}

static void search_ranks(void **state)
{
    (void)state;
    search_finds("word12", 5, 1, 12);
    search_finds("WORD12", 5, 1, 12);
    search_finds("word30", 5, 2, 30); /* its peak, before one that has the word around it all the time */
    search_orders("word33", (int64_t[]){33, 25, 24}, 3); /* its peak, every window of a passage, one stray peak of many */
    search_finds("golden gate", 5, 5, -1);
    search_finds("\"golden gate\" bridge", 5, 5, 7); /* all words first, then any */
    search_finds("\"gate golden\"", 5, 0, -1);       /* a phrase keeps its order */
    search_finds("cafe", 3, 3, -1);                  /* no accent needed, plural and singular are one word */
    search_finds("opening", 3, 3, -1);
    search_finds("number7 word9", 5, 2, -1);
    search_finds("number21 zebra", 5, 1, 21);
    search_finds("zebra", 5, 0, -1);
    search_finds("word3 common", 1, 1, 3);
    search_finds("word3 common", 30, 30, 3); /* one with all words, the others with any: the limit counts features, not matches */
}

static void any_text_is_a_query(void **state)
{
    (void)state;
    search_finds("", 5, 0, -1);
    search_finds("   ", 5, 0, -1);
    search_finds("\"", 5, 0, -1);
    search_finds("\"\"\"", 5, 0, -1);
    search_finds("* AND ( NOT", 5, 0, -1);
    search_finds("word12 -", 5, 1, 12);
    search_finds("peak:word12", 5, 0, -1); /* a column filter is no syntax here: the words peak, word12 side by side */
    search_finds("word12\"x", 5, 1, 12);
    search_finds("\xff\xfe word12", 5, 1, 12);
}

static void labels(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_store *s = NULL, *reader = NULL;
    sd_feature *f = NULL;
    sd_feature_list l;
    const char *d = t_tmpdir(), *path = sample_path(d);
    char wal[600];
    t_ok(sample_build(path, false, &err), err);
    t_ok(sd_store_edit(&s, path, &err), err);
    t_ok(sd_store_open(&reader, path, &err), err); /* a reader beside the writer */
    t_ok(sd_store_add_label(s, 5, &(sd_label){.text = "zebra crossings", .source = "auto:test", .score = 0.5}, &err), err);
    t_ok(sd_store_add_label(s, 5, &(sd_label){.text = "stripes", .source = "human", .author = "me", .score = (double)NAN}, &err), err);
    t_ok(sd_store_add_label(s, 6, &(sd_label){.text = "it's \"quoted\"", .source = "human", .score = (double)NAN}, &err), err);
    assert_int_equal(sd_store_add_label(s, 6, &(sd_label){.text = ""}, &err), SD_E_ARG);
    assert_int_equal(sd_store_add_label(s, 40, &(sd_label){.text = "x", .source = "human"}, &err), SD_E_NOTFOUND);
    for (int k = 0; k < 2; k++) { /* many together: all, or none after an error; s is of use then */
        t_ok(sd_store_labels_begin(s, &err), err);
        t_ok(sd_store_add_label(s, 7, &(sd_label){.text = "quagga", .source = "auto:test"}, &err), err);
        sd_status st = k ? SD_OK : sd_store_add_label(s, 40, &(sd_label){.text = "quagga", .source = "auto:test"}, &err);
        assert_int_equal(sd_store_labels_end(s, st, &err), k ? SD_OK : SD_E_NOTFOUND);
        t_ok(sd_store_search(&l, reader, "quagga", 5, &err), err);
        assert_int_equal(l.n, k);
        sd_feature_list_release(&l);
    }
    t_ok(sd_store_search(&l, reader, "zebras", 5, &err), err);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.v[0].stats.index, 5);
    assert_string_equal(l.v[0].label, "stripes"); /* the human one speaks for the feature */
    assert_true(l.v[0].score >= 100);
    sd_feature_list_release(&l);
    for (int i = 0; i < 30; i++) /* many names of one feature leave room for the others */
        t_ok(sd_store_add_label(s, 8, &(sd_label){.text = "okapi", .source = "auto:test", .score = 0.5}, &err), err);
    t_ok(sd_store_add_label(s, 9, &(sd_label){.text = "okapi", .source = "auto:test", .score = 0.5}, &err), err);
    t_ok(sd_store_search(&l, reader, "okapi", 5, &err), err);
    assert_int_equal(l.n, 2);
    sd_feature_list_release(&l);
    /* Hidden ones do not count, a person's always do. */
    t_ok(sd_store_add_label(s, 10, &(sd_label){.text = "worse than chance", .source = "auto:test", .score = 0.9, .hidden = true}, &err), err);
    for (int k = 0; k < 2; k++) {
        sd_feature_query ask = {.sort = SD_SORT_INDEX, .silent = true, .has_label = true, .min_label_score = k ? 0.5 : 0.51};
        t_ok(sd_store_list(&l, reader, &ask, &err), err);
        const int64_t want[] = {5, 6, 8, 9};
        assert_int_equal(l.n, k ? 4 : 2);
        assert_int_equal(l.n_total, l.n);
        for (int64_t i = 0; i < l.n; i++) {
            assert_int_equal(l.v[i].stats.index, want[i]);
            assert_true(i < 2 ? isnan(l.v[i].label_score) : l.v[i].label_score == 0.5);
        }
        sd_feature_list_release(&l);
    }
    sd_store_close(reader);
    sd_store_close(s);
    snprintf(wal, sizeof wal, "%s-wal", path);
    assert_false(sd_file_exists(wal));
    t_ok(sd_store_open(&s, path, &err), err);
    t_ok(sd_store_feature(&f, s, 5, -1, &err), err);
    assert_int_equal(f->n_label, 2);
    assert_string_equal(f->label[0].text, "stripes");
    assert_string_equal(f->label[0].author, "me");
    assert_true(f->label[1].score == 0.5 && f->label[0].score != f->label[0].score);
    sd_feature_free(f);
    sd_store_close(s);
    t_rmtree(d);
}

/* A map goes in whole, comes back as it was, and is replaced whole; what is out of bounds is damage. */
static void a_map_comes_back(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *tmp = t_tmpdir(), *path = sample_path(tmp);
    sd_store *s = NULL;
    uint16_t half[2 * 16];
    sd_feature_point p[3] = {{0, 1.5f, -2.25f, 0}, {7, 0, 3, 1}, {SAMPLE_M - 1, 9, 9, 0}};
    sd_feature_cluster c[2] = {{2, "gate, bridge"}, {1, ""}};
    sd_feature_map got, m = {.k = 15, .epochs = 200, .min_dist = 0.1, .seed = UINT64_MAX, .n_checked = 3, .kept = 0.5, .kept_chance = 0.25,
                             .trust = strtod("nan", NULL), .modularity = 0.75, .tool = "sonde test", .point = p, .n_point = 3, .cluster = c, .n_cluster = 2};
    t_ok(sample_build(path, false, &err), err);
    t_ok(sd_store_open(&s, path, &err), err);
    t_ok(sd_store_get_map(&got, s, &err), err);
    assert_int_equal(got.n_point, 0); /* none was made */
    sd_feature_map_release(&got);
    assert_int_equal(sd_store_directions(half, s, 0, 2, &err), SD_E_NOTFOUND);
    assert_true(err.hint[0]);
    sd_store_close(s);
    for (int round = 0; round < 2; round++) {
        m.n_point = round ? 2 : 3;
        t_ok(sd_store_edit(&s, path, &err), err);
        t_ok(sd_store_put_map(s, &m, &err), err);
        sd_store_close(s);
        t_ok(sd_store_open(&s, path, &err), err);
        t_ok(sd_store_get_map(&got, s, &err), err);
        assert_int_equal(got.n_point, m.n_point);
        assert_int_equal(got.n_cluster, 2);
        assert_string_equal(got.cluster[0].words, "gate, bridge");
        assert_true(got.seed == UINT64_MAX && got.kept == 0.5 && got.trust != got.trust && got.point[1].index == 7 && got.point[0].y == -2.25f);
        sd_feature_map_release(&got);
        sd_store_close(s);
    }
    t_ok(sd_store_edit(&s, path, &err), err);
    t_ok(sd_store__exec(s->db, path, "UPDATE map_point SET cluster = 2 WHERE id = 7", "test", &err), err);
    assert_int_equal(sd_store_get_map(&got, s, &err), SD_E_STORE);
    assert_non_null(strstr(err.msg, "feature 7"));
    sd_store_close(s);
    t_rmtree(tmp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(a_map_comes_back), T(feature_round_trip), T(example_limits), T(out_of_range), T(tokens_and_documents),
                                       T(lists), T(search_ranks), T(search_stops), T(any_text_is_a_query), T(labels)};
    return cmocka_run_group_tests(tests, setup, teardown) ? 1 : 0;
}
