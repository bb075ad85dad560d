/* The parts of a record, by the record's own writers and readers. */
#include "lab/audit_part.h"

#include "base/map.h"

#define SCHEMA "sonde.audit_part/1"
enum { MAX_PART = 1 << 28, MAX_WORDS = 4096 };

void sd_audit_part_release(sd_audit_part *p)
{
    for (int i = 0; i < p->n_word; i++) sd_free(p->word[i]);
    sd_free(p->word);
    sd_behaviour_release(&p->b);
    *p = (sd_audit_part){0};
}

sd_status sd_audit_part_write(const char *path, const sd_audit_part *p, sd_err *err)
{
    sd_buf b;
    sd_jw w;
    sd_wfile *f = NULL;
    sd_buf_init(&b, MAX_PART);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", SCHEMA);
    sd_jw_key(&w, "args");
    sd_jw_arr(&w);
    for (int i = 0; i < p->n_word; i++) sd_jw_str(&w, p->word[i]);
    sd_jw_end(&w);
    sd_jw_kstr(&w, "model_sha256", p->model_sha256);
    sd_jw_kf64(&w, "seconds", p->seconds);
    sd_jw_kstr(&w, "rendered_sha256", p->b.rendered_sha256);
    sd_jw_kstr(&w, "judge", p->b.judge);
    sd_audit__write_frames(&w, &p->b);
    sd_jw_key(&w, "replies");
    sd_jw_arr(&w);
    for (int64_t i = 0; i < p->b.n; i++)
        if (p->b.v[i].by_phrases != SD_CLASS_UNSCORED) sd_audit__write_reply(&w, &p->b.v[i]);
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    sd_status st = sd_buf_check(&b, "what was judged", err);
    if (!st) st = sd_wfile_open(&f, path, err);
    if (!st) st = sd_wfile_private(f, err);
    if (!st) st = sd_wfile_write(f, b.p, b.n, err);
    if (!st) st = sd_wfile_commit(f, err);
    else sd_wfile_abort(f);
    sd_buf_release(&b);
    return st;
}

static sd_status read_words(sd_audit_part *p, const json_t *list, const char *path, sd_err *err)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > MAX_WORDS) return sd_fail(err, SD_E_FORMAT, "%s has no command line", path);
    sd_status st = sd_alloc_zero(&p->word, (n + 1) * sizeof *p->word, "a command line", err);
    for (size_t i = 0; i < n && !st; i++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (!word) return sd_fail(err, SD_E_FORMAT, "%s: word %zu of the command line is no text", path, i);
        if (!(p->word[p->n_word++] = sd_strdup(word))) st = sd_fail(err, SD_E_NOMEM, "out of memory: a command line");
    }
    return st;
}

sd_status sd_audit_part_read(sd_audit_part *p, const char *path, sd_err *err)
{
    json_t *root = NULL;
    const char *schema = "", *sha = "", *rendered = "", *judge = "";
    *p = (sd_audit_part){0};
    sd_status st = sd_json_load(&root, path, MAX_PART, err);
    if (!st) st = sd_json_get_str(root, "schema", &schema, path, err);
    if (!st && strcmp(schema, SCHEMA) != 0) st = sd_fail(err, SD_E_FORMAT, "%s is of schema %.60s, expected " SCHEMA, path, schema);
    if (!st) st = read_words(p, json_object_get(root, "args"), path, err);
    if (!st) st = sd_json_get_str(root, "model_sha256", &sha, path, err);
    if (!st) st = sd_json_opt_f64(root, "seconds", &p->seconds, path, err);
    if (!st && !(p->seconds >= 0 && p->seconds < 1e12)) st = sd_fail(err, SD_E_FORMAT, "%s: seconds %g", path, p->seconds);
    if (!st) st = sd_json_get_str(root, "rendered_sha256", &rendered, path, err);
    if (!st) st = sd_json_get_str(root, "judge", &judge, path, err);
    if (!st) st = sd_audit__read_frames(&p->b, root, path, err);
    if (!st) st = sd_audit__read_replies(&p->b, root, path, err);
    snprintf(p->model_sha256, sizeof p->model_sha256, "%s", sha);
    snprintf(p->b.rendered_sha256, sizeof p->b.rendered_sha256, "%s", rendered);
    snprintf(p->b.judge, sizeof p->b.judge, "%s", judge);
    json_decref(root);
    if (st) sd_audit_part_release(p);
    return st;
}
