/* Owns the backward pass and the optimiser. Entries (row, feature) are sorted by feature; then each touched row of W and D is
 * visited once: gradients summed in L1, the part of gD along D taken out (Bricken et al. 2023, Towards Monosemanticity: the norm
 * is fixed, so only the rest can help), Adam (Kingma & Ba 2015, algorithm 1), D back to unit norm. No gradient matrix exists.
 *
 * Rows that no row of x used. Dense Adam goes on moving them by their momentum; a row untouched since step s has, at s + j,
 *   m = beta1^j m_s, v = beta2^j v_s, so it moves by rate(s+j) (beta1 / sqrt(beta2))^j m_s / sqrt(v_s), rate = lr sqrt(bc2) / bc1,
 * and the sum over j is done in one go when the row is next touched (eps is that of its first step in all: exact for one step).
 * So moments and total movement are dense Adam's; only between touches is the row behind, unless it is moved in every
 * step (SD_REST_DENSE). Features are rare, so this matters: with v decaying between firings a rare feature's steps are larger
 * than under sparse Adam (docs/DICT.md has figures). */
#include "dict/dict_train_int.h"
#include "base/par.h"
#include <math.h>
#include <string.h>

/* A counting sort; within a feature the rows ascend, which fixes the order of every sum. */
void sd_train__sort(sd_dict_train *t, int64_t n)
{
    const int64_t m = t->opt.m;
    int64_t *at = t->col;
    memset(at, 0, (size_t)(m + 1) * sizeof *at);
    for (int64_t i = 0; i < t->ptr[n]; i++)
        if (t->gate || t->val[i] > 0.0f) at[t->idx[i] + 1]++;
    for (int64_t f = 0; f < m; f++) at[f + 1] += at[f];
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = t->ptr[r]; i < t->ptr[r + 1]; i++) {
            if (!t->gate && !(t->val[i] > 0.0f)) continue;
            const int64_t o = at[t->idx[i]]++;
            t->ent_row[o] = (int32_t)r;
            if (t->gate) t->ent_at[o] = (int32_t)i;
            t->ent_z[o] = t->val[i];
            t->ent_dz[o] = t->dz[i];
        }
    for (int64_t f = m; f > 0; f--) at[f] = at[f - 1]; /* back from ends to beginnings */
    at[0] = 0;
}

void sd_train__drift(const sd_dict_train *t, int64_t f, int64_t now, float *p, float *m, float *v)
{
    const sd_idle idle = {t->kd, t->rate, t->n_step, t->opt.rest};
    sd_step__catch_up(&idle, t->last_step[f], now, p, m, v, t->opt.d);
}

sd_moment_row sd_train__moments(const sd_dict_train *t, const sd_moments *of, int64_t f, float *spare)
{
    const int64_t d = t->opt.d;
    if (!t->opt.moments8) return (sd_moment_row){of->m + f * d, of->v + f * d};
    t->kt->unpack8(spare, spare + d, of->qm + f * d, of->qv + f * d, of->scale + 2 * f, d);
    return (sd_moment_row){spare, spare + d};
}

void sd_train__moments_put(const sd_dict_train *t, const sd_moments *of, int64_t f, sd_moment_row row)
{
    const int64_t d = t->opt.d;
    if (t->opt.moments8) t->kt->pack8(of->qm + f * d, of->qv + f * d, of->scale + 2 * f, row.m, row.v, d);
}

static void normalise(const sd_dict_train *t, float *row)
{
    const int64_t d = t->opt.d;
    const float n2 = t->kern->dot(row, row, d);
    if (!(n2 > 0.0f)) return;
    const float s = 1.0f / sqrtf(n2);
    for (int64_t i = 0; i < d; i++) row[i] *= s;
}

/* gD, gW and the gradients by single numbers of feature f, from the entries and from the auxiliary loss. */
static void gather(const sd_update *u, int64_t f, float *gD, float *gW)
{
    sd_dict_train *t = u->t;
    const int64_t d = t->opt.d;
    const int32_t slot = t->aux.slot ? t->aux.slot[f] : -1;
    const float two_over_n = (float)(2.0 / (double)u->n);
    const float *err = sd_train__level_e(t, sd_train__level_of(t, f));
    float gb = 0.0f;
    if (slot >= 0) {
        memcpy(gD, t->aux.gD + slot * d, (size_t)d * sizeof *gD);
        memcpy(gW, t->aux.gW + slot * d, (size_t)d * sizeof *gW);
        gb = t->aux.gb[slot];
    } else {
        memset(gD, 0, (size_t)d * sizeof *gD);
        memset(gW, 0, (size_t)d * sizeof *gW);
    }
    for (int64_t i = t->col[f]; i < t->col[f + 1];) {
        enum { MOST = 256 };
        float c[MOST];
        const int64_t left = t->col[f + 1] - i, part = left < MOST ? left : MOST;
        const sd_gather of_e = {err, t->ent_row + i, part, d}, of_x = {t->x, t->ent_row + i, part, d};
        for (int64_t j = 0; j < part; j++) {
            c[j] = two_over_n * t->ent_z[i + j];
            gb += t->ent_dz[i + j];
        }
        sd_gather_add(t->kern, gD, &of_e, c);
        sd_gather_add(t->kern, gW, &of_x, t->ent_dz + i);
        i += part;
    }
    t->gb[f] = t->gs[f] = gb;
    if (!t->gate) return;
    float *to[1 + SD_GATE_OWN] = {t->gb}, *from[1 + SD_GATE_OWN] = {t->db};
    for (int i = 0; i < SD_GATE_OWN; i++) to[i + 1] = t->gown[i], from[i + 1] = t->down[i];
    for (int p = 0; p <= SD_GATE_OWN && to[p]; p++) {
        to[p][f] = 0.0f;
        for (int64_t i = t->col[f]; i < t->col[f + 1]; i++) to[p][f] += from[p][t->ent_at[i]];
    }
}

double sd_train__apply(const sd_update *u, int64_t f, float *gD, float *gW, float *part)
{
    sd_dict_train *t = u->t;
    const int64_t d = t->opt.d;
    float *W = t->W + f * d, *D = t->D + f * d;
    t->kern->axpy(part, t->gs[f], W, d);
    const double norm = (double)t->kern->dot(gD, gD, d) + (double)t->kern->dot(gW, gW, d);
    if (t->tap) {
        memcpy(t->tap->W + f * d, gW, (size_t)d * sizeof *gW);
        memcpy(t->tap->D + f * d, gD, (size_t)d * sizeof *gD);
        return norm;
    }
    if (!(t->opt.without & SD_WITHOUT_PARALLEL_GRAD)) {
        const float size = t->opt.without & SD_WITHOUT_UNIT_DECODER ? t->kern->dot(D, D, d) : 1.0f;
        if (size > 0.0f) t->kern->axpy(gD, -t->kern->dot(gD, D, d) / size, D, d);
    }
    for (int i = 0; i < (t->opt.frozen_decoder ? 1 : 2); i++) {
        const sd_moments *of = i ? &t->moD : &t->moW;
        const sd_moment_row mo = sd_train__moments(t, of, f, t->grad[sd_par_worker()] + 2 * d);
        sd_train__drift(t, f, t->step - 1, i ? D : W, mo.m, mo.v);
        t->kd->adam(i ? D : W, mo.m, mo.v, i ? gD : gW, &u->adam, d);
        sd_train__moments_put(t, of, f, mo);
        if (i == 0) sd_scan_pack_row(t->scan, t->W, f);
    }
    if (!t->opt.frozen_decoder && !(t->opt.without & SD_WITHOUT_UNIT_DECODER)) normalise(t, D);
    t->last_step[f] = (int32_t)t->step;
    return norm;
}

static void update_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const sd_update *u = arg;
    sd_dict_train *t = u->t;
    const int64_t d = t->opt.d;
    float *gD = t->grad[sd_par_worker()], *gW = gD + d, *part = t->part_bd + chunk * d;
    double norm = 0;
    memset(part, 0, (size_t)d * sizeof *part);
    for (int64_t f = begin; f < end; f++) {
        const bool listed = t->col[f] < t->col[f + 1];
        float top = 0.0f;
        t->gb[f] = t->gs[f] = 0.0f;
        for (int i = 0; i < SD_GATE_OWN && t->gown[i]; i++) t->gown[i][f] = 0.0f;
        if (!listed && !(t->aux.slot && t->aux.slot[f] >= 0)) continue;
        gather(u, f, gD, gW);
        norm += sd_train__apply(u, f, gD, gW, part);
        for (int64_t i = t->col[f]; i < t->col[f + 1]; i++)
            if (t->ent_z[i] > top) top = t->ent_z[i];
        if (top > 0.0f) t->last_fired[f] = t->n_tokens;
        if (u->keep_top && top > t->top[f]) t->top[f] = top;
    }
    t->part_norm[chunk] = norm;
}

/* The top activation is of the features as they end up: only the last tenth of the run counts. */
sd_update sd_train__update_begin(sd_dict_train *t, int64_t n)
{
    const sd_ramp ramp = sd_train__ramp(t);
    return (sd_update){t, n, sd_ramp__adam(&ramp, t->step), t->step > t->n_step - t->n_step / 10};
}

double sd_train__update_end(const sd_update *u)
{
    sd_dict_train *t = u->t;
    const int64_t d = t->opt.d, m = t->opt.m;
    const float least = 0.5f * (float)t->opt.bandwidth;
    double norm = 0;
    memset(t->gbd, 0, (size_t)d * sizeof *t->gbd);
    for (int64_t c = 0; c * SD_TRAIN_ROWS < u->n; c++) t->kern->axpy(t->gbd, (float)(2.0 / (double)u->n), t->row_e + c * d, d);
    for (int64_t c = 0; c < t->n_chunk; c++) {
        t->kern->axpy(t->gbd, -1.0f, t->part_bd + c * d, d);
        norm += t->part_norm[c];
    }
    if (t->tap) {
        memcpy(t->tap->b, t->gb, (size_t)m * sizeof *t->gb);
        memcpy(t->tap->bd, t->gbd, (size_t)d * sizeof *t->gbd);
        for (int i = 0; i < SD_GATE_OWN && t->own[i]; i++) memcpy(t->tap->own[i], t->gown[i], (size_t)m * sizeof *t->gb);
        return norm;
    }
    t->kd->adam(t->b, t->mb, t->vb, t->gb, &u->adam, m);
    t->kd->adam(t->bd, t->mbd, t->vbd, t->gbd, &u->adam, d);
    for (int i = 0; i < SD_GATE_OWN && t->own[i]; i++) t->kd->adam(t->own[i], t->mown[i], t->vown[i], t->gown[i], &u->adam, m);
    for (int64_t f = 0; f < m && t->opt.kind == SD_DICT_JUMPRELU; f++)
        if (t->own[0][f] < least) t->own[0][f] = least;
    return norm;
}

static void move_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = arg;
    const int64_t d = t->opt.d, now = t->step - 1;
    (void)chunk;
    for (int64_t f = begin; f < end; f++) {
        if (t->last_step[f] == 0 || t->last_step[f] >= now) continue;
        for (int i = 0; i < (t->opt.frozen_decoder ? 1 : 2); i++) {
            const sd_moments *of = i ? &t->moD : &t->moW;
            const sd_moment_row mo = sd_train__moments(t, of, f, t->grad[sd_par_worker()] + 2 * d);
            sd_train__drift(t, f, now, (i ? t->D : t->W) + f * d, mo.m, mo.v);
            sd_train__moments_put(t, of, f, mo);
        }
        sd_scan_pack_row(t->scan, t->W, f);
        if (!t->opt.frozen_decoder && !(t->opt.without & SD_WITHOUT_UNIT_DECODER)) normalise(t, t->D + f * d);
        t->last_step[f] = (int32_t)now;
    }
}

void sd_train__move(sd_dict_train *t, const sd_exec *ex)
{
    if (t->opt.rest == SD_REST_DENSE) sd_parallel_for(ex->n_threads, t->opt.m, t->chunk, move_rows, t);
}

double sd_train__update(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    sd_update u = sd_train__update_begin(t, n);
    sd_parallel_for(ex->n_threads, t->opt.m, t->chunk, update_rows, &u);
    return sd_train__update_end(&u);
}
