/* Owns checkpoints: one safetensors file with everything a later step depends on. It replaces the old one whole or not at all
 * (sd_safetensors_write), and a trainer loaded from it goes on with the same bits. */
#include "dict/dict_train_int.h"
#include "file/weights.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { S_VERSION, S_KIND, S_D, S_M, S_K, S_BATCH, S_TOKENS, S_AUX_K, S_DEAD_AFTER, S_SEED, S_REST, S_STEP, S_SEEN, S_AUX_NEXT, S_SPARSE, S_MOMENTS8, S_AUDITED, S_MISSED, S_PROVEN, S_K_START, S_K_ANNEAL, S_SPARSITY_WARMUP, S_WITHOUT, S_FROZEN, S_ROUTES, S_LISTED, S_IN_TURN, S_WON_AT, S_N_WON, N_STATE };
enum { R_LR, R_AUX, R_WARMUP, R_DECAY, R_SCALE, R_MAX_NORM, R_SITE, R_SPARSITY, R_BANDWIDTH, R_WEIGHT, R_THETA, R_CUT, R_OFF, R_EXACT_UNTIL, R_EXACT_FROM, N_REAL };
enum { VERSION = 7, N_TENSORS = 14 };
_Static_assert(N_TENSORS + 12 + 3 * SD_GATE_OWN <= SD_PARTS, "a checkpoint has more parts than the list holds");

static int list_parts(const sd_dict_train *t, sd_part out[SD_PARTS], int64_t *state, double *real)
{
    const int64_t m = t->opt.m, d = t->opt.d;
    const sd_part all[N_TENSORS] = {
        {"state", SD_I64, N_STATE, 0, state}, {"real", SD_F64, N_REAL, 0, real},    {"last_fired", SD_I64, m, 0, t->last_fired},
        {"last_step", SD_I32, m, 0, t->last_step},
        {"W_enc", SD_F32, m, d, t->W},        {"W_dec", SD_F32, m, d, t->D},        {"b_enc", SD_F32, m, 0, t->b},
        {"b_dec", SD_F32, d, 0, t->bd},       {"m.b_enc", SD_F32, m, 0, t->mb},
        {"v.b_enc", SD_F32, m, 0, t->vb},     {"m.b_dec", SD_F32, d, 0, t->mbd},    {"v.b_dec", SD_F32, d, 0, t->vbd},
        {"top", SD_F32, m, 0, t->top},        {"mean", SD_F32, d, 0, t->mean},
    };
    int n = N_TENSORS;
    memcpy(out, all, sizeof all);
    if (t->opt.moments8) {
        const sd_part q[] = {{"m.W_enc", SD_I8, m, d, t->moW.qm}, {"v.W_enc", SD_U8, m, d, t->moW.qv}, {"scale.W_enc", SD_F32, m, 2, t->moW.scale},
                          {"m.W_dec", SD_I8, m, d, t->moD.qm}, {"v.W_dec", SD_U8, m, d, t->moD.qv}, {"scale.W_dec", SD_F32, m, 2, t->moD.scale}};
        for (int i = 0; i < 6; i++) out[n++] = q[i];
    } else {
        const sd_part q[] = {{"m.W_enc", SD_F32, m, d, t->moW.m}, {"v.W_enc", SD_F32, m, d, t->moW.v}, {"m.W_dec", SD_F32, m, d, t->moD.m}, {"v.W_dec", SD_F32, m, d, t->moD.v}};
        for (int i = 0; i < 4; i++) out[n++] = q[i];
    }
    n += sd_train__route_parts(t, out + n);
    for (int i = 0; i < SD_GATE_OWN && t->own[i]; i++) {
        float *const data[] = {t->own[i], t->mown[i], t->vown[i]};
        for (int j = 0; j < 3; j++, n++) {
            out[n] = (sd_part){"", SD_F32, m, 0, data[j]};
            snprintf(out[n].name, sizeof out[n].name, "%s%s", j == 0 ? "" : j == 1 ? "m." : "v.", t->gate->own[i]);
        }
    }
    return n;
}

sd_status sd_dict_train_save(const sd_dict_train *t, const char *path, sd_err *err)
{
    const sd_dict_train_opt *o = &t->opt;
    int64_t state[N_STATE] = {[S_VERSION] = VERSION, [S_KIND] = o->kind, [S_D] = o->d, [S_M] = o->m, [S_K] = o->k, [S_BATCH] = o->batch,
                              [S_TOKENS] = o->n_tokens, [S_AUX_K] = o->aux_k, [S_DEAD_AFTER] = o->dead_after, [S_SEED] = (int64_t)o->seed,
                              [S_REST] = o->rest, [S_STEP] = t->step, [S_SEEN] = t->n_tokens, [S_AUX_NEXT] = t->aux.next, [S_SPARSE] = t->sparse, [S_MOMENTS8] = o->moments8,
                              [S_AUDITED] = t->pick.n_audited, [S_MISSED] = t->pick.n_missed, [S_PROVEN] = o->proven,
                              [S_K_START] = o->k_start, [S_K_ANNEAL] = o->k_anneal, [S_SPARSITY_WARMUP] = o->sparsity_warmup, [S_WITHOUT] = o->without, [S_FROZEN] = o->frozen_decoder,
                              [S_ROUTES] = o->routes, [S_LISTED] = o->listed, [S_IN_TURN] = o->in_turn, [S_WON_AT] = t->route.at, [S_N_WON] = t->route.n_won};
    double real[N_REAL] = {[R_LR] = o->lr, [R_AUX] = o->aux_alpha, [R_WARMUP] = o->warmup, [R_DECAY] = o->decay, [R_SCALE] = t->scale,
                           [R_MAX_NORM] = t->max_norm, [R_SITE] = t->site_rms, [R_SPARSITY] = o->sparsity,
                           [R_BANDWIDTH] = o->bandwidth, [R_WEIGHT] = t->weight, [R_THETA] = t->pick.theta, [R_CUT] = t->pick.cut, [R_OFF] = t->off, [R_EXACT_UNTIL] = o->exact_until, [R_EXACT_FROM] = o->exact_from};
    sd_part p[SD_PARTS];
    SD_ASSERT(t->ready);
    const int n = list_parts(t, p, state, real);
    return sd_parts__write(path, p, n, err);
}

/* Options as they were resolved; what cannot be is refused here or by sd_train__new. */
static sd_status read_state(const sd_weights *w, sd_dict_train_opt *o, int64_t state[N_STATE], double real[N_REAL], sd_err *err)
{
    const sd_part head[] = {{"state", SD_I64, N_STATE, 0, state}, {"real", SD_F64, N_REAL, 0, real}};
    const sd_status st = sd_parts__read(w, head, 2, err);
    if (st) return st;
    bool sane = state[S_VERSION] == VERSION && state[S_KIND] >= 0 && state[S_KIND] < SD_DICT_ENCODER_COUNT && state[S_K] >= 1 && state[S_K] <= INT32_MAX &&
                state[S_BATCH] >= 1 && state[S_AUX_K] >= 1 && state[S_AUX_K] <= INT32_MAX && state[S_REST] >= 0 && state[S_REST] < SD_REST_COUNT && state[S_STEP] >= 0 && state[S_STEP] < INT32_MAX && state[S_SEEN] >= 0 && state[S_K_START] >= 0 &&
                state[S_K_START] <= INT32_MAX && state[S_WITHOUT] >= 0 && state[S_WITHOUT] < 1 << SD_WITHOUT_COUNT &&
                state[S_ROUTES] >= 0 && state[S_ROUTES] <= state[S_M] && state[S_LISTED] >= 0 && state[S_LISTED] <= state[S_M] && state[S_IN_TURN] >= 1 && state[S_IN_TURN] <= INT32_MAX;
    for (int i = 0; i < N_REAL; i++) sane = sane && isfinite(real[i]);
    if (!sane || !(real[R_SCALE] > 0) || !(real[R_LR] > 0))
        return sd_fail(err, SD_E_FORMAT, "%s: the state of the checkpoint makes no sense (version %lld)", sd_weights_path(w), (long long)state[S_VERSION]);
    *o = (sd_dict_train_opt){.kind = (sd_dict_kind)state[S_KIND], .d = state[S_D], .m = state[S_M], .k = (int)state[S_K], .batch = state[S_BATCH],
                             .n_tokens = state[S_TOKENS], .lr = real[R_LR], .aux_alpha = real[R_AUX], .aux_k = (int)state[S_AUX_K],
                             .dead_after = state[S_DEAD_AFTER], .seed = (uint64_t)state[S_SEED], .warmup = real[R_WARMUP], .decay = real[R_DECAY],
                             .rest = (sd_rest)state[S_REST], .moments8 = state[S_MOMENTS8] != 0, .proven = state[S_PROVEN] != 0, .k_start = (int)state[S_K_START], .k_anneal = state[S_K_ANNEAL],
                             .sparsity_warmup = state[S_SPARSITY_WARMUP], .without = (uint32_t)state[S_WITHOUT], .frozen_decoder = state[S_FROZEN] != 0,
                             .routes = state[S_ROUTES], .listed = state[S_LISTED], .in_turn = (int)state[S_IN_TURN], .sparsity = real[R_SPARSITY], .bandwidth = real[R_BANDWIDTH],
                             .exact_until = real[R_EXACT_UNTIL], .exact_from = real[R_EXACT_FROM]};
    return SD_OK;
}

sd_status sd_dict_train_load(sd_dict_train **out, const sd_exec *ex, const char *path, sd_err *err)
{
    sd_weights *w = NULL;
    sd_dict_train *t = NULL;
    sd_dict_train_opt o;
    int64_t state[N_STATE];
    double real[N_REAL];
    sd_part p[SD_PARTS];
    *out = NULL;
    sd_status st = sd_weights_open(&w, path, err);
    if (!st) st = read_state(w, &o, state, real, err);
    if (!st) st = sd_parts__read(w, &(sd_part){"W_enc", SD_F32, o.m, o.d, NULL}, 1, err); /* before memory is taken for what the state claims */
    if (!st) st = sd_train__new(&t, ex, &o, err);
    if (st) goto done;
    const int n = list_parts(t, p, state, real);
    st = sd_parts__read(w, p + 2, n - 2, err);
    t->step = state[S_STEP];
    t->n_tokens = state[S_SEEN];
    t->aux.next = state[S_AUX_NEXT];
    if (!st) st = sd_train__route_restore(t, path, state[S_WON_AT], state[S_N_WON], err);
    t->sparse = state[S_SPARSE] != 0;
    t->pick.n_audited = state[S_AUDITED];
    t->pick.n_missed = state[S_MISSED];
    t->weight = real[R_WEIGHT];
    t->pick.theta = real[R_THETA];
    t->pick.cut = real[R_CUT];
    t->off = real[R_OFF];
    t->scale = real[R_SCALE];
    t->max_norm = real[R_MAX_NORM];
    t->site_rms = real[R_SITE];
    t->ready = true;
    if (!st) st = sd_parts__check_rows(path, t->kern, t->W, t->last_step, t->step, &o, err);
done:
    sd_weights_close(w);
    if (st)
        sd_dict_train_free(t);
    else
        *out = t;
    return st;
}
