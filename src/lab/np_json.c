/* Owns: the names of the fields when written. */
#include "lab/np_json.h"

#include "lab/feature_json.h"
#include "lab/token_text.h"

#include <inttypes.h>
#include <stdio.h>

static void put_floats(sd_jw *w, const char *key, const float *v, int64_t n)
{
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int64_t i = 0; i < n; i++) sd_jw_f32(w, v[i]);
    sd_jw_end(w);
}

static void put_token(sd_jw *w, sd_store *s, int32_t id)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 20);
    sd_feature_token_text(&b, s, id);
    if (b.n && memchr(b.p, 0, b.n)) { /* Postgres, in which Neuronpedia keeps its texts, and JSON readers refuse a zero byte */
        sd_buf_reset(&b);
        sd_token_show_id(&b, s, id);
    }
    sd_jw_slice(w, (sd_slice){b.p ? b.p : "", b.n});
    sd_buf_release(&b);
}

static void put_example(sd_jw *w, sd_store *s, const sd_feature *f, const sd_example *e, bool camel)
{
    const sd_interval *in = e->group > 0 && e->group <= f->n_interval ? &f->interval[e->group - 1] : NULL;
    int best = 0;
    for (int i = 1; i < e->n; i++)
        if (e->val[i] > e->val[best]) best = i;
    sd_jw_obj(w);
    sd_jw_key(w, "tokens");
    sd_jw_arr(w);
    for (int i = 0; i < e->n; i++) put_token(w, s, e->tok[i]);
    sd_jw_end(w);
    put_floats(w, "values", e->val, e->n);
    if (camel) {
        sd_jw_kf64(w, "maxValue", (double)e->val[best]);
        sd_jw_ki64(w, "maxValueTokenIndex", best);
        sd_jw_kf64(w, "minValue", 0);
        sd_jw_ki64(w, "dataIndex", e->doc);
    }
    sd_jw_kf64(w, camel ? "binMin" : "bin_min", in ? (double)in->lo : -1);
    sd_jw_kf64(w, camel ? "binMax" : "bin_max", in ? (double)in->hi : f->stats.max_act);
    sd_jw_kf64(w, camel ? "binContains" : "bin_contains", in ? in->share : 0);
    sd_jw_ki64(w, camel ? "qualifyingTokenIndex" : "qualifying_token_index", e->pos - e->pos0);
    sd_jw_end(w);
}

static void put_logits(sd_jw *w, sd_store *s, const char *sign, const sd_token_logit *v, int n)
{
    char key[16];
    snprintf(key, sizeof key, "%s_str", sign);
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int i = 0; i < n; i++) put_token(w, s, v[i].id);
    sd_jw_end(w);
    snprintf(key, sizeof key, "%s_values", sign);
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int i = 0; i < n; i++) sd_jw_f32(w, v[i].value);
    sd_jw_end(w);
}

static void put_histogram(sd_jw *w, const sd_histogram *h)
{
    double step = h->n ? (h->hi - h->lo) / h->n : 0;
    sd_jw_key(w, "freq_hist_data_bar_heights");
    sd_jw_arr(w);
    for (int i = 0; i < h->n; i++) sd_jw_i64(w, h->count[i]);
    sd_jw_end(w);
    sd_jw_key(w, "freq_hist_data_bar_values");
    sd_jw_arr(w);
    for (int i = 0; i < h->n; i++) sd_jw_f64(w, h->lo + step * (i + 0.5));
    sd_jw_end(w);
}

static void put_near(sd_jw *w, const sd_feature *f)
{
    sd_jw_key(w, "topkCosSimIndices");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_near; i++) sd_jw_i64(w, f->near[i].index);
    sd_jw_end(w);
    sd_jw_key(w, "topkCosSimValues");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_near; i++) sd_jw_f32(w, f->near[i].cosine);
    sd_jw_end(w);
}

static void put_labels(sd_jw *w, const sd_feature *f)
{
    sd_jw_key(w, "explanations");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_label; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "description", f->label[i].text);
        sd_jw_kstr(w, "typeName", f->label[i].source);
        sd_jw_kstr(w, "explanationModelName", f->label[i].author);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

void sd_np_feature_write(sd_jw *w, sd_store *s, const sd_feature *f, sd_np_form form, const char *model, const char *layer)
{
    bool camel = form == SD_NP_NEURONPEDIA;
    char index[24];
    /* What other tools look for and a store does not hold. */
    static const char *const none[] = {"neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_pearson",
                                       "correlated_neurons_l1", "correlated_features_indices", "correlated_features_pearson", "correlated_features_l1",
                                       "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "decoder_weights_dist"};
    if (camel) {
        snprintf(index, sizeof index, "%" PRId64, f->stats.index);
        sd_jw_kstr(w, "modelId", model);
        sd_jw_kstr(w, "layer", layer);
        sd_jw_kstr(w, "index", index);
        sd_jw_kf64(w, "maxActApprox", f->stats.max_act);
        sd_jw_kstr(w, "hookName", sd_store_get_info(s)->dict.site);
        sd_jw_kbool(w, "hasVector", false);
        put_near(w, f);
        put_labels(w, f);
    } else
        sd_jw_ki64(w, "feature_index", f->stats.index);
    sd_jw_kf64(w, "frac_nonzero", f->stats.density);
    put_logits(w, s, "pos", f->top, f->n_top);
    put_logits(w, s, "neg", f->bottom, f->n_bottom);
    put_histogram(w, &f->hist);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        sd_jw_key(w, none[i]);
        sd_jw_arr(w);
        sd_jw_end(w);
    }
    sd_jw_key(w, "activations");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_example; i++) put_example(w, s, f, &f->example[i], camel);
    sd_jw_end(w);
}
