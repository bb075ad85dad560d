#include "lab/safety_feature.h"

#include <math.h>

static void rates(sd_jw *w, const char *key, const sd_safety *s, const sd_ci *v)
{
    sd_jw_key(w, key);
    sd_jw_obj(w);
    for (int k = 0; k < s->n_suite; k++) {
        sd_jw_key(w, s->suite[k]);
        sd_jw_obj(w);
        sd_jw_kf64(w, "value", v[k].est);
        sd_jw_kf64(w, "lo", v[k].lo);
        sd_jw_kf64(w, "hi", v[k].hi);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

void sd_safety_write_json(sd_jw *w, const sd_safety *s)
{
    static const char *const monitor[2] = {"feature", "mean"};
    sd_jw_ki64(w, "feature", s->feature);
    sd_jw_kf64(w, "auroc_first_half", s->auroc_fit);
    sd_jw_kf64(w, "value", s->c);
    sd_jw_ki64(w, "n_first_half", s->n_fit);
    sd_jw_kstr(w, "judge", s->judge);
    sd_jw_kf64(w, "seconds", s->seconds);
    sd_jw_key(w, "suites");
    sd_jw_arr(w);
    for (int k = 0; k < s->n_suite; k++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", s->suite[k]);
        sd_jw_kbool(w, "harmful", s->harmful[k]);
        sd_jw_ki64(w, "n", s->n_test[k]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_key(w, "monitors");
    sd_jw_arr(w);
    for (int k = 0; k < 2; k++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "what", monitor[k]);
        sd_jw_kf64(w, "auroc", s->monitor[k].auroc);
        rates(w, "alarms_at_1", s, s->monitor[k].alarm[0]);
        rates(w, "alarms_at_5", s, s->monitor[k].alarm[1]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_key(w, "rows");
    sd_jw_arr(w);
    for (int i = 0; i < s->n_row; i++) {
        const sd_safety_row *r = &s->row[i];
        sd_jw_obj(w);
        sd_jw_kstr(w, "what", r->what);
        if (*r->topic) sd_jw_kstr(w, "topic", r->topic);
        if (r->feature >= 0) sd_jw_ki64(w, "feature", r->feature);
        sd_jw_kf64(w, "value", r->value);
        rates(w, "refused", s, r->refused);
        sd_jw_kf64(w, "incoherent", r->incoherent);
        sd_jw_kf64(w, "ce_cost", r->ce_cost);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}
