/* Which prompts are for fitting and which for choosing is a function of the files and the seed. */
#include "lab/direction_data.h"

#include "base/rng.h"

#include <inttypes.h>

enum { DEFAULT_TRAIN = 128, DEFAULT_VAL = 32 };

void sd_direction_sets_release(sd_direction_sets *s)
{
    for (int k = 0; k < 4; k++) {
        sd_suite_release(&s->suite[k]);
        sd_free(s->text[k]);
    }
    *s = (sd_direction_sets){0};
}

/* A file that says itself what it is, else read as the side it was given for. */
static sd_status open_side(sd_suite *s, const char *path, bool positive, sd_err *err)
{
    char spec[1100];
    sd_err own = {0};
    sd_status st = sd_suite_open(s, path, &own);
    if (st == SD_E_ARG) {
        snprintf(spec, sizeof spec, "%s=%s", positive ? "harmful" : "harmless", path);
        return sd_suite_open(s, spec, err);
    }
    if (st && err) *err = own;
    return st;
}

/* suite[k] keeps n_train prompts, suite[k + 2] takes n_val others. */
static sd_status divide(sd_suite *train, sd_suite *val, int64_t n_train, int64_t n_val, uint64_t seed, sd_err *err)
{
    int64_t *order = NULL, n = train->n, kept = 0;
    if (n < n_train + n_val) {
        n_val = n / 5;
        n_train = n - n_val;
    }
    sd_status st = sd_alloc(&order, (size_t)n * sizeof *order, "an order", err);
    if (st) return st;
    sd_rng rng = sd_rng_make(seed, "direction split", sd_hash64(train->name, strlen(train->name)));
    for (int64_t i = 0; i < n; i++) order[i] = i;
    sd_rng_shuffle_i64(&rng, order, n);
    uint8_t *use = NULL;
    st = sd_alloc_zero(&use, (size_t)n, "an order", err);
    for (int64_t i = 0; i < n_train + n_val && !st; i++) use[order[i]] = i < n_train ? 1 : 2;
    memcpy(val->name, train->name, sizeof val->name);
    for (int64_t i = 0; i < n && !st; i++) {
        if (use[i] == 2) {
            st = sd_suite__push(val, train->v[i], err);
            train->v[i] = (sd_prompt){0};
        }
    }
    for (int64_t i = 0; i < n && !st; i++) {
        if (use[i] == 1) train->v[kept++] = train->v[i];
        else sd_prompt__release(&train->v[i]);
    }
    if (!st) train->n = kept;
    sd_free(use);
    sd_free(order);
    return st;
}

sd_status sd_direction_sets_open(sd_direction_sets *o, const sd_direction_files *f, sd_err *err)
{
    const char *path[2] = {f->positive, f->negative}, *val[2] = {f->positive_val, f->negative_val};
    int64_t n_train = f->n_train ? f->n_train : DEFAULT_TRAIN, n_val = f->n_val ? f->n_val : DEFAULT_VAL;
    sd_status st = SD_OK;
    *o = (sd_direction_sets){0};
    for (int k = 0; k < 2 && !st; k++) {
        if ((st = open_side(&o->suite[k], path[k], k == 0, err))) break;
        if (val[k]) {
            if ((st = open_side(&o->suite[k + 2], val[k], k == 0, err))) break;
            sd_suite_sample(&o->suite[k], n_train, f->seed);
            sd_suite_sample(&o->suite[k + 2], n_val, f->seed);
        } else {
            st = divide(&o->suite[k], &o->suite[k + 2], n_train, n_val, f->seed, err);
        }
    }
    for (int64_t i = 0; i < o->suite[0].n && !st; i++) o->harmful |= o->suite[0].v[i].axis == SD_AXIS_HARMFUL;
    for (int k = 0; k < 4 && !st; k++) {
        int64_t n = o->suite[k].n;
        st = sd_alloc(&o->text[k], (size_t)(n ? n : 1) * sizeof *o->text[k], "prompts", err);
        for (int64_t i = 0; i < n && !st; i++) o->text[k][i] = o->suite[k].v[i].text;
        o->data.text[k] = o->text[k];
        o->data.n[k] = n;
    }
    if (st) sd_direction_sets_release(o);
    return st;
}
