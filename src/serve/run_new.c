/* Owns: from a checked body to a job: which sequences, how they are sampled, what is edited. */
#include "serve/openai.h"

#include "base/hash.h"
#include "base/rng.h"
#include <inttypes.h>
#include <time.h>

enum { MAX_CHOICES = 16, MAX_PROMPTS = 32, COMPLETION_TOKENS = 16 }; /* 16: OpenAI's default */

static const sd_field sonde_fields[] = {
    {.name = "steer", .type = SD_FIELD_ARR, .help = "steer objects (docs/SERVER.md)"},
    {.name = "monitors", .type = SD_FIELD_ARR, .help = "names of monitors that look at every choice and change nothing"},
    {.name = "compare", .type = SD_FIELD_BOOL, .help = "choices 0 plain, 1 steered, with the same random stream"},
    {.name = "prompt_baseline", .type = SD_FIELD_STR, .help = "with compare: choice 2 is the plain model under this system message"},
    {.name = "parse_special", .type = SD_FIELD_BOOL, .help = "in a chat: read control tokens such as <|im_end|> in messages as tokens; default false, they are text"},
    {.name = "top_k", .type = SD_FIELD_INT, .lo = 0, .hi = 1 << 20, .help = "sample among the K likeliest; 0 is all"},
    {.name = "min_p", .type = SD_FIELD_NUM, .lo = 0, .hi = 1, .help = "leave out tokens below P times the likeliest"},
    {0}};

static int read_stop(sd_run *r, sd_problem *p)
{
    const json_t *v = sd_field_get(r->body, "stop");
    size_t n = json_is_array(v) ? json_array_size(v) : v ? 1 : 0;
    if (n > SD_SAY_STOPS) return sd_problem_set(p, 400, "stop", "stop: at most %d strings", SD_SAY_STOPS);
    for (size_t k = 0; k < n; k++) {
        const json_t *t = json_is_array(v) ? json_array_get(v, k) : v;
        if (!json_is_string(t) || !json_string_length(t)) return sd_problem_set(p, 400, "stop", "stop: expected a string or an array of strings, none of them empty");
        for (int i = 0; i < r->n; i++) r->lane[i].say.stop[k] = (sd_slice){json_string_value(t), json_string_length(t)};
    }
    for (int i = 0; i < r->n; i++) r->lane[i].say.n_stop = (int)n;
    return 0;
}

static int read_bias(sd_run *r, sd_problem *p)
{
    const json_t *v = sd_field_get(r->body, "logit_bias");
    const char *key;
    json_t *x;
    if (!v || !json_object_size(v)) return 0;
    r->bias = sd_calloc(json_object_size(v) * sizeof *r->bias);
    if (!r->bias) return sd_problem_set(p, 503, "logit_bias", "out of memory");
    json_object_foreach((json_t *)(uintptr_t)v, key, x) {
        int64_t id;
        if (!sd_parse_i64(sd_slice_of(key), &id) || id < 0 || id >= r->s->opt.m->cfg.n_vocab)
            return sd_problem_set(p, 400, "logit_bias", "logit_bias: \"%.40s\" is no token id of this vocabulary", key);
        double add = json_number_value(x);
        if (!json_is_number(x) || !(add >= -100 && add <= 100)) return sd_problem_set(p, 400, "logit_bias", "logit_bias[\"%s\"]: expected a number from -100 to 100", key);
        r->bias[r->n_bias++] = (sd_bias){(int32_t)id, (float)add};
    }
    return 0;
}

/* How many likeliest tokens beside each: -1 none asked for. */
static int read_logprobs(const sd_run *r, int *n_top, sd_problem *p)
{
    const json_t *v = sd_field_get(r->body, "logprobs");
    *n_top = -1;
    if (!r->chat) {
        if (v && !json_is_integer(v)) return sd_problem_set(p, 400, "logprobs", "logprobs: expected an integer");
        if (v) *n_top = (int)json_integer_value(v);
        return 0;
    }
    if (v && !json_is_boolean(v)) return sd_problem_set(p, 400, "logprobs", "logprobs: expected true or false");
    if (json_is_true(v)) *n_top = (int)sd_field_int(r->body, "top_logprobs", 0);
    else if (sd_field_int(r->body, "top_logprobs", 0)) return sd_problem_set(p, 400, "top_logprobs", "top_logprobs needs \"logprobs\": true");
    return 0;
}

static int read_sampling(sd_run *r, sd_problem *p)
{
    const json_t *b = r->body, *sonde = sd_field_get(b, "sonde");
    int n_top, http = read_logprobs(r, &n_top, p);
    int64_t n_new = sd_field_int(b, "max_completion_tokens", sd_field_int(b, "max_tokens", r->chat ? INT32_MAX : COMPLETION_TOKENS));
    if (!http) http = read_bias(r, p);
    if (!http) http = read_stop(r, p);
    if (http) return http;
    r->seed = sd_field_get(b, "seed") ? (uint64_t)sd_field_int(b, "seed", 0) : sd_hash64(r->id, strlen(r->id)) >> 12;
    for (int i = 0; i < r->n; i++) {
        sd_seq *s = &r->job->seq[i];
        s->n_new = n_new;
        s->n_top = n_top;
        s->bias = r->bias;
        s->n_bias = r->n_bias;
        s->presence = sd_field_num(b, "presence_penalty", 0);
        s->frequency = sd_field_num(b, "frequency_penalty", 0);
        s->sample = (sd_sample_opt){.temp = sd_field_num(b, "temperature", 1), .top_p = sd_sample_share(sd_field_num(b, "top_p", 1)),
                                    .top_k = (int)sd_field_int(sonde, "top_k", sd_field_int(b, "top_k", 0)),
                                    .min_p = sd_field_num(sonde, "min_p", sd_field_num(b, "min_p", 0))};
        s->seed = r->compare ? r->seed : sd_seed_of(r->seed, (uint64_t)i); /* lanes share the stream of chance, choices do not */
    }
    return 0;
}

/* A position that no step reaches would be dropped; as `sonde run`. */
static int check_positions(const sd_run *r, sd_problem *p)
{
    for (int i = 0; i < r->n; i++) {
        const sd_seq *s = &r->job->seq[i];
        int64_t end = s->ids.n + s->n_new, ctx = sd_engine_ctx(r->s->engine);
        if (end > ctx) end = ctx;
        for (int k = 0; k < r->edits[i].n; k++) {
            const sd_steer_spec *sp = &r->edits[i].spec[k];
            if (sp->n_list && sp->list[sp->n_list - 1] >= end)
                return sd_problem_set(p, 400, "sonde.steer", "steer: position %" PRId64 " lies beyond the prompt of %" PRId64 " tokens and what may follow it, %" PRId64 " in all",
                                      sp->list[sp->n_list - 1], s->ids.n, end);
        }
    }
    return 0;
}

/* "model", "model@recipe"; the recipe's steers into *steer (borrowed). */
static int read_model(sd_run *r, const json_t **steer, sd_problem *p)
{
    const char *name = sd_field_str(r->body, "model", r->s->opt.model_name), *own = r->s->opt.model_name;
    size_t n = strlen(own);
    *steer = NULL;
    snprintf(r->model, sizeof r->model, "%.190s", name);
    if (strncmp(name, own, n) == 0 && name[n] == '\0') return 0;
    const sd_reg_recipe *rec = strncmp(name, own, n) == 0 && name[n] == '@' ? sd_registry__recipe(r->s, name + n + 1) : NULL;
    if (!rec) return sd_problem_set(p, 404, "model", "there is no model '%.100s' here: /v1/models lists what there is", name);
    *steer = rec->steer;
    return 0;
}

static int alloc_lanes(sd_run *r, int n, sd_problem *p)
{
    sd_err err = {0};
    sd_status st = sd_job_new(&r->job, n, &err);
    if (!st) st = sd_alloc_zero(&r->edits, (size_t)n * sizeof *r->edits, "choices", &err);
    if (!st) st = sd_alloc_zero(&r->lane, (size_t)n * sizeof *r->lane, "choices", &err);
    if (!st) st = sd_alloc_zero(&r->state, (size_t)n * sizeof *r->state, "choices", &err);
    if (st) return sd_problem_of(p, &err, NULL);
    r->n = n;
    for (int i = 0; i < n; i++) {
        sd_say_init(&r->lane[i].say);
        sd_buf_init(&r->lane[i].text, 1 << 26);
    }
    return 0;
}

static int copy_ids(sd_ids *to, const sd_ids *from, sd_problem *p)
{
    sd_err err = {0};
    return sd_ids_add(to, from->v, from->n, &err) ? sd_problem_of(p, &err, NULL) : 0;
}

static bool parses(const sd_run *r)
{
    return sd_field_bool(sd_field_get(r->body, "sonde"), "parse_special", false);
}

/* The plain model under a system message of its own in front of the chat. */
static int baseline_ids(sd_run *r, sd_ids *ids, const char *text, sd_problem *p)
{
    json_t *all = json_array(), *m = sd_field_get(r->body, "messages");
    if (!all || json_array_append_new(all, json_pack("{s:s, s:s}", "role", "system", "content", text)) || json_array_extend(all, m)) {
        json_decref(all);
        return sd_problem_set(p, 503, NULL, "out of memory");
    }
    int http = sd_body__chat_ids(ids, r->s, all, parses(r), "messages", p);
    json_decref(all);
    return http ? http : sd_body__fits(r->s, ids->n, true, "sonde.prompt_baseline", p);
}

static int chat_prompts(sd_run *r, int n, const char *baseline, sd_problem *p)
{
    sd_seq *seq;
    int http = alloc_lanes(r, n, p);
    if (http) return http;
    seq = r->job->seq;
    http = sd_body__chat_ids(&seq[0].ids, r->s, sd_field_get(r->body, "messages"), parses(r), "messages", p);
    if (!http) http = sd_body__fits(r->s, seq[0].ids.n, true, "messages", p);
    for (int i = 1; i < n && !http; i++)
        http = baseline && i == 2 ? baseline_ids(r, &seq[i].ids, baseline, p) : copy_ids(&seq[i].ids, &seq[0].ids, p);
    return http;
}

static bool is_list_of_prompts(const json_t *v)
{
    const json_t *first = json_array_get(v, 0);
    return json_is_string(first) || json_is_array(first);
}

static int text_prompts(sd_run *r, int n, sd_problem *p)
{
    const json_t *v = sd_field_get(r->body, "prompt");
    char param[32] = "prompt";
    bool list = is_list_of_prompts(v);
    int n_prompt = list ? (int)json_array_size(v) : 1;
    if (n_prompt > MAX_PROMPTS) return sd_problem_set(p, 400, "prompt", "prompt: at most %d prompts in a request", MAX_PROMPTS);
    if (r->compare && n_prompt > 1) return sd_problem_set(p, 400, "sonde.compare", "sonde.compare: one prompt at a time");
    int http = alloc_lanes(r, n * n_prompt, p);
    for (int k = 0; k < n_prompt && !http; k++) {
        sd_ids *ids = &r->job->seq[k * n].ids;
        if (list) snprintf(param, sizeof param, "prompt[%d]", k);
        http = sd_body__ids(ids, r->s, list ? json_array_get(v, (size_t)k) : v, param, p);
        if (!http) http = sd_body__fits(r->s, ids->n, true, param, p);
        for (int i = 1; i < n && !http; i++) http = copy_ids(&r->job->seq[k * n + i].ids, ids, p);
    }
    return http;
}

static int add_edits(sd_run *r, int i, const json_t *recipe, const json_t *own, const json_t *watched, sd_problem *p)
{
    sd_edits *e = &r->edits[i];
    sd_seq *s = &r->job->seq[i];
    const bool again = i && !r->compare; /* of a comparison each lane has its own */
    int http = again ? sd_edits__again(e, r->s, &r->edits[0], "sonde.steer", p) : sd_edits__add(e, r->s, recipe, "model", p);
    if (!http && !again) http = sd_edits__add(e, r->s, own, "sonde.steer", p);
    if (!http && !again) http = sd_edits__watch(e, r->s, watched, "sonde.monitors", p);
    if (http) return http;
    sd_edits__set_key(e, s->ids.n);
    s->steer = e->steer;
    s->n_steer = e->n;
    s->edits = e->key;
    s->afresh = e->afresh;
    return 0;
}

static int read_lanes(sd_run *r, const json_t *recipe, sd_problem *p)
{
    static const char *const name[] = {"plain", "steered", "prompt"};
    const json_t *sonde = sd_field_get(r->body, "sonde"), *own = sd_field_get(sonde, "steer");
    const char *baseline = sd_field_str(sonde, "prompt_baseline", NULL);
    int n = (int)sd_field_int(r->body, "n", 1);
    int http = sonde ? sd_fields_check(sonde, sonde_fields, "sonde.", NULL, p) : 0;
    if (http) return http;
    r->compare = sd_field_bool(sonde, "compare", false);
    if (r->compare && n != 1) return sd_problem_set(p, 400, "n", "n is 1 with sonde.compare");
    if (r->compare && !json_array_size(own) && !json_array_size(recipe))
        return sd_problem_set(p, 400, "sonde.compare", "sonde.compare needs a steer to compare with");
    if (baseline && (!r->compare || !r->chat)) return sd_problem_set(p, 400, "sonde.prompt_baseline", "sonde.prompt_baseline goes with sonde.compare, in a chat");
    if (parses(r) && !r->chat) return sd_problem_set(p, 400, "sonde.parse_special", "sonde.parse_special is about messages; a prompt's control tokens are always read");
    r->n_each = r->compare ? 1 : n; /* lanes are computed apart, choices share their prompt */
    if (r->compare) n = baseline ? 3 : 2;
    http = r->chat ? chat_prompts(r, n, baseline, p) : text_prompts(r, n, p);
    for (int i = 0; i < r->n && !http; i++) {
        const bool steered = !r->compare || i == 1;
        if (r->compare) r->lane[i].name = name[i];
        r->lane[i].n_prompt = r->job->seq[i].ids.n;
        http = add_edits(r, i, steered ? recipe : NULL, steered ? own : NULL, sd_field_get(sonde, "monitors"), p);
    }
    return http;
}

static int check_unsupported(const sd_run *r, sd_problem *p)
{
    const json_t *format = sd_field_get(r->body, "response_format"), *type = json_object_get(format, "type"), *choice = sd_field_get(r->body, "tool_choice");
    if (format && !(json_is_string(type) && strcmp(json_string_value(type), "text") == 0))
        return sd_problem_set(p, 400, "response_format", "response_format: only {\"type\":\"text\"} is supported");
    if (sd_field_bool(r->body, "echo", false)) return sd_problem_set(p, 400, "echo", "echo is not supported");
    for (int i = 0; i < 2; i++)
        if (json_array_size(sd_field_get(r->body, i ? "functions" : "tools"))) return sd_problem_set(p, 400, i ? "functions" : "tools", "tools are not supported");
    if (choice && strcmp(json_is_string(choice) ? json_string_value(choice) : "", "none") != 0 && strcmp(json_is_string(choice) ? json_string_value(choice) : "", "auto") != 0)
        return sd_problem_set(p, 400, "tool_choice", "tool_choice: there are no tools to choose");
    if (*sd_field_str(r->body, "suffix", "")) return sd_problem_set(p, 400, "suffix", "suffix is not supported");
    if (sd_field_int(r->body, "best_of", 1) > sd_field_int(r->body, "n", 1)) return sd_problem_set(p, 400, "best_of", "best_of is not supported: ask for n choices with their logprobs");
    return 0;
}

int sd_run__new(sd_run **out, sd_server *s, json_t *body, bool chat, sd_problem *p)
{
    const json_t *recipe;
    sd_run *r = sd_calloc(sizeof *r);
    *out = NULL;
    if (!r) {
        json_decref(body);
        return sd_problem_set(p, 503, NULL, "out of memory");
    }
    r->s = s;
    r->body = body;
    r->chat = chat;
    r->stream = sd_field_bool(body, "stream", false);
    r->usage = sd_field_bool(sd_field_get(body, "stream_options"), "include_usage", false);
    r->created = (int64_t)time(NULL);
    uint64_t number = atomic_fetch_add(&s->next_id, 1);
    uint64_t key[2] = {s->salt, number};
    snprintf(r->id, sizeof r->id, "%s-%016" PRIx64 "%04" PRIx64, chat ? "chatcmpl" : "cmpl", sd_hash64(key, sizeof key), number & 0xffff);
    int http = check_unsupported(r, p);
    if (!http) http = read_model(r, &recipe, p);
    if (!http && sd_field_int(body, "n", 1) > MAX_CHOICES) http = sd_problem_set(p, 400, "n", "n: at most %d choices", MAX_CHOICES);
    if (!http) http = read_lanes(r, recipe, p);
    if (!http) http = read_sampling(r, p);
    if (!http) http = check_positions(r, p);
    if (!http) http = sd_job__submit(s, r->job, p);
    r->submitted = !http;
    if (http) sd_run__free(r);
    else *out = r;
    return http;
}

void sd_run__free(sd_run *r)
{
    if (!r) return;
    if (r->submitted) sd_engine_cancel(r->s->engine, r->job);
    sd_job_free(r->job);
    for (int i = 0; i < r->n; i++) {
        sd_edits__release(&r->edits[i]);
        sd_say_release(&r->lane[i].say);
        sd_buf_release(&r->lane[i].text);
    }
    sd_free(r->edits);
    sd_free(r->lane);
    sd_free(r->state);
    sd_free(r->bias);
    json_decref(r->body);
    sd_free(r);
}
