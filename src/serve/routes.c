/* Owns: the table of routes, from which requests are dispatched and the OpenAPI document is made. */
#include "serve/server_int.h"

#include <stdio.h>

static const sd_route table[] = {
    {"GET", "/", sd_handle__page, SD_ROUTE_OPEN, NULL, "the page"},
    {"GET", "/page/{file}", sd_handle__page_file, SD_ROUTE_OPEN, NULL, "its script, style and licences"},
    {"GET", "/health", sd_handle__health, SD_ROUTE_OPEN, NULL, "whether the server answers"},
    {"GET", "/metrics", sd_handle__metrics, 0, NULL, "counters and histograms for Prometheus"},
    {"GET", "/openapi.json", sd_handle__openapi, 0, NULL, "this document"},
    {"GET", "/v1/models", sd_handle__models, 0, NULL, "the model, and the model under each recipe (MODEL@RECIPE)"},
    {"GET", "/v1/models/{model}", sd_handle__model, SD_ROUTE_REST, NULL, "one of them; its name may hold slashes"},
    {"POST", "/v1/chat/completions", sd_handle__chat, SD_ROUTE_MODEL, sd_body_chat, "an answer in a chat, plain, steered or both"},
    {"POST", "/v1/completions", sd_handle__completions, SD_ROUTE_MODEL, sd_body_completions, "how a text goes on"},
    {"POST", "/v1/embeddings", sd_handle__embeddings, SD_ROUTE_MODEL, sd_body_embeddings, "activations of a site as one vector a text"},
    {"POST", "/tokenize", sd_handle__tokenize, SD_ROUTE_MODEL, sd_body_tokenize, "text to token ids"},
    {"POST", "/detokenize", sd_handle__detokenize, SD_ROUTE_MODEL, sd_body_detokenize, "token ids to text"},
    {"POST", "/apply-template", sd_handle__apply_template, SD_ROUTE_MODEL, sd_body_apply_template, "a chat as the text that the model reads"},
    {"GET", "/sonde/v1/config", sd_handle__config, 0, NULL, "the model, dictionaries, stores, directions and recipes that there are"},
    {"POST", "/sonde/v1/activations", sd_handle__activations, SD_ROUTE_MODEL, sd_body_activations, "a dictionary's features on every token of a text"},
    {"POST", "/sonde/v1/contrast", sd_handle__contrast, SD_ROUTE_MODEL, sd_body_contrast, "the features that tell two sets of texts apart, beside chance"},
    {"GET", "/sonde/v1/features/{store}", sd_handle__features, 0, NULL, "features of a store: ?q= search, by (words, passages), sort, limit, offset, min_density, max_density, min_label_score, silent"},
    {"GET", "/sonde/v1/features/{store}/{index}", sd_handle__feature, 0, NULL, "all that is known of a feature"},
    {"GET", "/sonde/v1/features/{store}/{index}/near", sd_handle__near, 0, NULL, "its neighbours: ?limit=, by=cosine or coactivation, in=STORE of another dictionary"},
    {"POST", "/sonde/v1/features/{store}/{index}/label", sd_handle__label, 0, sd_body_label, "gives a feature a name by hand"},
    {"GET", "/sonde/v1/briefs/{store}", sd_handle__briefs, 0, NULL, "rows of chosen features: ?ids=4,21,400; dict=NAME says what the units of a steer along them are worth"},
    {"GET", "/sonde/v1/map/{store}", sd_handle__map, 0, NULL, "where each feature of a store lies on its map"},
    {"POST", "/sonde/v1/lens", sd_handle__lens, SD_ROUTE_MODEL, sd_body_lens, "the logit lens of a text, and each token's loss"},
    {"POST", "/sonde/v1/measure", sd_handle__measure, SD_ROUTE_MODEL, sd_body_measure, "what a steer did to an answer: KL, perplexity, repetition"},
    {"POST", "/sonde/v1/steer", sd_handle__steer, SD_ROUTE_MODEL, sd_body_steer, "a prompt gone on with plain and steered, and what was done"},
    {"POST", "/sonde/v1/patch", sd_handle__patch, SD_ROUTE_MODEL, sd_body_patch, "activation patching between two prompts, layer by layer"},
    {"GET", "/sonde/v1/runs", sd_handle__runs, 0, NULL, "trainings that write events.jsonl"},
    {"GET", "/sonde/v1/runs/{run}", sd_handle__run, 0, NULL, "the events of one: ?from=BYTES goes on after `next`"},
    {"GET", "/sonde/v1/audits", sd_handle__audits, 0, NULL, "names of audits"},
    {"GET", "/sonde/v1/audits/{audit}", sd_handle__audit, 0, NULL, "one of them"},
    {"GET", "/api/feature/{modelId}/{layer}/{index}", sd_handle__np_feature, 0, NULL, "Neuronpedia: a feature"},
    {"POST", "/api/activation/new", sd_handle__np_activation, SD_ROUTE_MODEL, sd_body_np_activation, "Neuronpedia: a feature on a text"},
    {"POST", "/api/search-all", sd_handle__np_search_all, SD_ROUTE_MODEL, sd_body_np_search_all, "Neuronpedia: the strongest features of a text"},
    {"POST", "/api/search-topk-by-token", sd_handle__np_search_topk, SD_ROUTE_MODEL, sd_body_np_search_topk, "Neuronpedia: the strongest features of each token"},
    {"POST", "/api/explanation/search", sd_handle__np_explanations, 0, sd_body_np_explanations, "Neuronpedia: features by words"},
    {"POST", "/api/steer", sd_handle__np_steer, SD_ROUTE_MODEL, sd_body_np_steer, "Neuronpedia: how a text goes on, plain and steered"},
    {"POST", "/api/steer-chat", sd_handle__np_steer_chat, SD_ROUTE_MODEL, sd_body_np_steer_chat, "Neuronpedia: an answer in a chat, plain and steered"},
};

const sd_route *sd_route__at(int i)
{
    return i >= 0 && i < (int)(sizeof table / sizeof table[0]) ? &table[i] : NULL;
}

/* Does path have the form of the route's pattern? What stands for "{..}" goes to arg. */
static bool match(const sd_route *r, const char *path, char arg[SD_ROUTE_ARGS][256])
{
    sd_slice a = sd_slice_of(r->path), b = sd_slice_of(path), x, y;
    int n = 0;
    for (;;) {
        bool more = sd_slice_cut(&a, '/', &x), there = sd_slice_cut(&b, '/', &y);
        if (!more || !there) return more == there;
        if (x.n && x.p[0] == '{') {
            if (!a.p && (r->flags & SD_ROUTE_REST)) y.n = strlen(y.p), b.p = NULL;
            if (!y.n || y.n >= 256 || n == SD_ROUTE_ARGS) return false;
            memcpy(arg[n], y.p, y.n);
            arg[n++][y.n] = 0;
        } else if (!sd_slice_eq(x, y))
            return false;
    }
}

const sd_route *sd_route__find(const char *method, const char *path, char arg[SD_ROUTE_ARGS][256], char allow[64])
{
    size_t n = 0;
    allow[0] = 0;
    for (int i = 0; sd_route__at(i); i++) {
        if (!match(&table[i], path, arg)) continue;
        if (strcmp(table[i].method, method) == 0) return &table[i];
        n += (size_t)snprintf(allow + n, n < 48 ? 64 - n : 0, "%s%s", n ? ", " : "", table[i].method);
    }
    return NULL;
}

int sd_route__run(sd_server *s, const sd_route *r, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    /* The page's own files need nothing that is loaded: it says what it waits for. */
    if (atomic_load(&s->loading) && r->fn != sd_handle__page && r->fn != sd_handle__page_file) return sd_problem_set(p, 503, NULL, "the model is being loaded");
    if ((r->flags & SD_ROUTE_MODEL) && !s->opt.m) {
        sd_problem_set(p, 400, NULL, "this server was started without a model");
        snprintf(p->e.hint, sizeof p->e.hint, "sonde serve MODEL");
        return p->http;
    }
    if (atomic_load(&s->stopping)) return sd_problem_set(p, 503, NULL, "the server is stopping");
    return r->fn(s, rq, rp, p);
}

/* ---- OpenAPI 3.1 ---- */

static const char *const schema_type[] = {"", "boolean", "integer", "number", "string", "object", "array", ""};

static void put_property(sd_jw *w, const sd_field *f)
{
    sd_jw_key(w, f->name);
    sd_jw_obj(w);
    if (*schema_type[f->type]) sd_jw_kstr(w, "type", schema_type[f->type]);
    if (f->lo != 0 || f->hi != 0) {
        sd_jw_kf64(w, "minimum", f->lo);
        sd_jw_kf64(w, "maximum", f->hi);
    }
    if (f->help) sd_jw_kstr(w, "description", f->help);
    sd_jw_end(w);
}

static void put_body(sd_jw *w, const sd_field *body)
{
    sd_jw_key(w, "requestBody");
    sd_jw_obj(w);
    sd_jw_kbool(w, "required", true);
    sd_jw_key(w, "content");
    sd_jw_obj(w);
    sd_jw_key(w, "application/json");
    sd_jw_obj(w);
    sd_jw_key(w, "schema");
    sd_jw_obj(w);
    sd_jw_kstr(w, "type", "object");
    sd_jw_key(w, "properties");
    sd_jw_obj(w);
    for (const sd_field *f = body; f->type != SD_FIELD_END; f++) put_property(w, f);
    sd_jw_end(w);
    sd_jw_key(w, "required");
    sd_jw_arr(w);
    for (const sd_field *f = body; f->type != SD_FIELD_END; f++)
        if (f->required) sd_jw_str(w, f->name);
    sd_jw_end(w);
    for (int i = 0; i < 4; i++) sd_jw_end(w);
}

static void put_parameters(sd_jw *w, const char *path)
{
    sd_jw_key(w, "parameters");
    sd_jw_arr(w);
    for (const char *a = path; (a = strchr(a, '{')); a++) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(a + 1, "}"), a + 1);
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", name);
        sd_jw_kstr(w, "in", "path");
        sd_jw_kbool(w, "required", true);
        sd_jw_key(w, "schema");
        sd_jw_obj(w);
        sd_jw_kstr(w, "type", "string");
        sd_jw_end(w);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void put_response(sd_jw *w, const char *code, const char *words)
{
    sd_jw_key(w, code);
    sd_jw_obj(w);
    sd_jw_kstr(w, "description", words);
    sd_jw_end(w);
}

static void put_operation(sd_jw *w, const sd_route *r)
{
    char method[8], id[96];
    size_t n = 0;
    for (n = 0; r->method[n] && n < 7; n++) method[n] = (char)(r->method[n] | 0x20);
    method[n] = 0;
    n = (size_t)snprintf(id, sizeof id, "%s", method);
    for (const char *c = r->path; *c && n < sizeof id - 1; c++)
        id[n++] = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ? *c : '_';
    id[n] = 0;
    sd_jw_key(w, method);
    sd_jw_obj(w);
    sd_jw_kstr(w, "operationId", id);
    sd_jw_kstr(w, "summary", r->brief);
    put_parameters(w, r->path);
    if (r->body) put_body(w, r->body);
    sd_jw_key(w, "responses");
    sd_jw_obj(w);
    put_response(w, "200", "the answer");
    if (!(r->flags & SD_ROUTE_OPEN)) put_response(w, "401", "the key is missing or wrong, where the server has keys");
    if (r->body) put_response(w, "400", "a field is wrong: error.param names it");
    sd_jw_end(w);
    sd_jw_end(w);
}

void sd_openapi__write(sd_buf *out)
{
    sd_jw w;
    sd_jw_init(&w, out);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "openapi", "3.1.0");
    sd_jw_key(&w, "info");
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "title", "sonde serve");
    sd_jw_kstr(&w, "version", sd_version());
    sd_jw_end(&w);
    sd_jw_key(&w, "paths");
    sd_jw_obj(&w);
    for (int i = 0; sd_route__at(i); i++) {
        const sd_route *r = &table[i];
        bool first = i == 0 || strcmp(table[i - 1].path, r->path) != 0;
        if (first && i > 0) sd_jw_end(&w);
        if (first) {
            sd_jw_key(&w, r->path);
            sd_jw_obj(&w);
        }
        put_operation(&w, r);
    }
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_jw_end(&w);
}
