/* The steer spec: JSON in, JSON out. Strict: what is not understood is refused, because a steer that was silently not
 * applied is the worst answer. */
#include "lab/steer.h"

#include <math.h>

static const char *const op_name[] = {"add", "scale", "ablate", "clamp", "cap"};
static const char *const unit_name[] = {"rms", "raw", "std", "max_act"};
static const char *const pos_name[] = {"all", "prompt", "generated", "last"};

static sd_status lookup(int *out, const char *s, const char *const *names, int n, const char *key, sd_err *err)
{
    sd_buf b;
    for (int i = 0; i < n; i++)
        if (strcmp(s, names[i]) == 0) return *out = i, SD_OK;
    sd_buf_init(&b, 256);
    for (int i = 0; i < n; i++) sd_buf_printf(&b, "%s%s", i ? ", " : "", names[i]);
    sd_status st = sd_fail(err, SD_E_ARG, "steer: %s \"%s\" is none of %s", key, s, sd_buf_str(&b));
    sd_buf_release(&b);
    return st;
}

/* Bad JSON in a spec is a bad argument; memory that is out stays what it is. */
static sd_status as_argument(sd_status st, sd_err *err)
{
    if (st == SD_E_NOMEM) return st;
    if (err) err->code = SD_E_ARG;
    return SD_E_ARG;
}

static sd_status read_feature(sd_steer_spec *s, const json_t *v, sd_err *err)
{
    const char *dict = NULL;
    sd_status st = json_is_object(v) ? SD_OK : sd_fail(err, SD_E_ARG, "steer: feature is {\"dict\": DIR, \"index\": N}");
    if (!st) st = sd_json_get_str(v, "dict", &dict, "steer.feature", err);
    if (!st) st = sd_json_get_i64(v, "index", &s->feature, "steer.feature", err);
    if (st) return as_argument(st, err);
    if (json_object_size(v) != 2) return sd_fail(err, SD_E_ARG, "steer: feature has keys besides dict and index");
    if (s->feature < 0) return sd_fail(err, SD_E_ARG, "steer: feature index %lld is negative", (long long)s->feature);
    if (strlen(dict) >= sizeof s->dict) return sd_fail(err, SD_E_ARG, "steer: the dictionary's path is too long");
    memcpy(s->dict, dict, strlen(dict) + 1);
    return SD_OK;
}

static sd_status read_vector(sd_steer_spec *s, const json_t *v, sd_err *err)
{
    if (!json_is_array(v) || json_array_size(v) == 0) return sd_fail(err, SD_E_ARG, "steer: vector is an array of numbers");
    s->n_vector = (int64_t)json_array_size(v);
    sd_status st = sd_alloc(&s->vector, (size_t)s->n_vector * sizeof(float), "steer vector", err);
    for (int64_t i = 0; !st && i < s->n_vector; i++) {
        const json_t *e = json_array_get(v, (size_t)i);
        s->vector[i] = (float)json_number_value(e);
        if (!json_is_number(e) || !isfinite(s->vector[i]))
            st = sd_fail(err, SD_E_ARG, "steer: vector[%lld] is no finite number", (long long)i);
    }
    return st;
}

static sd_status read_positions(sd_steer_spec *s, const json_t *v, sd_err *err)
{
    int p = 0;
    if (json_is_string(v)) {
        sd_status st = lookup(&p, json_string_value(v), pos_name, 4, "positions", err);
        s->positions = (sd_steer_pos)p;
        return st;
    }
    if (!json_is_array(v) || json_array_size(v) == 0)
        return sd_fail(err, SD_E_ARG, "steer: positions is \"all\", \"prompt\", \"generated\", \"last\" or a list of positions");
    s->positions = SD_POS_LIST;
    s->n_list = (int64_t)json_array_size(v);
    sd_status st = sd_alloc(&s->list, (size_t)s->n_list * sizeof *s->list, "steer positions", err);
    for (int64_t i = 0; !st && i < s->n_list; i++) {
        const json_t *e = json_array_get(v, (size_t)i);
        s->list[i] = json_integer_value(e);
        if (!json_is_integer(e) || s->list[i] < 0 || (i && s->list[i] <= s->list[i - 1]))
            st = sd_fail(err, SD_E_ARG, "steer: positions are whole numbers from 0, ascending");
    }
    return st;
}

static sd_status read_number(double *out, const json_t *v, const char *key, sd_err *err)
{
    *out = json_number_value(v);
    return json_is_number(v) && isfinite(*out) ? SD_OK : sd_fail(err, SD_E_ARG, "steer: %s is no finite number", key);
}

/* Keys that say along what: those of a steer and of a condition. *known: it was one of them. */
static sd_status read_what(sd_steer_spec *s, const char *key, const json_t *v, bool *known, sd_err *err)
{
    int i = 0;
    const char *str = json_is_string(v) ? json_string_value(v) : "";
    *known = true;
    if (strcmp(key, "feature") == 0) return read_feature(s, v, err);
    if (strcmp(key, "vector") == 0) return read_vector(s, v, err);
    if (strcmp(key, "direction") == 0) {
        if (!*str || strlen(str) >= sizeof s->direction) return sd_fail(err, SD_E_ARG, "steer: direction is the name of a stored direction");
        memcpy(s->direction, str, strlen(str) + 1);
        return SD_OK;
    }
    if (strcmp(key, "site") == 0) {
        s->has_site = true;
        return sd_site_parse(&s->site, str, strlen(str), err);
    }
    if (strcmp(key, "unit") == 0) {
        sd_status st = lookup(&i, str, unit_name, 4, key, err);
        s->unit = (sd_steer_unit)i;
        return st;
    }
    *known = false;
    return SD_OK;
}

static sd_status check_when(const sd_steer_when *w, sd_err *err)
{
    const sd_steer_spec *s = &w->what;
    if ((s->feature >= 0) + (s->vector != NULL) + (*s->direction != 0) != 1)
        return sd_fail(err, SD_E_ARG, "steer: when has one of feature, direction and vector");
    if (s->vector && !s->has_site) return sd_fail(err, SD_E_ARG, "steer: a vector in when needs a site, such as \"resid_post.12\"");
    if (isinf(w->gt) && isinf(w->lt)) return sd_fail(err, SD_E_ARG, "steer: when needs gt, lt or both");
    if (w->gt >= w->lt) return sd_fail(err, SD_E_ARG, "steer: when: nothing is above %g and below %g", w->gt, w->lt);
    if (s->unit == SD_UNIT_MAX_ACT && s->feature < 0) return sd_fail(err, SD_E_ARG, "steer: when: unit max_act is a feature's");
    return SD_OK;
}

static sd_status read_when(sd_steer_spec *s, const json_t *v, sd_err *err)
{
    const char *key;
    json_t *x;
    sd_steer_when *w = NULL;
    if (!json_is_object(v)) return sd_fail(err, SD_E_ARG, "steer: when is {\"feature\": {\"dict\", \"index\"}, \"gt\": 2}");
    sd_status st = sd_alloc_zero(&w, sizeof *w, "steer", err);
    if (st) return st;
    s->when = w;
    *w = (sd_steer_when){.what = {.feature = -1, .unit = SD_UNIT_RAW}, .gt = -INFINITY, .lt = INFINITY};
    json_object_foreach((json_t *)(uintptr_t)v, key, x)
    {
        bool known;
        st = read_what(&w->what, key, x, &known, err);
        if (known && !st) continue;
        if (st) return st;
        if (strcmp(key, "gt") == 0) st = read_number(&w->gt, x, "when.gt", err);
        else if (strcmp(key, "lt") == 0) st = read_number(&w->lt, x, "when.lt", err);
        else if (strcmp(key, "hold") == 0) {
            w->hold = json_is_true(x);
            if (!json_is_boolean(x)) st = sd_fail(err, SD_E_ARG, "steer: when.hold is true or false");
        } else if (strcmp(key, "monitor") == 0) {
            st = sd_fail(err, SD_E_ARG, "steer: when: a monitor has its name where a server keeps it");
            sd_hint(err, "`sonde serve --monitor FILE`; elsewhere say what is looked at: {\"direction\": NAME, \"gt\": 2, \"unit\": \"std\"}");
        } else {
            st = sd_fail(err, SD_E_ARG, "steer: when: unknown key \"%s\"", key);
            sd_hint(err, "known keys: feature, direction, vector, site, unit, gt, lt, hold");
        }
        if (st) return st;
    }
    return check_when(w, err);
}

static sd_status read_key(sd_steer_spec *s, const char *key, const json_t *v, sd_err *err)
{
    int i = 0;
    bool known;
    const char *str = json_is_string(v) ? json_string_value(v) : "";
    sd_status st = read_what(s, key, v, &known, err);
    if (known) return st;
    if (strcmp(key, "when") == 0) return read_when(s, v, err);
    if (strcmp(key, "positions") == 0) return read_positions(s, v, err);
    if (strcmp(key, "value") == 0) return read_number(&s->value, v, key, err);
    if (strcmp(key, "min") == 0) return read_number(&s->min, v, key, err);
    if (strcmp(key, "max") == 0) return read_number(&s->max, v, key, err);
    if (strcmp(key, "op") == 0) {
        st = lookup(&i, str, op_name, 5, key, err);
        s->op = (sd_steer_op)i;
        return st;
    }
    if (strcmp(key, "special") == 0) {
        s->special = json_is_true(v);
        return json_is_boolean(v) ? SD_OK : sd_fail(err, SD_E_ARG, "steer: special is true or false");
    }
    sd_fail(err, SD_E_ARG, "steer: unknown key \"%s\"", key);
    if (strcmp(key, "name") == 0 || strcmp(key, "description") == 0 || strcmp(key, "steer") == 0)
        return sd_hint(err, "this looks like a recipe: `sonde serve --recipe FILE`; elsewhere give each object of its \"steer\" as a steer");
    return sd_hint(err, "known keys: feature, direction, vector, site, op, value, min, max, unit, positions, special, when");
}

static sd_status check(const sd_steer_spec *s, bool has_value, sd_err *err)
{
    if ((s->feature >= 0) + (s->vector != NULL) + (*s->direction != 0) != 1) {
        sd_fail(err, SD_E_ARG, "steer: give one of feature, direction and vector");
        return sd_hint(err, "{\"feature\":{\"dict\":\"DIR\",\"index\":7},\"op\":\"add\",\"value\":0.5}");
    }
    if (s->vector && !s->has_site) return sd_fail(err, SD_E_ARG, "steer: a vector needs a site, such as \"resid_post.12\"");
    if (s->op == SD_STEER_CAP) {
        if (isinf(s->min) && isinf(s->max)) return sd_fail(err, SD_E_ARG, "steer: cap needs min, max or both");
        if (s->min > s->max) return sd_fail(err, SD_E_ARG, "steer: cap has min %g above max %g", s->min, s->max);
        if (has_value) return sd_fail(err, SD_E_ARG, "steer: cap takes min and max, not value");
    } else {
        if (!isinf(s->min) || !isinf(s->max)) return sd_fail(err, SD_E_ARG, "steer: min and max belong to cap");
        if (s->op == SD_STEER_ABLATE ? has_value : !has_value) {
            sd_fail(err, SD_E_ARG, "steer: %s %s", op_name[s->op], has_value ? "takes no value" : "needs a value");
            return s->op == SD_STEER_ADD ? sd_hint(err, "\"value\":0.25 is a quarter of the site's mean token norm; `sonde sweep` finds how much a steer bears") : SD_E_ARG;
        }
    }
    return SD_OK;
}

sd_status sd_steer_spec_parse(sd_steer_spec *out, sd_slice text, sd_err *err)
{
    json_t *root = NULL, *v;
    const char *key;
    bool has_value = false;
    *out = (sd_steer_spec){.feature = -1, .min = -INFINITY, .max = INFINITY};
    sd_status st = sd_json_parse(&root, text.p, text.n, "steer", err);
    if (st) {
        if (!text.n || !memchr(text.p, '{', text.n)) sd_hint(err, "a steer is a JSON object, {\"direction\":\"NAME\",\"value\":0.5}; one that stands in a file is @FILE");
        return as_argument(st, err);
    }
    if (!json_is_object(root)) {
        st = sd_fail(err, SD_E_ARG, "steer: a spec is one JSON object");
        sd_hint(err, "give several by several --steer (in JSON: several objects in the array)");
        goto done;
    }
    json_object_foreach(root, key, v)
    {
        has_value = has_value || strcmp(key, "value") == 0;
        if ((st = read_key(out, key, v, err))) goto done;
    }
    st = check(out, has_value, err);
done:
    json_decref(root);
    if (st) sd_steer_spec_release(out);
    return st;
}

void sd_steer_spec_release(sd_steer_spec *s)
{
    if (s->when) sd_steer_spec_release(&s->when->what);
    sd_free(s->when);
    sd_free(s->vector);
    sd_free(s->list);
    *s = (sd_steer_spec){.feature = -1};
}

sd_status sd_steer_spec_copy(sd_steer_spec *out, const sd_steer_spec *s, sd_err *err)
{
    sd_status st = SD_OK;
    *out = *s;
    out->vector = NULL;
    out->list = NULL;
    out->when = NULL;
    if (s->vector && !(st = sd_alloc(&out->vector, (size_t)s->n_vector * sizeof *s->vector, "steer", err))) memcpy(out->vector, s->vector, (size_t)s->n_vector * sizeof *s->vector);
    if (!st && s->list && !(st = sd_alloc(&out->list, (size_t)s->n_list * sizeof *s->list, "steer positions", err))) memcpy(out->list, s->list, (size_t)s->n_list * sizeof *s->list);
    if (!st && s->when && !(st = sd_alloc_zero(&out->when, sizeof *out->when, "steer", err))) {
        *out->when = *s->when;
        st = sd_steer_spec_copy(&out->when->what, &s->when->what, err);
    }
    if (st) sd_steer_spec_release(out);
    return st;
}

static void write_what(sd_jw *w, const sd_steer_spec *s)
{
    char site[64];
    if (s->feature >= 0) {
        sd_jw_key(w, "feature");
        sd_jw_obj(w);
        sd_jw_kstr(w, "dict", s->dict);
        sd_jw_ki64(w, "index", s->feature);
        sd_jw_end(w);
    } else if (*s->direction) {
        sd_jw_kstr(w, "direction", s->direction);
    } else {
        sd_jw_key(w, "vector");
        sd_jw_arr(w);
        for (int64_t i = 0; i < s->n_vector; i++) sd_jw_f32(w, s->vector[i]);
        sd_jw_end(w);
    }
    if (s->has_site) sd_jw_kstr(w, "site", sd_site_print(site, sizeof site, s->site));
}

void sd_steer_spec_write(sd_jw *w, const sd_steer_spec *s)
{
    sd_jw_obj(w);
    write_what(w, s);
    sd_jw_kstr(w, "op", op_name[s->op]);
    if (s->op == SD_STEER_CAP) {
        if (!isinf(s->min)) sd_jw_kf64(w, "min", s->min);
        if (!isinf(s->max)) sd_jw_kf64(w, "max", s->max);
    } else if (s->op != SD_STEER_ABLATE) {
        sd_jw_kf64(w, "value", s->value);
    }
    sd_jw_kstr(w, "unit", unit_name[s->unit]);
    sd_jw_key(w, "positions");
    if (s->positions == SD_POS_LIST) {
        sd_jw_arr(w);
        for (int64_t i = 0; i < s->n_list; i++) sd_jw_i64(w, s->list[i]);
        sd_jw_end(w);
    } else {
        sd_jw_str(w, pos_name[s->positions]);
    }
    sd_jw_kbool(w, "special", s->special);
    if (s->when) {
        sd_jw_key(w, "when");
        sd_jw_obj(w);
        if (*s->when->monitor) sd_jw_kstr(w, "monitor", s->when->monitor);
        write_what(w, &s->when->what);
        sd_jw_kstr(w, "unit", unit_name[s->when->what.unit]);
        if (!isinf(s->when->gt)) sd_jw_kf64(w, "gt", s->when->gt);
        if (!isinf(s->when->lt)) sd_jw_kf64(w, "lt", s->when->lt);
        sd_jw_kbool(w, "hold", s->when->hold);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}
