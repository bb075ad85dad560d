/* Owns: the windows and the sums (in double). Logits of a window are taken in parts, so that memory does not hold
 * window x vocabulary. A second model runs the same parts in step, and what is kept of the two is one KL a position. */
#include "lab/score.h"

#include "model/sample.h"
#include "num/stats.h"

#include <math.h>

enum { DEFAULT_WINDOW = 512, LOGIT_ROWS = 64 };

typedef struct lane {
    sd_session *s;
    sd_runner *r;
    double nll;
    double lp[LOGIT_ROWS]; /* of the part that ran last */
    sd_mat logits;
} lane;

typedef struct scorer {
    const sd_exec *ex;
    lane lane[2]; /* the model; the other one */
    int n_lanes;
    int32_t *tok;
    double *kl; /* [n_kl], of two models */
    int64_t n, n_nonfinite, n_kl, n_same_top;
} scorer;

static int64_t top(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* Positions [begin, last) of the part that began at `from`. */
static void add_part(scorer *sc, int64_t from, int64_t begin, int64_t last)
{
    double kl[LOGIT_ROWS];
    const lane *a = &sc->lane[0], *b = &sc->lane[1];
    if (sc->n_lanes == 2) sd_kl_rows(kl, sc->ex, b->logits, a->logits, last - from);
    for (int64_t i = begin; i < last; i++) {
        int64_t row = i - from;
        bool finite = true;
        for (int l = 0; l < sc->n_lanes; l++) finite = finite && isfinite(sc->lane[l].lp[row]);
        sc->n++;
        if (!finite) {
            sc->n_nonfinite++;
            continue;
        }
        for (int l = 0; l < sc->n_lanes; l++) sc->lane[l].nll -= sc->lane[l].lp[row];
        if (sc->n_lanes < 2) continue;
        sc->kl[sc->n_kl++] = kl[row];
        sc->n_same_top += top(sd_mat_row(a->logits, row), a->logits.cols) == top(sd_mat_row(b->logits, row), b->logits.cols);
    }
}

/* Runs tokens [from, to) of the window, at most LOGIT_ROWS when they are scored; row i scores token i + 1 when that is at
 * least `first`. */
static sd_status run_part(scorer *sc, int64_t from, int64_t to, int64_t first, int64_t window, sd_err *err)
{
    bool want = to + 1 > first;
    int64_t last = to < window - 1 ? to : window - 1;
    for (int l = 0; l < sc->n_lanes; l++) {
        lane *a = &sc->lane[l];
        sd_segment seg = {.s = a->s, .tok = sc->tok + from, .n = to - from, .want = want ? SD_LOGITS_ALL : SD_LOGITS_NONE};
        sd_status st = sd_runner_step(a->r, &seg, 1, -1, err);
        if (st) return st;
        a->logits = seg.logits;
        if (want) sd_logprob_rows(a->lp, sc->ex, seg.logits, sc->tok + from + 1, last - from);
    }
    if (want) add_part(sc, from, from > first - 1 ? from : first - 1, last);
    return SD_OK;
}

/* Rows that no score needs run in one step; the others LOGIT_ROWS at a time. */
static sd_status run_window(scorer *sc, int64_t first, int64_t window, sd_err *err)
{
    sd_status st = SD_OK;
    for (int l = 0; l < sc->n_lanes; l++) sd_session_rewind(sc->lane[l].s, 0);
    int64_t i = first > 1 ? first - 1 : 0;
    if (i > 0 && (st = run_part(sc, 0, i, window, window, err))) return st;
    for (; i < window - 1 && !st; i += LOGIT_ROWS)
        st = run_part(sc, i, i + LOGIT_ROWS < window ? i + LOGIT_ROWS : window, first, window, err);
    return st;
}

static sd_status open_lane(scorer *sc, const sd_model *m, const sd_hook *edit, int64_t window, sd_err *err)
{
    lane *a = &sc->lane[sc->n_lanes++];
    sd_status st = sd_session_new(&a->s, m, &(sd_session_opt){.n_ctx = window}, err);
    if (!st) st = sd_runner_new(&a->r, sc->ex, m, &(sd_runner_opt){.max_rows = window, .max_logit_rows = LOGIT_ROWS, .n_ctx = window}, err);
    if (!st && edit) st = sd_session_attach(a->s, edit, NULL, err);
    return st;
}

static void result(sd_score_result *out, scorer *sc, int64_t n_windows)
{
    int64_t finite = sc->n - sc->n_nonfinite;
    *out = (sd_score_result){.n_tokens = sc->n, .n_windows = n_windows, .n_nonfinite = sc->n_nonfinite};
    out->ce_loss = finite > 0 ? sc->lane[0].nll / (double)finite : NAN;
    out->ppl = exp(out->ce_loss);
    if (sc->n_lanes < 2) return;
    double sum = 0;
    for (int64_t i = 0; i < sc->n_kl; i++) sum += sc->kl[i];
    sd_sort_f64(sc->kl, sc->n_kl);
    out->against = (sd_score_pair){.ce_loss = finite > 0 ? sc->lane[1].nll / (double)finite : NAN, .n_same_top = sc->n_same_top,
                                   .kl_mean = finite > 0 ? sum / (double)finite : NAN,
                                   .kl_p99 = finite > 0 ? sc->kl[(sc->n_kl - 1) * 99 / 100] : NAN,
                                   .kl_max = finite > 0 ? sc->kl[sc->n_kl - 1] : NAN};
}

static sd_status check(const sd_model *m, int64_t n, int64_t window, int64_t stride, const sd_model *against, sd_err *err)
{
    int64_t most = against && against->cfg.n_ctx < m->cfg.n_ctx ? against->cfg.n_ctx : m->cfg.n_ctx;
    if (against && against->cfg.n_vocab != m->cfg.n_vocab)
        return sd_fail(err, SD_E_ARG, "vocabularies of %lld and %lld tokens: only models of one vocabulary are compared",
                       (long long)m->cfg.n_vocab, (long long)against->cfg.n_vocab);
    if (window < 2 || window > most || stride < 1 || stride > window)
        return sd_fail(err, SD_E_ARG, "window %lld, stride %lld: a window holds 2 to %lld tokens, a stride 1 to the window",
                       (long long)window, (long long)stride, (long long)most);
    if (n >= window) return SD_OK;
    sd_fail(err, SD_E_FORMAT, "the text has %lld tokens, fewer than one window of %lld", (long long)n, (long long)window);
    return sd_hint(err, "give more text, or a shorter window");
}

sd_status sd_lab_score(sd_score_result *out, const sd_exec *ex, const sd_model *m, const int32_t *ids, int64_t n,
                       const sd_score_opt *opt, sd_err *err)
{
    scorer sc = {.ex = ex};
    int64_t window = opt->window ? opt->window : DEFAULT_WINDOW, stride = opt->stride ? opt->stride : window;
    *out = (sd_score_result){0};
    sd_status st = check(m, n, window, stride, opt->against, err);
    if (st) return st;
    int64_t n_windows = (n - window) / stride + 1;
    if ((st = open_lane(&sc, m, opt->edit, window, err))) goto done;
    if (opt->against && (st = open_lane(&sc, opt->against, NULL, window, err))) goto done;
    if ((st = sd_alloc(&sc.tok, (size_t)window * sizeof *sc.tok, "a window of tokens", err))) goto done;
    if (opt->against && (st = sd_alloc(&sc.kl, (size_t)(n_windows * window) * sizeof *sc.kl, "a divergence a token", err))) goto done;
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
    result(out, &sc, n_windows);
done:
    for (int l = 0; l < sc.n_lanes; l++) {
        sd_runner_free(sc.lane[l].r);
        sd_session_free(sc.lane[l].s);
    }
    sd_free(sc.tok);
    sd_free(sc.kl);
    return st;
}
