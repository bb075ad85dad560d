/* A run's steers: one place for the command line, the library's JSON call and the server. */
#include "lab/steer_set.h"

#include "lab/direction_file.h"

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
    if (!st) st = sd_steer_spec_parse(&s->spec[s->n], text, err);
    if (!st) s->n++;
    return st;
}

sd_status sd_steer_set_open(sd_steer_set *s, const sd_model *m, const char *data_dir, const char *model_sha256, sd_err *err)
{
    sd_status st = SD_OK;
    for (int i = 0; i < s->n && !st; i++) {
        sd_steer_spec *spec = &s->spec[i];
        if (spec->feature >= 0) st = sd_dict_open(&s->dict[i], spec->dict, err);
        if (!st) st = sd_direction_resolve(spec, data_dir, model_sha256, m->cfg.d_model, err);
        if (!st) st = sd_steer_new(&s->steer[i], spec, m, s->dict[i], err);
        if (st) return st;
        const float *v = s->dict[i] ? sd_dict_dec_row(s->dict[i], spec->feature) : spec->vector;
        int64_t d = s->dict[i] ? sd_dict_get_info(s->dict[i])->d : spec->n_vector;
        st = sd_direction_guard(spec, v, d, data_dir, model_sha256, err);
    }
    return st;
}

void sd_steer_set_release(sd_steer_set *s)
{
    for (int i = 0; i < s->n; i++) {
        sd_steer_free(s->steer[i]);
        sd_dict_free(s->dict[i]);
        sd_steer_spec_release(&s->spec[i]);
    }
    sd_free(s->spec);
    sd_free(s->steer);
    sd_free(s->dict);
    *s = (sd_steer_set){0};
}

void sd_steer_set_write(sd_jw *w, const sd_steer_set *s)
{
    char site[64];
    sd_jw_key(w, "applied");
    sd_jw_arr(w);
    for (int i = 0; i < s->n; i++) {
        sd_steer_applied ap = sd_steer_get_applied(s->steer[i]);
        sd_jw_obj(w);
        sd_jw_key(w, "steer");
        sd_steer_spec_write(w, &s->spec[i]);
        sd_jw_kstr(w, "site", sd_site_print(site, sizeof site, ap.site));
        sd_jw_kf64(w, "value_raw", ap.value_raw);
        sd_jw_ki64(w, "n_positions", ap.n_positions);
        sd_jw_kf64(w, "mean_abs_change", ap.mean_abs_change);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}
