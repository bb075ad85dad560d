/* Owns: /sonde/v1/steer: a prompt gone on with plain and steered, with the same chance, and what was done. It is sonde.compare of the OpenAI routes for who
 * wants texts and no choices; streams and log-probabilities are there. */
#include "serve/openai.h"

enum { N_TOKENS = 64 };

const sd_field sd_body_steer[] = {
    {.name = "messages", .type = SD_FIELD_ARR, .help = "a chat to be answered; or give prompt"},
    {.name = "prompt", .type = SD_FIELD_ANY, .help = "a text, or token ids, to be gone on with"},
    {.name = "steer", .type = SD_FIELD_ARR, .required = true, .help = "steer objects (docs/FORMATS.md), dictionaries by their registered names"},
    {.name = "prompt_baseline", .type = SD_FIELD_STR, .help = "with messages: a third answer, of the plain model under this system message"},
    {.name = "max_tokens", .type = SD_FIELD_INT, .lo = 1, .hi = 4096, .help = "default 64"},
    {.name = "temperature", .type = SD_FIELD_NUM, .lo = 0, .hi = 2, .help = "default 0: greedy"},
    {.name = "top_p", .type = SD_FIELD_NUM, .lo = 0, .hi = 1, .help = "the likeliest tokens that hold this share"},
    {.name = "seed", .type = SD_FIELD_INT, .help = "of the random stream, the same for all answers; default 0"},
    {0}};

/* The body of a request of OpenAI's with both lanes. */
static int own_body(json_t **out, const json_t *body, bool chat, sd_problem *p)
{
    const char *baseline = sd_field_str(body, "prompt_baseline", NULL), *key = chat ? "messages" : "prompt";
    json_t *b = json_pack("{s:O, s:I, s:f, s:f, s:I, s:{s:O, s:b}}", key, sd_field_get(body, key), "max_tokens", (json_int_t)sd_field_int(body, "max_tokens", N_TOKENS),
                          "temperature", sd_field_num(body, "temperature", 0), "top_p", sd_field_num(body, "top_p", 1), "seed", (json_int_t)sd_field_int(body, "seed", 0),
                          "sonde", "steer", sd_field_get(body, "steer"), "compare", 1);
    if (b && baseline && json_object_set_new(json_object_get(b, "sonde"), "prompt_baseline", json_string(baseline))) {
        json_decref(b);
        b = NULL;
    }
    *out = b;
    return b ? 0 : sd_problem_set(p, 503, NULL, "out of memory");
}

static void put_lane(sd_jw *w, const sd_run *r, int i)
{
    const sd_lane_text *l = &r->lane[i];
    sd_jw_key(w, l->name);
    sd_jw_obj(w);
    sd_jw_key(w, "text");
    sd_jw_slice(w, (sd_slice){l->text.p ? l->text.p : "", l->text.n});
    sd_jw_kstr(w, "finish_reason", sd_run__reason(r, i));
    sd_jw_ki64(w, "n_prompt", l->n_prompt);
    sd_jw_ki64(w, "n_tokens", r->state[i].n_said);
    sd_jw_end(w);
}

int sd_handle__steer(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body, *own = NULL;
    sd_run *r = NULL;
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_steer, rp, p);
    if (http) return http;
    bool chat = sd_field_get(body, "messages") != NULL;
    if (chat == (sd_field_get(body, "prompt") != NULL)) http = sd_problem_set(p, 400, "prompt", "give one of prompt and messages");
    else if (!json_array_size(sd_field_get(body, "steer"))) http = sd_problem_set(p, 400, "steer", "steer: give at least one");
    else if (!chat && sd_field_get(body, "prompt_baseline")) http = sd_problem_set(p, 400, "prompt_baseline", "prompt_baseline goes with messages");
    if (!http) http = own_body(&own, body, chat, p);
    if (!http) http = sd_run__new(&r, s, own, chat, p);
    if (!http) http = sd_run__finish(r, rq, p);
    if (!http) {
        sd_jw_init(&w, &rp->body);
        sd_jw_obj(&w);
        sd_jw_kstr(&w, "schema", "sonde.steer/1");
        sd_jw_kstr(&w, "mode", sd_mode_name(sd_model_get_mode(s->opt.m)));
        for (int i = 0; i < r->n; i++) put_lane(&w, r, i);
        sd_edits__write(&w, &r->edits[1]);
        sd_jw_end(&w);
    }
    if (strncmp(p->param, "sonde.", 6) == 0) memmove(p->param, p->param + 6, strlen(p->param + 6) + 1); /* as this body names it */
    sd_run__free(r);
    json_decref(body);
    return http;
}
