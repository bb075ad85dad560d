/* JSON. Reading: jansson behind caps of depth and size, typed getters whose errors name the path.
 * Writing: a streaming writer into sd_buf (long arrays never become a tree). */
#ifndef SD_BASE_JSON_H
#define SD_BASE_JSON_H

#include "base/str.h"
#include <jansson.h>

/* Parses a whole document. max_depth 64; duplicate keys are an error. *out is owned by the caller (json_decref). `what`
 * names it in errors. */
sd_status sd_json_parse(json_t **out, const char *p, size_t n, const char *what, sd_err *err);
/* The same of a stranger's text: SD_E_FORMAT when its tree would take more than max_memory bytes, of which "[{},{},..]" takes eighty a byte. */
sd_status sd_json_parse_within(json_t **out, const char *p, size_t n, size_t max_memory, const char *what, sd_err *err);
sd_status sd_json_load(json_t **out, const char *path, size_t max_bytes, sd_err *err);
/* Line `number` of a file of lines: errors name that line of it. */
sd_status sd_json_parse_line(json_t **out, sd_slice line, const char *path, int64_t number, sd_err *err);
/* JSON lines: each line of a file that is not empty, parsed, with `what` "PATH, line N"; stops at the first error, fn's own among them. row is borrowed. */
typedef sd_status sd_json_line_fn(void *self, json_t *row, const char *what, sd_err *err);
sd_status sd_json_lines(const char *path, size_t max_bytes, sd_json_line_fn *fn, void *self, sd_err *err);

/* Typed getters on objects; `what` names the document. The _opt forms leave *out alone when the key is absent or null.
 */
sd_status sd_json_get_i64(const json_t *obj, const char *key, int64_t *out, const char *what, sd_err *err);
sd_status sd_json_get_f64(const json_t *obj, const char *key, double *out, const char *what, sd_err *err);
sd_status sd_json_get_str(const json_t *obj, const char *key, const char **out, const char *what, sd_err *err);
sd_status sd_json_get_bool(const json_t *obj, const char *key, bool *out, const char *what, sd_err *err);
sd_status sd_json_opt_i64(const json_t *obj, const char *key, int64_t *out, const char *what, sd_err *err);
sd_status sd_json_opt_f64(const json_t *obj, const char *key, double *out, const char *what, sd_err *err);
sd_status sd_json_opt_str(const json_t *obj, const char *key, const char **out, const char *what, sd_err *err);
sd_status sd_json_opt_bool(const json_t *obj, const char *key, bool *out, const char *what, sd_err *err);

/* Writer. Commas and escapes are its business; invalid UTF-8 becomes U+FFFD; NaN and infinities become null.
 *   sd_jw w; sd_jw_init(&w, &buf); sd_jw_obj(&w); sd_jw_key(&w, "n"); sd_jw_i64(&w, 3); sd_jw_end(&w); */
typedef struct sd_jw {
    sd_buf *b;
    int depth;
    bool comma, after_key;
    uint64_t is_obj[2];
} sd_jw; /* at most 128 deep */
void sd_jw_init(sd_jw *w, sd_buf *b);
void sd_jw_obj(sd_jw *w);
void sd_jw_arr(sd_jw *w);
void sd_jw_end(sd_jw *w); /* closes the innermost object or array */
void sd_jw_key(sd_jw *w, const char *key);
void sd_jw_str(sd_jw *w, const char *s);
void sd_jw_slice(sd_jw *w, sd_slice s);
void sd_jw_i64(sd_jw *w, int64_t v);
void sd_jw_u64(sd_jw *w, uint64_t v);
void sd_jw_f64(sd_jw *w, double v); /* shortest text that reads back as v */
void sd_jw_f32(sd_jw *w, float v);  /* shortest text that reads back as the same float */
void sd_jw_bool(sd_jw *w, bool v);
void sd_jw_null(sd_jw *w);
void sd_jw_tree(sd_jw *w, const json_t *t);
/* key and value in one call */
void sd_jw_kstr(sd_jw *w, const char *key, const char *s);
void sd_jw_ki64(sd_jw *w, const char *key, int64_t v);
void sd_jw_kf64(sd_jw *w, const char *key, double v);
void sd_jw_kbool(sd_jw *w, const char *key, bool v);

#endif
