/* A cell as a file: which study it is of, and the classes of its answers as letters. No prompt, no answer, no weight. */
#include "lab/damage_int.h"

#include "base/map.h"

#include <inttypes.h>
#include <math.h>

#define SCHEMA "sonde.audit_damage_cell/1"
#define MAX_FILE ((size_t)1 << 26)
static const char letters[] = "rpciu"; /* by sd_class */

char sd_damage__letter(sd_class c)
{
    return letters[c];
}

const char *sd_ask_system_name(sd_ask_system s)
{
    static const char *const name[] = {"default", "none", "attack"};
    return name[s];
}

void sd_damage__cell_release(sd_damage_cell *c)
{
    for (int i = 0; i < c->n_point; i++) {
        sd_free(c->point[i].cls);
        sd_task_release(&c->point[i].task);
    }
    sd_free(c->point);
    *c = (sd_damage_cell){0};
}

sd_status sd_damage__cell_write(const sd_damage_cell *c, const char *study, const char *path, sd_err *err)
{
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, MAX_FILE);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", SCHEMA);
    sd_jw_kstr(&w, "study", study);
    sd_jw_kf64(&w, "lr", c->lr);
    sd_jw_ki64(&w, "batch", c->batch);
    sd_jw_ki64(&w, "seed", (int64_t)c->seed);
    sd_jw_ki64(&w, "steps", c->steps);
    sd_jw_ki64(&w, "n_tokens", c->n_tokens);
    sd_jw_kf64(&w, "loss_last", c->loss_last);
    sd_jw_kf64(&w, "seconds", c->seconds);
    sd_jw_kf64(&w, "asking_seconds", c->asking);
    sd_jw_key(&w, "points");
    sd_jw_arr(&w);
    for (int i = 0; i < c->n_point; i++) {
        const sd_damage_point *p = &c->point[i];
        sd_jw_obj(&w);
        sd_jw_ki64(&w, "step", p->step);
        sd_jw_kstr(&w, "system", sd_ask_system_name(p->system));
        sd_jw_kbool(&w, "prefix", p->prefix);
        sd_jw_kstr(&w, "classes", p->cls);
        if (p->task.n) {
            sd_jw_kstr(&w, "exact", p->task.exact);
            sd_jw_key(&w, "nll");
            sd_jw_arr(&w);
            for (int64_t k = 0; k < p->task.n; k++) sd_jw_f64(&w, p->task.nll[k]);
            sd_jw_end(&w);
        }
        sd_jw_end(&w);
    }
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    sd_status st = sd_buf_check(&b, "a cell", err);
    if (!st) st = sd_file_write_atomic(path, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

static sd_status read_task(sd_task *t, const json_t *o, const char *path, sd_err *err)
{
    const char *exact = NULL;
    const json_t *nll = json_object_get(o, "nll");
    const size_t n = json_array_size(nll);
    sd_status st = sd_json_opt_str(o, "exact", &exact, path, err);
    if (st || (!exact && !nll)) return st;
    if (!exact || n == 0 || strlen(exact) != n || strspn(exact, "yn") != n) return sd_fail(err, SD_E_FORMAT, "%s: a task of %zu likelihoods and %zu matches", path, n, exact ? strlen(exact) : 0);
    st = sd_alloc(&t->nll, n * sizeof *t->nll, "a task's rows", err);
    if (!st && !(t->exact = sd_strndup(exact, n))) st = sd_fail(err, SD_E_NOMEM, "out of memory: a task's rows");
    for (size_t i = 0; i < n && !st; i++) {
        const json_t *v = json_array_get(nll, i);
        t->nll[i] = json_is_number(v) ? json_number_value(v) : NAN;
    }
    t->n = (int64_t)n;
    if (st) sd_task_release(t);
    return st;
}

static sd_status read_point(sd_damage_point *p, const json_t *o, int64_t n_prompt, const char *path, sd_err *err)
{
    const char *system = "", *cls = "";
    int s = 0;
    sd_status st = sd_json_get_i64(o, "step", &p->step, path, err);
    if (!st) st = sd_json_get_str(o, "system", &system, path, err);
    if (!st) st = sd_json_get_bool(o, "prefix", &p->prefix, path, err);
    if (!st) st = sd_json_get_str(o, "classes", &cls, path, err);
    if (st) return st;
    while (s <= SD_ASK_ATTACK && strcmp(system, sd_ask_system_name((sd_ask_system)s)) != 0) s++;
    if (s > SD_ASK_ATTACK || p->step < 0 || strlen(cls) != (size_t)n_prompt || strspn(cls, letters) != (size_t)n_prompt)
        return sd_fail(err, SD_E_FORMAT, "%s: a point of step %" PRId64 " with system \"%.12s\" and %zu classes of %" PRId64 " prompts", path, p->step, system, strlen(cls), n_prompt);
    p->system = (sd_ask_system)s;
    p->cls = sd_strndup(cls, strlen(cls));
    if (!p->cls) return sd_fail(err, SD_E_NOMEM, "out of memory: classes of answers");
    return read_task(&p->task, o, path, err);
}

sd_status sd_damage__cell_read(sd_damage_cell *c, const char *study, int64_t n_prompt, const char *path, sd_err *err)
{
    json_t *root = NULL;
    const char *schema = "", *of = "";
    sd_status st = sd_json_load(&root, path, MAX_FILE, err);
    *c = (sd_damage_cell){0};
    if (!st) st = sd_json_get_str(root, "schema", &schema, path, err);
    if (!st) st = sd_json_get_str(root, "study", &of, path, err);
    if (!st && (strcmp(schema, SCHEMA) != 0 || strcmp(of, study) != 0)) {
        st = sd_fail(err, SD_E_FORMAT, "%s is of another study (other model, prompts, data or settings)", path);
        sd_hint(err, "give another folder with -o");
    }
    int64_t seed = 0;
    if (!st) st = sd_json_get_f64(root, "lr", &c->lr, path, err);
    if (!st) st = sd_json_get_i64(root, "batch", &c->batch, path, err);
    if (!st) st = sd_json_get_i64(root, "seed", &seed, path, err);
    if (!st) st = sd_json_get_i64(root, "steps", &c->steps, path, err);
    if (!st) st = sd_json_get_i64(root, "n_tokens", &c->n_tokens, path, err);
    if (!st) st = sd_json_get_f64(root, "seconds", &c->seconds, path, err);
    c->loss_last = c->asking = NAN;
    if (!st) st = sd_json_opt_f64(root, "asking_seconds", &c->asking, path, err);
    if (!st) st = sd_json_opt_f64(root, "loss_last", &c->loss_last, path, err);
    c->seed = (uint64_t)seed;
    const json_t *list = json_object_get(root, "points");
    size_t n = json_array_size(list);
    if (!st && (n == 0 || n > 6 * SD_DAMAGE_STEPS)) st = sd_fail(err, SD_E_FORMAT, "%s has %zu points", path, n);
    if (!st) st = sd_alloc_zero(&c->point, n * sizeof *c->point, "points of a cell", err);
    for (size_t i = 0; i < n && !st; i++) {
        st = read_point(&c->point[i], json_array_get(list, i), n_prompt, path, err);
        if (!st) c->n_point++;
    }
    json_decref(root);
    if (st) sd_damage__cell_release(c);
    return st;
}
