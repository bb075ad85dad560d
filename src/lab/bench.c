/* Owns: the clocks around a prefill, a decode and a training step. */
#include "lab/bench.h"

#include "num/stats.h"

enum { PROMPT = 512, GEN = 64, REPS = 5, MAX_REPS = 64 };

double sd_bench_median(double *v, int n)
{
    sd_sort_f64(v, n);
    return n % 2 ? v[n / 2] : (v[n / 2] + v[n / 2 - 1]) / 2;
}

static double matrix_ops(const sd_model *m)
{
    double sum = 0;
    for (int l = 0; l < m->n_layer_loaded; l++)
        for (int k = 0; k < SD_MAT_COUNT; k++)
            if (m->block[l].mat[k].l) sum += 2 * (double)m->block[l].mat[k].w.rows * (double)m->block[l].mat[k].w.cols;
    return sum;
}

/* A window of a block bounds what it reads. */
double sd_bench_cache_bytes(const sd_model *m, double positions)
{
    const double row = (double)sd_kv_row_bytes(m->kv, m->cfg.d_head);
    double sum = 0;
    for (int l = 0; l < m->n_layer_loaded; l++) {
        const double w = (double)m->block[l].window;
        sum += (w > 0 && w < positions ? w : positions) * 2 * (double)m->cfg.n_head_kv * row;
    }
    return sum;
}

static sd_status feed(sd_runner *r, sd_session *s, const int32_t *tok, int64_t n, sd_err *err)
{
    sd_segment seg = {.s = s, .tok = tok, .n = n, .want = SD_LOGITS_LAST};
    return sd_runner_step(r, &seg, 1, -1, err);
}

/* Tokens a second, one by one, from `depth` positions on; the cache holds n_prompt positions before. */
static sd_status decode_from(double *tok_s, int64_t depth, sd_runner *r, sd_session *s, const int32_t *tok, const sd_bench_model_opt *o, sd_err *err)
{
    sd_status st = SD_OK;
    sd_session_rewind(s, depth);
    for (int64_t i = sd_session_pos(s); i < depth && !st; i = sd_session_pos(s))
        st = feed(r, s, tok, depth - i < o->n_prompt ? depth - i : o->n_prompt, err);
    const double t0 = sd_now();
    for (int64_t i = 0; i < o->n_gen && !st; i++) st = feed(r, s, tok + i % o->n_prompt, 1, err);
    *tok_s = (double)o->n_gen / (sd_now() - t0);
    return st;
}

/* rates: prefill, decode at the depth, decode at 0. */
static sd_status one_rep(double rates[3], sd_runner *r, sd_session *s, const int32_t *tok, const sd_bench_model_opt *o, sd_err *err)
{
    sd_session_rewind(s, 0);
    const double t0 = sd_now();
    sd_status st = feed(r, s, tok, o->n_prompt, err);
    rates[0] = (double)o->n_prompt / (sd_now() - t0);
    if (!st) st = decode_from(&rates[1], o->depth, r, s, tok, o, err);
    if (!st) st = decode_from(&rates[2], 0, r, s, tok, o, err);
    return st;
}

static sd_bench_decode decode_row(const sd_model *m, int64_t depth, int64_t n_gen, double tok_s)
{
    const double bytes = (double)sd_model_read_bytes(m) + sd_bench_cache_bytes(m, (double)depth + (double)n_gen / 2);
    return (sd_bench_decode){depth, tok_s, bytes, tok_s * bytes / 1e9};
}

sd_status sd_lab_bench_model(sd_bench_model *out, const sd_exec *ex, const sd_model *m, const sd_bench_model_opt *opt, sd_err *err)
{
    sd_bench_model_opt o = *opt;
    if (!o.n_prompt) o.n_prompt = PROMPT;
    if (!o.n_gen) o.n_gen = GEN;
    if (!o.reps) o.reps = REPS;
    if (o.reps < 1 || o.reps > MAX_REPS) return sd_fail(err, SD_E_ARG, "%d repetitions: 1 to %d are wanted", o.reps, MAX_REPS);
    int64_t ctx = (o.depth > o.n_prompt ? o.depth : o.n_prompt) + o.n_gen;
    double rate[3][MAX_REPS], now[3];
    sd_session *s = NULL;
    sd_runner *r = NULL;
    int32_t *tok = NULL;
    *out = (sd_bench_model){0};
    sd_status st = sd_session_new(&s, m, &(sd_session_opt){.n_ctx = ctx}, err);
    if (!st) st = sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = o.n_prompt, .max_logit_rows = 1, .n_ctx = ctx}, err);
    if (!st) st = sd_alloc(&tok, (size_t)o.n_prompt * sizeof *tok, "tokens", err);
    if (st) goto done;
    sd_rng rng = sd_rng_make(0, "bench", 0);
    for (int64_t i = 0; i < o.n_prompt; i++) tok[i] = (int32_t)sd_rng_below(&rng, (uint64_t)m->cfg.n_vocab);
    for (int i = -1; i < o.reps; i++) { /* the first is not counted */
        if ((st = one_rep(now, r, s, tok, &o, err))) goto done;
        for (int k = 0; k < 3 && i >= 0; k++) rate[k][i] = now[k];
    }
    out->prefill_tok_s = sd_bench_median(rate[0], o.reps);
    out->prefill_gops = out->prefill_tok_s * matrix_ops(m) / 1e9;
    out->decode[0] = decode_row(m, 0, o.n_gen, sd_bench_median(rate[2], o.reps));
    out->decode[1] = decode_row(m, o.depth, o.n_gen, sd_bench_median(rate[1], o.reps));
    st = sd_lab_bench_ops(out, ex, m, o.n_prompt, o.depth, err);
done:
    sd_runner_free(r);
    sd_session_free(s);
    sd_free(tok);
    return st;
}

sd_status sd_lab_bench_dict(sd_bench_dict *out, const sd_exec *ex, const sd_bench_dict_opt *opt, sd_err *err)
{
    sd_bench_dict_opt o = *opt;
    if (!o.d) o.d = 576;
    if (!o.width) o.width = 16384;
    if (!o.batch) o.batch = 4096;
    if (!o.steps) o.steps = 8;
    sd_dict_train *t = NULL;
    sd_dict_stats stats;
    float *x = NULL;
    double t0 = 0;
    sd_dict_train_opt to = {.kind = SD_DICT_TOPK, .d = o.d, .m = o.width, .k = o.k, .batch = o.batch, .n_tokens = o.batch * (o.steps + 1) * 100, .seed = o.seed};
    sd_status st = sd_dict_train_new(&t, ex, &to, err);
    if (!st) st = sd_alloc(&x, (size_t)(o.batch * o.d) * sizeof(float), "rows", err);
    if (st) goto done;
    sd_rng rng = sd_rng_make(o.seed, "bench", 1);
    for (int64_t i = 0; i < o.batch * o.d; i++) x[i] = sd_rng_normal(&rng);
    sd_mat rows = sd_mat_of(x, o.batch, o.d);
    st = sd_dict_train_calibrate(t, ex, rows, err);
    for (int64_t i = 0; i <= o.steps && !st; i++) {
        if (i == 1) t0 = sd_now();
        st = sd_dict_train_step(t, ex, rows, &stats, err);
    }
    if (st) goto done;
    out->tok_s = (double)(o.batch * o.steps) / (sd_now() - t0);
    out->gops = out->tok_s * 2 * (double)o.d * (double)o.width / 1e9;
done:
    sd_dict_train_free(t);
    sd_free(x);
    return st;
}
