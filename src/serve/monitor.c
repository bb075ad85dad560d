/* Owns: monitors: conditions under a name, registered at start, which the `when` of a steer can name: {"monitor": NAME}. A file is
 * {"name", "description", "when": {"feature" | "direction" | "vector", "site", "unit", "gt", "lt", "hold"}}; a steer may set other bounds. */
#include "serve/server_int.h"

#include "lab/direction_file.h"

sd_reg_monitor *sd_registry__monitor(const sd_server *s, const char *name)
{
    for (int i = 0; i < s->n_monitor; i++)
        if (strcmp(s->monitor[i].name, name) == 0) return &s->monitor[i];
    return NULL;
}

static int none(sd_problem *p, const char *param, const json_t *name)
{
    return sd_problem_set(p, 404, param, "there is no monitor '%.64s' here: monitors are registered when the server starts (--monitor)", json_string_value(name));
}

static const sd_field fields[] = {
    {.name = "name", .type = SD_FIELD_STR, .required = true},
    {.name = "description", .type = SD_FIELD_STR},
    {.name = "when", .type = SD_FIELD_OBJ, .required = true},
    {0}};

/* A steer that does nothing at the last site of the stream, under the condition. */
static int add_nothing(sd_edits *e, const sd_server *s, const json_t *when, const char *where, sd_problem *p)
{
    json_t *zeros = json_array(), *list = NULL;
    for (int64_t i = 0; zeros && i < s->opt.m->cfg.d_model; i++) json_array_append_new(zeros, json_integer(0));
    if (zeros) list = json_pack("[{s:o, s:s, s:i, s:s, s:O}]", "vector", zeros, "site", "final_norm", "value", 0, "unit", "raw", "when", when);
    int http = list ? sd_edits__add(e, s, list, where, p) : sd_problem_set(p, 503, where, "out of memory");
    json_decref(list);
    return http;
}

/* Whatever is wrong with the condition is told. */
static int try_it(const sd_server *s, const json_t *when, sd_problem *p)
{
    sd_edits e = {0};
    int http = add_nothing(&e, s, when, "when", p);
    sd_edits__release(&e);
    return http;
}

int sd_edits__watch(sd_edits *e, const sd_server *s, const json_t *names, const char *where, sd_problem *p)
{
    char param[96];
    int http = 0;
    e->looking = true;
    for (size_t i = 0; i < json_array_size(names) && !http; i++) {
        const json_t *name = json_array_get(names, i);
        snprintf(param, sizeof param, "%s[%zu]", where, i);
        if (!json_is_string(name)) return sd_problem_set(p, 400, param, "%s is the name of a monitor", param);
        if (!sd_registry__monitor(s, json_string_value(name))) return none(p, param, name);
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_array_get(names, k), name)) return sd_problem_set(p, 400, param, "%s: the monitor '%.64s' is there twice", param, json_string_value(name));
        json_t *when = json_pack("{s:O}", "monitor", name);
        http = when ? add_nothing(e, s, when, param, p) : sd_problem_set(p, 503, param, "out of memory");
        json_decref(when);
    }
    e->looking = false;
    return http;
}

void sd_monitor__write(sd_jw *w, const sd_edits *e)
{
    int n = 0;
    for (int i = 0; i < e->n; i++) {
        const sd_steer_applied a = sd_steer_get_applied(e->steer[i]);
        if (!e->spec[i].look) continue;
        if (n++ == 0) {
            sd_jw_key(w, "monitors");
            sd_jw_arr(w);
        }
        sd_jw_obj(w);
        sd_jw_kstr(w, "monitor", sd_steer_monitor(e->steer[i]));
        sd_jw_ki64(w, "n_looked", a.n_looked);
        sd_jw_ki64(w, "n_held", a.n_held);
        sd_jw_ki64(w, "first", a.first);
        sd_jw_kf64(w, "max", a.max);
        sd_jw_ki64(w, "max_at", a.max_at);
        sd_jw_end(w);
    }
    if (n) sd_jw_end(w);
}

sd_status sd_monitor__open(sd_server *s, const char *path, sd_err *err)
{
    sd_reg_monitor *r = &s->monitor[s->n_monitor];
    sd_problem p = {0};
    json_t *j = NULL;
    sd_status st = sd_json_load(&j, path, 1 << 20, err);
    if (st) return st;
    if (!json_is_object(j)) st = sd_fail(err, SD_E_FORMAT, "%s: expected an object with \"name\" and \"when\"", path);
    else if (sd_fields_check(j, fields, "", NULL, &p)) st = sd_fail(err, SD_E_FORMAT, "%s: %s", path, p.e.msg);
    if (st) goto done;
    if ((st = sd_registry__name(r->name, r->description, j, path, err))) goto done;
    if (sd_registry__monitor(s, r->name)) {
        st = sd_fail(err, SD_E_ARG, "two monitors are called '%s'", r->name);
        goto done;
    }
    if (json_object_get(sd_field_get(j, "when"), "monitor")) {
        st = sd_fail(err, SD_E_ARG, "%s: a monitor does not name another", path);
        goto done;
    }
    if (s->opt.m && try_it(s, sd_field_get(j, "when"), &p)) {
        *err = p.e;
        if (!err->code) err->code = SD_E_ARG;
        st = sd_err_wrap(err, "%s", path);
        goto done;
    }
    if ((st = sd_metrics_monitor_add(s->metrics, r->name, err))) goto done;
    r->when = json_incref(sd_field_get(j, "when"));
    s->n_monitor++;
done:
    json_decref(j);
    return st;
}

int sd_monitor__name(json_t **out, char name[65], const sd_server *s, const json_t *spec, const char *param, sd_problem *p)
{
    static const char *const may[] = {"monitor", "gt", "lt", "hold"};
    const json_t *when = json_object_get(spec, "when"), *by = json_object_get(when, "monitor");
    const char *key;
    json_t *v;
    *out = NULL;
    name[0] = 0;
    if (!by) return 0;
    if (!json_is_string(by)) return sd_problem_set(p, 400, param, "%s: when.monitor is the name of a monitor", param);
    const sd_reg_monitor *r = sd_registry__monitor(s, json_string_value(by));
    if (!r) return none(p, param, by);
    json_object_foreach((json_t *)(uintptr_t)when, key, v)
    {
        size_t k = 0;
        while (k < 4 && strcmp(key, may[k]) != 0) k++;
        if (k == 4) return sd_problem_set(p, 400, param, "%s: when.%.40s: the monitor says what is looked at; beside it stand gt, lt and hold", param, key);
    }
    json_t *whole = json_copy((json_t *)(uintptr_t)spec), *merged = json_deep_copy(r->when);
    if (whole && merged && !json_object_update(merged, (json_t *)(uintptr_t)when) && !json_object_del(merged, "monitor") && !json_object_set(whole, "when", merged)) {
        *out = json_incref(whole);
        snprintf(name, 65, "%s", r->name);
    }
    json_decref(whole);
    json_decref(merged);
    return *out ? 0 : sd_problem_set(p, 503, param, "out of memory");
}
