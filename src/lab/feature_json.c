/* Owns: the names of the members ("index","label","density","score",.. are relied on outside). */
#include "lab/feature_json.h"

#include "lab/token_text.h"
#include <inttypes.h>
#include <math.h>

void sd_feature_token_text(sd_buf *b, sd_store *s, int32_t id)
{
    sd_slice t = id < 0 ? SD_LIT("") : sd_store_token(s, id);
    if (id >= 0 && sd_utf8_valid_prefix(t) == t.n) sd_buf_put(b, t.p, t.n);
    else sd_token_show_id(b, s, id);
}

static void token(sd_jw *w, sd_store *s, int32_t id)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    sd_feature_token_text(&b, s, id);
    sd_jw_slice(w, (sd_slice){b.p, b.n});
    sd_buf_release(&b);
}

static void logits(sd_jw *w, sd_store *s, const char *key, const sd_token_logit *v, int n)
{
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int i = 0; i < n; i++) {
        sd_jw_obj(w);
        sd_jw_key(w, "token");
        token(w, s, v[i].id);
        sd_jw_ki64(w, "id", v[i].id);
        sd_jw_key(w, "value");
        sd_jw_f32(w, v[i].value);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void label(sd_jw *w, const char *text, const char *source, const char *words)
{
    sd_jw_kstr(w, "label", text ? text : words);
    sd_jw_kstr(w, "label_source", text ? source : "words");
}

static void stats(sd_jw *w, const sd_feature_stats *a)
{
    sd_jw_kf64(w, "density", a->density);
    sd_jw_ki64(w, "n_fire", a->n_fire);
    sd_jw_kf64(w, "max_act", a->max_act);
    sd_jw_kf64(w, "mean_act", a->mean_act);
    sd_jw_kf64(w, "threshold", a->threshold);
    sd_jw_kf64(w, "interest", a->interest);
}

void sd_feature_brief_write(sd_jw *w, sd_store *s, const sd_feature_brief *b)
{
    sd_jw_ki64(w, "index", b->stats.index);
    label(w, b->label, "label", b->words);
    if (b->label && !isnan(b->label_score)) sd_jw_kf64(w, "label_score", b->label_score);
    sd_jw_kf64(w, "score", b->score);
    if (b->n_both) sd_jw_ki64(w, "n_both", b->n_both);
    stats(w, &b->stats);
    logits(w, s, "top_logits", b->top, b->n_top);
}

void sd_feature_list_write(sd_jw *w, sd_store *s, const sd_feature_list *l)
{
    sd_jw_ki64(w, "n", l->n);
    sd_jw_ki64(w, "n_total", l->n_total);
    sd_jw_key(w, "features");
    sd_jw_arr(w);
    for (int64_t i = 0; i < l->n; i++) {
        sd_jw_obj(w);
        sd_feature_brief_write(w, s, &l->v[i]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void example(sd_jw *w, sd_store *s, const sd_feature *f, const sd_example *e)
{
    char name[512];
    sd_jw_obj(w);
    sd_jw_kstr(w, "group", e->group == 0 ? "top" : "interval");
    if (e->group > 0 && e->group <= f->n_interval) {
        const sd_interval *v = &f->interval[e->group - 1];
        sd_jw_ki64(w, "interval", e->group - 1);
        sd_jw_kf64(w, "lo", (double)v->lo);
        sd_jw_kf64(w, "hi", (double)v->hi);
    }
    sd_jw_ki64(w, "doc", e->doc);
    if (sd_store_doc_name(s, e->doc, name, sizeof name)[0]) sd_jw_kstr(w, "name", name);
    sd_jw_ki64(w, "pos", e->pos);
    sd_jw_key(w, "act");
    sd_jw_f32(w, e->act);
    sd_jw_ki64(w, "peak", e->pos - e->pos0);
    sd_jw_key(w, "tokens");
    sd_jw_arr(w);
    for (int t = 0; t < e->n; t++) token(w, s, e->tok[t]);
    sd_jw_end(w);
    sd_jw_key(w, "ids");
    sd_jw_arr(w);
    for (int t = 0; t < e->n; t++) {
        if (e->tok[t] < 0) sd_jw_null(w);
        else sd_jw_i64(w, e->tok[t]);
    }
    sd_jw_end(w);
    sd_jw_key(w, "values");
    sd_jw_arr(w);
    for (int t = 0; t < e->n; t++) sd_jw_f32(w, e->val[t]);
    sd_jw_end(w);
    sd_jw_end(w);
}

void sd_feature_labels_write(sd_jw *w, const sd_feature *f)
{
    sd_jw_key(w, "labels");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_label; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "text", f->label[i].text);
        sd_jw_kstr(w, "source", f->label[i].source);
        sd_jw_kstr(w, "author", f->label[i].author);
        sd_jw_kstr(w, "created", f->label[i].created);
        sd_jw_kf64(w, "score", f->label[i].score);
        if (f->label[i].n_case) {
            sd_jw_kf64(w, "detection", f->label[i].detection);
            sd_jw_kf64(w, "fuzzing", f->label[i].fuzzing);
            sd_jw_kf64(w, "floor", f->label[i].floor);
            sd_jw_ki64(w, "n_cases", f->label[i].n_case);
        }
        if (strcmp(f->label[i].source, "human") != 0) sd_jw_kbool(w, "shown", !f->label[i].hidden);
        if (f->label[i].args && *f->label[i].args) sd_jw_kstr(w, "args", f->label[i].args);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void lists(sd_jw *w, sd_store *s, const sd_feature *f)
{
    sd_jw_key(w, "histogram");
    sd_jw_obj(w);
    sd_jw_kf64(w, "lo", f->hist.lo);
    sd_jw_kf64(w, "hi", f->hist.hi);
    sd_jw_key(w, "counts");
    sd_jw_arr(w);
    for (int i = 0; i < f->hist.n; i++) sd_jw_i64(w, f->hist.count[i]);
    sd_jw_end(w);
    sd_jw_end(w);
    sd_jw_key(w, "tokens");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_token; i++) {
        sd_jw_obj(w);
        sd_jw_key(w, "token");
        token(w, s, f->token[i].id);
        sd_jw_ki64(w, "id", f->token[i].id);
        sd_jw_ki64(w, "n_fire", f->token[i].n);
        sd_jw_kf64(w, "max_act", (double)f->token[i].max_act);
        sd_jw_kf64(w, "share", (double)f->token[i].share);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_key(w, "intervals");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_interval; i++) {
        sd_jw_obj(w);
        sd_jw_kf64(w, "lo", (double)f->interval[i].lo);
        sd_jw_kf64(w, "hi", (double)f->interval[i].hi);
        sd_jw_ki64(w, "n_fire", f->interval[i].n);
        sd_jw_kf64(w, "share", f->interval[i].share);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_key(w, "neighbours");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_near; i++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "index", f->near[i].index);
        sd_jw_kf64(w, "cosine", (double)f->near[i].cosine);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

void sd_feature_write(sd_jw *w, sd_store *s, const sd_feature *f)
{
    sd_jw_ki64(w, "index", f->stats.index);
    bool named = f->n_label && !f->label[0].hidden;
    label(w, named ? f->label[0].text : NULL, named ? f->label[0].source : NULL, f->words);
    stats(w, &f->stats);
    sd_jw_kstr(w, "words", f->words);
    sd_feature_labels_write(w, f);
    sd_jw_kf64(w, "logit_mean", f->logit_mean);
    sd_jw_kf64(w, "logit_std", f->logit_std);
    logits(w, s, "top_logits", f->top, f->n_top);
    logits(w, s, "bottom_logits", f->bottom, f->n_bottom);
    lists(w, s, f);
    sd_jw_key(w, "examples");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_example; i++) example(w, s, f, &f->example[i]);
    sd_jw_end(w);
}

void sd_store_info_write(sd_jw *w, const sd_store_info *in)
{
    sd_jw_key(w, "store");
    sd_jw_obj(w);
    sd_jw_kstr(w, "model", in->model.name);
    sd_jw_kstr(w, "model_sha256", in->model.sha256);
    sd_jw_kstr(w, "kind", in->dict.kind);
    sd_jw_kstr(w, "site", in->dict.site);
    sd_jw_ki64(w, "d", in->dict.d);
    sd_jw_ki64(w, "m", in->dict.m);
    sd_jw_ki64(w, "k", in->dict.k);
    sd_jw_kf64(w, "fvu", in->dict.fvu);
    sd_jw_ki64(w, "n_features", in->n_features);
    sd_jw_ki64(w, "n_alive", in->n_alive);
    sd_jw_ki64(w, "n_tokens", in->run.n_tokens);
    sd_jw_ki64(w, "n_docs", in->run.n_docs);
    sd_jw_kstr(w, "data_sha256", in->run.data_sha256);
    sd_jw_kstr(w, "created", in->run.created);
    sd_jw_kstr(w, "tool", in->run.tool);
    sd_jw_end(w);
}
