/* Owns: /sonde/v1: what there is, features of a store, activations of a text. What the page shows comes from here. */
#include "serve/acts.h"

#include "lab/direction_file.h"
#include "lab/feature_json.h"
#include "lab/feature_near.h"
#include "sonde/text.h"

enum { MAX_LIST = 1000, MAX_TOP = 256, MAX_FEATURES = 256 };

/* ---- what there is ---- */

static void put_dicts(sd_jw *w, const sd_server *s)
{
    sd_jw_key(w, "dicts");
    sd_jw_arr(w);
    for (int i = 0; i < s->n_dict; i++) {
        const sd_dict_info *in = sd_dict_get_info(s->dict[i].dict);
        const sd_reg_store *of = sd_registry__store(s, s->dict[i].name);
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", s->dict[i].name);
        sd_jw_kstr(w, "kind", sd_dict_kind_name(in->kind));
        sd_jw_kstr(w, "site", sd_dict_site_name(s->dict[i].dict));
        sd_jw_ki64(w, "d", in->d);
        sd_jw_ki64(w, "m", in->m);
        sd_jw_ki64(w, "k", in->k);
        sd_jw_kf64(w, "site_rms", in->site_rms);
        sd_jw_kf64(w, "fvu", in->fvu);
        sd_jw_kf64(w, "l0", in->l0);
        sd_jw_kbool(w, "same_model", sd_registry__same_model(s, in->model_sha256));
        if (of) sd_jw_kstr(w, "store", of->name);
        if (s->loopback) sd_jw_kstr(w, "path", s->dict[i].path);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void put_stores(sd_jw *w, const sd_server *s)
{
    sd_jw_key(w, "stores");
    sd_jw_arr(w);
    for (int i = 0; i < s->n_store; i++) {
        sd_reg_store *r = &s->store[i];
        pthread_mutex_lock(&r->lock);
        const sd_store_info *in = sd_store_get_info(r->store);
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", r->name);
        if (s->loopback) sd_jw_kstr(w, "path", r->path);
        sd_jw_kbool(w, "same_model", sd_registry__same_model(s, in->model.sha256));
        sd_jw_ki64(w, "n_features", in->n_features);
        sd_jw_ki64(w, "n_alive", in->n_alive);
        sd_store_info_write(w, in);
        sd_jw_end(w);
        pthread_mutex_unlock(&r->lock);
    }
    sd_jw_end(w);
}

static void put_monitors(sd_jw *w, const sd_server *s)
{
    sd_jw_key(w, "monitors");
    sd_jw_arr(w);
    for (int i = 0; i < s->n_monitor; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", s->monitor[i].name);
        sd_jw_kstr(w, "description", s->monitor[i].description);
        sd_jw_key(w, "when");
        sd_jw_tree(w, s->monitor[i].when);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

/* Names and kinds; vectors stay where they are. */
static sd_status put_directions(sd_jw *w, const sd_server *s, sd_err *err)
{
    sd_direction_file *v = NULL;
    int n = 0;
    sd_status st = s->opt.m && s->opt.data_dir[0] ? sd_direction_list(&v, &n, s->opt.data_dir, s->opt.model_sha256, err) : SD_OK;
    if (st) return st;
    sd_jw_key(w, "directions");
    sd_jw_arr(w);
    for (int i = 0; i < n; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", v[i].name);
        sd_jw_kstr(w, "kind", v[i].kind);
        sd_jw_ki64(w, "layer", v[i].layer);
        sd_jw_kf64(w, "norm", v[i].norm);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_direction_list_free(v, n);
    return SD_OK;
}

static void put_recipes(sd_jw *w, const sd_server *s)
{
    sd_jw_key(w, "recipes");
    sd_jw_arr(w);
    for (int i = 0; i < s->n_recipe; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", s->recipe[i].name);
        sd_jw_kstr(w, "description", s->recipe[i].description);
        sd_jw_key(w, "steer");
        sd_jw_tree(w, s->recipe[i].steer);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static sd_status put_model(sd_jw *w, const sd_server *s, sd_err *err)
{
    char *text;
    size_t n;
    json_t *tree;
    sd_jw_key(w, "model");
    if (!s->opt.m) {
        sd_jw_null(w);
        return SD_OK;
    }
    sd_status st = sd_model_json(s->opt.m, &text, &n, err);
    if (st) return st;
    st = sd_json_parse(&tree, text, n, "the model's blueprint", err);
    if (!st) {
        sd_jw_tree(w, tree);
        json_decref(tree);
    }
    sd_release(text);
    return st;
}

int sd_handle__config(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_jw w;
    sd_err err = {0};
    (void)rq;
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.config/1");
    sd_jw_kstr(&w, "version", sd_version());
    sd_jw_kstr(&w, "name", s->opt.m ? s->opt.model_name : "");
    /* Who asks a loopback server sits at this machine: the page's commands then name the files as they were named to it. Others learn no path. */
    const char *file = s->loopback && s->opt.model_path ? s->opt.model_path : s->opt.model_file;
    if (s->opt.m && file) sd_jw_kstr(&w, "file", file);
    sd_jw_kstr(&w, "model_sha256", s->opt.model_sha256);
    if (s->engine) sd_jw_ki64(&w, "n_ctx", sd_engine_ctx(s->engine));
    put_dicts(&w, s);
    put_stores(&w, s);
    put_recipes(&w, s);
    put_monitors(&w, s);
    sd_status st = put_directions(&w, s, &err);
    if (!st) st = put_model(&w, s, &err);
    sd_jw_end(&w);
    return st ? sd_problem_of(p, &err, NULL) : 0;
}

/* ---- features of a store ---- */

static int find_store(sd_reg_store **out, const sd_server *s, const char *name, sd_problem *p)
{
    *out = sd_registry__store(s, name);
    return *out ? 0 : sd_problem_set(p, 404, "store", "there is no store '%.80s' here: stores are registered when the server starts (--store)", name);
}

static int query_int(const sd_request *rq, const char *key, int64_t lo, int64_t hi, int64_t *out, sd_problem *p)
{
    const char *v = rq->query(rq->self, key);
    if (!v) return 0;
    if (sd_parse_i64(sd_slice_of(v), out) && *out >= lo && *out <= hi) return 0;
    return sd_problem_set(p, 400, key, "%s: expected an integer from %lld to %lld", key, (long long)lo, (long long)hi);
}

static int query_num(const sd_request *rq, const char *key, double *out, bool *given, sd_problem *p)
{
    const char *v = rq->query(rq->self, key);
    if (!v) return 0;
    *given = true;
    return sd_parse_f64(sd_slice_of(v), out) ? 0 : sd_problem_set(p, 400, key, "%s: expected a number", key);
}

static int read_query(sd_feature_query *q, const sd_request *rq, sd_problem *p)
{
    static const char *const name[SD_SORT_COUNT] = {"index", "interest", "density", "max_act"};
    const char *sort = rq->query(rq->self, "sort"), *silent = rq->query(rq->self, "silent");
    bool has_min = false;
    int k = SD_SORT_INTEREST;
    if (sort)
        for (k = 0; k < SD_SORT_COUNT && strcmp(sort, name[k]) != 0;) k++;
    if (k == SD_SORT_COUNT) return sd_problem_set(p, 400, "sort", "sort is index, interest, density or max_act");
    *q = (sd_feature_query){.sort = (sd_feature_sort)k, .silent = silent && strcmp(silent, "true") == 0};
    int http = query_int(rq, "limit", 1, MAX_LIST, &q->limit, p);
    if (!http) http = query_int(rq, "offset", 0, INT32_MAX, &q->offset, p);
    if (!http) http = query_num(rq, "min_density", &q->min_density, &has_min, p);
    if (!http) http = query_num(rq, "max_density", &q->max_density, &q->has_max, p);
    if (!http) http = query_num(rq, "min_label_score", &q->min_label_score, &q->has_label, p);
    return http;
}

/* What a search does not look at. */
static const char *const of_lists[6] = {"sort", "offset", "min_density", "max_density", "min_label_score", "silent"};

int sd_handle__features(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_reg_store *r;
    sd_feature_query q;
    sd_feature_list l;
    sd_jw w;
    sd_err err = {0};
    const char *words = rq->query(rq->self, "q"), *by = rq->query(rq->self, "by");
    bool passages = by && strcmp(by, "passages") == 0;
    if (by && !passages && strcmp(by, "words") != 0) return sd_problem_set(p, 400, "by", "by is words or passages");
    const bool search = words && *words;
    int http = find_store(&r, s, rq->arg[0], p);
    if (!http) http = read_query(&q, rq, p);
    for (int i = 0; i < 6 && search && !http; i++)
        if (rq->query(rq->self, of_lists[i])) http = sd_problem_set(p, 400, of_lists[i], "%s goes with lists: with q features come in the order of their score, limit says how many", of_lists[i]);
    if (http) return http;
    sd_store *store = NULL;
    sd_status st = SD_OK;
    if (search) st = sd_registry__search(&store, r, rq, &err);
    else pthread_mutex_lock(&r->lock), store = r->store;
    if (!st) st = search ? (passages ? sd_store_passages : sd_store_search)(&l, store, words, q.limit, &err) : sd_store_list(&l, store, &q, &err);
    if (!st) {
        sd_jw_init(&w, &rp->body);
        sd_jw_obj(&w);
        sd_jw_kstr(&w, "schema", "sonde.feature.search/1");
        sd_jw_kstr(&w, "store", r->name);
        sd_feature_list_write(&w, store, &l);
        sd_jw_end(&w);
        sd_feature_list_release(&l);
    }
    if (search) sd_registry__searched(r);
    else pthread_mutex_unlock(&r->lock);
    return st ? sd_problem_of(p, &err, NULL) : 0;
}

static int read_index(const char *text, int64_t *out, sd_problem *p)
{
    if (sd_parse_i64(sd_slice_of(text), out) && *out >= 0) return 0;
    return sd_problem_set(p, 400, "index", "index: '%.40s' is no number of a feature", text);
}

int sd_handle__feature(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_reg_store *r;
    sd_feature *f;
    sd_jw w;
    sd_err err = {0};
    int64_t index;
    int http = find_store(&r, s, rq->arg[0], p);
    if (!http) http = read_index(rq->arg[1], &index, p);
    if (http) return http;
    pthread_mutex_lock(&r->lock);
    sd_status st = sd_store_feature(&f, r->store, index, 0, &err);
    if (!st) {
        sd_jw_init(&w, &rp->body);
        sd_jw_obj(&w);
        sd_jw_kstr(&w, "schema", "sonde.feature.show/1");
        sd_feature_write(&w, r->store, f);
        sd_store_info_write(&w, sd_store_get_info(r->store));
        sd_jw_end(&w);
        sd_feature_free(f);
    }
    pthread_mutex_unlock(&r->lock);
    return st ? sd_problem_of(p, &err, "index") : 0;
}

/* The handles for searches of both, locked in the order of their addresses; they stop when the client has gone. After it, and after an error, done_both. */
static sd_status search_both(sd_reg_store *a, sd_reg_store *b, const sd_request *rq, sd_err *err)
{
    sd_store *ignored;
    sd_reg_store *first = a < b ? a : b, *second = a < b ? b : a;
    sd_status st = sd_registry__search(&ignored, first, rq, err);
    if (second == first) return st;
    if (st) pthread_mutex_lock(&second->search_lock);
    return st ? st : sd_registry__search(&ignored, second, rq, err);
}

static void done_both(sd_reg_store *a, sd_reg_store *b)
{
    sd_registry__searched(a);
    if (a != b) sd_registry__searched(b);
}

int sd_handle__near(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_reg_store *r, *in;
    sd_feature_list l;
    sd_jw w;
    sd_err err = {0};
    sd_status st;
    int64_t index, limit = 0;
    const char *by = rq->query(rq->self, "by"), *name = rq->query(rq->self, "in");
    bool together = by && strcmp(by, "coactivation") == 0;
    int http = find_store(&r, s, rq->arg[0], p);
    in = r;
    if (!http && name) http = find_store(&in, s, name, p);
    if (!http) http = read_index(rq->arg[1], &index, p);
    if (!http) http = query_int(rq, "limit", 1, MAX_LIST, &limit, p);
    if (!http && by && !together && strcmp(by, "cosine") != 0) http = sd_problem_set(p, 400, "by", "by is cosine or coactivation");
    if (!http && name && together) http = sd_problem_set(p, 400, "in", "in goes with by=cosine: features of two stores fire on two texts");
    if (http) return http;
    sd_store *store = NULL; /* whose features are listed */
    if (together) {
        if (!(st = sd_registry__search(&store, r, rq, &err))) st = sd_store_coactive(&l, store, index, limit, &err);
    } else if (name) {
        st = search_both(r, in, rq, &err); /* a product over all features: what a feature is asked for does not wait for it */
        store = in->search;
        if (!st) st = sd_lab_feature_near(&l, s->opt.ex, r->search, index, in->search, limit, &err);
    } else {
        pthread_mutex_lock(&r->lock);
        store = r->store;
        st = sd_store_near(&l, store, index, limit, &err);
    }
    if (!st) {
        sd_jw_init(&w, &rp->body);
        sd_jw_obj(&w);
        sd_jw_kstr(&w, "schema", "sonde.feature.near/1");
        sd_jw_kstr(&w, "store", in->name);
        sd_jw_kstr(&w, "score_is", together ? "correlation" : "cosine");
        sd_feature_list_write(&w, store, &l);
        sd_jw_end(&w);
        sd_feature_list_release(&l);
    }
    if (together) sd_registry__searched(r);
    else if (name) done_both(r, in);
    else pthread_mutex_unlock(&r->lock);
    return st ? sd_problem_of(p, &err, "index") : 0;
}

/* ---- activations of a text ---- */

const sd_field sd_body_activations[] = {
    {.name = "text", .type = SD_FIELD_STR, .help = "a text; or give ids, or messages"},
    {.name = "ids", .type = SD_FIELD_ARR, .help = "token ids"},
    {.name = "messages", .type = SD_FIELD_ARR, .help = "a chat, rendered by the model's template"},
    {.name = "dict", .type = SD_FIELD_STR, .help = "a registered dictionary; the only one when absent"},
    {.name = "features", .type = SD_FIELD_ARR, .help = "features whose values at every token are wanted, at most 256"},
    {.name = "top_k", .type = SD_FIELD_INT, .lo = 0, .hi = MAX_TOP, .help = "strongest features a token; default 8"},
    {.name = "n_features", .type = SD_FIELD_INT, .lo = 0, .hi = MAX_LIST, .help = "strongest features of the whole text; default 20"},
    {0}};

static int read_text(sd_ids *ids, const sd_server *s, const json_t *body, sd_problem *p)
{
    const json_t *text = sd_field_get(body, "text"), *list = sd_field_get(body, "ids"), *chat = sd_field_get(body, "messages");
    if ((text != NULL) + (list != NULL) + (chat != NULL) != 1) return sd_problem_set(p, 400, "text", "give one of text, ids and messages");
    if (chat) return sd_body__chat_ids(ids, s, chat, false, "messages", p);
    return sd_body__ids(ids, s, text ? text : list, text ? "text" : "ids", p);
}

/* The k strongest of row i, strongest first. */
static void put_row(sd_jw *w, const sd_acts *a, int64_t i, int k)
{
    int64_t best[MAX_TOP];
    int n = 0;
    for (int64_t e = a->codes.row_ptr[i]; e < a->codes.row_ptr[i + 1]; e++) {
        int at = n < k ? n++ : n;
        while (at > 0 && a->codes.val[best[at - 1]] < a->codes.val[e]) {
            if (at < k) best[at] = best[at - 1];
            at--;
        }
        if (at < k) best[at] = e;
    }
    sd_jw_key(w, "top");
    sd_jw_arr(w);
    for (int t = 0; t < n; t++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "index", a->codes.idx[best[t]]);
        sd_jw_key(w, "act");
        sd_jw_f32(w, a->codes.val[best[t]]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static int put_chosen(sd_jw *w, const sd_acts *a, const json_t *list, sd_problem *p)
{
    size_t n = json_array_size(list);
    int64_t m = sd_dict_get_info(a->dict->dict)->m;
    if (n > MAX_FEATURES) return sd_problem_set(p, 400, "features", "features: at most %d", MAX_FEATURES);
    sd_jw_key(w, "features");
    sd_jw_arr(w);
    for (size_t k = 0; k < n; k++) {
        const json_t *v = json_array_get(list, k);
        int64_t f = json_integer_value(v);
        if (!json_is_integer(v) || f < 0) return sd_problem_set(p, 400, "features", "features[%zu] is no number of a feature", k);
        if (f >= m) return sd_problem_set(p, 404, "features", "features[%zu]: feature %lld of a dictionary with %lld", k, (long long)f, (long long)m);
        sd_jw_obj(w);
        sd_jw_ki64(w, "index", f);
        sd_jw_key(w, "values");
        sd_jw_arr(w);
        for (int64_t i = 0; i < a->ids.n; i++) sd_jw_f32(w, sd_acts__at(a, i, f));
        sd_jw_end(w);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    return 0;
}

static int put_peaks(sd_jw *w, const sd_acts *a, const sd_tok *tok, int64_t n, sd_problem *p)
{
    sd_act_peak v[MAX_LIST];
    n = sd_acts__peaks(v, n, a, tok, NULL);
    if (n < 0) return sd_problem_set(p, 503, NULL, "out of memory");
    sd_jw_key(w, "strongest");
    sd_jw_arr(w);
    for (int64_t k = 0; k < n; k++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "index", v[k].feature);
        sd_jw_key(w, "max");
        sd_jw_f32(w, v[k].max);
        sd_jw_ki64(w, "at", v[k].at);
        sd_jw_kf64(w, "sum", v[k].sum);
        sd_jw_ki64(w, "n_tokens", v[k].n);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    return 0;
}

static int put_acts(sd_jw *w, const sd_acts *a, const sd_server *s, const json_t *body, sd_problem *p)
{
    const sd_tok *tok = s->opt.m->tok;
    const json_t *chosen = sd_field_get(body, "features");
    int k = (int)sd_field_int(body, "top_k", 8);
    sd_jw_obj(w);
    sd_jw_kstr(w, "schema", "sonde.activations/1");
    sd_jw_kstr(w, "dict", a->dict->name);
    sd_jw_kstr(w, "site", sd_dict_site_name(a->dict->dict));
    sd_jw_kstr(w, "mode", sd_mode_name(sd_model_get_mode(s->opt.m)));
    sd_jw_key(w, "tokens");
    sd_jw_arr(w);
    for (int64_t i = 0; i < a->ids.n; i++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "id", a->ids.v[i]);
        sd_jw_key(w, "token");
        sd_acts__token(w, tok, a->ids.v[i]);
        sd_jw_kbool(w, "special", sd_tok_is_special(tok, a->ids.v[i]));
        sd_jw_kbool(w, "sink", a->sink[i]);
        put_row(w, a, i, k);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    int http = put_peaks(w, a, tok, sd_field_int(body, "n_features", 20), p);
    if (!http && chosen) http = put_chosen(w, a, chosen, p);
    sd_jw_end(w);
    return http;
}

int sd_handle__activations(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    const sd_reg_dict *d;
    sd_ids ids = {0};
    sd_acts a = {0};
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_activations, rp, p);
    if (http) return http;
    http = sd_acts__dict(&d, s, sd_field_str(body, "dict", NULL), "dict", p);
    if (!http) http = read_text(&ids, s, body, p);
    if (!http) http = sd_acts__run(&a, s, d, &ids, rq, p);
    sd_jw_init(&w, &rp->body);
    if (!http) http = put_acts(&w, &a, s, body, p);
    sd_acts__release(&a);
    sd_ids_release(&ids);
    json_decref(body);
    return http;
}
