/* Generation for those who speak JSON: the command line's answer, and the library's one call. */
#include "lab/generate_json.h"

#include "lab/model_hash.h"
#include "sonde/text.h"
#include "text/chat_ids.h"

static sd_status write_lane(sd_jw *w, const sd_model *m, const char *key_text, const char *key_ids, const sd_lane *l, sd_err *err)
{
    sd_buf text;
    sd_buf_init(&text, 1 << 24);
    sd_status st = sd_tok_decode(m->tok, l->ids.v, l->ids.n, false, &text, err);
    sd_jw_key(w, key_text);
    sd_jw_slice(w, (sd_slice){text.p ? text.p : "", text.n});
    sd_jw_key(w, key_ids);
    sd_jw_arr(w);
    for (int64_t i = 0; i < l->ids.n; i++) sd_jw_i64(w, l->ids.v[i]);
    sd_jw_end(w);
    sd_buf_release(&text);
    return st;
}

sd_status sd_generate_write(sd_jw *w, const sd_model *m, const sd_generate_result *r, const sd_steer_set *s, sd_err *err)
{
    const sd_lane *main_lane = &r->lane[r->lane[1].ran];
    sd_status st = write_lane(w, m, "text", "tokens", main_lane, err);
    if (!st && r->lane[0].ran && r->lane[1].ran) st = write_lane(w, m, "plain_text", "plain_tokens", &r->lane[0], err);
    if (st) return st;
    sd_jw_kstr(w, "stop", main_lane->stopped ? "end" : "length");
    sd_jw_kstr(w, "mode", sd_mode_name(m->mode));
    sd_jw_key(w, "timings");
    sd_jw_obj(w);
    sd_jw_kf64(w, "prefill_tok_s", (double)r->n_prompt / r->prefill_s);
    sd_jw_key(w, "decode_tok_s");
    if (r->n_decoded)
        sd_jw_f64(w, (double)r->n_decoded / r->decode_s);
    else
        sd_jw_null(w);
    sd_jw_ki64(w, "n_prompt", r->n_prompt);
    sd_jw_ki64(w, "n_gen", main_lane->ids.n);
    sd_jw_kf64(w, "first_token_s", r->first_token_s);
    sd_jw_end(w);
    sd_steer_set_write(w, s);
    return SD_OK;
}

/* ---- the library's call ---- */

void sd_release(void *p)
{
    sd_free(p);
}

/* Hands the buffer's bytes over, NUL-terminated. */
static sd_status give(sd_buf *b, const char *what, char **out, size_t *n, sd_err *err)
{
    sd_status st = sd_buf_check(b, what, err);
    if (!st) st = sd_alloc(out, b->n + 1, what, err);
    if (!st) {
        if (b->n) memcpy(*out, b->p, b->n);
        (*out)[b->n] = '\0';
        if (n) *n = b->n;
    }
    sd_buf_release(b);
    return st;
}

static void write_id(sd_jw *w, const char *key, int32_t id)
{
    sd_jw_key(w, key);
    if (id < 0)
        sd_jw_null(w);
    else
        sd_jw_i64(w, id);
}

sd_status sd_model_json(const sd_model *m, char **json, size_t *n, sd_err *err)
{
    const sd_config *c = &m->cfg;
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 65536);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "arch", c->arch);
    sd_jw_kstr(&w, "name", c->name);
    sd_jw_ki64(&w, "n_layer", c->n_layer);
    sd_jw_ki64(&w, "n_head", c->n_head);
    sd_jw_ki64(&w, "n_head_kv", c->n_head_kv);
    sd_jw_ki64(&w, "d_head", c->d_head);
    sd_jw_ki64(&w, "d_model", c->d_model);
    sd_jw_ki64(&w, "d_ffn", c->d_ffn);
    sd_jw_ki64(&w, "n_vocab", c->n_vocab);
    sd_jw_ki64(&w, "n_ctx", c->n_ctx);
    sd_jw_kbool(&w, "tied", c->tied);
    sd_jw_kstr(&w, "mode", sd_mode_name(m->mode));
    sd_jw_kbool(&w, "chat", m->chat != NULL);
    write_id(&w, "bos", sd_tok_bos(m->tok));
    write_id(&w, "eos", sd_tok_eos(m->tok));
    sd_jw_end(&w);
    return give(&b, "a model's blueprint", json, n, err);
}

static sd_status give_ids(sd_ids *from, int32_t **ids, int64_t *n_ids, sd_err *err)
{
    sd_status st = sd_alloc(ids, (size_t)(from->n + 1) * sizeof **ids, "token ids", err);
    if (!st && from->n) memcpy(*ids, from->v, (size_t)from->n * sizeof **ids);
    if (!st) *n_ids = from->n;
    sd_ids_release(from);
    return st;
}

sd_status sd_text_encode(const sd_model *m, const char *text, size_t n, bool special, int32_t **ids, int64_t *n_ids,
                         sd_err *err)
{
    sd_ids v = {0};
    size_t valid = sd_utf8_valid_prefix((sd_slice){text, n});
    if (valid < n) return sd_fail(err, SD_E_FORMAT, "byte %zu of the text is not UTF-8", valid);
    const sd_encode_opt opt = {.no_special = !special};
    sd_status st = sd_tok_encode(m->tok, (sd_slice){text, n}, &opt, &v, err);
    if (!st) return give_ids(&v, ids, n_ids, err);
    sd_ids_release(&v);
    return st;
}

sd_status sd_text_decode(const sd_model *m, const int32_t *ids, int64_t n_ids, bool special, char **text, size_t *n,
                         sd_err *err)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 28);
    sd_status st = sd_tok_decode(m->tok, ids, n_ids, special, &b, err);
    if (!st) return give(&b, "a text", text, n, err);
    sd_buf_release(&b);
    return st;
}

static sd_status no_template(const sd_model *m, sd_err *err)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "%s has no chat template that can be rendered: %s", m->path, m->no_chat);
}

sd_status sd_text_chat(const sd_model *m, const char *messages, size_t n, bool add_generation_prompt, char **text,
                       size_t *n_text, sd_err *err)
{
    json_t *j;
    sd_buf b;
    sd_status st = sd_json_parse(&j, messages, n, "messages", err);
    if (st) return st;
    sd_buf_init(&b, 1 << 26);
    st = m->chat ? sd_chat_render_json(m->chat, &(sd_chat_input){.messages = j, .add_generation_prompt = add_generation_prompt}, &b, err) : no_template(m, err);
    json_decref(j);
    if (!st) return give(&b, "a chat", text, n_text, err);
    sd_buf_release(&b);
    return st;
}

/* The prompt's ids from "prompt", "messages" or "ids". */
static sd_status prompt_ids(sd_ids *ids, const sd_model *m, const json_t *req, sd_err *err)
{
    const json_t *text = json_object_get(req, "prompt"), *chat = json_object_get(req, "messages"),
                 *list = json_object_get(req, "ids");
    if ((text != NULL) + (chat != NULL) + (list != NULL) != 1 || (text && !json_is_string(text)) ||
        (list && !json_is_array(list)))
        return sd_fail(err, SD_E_ARG, "a request has one of \"prompt\" (text), \"messages\" and \"ids\" (arrays)");
    if (list) {
        for (size_t i = 0; i < json_array_size(list); i++) {
            json_int_t id = json_integer_value(json_array_get(list, i));
            if (!json_is_integer(json_array_get(list, i)) || id < 0 || id >= m->cfg.n_vocab)
                return sd_fail(err, SD_E_ARG, "ids[%zu] is no token of a vocabulary of %lld", i, (long long)m->cfg.n_vocab);
            sd_status st = sd_ids_push(ids, (int32_t)id, err);
            if (st) return st;
        }
        return SD_OK;
    }
    if (!chat) return sd_tok_encode(m->tok, (sd_slice){json_string_value(text), json_string_length(text)}, &(sd_encode_opt){0}, ids, err);
    if (!m->chat) return no_template(m, err);
    sd_chat_ids_opt how = {0};
    sd_status st = sd_json_opt_bool(req, "parse_special", &how.parse_special, "the request", err);
    return st ? st : sd_chat_ids(m->chat, m->tok, &(sd_chat_input){.messages = chat, .add_generation_prompt = true}, &how, ids, err);
}

static sd_status read_request(sd_generate_opt *o, sd_steer_set *s, const json_t *req, sd_err *err)
{
    static const char *const keys[] = {"prompt", "messages", "ids",   "n",    "temp", "top_k",
                                       "top_p",  "min_p",    "seed",  "steer", "compare", "parse_special"};
    const char *key, *what = "the request";
    json_t *v;
    int64_t n = 128, top_k = 0, seed = 0;
    json_object_foreach((json_t *)(uintptr_t)req, key, v) {
        bool known = false;
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) known |= strcmp(key, keys[i]) == 0;
        if (!known) return sd_fail(err, SD_E_ARG, "the request has an unknown key \"%.40s\"", key);
    }
    sd_status st = sd_json_opt_i64(req, "n", &n, what, err);
    if (!st) st = sd_json_opt_i64(req, "top_k", &top_k, what, err);
    if (!st) st = sd_json_opt_i64(req, "seed", &seed, what, err);
    if (!st) st = sd_json_opt_f64(req, "temp", &o->sample.temp, what, err);
    if (!st) st = sd_json_opt_f64(req, "top_p", &o->sample.top_p, what, err);
    if (json_is_number(json_object_get(req, "top_p"))) o->sample.top_p = sd_sample_share(o->sample.top_p);
    if (!st) st = sd_json_opt_f64(req, "min_p", &o->sample.min_p, what, err);
    if (!st) st = sd_json_opt_bool(req, "compare", &o->compare, what, err);
    if (st) return st;
    if (n < 1 || n > 1 << 20 || top_k < 0 || top_k > 1 << 30)
        return sd_fail(err, SD_E_ARG, "\"n\" is 1 to %d and \"top_k\" not negative", 1 << 20);
    o->n_gen = n;
    o->sample.top_k = (int)top_k;
    o->seed = (uint64_t)seed;
    const json_t *steers = json_object_get(req, "steer");
    if (steers && !json_is_array(steers)) return sd_fail(err, SD_E_ARG, "\"steer\" is an array of steer objects");
    for (size_t i = 0; i < json_array_size(steers) && !st; i++) {
        sd_buf text;
        sd_jw w;
        sd_buf_init(&text, 1 << 20);
        sd_jw_init(&w, &text);
        sd_jw_tree(&w, json_array_get(steers, i));
        st = sd_buf_check(&text, "a steer", err);
        if (!st) st = sd_steer_set_add(s, (sd_slice){text.p, text.n}, err);
        sd_buf_release(&text);
    }
    if (!st && o->compare && !s->n) st = sd_fail(err, SD_E_ARG, "\"compare\" needs a steer to compare with");
    return st;
}

static sd_status open_steers(sd_steer_set *s, const sd_exec *ex, const sd_model *m, const sd_generate_env *env, sd_err *err)
{
    char hash[65];
    if (!s->n) return SD_OK;
    if (!env->data_dir) return sd_fail(err, SD_E_ARG, "steering needs the folder of the stored directions (data_dir)");
    sd_status st = sd_lab_model_hash(hash, m->path, env->cache_dir, err);
    return st ? st : sd_steer_set_open(s, &(sd_steer_env){.ex = ex, .m = m, .data_dir = env->data_dir, .model_sha256 = hash}, err);
}

sd_status sd_generate(const sd_exec *ex, const sd_model *m, const char *request, const sd_generate_env *env, char **result,
                      size_t *n_result, sd_err *err)
{
    json_t *req;
    sd_ids ids = {0};
    sd_steer_set s = {0};
    sd_generate_result r = {0};
    sd_generate_opt o = {.on_token = env->on_token, .self = env->self};
    sd_buf b;
    sd_jw w;
    sd_status st = sd_json_parse(&req, request, strlen(request), "the request", err);
    if (st) return st;
    sd_buf_init(&b, 1 << 28);
    sd_jw_init(&w, &b);
    if ((st = read_request(&o, &s, req, err)) || (st = prompt_ids(&ids, m, req, err))) goto done;
    if ((st = open_steers(&s, ex, m, env, err))) goto done;
    o.steer = s.steer;
    o.n_steer = s.n;
    if ((st = sd_lab_generate(&r, ex, m, ids.v, ids.n, &o, err))) goto done;
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.run/1");
    st = sd_generate_write(&w, m, &r, &s, err);
    sd_jw_end(&w);
    if (!st) st = give(&b, "the result", result, n_result, err);
done:
    sd_buf_release(&b);
    sd_generate_release(&r);
    sd_steer_set_release(&s);
    sd_ids_release(&ids);
    json_decref(req);
    return st;
}
