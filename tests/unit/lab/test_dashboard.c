/* A whole store from a made-up stream, against a dense encoding of the same rows. */
#include "feature_sample.h"
#include "base/hash.h"
#include "lab/feature_json.h"

#include <dirent.h>
#include <math.h>

typedef struct bench {
    sd_exec *ex;
    sd_tok *tok;
    sd_dict *dict;
    fs_source src;
    const char *dir;
    char path[512];
} bench;

static void start(bench *b, int threads, bool mixed, int64_t block)
{
    sd_err err = {0};
    t_ok(sd_exec_new(&b->ex, &(sd_exec_opt){.n_threads = threads}, &err), err);
    b->tok = fs_tok();
    b->dict = fs_dict(FS_M, FS_D);
    fs_source_init(&b->src, mixed, block);
    b->dir = t_tmpdir();
    snprintf(b->path, sizeof b->path, "%s/features.db", b->dir);
}

static void stop(bench *b)
{
    sd_exec_free(b->ex);
    sd_tok_free(b->tok);
    sd_dict_free(b->dict);
    fs_source_release(&b->src);
    t_rmtree(b->dir);
}

static sd_features_in input(bench *b)
{
    static const sd_prov prov = {.tool = "sonde test", .mode = "faithful", .isa = "none", .n_threads = 1};
    return (sd_features_in){.dict = b->dict, .tok = b->tok, .model_name = "made up", .source = fs_act_source(&b->src), .n_rows = FS_ROWS, .prov = &prov};
}

static int files_in(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* z [rows, m] by the definition: the k highest of (x - b_dec) W_enc^T + b_enc that are above zero; sinks have none. */
static double *dense(const bench *b)
{
    double *z = calloc((size_t)FS_ROWS * FS_M, sizeof *z);
    for (int64_t i = 0; i < FS_ROWS; i++) {
        if (fs_is_sink(&b->src, i)) continue;
        double a[FS_M];
        for (int64_t f = 0; f < FS_M; f++) a[f] = (double)sd_dict_preact(b->dict, f, b->src.x + i * FS_D);
        for (int k = 0; k < FS_K; k++) {
            int64_t best = 0;
            for (int64_t f = 1; f < FS_M; f++)
                if (a[f] > a[best]) best = f;
            if (a[best] > 0) z[i * FS_M + best] = a[best];
            a[best] = -1e30;
        }
    }
    return z;
}

enum { DOCS = 101, LONGEST = 200 };
/* Row of (document, position) + 1; 0: none. */
static void index_rows(const bench *b, int32_t (*row)[LONGEST])
{
    memset(row, 0, sizeof *row * DOCS);
    for (int32_t i = 0; i < FS_ROWS; i++) row[b->src.doc[i]][b->src.pos[i]] = i + 1;
}

static void check_feature(const bench *b, const double *z, int32_t (*row_of)[LONGEST], const sd_feature *f, int64_t n_tokens)
{
    int64_t n = 0, id = f->stats.index;
    double max = 0, sum = 0;
    for (int64_t i = 0; i < FS_ROWS; i++) {
        double v = z[i * FS_M + id];
        n += v > 0, sum += v, max = v > max ? v : max;
    }
    assert_int_equal(f->stats.n_fire, n);
    assert_true(fabs(f->stats.density - (double)n / (double)n_tokens) < 1e-12);
    /* f32 products of 16 terms against double */
    assert_true(fabs(f->stats.max_act - max) < 1e-5 * (1 + max));
    if (n) assert_true(fabs(f->stats.mean_act - sum / (double)n) < 1e-5 * (1 + max));
    assert_true(f->stats.interest >= 0 && f->stats.interest <= 1);
    assert_int_equal(f->n_near, 10);
    assert_int_equal(f->n_top, 0); /* no model: no logits */
    for (int e = 0; e < f->n_example; e++) {
        const sd_example *x = &f->example[e];
        for (int t = 0; t < x->n; t++) {
            int64_t row = row_of[x->doc][x->pos0 + t] - 1;
            assert_int_equal(x->tok[t], row < 0 ? SD_FEATURE_GAP : b->src.token[row]);
            double want = row < 0 ? 0 : z[row * FS_M + id];
            /* kept in 65535 steps of the maximum */
            assert_true(fabs((double)x->val[t] - want) < max / 131070 + 1e-5 * (1 + max));
        }
    }
}

static void store_equals_the_definition(void **state)
{
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        sd_err err = {0};
        bench b;
        sd_store *s = NULL;
        sd_features_result r;
        start(&b, 1, mixed, 256);
        sd_features_in in = input(&b);
        t_ok(sd_lab_features_build(&r, b.ex, &in, &(sd_features_opt){.path = b.path, .budget_bytes = 20000}, NULL, &err), err);
        assert_int_equal(r.n_sinks, FS_ROWS / 50);
        assert_int_equal(r.n_tokens, FS_ROWS - FS_ROWS / 50);
        assert_int_equal(r.n_features, FS_M);
        assert_true(r.n_alive > 80 && r.n_alive < FS_M);
        assert_true(fabs(r.l0 - FS_K) < 0.05);
        assert_int_equal(files_in(b.dir), 1);
        t_ok(sd_store_open(&s, b.path, &err), err);
        const sd_store_info *info = sd_store_get_info(s);
        assert_string_equal(info->model.name, "made up");
        assert_string_equal(info->dict.site, "resid_post.1");
        assert_int_equal(info->run.n_tokens, r.n_tokens);
        assert_int_equal(info->run.n_docs, r.n_docs);
        assert_true(sd_slice_eq_str(sd_store_token(s, 50), " word50"));
        assert_true(sd_store_token_special(s, 0));
        double *z = dense(&b);
        static int32_t row_of[DOCS][LONGEST];
        index_rows(&b, row_of);
        for (int64_t f = 0; f < FS_M; f++) {
            sd_feature *x = NULL;
            t_ok(sd_store_feature(&x, s, f, 0, &err), err);
            check_feature(&b, z, row_of, x, r.n_tokens);
            sd_feature_free(x);
        }
        free(z);
        sd_store_close(s);
        stop(&b);
    }
}

/* Threads, blocks of the source and the memory budget change nothing in the file. */
static void same_bytes_however_it_is_cut(void **state)
{
    (void)state;
    const struct { int threads; int64_t block; size_t budget; } cut[] = {{1, FS_ROWS, 0}, {2, FS_ROWS, 0}, {2, 97, 0}, {1, 256, 3000}};
    sd_sha256 first = {0};
    for (int i = 0; i < 4; i++) {
        sd_err err = {0};
        bench b;
        sd_sha256 h;
        sd_features_result r;
        start(&b, cut[i].threads, false, cut[i].block);
        b.dict->info.site_rms = 5; /* else the limit of sinks comes from the first block */
        sd_features_in in = input(&b);
        t_ok(sd_lab_features_build(&r, b.ex, &in, &(sd_features_opt){.path = b.path, .budget_bytes = cut[i].budget}, NULL, &err), err);
        t_ok(sd_sha256_file(&h, b.path, NULL, &err), err);
        if (i == 0) first = h;
        assert_memory_equal(first.b, h.b, 32);
        stop(&b);
    }
}

static void fewer_rows_when_asked(void **state)
{
    (void)state;
    sd_err err = {0};
    bench b;
    sd_features_result r;
    start(&b, 1, false, 256);
    sd_features_in in = input(&b);
    t_ok(sd_lab_features_build(&r, b.ex, &in, &(sd_features_opt){.path = b.path, .max_rows = 1000}, NULL, &err), err);
    assert_int_equal(r.n_tokens + r.n_sinks, 1000);
    stop(&b);
}

static void refused(sd_features_in in, sd_features_opt opt, const bench *b, sd_status want, const char *words)
{
    sd_err err = {0};
    sd_features_result r;
    if (!opt.path) opt.path = b->path;
    assert_int_equal(sd_lab_features_build(&r, b->ex, &in, &opt, NULL, &err), want);
    if (!strstr(err.msg, words)) fail_msg("'%s' is not in: %s", words, err.msg);
    assert_int_equal(files_in(b->dir), 0);
}

static sd_status broken(void *self, sd_act_block *out, sd_err *err)
{
    fs_source *s = self;
    if (s->at > 1000) return sd_fail(err, SD_E_IO, "the source broke");
    return fs_next(self, out, err);
}

static void bad_input_leaves_nothing(void **state)
{
    (void)state;
    bench b;
    start(&b, 1, false, 256);
    sd_features_in in = input(&b), bad;
    bad = in;
    bad.source.d = FS_D + 1;
    refused(bad, (sd_features_opt){0}, &b, SD_E_SHAPE, "16 numbers, the activations have 17");
    bad = in;
    bad.source.next = broken;
    refused(bad, (sd_features_opt){0}, &b, SD_E_IO, "the source broke");
    b.src.at = 0;
    b.src.token[700] = FS_VOCAB;
    refused(in, (sd_features_opt){0}, &b, SD_E_FORMAT, "row 700 of the activations has token 120");
    b.src.token[700] = 5;
    b.src.at = 0;
    b.src.pos[701] = b.src.pos[700];
    refused(in, (sd_features_opt){0}, &b, SD_E_FORMAT, "twice");
    b.src.at = b.src.n;
    refused(in, (sd_features_opt){0}, &b, SD_E_FORMAT, "no token");
    refused(in, (sd_features_opt){.before = 300}, &b, SD_E_ARG, "window");
    refused(in, (sd_features_opt){.n_intervals = 65}, &b, SD_E_ARG, "at most 64");
    refused(in, (sd_features_opt){.path = "/nonexistent/folder/x.db"}, &b, SD_E_NOTFOUND, "/nonexistent");
    stop(&b);
}

static void cancel_after(void *self, const char *what, double done, double total, const char *note)
{
    (void)what, (void)done, (void)total, (void)note;
    int *left = self;
    left[0]--;
    if (left[0] < 0) left[1] = 1;
}

static void interrupted_leaves_nothing(void **state)
{
    (void)state;
    for (int n = 0; n < 14; n += 3) {
        sd_err err = {0};
        bench b;
        sd_features_result r;
        int left[2] = {n, 0};
        start(&b, 1, false, 256);
        sd_features_in in = input(&b);
        const sd_progress p = {.fn = cancel_after, .self = left, .cancel = &left[1]};
        assert_int_equal(sd_lab_features_build(&r, b.ex, &in, &(sd_features_opt){.path = b.path}, &p, &err), SD_E_CANCELLED);
        assert_int_equal(files_in(b.dir), 0);
        stop(&b);
    }
}

static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    sd_err err = {0};
    bench b;
    int failures = 0;
    start(&b, 1, false, FS_ROWS);
    b.src.n = 300;
    sd_features_in in = input(&b);
    sd_features_result r;
    t_ok(sd_lab_features_build(&r, b.ex, &in, &(sd_features_opt){.path = b.path}, NULL, &err), err); /* fills the dictionary's own cache */
    int64_t blocks = sd_mem_live_blocks();
    for (int64_t n = 1;; n += n < 60 ? 1 : 13) {
        unlink(b.path);
        b.src.at = 0;
        sd_mem_fail_nth(n);
        sd_status st = sd_lab_features_build(&r, b.ex, &in, &(sd_features_opt){.path = b.path}, NULL, &err);
        sd_mem_fail_nth(0);
        assert_int_equal(sd_mem_live_blocks(), blocks);
        if (!st) break;
        failures++;
        if (st != SD_E_NOMEM) fail_msg("allocation %d: status %d: %s", (int)n, st, err.msg);
        assert_int_equal(files_in(b.dir), 0);
    }
    assert_true(failures > 20);
    stop(&b);
}

static void json_has_the_agreed_names(void **state)
{
    (void)state;
    sd_err err = {0};
    bench b;
    sd_store *s = NULL;
    sd_feature *f = NULL;
    sd_feature_list l;
    sd_features_result r;
    json_t *doc = NULL;
    sd_buf buf;
    sd_jw w;
    start(&b, 1, false, 256);
    sd_features_in in = input(&b);
    t_ok(sd_lab_features_build(&r, b.ex, &in, &(sd_features_opt){.path = b.path}, NULL, &err), err);
    t_ok(sd_store_open(&s, b.path, &err), err);
    sd_buf_init(&buf, 1 << 24);
    sd_jw_init(&w, &buf);
    t_ok(sd_store_list(&l, s, &(sd_feature_query){.sort = SD_SORT_INTEREST, .limit = 3}, &err), err);
    t_ok(sd_store_feature(&f, s, l.v[0].stats.index, 0, &err), err);
    sd_jw_obj(&w);
    sd_feature_list_write(&w, s, &l);
    sd_jw_key(&w, "feature");
    sd_jw_obj(&w);
    sd_feature_write(&w, s, f);
    sd_jw_end(&w);
    sd_store_info_write(&w, sd_store_get_info(s));
    sd_jw_end(&w);
    t_ok(sd_json_parse(&doc, buf.p, buf.n, "features", &err), err);
    const json_t *row = json_array_get(json_object_get(doc, "features"), 0), *whole = json_object_get(doc, "feature");
    static const char *const of_row[] = {"index", "label", "label_source", "density", "score", "max_act", "mean_act", "n_fire", "interest", "top_logits"};
    static const char *const of_whole[] = {"index", "label", "density", "max_act", "mean_act", "histogram", "tokens", "intervals", "neighbours", "examples",
                                           "top_logits", "bottom_logits"};
    for (size_t i = 0; i < sizeof of_row / sizeof *of_row; i++) assert_non_null(json_object_get(row, of_row[i]));
    for (size_t i = 0; i < sizeof of_whole / sizeof *of_whole; i++) assert_non_null(json_object_get(whole, of_whole[i]));
    assert_string_equal(json_string_value(json_object_get(row, "label_source")), "words");
    const json_t *ex = json_array_get(json_object_get(whole, "examples"), 0), *tokens = json_object_get(ex, "tokens");
    assert_int_equal(json_array_size(tokens), f->example[0].n);
    assert_int_equal(json_array_size(json_object_get(ex, "values")), f->example[0].n);
    assert_int_equal(json_integer_value(json_object_get(ex, "peak")), f->example[0].pos - f->example[0].pos0);
    json_decref(doc);
    sd_buf_release(&buf);
    sd_feature_free(f);
    sd_feature_list_release(&l);
    sd_store_close(s);
    stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(store_equals_the_definition), T(same_bytes_however_it_is_cut), T(fewer_rows_when_asked),
                                       T(bad_input_leaves_nothing), T(interrupted_leaves_nothing), T(memory_may_fail_anywhere),
                                       T(json_has_the_agreed_names)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
