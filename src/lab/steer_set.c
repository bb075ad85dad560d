/* A run's steers: one place for the command line, the library's JSON call and the server. */
#include "lab/steer_set.h"

#include "lab/direction_file.h"
#include "lab/reference.h"

static sd_status grow(void *out_ptr, void *old, size_t n, size_t size, sd_err *err)
{
    void *v = sd_realloc(old, n * size);
    if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: %zu steers", n);
    memset((char *)v + (n - 1) * size, 0, size);
    memcpy(out_ptr, &v, sizeof v);
    return SD_OK;
}

sd_status sd_steer_set_add(sd_steer_set *s, sd_slice text, sd_err *err)
{
    size_t n = (size_t)s->n + 1;
    sd_status st = grow(&s->spec, s->spec, n, sizeof *s->spec, err);
    if (!st) st = grow(&s->steer, s->steer, n, sizeof *s->steer, err);
    if (!st) st = grow(&s->dict, s->dict, n, sizeof *s->dict, err);
    if (!st) st = grow(&s->when_dict, s->when_dict, n, sizeof *s->when_dict, err);
    if (!st) st = sd_steer_spec_parse(&s->spec[s->n], text, err);
    if (!st) s->n++;
    return st;
}

sd_status sd_steer_resolve(sd_steer **out, sd_steer_spec *spec, const sd_steer_env *env, const sd_steer_from *from, sd_err *err)
{
    int64_t d_model = env->m->cfg.d_model;
    sd_status st = sd_direction_resolve(spec, env->data_dir, env->model_sha256, d_model, err);
    if (!st && spec->when) st = sd_direction_resolve(&spec->when->what, env->data_dir, env->model_sha256, d_model, err);
    if (!st) st = sd_steer_make(out, spec, env->m, from, err);
    if (st) return st;
    int64_t d;
    const float *v = sd_steer_vector(*out, &d);
    return sd_direction_guard(spec, v, d, env->data_dir, env->model_sha256, err);
}

sd_status sd_steer_set_open(sd_steer_set *s, const sd_steer_env *env, sd_err *err)
{
    sd_reference *ref = NULL;
    sd_status st = s->n ? sd_reference_new(&ref, env->ex, env->m, env->reference, err) : SD_OK;
    for (int i = 0; i < s->n && !st; i++) {
        sd_steer_spec *spec = &s->spec[i];
        if (spec->feature >= 0) st = sd_dict_open(&s->dict[i], spec->dict, err);
        if (!st && spec->when && spec->when->what.feature >= 0) st = sd_dict_open(&s->when_dict[i], spec->when->what.dict, err);
        const sd_steer_from from = {.dict = s->dict[i], .when_dict = s->when_dict[i], .rows = sd_reference_rows, .self = ref};
        if (!st) st = sd_steer_resolve(&s->steer[i], spec, env, &from, err);
    }
    sd_reference_free(ref);
    return st;
}

void sd_steer_set_release(sd_steer_set *s)
{
    for (int i = 0; i < s->n; i++) {
        sd_steer_free(s->steer[i]);
        sd_dict_free(s->dict[i]);
        sd_dict_free(s->when_dict[i]);
        sd_steer_spec_release(&s->spec[i]);
    }
    sd_free(s->spec);
    sd_free(s->steer);
    sd_free(s->dict);
    sd_free(s->when_dict);
    *s = (sd_steer_set){0};
}

void sd_steer_set_write(sd_jw *w, const sd_steer_set *s)
{
    char site[64];
    sd_jw_key(w, "applied");
    sd_jw_arr(w);
    for (int i = 0; i < s->n; i++) {
        sd_steer_applied ap = sd_steer_get_applied(s->steer[i]);
        if (s->spec[i].look) continue;
        sd_jw_obj(w);
        sd_jw_key(w, "steer");
        sd_steer_spec_write(w, &s->spec[i]);
        sd_jw_kstr(w, "site", sd_site_print(site, sizeof site, ap.site));
        sd_jw_kf64(w, "value_raw", ap.value_raw);
        sd_jw_ki64(w, "n_positions", ap.n_positions);
        sd_jw_kf64(w, "mean_abs_change", ap.mean_abs_change);
        if (s->spec[i].when) {
            sd_jw_ki64(w, "n_looked", ap.n_looked);
            sd_jw_ki64(w, "n_held", ap.n_held);
        }
        sd_jw_end(w);
    }
    sd_jw_end(w);
}
