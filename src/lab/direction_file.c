/* Owns: where directions lie, and what may be done with those of refusal. */
#include "lab/direction_file.h"

#include "base/map.h"
#include "lab/ablate.h"

#include <ctype.h>
#include <math.h>

#define SCHEMA "sonde.direction/1"
#define MAX_FILE ((size_t)1 << 24)
#define MAX_COSINE 0.5 /* CONTRACT section 5 */

void sd_direction_file_release(sd_direction_file *f)
{
    sd_free(f->vector);
    *f = (sd_direction_file){0};
}

sd_status sd_direction_name_check(const char *name, sd_err *err)
{
    size_t n = strlen(name);
    bool ok = n > 0 && n < 65 && name[0] != '.';
    for (size_t i = 0; i < n; i++) ok = ok && (isalnum((unsigned char)name[i]) || strchr("._-", name[i]));
    if (ok) return SD_OK;
    sd_fail(err, SD_E_ARG, "'%.80s' is no name", name);
    return sd_hint(err, "use at most 64 letters, digits, '.', '_' and '-'");
}

/* out [1024]: the model's folder, or the file of name. */
static sd_status place(char *out, const char *data_dir, const char *model_sha256, const char *name, sd_err *err)
{
    int n = snprintf(out, 1024, "%s/directions/%s%s%s%s", data_dir, model_sha256, name ? "/" : "", name ? name : "", name ? ".json" : "");
    if (!*data_dir) {
        sd_fail(err, SD_E_IO, "there is no folder to keep directions in");
        return sd_hint(err, "set HOME or XDG_DATA_HOME");
    }
    return n > 0 && n < 1024 ? SD_OK : sd_fail(err, SD_E_ARG, "the path of the data folder is too long");
}

sd_status sd_direction_check_free(const char *data_dir, const char *model_sha256, const char *name, bool force, sd_err *err)
{
    char path[1024];
    sd_status st = sd_direction_name_check(name, err);
    if (!st) st = place(path, data_dir, model_sha256, name, err);
    if (st || force || !sd_file_exists(path)) return st;
    sd_fail(err, SD_E_ARG, "this model has a direction '%s' already", name);
    return sd_hint(err, "use -f to replace it, or another name");
}

sd_status sd_direction_save(const sd_direction_file *f, const char *data_dir, bool force, sd_err *err)
{
    char path[1024], dir[1024];
    sd_buf b;
    sd_jw w;
    sd_status st = sd_direction_check_free(data_dir, f->model_sha256, f->name, force, err);
    if (!st) st = place(dir, data_dir, f->model_sha256, NULL, err);
    if (!st) st = place(path, data_dir, f->model_sha256, f->name, err);
    if (!st) st = sd_dir_make(dir, err);
    if (st) return st;
    sd_buf_init(&b, MAX_FILE);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", SCHEMA);
    sd_jw_kstr(&w, "name", f->name);
    sd_jw_kstr(&w, "kind", f->kind);
    sd_jw_kstr(&w, "model_sha256", f->model_sha256);
    sd_jw_kstr(&w, "prompts_sha256", f->prompts_sha256);
    sd_jw_kstr(&w, "created", f->created);
    sd_jw_kstr(&w, "select", f->select);
    sd_jw_kstr(&w, "tokens", f->tokens);
    sd_jw_ki64(&w, "position", f->position);
    sd_jw_ki64(&w, "layer", f->layer);
    sd_jw_kf64(&w, "bypass", f->bypass);
    sd_jw_kf64(&w, "induce", f->induce);
    sd_jw_kf64(&w, "kl", f->kl);
    sd_jw_kf64(&w, "auroc", f->auroc);
    sd_jw_kf64(&w, "norm", f->norm);
    sd_jw_key(&w, "vector");
    sd_jw_arr(&w);
    for (int64_t i = 0; i < f->d; i++) sd_jw_f32(&w, f->vector[i]);
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    st = sd_buf_check(&b, "a direction", err);
    if (!st) st = sd_file_write_private(path, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

static void copy(char *out, size_t cap, const char *s)
{
    snprintf(out, cap, "%s", s ? s : "");
}

static sd_status read_vector(sd_direction_file *f, const json_t *root, const char *path, sd_err *err)
{
    const json_t *v = json_object_get(root, "vector");
    f->d = (int64_t)json_array_size(v);
    if (f->d < 1) return sd_fail(err, SD_E_FORMAT, "%s has no vector", path);
    sd_status st = sd_alloc(&f->vector, (size_t)f->d * sizeof(float), "a direction", err);
    for (int64_t i = 0; i < f->d && !st; i++) {
        const json_t *e = json_array_get(v, (size_t)i);
        f->vector[i] = (float)json_number_value(e);
        if (!json_is_number(e) || !isfinite(f->vector[i])) st = sd_fail(err, SD_E_FORMAT, "%s: vector[%lld] is no finite number", path, (long long)i);
    }
    return st;
}

static sd_status read_file(sd_direction_file *f, const char *path, sd_err *err)
{
    json_t *root = NULL;
    const char *s[8] = {0};
    static const char *const key[] = {"schema", "name", "kind", "model_sha256", "prompts_sha256", "created", "select", "tokens"};
    int64_t position = 0, layer = 0;
    *f = (sd_direction_file){.bypass = NAN, .induce = NAN, .kl = NAN, .auroc = NAN, .norm = NAN};
    sd_status st = sd_json_load(&root, path, MAX_FILE, err);
    for (int i = 0; i < 8 && !st; i++) st = sd_json_get_str(root, key[i], &s[i], path, err);
    if (!st && strcmp(s[0], SCHEMA) != 0) st = sd_fail(err, SD_E_UNSUPPORTED, "%s is of schema %.40s, this program reads " SCHEMA, path, s[0]);
    if (!st) st = sd_json_get_i64(root, "position", &position, path, err);
    if (!st) st = sd_json_get_i64(root, "layer", &layer, path, err);
    if (!st && (layer < 0 || layer > 100000 || position < -100000 || position > 0))
        st = sd_fail(err, SD_E_FORMAT, "%s: layer %lld, position %lld", path, (long long)layer, (long long)position);
    if (!st) st = sd_json_opt_f64(root, "bypass", &f->bypass, path, err);
    if (!st) st = sd_json_opt_f64(root, "induce", &f->induce, path, err);
    if (!st) st = sd_json_opt_f64(root, "kl", &f->kl, path, err);
    if (!st) st = sd_json_opt_f64(root, "auroc", &f->auroc, path, err);
    if (!st) st = sd_json_opt_f64(root, "norm", &f->norm, path, err);
    if (!st) st = read_vector(f, root, path, err);
    if (!st) {
        copy(f->name, sizeof f->name, s[1]);
        copy(f->kind, sizeof f->kind, s[2]);
        copy(f->model_sha256, sizeof f->model_sha256, s[3]);
        copy(f->prompts_sha256, sizeof f->prompts_sha256, s[4]);
        copy(f->created, sizeof f->created, s[5]);
        copy(f->select, sizeof f->select, s[6]);
        copy(f->tokens, sizeof f->tokens, s[7]);
        f->position = (int)position;
        f->layer = (int)layer;
    }
    json_decref(root);
    if (st) sd_direction_file_release(f);
    return st;
}

sd_status sd_direction_list(sd_direction_file **out, int *n, const char *data_dir, const char *model_sha256, sd_err *err)
{
    char dir[1024];
    sd_paths p = {0};
    *out = NULL;
    *n = 0;
    if (!*data_dir || !*model_sha256) return SD_OK;
    sd_status st = place(dir, data_dir, model_sha256, NULL, err);
    if (st || !sd_dir_exists(dir)) return st;
    if ((st = sd_dir_list(&p, dir, err))) return st;
    if (p.n > 0) st = sd_alloc_zero(out, (size_t)p.n * sizeof **out, "a list of directions", err);
    for (int64_t i = 0; i < p.n && !st; i++) {
        if (!sd_slice_ends(sd_slice_of(p.v[i]), ".json")) continue;
        st = read_file(&(*out)[*n], p.v[i], err);
        if (!st) (*n)++;
    }
    sd_paths_free(&p);
    if (!st) return SD_OK;
    sd_direction_list_free(*out, *n);
    *out = NULL;
    *n = 0;
    return st;
}

void sd_direction_list_free(sd_direction_file *v, int n)
{
    for (int i = 0; i < n; i++) sd_direction_file_release(&v[i]);
    sd_free(v);
}

static sd_status no_such(const char *data_dir, const char *model_sha256, const char *name, sd_err *err)
{
    sd_direction_file *v;
    int n;
    sd_buf b;
    sd_buf_init(&b, 300);
    sd_status st = sd_direction_list(&v, &n, data_dir, model_sha256, err);
    for (int i = 0; i < n; i++) sd_buf_printf(&b, "%s%s", i ? ", " : "", v[i].name);
    sd_direction_list_free(v, n);
    if (!st) {
        st = sd_fail(err, SD_E_NOTFOUND, "this model (%.12s..) has no direction '%s'", model_sha256, name);
        sd_hint(err, n ? "it has %s; a direction belongs to the very file it was made on" : "make one with `sonde direction make`%s", n ? sd_buf_str(&b) : "");
    }
    sd_buf_release(&b);
    return st;
}

sd_status sd_direction_load(sd_direction_file *out, const char *data_dir, const char *model_sha256, const char *name, int64_t d, sd_err *err)
{
    char path[1024];
    *out = (sd_direction_file){0};
    sd_status st = sd_direction_name_check(name, err);
    if (!st) st = place(path, data_dir, model_sha256, name, err);
    if (st) return st;
    if (!sd_file_exists(path)) return no_such(data_dir, model_sha256, name, err);
    if ((st = read_file(out, path, err))) return st;
    if (strcmp(out->model_sha256, model_sha256) != 0) st = sd_fail(err, SD_E_FORMAT, "%s is of another model (%.12s..)", path, out->model_sha256);
    if (!st && d && out->d != d)
        st = sd_fail(err, SD_E_SHAPE, "the direction '%s' has %lld numbers, the model's width is %lld", name, (long long)out->d, (long long)d);
    if (st) sd_direction_file_release(out);
    return st;
}

sd_status sd_direction_resolve(sd_steer_spec *spec, const char *data_dir, const char *model_sha256, int64_t d, sd_err *err)
{
    sd_direction_file f;
    if (!*spec->direction || spec->vector) return SD_OK;
    sd_status st = sd_direction_load(&f, data_dir, model_sha256, spec->direction, d, err);
    if (st) return st;
    if (!spec->has_site) spec->site = (sd_site){SD_SITE_RESID_PRE, f.layer};
    spec->has_site = true;
    spec->vector = f.vector;
    spec->n_vector = f.d;
    f.vector = NULL;
    sd_direction_file_release(&f);
    return SD_OK;
}

/* Does the edit take from the projection on a direction that v meets with cosine c? A clamp and a cap set it to a fixed value, which may be
 * below what the model wants, so they are refused whatever the value. */
static bool pushes_down(const sd_steer_spec *s, double c)
{
    if (s->op == SD_STEER_ADD) return s->value * c < 0;
    if (s->op == SD_STEER_SCALE) return s->value < 1;
    return true;
}

sd_status sd_direction_guard(const sd_steer_spec *spec, const float *v, int64_t d, const char *data_dir, const char *model_sha256, sd_err *err)
{
    sd_direction_file *known;
    int n;
    sd_status st = sd_direction_list(&known, &n, data_dir, model_sha256, err);
    for (int i = 0; i < n && !st; i++) {
        if (known[i].d != d || strcmp(known[i].kind, "refusal") != 0) continue;
        double c = sd_cosine(v, known[i].vector, d);
        if (!(fabs(c) > MAX_COSINE) || !pushes_down(spec, c)) continue;
        st = sd_fail(err, SD_E_ARG, "steer: this would push down the refusal direction '%s' of this model (cosine %.2f)", known[i].name, c);
        sd_hint(err, "refusal directions are ablated for measurement only, by `sonde direction` and `sonde audit`; pushing them up is allowed");
    }
    sd_direction_list_free(known, n);
    return st;
}
