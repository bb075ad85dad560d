/* Owns: the small routes around a model: names, health, metrics, tokens, templates, embeddings. */
#include "serve/server_int.h"

#include <inttypes.h>
#include <math.h>

static void put_model(sd_jw *w, const sd_server *s, const sd_reg_recipe *r)
{
    char id[200];
    snprintf(id, sizeof id, "%s%s%s", s->opt.model_name, r ? "@" : "", r ? r->name : "");
    sd_jw_obj(w);
    sd_jw_kstr(w, "id", id);
    sd_jw_kstr(w, "object", "model");
    sd_jw_ki64(w, "created", s->started);
    sd_jw_kstr(w, "owned_by", "sonde");
    if (r && r->description[0]) sd_jw_kstr(w, "description", r->description);
    sd_jw_end(w);
}

int sd_handle__models(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_jw w;
    (void)rq;
    (void)p;
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "object", "list");
    sd_jw_key(&w, "data");
    sd_jw_arr(&w);
    if (s->opt.m) put_model(&w, s, NULL);
    for (int i = 0; i < s->n_recipe && s->opt.m; i++) put_model(&w, s, &s->recipe[i]);
    sd_jw_end(&w);
    sd_jw_end(&w);
    return 0;
}

int sd_handle__model(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_jw w;
    size_t n = s->opt.m ? strlen(s->opt.model_name) : 0;
    const char *name = rq->arg[0];
    bool ours = n && strncmp(name, s->opt.model_name, n) == 0 && (name[n] == '\0' || name[n] == '@');
    const sd_reg_recipe *r = ours && name[n] ? sd_registry__recipe(s, name + n + 1) : NULL;
    if (!ours || (name[n] && !r)) return sd_problem_set(p, 404, "model", "there is no model '%.100s' here: /v1/models lists what there is", name);
    sd_jw_init(&w, &rp->body);
    put_model(&w, s, r);
    return 0;
}

int sd_handle__health(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    (void)s;
    (void)rq;
    (void)p;
    sd_buf_puts(&rp->body, "{\"status\":\"ok\"}");
    return 0;
}

int sd_handle__metrics(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_gauges g = {.start_seconds = (double)s->started, .version = sd_version(), .arch = s->opt.m ? s->opt.m->cfg.arch : ""};
    (void)rq;
    (void)p;
    if (s->engine) sd_engine_load(s->engine, &g.running, &g.waiting);
    g.slots = s->engine ? (s->opt.n_slots ? s->opt.n_slots : 8) : 0;
    sd_metrics_write(s->metrics, &g, &rp->body);
    rp->type = "text/plain; version=0.0.4; charset=utf-8";
    return 0;
}

int sd_handle__openapi(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    (void)s;
    (void)rq;
    (void)p;
    sd_openapi__write(&rp->body);
    return 0;
}

/* ---- tokens ---- */

const sd_field sd_body_tokenize[] = {
    {.name = "content", .type = SD_FIELD_STR, .required = true, .help = "the text"},
    {.name = "add_special", .type = SD_FIELD_BOOL, .help = "add BOS and read special tokens in the text; default true"},
    {.name = "with_pieces", .type = SD_FIELD_BOOL, .help = "tokens as {\"id\", \"piece\"}; a piece that is no text is an array of bytes"},
    {0}};

int sd_handle__tokenize(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    sd_ids ids = {0};
    sd_err err = {0};
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_tokenize, rp, p);
    if (http) return http;
    const json_t *text = sd_field_get(body, "content");
    const sd_tok *tok = s->opt.m->tok;
    sd_encode_opt opt = {.no_special = !sd_field_bool(body, "add_special", true)};
    if (sd_tok_encode(tok, (sd_slice){json_string_value(text), json_string_length(text)}, &opt, &ids, &err)) http = sd_problem_of(p, &err, "content");
    bool pieces = sd_field_bool(body, "with_pieces", false);
    json_decref(body);
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_key(&w, "tokens");
    sd_jw_arr(&w);
    for (int64_t i = 0; i < ids.n; i++) {
        sd_slice b = sd_tok_bytes(tok, ids.v[i]);
        if (!pieces) {
            sd_jw_i64(&w, ids.v[i]);
            continue;
        }
        sd_jw_obj(&w);
        sd_jw_ki64(&w, "id", ids.v[i]);
        sd_jw_key(&w, "piece");
        if (sd_utf8_valid_prefix(b) == b.n) sd_jw_slice(&w, b);
        else {
            sd_jw_arr(&w);
            for (size_t k = 0; k < b.n; k++) sd_jw_i64(&w, (unsigned char)b.p[k]);
            sd_jw_end(&w);
        }
        sd_jw_end(&w);
    }
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_ids_release(&ids);
    return http;
}

const sd_field sd_body_detokenize[] = {
    {.name = "tokens", .type = SD_FIELD_ARR, .required = true, .help = "token ids"},
    {0}};

int sd_handle__detokenize(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    sd_ids ids = {0};
    sd_err err = {0};
    sd_buf text;
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_detokenize, rp, p);
    if (http) return http;
    sd_buf_init(&text, 1 << 26);
    http = sd_body__ids(&ids, s, sd_field_get(body, "tokens"), "tokens", p);
    json_decref(body);
    if (!http && sd_tok_decode(s->opt.m->tok, ids.v, ids.n, true, &text, &err)) http = sd_problem_of(p, &err, "tokens");
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_key(&w, "content");
    sd_jw_slice(&w, (sd_slice){text.p ? text.p : "", text.n});
    sd_jw_end(&w);
    sd_buf_release(&text);
    sd_ids_release(&ids);
    return http;
}

const sd_field sd_body_apply_template[] = {
    {.name = "messages", .type = SD_FIELD_ARR, .required = true, .help = "as in a chat"},
    {.name = "add_generation_prompt", .type = SD_FIELD_BOOL, .help = "open the assistant's turn; default true"},
    {0}};

int sd_handle__apply_template(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    sd_buf text;
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_apply_template, rp, p);
    if (http) return http;
    sd_buf_init(&text, 1 << 26);
    http = sd_body__chat_text(&text, s, sd_field_get(body, "messages"), sd_field_bool(body, "add_generation_prompt", true), "messages", p);
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_key(&w, "prompt");
    sd_jw_slice(&w, (sd_slice){text.p ? text.p : "", text.n});
    sd_jw_end(&w);
    sd_buf_release(&text);
    json_decref(body);
    return http;
}

/* ---- embeddings ---- */

enum { MAX_INPUTS = 64 };

const sd_field sd_body_embeddings[] = {
    {.name = "input", .type = SD_FIELD_ANY, .required = true, .help = "a string, an array of ids, or an array of up to 64 of either"},
    {.name = "model", .type = SD_FIELD_STR, .help = "a name of /v1/models"},
    {.name = "encoding_format", .type = SD_FIELD_STR, .help = "\"float\" (default) or \"base64\" (little-endian f32)"},
    {.name = "dimensions", .type = SD_FIELD_INT, .help = "only the site's own"},
    {.name = "user", .type = SD_FIELD_ANY, .help = "not looked at"},
    {.name = "sonde", .type = SD_FIELD_OBJ, .help = "{\"site\": \"final_norm\", \"pool\": \"mean\" or \"last\", \"normalize\": true}"},
    {0}};
static const sd_field embedding_fields[] = {
    {.name = "site", .type = SD_FIELD_STR}, {.name = "pool", .type = SD_FIELD_STR}, {.name = "normalize", .type = SD_FIELD_BOOL}, {0}};

/* One text's vector: the hook adds rows up, or keeps the last. */
typedef struct pooled { double *sum; float *last; int64_t n, d; sd_hook hook; } pooled;

static sd_status pool_rows(void *self, sd_act *act, sd_err *err)
{
    pooled *v = self;
    (void)err;
    for (int64_t i = v->n - act->pos0; i < act->x.rows; i++) { /* a step that was stopped is made again: rows that were added are left out */
        for (int64_t j = 0; j < v->d; j++) v->sum[j] += (double)sd_mat_row(act->x, i)[j];
        v->n++;
    }
    memcpy(v->last, sd_mat_row(act->x, act->x.rows - 1), (size_t)v->d * sizeof(float));
    return SD_OK;
}

/* RFC 4648 */
static void put_base64(sd_buf *b, const unsigned char *p, size_t n)
{
    static const char a[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        sd_buf_putc(b, a[v >> 18]);
        sd_buf_putc(b, a[v >> 12 & 63]);
        sd_buf_putc(b, i + 1 < n ? a[v >> 6 & 63] : '=');
        sd_buf_putc(b, i + 2 < n ? a[v & 63] : '=');
    }
}

typedef struct embed { sd_site site; bool last, normalize, base64; int64_t d; int n; pooled *v; sd_job *job; int64_t n_tokens; } embed;

static void put_vector(sd_jw *w, const embed *e, pooled *v)
{
    double norm = 0;
    sd_buf text;
    for (int64_t j = 0; j < e->d; j++) {
        if (!e->last) v->last[j] = (float)(v->sum[j] / (double)v->n);
        norm += (double)v->last[j] * (double)v->last[j];
    }
    for (int64_t j = 0; e->normalize && norm > 0 && j < e->d; j++) v->last[j] = (float)((double)v->last[j] / sqrt(norm));
    sd_jw_key(w, "embedding");
    if (!e->base64) {
        sd_jw_arr(w);
        for (int64_t j = 0; j < e->d; j++) sd_jw_f32(w, v->last[j]);
        sd_jw_end(w);
        return;
    }
    sd_buf_init(&text, (size_t)e->d * 8 + 16);
    put_base64(&text, (const unsigned char *)v->last, (size_t)e->d * sizeof(float));
    sd_jw_slice(w, (sd_slice){text.p ? text.p : "", text.n});
    sd_buf_release(&text);
}

static int read_embed(embed *e, const sd_server *s, const json_t *body, sd_problem *p)
{
    sd_err err = {0};
    const json_t *sonde = sd_field_get(body, "sonde");
    const char *site = sd_field_str(sonde, "site", "final_norm"), *pool, *format = sd_field_str(body, "encoding_format", "float");
    const char *name = sd_field_str(body, "model", s->opt.model_name);
    int http = sonde ? sd_fields_check(sonde, embedding_fields, "sonde.", NULL, p) : 0;
    if (http) return http;
    if (strcmp(name, s->opt.model_name) != 0) return sd_problem_set(p, 404, "model", "there is no model '%.100s' here", name);
    pool = sd_field_str(sonde, "pool", "mean");
    e->last = strcmp(pool, "last") == 0;
    e->base64 = strcmp(format, "base64") == 0;
    e->normalize = sd_field_bool(sonde, "normalize", true);
    if (!e->last && strcmp(pool, "mean") != 0) return sd_problem_set(p, 400, "sonde.pool", "sonde.pool is \"mean\" or \"last\"");
    if (!e->base64 && strcmp(format, "float") != 0) return sd_problem_set(p, 400, "encoding_format", "encoding_format is \"float\" or \"base64\"");
    sd_status st = sd_site_parse(&e->site, site, strlen(site), &err);
    if (!st) st = sd_model_site_cols(s->opt.m, e->site, &e->d, &err);
    if (st) return sd_problem_of(p, &err, "sonde.site");
    if (!e->d || e->site.kind == SD_SITE_LOGITS) return sd_problem_set(p, 400, "sonde.site", "sonde.site: %s has no row a token to embed", site);
    if (sd_field_int(body, "dimensions", e->d) != e->d)
        return sd_problem_set(p, 400, "dimensions", "dimensions: %s has %" PRId64, site, e->d);
    return 0;
}

static int make_embed(embed *e, const sd_server *s, const json_t *input, sd_problem *p)
{
    const json_t *first = json_array_get(input, 0);
    bool list = json_is_string(first) || json_is_array(first);
    sd_err err = {0};
    int http = 0;
    e->n = list ? (int)json_array_size(input) : 1;
    if (e->n > MAX_INPUTS) return sd_problem_set(p, 400, "input", "input: at most %d texts in a request", MAX_INPUTS);
    sd_status st = sd_job_new(&e->job, e->n, &err);
    if (!st) st = sd_alloc_zero(&e->v, (size_t)e->n * sizeof *e->v, "embeddings", &err);
    for (int i = 0; i < e->n && !st && !http; i++) {
        pooled *v = &e->v[i];
        sd_seq *q = &e->job->seq[i];
        v->d = e->d;
        v->hook = (sd_hook){.name = "embedding", .at = &e->site, .n_at = 1, .mode = SD_HOOK_READ, .fn = pool_rows, .self = v};
        q->watch = &v->hook;
        st = sd_alloc_zero(&v->sum, (size_t)e->d * sizeof *v->sum, "embeddings", &err);
        if (!st) st = sd_alloc_zero(&v->last, (size_t)e->d * sizeof *v->last, "embeddings", &err);
        if (!st) http = sd_body__ids(&q->ids, s, list ? json_array_get(input, (size_t)i) : input, "input", p);
        if (!st && !http) http = sd_body__fits(s, q->ids.n, false, "input", p);
        e->n_tokens += q->ids.n;
    }
    return st ? sd_problem_of(p, &err, "input") : http;
}

int sd_handle__embeddings(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    embed e = {0};
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_embeddings, rp, p);
    if (http) return http;
    http = read_embed(&e, s, body, p);
    if (!http) http = make_embed(&e, s, sd_field_get(body, "input"), p);
    if (!http) http = sd_job__run(s, e.job, rq, p);
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "object", "list");
    sd_jw_key(&w, "data");
    sd_jw_arr(&w);
    for (int i = 0; i < e.n && !http; i++) {
        sd_jw_obj(&w);
        sd_jw_kstr(&w, "object", "embedding");
        sd_jw_ki64(&w, "index", i);
        put_vector(&w, &e, &e.v[i]);
        sd_jw_end(&w);
    }
    sd_jw_end(&w);
    sd_jw_kstr(&w, "model", s->opt.model_name);
    sd_jw_key(&w, "usage");
    sd_jw_obj(&w);
    sd_jw_ki64(&w, "prompt_tokens", e.n_tokens);
    sd_jw_ki64(&w, "total_tokens", e.n_tokens);
    sd_jw_end(&w);
    sd_jw_end(&w);
    for (int i = 0; e.v && i < e.n; i++) {
        sd_free(e.v[i].sum);
        sd_free(e.v[i].last);
    }
    sd_free(e.v);
    sd_job_free(e.job);
    json_decref(body);
    return http;
}
