/* Records as JSON: some 200 bytes a prompt. Nothing that was asked or said is in it. */
#include "lab/audit.h"

#include "base/hash.h"

#include <inttypes.h>
#include <math.h>

#define SCHEMA "sonde.audit_run/1"
#define MAX_FILE ((size_t)1 << 28)

void sd_audit_record_release(sd_audit_record *r)
{
    sd_behaviour_release(&r->b);
    *r = (sd_audit_record){0};
}

void sd_audit_record_system(sd_audit_record *r, const sd_system *system)
{
    static const char *const name[] = {[SD_SYSTEM_DEFAULT] = "default", [SD_SYSTEM_NONE] = "none", [SD_SYSTEM_TEXT] = "given"};
    sd_sha256 h;
    snprintf(r->system, sizeof r->system, "%s", name[system->kind]);
    if (!system->text) return;
    sd_sha256_of(&h, system->text, strlen(system->text));
    sd_sha256_hex(&h, r->system_sha256);
}

void sd_openers_of(sd_openers *out, const sd_model *m, const sd_refusal_set *r)
{
    *out = (sd_openers){.n = r->n};
    for (int i = 0; i < r->n; i++) {
        sd_slice t = sd_tok_bytes(m->tok, r->id[i]);
        out->id[i] = r->id[i];
        snprintf(out->text[i], sizeof out->text[i], "%.*s", SD_SLICE(t));
    }
}

bool sd_openers_fit(sd_refusal_set *out, const sd_openers *o, const sd_model *m)
{
    sd_openers own;
    *out = (sd_refusal_set){.n = o->n};
    memcpy(out->id, o->id, sizeof out->id);
    sd_openers_of(&own, m, out);
    bool fit = o->n > 0;
    for (int i = 0; i < o->n && fit; i++) fit = *own.text[i] && strcmp(own.text[i], o->text[i]) == 0;
    if (!fit) *out = (sd_refusal_set){0};
    return fit;
}

static void write_openers(sd_jw *w, const sd_openers *o)
{
    sd_jw_key(w, "refusal_tokens");
    sd_jw_arr(w);
    for (int i = 0; i < o->n; i++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "id", o->id[i]);
        sd_jw_kstr(w, "text", o->text[i]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

void sd_audit_write_rate(sd_jw *w, const char *key, sd_rate r)
{
    sd_jw_key(w, key);
    sd_jw_obj(w);
    sd_jw_ki64(w, "k", r.k);
    sd_jw_ki64(w, "n", r.n);
    sd_jw_kf64(w, "rate", r.ci.est);
    sd_jw_kf64(w, "lo", r.ci.lo);
    sd_jw_kf64(w, "hi", r.ci.hi);
    sd_jw_end(w);
}

void sd_audit_write_hash(sd_jw *w, const char *key, uint64_t v)
{
    char hex[20];
    snprintf(hex, sizeof hex, "%016" PRIx64, v);
    sd_jw_kstr(w, key, hex);
}

void sd_audit_write_prompt(sd_jw *w, const sd_reply *r)
{
    sd_jw_kstr(w, "suite", r->suite);
    sd_jw_kstr(w, "id", r->id);
    sd_jw_kstr(w, "axis", sd_axis_name(r->axis));
    sd_jw_kstr(w, "category", r->category);
}

void sd_audit__write_reply(sd_jw *w, const sd_reply *r)
{
    sd_jw_obj(w);
    sd_audit_write_prompt(w, r);
    sd_jw_kstr(w, "class", sd_class_name(r->cls));
    if (r->by_phrases != r->cls && r->by_phrases != SD_CLASS_UNSCORED) sd_jw_kstr(w, "phrases", sd_class_name(r->by_phrases));
    sd_jw_kf64(w, "score", r->score);
    if (!isnan(r->linear)) sd_jw_kf64(w, "linear", r->linear);
    sd_jw_ki64(w, "n_tokens", r->n_tokens);
    sd_audit_write_hash(w, "prompt", r->key);
    sd_audit_write_hash(w, "answer", r->hash);
    sd_jw_end(w);
}

static void write_replies(sd_jw *w, const sd_behaviour *b)
{
    sd_jw_key(w, "replies");
    sd_jw_arr(w);
    for (int64_t i = 0; i < b->n; i++) sd_audit__write_reply(w, &b->v[i]);
    sd_jw_end(w);
}

void sd_audit__write_frames(sd_jw *w, const sd_behaviour *b)
{
    sd_jw_key(w, "templates");
    sd_jw_arr(w);
    for (int i = 0; i < b->n_tpl; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", b->tpl[i].name);
        sd_jw_ki64(w, "refused", b->tpl[i].refused);
        sd_jw_ki64(w, "n", b->tpl[i].n);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void write_utility(sd_jw *w, const sd_behaviour *b)
{
    const sd_utility *u = &b->utility;
    sd_audit__write_frames(w, b);
    sd_jw_key(w, "utility");
    sd_jw_obj(w);
    sd_jw_kf64(w, "ce_loss", u->ce_loss);
    sd_jw_ki64(w, "ce_tokens", u->ce_tokens);
    if (*u->text_sha256) sd_jw_kstr(w, "text_sha256", u->text_sha256);
    sd_jw_ki64(w, "choice_right", u->choice_right);
    sd_jw_ki64(w, "choice_n", u->choice_n);
    sd_jw_ki64(w, "identity_same", u->identity_same);
    sd_jw_ki64(w, "identity_n", u->identity_n);
    sd_jw_ki64(w, "sycophancy_flips", u->sycophancy_flips);
    sd_jw_ki64(w, "sycophancy_n", u->sycophancy_n);
    sd_jw_end(w);
}

void sd_audit_add_judge(sd_audit_record *r, const char *judge, const sd_judge_error *e, bool own)
{
    if (r->n_judged == SD_MAX_JUDGED || (!e->n_compliance && !e->n_refusal)) return;
    sd_judged *j = &r->judged[r->n_judged++];
    *j = (sd_judged){.e = *e, .own = own};
    snprintf(j->judge, sizeof j->judge, "%s", judge);
}

static void write_judged(sd_jw *w, const sd_audit_record *r)
{
    sd_jw_key(w, "judges");
    sd_jw_arr(w);
    for (int i = 0; i < r->n_judged; i++) {
        const sd_judged *j = &r->judged[i];
        sd_jw_obj(w);
        sd_jw_kstr(w, "judge", j->judge);
        sd_jw_kstr(w, "source", j->own ? "own answers" : "assumed");
        sd_jw_kf64(w, "fpr", j->e.fpr);
        sd_jw_kf64(w, "fnr", j->e.fnr);
        sd_jw_ki64(w, "n_compliance", j->e.n_compliance);
        sd_jw_ki64(w, "n_refusal", j->e.n_refusal);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

void sd_audit_record_write(sd_jw *w, const sd_audit_record *r)
{
    const sd_behaviour *b = &r->b;
    sd_jw_kstr(w, "model", r->model);
    sd_jw_kstr(w, "name", r->name);
    sd_jw_kstr(w, "model_sha256", r->prov.model_sha256);
    sd_jw_kstr(w, "mode", r->prov.mode);
    sd_jw_kstr(w, "system", r->system);
    if (*r->system_sha256) sd_jw_kstr(w, "system_sha256", r->system_sha256);
    if (*r->ablated) sd_jw_kstr(w, "ablated", r->ablated);
    sd_jw_ki64(w, "n_layer", r->n_layer);
    sd_jw_ki64(w, "d_model", r->d_model);
    sd_jw_ki64(w, "n_vocab", r->n_vocab);
    sd_jw_kstr(w, "rendered_sha256", b->rendered_sha256);
    sd_jw_kstr(w, "judge", b->judge);
    if (r->opens.n) write_openers(w, &r->opens);
    sd_jw_kbool(w, "quick", b->quick);
    sd_jw_ki64(w, "n_gen", b->n_gen);
    sd_jw_kf64(w, "seconds", r->seconds);
    sd_audit_write_rate(w, "refusal", sd_audit_refusal(b, SD_AXIS_HARMFUL, NULL));
    sd_audit_write_rate(w, "over_refusal", sd_audit_refusal(b, SD_AXIS_HARMLESS, NULL));
    int64_t unscored = sd_audit_count(b, SD_AXIS_UNKNOWN, SD_CLASS_UNSCORED);
    sd_audit_write_rate(w, "incoherent", sd_rate_of(sd_audit_count(b, SD_AXIS_UNKNOWN, SD_CLASS_INCOHERENT), b->n - unscored));
    if (b->quick) sd_audit_write_rate(w, "phrases_agree", sd_audit_agreement(b));
    sd_jw_ki64(w, "partial", sd_audit_count(b, SD_AXIS_UNKNOWN, SD_CLASS_PARTIAL));
    sd_jw_ki64(w, "unscored", unscored);
    if (b->n_silent) {
        sd_jw_ki64(w, "silent", b->n_silent);
        sd_jw_kstr(w, "silent_why", b->silent_why);
    }
    if (r->n_judged) write_judged(w, r);
    if (r->judge_error.n_refusal) {
        sd_jw_key(w, "judge_error");
        sd_jw_obj(w);
        sd_jw_kf64(w, "fpr", r->judge_error.fpr);
        sd_jw_kf64(w, "fnr", r->judge_error.fnr);
        sd_jw_ki64(w, "n_compliance", r->judge_error.n_compliance);
        sd_jw_ki64(w, "n_refusal", r->judge_error.n_refusal);
        sd_jw_kstr(w, "source", "assumed"); /* measured on other models' answers */
        sd_jw_kf64(w, "refusal_corrected", sd_rogan_gladen(sd_audit_refusal(b, SD_AXIS_HARMFUL, NULL).ci.est, r->judge_error.fpr, r->judge_error.fnr));
        sd_jw_kf64(w, "over_refusal_corrected", sd_rogan_gladen(sd_audit_refusal(b, SD_AXIS_HARMLESS, NULL).ci.est, r->judge_error.fpr, r->judge_error.fnr));
        sd_jw_end(w);
    }
    write_utility(w, b);
    write_replies(w, b);
}

/* ---- reading ---- */

static sd_status text(char *out, size_t cap, const json_t *o, const char *key, const char *path, sd_err *err)
{
    const char *s = "";
    sd_status st = sd_json_get_str(o, key, &s, path, err);
    if (!st) snprintf(out, cap, "%s", s);
    return st;
}

static sd_status hex64(uint64_t *out, const json_t *o, const char *key, const char *path, sd_err *err)
{
    const char *s = "";
    char *end;
    sd_status st = sd_json_get_str(o, key, &s, path, err);
    if (st) return st;
    *out = strtoull(s, &end, 16);
    return *s && !*end && strlen(s) == 16 ? SD_OK : sd_fail(err, SD_E_FORMAT, "%s: %s \"%.20s\" is no hash", path, key, s);
}

static sd_status read_reply(sd_reply *r, const json_t *o, const char *path, sd_err *err)
{
    char axis[16], cls[16];
    int64_t n = 0;
    char phrases[16] = "";
    *r = (sd_reply){.score = NAN, .linear = NAN};
    sd_status st = text(r->suite, sizeof r->suite, o, "suite", path, err);
    if (!st) st = text(r->id, sizeof r->id, o, "id", path, err);
    if (!st) st = text(axis, sizeof axis, o, "axis", path, err);
    if (!st) st = text(r->category, sizeof r->category, o, "category", path, err);
    if (!st) st = text(cls, sizeof cls, o, "class", path, err);
    if (!st && json_object_get(o, "phrases")) st = text(phrases, sizeof phrases, o, "phrases", path, err);
    if (!st) st = sd_json_opt_f64(o, "score", &r->score, path, err);
    if (!st) st = sd_json_opt_f64(o, "linear", &r->linear, path, err);
    if (!st) st = sd_json_get_i64(o, "n_tokens", &n, path, err);
    if (!st) st = hex64(&r->key, o, "prompt", path, err);
    if (!st) st = hex64(&r->hash, o, "answer", path, err);
    if (st) return st;
    if (!sd_class_parse(cls, &r->cls)) return sd_fail(err, SD_E_FORMAT, "%s: class \"%s\" is not known", path, cls);
    r->by_phrases = r->cls;
    if (*phrases && !sd_class_parse(phrases, &r->by_phrases)) return sd_fail(err, SD_E_FORMAT, "%s: class \"%s\" is not known", path, phrases);
    for (int a = SD_AXIS_HARMFUL; a <= SD_AXIS_HARMLESS; a++)
        if (strcmp(axis, sd_axis_name((sd_axis)a)) == 0) r->axis = (sd_axis)a;
    if (r->axis == SD_AXIS_UNKNOWN || n < 0 || n > INT32_MAX) return sd_fail(err, SD_E_FORMAT, "%s: a reply with axis \"%s\" and %" PRId64 " tokens", path, axis, n);
    r->n_tokens = (int32_t)n;
    return SD_OK;
}

/* What was counted, of how many: a file may claim anything, and rates are made of it. */
typedef struct part { const char *name; int64_t k, n; } part;

static sd_status check_parts(const part *v, int n, const char *path, sd_err *err)
{
    for (int i = 0; i < n; i++)
        if (v[i].k < 0 || v[i].k > v[i].n) return sd_fail(err, SD_E_FORMAT, "%s: %s is %" PRId64 " of %" PRId64, path, v[i].name, v[i].k, v[i].n);
    return SD_OK;
}

static sd_status read_judged(sd_audit_record *r, const json_t *root, const char *path, sd_err *err)
{
    const json_t *list = json_object_get(root, "judges");
    sd_status st = SD_OK;
    for (size_t i = 0; i < json_array_size(list) && i < SD_MAX_JUDGED && !st; i++) {
        const json_t *o = json_array_get(list, i);
        sd_judged *j = &r->judged[r->n_judged++];
        char source[24] = "";
        *j = (sd_judged){.e = {.fpr = NAN, .fnr = NAN}};
        st = text(j->judge, sizeof j->judge, o, "judge", path, err);
        if (!st) st = text(source, sizeof source, o, "source", path, err);
        if (!st) st = sd_json_opt_f64(o, "fpr", &j->e.fpr, path, err);
        if (!st) st = sd_json_opt_f64(o, "fnr", &j->e.fnr, path, err);
        if (!st) st = sd_json_get_i64(o, "n_compliance", &j->e.n_compliance, path, err);
        if (!st) st = sd_json_get_i64(o, "n_refusal", &j->e.n_refusal, path, err);
        if (!st) st = check_parts((part[]){{"n_compliance", j->e.n_compliance, INT64_MAX}, {"n_refusal", j->e.n_refusal, INT64_MAX}}, 2, path, err);
        j->own = strcmp(source, "own answers") == 0;
    }
    return st;
}

static sd_status read_openers(sd_openers *out, const json_t *root, const char *path, sd_err *err)
{
    const json_t *list = json_object_get(root, "refusal_tokens");
    sd_status st = SD_OK;
    for (size_t i = 0; i < json_array_size(list) && i < SD_REFUSAL_TOKENS && !st; i++) {
        const json_t *o = json_array_get(list, i);
        int64_t id = 0;
        st = sd_json_get_i64(o, "id", &id, path, err);
        if (!st) st = text(out->text[i], sizeof out->text[i], o, "text", path, err);
        if (!st && (id < 0 || id > INT32_MAX)) st = sd_fail(err, SD_E_FORMAT, "%s: a refusal token %" PRId64, path, id);
        out->id[i] = (int32_t)id;
        out->n = (int)i + 1;
    }
    return st;
}

sd_status sd_audit__read_frames(sd_behaviour *b, const json_t *root, const char *path, sd_err *err)
{
    const json_t *list = json_object_get(root, "templates");
    sd_status st = SD_OK;
    for (size_t i = 0; i < json_array_size(list) && i < SD_MAX_TEMPLATES && !st; i++) {
        sd_template_rate *t = &b->tpl[b->n_tpl++];
        const json_t *e = json_array_get(list, i);
        st = text(t->name, sizeof t->name, e, "name", path, err);
        if (!st) st = sd_json_get_i64(e, "refused", &t->refused, path, err);
        if (!st) st = sd_json_get_i64(e, "n", &t->n, path, err);
        if (!st) st = check_parts(&(part){t->name, t->refused, t->n}, 1, path, err);
    }
    return st;
}

static sd_status read_utility(sd_behaviour *b, const json_t *root, const char *path, sd_err *err)
{
    sd_utility *u = &b->utility;
    const json_t *o = json_object_get(root, "utility");
    sd_status st = sd_audit__read_frames(b, root, path, err);
    u->ce_loss = NAN;
    if (!json_is_object(o)) return st;
    if (!st) st = sd_json_opt_f64(o, "ce_loss", &u->ce_loss, path, err);
    if (!st) st = sd_json_opt_i64(o, "ce_tokens", &u->ce_tokens, path, err);
    if (!st && json_object_get(o, "text_sha256")) st = text(u->text_sha256, sizeof u->text_sha256, o, "text_sha256", path, err);
    if (!st) st = sd_json_opt_i64(o, "choice_right", &u->choice_right, path, err);
    if (!st) st = sd_json_opt_i64(o, "choice_n", &u->choice_n, path, err);
    if (!st) st = sd_json_opt_i64(o, "identity_same", &u->identity_same, path, err);
    if (!st) st = sd_json_opt_i64(o, "identity_n", &u->identity_n, path, err);
    if (!st) st = sd_json_opt_i64(o, "sycophancy_flips", &u->sycophancy_flips, path, err);
    if (!st) st = sd_json_opt_i64(o, "sycophancy_n", &u->sycophancy_n, path, err);
    const part v[] = {{"ce_tokens", u->ce_tokens, INT64_MAX}, {"choice_right", u->choice_right, u->choice_n}, {"identity_same", u->identity_same, u->identity_n},
                      {"sycophancy_flips", u->sycophancy_flips, u->sycophancy_n}};
    return st ? st : check_parts(v, sizeof v / sizeof *v, path, err);
}

sd_status sd_audit__read_replies(sd_behaviour *b, const json_t *root, const char *path, sd_err *err)
{
    const json_t *list = json_object_get(root, "replies");
    if (!json_is_array(list)) return sd_fail(err, SD_E_FORMAT, "%s has no replies", path);
    b->n = (int64_t)json_array_size(list);
    sd_status st = sd_alloc_zero(&b->v, (size_t)(b->n + 1) * sizeof *b->v, "replies", err);
    for (int64_t i = 0; i < b->n && !st; i++) st = read_reply(&b->v[i], json_array_get(list, (size_t)i), path, err);
    return st;
}

sd_status sd_audit_record_read(sd_audit_record *r, const char *path, sd_err *err)
{
    json_t *root = NULL;
    char schema[40] = "";
    *r = (sd_audit_record){0};
    sd_status st = sd_json_load(&root, path, MAX_FILE, err);
    if (!st) st = text(schema, sizeof schema, root, "schema", path, err);
    if (!st && strcmp(schema, SCHEMA) != 0) {
        st = sd_fail(err, SD_E_FORMAT, "%s is of schema %s, expected " SCHEMA, path, schema);
        sd_hint(err, "give the output of `sonde audit run --json`, or a model");
    }
    if (!st) st = text(r->model, sizeof r->model, root, "model", path, err);
    if (!st) st = text(r->name, sizeof r->name, root, "name", path, err);
    if (!st) st = text(r->prov.model_sha256, sizeof r->prov.model_sha256, root, "model_sha256", path, err);
    if (!st) st = text(r->prov.mode, sizeof r->prov.mode, root, "mode", path, err);
    if (!st && json_object_get(root, "ablated")) st = text(r->ablated, sizeof r->ablated, root, "ablated", path, err);
    if (!st) st = text(r->system, sizeof r->system, root, "system", path, err);
    if (!st && json_object_get(root, "system_sha256")) st = text(r->system_sha256, sizeof r->system_sha256, root, "system_sha256", path, err);
    if (!st) st = text(r->b.rendered_sha256, sizeof r->b.rendered_sha256, root, "rendered_sha256", path, err);
    if (!st) st = text(r->b.judge, sizeof r->b.judge, root, "judge", path, err);
    if (!st) st = sd_json_get_i64(root, "n_layer", &r->n_layer, path, err);
    if (!st) st = sd_json_get_i64(root, "d_model", &r->d_model, path, err);
    if (!st) st = sd_json_get_i64(root, "n_vocab", &r->n_vocab, path, err);
    if (!st) st = sd_json_get_i64(root, "n_gen", &r->b.n_gen, path, err);
    const part size[] = {{"n_layer", r->n_layer, INT64_MAX}, {"d_model", r->d_model, INT64_MAX}, {"n_vocab", r->n_vocab, INT64_MAX}, {"n_gen", r->b.n_gen, INT64_MAX}};
    if (!st) st = check_parts(size, sizeof size / sizeof *size, path, err);
    if (!st) st = sd_json_get_bool(root, "quick", &r->b.quick, path, err);
    if (!st) st = sd_json_opt_f64(root, "seconds", &r->seconds, path, err);
    if (!st) st = read_utility(&r->b, root, path, err);
    if (!st) st = read_judged(r, root, path, err);
    if (!st) st = read_openers(&r->opens, root, path, err);
    if (!st) st = sd_audit__read_replies(&r->b, root, path, err);
    json_decref(root);
    if (st) sd_audit_record_release(r);
    return st;
}
