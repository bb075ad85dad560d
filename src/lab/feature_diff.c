/* Three exact searches: a in b, b in a, a in shuffled b. */
#include "lab/feature_diff.h"

#include "base/rng.h"
#include "lab/feature_map.h"
#include "lab/neighbours.h"
#include <inttypes.h>

void sd_feature_diff_release(sd_feature_diff *d)
{
    sd_free(d->side[0]);
    sd_free(d->side[1]);
    *d = (sd_feature_diff){0};
}

typedef struct found { int32_t *index; float *cosine; } found;

static sd_status search(found *f, const sd_exec *ex, sd_mat a, sd_mat b, sd_err *err)
{
    sd_status st = sd_alloc(&f->index, (size_t)a.rows * sizeof *f->index, "nearest features", err);
    if (!st) st = sd_alloc(&f->cosine, (size_t)a.rows * sizeof *f->cosine, "nearest features", err);
    if (!st) st = sd_lab_nearest_in(f->index, f->cosine, ex, a, b, err);
    return st;
}

static void release(found *f)
{
    sd_free(f->index);
    sd_free(f->cosine);
}

/* The same order of coordinates for all rows would only rotate them; each row has its own. */
static void shuffle_rows(sd_mat w, uint64_t seed)
{
    for (int64_t i = 0; i < w.rows; i++) {
        sd_rng rng = sd_rng_make(seed, "diff", (uint64_t)i);
        float *v = sd_mat_row(w, i);
        for (int64_t k = w.cols - 1; k > 0; k--) {
            int64_t j = (int64_t)sd_rng_below(&rng, (uint64_t)k + 1);
            float t = v[k];
            v[k] = v[j];
            v[j] = t;
        }
    }
}

static sd_status judge(sd_feature_diff *d, int side, const found *own, const found *other, sd_err *err)
{
    int64_t counted = 0;
    sd_status st = sd_alloc(&d->side[side], (size_t)(d->n[side] + 1) * sizeof *d->side[side], "the difference of two stores", err);
    for (int64_t i = 0; i < d->n[side] && !st; i++) {
        int32_t o = own->index[i];
        bool mutual = o >= 0 && other->index[o] == i, near = o >= 0 && (double)own->cosine[i] >= d->same;
        sd_diff_kind kind = o < 0 ? SD_DIFF_NONE : !near ? SD_DIFF_GONE : mutual ? SD_DIFF_MATCHED : SD_DIFF_SHARED;
        d->side[side][i] = (sd_diff_feature){i, o, own->cosine[i], kind};
        d->n_gone[side] += kind == SD_DIFF_GONE;
        d->n_shared[side] += kind == SD_DIFF_SHARED;
        d->n_matched += side == 0 && kind == SD_DIFF_MATCHED;
        d->mean_cosine[side] += o >= 0 ? (double)own->cosine[i] : 0;
        counted += o >= 0;
    }
    if (counted) d->mean_cosine[side] /= (double)counted;
    return st;
}

sd_status sd_lab_feature_diff(sd_feature_diff *out, const sd_exec *ex, sd_store *a, sd_store *b, double same, uint64_t seed, sd_err *err)
{
    const sd_store_info *ia = sd_store_get_info(a), *ib = sd_store_get_info(b);
    sd_mat wa = {0}, wb = {0};
    found fa = {0}, fb = {0}, chance = {0};
    int64_t counted = 0;
    *out = (sd_feature_diff){.same = same, .n = {ia->dict.m, ib->dict.m}};
    if (sd_lab_has_directions(a, err) || sd_lab_has_directions(b, err)) return SD_E_NOTFOUND;
    if (ia->dict.d != ib->dict.d) {
        sd_fail(err, SD_E_SHAPE, "the first store has directions of %" PRId64 " numbers, the second of %" PRId64, ia->dict.d, ib->dict.d);
        return sd_hint(err, "give two stores of one model and site, or of models of one family");
    }
    sd_status st = sd_lab_directions(&wa, a, err);
    if (!st) st = sd_lab_directions(&wb, b, err);
    if (!st) st = search(&fa, ex, wa, wb, err);
    if (!st) st = search(&fb, ex, wb, wa, err);
    if (!st) st = judge(out, 0, &fa, &fb, err);
    if (!st) st = judge(out, 1, &fb, &fa, err);
    if (st) goto done;
    shuffle_rows(wb, seed);
    if ((st = search(&chance, ex, wa, wb, err))) goto done;
    for (int64_t i = 0; i < out->n[0]; i++) {
        double c = (double)chance.cosine[i];
        if (chance.index[i] < 0) continue;
        out->floor_mean += c;
        out->floor_max = counted++ && out->floor_max > c ? out->floor_max : c;
    }
    if (counted) out->floor_mean /= (double)counted;
done:
    release(&fa);
    release(&fb);
    release(&chance);
    sd_free(wa.data);
    sd_free(wb.data);
    if (st) sd_feature_diff_release(out);
    return st;
}
