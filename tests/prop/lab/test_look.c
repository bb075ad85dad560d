/* What must hold of lens, patch, attn, attribute and near for any weights: on a small random model. */
#include "tiny_model.h"

#include "dict/dict_int.h"
#include "lab/attn_study.h"
#include "lab/attribute.h"
#include "lab/lens.h"
#include "lab/patch.h"
#include "lab/vectors.h"
#include "model/peek.h"

#include <float.h>
#include <math.h>

enum { N = 11, DIFF = 4, L = 3, H = 4, D = 64 };
static sd_exec *ex;
static sd_model *model, *biased; /* biased: with biases and a head of its own */
static int32_t text[N] = {7, 9, 200, 3, 77, 78, 12, 255, 31, 9, 200}, other[N], longer[N + 2];
static const sd_ids clean = {.v = text, .n = N}, corrupt = {.v = other, .n = N}, more = {.v = longer, .n = N + 2};

static int set_up(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    tiny_spec spec = tiny_default;
    sd_status st = sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, NULL);
    spec.tied = true;
    tiny_write_hf(dir, &spec);
    if (!st) st = sd_model_open(&model, ex, dir, NULL, NULL);
    t_rmtree(dir); /* the weights stay mapped */
    dir = t_tmpdir();
    spec.tied = false;
    spec.bias = true;
    spec.config_extra = ", \"attention_bias\": true, \"mlp_bias\": true";
    tiny_write_hf(dir, &spec);
    if (!st) st = sd_model_open(&biased, ex, dir, NULL, NULL);
    t_rmtree(dir);
    memcpy(other, text, sizeof text);
    other[DIFF] = 130;
    memcpy(longer + 2, other, sizeof other);
    longer[0] = 40, longer[1] = 41;
    return st;
}

static int tear_down(void **state)
{
    (void)state;
    sd_model_close(model);
    sd_model_close(biased);
    sd_exec_free(ex);
    return 0;
}

/* Logits of the last position; a site may be replaced: rows [n] from `from` where put[i]. */
typedef struct swap { const sd_mat *from; int64_t pos; } swap;

static sd_status put_row(void *self, sd_act *act, sd_err *err)
{
    const swap *s = self;
    (void)err;
    memcpy(sd_mat_row(act->x, s->pos - act->pos0), sd_mat_row(*s->from, s->pos), (size_t)act->x.cols * sizeof(float));
    return SD_OK;
}

static sd_status copy_out(void *self, sd_act *act, sd_err *err)
{
    sd_mat *to = self;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) memcpy(sd_mat_row(*to, i), sd_mat_row(act->x, i), (size_t)act->x.cols * sizeof(float));
    return SD_OK;
}

static void whole_run(float *logits, const sd_model *m, const sd_ids *ids, const sd_hook *hook)
{
    sd_session *s = NULL;
    sd_runner *r = NULL;
    sd_err err = {0};
    t_ok(sd_session_new(&s, m, &(sd_session_opt){.n_ctx = 64}, &err), err);
    t_ok(sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = 64, .max_logit_rows = 64}, &err), err);
    if (hook) t_ok(sd_session_attach(s, hook, NULL, &err), err);
    sd_segment seg = {.s = s, .tok = ids->v, .n = ids->n, .want = SD_LOGITS_ALL};
    t_ok(sd_runner_step(r, &seg, 1, -1, &err), err);
    memcpy(logits, seg.logits.data, (size_t)(ids->n * TINY_VOCAB) * sizeof(float));
    sd_runner_free(r);
    sd_session_free(s);
}

static void lens_ends_as_the_model(void **state)
{
    (void)state;
    static float logits[N * TINY_VOCAB], again[N * TINY_VOCAB], rows[N * D];
    const sd_model *const all[] = {model, biased};
    for (int k = 0; k < 2; k++) {
        sd_lens l;
        sd_err err = {0};
        sd_mat x = sd_mat_of(rows, N, D);
        const sd_site at = {SD_SITE_RESID_POST, L - 1};
        whole_run(logits, all[k], &clean, &(sd_hook){.name = "look", .at = &at, .n_at = 1, .fn = copy_out, .self = &x});
        t_ok(sd_model_unembed(sd_mat_of(again, N, TINY_VOCAB), ex, all[k], x, &err), err);
        assert_memory_equal(logits, again, sizeof logits);
        t_ok(sd_lab_lens(&l, ex, all[k], &clean, &(sd_lens_opt){0}, &err), err);
        assert_int_equal(l.n_row, L + 1);
        for (int64_t i = 0; i < N; i++) {
            const sd_lens_cell *c = &l.cell[L * N + i];
            const float *x_i = logits + i * TINY_VOCAB;
            int32_t best = (int32_t)sd_argmax(x_i, TINY_VOCAB);
            assert_int_equal(l.top[(L * N + i) * l.n_top].id, best);
            assert_true(c->kl == 0.0);
            if (i + 1 == N) {
                assert_int_equal(c->rank, 0);
                assert_true(isnan(c->p_next));
                continue;
            }
            int64_t rank = 1;
            for (int t = 0; t < TINY_VOCAB; t++) rank += x_i[t] > x_i[text[i + 1]];
            assert_int_equal(c->rank, rank);
            assert_true(c->p_next == exp((double)x_i[text[i + 1]] - sd_logsumexp(ex, x_i, TINY_VOCAB)));
        }
        for (int64_t i = 0; i < L * N; i++) assert_true(l.cell[i].kl > 0 && l.cell[i].entropy > 0);
        sd_lens_release(&l);
    }
}

/* Positions in which the prompts do not differ hold the same bits: with or without their runs, nothing changes. */
static void own_activations_change_nothing(void **state)
{
    (void)state;
    static const sd_site_kind kind[] = {SD_SITE_EMBED, SD_SITE_RESID_PRE, SD_SITE_ATTN_Q, SD_SITE_ATTN_K, SD_SITE_ATTN_V, SD_SITE_ROT_Q, SD_SITE_ROT_K, SD_SITE_ATTN_PATTERN,
                                        SD_SITE_ATTN_Z, SD_SITE_ATTN_OUT, SD_SITE_RESID_MID, SD_SITE_MLP_PRE, SD_SITE_MLP_UP, SD_SITE_MLP_POST, SD_SITE_MLP_OUT, SD_SITE_RESID_POST};
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++)
        for (int way = 0; way < 2; way++) {
            sd_patch p, q;
            sd_err err = {0};
            sd_patch_opt o = {.kind = kind[k], .metric = SD_PATCH_LOGIT_DIFF, .way = (sd_patch_way)way, .answer = 5, .wrong = 6};
            t_ok(sd_lab_patch(&p, ex, model, &clean, &corrupt, &o, &err), err);
            o.every = true;
            t_ok(sd_lab_patch(&q, ex, model, &clean, &corrupt, &o, &err), err);
            double base = way == SD_PATCH_DENOISE ? p.corrupt : p.clean;
            assert_int_equal(q.n_runs - p.n_runs, p.n_layer * DIFF);
            assert_int_equal(p.first_diff, DIFF);
            for (int64_t i = 0; i < p.n_layer * p.n_col; i++) {
                assert_true(p.value[i] == q.value[i]);
                if (i % p.n_col < DIFF) assert_true(q.value[i] == base && q.effect[i] == 0);
            }
            sd_patch_release(&p);
            sd_patch_release(&q);
        }
}

/* More runs than a pool of sessions has, more rows than a step takes: the cells are those of other batches. */
static void batches_do_not_matter(void **state)
{
    (void)state;
    enum { LONG = 150, AT = 120 };
    int32_t a[LONG], b[LONG];
    sd_patch p, q;
    sd_err err = {0};
    for (int i = 0; i < LONG; i++) a[i] = b[i] = 1 + (i * 37) % 250;
    b[AT] = 5;
    const sd_ids x = {.v = a, .n = LONG}, y = {.v = b, .n = LONG};
    sd_patch_opt o = {.kind = SD_SITE_MLP_OUT, .metric = SD_PATCH_PROB, .answer = 17};
    t_ok(sd_lab_patch(&p, ex, model, &x, &y, &o, &err), err);
    o.every = true;
    t_ok(sd_lab_patch(&q, ex, model, &x, &y, &o, &err), err);
    assert_int_equal(p.n_runs, L * (LONG - AT));
    assert_int_equal(q.n_runs, L * LONG);
    assert_memory_equal(p.value, q.value, (size_t)(L * LONG) * sizeof *p.value);
    sd_patch_release(&p);
    sd_patch_release(&q);
}

/* The one place in which everything differs brings the whole other run back, to the bit; so does all of the stream's last row. */
static void a_whole_cut_is_the_other_run(void **state)
{
    (void)state;
    for (int metric = 0; metric < 3; metric++)
        for (int way = 0; way < 2; way++) {
            sd_patch p;
            sd_err err = {0};
            const sd_patch_opt o = {.kind = SD_SITE_RESID_POST, .metric = (sd_patch_metric)metric, .way = (sd_patch_way)way, .answer = 5, .wrong = 6},
                               e = {.kind = SD_SITE_EMBED, .metric = o.metric, .way = o.way, .answer = 5, .wrong = 6};
            t_ok(sd_lab_patch(&p, ex, biased, &clean, &corrupt, &o, &err), err);
            assert_true(p.effect[(L - 1) * N + N - 1] == 1);
            sd_patch_release(&p);
            t_ok(sd_lab_patch(&p, ex, biased, &clean, &corrupt, &e, &err), err);
            assert_int_equal(p.n_layer, 1);
            assert_true(p.effect[DIFF] == 1);
            sd_patch_release(&p);
        }
}

/* Every cell against a run of the whole prompt with a hook of the test's own. */
static void prefixes_and_batches_keep_the_bits(void **state)
{
    (void)state;
    static float rows[N * 128], logits[N * TINY_VOCAB];
    static const sd_site_kind kind[] = {SD_SITE_RESID_PRE, SD_SITE_ATTN_Z, SD_SITE_MLP_OUT, SD_SITE_ROT_K};
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        sd_patch p;
        sd_err err = {0};
        const sd_patch_opt o = {.kind = kind[k], .metric = SD_PATCH_LOGIT_DIFF, .answer = 5, .wrong = 6};
        t_ok(sd_lab_patch(&p, ex, model, &clean, &corrupt, &o, &err), err);
        for (int l = 0; l < L; l++) {
            int64_t cols;
            const sd_site at = {kind[k], l};
            t_ok(sd_model_site_cols(model, at, &cols, &err), err);
            sd_mat x = sd_mat_of(rows, N, cols);
            whole_run(logits, model, &clean, &(sd_hook){.name = "look", .at = &at, .n_at = 1, .fn = copy_out, .self = &x});
            for (int64_t pos = 0; pos < N; pos++) {
                swap s = {&x, pos};
                whole_run(logits, model, &corrupt, &(sd_hook){.name = "swap", .at = &at, .n_at = 1, .mode = SD_HOOK_EDIT, .fn = put_row, .self = &s});
                const float *last = logits + (N - 1) * TINY_VOCAB;
                assert_true(p.value[l * N + pos] == (double)last[5] - (double)last[6]);
            }
        }
        sd_patch_release(&p);
    }
}

static void lengths_meet_at_their_ends(void **state)
{
    (void)state;
    sd_patch p;
    sd_err err = {0};
    sd_patch_opt o = {.kind = SD_SITE_RESID_POST, .metric = SD_PATCH_KL};
    assert_int_equal(sd_lab_patch(&p, ex, model, &clean, &more, &o, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "11 tokens, the corrupted one 13"));
    o.align_end = true;
    t_ok(sd_lab_patch(&p, ex, model, &clean, &more, &o, &err), err);
    assert_true(p.aligned && p.n_col == N && p.first_pos == 2);
    assert_int_equal(p.id[0], longer[2]);
    assert_true(p.effect[(L - 1) * N + N - 1] == 1); /* the last row of the stream is all that the last logits read */
    sd_patch_release(&p);
    o.way = SD_PATCH_NOISE;
    t_ok(sd_lab_patch(&p, ex, model, &clean, &more, &o, &err), err);
    assert_int_equal(p.first_pos, 0);
    sd_patch_release(&p);
    o.kind = SD_SITE_ATTN_PATTERN;
    assert_int_equal(sd_lab_patch(&p, ex, model, &clean, &more, &o, &err), SD_E_ARG);
    o = (sd_patch_opt){.kind = SD_SITE_RESID_POST, .heads = true, .metric = SD_PATCH_KL};
    assert_int_equal(sd_lab_patch(&p, ex, model, &clean, &corrupt, &o, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "resid_post has no heads"));
    o = (sd_patch_opt){.kind = SD_SITE_ATTN_Z, .metric = SD_PATCH_KL};
    assert_int_equal(sd_lab_patch(&p, ex, model, &clean, &clean, &o, &err), SD_E_ARG);
}

/* All heads of attn_z together are attn_z: one layer's effects differ from each other, and a single head patched by hand agrees. */
static void heads_are_columns(void **state)
{
    (void)state;
    static const sd_site_kind kind[] = {SD_SITE_ATTN_Z, SD_SITE_ATTN_V, SD_SITE_ATTN_PATTERN};
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        sd_patch all, at_diff;
        sd_err err = {0};
        sd_patch_opt o = {.kind = kind[k], .heads = true, .metric = SD_PATCH_LOGIT_DIFF, .answer = 5, .wrong = 6};
        t_ok(sd_lab_patch(&all, ex, model, &clean, &corrupt, &o, &err), err);
        assert_int_equal(all.n_col, kind[k] == SD_SITE_ATTN_V ? 2 : H);
        o.position = DIFF - N;
        t_ok(sd_lab_patch(&at_diff, ex, model, &clean, &corrupt, &o, &err), err);
        /* In block 0 only the differing position has other values; keys and patterns of later ones differ too. */
        for (int64_t h = 0; kind[k] == SD_SITE_ATTN_V && h < all.n_col; h++) assert_true(all.value[h] == at_diff.value[h]);
        for (int64_t h = 0; h < L * all.n_col; h++) assert_true(all.value[h] != all.corrupt);
        o.position = 1 - N; /* before the difference */
        o.every = true;
        sd_patch none;
        t_ok(sd_lab_patch(&none, ex, model, &clean, &corrupt, &o, &err), err);
        for (int64_t h = 0; h < L * all.n_col; h++) assert_true(none.value[h] == none.corrupt);
        sd_patch_release(&all);
        sd_patch_release(&at_diff);
        sd_patch_release(&none);
    }
}

static void patterns_sum_to_one(void **state)
{
    (void)state;
    sd_attn_study a;
    sd_err err = {0};
    t_ok(sd_lab_attn(&a, ex, model, &clean, &(sd_attn_study_opt){.layer = -1}, &err), err);
    assert_int_equal(a.n_nonfinite, 0);
    for (int l = 0; l < L; l++)
        for (int h = 0; h < H; h++) {
            const float *A = sd_attn_pattern_of(&a, l, h);
            for (int64_t i = 0; i < N; i++) {
                double sum = 0;
                for (int64_t k = 0; k < N; k++) {
                    sum += (double)A[i * N + k];
                    assert_true(A[i * N + k] >= 0 && (k <= i || A[i * N + k] == 0));
                }
                /* A normaliser of N f32 additions, and a division each. */
                assert_true(fabs(sum - 1) <= (N + 2) * (double)FLT_EPSILON);
            }
            const double *s = a.score[l * H + h];
            double previous = 0, after = 0, n_again = 2; /* tokens 9 and 200 stood before, at 1 and 2 */
            for (int64_t i = 1; i < N; i++) previous += (double)A[i * N + i - 1] / (N - 1);
            after = ((double)A[9 * N + 2] + (double)A[10 * N + 3]) / n_again;
            assert_true(fabs(s[SD_HABIT_PREVIOUS] - previous) < 1e-12 && fabs(s[SD_HABIT_MATCHING] - after) < 1e-12);
            assert_true(fabs(s[SD_HABIT_DUPLICATE] - ((double)A[9 * N + 1] + (double)A[10 * N + 2]) / n_again) < 1e-12);
            assert_true(s[SD_HABIT_INDUCTION] > 0 && s[SD_HABIT_INDUCTION] < 1 && s[SD_HABIT_ENTROPY] > 0 && s[SD_HABIT_ENTROPY] <= 1 + 1e-6);
        }
    sd_attn_study_release(&a);
    const int32_t one = 5;
    t_ok(sd_lab_attn(&a, ex, model, &(sd_ids){.v = (int32_t[]){one}, .n = 1}, &(sd_attn_study_opt){.layer = 1, .no_induction = true}, &err), err);
    assert_true(isnan(a.score[0][SD_HABIT_PREVIOUS]) && isnan(a.score[0][SD_HABIT_DUPLICATE]) && isnan(a.score[0][SD_HABIT_INDUCTION]));
    assert_null(sd_attn_pattern_of(&a, 0, 0));
    assert_non_null(sd_attn_pattern_of(&a, 1, 3));
    sd_attn_study_release(&a);
    assert_int_equal(sd_lab_attn(&a, ex, model, &clean, &(sd_attn_study_opt){.layer = L}, &err), SD_E_ARG);
}

static sd_dict *random_dict(const char *site)
{
    sd_dict *d = NULL;
    sd_dict_info info = {.kind = SD_DICT_TOPK, .d = D, .m = 96, .k = 5};
    sd_err err = {0};
    snprintf(info.site, sizeof info.site, "%s", site);
    t_ok(sd_dict__new(&d, &info, true, false, &err), err);
    sd_rng r = sd_rng_make(4, "look", 0);
    for (int i = 0; i < 96 * D; i++) d->W_enc[i] = d->W_dec[i] = sd_rng_normal(&r) / 4;
    for (int i = 0; i < D; i++) d->b_in[i] = d->b_dec[i] = sd_rng_normal(&r) / 8;
    return d;
}

static void check_sum(const sd_attribution *a)
{
    assert_true(fabs(a->error) <= a->error_bound);
    assert_true(fabs(a->capped - a->model) <= a->model_bound);
    /* The bounds mean something: far below what one part says. */
    assert_true(a->error_bound < 1e-3 && a->model_bound < 1e-2);
}

static void shares_add_up_to_the_logit(void **state)
{
    (void)state;
    static float logits[N * TINY_VOCAB];
    static const sd_site site[] = {{SD_SITE_RESID_PRE, 0}, {SD_SITE_RESID_MID, 1}, {SD_SITE_RESID_POST, 1}, {SD_SITE_RESID_POST, L - 1}, {SD_SITE_ATTN_OUT, 2}, {SD_SITE_MLP_OUT, 0}};
    const sd_model *const all[] = {model, biased};
    for (int k = 0; k < 2; k++) {
        sd_attribution a;
        sd_err err = {0};
        whole_run(logits, all[k], &clean, NULL);
        for (int64_t pos = 0; pos < N; pos++) {
            t_ok(sd_lab_attribute(&a, ex, all[k], &clean, &(sd_attribute_opt){.position = pos - N, .has_answer = true, .answer = 9}, &err), err);
            assert_int_equal(a.n_part, 1 + L * (H + 2));
            assert_true(a.model == (double)logits[pos * TINY_VOCAB + 9]);
            check_sum(&a);
            sd_attribution_release(&a);
        }
        for (size_t i = 0; i < sizeof site / sizeof *site; i++) {
            char name[48];
            sd_dict *dict = random_dict(sd_site_print(name, sizeof name, site[i]));
            const sd_attribute_opt o = {.has_answer = true, .answer = 200, .has_wrong = true, .wrong = 3, .dict = dict, .dict_site = site[i]};
            t_ok(sd_lab_attribute(&a, ex, all[k], &clean, &o, &err), err);
            int features = 0;
            for (int64_t p = 0; p < a.n_part; p++) features += a.part[p].kind == SD_PART_FEATURE;
            assert_true(features > 0 && features <= 5);
            check_sum(&a);
            sd_attribution_release(&a);
            sd_dict_free(dict);
        }
        sd_dict *dict = random_dict("attn_z.0");
        const sd_attribute_opt o = {.dict = dict, .dict_site = {SD_SITE_ATTN_Z, 0}};
        assert_int_equal(sd_lab_attribute(&a, ex, all[k], &clean, &o, &err), SD_E_ARG);
        sd_dict_free(dict);
    }
}

/* The heads of one row added up are attn_out where there is no bias. */
static void a_head_is_its_columns(void **state)
{
    (void)state;
    static float z[H * 16], out[H * D], rows[N * D], zs[N * H * 16];
    sd_err err = {0};
    static float logits[N * TINY_VOCAB];
    sd_mat x = sd_mat_of(rows, N, D), zx = sd_mat_of(zs, N, H * 16);
    const sd_site at = {SD_SITE_ATTN_OUT, 1}, at_z = {SD_SITE_ATTN_Z, 1};
    whole_run(logits, model, &clean, &(sd_hook){.name = "look", .at = &at, .n_at = 1, .fn = copy_out, .self = &x});
    whole_run(logits, model, &clean, &(sd_hook){.name = "look", .at = &at_z, .n_at = 1, .fn = copy_out, .self = &zx});
    memcpy(z, sd_mat_row(zx, 6), sizeof z);
    t_ok(sd_model_split_heads(sd_mat_of(out, H, D), ex, model, 1, z, &err), err);
    for (int k = 0; k < D; k++) {
        double sum = 0, size = 0;
        for (int h = 0; h < H; h++) sum += (double)out[h * D + k], size += fabs((double)out[h * D + k]);
        /* Chains of 64 products in another order: 64 roundings of what the heads hold, the heads' own of the same size (measured 2e-7). */
        assert_true(fabs(sum - (double)sd_mat_row(x, 6)[k]) <= 64 * (double)FLT_EPSILON * (size + 1));
    }
}

static void a_word_is_nearest_to_itself(void **state)
{
    (void)state;
    sd_err err = {0};
    const sd_vectors_opt opt[] = {{.space = SD_SPACE_EMBED}, {.space = SD_SPACE_UNEMBED, .center = true}, {.space = SD_SPACE_SITE, .site = {SD_SITE_RESID_POST, 1}},
                                  {.space = SD_SPACE_SITE, .site = {SD_SITE_RESID_PRE, 2}, .prefix = "it in the", .unit = true},
                                  {.space = SD_SPACE_SITE, .site = {SD_SITE_FINAL_NORM, 0}, .prefix = "it"}};
    static const char *const expr[] = {"he", "2*he", "(he + in) - in", "he - in + in"};
    const sd_model *const all[] = {model, biased};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < sizeof opt / sizeof *opt; i++)
            for (size_t e = 0; e < sizeof expr / sizeof *expr; e++) {
                sd_vectors v;
                t_ok(sd_lab_vectors(&v, ex, all[k], expr[e], &opt[i], &err), err);
                assert_int_equal(v.top[0].id, 258); /* "he" */
                assert_int_equal(v.top[0].rank_other, 0);
                /* Sums in double of f32 rows; an f32 mean of one piece is the row itself. */
                assert_true(fabs(v.top[0].cosine - 1) < 1e-12);
                sd_vectors_release(&v);
            }
    sd_vectors v;
    t_ok(sd_lab_vectors(&v, ex, model, "he |- in", &(sd_vectors_opt){.word = (const char *const[]){"in"}, .n_word = 1}, &err), err);
    assert_int_equal(v.n_asked, 1);
    assert_true(fabs(v.asked[0].cosine) < 1e-12); /* nothing of "in" is left */
    sd_vectors_release(&v);
    t_ok(sd_lab_vectors(&v, ex, model, "he | in", &(sd_vectors_opt){.word = (const char *const[]){"in"}, .n_word = 1}, &err), err);
    assert_true(fabs(fabs(v.asked[0].cosine) - 1) < 1e-12);
    sd_vectors_release(&v);
    assert_int_equal(sd_lab_vectors(&v, ex, model, "he - he", &(sd_vectors_opt){0}, &err), SD_E_ARG);
    assert_int_equal(sd_lab_vectors(&v, ex, model, "he", &(sd_vectors_opt){.space = SD_SPACE_SITE, .site = {SD_SITE_MLP_PRE, 0}}, &err), SD_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(lens_ends_as_the_model), T(own_activations_change_nothing), T(batches_do_not_matter), T(a_whole_cut_is_the_other_run), T(prefixes_and_batches_keep_the_bits),
                                       T(lengths_meet_at_their_ends), T(heads_are_columns), T(patterns_sum_to_one), T(shares_add_up_to_the_logit), T(a_head_is_its_columns),
                                       T(a_word_is_nearest_to_itself)};
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}
