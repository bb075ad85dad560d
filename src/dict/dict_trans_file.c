/* Owns the end of a transcoder's training and its checkpoints.
 *
 * The fold: with x = (raw - mu) s, y = (raw' - mu') s' and n_f = |D_f| / s' the contribution of one unit of z_f in raw units,
 *   W_f s n_f, (b_f - s W_f.mu) n_f, threshold theta n_f, decoder row D_f / |D_f|, skip S s / s', b_dec = mu' + b_dec / s' - skip mu
 * give the same reconstruction in raw units with unit decoder rows: a threshold a feature scales with its row. */
#include "dict/dict_eval.h"
#include "dict/dict_trans_int.h"
#include "file/weights.h"
#include <math.h>
#include <string.h>

static void fold(const sd_trans *t, sd_dict *d)
{
    const int64_t n = t->opt.d, o = t->opt.d_out;
    const float *mean = t->mean, *mean_out = t->mean + n;
    const sd_idle idle = sd_trans__idle(t);
    for (int64_t f = 0; f < t->opt.m; f++) {
        float *W = d->W_enc + f * n, *D = d->W_dec + f * o, *m = t->grad[0], *v = m + (n > o ? n : o);
        double at_mean = 0, n2 = 0;
        memcpy(W, t->W.p + f * n, (size_t)n * sizeof *W);
        memcpy(m, t->W.m + f * n, (size_t)n * sizeof *m), memcpy(v, t->W.v + f * n, (size_t)n * sizeof *v);
        sd_step__catch_up(&idle, t->last_step[f], t->step, W, m, v, n);
        memcpy(D, t->D.p + f * o, (size_t)o * sizeof *D);
        memcpy(m, t->D.m + f * o, (size_t)o * sizeof *m), memcpy(v, t->D.v + f * o, (size_t)o * sizeof *v);
        sd_step__catch_up(&idle, t->last_step[f], t->step, D, m, v, o);
        for (int64_t i = 0; i < o; i++) n2 += (double)D[i] * (double)D[i];
        const double norm = sqrt(n2), by = norm > 0 ? norm / t->scale_out : 1;
        for (int64_t i = 0; i < n; i++) {
            at_mean += (double)W[i] * (double)mean[i];
            W[i] = (float)((double)W[i] * t->scale * by);
        }
        for (int64_t i = 0; i < o && norm > 0; i++) D[i] = (float)((double)D[i] / norm);
        d->b_enc[f] = (float)(((double)t->b.p[f] - t->scale * at_mean) * by);
        d->gate[f] = (float)(t->pick.theta * by);
        d->threshold[f] = d->gate[f] > 0 ? d->gate[f] : 0.0f;
    }
    for (int64_t i = 0; i < o; i++) {
        double b = (double)mean_out[i] + (double)t->bd.p[i] / t->scale_out;
        for (int64_t j = 0; j < n && t->skip; j++) {
            const double s = (double)t->S.p[i * n + j] * t->scale / t->scale_out;
            d->W_skip[i * n + j] = (float)s;
            b -= s * (double)mean[j];
        }
        d->b_dec[i] = (float)b;
    }
}

sd_status sd_trans_finish(sd_trans *t, const sd_exec *ex, sd_mat heldout, const sd_dict_info *meta, sd_dict **out, sd_err *err)
{
    const int64_t n = t->opt.d, o = t->opt.d_out;
    sd_dict_info info = *meta;
    sd_dict *d = NULL;
    *out = NULL;
    SD_ASSERT(t->ready && heldout.cols == n + o);
    if (heldout.rows < 2) return sd_fail(err, SD_E_SHAPE, "%lld held-out rows cannot judge a transcoder", (long long)heldout.rows);
    info.kind = t->opt.kind;
    info.d = n, info.d_out = o, info.m = t->opt.m, info.k = t->opt.k;
    info.site_rms = t->rms, info.out_rms = t->out_rms;
    info.n_tokens = t->n_tokens, info.seed = t->opt.seed, info.n_dead = 0;
    for (int64_t f = 0; f < info.m; f++) info.n_dead += t->last_fired[f] + t->opt.dead_after < t->n_tokens;
    const sd_mat x = {heldout.data, heldout.rows, n, heldout.ld}, y = {heldout.data + n, heldout.rows, o, heldout.ld};
    sd_status st = sd_dict__new(&d, &info, false, true, err);
    if (st) return st;
    d->input_centred = false;
    d->has_threshold = true;
    fold(t, d);
    st = sd_dict__check(d, "the trained transcoder", err);
    if (!st) st = sd_dict__measure(d, ex, x, y, err);
    if (!st) st = sd_dict_calibrate(d, ex, x, err);
    if (st)
        sd_dict_free(d);
    else
        *out = d;
    return st;
}

enum { S_VERSION, S_KIND, S_D, S_OUT, S_M, S_K, S_BATCH, S_TOKENS, S_DEAD_AFTER, S_SEED, S_REST, S_STEP, S_SEEN, S_PROVEN, S_K_START, S_K_ANNEAL, S_WITHOUT, S_FROZEN, S_AUDITED, S_MISSED, N_STATE };
enum { R_LR, R_WARMUP, R_DECAY, R_SCALE, R_SCALE_OUT, R_MAX_NORM, R_RMS, R_OUT_RMS, R_THETA, R_CUT, N_REAL };
enum { VERSION = 102 }; /* far from the versions of dict_train_ckpt.c: neither reads the other's */

static int list_parts(const sd_trans *t, sd_part out[SD_PARTS], int64_t *state, double *real)
{
    const struct { const char *name; const sd_trans_par *p; } par[] = {{"W_enc", &t->W}, {"W_dec", &t->D}, {"b_enc", &t->b}, {"b_dec", &t->bd}, {"W_skip", &t->S}};
    int n = 0;
    out[n++] = (sd_part){"state", SD_I64, N_STATE, 0, state};
    out[n++] = (sd_part){"real", SD_F64, N_REAL, 0, real};
    out[n++] = (sd_part){"last_fired", SD_I64, t->opt.m, 0, t->last_fired};
    out[n++] = (sd_part){"last_step", SD_I32, t->opt.m, 0, t->last_step};
    out[n++] = (sd_part){"mean", SD_F32, t->opt.d + t->opt.d_out, 0, t->mean};
    for (int i = 0; i < 5; i++) {
        float *const data[] = {par[i].p->p, par[i].p->m, par[i].p->v};
        for (int k = 0; k < 3 && par[i].p->n; k++, n++) {
            out[n] = (sd_part){"", SD_F32, par[i].p->n, 0, data[k]};
            snprintf(out[n].name, sizeof out[n].name, "%s%s", k == 0 ? "" : k == 1 ? "m." : "v.", par[i].name);
        }
    }
    return n;
}

sd_status sd_trans_save(const sd_trans *t, const char *path, sd_err *err)
{
    const sd_dict_train_opt *o = &t->opt;
    int64_t state[N_STATE] = {VERSION, o->kind, o->d, o->d_out, o->m, o->k, o->batch, o->n_tokens, o->dead_after, (int64_t)o->seed, o->rest, t->step, t->n_tokens,
                              o->proven, o->k_start, o->k_anneal, o->without, o->frozen_decoder, t->pick.n_audited, t->pick.n_missed};
    double real[N_REAL] = {o->lr, o->warmup, o->decay, t->scale, t->scale_out, t->max_norm, t->rms, t->out_rms, t->pick.theta, t->pick.cut};
    sd_part p[SD_PARTS];
    SD_ASSERT(t->ready);
    const int n = list_parts(t, p, state, real);
    return sd_parts__write(path, p, n, err);
}

static sd_status read_state(const sd_weights *w, sd_dict_train_opt *o, int64_t *s, double *r, sd_err *err)
{
    const sd_part head[] = {{"state", SD_I64, N_STATE, 0, s}, {"real", SD_F64, N_REAL, 0, r}};
    const sd_status st = sd_parts__read(w, head, 2, err);
    if (st) return st;
    bool sane = s[S_VERSION] == VERSION && s[S_KIND] >= 0 && s[S_KIND] < SD_DICT_KIND_COUNT && sd_dict_kind_maps((sd_dict_kind)s[S_KIND]) && s[S_K] >= 1 && s[S_K] <= INT32_MAX &&
                s[S_BATCH] >= 1 && s[S_STEP] >= 0 && s[S_STEP] < INT32_MAX && s[S_SEEN] >= 0 && s[S_K_START] >= 0 && s[S_K_START] <= INT32_MAX && s[S_WITHOUT] >= 0 && s[S_WITHOUT] < 1 << SD_WITHOUT_COUNT && s[S_REST] >= 0 && s[S_REST] < SD_REST_DENSE && r[R_SCALE] > 0 && r[R_SCALE_OUT] > 0 && r[R_LR] > 0;
    for (int i = 0; i < N_REAL; i++) sane = sane && isfinite(r[i]);
    if (!sane) return sd_fail(err, SD_E_FORMAT, "%s: the state of the checkpoint makes no sense (version %lld)", sd_weights_path(w), (long long)s[S_VERSION]);
    *o = (sd_dict_train_opt){.kind = (sd_dict_kind)s[S_KIND], .d = s[S_D], .d_out = s[S_OUT], .m = s[S_M], .k = (int)s[S_K], .batch = s[S_BATCH], .n_tokens = s[S_TOKENS],
                             .dead_after = s[S_DEAD_AFTER], .seed = (uint64_t)s[S_SEED], .rest = (sd_rest)s[S_REST], .proven = s[S_PROVEN] != 0, .k_start = (int)s[S_K_START], .k_anneal = s[S_K_ANNEAL],
                             .without = (uint32_t)s[S_WITHOUT], .frozen_decoder = s[S_FROZEN] != 0, .lr = r[R_LR], .warmup = r[R_WARMUP], .decay = r[R_DECAY]};
    return SD_OK;
}

sd_status sd_trans_load(sd_trans **out, const sd_exec *ex, const char *path, sd_err *err)
{
    sd_weights *w = NULL;
    sd_trans *t = NULL;
    sd_dict_train_opt o;
    int64_t s[N_STATE];
    double r[N_REAL];
    sd_part p[SD_PARTS];
    *out = NULL;
    sd_status st = sd_weights_open(&w, path, err);
    if (!st) st = read_state(w, &o, s, r, err);
    if (!st) st = sd_parts__read(w, &(sd_part){"W_enc", SD_F32, (int64_t)((uint64_t)o.m * (uint64_t)o.d), 0, NULL}, 1, err); /* before memory is taken for what the state claims */
    if (!st) st = sd_trans__new(&t, ex, &o, err);
    if (st) goto done;
    const int n = list_parts(t, p, s, r);
    st = sd_parts__read(w, p + 2, n - 2, err);
    t->step = s[S_STEP], t->n_tokens = s[S_SEEN];
    t->scale = r[R_SCALE], t->scale_out = r[R_SCALE_OUT], t->max_norm = r[R_MAX_NORM], t->rms = r[R_RMS], t->out_rms = r[R_OUT_RMS];
    t->pick.theta = r[R_THETA], t->pick.cut = r[R_CUT];
    t->pick.n_audited = s[S_AUDITED], t->pick.n_missed = s[S_MISSED];
    t->ready = true;
    if (!st) st = sd_parts__check_rows(path, t->kern, t->W.p, t->last_step, t->step, &o, err);
done:
    sd_weights_close(w);
    if (st)
        sd_trans_free(t);
    else
        *out = t;
    return st;
}
