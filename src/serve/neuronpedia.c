/* Owns: Neuronpedia's paths and shapes, so that notebooks written for it work by changing the base URL. Where its documentation and its code differ,
 * its code is followed. A "layer" or "source" is a registered dictionary or store; modelId is not looked at. */
#include "serve/acts.h"
#include "serve/openai.h"

#include "lab/feature_json.h"
#include "lab/np_json.h"

#include <inttypes.h>

enum { MAX_RESULTS = 100, PAGE = 20, MAX_OFFSET = 10000 };

static void put_index(sd_jw *w, int64_t f)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, f);
    sd_jw_kstr(w, "index", text);
}

/* ---- a feature ---- */

int sd_handle__np_feature(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_reg_store *r = sd_registry__store(s, rq->arg[1]);
    sd_feature *f;
    sd_err err = {0};
    sd_jw w;
    int64_t index;
    if (!r) return sd_problem_set(p, 404, "layer", "there is no store for '%.80s' here", rq->arg[1]);
    if (!sd_parse_i64(sd_slice_of(rq->arg[2]), &index) || index < 0) return sd_problem_set(p, 400, "index", "index: '%.40s' is no number of a feature", rq->arg[2]);
    pthread_mutex_lock(&r->lock);
    sd_status st = sd_store_feature(&f, r->store, index, 0, &err);
    if (!st) {
        sd_jw_init(&w, &rp->body);
        sd_jw_obj(&w);
        sd_np_feature_write(&w, r->store, f, SD_NP_NEURONPEDIA, rq->arg[0], rq->arg[1]);
        sd_jw_end(&w);
        sd_feature_free(f);
    }
    pthread_mutex_unlock(&r->lock);
    return st ? sd_problem_of(p, &err, "index") : 0;
}

const sd_field sd_body_np_explanations[] = {
    {.name = "modelId", .type = SD_FIELD_STR}, {.name = "layers", .type = SD_FIELD_ARR, .required = true, .help = "one registered store or dictionary"},
    {.name = "query", .type = SD_FIELD_STR, .required = true}, {.name = "offset", .type = SD_FIELD_INT, .lo = 0, .hi = MAX_OFFSET}, {0}};

int sd_handle__np_explanations(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    sd_feature_list l;
    sd_err err = {0};
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_np_explanations, rp, p);
    if (http) return http;
    const char *name = json_string_value(json_array_get(sd_field_get(body, "layers"), 0));
    sd_reg_store *r = sd_registry__store(s, name ? name : "");
    int64_t from = sd_field_int(body, "offset", 0);
    if (!r) {
        http = sd_problem_set(p, 404, "layers", "there is no store for '%.80s' here", name ? name : "");
        goto done;
    }
    sd_store *store;
    sd_status st = sd_registry__search(&store, r, rq, &err);
    if (!st) st = sd_store_search(&l, store, sd_field_str(body, "query", ""), from + PAGE, &err);
    if (!st) {
        sd_jw_init(&w, &rp->body);
        sd_jw_obj(&w);
        sd_jw_key(&w, "results");
        sd_jw_arr(&w);
        for (int64_t i = from; i < l.n; i++) {
            sd_jw_obj(&w);
            sd_jw_kstr(&w, "layer", name);
            put_index(&w, l.v[i].stats.index);
            sd_jw_kstr(&w, "description", l.v[i].label ? l.v[i].label : l.v[i].words);
            sd_jw_kf64(&w, "score", l.v[i].score);
            sd_jw_end(&w);
        }
        sd_jw_end(&w);
        sd_jw_ki64(&w, "resultsCount", l.n > from ? l.n - from : 0);
        sd_jw_ki64(&w, "nextOffset", from + PAGE);
        sd_jw_end(&w);
        sd_feature_list_release(&l);
    }
    sd_registry__searched(r);
    if (st) http = sd_problem_of(p, &err, "query");
done:
    json_decref(body);
    return http;
}

/* ---- activations ---- */

static void put_texts(sd_jw *w, const sd_acts *a, const sd_tok *tok)
{
    sd_jw_key(w, "tokens");
    sd_jw_arr(w);
    for (int64_t i = 0; i < a->ids.n; i++) sd_acts__token(w, tok, a->ids.v[i]);
    sd_jw_end(w);
}

/* "values" over the tokens, "maxValue" and where it is. */
static void put_values(sd_jw *w, const sd_acts *a, int64_t f)
{
    int64_t best = 0;
    float max = 0;
    sd_jw_key(w, "values");
    sd_jw_arr(w);
    for (int64_t i = 0; i < a->ids.n; i++) {
        float v = sd_acts__at(a, i, f);
        if (v > max) max = v, best = i;
        sd_jw_f32(w, v);
    }
    sd_jw_end(w);
    sd_jw_key(w, "maxValue");
    sd_jw_f32(w, max);
    sd_jw_ki64(w, "maxValueTokenIndex", best);
    sd_jw_kf64(w, "minValue", 0);
}

/* An index as Neuronpedia's clients write it: a number, or its text. */
static bool read_index(const json_t *v, int64_t *out)
{
    if (json_is_integer(v)) *out = json_integer_value(v);
    else if (!json_is_string(v) || !sd_parse_i64(sd_slice_of(json_string_value(v)), out)) return false;
    return *out >= 0;
}

static int run_text(sd_acts *a, sd_server *s, const char *source, const json_t *text, const sd_request *rq, sd_problem *p)
{
    const sd_reg_dict *d;
    sd_ids ids = {0};
    int http = sd_acts__dict(&d, s, source, "source", p);
    if (!http) http = sd_body__ids(&ids, s, text, "text", p);
    if (!http) http = sd_acts__run(a, s, d, &ids, rq, p);
    sd_ids_release(&ids);
    return http;
}

const sd_field sd_body_np_activation[] = {
    {.name = "feature", .type = SD_FIELD_OBJ, .required = true, .help = "{\"modelId\", \"source\" (or \"layer\"), \"index\"}"},
    {.name = "customText", .type = SD_FIELD_STR, .required = true}, {.name = "ignoreBos", .type = SD_FIELD_BOOL, .help = "not looked at: all tokens are given"}, {0}};

int sd_handle__np_activation(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    sd_acts a = {0};
    sd_jw w;
    int64_t f;
    int http = sd_body__parse(&body, rq->body, sd_body_np_activation, rp, p);
    if (http) return http;
    const json_t *of = sd_field_get(body, "feature"), *source = json_object_get(of, "source");
    if (!source) source = json_object_get(of, "layer");
    if (!json_is_string(source) || !read_index(json_object_get(of, "index"), &f)) http = sd_problem_set(p, 400, "feature", "feature: expected {\"source\", \"index\"}");
    if (!http) http = run_text(&a, s, json_string_value(source), sd_field_get(body, "customText"), rq, p);
    if (!http && f >= sd_dict_get_info(a.dict->dict)->m) http = sd_problem_set(p, 404, "feature.index", "feature %" PRId64 " of a dictionary with %" PRId64, f, sd_dict_get_info(a.dict->dict)->m);
    if (!http) {
        sd_jw_init(&w, &rp->body);
        sd_jw_obj(&w);
        sd_jw_kstr(&w, "modelId", s->opt.model_name);
        sd_jw_kstr(&w, "layer", a.dict->name);
        put_index(&w, f);
        put_texts(&w, &a, s->opt.m->tok);
        put_values(&w, &a, f);
        sd_jw_end(&w);
    }
    sd_acts__release(&a);
    json_decref(body);
    return http;
}

const sd_field sd_body_np_search_all[] = {
    {.name = "modelId", .type = SD_FIELD_STR}, {.name = "sourceSet", .type = SD_FIELD_STR, .help = "a registered dictionary; or give selectedLayers"},
    {.name = "text", .type = SD_FIELD_STR, .required = true}, {.name = "selectedLayers", .type = SD_FIELD_ARR, .help = "one registered dictionary"},
    {.name = "sortIndexes", .type = SD_FIELD_ARR, .help = "tokens that count; all when empty"}, {.name = "ignoreBos", .type = SD_FIELD_BOOL},
    {.name = "densityThreshold", .type = SD_FIELD_NUM, .help = "features that fire more often are left out; negative: none"},
    {.name = "numResults", .type = SD_FIELD_INT, .lo = 1, .hi = MAX_RESULTS}, {0}};

static bool too_dense(const sd_acts *a, int64_t f, double limit)
{
    return limit >= 0 && (double)sd_dict_density(a->dict->dict, f) > limit;
}

static int put_search(sd_jw *w, const sd_acts *a, const sd_server *s, const json_t *body, sd_problem *p)
{
    enum { LOOK = 4 * MAX_RESULTS }; /* some are left out for their density */
    sd_act_peak v[LOOK];
    const json_t *sort = sd_field_get(body, "sortIndexes");
    double limit = sd_field_num(body, "densityThreshold", -1);
    int64_t want = sd_field_int(body, "numResults", 50);
    bool *on = NULL;
    if (json_array_size(sort) && !(on = sd_calloc((size_t)a->ids.n + 1))) return sd_problem_set(p, 503, NULL, "out of memory");
    for (size_t k = 0; k < json_array_size(sort); k++) {
        const json_t *i = json_array_get(sort, k);
        if (json_is_integer(i) && json_integer_value(i) >= 0 && json_integer_value(i) < a->ids.n) {
            on[json_integer_value(i)] = true;
            continue;
        }
        sd_free(on);
        return sd_problem_set(p, 400, "sortIndexes", "sortIndexes[%zu] is no token of a text with %" PRId64, k, a->ids.n);
    }
    int64_t n = sd_acts__peaks(v, LOOK, a, s->opt.m->tok, on);
    sd_free(on);
    if (n < 0) return sd_problem_set(p, 503, NULL, "out of memory");
    sd_jw_obj(w);
    put_texts(w, a, s->opt.m->tok);
    sd_jw_key(w, "result");
    sd_jw_arr(w);
    for (int64_t k = 0; k < n && want > 0; k++) {
        if (too_dense(a, v[k].feature, limit)) continue;
        sd_jw_obj(w);
        sd_jw_kstr(w, "modelId", s->opt.model_name);
        sd_jw_kstr(w, "layer", a->dict->name);
        put_index(w, v[k].feature);
        put_values(w, a, v[k].feature);
        sd_jw_end(w);
        want--;
    }
    sd_jw_end(w);
    sd_jw_end(w);
    return 0;
}

int sd_handle__np_search_all(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    sd_acts a = {0};
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_np_search_all, rp, p);
    if (http) return http;
    const char *layer = json_string_value(json_array_get(sd_field_get(body, "selectedLayers"), 0));
    http = run_text(&a, s, layer ? layer : sd_field_str(body, "sourceSet", NULL), sd_field_get(body, "text"), rq, p);
    sd_jw_init(&w, &rp->body);
    if (!http) http = put_search(&w, &a, s, body, p);
    sd_acts__release(&a);
    json_decref(body);
    return http;
}

const sd_field sd_body_np_search_topk[] = {
    {.name = "modelId", .type = SD_FIELD_STR}, {.name = "source", .type = SD_FIELD_STR, .required = true, .help = "a registered dictionary"},
    {.name = "text", .type = SD_FIELD_STR, .required = true}, {.name = "numResults", .type = SD_FIELD_INT, .lo = 1, .hi = MAX_RESULTS},
    {.name = "ignoreBos", .type = SD_FIELD_BOOL}, {.name = "densityThreshold", .type = SD_FIELD_NUM}, {0}};

static void put_token_top(sd_jw *w, const sd_acts *a, int64_t i, int64_t want, double limit)
{
    float below = 3e38f; /* greater than any activation */
    int64_t last = -1;
    sd_jw_key(w, "topFeatures");
    sd_jw_arr(w);
    for (; want > 0; want--) {
        int64_t best = -1;
        for (int64_t e = a->codes.row_ptr[i]; e < a->codes.row_ptr[i + 1]; e++) {
            float v = a->codes.val[e];
            if (v > below || (v == below && e <= last) || too_dense(a, a->codes.idx[e], limit)) continue;
            if (best < 0 || v > a->codes.val[best]) best = e;
        }
        if (best < 0) break;
        below = a->codes.val[best];
        last = best;
        sd_jw_obj(w);
        sd_jw_key(w, "activationValue");
        sd_jw_f32(w, below);
        sd_jw_ki64(w, "featureIndex", a->codes.idx[best]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

int sd_handle__np_search_topk(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    sd_acts a = {0};
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_np_search_topk, rp, p);
    if (http) return http;
    http = run_text(&a, s, sd_field_str(body, "source", NULL), sd_field_get(body, "text"), rq, p);
    bool skip = sd_field_bool(body, "ignoreBos", true);
    if (!http) {
        const sd_tok *tok = s->opt.m->tok;
        sd_jw_init(&w, &rp->body);
        sd_jw_obj(&w);
        sd_jw_kstr(&w, "source", a.dict->name);
        sd_jw_key(&w, "results");
        sd_jw_arr(&w);
        for (int64_t i = 0; i < a.ids.n; i++) {
            bool special = sd_tok_is_special(tok, a.ids.v[i]);
            if (special && skip) continue;
            sd_jw_obj(&w);
            sd_jw_ki64(&w, "position", i);
            sd_jw_key(&w, "token");
            sd_acts__token(&w, tok, a.ids.v[i]);
            sd_jw_kbool(&w, "isSpecial", special);
            put_token_top(&w, &a, i, sd_field_int(body, "numResults", 10), sd_field_num(body, "densityThreshold", -1));
            sd_jw_end(&w);
        }
        sd_jw_end(&w);
        sd_jw_end(&w);
    }
    sd_acts__release(&a);
    json_decref(body);
    return http;
}
