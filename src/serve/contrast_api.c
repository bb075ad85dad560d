/* Owns: /sonde/v1/contrast: the features that tell two sets of texts apart (lab/contrast.h). Each text is a job of its own beside everything else. */
#include "serve/acts.h"

#include "lab/contrast.h"
#include "lab/direction_file.h"
#include "lab/feature_json.h"

enum { MAX_TEXTS = 500, MAX_ROWS = 200, ROWS = 40, CUT = 5 };

const sd_field sd_body_contrast[] = {
    {.name = "a", .type = SD_FIELD_ARR, .required = true, .help = "texts on which something happens, 2 to 500"},
    {.name = "b", .type = SD_FIELD_ARR, .required = true, .help = "texts on which it does not, 2 to 500"},
    {.name = "dict", .type = SD_FIELD_STR, .help = "a registered dictionary; the only one when absent"},
    {.name = "chat", .type = SD_FIELD_BOOL, .help = "each text as a message in a chat"},
    {.name = "limit", .type = SD_FIELD_INT, .lo = 1, .hi = MAX_ROWS, .help = "features; default 40"},
    {.name = "seed", .type = SD_FIELD_INT, .help = "of the shufflings; default 0"},
    {0}};

typedef struct contrast { const sd_reg_dict *dict; bool chat; sd_text_codes z; int64_t n_a, m; float *top; int32_t *at, *touched; sd_contrast out; } contrast;

static int by_number(const void *a, const void *b) { return *(const int32_t *)a - *(const int32_t *)b; }

/* The features active on tokens that are neither special nor sinks, each with its highest activation. */
static sd_status take(contrast *c, sd_text_code *v, const sd_acts *a, const sd_tok *tok, sd_err *err)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->ids.n; i++) {
        if (a->sink[i] || sd_tok_is_special(tok, a->ids.v[i])) continue;
        for (int64_t e = a->codes.row_ptr[i]; e < a->codes.row_ptr[i + 1]; e++) {
            int32_t f = a->codes.idx[e];
            if (c->top[f] == 0) c->touched[n++] = f;
            if (a->codes.val[e] > c->top[f]) c->top[f] = a->codes.val[e], c->at[f] = (int32_t)i;
        }
    }
    qsort(c->touched, (size_t)n, sizeof *c->touched, by_number);
    sd_status st = sd_alloc(&v->feature, (size_t)(n + 1) * sizeof *v->feature, "codes of a text", err);
    if (!st) st = sd_alloc(&v->at, (size_t)(n + 1) * sizeof *v->at, "codes of a text", err);
    if (!st) st = sd_alloc(&v->act, (size_t)(n + 1) * sizeof *v->act, "codes of a text", err);
    for (int64_t k = 0; k < n; k++) {
        int32_t f = c->touched[k];
        if (!st) v->feature[k] = f, v->at[k] = c->at[f], v->act[k] = c->top[f], v->n = k + 1;
        c->top[f] = 0;
    }
    return st;
}

static int read_one(contrast *c, sd_server *s, json_t *text, const char *param, const sd_request *rq, sd_problem *p)
{
    sd_err err = {0};
    sd_ids ids = {0};
    sd_acts a = {0};
    if (!json_is_string(text) || !json_string_length(text)) return sd_problem_set(p, 400, param, "%s: expected a text", param);
    json_t *messages = c->chat ? json_pack("[{s:s, s:O}]", "role", "user", "content", text) : NULL;
    int http = c->chat && !messages ? sd_problem_set(p, 503, NULL, "out of memory") : c->chat ? sd_body__chat_ids(&ids, s, messages, false, param, p) : sd_body__ids(&ids, s, text, param, p);
    json_decref(messages);
    if (!http) http = sd_acts__run(&a, s, c->dict, &ids, rq, p);
    if (!http && take(c, &c->z.v[c->z.n], &a, s->opt.m->tok, &err)) http = sd_problem_of(p, &err, NULL);
    if (!http) c->z.n++;
    sd_acts__release(&a);
    sd_ids_release(&ids);
    return http;
}

static int read_sets(contrast *c, sd_server *s, const json_t *body, const sd_request *rq, sd_problem *p)
{
    static const char *const key[] = {"a", "b"};
    sd_err err = {0};
    size_t n[2];
    for (int k = 0; k < 2; k++) {
        n[k] = json_array_size(sd_field_get(body, key[k]));
        if (n[k] < 2 || n[k] > MAX_TEXTS) return sd_problem_set(p, 400, key[k], "%s: 2 to %d texts", key[k], MAX_TEXTS);
    }
    c->n_a = (int64_t)n[0];
    c->m = sd_dict_get_info(c->dict->dict)->m;
    sd_status st = sd_alloc_zero(&c->z.v, (n[0] + n[1]) * sizeof *c->z.v, "codes of texts", &err);
    if (!st) st = sd_alloc_zero(&c->top, (size_t)c->m * sizeof *c->top, "codes of texts", &err);
    if (!st) st = sd_alloc_zero(&c->at, (size_t)c->m * sizeof *c->at, "codes of texts", &err);
    if (!st) st = sd_alloc_zero(&c->touched, (size_t)c->m * sizeof *c->touched, "codes of texts", &err);
    int http = st ? sd_problem_of(p, &err, NULL) : 0;
    c->chat = sd_field_bool(body, "chat", false);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < n[k] && !http; i++) {
            char param[32];
            snprintf(param, sizeof param, "%s[%zu]", key[k], i);
            http = read_one(c, s, json_array_get(sd_field_get(body, key[k]), i), param, rq, p);
        }
    return http;
}

static void put_indexes(sd_jw *w, const char *key, const int64_t *v, int n)
{
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int i = 0; i < n; i++)
        if (v[i] >= 0) sd_jw_i64(w, v[i]);
    sd_jw_end(w);
}

static sd_status put_row(sd_jw *w, const sd_contrast_row *r, sd_reg_store *of, sd_err *err)
{
    sd_feature_list l = {0};
    sd_jw_obj(w);
    sd_status st = SD_OK;
    if (of) {
        pthread_mutex_lock(&of->lock);
        st = sd_store_one(&l, of->store, r->feature, err);
        if (!st) sd_feature_brief_write(w, of->store, &l.v[0]);
        sd_feature_list_release(&l);
        pthread_mutex_unlock(&of->lock);
    } else
        sd_jw_ki64(w, "index", r->feature);
    sd_jw_ki64(w, "n_a", r->n_a);
    sd_jw_ki64(w, "n_b", r->n_b);
    sd_jw_kf64(w, "share_a", r->share_a);
    sd_jw_kf64(w, "share_b", r->share_b);
    sd_jw_kf64(w, "difference", r->diff);
    sd_jw_kf64(w, "p", r->p);
    sd_jw_end(w);
    return st;
}

/* Takes out of v what would push a refusal direction down if it were taken out of the model (it becomes -1), and puts it at the end of held. */
static sd_status hold_back(int64_t *v, int n, int64_t held[2 * CUT], int *n_held, const sd_server *s, const sd_dict *dict, sd_err *err)
{
    const sd_steer_spec spec = {.feature = 0, .op = SD_STEER_ABLATE};
    for (int i = 0; i < n; i++) {
        if (v[i] < 0) continue;
        sd_err why = {0};
        sd_status st = sd_direction_guard(&spec, sd_dict_dec_row(dict, v[i]), sd_dict_get_info(dict)->d_out, s->opt.data_dir, s->opt.model_sha256, &why);
        if (st && st != SD_E_ARG) {
            *err = why;
            return st;
        }
        if (!st) continue;
        held[(*n_held)++] = v[i];
        v[i] = -1;
    }
    return SD_OK;
}

static sd_status put_contrast(sd_jw *w, const sd_contrast *c, const sd_server *s, const sd_reg_dict *by, int64_t limit, sd_err *err)
{
    const char *dict = by->name;
    sd_reg_store *of = sd_registry__store(s, dict);
    int64_t cut[CUT], other[CUT], held[2 * CUT];
    int n_held = 0;
    int n_cut = c->n_above < CUT ? (int)c->n_above : CUT;
    sd_status st = SD_OK;
    sd_jw_obj(w);
    sd_jw_kstr(w, "schema", "sonde.contrast/1");
    sd_jw_kstr(w, "dict", dict);
    if (of) sd_jw_kstr(w, "store", of->name);
    sd_jw_ki64(w, "n_a", c->n_a);
    sd_jw_ki64(w, "n_b", c->n_b);
    sd_jw_ki64(w, "n_features", c->n);
    sd_jw_ki64(w, "n_above", c->n_above);
    sd_jw_kf64(w, "floor", c->floor);
    sd_jw_kf64(w, "floor_median", c->floor_median);
    /* For a check of causes: the first above the floor, and others as frequent that tell nothing apart. */
    for (int k = 0; k < n_cut; k++) cut[k] = c->v[k].feature;
    sd_contrast_others(other, c, n_cut);
    st = hold_back(cut, n_cut, held, &n_held, s, by->dict, err);
    if (!st) st = hold_back(other, n_cut, held, &n_held, s, by->dict, err);
    put_indexes(w, "cut", cut, n_cut);
    put_indexes(w, "others", other, n_cut);
    put_indexes(w, "held_back", held, n_held);
    sd_jw_key(w, "features");
    sd_jw_arr(w);
    for (int64_t i = 0; i < c->n && i < limit && !st; i++) st = put_row(w, &c->v[i], of, err);
    sd_jw_end(w);
    sd_jw_end(w);
    return st;
}

int sd_handle__contrast(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    contrast c = {0};
    sd_err err = {0};
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_contrast, rp, p);
    if (http) return http;
    http = sd_acts__dict(&c.dict, s, sd_field_str(body, "dict", NULL), "dict", p);
    if (!http) http = read_sets(&c, s, body, rq, p);
    if (!http && sd_lab_contrast(&c.out, &c.z, c.n_a, c.m, &(sd_contrast_opt){.seed = (uint64_t)sd_field_int(body, "seed", 0)}, &err)) http = sd_problem_of(p, &err, NULL);
    sd_jw_init(&w, &rp->body);
    if (!http && put_contrast(&w, &c.out, s, c.dict, sd_field_int(body, "limit", ROWS), &err)) http = sd_problem_of(p, &err, NULL);
    sd_contrast_release(&c.out);
    sd_text_codes_release(&c.z);
    sd_free(c.top);
    sd_free(c.at);
    sd_free(c.touched);
    json_decref(body);
    return http;
}
