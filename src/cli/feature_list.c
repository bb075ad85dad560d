/* Owns: the columns of a list of features and the fields of answers, the same for every command that gives them. */
#include "cli/feature_list.h"
#include "lab/feature_json.h"
#include "lab/token_text.h"

const char *feature_label(const char *label, const char *words, int64_t n_fire)
{
    return label ? label : words && words[0] ? words : n_fire ? "(no words at its peaks)" : "(silent on this text)";
}

int feature_list_print(cli *c, sd_store *s, const sd_feature_list *l, const char *score, const char *schema)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, schema);
        sd_jw_kstr(w, "score_is", score);
        sd_feature_list_write(w, s, l);
        sd_store_info_write(w, sd_store_get_info(s));
        return out_json_end(c, &j);
    }
    bool own_score = strcmp(score, "score") == 0 || strcmp(score, "cosine") == 0 || strcmp(score, "correlation") == 0; /* a sort key stands in its own column */
    const out_col cols[] = {{"index", OUT_RIGHT}, {own_score ? score : "interest", OUT_RIGHT}, {"density", OUT_RIGHT}, {"max", OUT_RIGHT}, {"label", OUT_FILL}, {"promotes", OUT_FILL}};
    out_table *t = out_table_new(c, cols, 6);
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    for (int64_t i = 0; i < l->n; i++) {
        const sd_feature_brief *f = &l->v[i];
        sd_buf_reset(&b);
        for (int k = 0; k < f->n_top; k++) {
            if (k) sd_buf_putc(&b, ' ');
            sd_token_name_id(&b, s, f->top[k].id);
        }
        out_cell(t, "%lld", (long long)f->stats.index); /* a name, as `feature show` takes it: no grouping */
        out_f64(t, own_score ? f->score : f->stats.interest, 3);
        out_f64(t, f->stats.density, 2);
        out_f64(t, f->stats.max_act, 3);
        out_str(t, feature_label(f->label, f->words, f->stats.n_fire));
        out_slice(t, (sd_slice){b.p, b.n});
    }
    sd_buf_release(&b);
    return out_table_end(t);
}

void feature_answers(sd_jw *w, const char *key, int n, const char *const *prompt, char *const *plain, char *const *steered)
{
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int i = 0; i < n && prompt[i]; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "prompt", prompt[i]);
        sd_jw_kstr(w, "plain", plain[i]);
        sd_jw_kstr(w, "steered", steered[i]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}
