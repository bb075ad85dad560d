/* Owns: what was named at start, and the steers that requests make of it. */
#include "serve/server_int.h"

#include "base/hash.h"
#include "lab/cross.h"
#include "lab/direction_file.h"
#include "lab/reference.h"
#include "lab/steer_set.h"

sd_slice sd_serve__base_name(const char *path, const char *suffix)
{
    sd_slice n = sd_slice_of(path);
    while (n.n && n.p[n.n - 1] == '/') n.n--;
    for (size_t i = n.n; i > 0; i--)
        if (n.p[i - 1] == '/') {
            n = (sd_slice){n.p + i, n.n - i};
            break;
        }
    if (sd_slice_ends(n, suffix)) n.n -= strlen(suffix);
    return n;
}

/* "NAME=PATH", or a path whose last part (without suffix) is the name. */
static sd_status split(const char *text, const char *suffix, char name[65], const char **path, sd_err *err)
{
    const char *eq = strchr(text, '='), *slash = strchr(text, '/');
    sd_slice n;
    if (eq && (!slash || eq < slash)) {
        n = (sd_slice){text, (size_t)(eq - text)};
        *path = eq + 1;
    } else {
        n = sd_serve__base_name(text, suffix);
        *path = text;
    }
    snprintf(name, 65, "%.*s", n.n > 64 ? 64 : (int)n.n, n.p);
    sd_status st = sd_direction_name_check(name, err);
    if (st) {
        sd_err_wrap(err, "the name of %s", text);
        sd_hint(err, "give it one: NAME=%s", *path);
    }
    return st;
}

static sd_status taken(const char *what, const char *name, sd_err *err)
{
    sd_fail(err, SD_E_ARG, "two %s are called '%s'", what, name);
    return sd_hint(err, "give one of them another name: NAME=PATH");
}

/* A crosscoder is of several sites, perhaps of a second model too: what is of this one must fit it. Steers name one of the sites. */
static sd_status check_cross(const sd_server *s, const sd_dict *dict, const char *path, sd_err *err)
{
    sd_cross_sites of = {0};
    int64_t all = 0;
    const int64_t d = sd_dict_get_info(dict)->d;
    bool second = false;
    sd_status st = sd_cross_sites_parse(&of, sd_dict_site_name(dict), err);
    for (int i = 0; i < of.n && !st && s->opt.m; i++) {
        int64_t cols = 0;
        second = second || of.second[i];
        if (!of.second[i]) st = sd_model_site_cols(s->opt.m, of.site[i], &cols, err);
        all += cols;
    }
    if (st) return sd_err_wrap(err, "%s", path);
    if (!s->opt.m || (second ? all < d : all == d)) return SD_OK;
    sd_fail(err, SD_E_SHAPE, "%s is a crosscoder of width %lld, %s of this model have %lld", path, (long long)d, sd_dict_site_name(dict), (long long)all);
    return sd_hint(err, "it belongs to another model");
}

static sd_status open_dict(sd_server *s, const char *text, sd_err *err)
{
    sd_reg_dict *d = &s->dict[s->n_dict];
    const char *path;
    int64_t cols;
    sd_status st = split(text, "", d->name, &path, err);
    if (st) return st;
    if (sd_registry__dict(s, d->name)) return taken("dictionaries", d->name, err);
    if ((st = sd_dict_open(&d->dict, path, err))) return st;
    d->path = path;
    s->n_dict++;
    const char *site = sd_dict_site_name(d->dict);
    if (!*site) return SD_OK;
    if (sd_dict_get_info(d->dict)->kind == SD_DICT_CROSSCODER) return check_cross(s, d->dict, path, err);
    if ((st = sd_site_parse(&d->site, site, strlen(site), err))) return sd_err_wrap(err, "%s", path);
    d->has_site = true;
    if (!s->opt.m) return SD_OK;
    if ((st = sd_model_site_cols(s->opt.m, d->site, &cols, err))) return sd_err_wrap(err, "%s", path);
    if (cols == sd_dict_get_info(d->dict)->d) return SD_OK;
    sd_fail(err, SD_E_SHAPE, "%s is a dictionary of width %lld, %s of this model has %lld", path, (long long)sd_dict_get_info(d->dict)->d, site, (long long)cols);
    return sd_hint(err, "it belongs to another model");
}

static sd_status open_store(sd_server *s, const char *text, sd_err *err)
{
    sd_reg_store *r = &s->store[s->n_store];
    const char *path;
    sd_status st = split(text, ".db", r->name, &path, err);
    if (st) return st;
    for (int i = 0; i < s->n_store; i++)
        if (strcmp(s->store[i].name, r->name) == 0) return taken("stores", r->name, err);
    r->path = path;
    if ((st = sd_store_open(&r->store, path, err))) return st;
    sd_store_token(r->store, 0); /* reads the vocabulary now, not in the first request */
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->search_lock, NULL);
    s->n_store++;
    return SD_OK;
}

static const sd_field recipe_fields[] = {
    {.name = "name", .type = SD_FIELD_STR, .required = true},
    {.name = "description", .type = SD_FIELD_STR},
    {.name = "steer", .type = SD_FIELD_ARR, .required = true},
    {0}};

sd_status sd_registry__name(char name[65], char description[256], const json_t *j, const char *path, sd_err *err)
{
    const char *s = sd_field_str(j, "name", "");
    if (sd_direction_name_check(s, err)) return sd_err_wrap(err, "%s", path);
    snprintf(name, 65, "%s", s);
    snprintf(description, 256, "%s", sd_field_str(j, "description", ""));
    return SD_OK;
}

static sd_status open_recipe(sd_server *s, const char *path, sd_err *err)
{
    sd_reg_recipe *r = &s->recipe[s->n_recipe];
    sd_problem p = {0};
    sd_edits e = {0};
    json_t *j = NULL;
    sd_status st = sd_json_load(&j, path, 1 << 20, err);
    if (st) return st;
    if (!json_is_object(j)) st = sd_fail(err, SD_E_FORMAT, "%s: expected an object with \"name\" and \"steer\"", path);
    else if (sd_fields_check(j, recipe_fields, "", NULL, &p)) st = sd_fail(err, SD_E_FORMAT, "%s: %s", path, p.e.msg);
    if (st) goto done;
    if ((st = sd_registry__name(r->name, r->description, j, path, err))) goto done;
    if (sd_registry__recipe(s, r->name)) {
        st = taken("recipes", r->name, err);
        goto done;
    }
    r->steer = json_incref(sd_field_get(j, "steer"));
    s->n_recipe++;
    if (s->opt.m && sd_edits__add(&e, s, r->steer, "steer", &p)) {
        *err = p.e;
        if (!err->code) err->code = SD_E_ARG;
        st = sd_err_wrap(err, "%s", path);
    }
done:
    sd_edits__release(&e);
    json_decref(j);
    return st;
}

sd_status sd_registry__open(sd_server *s, sd_err *err)
{
    const sd_serve_opt *o = &s->opt;
    sd_status st = sd_alloc_zero(&s->dict, (size_t)(o->n_dict + 1) * sizeof *s->dict, "dictionaries", err);
    if (!st && o->m) st = sd_reference_new(&s->reference, o->ex, o->m, o->reference, err);
    if (!st) st = sd_alloc_zero(&s->store, (size_t)(o->n_store + 1) * sizeof *s->store, "stores", err);
    if (!st) st = sd_alloc_zero(&s->recipe, (size_t)(o->n_recipe + 1) * sizeof *s->recipe, "recipes", err);
    for (int i = 0; i < o->n_dict && !st; i++) st = open_dict(s, o->dict[i], err);
    for (int i = 0; i < o->n_store && !st; i++) st = open_store(s, o->store[i], err);
    if (!st) st = sd_alloc_zero(&s->monitor, (size_t)(o->n_monitor + 1) * sizeof *s->monitor, "monitors", err);
    for (int i = 0; i < o->n_monitor && !st; i++) st = sd_monitor__open(s, o->monitor[i], err);
    for (int i = 0; i < o->n_recipe && !st; i++) st = open_recipe(s, o->recipe[i], err);
    return st ? st : sd_audits__check(s, err);
}

void sd_registry__close(sd_server *s)
{
    for (int i = 0; i < s->n_dict; i++) sd_dict_free(s->dict[i].dict);
    for (int i = 0; i < s->n_store; i++) {
        sd_store_close(s->store[i].store);
        sd_store_close(s->store[i].search);
        pthread_mutex_destroy(&s->store[i].lock);
        pthread_mutex_destroy(&s->store[i].search_lock);
    }
    for (int i = 0; i < s->n_recipe; i++) json_decref(s->recipe[i].steer);
    for (int i = 0; i < s->n_monitor; i++) json_decref(s->monitor[i].when);
    sd_reference_free(s->reference);
    sd_free(s->dict);
    sd_free(s->store);
    sd_free(s->recipe);
    sd_free(s->monitor);
}

sd_reg_dict *sd_registry__dict(const sd_server *s, const char *name)
{
    for (int i = 0; i < s->n_dict; i++)
        if (strcmp(s->dict[i].name, name) == 0) return &s->dict[i];
    return NULL;
}

sd_reg_store *sd_registry__store(const sd_server *s, const char *name)
{
    const sd_reg_dict *d = sd_registry__dict(s, name);
    for (int i = 0; i < s->n_store; i++)
        if (strcmp(s->store[i].name, name) == 0) return &s->store[i];
    /* A dictionary's store: the one that was built of a dictionary of the same site and width. */
    char site[SD_CROSS_NAME];
    if (d) sd_cross_site_of(site, d->dict);
    for (int i = 0; d && i < s->n_store; i++) {
        sd_reg_store *r = &s->store[i];
        const sd_dict_info *in = sd_dict_get_info(d->dict);
        pthread_mutex_lock(&r->lock); /* a label by hand opens the store anew */
        const sd_store_dict *of = &sd_store_get_info(r->store)->dict;
        bool same = of->d == in->d_out && of->m == in->m && of->seed == in->seed && strcmp(of->site, site) == 0;
        pthread_mutex_unlock(&r->lock);
        if (same) return r;
    }
    return NULL;
}

bool sd_registry__same_model(const sd_server *s, const char *sha256)
{
    return !s->opt.m || !sha256[0] || strcmp(sha256, s->opt.model_sha256) == 0;
}

bool sd_serve_doubt(const sd_server *s, int i, char out[400])
{
    for (int k = 0; k < s->n_dict + s->n_store; k++) {
        const bool dict = k < s->n_dict;
        sd_reg_store *r = dict ? NULL : &s->store[k - s->n_dict];
        const char *name = dict ? s->dict[k].name : r->name;
        char of[65];
        if (r) pthread_mutex_lock(&r->lock); /* requests are answered already, and a label by hand opens the store anew */
        snprintf(of, sizeof of, "%s", dict ? sd_dict_get_info(s->dict[k].dict)->model_sha256 : sd_store_get_info(r->store)->model.sha256);
        if (r) pthread_mutex_unlock(&r->lock);
        if (sd_registry__same_model(s, of) || i-- > 0) continue;
        snprintf(out, 400, "the %s %s was made from another file of a model (%.12s.., this is %.12s..)", dict ? "dictionary" : "store", name, of, s->opt.model_sha256);
        return true;
    }
    return false;
}

sd_status sd_registry__search(sd_store **out, sd_reg_store *r, const sd_request *rq, sd_err *err)
{
    pthread_mutex_lock(&r->search_lock);
    const sd_status st = r->search ? SD_OK : sd_store_open(&r->search, r->path, err);
    *out = r->search;
    if (!st) sd_store_stop_when(r->search, rq->gone, rq->self);
    return st;
}

void sd_registry__searched(sd_reg_store *r)
{
    if (r->search) sd_store_stop_when(r->search, NULL, NULL);
    pthread_mutex_unlock(&r->search_lock);
}

sd_reg_recipe *sd_registry__recipe(const sd_server *s, const char *name)
{
    for (int i = 0; i < s->n_recipe; i++)
        if (strcmp(s->recipe[i].name, name) == 0) return &s->recipe[i];
    return NULL;
}

/* Takes the folder off wherever the path stands in the text. */
static void hide_folder(char *text, const char *path)
{
    char whole[1024];
    size_t n = strlen(path), folder;
    while (n && path[n - 1] == '/') n--;
    for (folder = n; folder && path[folder - 1] != '/';) folder--;
    if (!folder || n == 0 || n >= sizeof whole) return;
    memcpy(whole, path, n);
    whole[n] = 0;
    for (char *at = text; (at = strstr(at, whole)); at += n - folder) memmove(at, at + folder, strlen(at + folder) + 1);
}

void sd_registry__hide_folders(const sd_server *s, sd_err *e)
{
    const sd_serve_opt *o = &s->opt;
    char *const text[2] = {e->msg, e->hint};
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < s->n_dict; i++) hide_folder(text[k], s->dict[i].path);
        for (int i = 0; i < s->n_store; i++) hide_folder(text[k], s->store[i].path);
        for (int i = 0; i < o->n_run; i++) hide_folder(text[k], o->run[i]);
        for (int i = 0; i < o->n_audit; i++) hide_folder(text[k], o->audit[i]);
        if (o->data_dir) hide_folder(text[k], o->data_dir);
    }
}

/* ---- steers ---- */

/* The dictionary that a spec names; NULL for a vector or direction. */
static int dict_of(const sd_dict **out, const sd_server *s, const sd_steer_spec *sp, const char *param, sd_problem *p)
{
    const sd_reg_dict *d = sp->feature >= 0 ? sd_registry__dict(s, sp->dict) : NULL;
    *out = d ? d->dict : NULL;
    if (d || sp->feature < 0) return 0;
    return sd_problem_set(p, 404, param, "there is no dictionary '%.80s' here: dictionaries are registered when the server starts (--dict)", sp->dict);
}

/* Where the units and rows of a spec come from. */
static int source(sd_steer_from *from, const sd_server *s, const sd_steer_spec *sp, const char *param, sd_problem *p)
{
    *from = (sd_steer_from){.rows = sd_reference_rows, .self = s->reference};
    const int http = dict_of(&from->dict, s, sp, param, p);
    return !http && sp->when ? dict_of(&from->when_dict, s, &sp->when->what, param, p) : http;
}

static int add_one(sd_edits *e, const sd_server *s, const json_t *spec, const char *param, sd_problem *p)
{
    sd_err err = {0};
    sd_buf text;
    sd_jw w;
    sd_steer_spec *sp = &e->spec[e->n];
    sd_steer_from from;
    const sd_steer_env env = {.ex = s->opt.ex, .m = s->opt.m, .data_dir = s->opt.data_dir, .model_sha256 = s->opt.model_sha256};
    json_t *whole;
    char monitor[65];
    if (!json_is_object(spec)) return sd_problem_set(p, 400, param, "%s: a steer is an object", param);
    int http = sd_monitor__name(&whole, monitor, s, spec, param, p);
    if (http) return http;
    sd_buf_init(&text, 1 << 24);
    sd_jw_init(&w, &text);
    sd_jw_tree(&w, whole ? whole : spec);
    json_decref(whole);
    sd_status st = sd_buf_check(&text, "a steer", &err);
    if (!st) st = sd_steer_spec_parse(sp, (sd_slice){text.p, text.n}, &err);
    sd_buf_release(&text);
    if (st) return sd_problem_of(p, &err, param);
    e->n++;
    sp->look = e->looking;
    if (sp->when) snprintf(sp->when->monitor, sizeof sp->when->monitor, "%s", monitor);
    if ((http = source(&from, s, sp, param, p))) return http;
    /* Positions ascend, so a list that is reached to its end is no longer than a slot. */
    const int64_t ctx = s->engine ? sd_engine_ctx(s->engine) : INT64_MAX;
    if (sp->n_list && sp->list[sp->n_list - 1] >= ctx)
        return sd_problem_set(p, 400, param, "steer: position %lld lies beyond the context of %lld tokens", (long long)sp->list[sp->n_list - 1], (long long)ctx);
    if (e->looking || (sp->when && sp->when->hold)) e->afresh = true; /* a monitor sees the whole prompt */
    st = sd_steer_resolve(&e->steer[e->n - 1], sp, &env, &from, &err);
    return st ? sd_problem_of(p, &err, param) : 0;
}

enum { MAX_STEERS = 64 };

static int make_room(sd_edits *e, const char *where, sd_problem *p)
{
    if (e->spec) return 0;
    e->spec = sd_calloc(MAX_STEERS * sizeof *e->spec);
    e->steer = sd_calloc(MAX_STEERS * sizeof *e->steer);
    return e->spec && e->steer ? 0 : sd_problem_set(p, 503, where, "out of memory");
}

int sd_edits__add(sd_edits *e, const sd_server *s, const json_t *array, const char *where, sd_problem *p)
{
    char param[96];
    size_t n = json_array_size(array);
    if (n == 0) return 0;
    if (n + (size_t)e->n > MAX_STEERS) return sd_problem_set(p, 400, where, "%s: at most %d steers", where, MAX_STEERS);
    int http = make_room(e, where, p);
    if (http) return http;
    for (size_t i = 0; i < n; i++) {
        snprintf(param, sizeof param, "%s[%zu]", where, i);
        if ((http = add_one(e, s, json_array_get(array, i), param, p))) return http;
    }
    return 0;
}

int sd_edits__again(sd_edits *e, const sd_server *s, const sd_edits *of, const char *where, sd_problem *p)
{
    sd_err err = {0};
    int http = of->n ? make_room(e, where, p) : 0;
    e->afresh = of->afresh;
    for (int i = 0; i < of->n && !http; i++) {
        sd_steer_from from;
        sd_status st = sd_steer_spec_copy(&e->spec[i], &of->spec[i], &err);
        if (st) return sd_problem_of(p, &err, where);
        e->n++;
        http = source(&from, s, &e->spec[i], where, p);
        if (!http && sd_steer_make(&e->steer[i], &e->spec[i], s->opt.m, &from, &err)) http = sd_problem_of(p, &err, where);
    }
    return http;
}

void sd_edits__set_key(sd_edits *e, int64_t n_prompt)
{
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 1 << 26);
    sd_jw_init(&w, &b);
    sd_jw_arr(&w);
    int n_edit = 0;
    for (int i = 0; i < e->n; i++) {
        if (e->spec[i].look) continue;
        n_edit++;
        sd_steer_pos at = e->spec[i].positions;
        sd_steer_spec_write(&w, &e->spec[i]);
        const sd_steer_spec *of[2] = {&e->spec[i], e->spec[i].when ? &e->spec[i].when->what : NULL};
        for (int k = 0; k < 2; k++)
            if (of[k] && of[k]->vector) sd_jw_u64(&w, sd_hash64(of[k]->vector, (size_t)of[k]->n_vector * sizeof(float)));
        if (at == SD_POS_PROMPT || at == SD_POS_GENERATED || at == SD_POS_LAST) sd_jw_i64(&w, n_prompt);
    }
    sd_jw_end(&w);
    e->key = n_edit ? sd_hash64(b.p, b.n) | 1 : 0; /* 0 is plain */
    sd_buf_release(&b);
}

void sd_edits__release(sd_edits *e)
{
    for (int i = 0; i < e->n; i++) {
        sd_steer_free(e->steer[i]);
        sd_steer_spec_release(&e->spec[i]);
    }
    sd_free(e->spec);
    sd_free(e->steer);
    *e = (sd_edits){0};
}

void sd_edits__write(sd_jw *w, const sd_edits *e)
{
    sd_steer_set s = {.spec = e->spec, .steer = e->steer, .n = e->n};
    sd_steer_set_write(w, &s);
    sd_monitor__write(w, e);
}
