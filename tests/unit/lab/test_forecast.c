/* The gradient of refusing and of a row against central differences of what they are gradients of; the score's slope; what is judged from made features. */
#include "chat_model.h"

#include "lab/forecast_int.h"
#include "num/exec.h"

static sd_exec *ex;

static void slope(void **state)
{
    (void)state;
    const float lp[3] = {-1.3f, -2.1f, -0.9f};
    float d[3], x[3];
    const double at = sd_forecast__score(lp, 3, d);
    double p = exp((double)lp[0]) + exp((double)lp[1]) + exp((double)lp[2]);
    assert_true(fabs(at - log(p / (1 - p))) < 1e-6); /* the two eps of 1e-8 */
    for (int i = 0; i < 3; i++) {
        double v[2];
        for (int side = 0; side < 2; side++) {
            memcpy(x, lp, sizeof x);
            x[i] += side ? 1e-3f : -1e-3f;
            v[side] = sd_forecast__score(x, 3, NULL);
        }
        assert_true(fabs((v[1] - v[0]) / 2e-3 / (double)d[i] - 1) < 1e-3); /* f32 steps of 1e-3 on numbers near 1 */
    }
    /* All of the mass on R: finite, and of no slope that would drown other prompts. */
    const float all[2] = {-1e-7f, -20};
    assert_true(isfinite(sd_forecast__score(all, 2, d)) && isfinite((double)d[0]));
}

typedef struct bench {
    sd_model *m;
    sd_lora *lora;
    sd_learner *l;
    sd_forecast_pass pass;
    sd_refusal_set set;
    sd_forecast_prompt prompt[3];
    sd_tune_set rows;
} bench;
static const int32_t tok[3][6] = {{40, 41, 42, 43, 44, 45}, {70, 71, 72, 73, 74, 75}, {33, 90, 91, 92, 93, 94}};

static double mean_score(bench *b, float *weight)
{
    float lp[6], s[2];
    double sum = 0;
    sd_err err = {0};
    t_ok(sd_forecast__first(&b->pass, b->prompt, 3, lp, NULL, &err), err);
    for (int i = 0; i < 3; i++) {
        sum += sd_forecast__score(lp + 2 * i, 2, s) / 3;
        for (int k = 0; k < 2 && weight; k++) weight[2 * i + k] = s[k] / 3;
    }
    return sum;
}

static double row_loss(bench *b)
{
    double loss;
    int64_t which = 0;
    sd_err err = {0};
    t_ok(sd_forecast__loss(&b->pass, &b->rows, &which, 1, &loss, &err), err);
    return loss * b->rows.sample[0].n_count;
}

/* Greedy answers, one token a forward. */
static int answer_of(bench *b, const sd_forecast_prompt *q, int32_t *out)
{
    int32_t doc[32], target[32], top;
    int n = 0;
    sd_err err = {0};
    memcpy(doc, q->tok, (size_t)q->n * sizeof *doc);
    while (n < SD_FORECAST_SAID) {
        const float *lp;
        int64_t n_lp, len = q->n + n;
        for (int64_t i = 0; i < len; i++) target[i] = i == len - 1 ? 0 : -1;
        const sd_learner_look look = {.top = &top};
        t_ok(sd_learner_forward(b->l, &(sd_learner_batch){.doc = &(sd_doc){doc, target, len}, .n_doc = 1, .look = &look}, &lp, &n_lp, &err), err);
        assert_int_equal(n_lp, 1);
        if (sd_tok_ends(b->m->tok, top)) break;
        doc[len] = out[n++] = top;
    }
    return n;
}

/* What is kept as the answers before is what a forward a token gives, and the first tokens' log-probabilities those of one forward; *same gets how much of the answers before that
 * was. */
static void check_answers(bench *b, sd_forecast_said *s, double *same)
{
    float lp[6];
    int32_t was[3][SD_FORECAST_SAID + 1], want[SD_FORECAST_SAID];
    double kept = 0, total = 0;
    sd_forecast_heard h, again;
    sd_err err = {0};
    memcpy(was, s->before, sizeof was);
    t_ok(sd_forecast__said(s, &b->pass, true, &h, &err), err);
    for (int i = 0; i < 3; i++) {
        const int32_t *got = s->before + i * (SD_FORECAST_SAID + 1);
        const int n = answer_of(b, &b->prompt[i], want);
        assert_int_equal(got[0], n);
        assert_memory_equal(got + 1, want, (size_t)n * sizeof *want);
        int k = 0;
        while (k < n && k < was[i][0] && want[k] == was[i][k + 1]) k++;
        kept += k, total += was[i][0];
    }
    t_ok(sd_forecast__first(&b->pass, b->prompt, 3, lp, NULL, &err), err);
    for (int i = 0; i < 6; i++) assert_true(fabs((double)lp[i] - (double)s->lp[i]) < 1e-5); /* f32 sums in another order */
    t_ok(sd_forecast__said(s, &b->pass, false, &again, &err), err);
    assert_true(again.lp < 0 && again.lp >= -log((double)b->m->cfg.n_vocab) && again.said == 0 && h.said == 0); /* the likeliest of V tokens */
    *same = total > 0 ? kept / total : 1;
}

static void answers(bench *b)
{
    float lp[6], *w = sd_learner_w(b->l);
    double same, least = 1, most = 0;
    sd_phrases phrases = {0};
    sd_forecast_said s = {.m = b->m, .v = b->prompt, .n = 3, .phrases = &phrases, .lp = lp};
    sd_err err = {0};
    sd_rng rng = sd_rng_make(9, "t", 0);
    /* 40 tokens a pass: answers of three prompts go in several. */
    t_ok(sd_forecast__pass_init(&b->pass, b->l, b->m, &b->set, 40, &err), err);
    t_ok(sd_forecast__said_init(&s, &err), err);
    check_answers(b, &s, &same);
    for (int turn = 0; turn < 6; turn++) {
        for (int64_t j = 0; j < sd_learner_n(b->l); j++) w[j] += (turn % 2 ? 3e-2f : 3e-4f) * sd_rng_normal(&rng);
        check_answers(b, &s, &same);
        least = fmin(least, same), most = fmax(most, same);
    }
    assert_true(least < 0.5 && most > 0.9); /* some go on from the middle of an answer, some are as they were */
    sd_forecast__said_release(&s);
    sd_forecast__pass_release(&b->pass);
}

/* g . v beside the central difference of f along v. */
static void compare(bench *b, const float *v, bool score)
{
    const int64_t n = sd_learner_n(b->l);
    float *g = sd_learner_g(b->l), *w = sd_learner_w(b->l), *was, weight[6];
    double dot = 0, at[2], loss;
    sd_err err = {0};
    t_ok(sd_alloc(&was, (size_t)n * sizeof *was, "t", &err), err);
    memset(g, 0, (size_t)n * sizeof *g);
    if (score) {
        mean_score(b, weight);
        t_ok(sd_forecast__first_gradient(&b->pass, b->prompt, 3, weight, &err), err);
    } else {
        t_ok(sd_forecast__row(&b->pass, &b->rows, 0, 1, &loss, &err), err);
        assert_true(fabs(loss - row_loss(b)) < 1e-4);
        t_ok(sd_forecast__row(&b->pass, &b->rows, 0, 1, &loss, &err), err); /* twice: gradients add up */
        for (int64_t j = 0; j < n; j++) g[j] /= 2;
    }
    if (!score) { /* many rows a pass: the same gradient */
        const int64_t which[2] = {0, 0};
        float *one;
        t_ok(sd_alloc(&one, (size_t)n * sizeof *one, "t", &err), err);
        memcpy(one, g, (size_t)n * sizeof *g);
        memset(g, 0, (size_t)n * sizeof *g);
        t_ok(sd_forecast__rows(&b->pass, &b->rows, which, 2, 2, &err), err);
        double diff = 0, size = 0;
        for (int64_t j = 0; j < n; j++) diff += pow((double)g[j] - (double)one[j], 2), size += pow((double)one[j], 2);
        assert_true(size > 0 && diff < 1e-10 * size); /* f32 sums in another order */
        sd_free(one);
    }
    for (int64_t j = 0; j < n; j++) dot += (double)g[j] * (double)v[j];
    memcpy(was, w, (size_t)n * sizeof *w);
    for (int side = 0; side < 2; side++) {
        for (int64_t j = 0; j < n; j++) w[j] = was[j] + (side ? 3e-3f : -3e-3f) * v[j];
        at[side] = score ? mean_score(b, NULL) : row_loss(b);
    }
    memcpy(w, was, (size_t)n * sizeof *w);
    sd_free(was);
    assert_true(fabs(dot) > 1e-2); /* else rounding of f32 losses would be compared */
    assert_true(fabs((at[1] - at[0]) / 6e-3 / dot - 1) < 1e-2);
}

static void gradients(void **state)
{
    (void)state;
    bench b = {.set = {.id = {50, 120}, .n = 2}};
    sd_err err = {0};
    const char *dir = t_tmpdir();
    tiny_spec spec = tiny_default;
    spec.seed = 5;
    tiny_write_hf(dir, &spec);
    t_ok(sd_model_open(&b.m, ex, dir, &(sd_model_opt){.views = true}, &err), err);
    t_rmtree(dir);
    t_ok(sd_lora_new(&b.lora, b.m, &(sd_lora_opt){.rank = 4}, 1, &err), err);
    const sd_tune_data data = {.path = "rows", .rows = SD_LIT("{\"prompt\":\"gate\",\"completion\":\"red cat\"}\n")};
    t_ok(sd_tune_set_read(&b.rows, b.m, &(sd_tune_opt){.method = SD_TUNE_SFT, .data = &data, .n_data = 1}, 64, &err), err);
    assert_int_equal(b.rows.sample[0].line, 1);
    for (int i = 0; i < 3; i++) b.prompt[i] = (sd_forecast_prompt){tok[i], 4 + i};
    for (int full = 0; full < 2; full++) {
        t_ok(sd_learner_new(&b.l, ex, b.m, &(sd_learner_opt){.mode = SD_MODE_FAITHFUL, .full = full, .lora = full ? NULL : b.lora, .max_rows = 64, .max_docs = 64}, &err), err);
        /* 14 tokens a pass: the prompts of 4, 5 and 6 go in two. */
        t_ok(sd_forecast__pass_init(&b.pass, b.l, b.m, &b.set, 14, &err), err);
        assert_true(b.rows.sample[0].n <= 14);
        const int64_t n = sd_learner_n(b.l);
        float *v;
        t_ok(sd_alloc(&v, (size_t)n * sizeof *v, "t", &err), err);
        for (int score = 0; score < 2; score++) {
            sd_rng rng = sd_rng_make(3, "t", (uint64_t)(2 * full + score));
            /* Along the gradient's own signs, so that what is compared is large; more weights move in a full learner, so each by less (the third derivative). */
            float weight[6], *g = sd_learner_g(b.l);
            double loss;
            memset(g, 0, (size_t)n * sizeof *g);
            if (score) {
                mean_score(&b, weight);
                t_ok(sd_forecast__first_gradient(&b.pass, b.prompt, 3, weight, &err), err);
            } else {
                t_ok(sd_forecast__row(&b.pass, &b.rows, 0, 1, &loss, &err), err);
            }
            for (int64_t j = 0; j < n; j++) v[j] = (full ? 0.01f : 0.05f) * ((float)((g[j] > 0) - (g[j] < 0)) + 0.5f * sd_rng_normal(&rng));
            compare(&b, v, score);
        }
        sd_free(v);
        sd_forecast__pass_release(&b.pass);
        if (full) answers(&b);
        sd_learner_free(b.l);
    }
    sd_tune_set_release(&b.rows);
    sd_lora_free(b.lora);
    sd_model_close(b.m);
}

/* What the rehearsal takes is expected, of what refused before; the interval holds it and is that of how it went; numbers that are none expect nothing. */
static void expect(void **state)
{
    (void)state;
    static const struct { double at_end, at_half, lp; const char *went; } v[] = {{0.8, 0.8, -1.05, "kept"}, {0.8, 0.8, -1.5, "moved"}, {0.8, 0.2, -1, "moved"}, {0.4, 0.8, -1, "between"}, {0, 0.8, -1, "late"}, {0, 0, -9, "gone"}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        sd_forecast f = {.before = {0.8, -1}, .loss = 2, .n_harmful = 12};
        for (int k = 0; k < SD_FORECAST_TRIAL; k++) f.course[k] = (sd_forecast_trial){.heard = {k ? v[i].at_half : v[i].at_end, v[i].lp}, .loss = 1};
        sd_forecast_expect(&f);
        assert_string_equal(f.went, v[i].went);
        assert_true(fabs(f.drop - (1 - v[i].at_end / 0.8)) < 1e-12 && f.drop_lo >= 0 && f.drop_hi <= 1 && f.drop_lo <= f.drop && f.drop <= f.drop_hi);
        assert_true(f.drop_hi - f.drop_lo > 1.0 / 12 - 1e-12);
        assert_true(sd_forecast_loses(&f) == (v[i].at_end < 0.7));
    }
    sd_forecast more = {.before = {0.5, -1}, .course = {{.heard = {0.7, -1}}}}, none = {.before = {0.5, -1}, .course = {{.loss = NAN, .heard = {0, NAN}}}};
    sd_forecast_expect(&more);
    assert_true(more.drop == 0 && more.drop_lo == 0);
    sd_forecast_expect(&none);
    assert_true(isnan(none.drop) && isnan(none.drop_lo) && isnan(none.drop_hi));
}

static int setup(void **state)
{
    sd_err err = {0};
    (void)state;
    return sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, &err) ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    sd_exec_free(ex);
    return 0;
}

static const struct CMUnitTest tests[] = {T(slope), T(gradients), T(expect)};
int main(void) { return cmocka_run_group_tests(tests, setup, teardown); }
