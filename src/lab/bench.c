/* Owns: the clocks around a prefill, a decode and a training step. */
#include "lab/bench.h"

#include "num/stats.h"

enum { PROMPT = 512, GEN = 64, REPS = 5, MAX_REPS = 64 };

static double median(double *v, int n)
{
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && v[j] < v[j - 1]; j--) {
            double t = v[j];
            v[j] = v[j - 1];
            v[j - 1] = t;
        }
    return n % 2 ? v[n / 2] : (v[n / 2] + v[n / 2 - 1]) / 2;
}

static double matrix_ops(const sd_model *m)
{
    const sd_config *c = &m->cfg;
    double q = (double)c->n_head * c->d_head, kv = (double)c->n_head_kv * c->d_head, d = (double)c->d_model;
    return 2 * c->n_layer * (2 * d * q + 2 * d * kv + 3 * d * (double)c->d_ffn);
}

static double cache_bytes(const sd_model *m, double positions)
{
    return positions * m->cfg.n_layer * 2 * (double)m->cfg.n_head_kv * m->cfg.d_head * (m->mode == SD_MODE_FAST ? 2 : 4);
}

static sd_status feed(sd_runner *r, sd_session *s, const int32_t *tok, int64_t n, sd_err *err)
{
    sd_segment seg = {.s = s, .tok = tok, .n = n, .want = SD_LOGITS_LAST};
    return sd_runner_step(r, &seg, 1, -1, err);
}

static sd_status one_rep(double *prefill, double *decode, sd_runner *r, sd_session *s, const int32_t *tok, const sd_bench_model_opt *o, sd_err *err)
{
    sd_session_rewind(s, 0);
    double t0 = sd_now();
    sd_status st = feed(r, s, tok, o->n_prompt, err);
    *prefill = (double)o->n_prompt / (sd_now() - t0);
    if (st) return st;
    sd_session_rewind(s, o->depth < o->n_prompt ? o->depth : o->n_prompt);
    for (int64_t i = o->n_prompt; i < o->depth && !st; i += o->n_prompt)
        st = feed(r, s, tok, o->depth - i < o->n_prompt ? o->depth - i : o->n_prompt, err);
    t0 = sd_now();
    for (int64_t i = 0; i < o->n_gen && !st; i++) st = feed(r, s, tok + i % o->n_prompt, 1, err);
    *decode = (double)o->n_gen / (sd_now() - t0);
    return st;
}

sd_status sd_lab_bench_model(sd_bench_model *out, const sd_exec *ex, const sd_model *m, const sd_bench_model_opt *opt, sd_err *err)
{
    sd_bench_model_opt o = *opt;
    if (!o.n_prompt) o.n_prompt = PROMPT;
    if (!o.n_gen) o.n_gen = GEN;
    if (!o.reps) o.reps = REPS;
    if (o.reps < 1 || o.reps > MAX_REPS) return sd_fail(err, SD_E_ARG, "%d repetitions: 1 to %d are wanted", o.reps, MAX_REPS);
    int64_t ctx = (o.depth > o.n_prompt ? o.depth : o.n_prompt) + o.n_gen;
    double prefill[MAX_REPS], decode[MAX_REPS], warm;
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
    if ((st = one_rep(&warm, &warm, r, s, tok, &o, err))) goto done;
    for (int i = 0; i < o.reps; i++)
        if ((st = one_rep(&prefill[i], &decode[i], r, s, tok, &o, err))) goto done;
    out->prefill_tok_s = median(prefill, o.reps);
    out->decode_tok_s = median(decode, o.reps);
    out->prefill_gops = out->prefill_tok_s * matrix_ops(m) / 1e9;
    out->decode_gb_s = out->decode_tok_s * ((double)sd_model_read_bytes(m) + cache_bytes(m, (double)o.depth + (double)o.n_gen / 2)) / 1e9;
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
