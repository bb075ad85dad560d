/* Owns: the choice of what to show. Measuring is effect.c's, answering generate.c's, the page report_html.c's. */
#include "lab/showcase.h"

#include "lab/direction_file.h"
#include "lab/generate.h"
#include "lab/report_html.h"

#include <inttypes.h>

enum { N_FEATURE = 10, N_CANDIDATE = 32, N_GEN = 60, MAX_CANDIDATE = 4096, HTML_MAX = 64 << 20, N_NEUTRAL = 4 };

/* Beginnings that any subject may follow. */
static const char *const neutral[N_NEUTRAL] = {"I think that", "The most important thing to know is", "Yesterday we talked about", "This is a story about"};
static const char *const question[SD_SHOWCASE_PAIRS] = {"Who are you?", "Tell me a short story.", "What should I do this weekend?"};

void sd_showcase_release(sd_showcase *s)
{
    sd_feature_list_release(&s->list);
    for (int i = 0; i < SD_SHOWCASE_PAIRS; i++) {
        sd_free(s->plain[i]);
        sd_free(s->answer[i]);
    }
    sd_buf_release(&s->html);
}

static sd_status allowed(const sd_dict *dict, int64_t feature, const sd_showcase_opt *o, sd_err *err)
{
    const sd_steer_spec spec = {.feature = feature, .op = SD_STEER_ADD, .value = o->value};
    return sd_direction_guard(&spec, sd_dict_dec_row(dict, feature), sd_dict_get_info(dict)->d_out, o->data_dir, o->model_sha256, err);
}

/* The highest effect among the most interesting features. */
static sd_status choose(sd_showcase *out, const sd_exec *ex, sd_store *store, const sd_model *m, const sd_dict *dict,
                        const sd_showcase_opt *o, sd_err *err)
{
    sd_feature_list list = {0};
    sd_ids prompt[N_NEUTRAL] = {{0}};
    int64_t *index = NULL;
    sd_effect *effect = NULL;
    sd_effect_opt eo = {.value = o->value, .prompt = prompt, .n_prompt = N_NEUTRAL, .progress = o->progress};
    sd_status st = sd_store_list(&list, store, &(sd_feature_query){.sort = SD_SORT_INTEREST, .limit = o->n_candidate}, err);
    for (int i = 0; i < N_NEUTRAL && !st; i++) st = sd_lab_prompt_ids(&prompt[i], m, sd_slice_of(neutral[i]), (sd_slice){0}, SD_PROMPT_TEXT, err);
    int64_t n = o->feature >= 0 ? 1 : list.n;
    if (!st) st = sd_alloc_zero(&index, (size_t)(n + 1) * sizeof *index, "candidates", err);
    eo.feature = index;
    if (!st) st = sd_alloc_zero(&effect, (size_t)(n + 1) * sizeof *effect, "effects", err);
    for (int64_t i = 0; i < n && !st; i++) {
        int64_t f = o->feature >= 0 ? o->feature : list.v[i].stats.index;
        index[eo.n_feature] = f;
        sd_status barred = f < sd_dict_get_info(dict)->m ? allowed(dict, f, o, err) : SD_OK; /* one that is not there is the steer's to refuse */
        if (!barred) eo.n_feature++;
        else if (o->feature >= 0 || barred != SD_E_ARG) st = barred;
        else if (err) *err = (sd_err){0};
    }
    n = eo.n_feature;
    if (!st) st = sd_lab_effect(effect, ex, m, dict, &eo, err);
    for (int64_t i = 0; i < n && !st; i++)
        if (out->steered < 0 || effect[i].score > out->effect.score) {
            out->steered = effect[i].feature;
            out->effect = effect[i];
        }
    out->n_measured = n;
    out->asked = o->feature >= 0;
    sd_free(index);
    sd_free(effect);
    for (int i = 0; i < N_NEUTRAL; i++) sd_ids_release(&prompt[i]);
    sd_feature_list_release(&list);
    return st;
}

static sd_status lane_text(char **out, const sd_model *m, const sd_lane *lane, sd_err *err)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 20);
    sd_status st = sd_tok_decode(m->tok, lane->ids.v, lane->ids.n, false, &b, err);
    if (!st) {
        sd_slice s = sd_slice_trim((sd_slice){b.p, b.n});
        *out = sd_strndup(s.p ? s.p : "", sd_utf8_valid_prefix(s));
        if (!*out) st = sd_fail(err, SD_E_NOMEM, "out of memory: an answer");
    }
    sd_buf_release(&b);
    return st;
}

static sd_status answer(sd_showcase *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_showcase_opt *o, sd_err *err)
{
    char site[64];
    sd_steer *steer = NULL;
    sd_steer_spec spec = {.feature = out->steered, .op = SD_STEER_ADD, .unit = SD_UNIT_RMS, .value = o->value};
    sd_steer_applied ap = {0};
    int64_t n_positions = 0;
    sd_status st = sd_steer_new(&steer, &spec, m, dict, err);
    for (int i = 0; i < SD_SHOWCASE_PAIRS && !st; i++) {
        sd_ids ids = {0};
        sd_generate_result r = {0};
        sd_generate_opt go = {.n_gen = o->n_gen, .steer = &steer, .n_steer = 1, .compare = true};
        st = sd_lab_prompt_ids(&ids, m, sd_slice_of(question[i]), (sd_slice){0}, m->chat ? SD_PROMPT_CHAT : SD_PROMPT_TEXT, err);
        if (!st) st = sd_lab_generate(&r, ex, m, ids.v, ids.n, &go, err);
        out->prompt[i] = question[i];
        if (!st) st = lane_text(&out->plain[i], m, &r.lane[0], err);
        if (!st) st = lane_text(&out->answer[i], m, &r.lane[1], err);
        ap = sd_steer_get_applied(steer);
        n_positions += ap.n_positions;
        sd_generate_release(&r);
        sd_ids_release(&ids);
    }
    snprintf(out->applied, sizeof out->applied, "%.2g x the mean token norm (%.3g) added along its direction at %s, at the %" PRId64 " tokens read and written below",
             o->value, ap.value_raw, sd_site_print(site, sizeof site, ap.site), n_positions);
    sd_steer_free(steer);
    return st;
}

static sd_status page(sd_showcase *out, sd_store *store, sd_err *err)
{
    char chosen[400], title[200], why[120] = "";
    sd_feature *f = NULL;
    int64_t *index = NULL, n = 0;
    sd_report_pair pair[SD_SHOWCASE_PAIRS];
    sd_report_steer steer = {.feature = out->steered, .applied = out->applied, .chosen = chosen, .title = title, .pair = pair, .n_pair = SD_SHOWCASE_PAIRS};
    sd_status st = sd_alloc_zero(&index, (size_t)(out->list.n + 2) * sizeof *index, "features", err);
    bool shown = out->steered < 0;
    for (int64_t i = 0; i < out->list.n && !st; i++) shown |= out->list.v[i].stats.index == out->steered;
    if (!st && !shown) index[n++] = out->steered; /* its own card comes first */
    for (int64_t i = 0; i < out->list.n && !st; i++) index[n++] = out->list.v[i].stats.index;
    if (!st && out->steered >= 0) {
        st = sd_store_feature(&f, store, out->steered, -1, err);
        if (!st) snprintf(out->label, sizeof out->label, "%s", f->n_label && !f->label[0].hidden ? f->label[0].text : f->words && *f->words ? f->words : "unnamed");
        out->label[sd_utf8_valid_prefix(sd_slice_of(out->label))] = 0; /* a long one may be cut inside a character */
        snprintf(title, sizeof title, "Feature %" PRId64 " turned up: %s", out->steered, out->label);
        const sd_effect *e = &out->effect;
        if (!out->asked) snprintf(why, sizeof why, "Of %" PRId64 " features measured this one changes the model's own words most. ", out->n_measured);
        snprintf(chosen, sizeof chosen,
                 "%sRead by the plain model, the feature is active on %.0f %% of the tokens written when steered (%.0f %% of those written otherwise), "
                 "and they cost it %.1f nats a token (%.1f otherwise).",
                 why, 100 * e->active_steered, 100 * e->active_plain, e->ce_steered, e->ce_plain);
        for (int i = 0; i < SD_SHOWCASE_PAIRS; i++) pair[i] = (sd_report_pair){out->prompt[i], out->plain[i], out->answer[i]};
    }
    sd_report_page p = {.feature = index, .n_feature = n, .steer = &steer, .n_steer = out->steered >= 0};
    if (!st) st = sd_report_html_features(&out->html, store, &p, err);
    sd_feature_free(f);
    sd_free(index);
    return st;
}

sd_status sd_lab_showcase(sd_showcase *out, const sd_exec *ex, sd_store *store, const sd_model *m, const sd_dict *dict,
                          const sd_showcase_opt *opt, sd_err *err)
{
    sd_showcase_opt o = *opt;
    *out = (sd_showcase){.steered = -1};
    sd_buf_init(&out->html, HTML_MAX);
    if (!o.n_feature) o.n_feature = N_FEATURE;
    if (!o.n_candidate) o.n_candidate = N_CANDIDATE;
    if (!o.n_gen) o.n_gen = N_GEN;
    if (o.value == 0) o.value = SD_EFFECT_VALUE;
    if (o.n_candidate > MAX_CANDIDATE) return sd_fail(err, SD_E_ARG, "%" PRId64 " candidates: at most %d", o.n_candidate, MAX_CANDIDATE);
    SD_ASSERT(!m == !dict);
    sd_status st = sd_store_list(&out->list, store, &(sd_feature_query){.sort = SD_SORT_INTEREST, .limit = o.n_feature}, err);
    if (!st && m && sd_store_get_info(store)->n_features != sd_dict_get_info(dict)->m)
        st = sd_fail(err, SD_E_SHAPE, "the store has %" PRId64 " features, the dictionary %" PRId64, sd_store_get_info(store)->n_features,
                     sd_dict_get_info(dict)->m);
    if (!st && m) st = choose(out, ex, store, m, dict, &o, err);
    if (!st && out->steered >= 0) st = answer(out, ex, m, dict, &o, err);
    if (!st) st = page(out, store, err);
    if (st) sd_showcase_release(out);
    return st;
}
