/* Owns: Neuronpedia's steering: its request becomes one of ours, plain and steered side by side; the answer is in its shape. */
#include "serve/openai.h"

#include <math.h>

#define STEERING                                                                                                                             \
    {.name = "modelId", .type = SD_FIELD_STR},                                                                                               \
    {.name = "features", .type = SD_FIELD_ARR, .required = true, .help = "[{\"layer\": dictionary, \"index\", \"strength\"}]"},                \
    {.name = "temperature", .type = SD_FIELD_NUM, .lo = 0, .hi = 2, .help = "default 0.5"},                                                  \
    {.name = "n_tokens", .type = SD_FIELD_INT, .lo = 1, .hi = 4096, .help = "default 32"},                                                   \
    {.name = "freq_penalty", .type = SD_FIELD_NUM, .lo = -2, .hi = 2}, {.name = "seed", .type = SD_FIELD_INT, .help = "default 16"},           \
    {.name = "strength_multiplier", .type = SD_FIELD_NUM, .lo = -1e4, .hi = 1e4, .help = "default 1"},                                       \
    {.name = "steer_special_tokens", .type = SD_FIELD_BOOL},                                                                                 \
    {.name = "steer_method", .type = SD_FIELD_STR, .help = "SIMPLE_ADDITIVE (default), ORTHOGONAL_DECOMP, PROJECTION_CAP"},                  \
    {.name = "stream", .type = SD_FIELD_BOOL, .help = "refused when true"}

const sd_field sd_body_np_steer[] = {{.name = "prompt", .type = SD_FIELD_STR, .required = true}, STEERING, {0}};
const sd_field sd_body_np_steer_chat[] = {
    {.name = "defaultChatMessages", .type = SD_FIELD_ARR, .required = true, .help = "after the first turn the two histories differ"},
    {.name = "steeredChatMessages", .type = SD_FIELD_ARR, .required = true}, STEERING, {0}};

/* strength times multiplier on the decoder row; a scale of the projection; a cap of the projection. */
static int one_steer(json_t **out, const json_t *f, const json_t *body, const char *param, sd_problem *p)
{
    const char *method = sd_field_str(body, "steer_method", "SIMPLE_ADDITIVE");
    const json_t *layer = json_object_get(f, "layer"), *index = json_object_get(f, "index"), *strength = json_object_get(f, "strength");
    int64_t k = json_integer_value(index);
    bool read = json_is_integer(index) || (json_is_string(index) && sd_parse_i64(sd_slice_of(json_string_value(index)), &k));
    if (!json_is_string(layer) || !read || !json_is_number(strength)) return sd_problem_set(p, 400, param, "%s: expected {\"layer\", \"index\", \"strength\"}", param);
    bool scale = strcmp(method, "ORTHOGONAL_DECOMP") == 0, cap = strcmp(method, "PROJECTION_CAP") == 0;
    if (!scale && !cap && strcmp(method, "SIMPLE_ADDITIVE") != 0)
        return sd_problem_set(p, 400, "steer_method", "steer_method is SIMPLE_ADDITIVE, ORTHOGONAL_DECOMP or PROJECTION_CAP");
    double v = json_number_value(strength) * sd_field_num(body, "strength_multiplier", 1);
    if (!isfinite(v)) return sd_problem_set(p, 400, param, "%s.strength times strength_multiplier is beyond all numbers", param);
    *out = json_pack("{s:{s:O, s:I}, s:s, s:f, s:s, s:b}", "feature", "dict", layer, "index", (json_int_t)k, "op", scale ? "scale" : cap ? "cap" : "add",
                     cap ? "max" : "value", v, "unit", "raw", "special", (int)sd_field_bool(body, "steer_special_tokens", false));
    return *out ? 0 : sd_problem_set(p, 503, param, "out of memory");
}

static int steers(json_t **out, const json_t *body, sd_problem *p)
{
    char param[32];
    const json_t *f = sd_field_get(body, "features");
    int http = 0;
    *out = json_array();
    for (size_t i = 0; i < json_array_size(f) && !http; i++) {
        json_t *one = NULL;
        snprintf(param, sizeof param, "features[%zu]", i);
        http = one_steer(&one, json_array_get(f, i), body, param, p);
        if (!http && json_array_append_new(*out, one)) http = sd_problem_set(p, 503, param, "out of memory");
    }
    if (!http && json_array_size(*out) == 0) http = sd_problem_set(p, 400, "features", "features: give at least one");
    return http;
}

/* The body of one of our own requests. steer NULL: plain. */
static json_t *own_body(const json_t *body, const char *key, json_t *prompt, json_t *steer, bool compare)
{
    json_t *b = json_pack("{s:O, s:I, s:f, s:f, s:I}", key, prompt, "max_tokens", (json_int_t)sd_field_int(body, "n_tokens", 32), "temperature",
                          sd_field_num(body, "temperature", 0.5), "frequency_penalty", sd_field_num(body, "freq_penalty", 0), "seed",
                          (json_int_t)sd_field_int(body, "seed", 16));
    if (b && steer && json_object_set_new(b, "sonde", json_pack("{s:O, s:b}", "steer", steer, "compare", (int)compare))) {
        json_decref(b);
        return NULL;
    }
    return b;
}

static int start(sd_run **out, sd_server *s, json_t *own, bool chat, sd_problem *p)
{
    return own ? sd_run__new(out, s, own, chat, p) : sd_problem_set(p, 503, NULL, "out of memory");
}

int sd_handle__np_steer(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    static const char *const key[] = {"DEFAULT", "STEERED"};
    json_t *body, *steer = NULL;
    sd_run *r = NULL;
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_np_steer, rp, p);
    if (http) return http;
    if (sd_field_bool(body, "stream", false)) http = sd_problem_set(p, 400, "stream", "stream: use /v1/completions with sonde.compare");
    if (!http) http = steers(&steer, body, p);
    if (!http) http = start(&r, s, own_body(body, "prompt", sd_field_get(body, "prompt"), steer, true), false, p);
    if (!http) http = sd_run__finish(r, rq, p);
    if (!http) {
        sd_jw_init(&w, &rp->body);
        sd_jw_obj(&w);
        for (int i = 0; i < 2; i++) {
            sd_buf text;
            sd_buf_init(&text, 1 << 26);
            sd_buf_puts(&text, sd_field_str(body, "prompt", ""));
            sd_buf_put(&text, r->lane[i].text.p, r->lane[i].text.n);
            sd_jw_key(&w, key[i]);
            sd_jw_slice(&w, (sd_slice){text.p ? text.p : "", text.n});
            sd_buf_release(&text);
        }
        sd_jw_kstr(&w, "id", r->id);
        sd_jw_key(&w, "shareUrl");
        sd_jw_null(&w);
        sd_edits__write(&w, &r->edits[1]);
        sd_jw_end(&w);
    }
    sd_run__free(r);
    json_decref(steer);
    json_decref(body);
    return http;
}

/* {"raw", "chatTemplate": the messages and the answer}. */
static int put_side(sd_jw *w, sd_server *s, const sd_run *r, const json_t *messages, const char *key, sd_problem *p)
{
    sd_buf raw;
    const sd_buf *text = &r->lane[0].text;
    const json_t *m;
    size_t i;
    sd_buf_init(&raw, 1 << 26);
    int http = sd_body__chat_text(&raw, s, messages, true, key, p);
    sd_buf_put(&raw, text->p, text->n);
    sd_jw_key(w, key);
    sd_jw_obj(w);
    sd_jw_key(w, "raw");
    sd_jw_slice(w, (sd_slice){raw.p ? raw.p : "", raw.n});
    sd_jw_key(w, "chatTemplate");
    sd_jw_arr(w);
    json_array_foreach(messages, i, m) sd_jw_tree(w, m);
    sd_jw_obj(w);
    sd_jw_kstr(w, "role", "assistant");
    sd_jw_key(w, "content");
    sd_jw_slice(w, (sd_slice){text->p ? text->p : "", text->n});
    sd_jw_end(w);
    sd_jw_end(w);
    sd_jw_end(w);
    sd_buf_release(&raw);
    return http;
}

int sd_handle__np_steer_chat(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body, *steer = NULL;
    sd_run *plain = NULL, *steered = NULL;
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_np_steer_chat, rp, p);
    if (http) return http;
    json_t *a = sd_field_get(body, "defaultChatMessages"), *b = sd_field_get(body, "steeredChatMessages");
    if (sd_field_bool(body, "stream", false)) http = sd_problem_set(p, 400, "stream", "stream: use /v1/chat/completions with sonde.compare");
    if (!http) http = steers(&steer, body, p);
    /* Both are decoded in the same steps. */
    if (!http) http = start(&plain, s, own_body(body, "messages", a, NULL, false), true, p);
    if (!http) http = start(&steered, s, own_body(body, "messages", b, steer, false), true, p);
    if (!http) http = sd_run__finish(plain, rq, p);
    if (!http) http = sd_run__finish(steered, rq, p);
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    if (!http) http = put_side(&w, s, plain, a, "DEFAULT", p);
    if (!http) http = put_side(&w, s, steered, b, "STEERED", p);
    if (!http) {
        sd_jw_kstr(&w, "id", steered->id);
        sd_edits__write(&w, &steered->edits[0]);
    }
    sd_jw_end(&w);
    sd_run__free(plain);
    sd_run__free(steered);
    json_decref(steer);
    json_decref(body);
    return http;
}
