/* Owns: the windows and the sums (in double). Logits of a window are taken in parts, so that memory does not hold
 * window x vocabulary. */
#include "lab/score.h"

#include "model/sample.h"

#include <math.h>

enum { DEFAULT_WINDOW = 512, LOGIT_ROWS = 64 };

typedef struct scorer {
    const sd_exec *ex;
    sd_session *s;
    sd_runner *r;
    int32_t *tok;
    double nll;
    int64_t n, n_nonfinite;
} scorer;

/* Runs tokens [from, to) of the window, at most LOGIT_ROWS when they are scored; row i scores token i + 1 when that is at
 * least `first`. */
static sd_status run_part(scorer *sc, int64_t from, int64_t to, int64_t first, int64_t window, sd_err *err)
{
    bool want = to + 1 > first;
    sd_segment seg = {.s = sc->s, .tok = sc->tok + from, .n = to - from, .want = want ? SD_LOGITS_ALL : SD_LOGITS_NONE};
    sd_status st = sd_runner_step(sc->r, &seg, 1, -1, err);
    if (st || !want) return st;
    int64_t last = to < window - 1 ? to : window - 1;
    double lps[LOGIT_ROWS];
    sd_logprob_rows(lps, sc->ex, seg.logits, sc->tok + from + 1, last - from);
    for (int64_t i = from; i < last; i++) {
        double lp = lps[i - from];
        if (i + 1 < first) continue;
        if (!isfinite(lp)) sc->n_nonfinite++; else sc->nll -= lp;
        sc->n++;
    }
    return SD_OK;
}

/* Rows that no score needs run in one step; the others LOGIT_ROWS at a time. */
static sd_status run_window(scorer *sc, int64_t first, int64_t window, sd_err *err)
{
    sd_status st = SD_OK;
    sd_session_rewind(sc->s, 0);
    int64_t i = first > 1 ? first - 1 : 0;
    if (i > 0 && (st = run_part(sc, 0, i, window, window, err))) return st;
    for (; i < window - 1 && !st; i += LOGIT_ROWS)
        st = run_part(sc, i, i + LOGIT_ROWS < window ? i + LOGIT_ROWS : window, first, window, err);
    return st;
}

sd_status sd_lab_score(sd_score_result *out, const sd_exec *ex, const sd_model *m, const int32_t *ids, int64_t n,
                       const sd_score_opt *opt, sd_err *err)
{
    scorer sc = {.ex = ex};
    int64_t window = opt->window ? opt->window : DEFAULT_WINDOW, stride = opt->stride ? opt->stride : window;
    *out = (sd_score_result){0};
    if (window < 2 || window > m->cfg.n_ctx || stride < 1 || stride > window)
        return sd_fail(err, SD_E_ARG, "window %lld, stride %lld: a window holds 2 to %lld tokens, a stride 1 to the window",
                       (long long)window, (long long)stride, (long long)m->cfg.n_ctx);
    if (n < window) {
        sd_fail(err, SD_E_FORMAT, "the text has %lld tokens, fewer than one window of %lld", (long long)n, (long long)window);
        return sd_hint(err, "give more text or a smaller --window");
    }
    sd_status st = sd_session_new(&sc.s, m, &(sd_session_opt){.n_ctx = window}, err);
    if (st) goto done;
    if ((st = sd_runner_new(&sc.r, ex, m, &(sd_runner_opt){.max_rows = window, .max_logit_rows = LOGIT_ROWS, .n_ctx = window}, err)))
        goto done;
    if (opt->edit && (st = sd_session_attach(sc.s, opt->edit, NULL, err))) goto done;
    if ((st = sd_alloc(&sc.tok, (size_t)window * sizeof *sc.tok, "a window of tokens", err))) goto done;
    int64_t n_windows = (n - window) / stride + 1;
    for (int64_t w = 0; w < n_windows; w++) {
        memcpy(sc.tok, ids + w * stride, (size_t)window * sizeof *sc.tok);
        if (sd_tok_add_bos(m->tok)) sc.tok[0] = sd_tok_bos(m->tok);
        int64_t first = opt->stride ? (w == 0 ? 1 : window - stride) : window / 2 + 1;
        if ((st = run_window(&sc, first < 1 ? 1 : first, window, err))) goto done;
        sd_progress_update(opt->progress, "score", (double)((w + 1) * window), (double)(n_windows * window), "tokens");
        if (sd_progress_cancelled(opt->progress)) {
            st = sd_fail(err, SD_E_CANCELLED, "stopped after %lld of %lld windows", (long long)(w + 1), (long long)n_windows);
            goto done;
        }
    }
    *out = (sd_score_result){.n_tokens = sc.n, .n_windows = n_windows, .n_nonfinite = sc.n_nonfinite};
    out->ce_loss = sc.n > sc.n_nonfinite ? sc.nll / (double)(sc.n - sc.n_nonfinite) : NAN;
    out->ppl = exp(out->ce_loss);
done:
    sd_runner_free(sc.r);
    sd_session_free(sc.s);
    sd_free(sc.tok);
    return st;
}
