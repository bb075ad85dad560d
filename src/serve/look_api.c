/* Owns: /sonde/v1/lens, /sonde/v1/measure and /sonde/v1/patch: studies of a text, run on the engine's thread between its steps (it owns the processor). */
#include "serve/acts.h"

#include "lab/lens.h"
#include "lab/look_text.h"
#include "lab/measure.h"
#include "lab/patch.h"

#include <math.h>

/* A study of 256 tokens keeps the engine for about a second on a small model: others wait that long. */
enum { MAX_LENS = 256, MAX_MEASURE = 1024, MAX_PATCH = 64, MAX_TOP = 10 };

typedef struct study {
    const sd_server *s;
    sd_ids ids;
    int64_t n_prompt;
    int n_top;
    sd_edits edits;
    sd_lens lens;
    sd_measure measure;
    sd_ids other;           /* patch: the corrupted prompt; ids is the clean one */
    sd_patch_opt how;
    sd_patch patch;
    sd_status (*fn)(struct study *y, const sd_serve_opt *o, sd_err *err);
    sd_status st;
    sd_err err;
} study;

static void work(void *self)
{
    study *y = self;
    y->st = y->fn(y, &y->s->opt, &y->err);
}

static sd_status do_lens(study *y, const sd_serve_opt *o, sd_err *err)
{
    return sd_lab_lens(&y->lens, o->ex, o->m, &y->ids, &(sd_lens_opt){.n_top = y->n_top}, err);
}

static sd_status do_measure(study *y, const sd_serve_opt *o, sd_err *err)
{
    return sd_lab_measure(&y->measure, o->ex, o->m, &y->ids, y->n_prompt, &(sd_steer_set){.spec = y->edits.spec, .steer = y->edits.steer, .n = y->edits.n}, err);
}

static sd_status do_patch(study *y, const sd_serve_opt *o, sd_err *err)
{
    return sd_lab_patch(&y->patch, o->ex, o->m, &y->ids, &y->other, &y->how, err);
}

/* A job of one token whose end is the study. */
static int run(study *y, sd_server *s, const sd_request *rq, sd_problem *p)
{
    sd_err err = {0};
    sd_job *job = NULL;
    y->s = s;
    sd_status st = sd_job_new(&job, 1, &err);
    if (!st) st = sd_ids_push(&job->seq[0].ids, y->ids.v[0], &err);
    if (!st) {
        job->after = work;
        job->self = y;
    }
    int http = st ? sd_problem_of(p, &err, NULL) : sd_job__run(s, job, rq, p);
    if (!http && y->st) http = sd_problem_of(p, &y->err, NULL);
    sd_job_free(job);
    return http;
}

static void release(study *y, json_t *body)
{
    sd_ids_release(&y->ids);
    sd_edits__release(&y->edits);
    sd_lens_release(&y->lens);
    sd_measure_release(&y->measure);
    sd_ids_release(&y->other);
    sd_patch_release(&y->patch);
    json_decref(body);
}

static int read_text(sd_ids *ids, const sd_server *s, const json_t *body, int64_t max, sd_problem *p)
{
    const json_t *text = sd_field_get(body, "text"), *list = sd_field_get(body, "ids"), *chat = sd_field_get(body, "messages");
    if ((text != NULL) + (list != NULL) + (chat != NULL) != 1) return sd_problem_set(p, 400, "text", "give one of text, ids and messages");
    int http = chat ? sd_body__chat_ids(ids, s, chat, false, "messages", p) : sd_body__ids(ids, s, text ? text : list, text ? "text" : "ids", p);
    if (!http && ids->n < 1) http = sd_problem_set(p, 400, "text", "the text has no tokens");
    if (!http && ids->n > max) http = sd_problem_set(p, 400, "text", "the text has %lld tokens, at most %lld are looked at", (long long)ids->n, (long long)max);
    return http;
}

/* ---- lens ---- */

const sd_field sd_body_lens[] = {
    {.name = "text", .type = SD_FIELD_STR, .help = "a text; or give ids, or messages; at most 256 tokens"},
    {.name = "ids", .type = SD_FIELD_ARR, .help = "token ids"},
    {.name = "messages", .type = SD_FIELD_ARR, .help = "a chat, rendered by the model's template"},
    {.name = "top", .type = SD_FIELD_INT, .lo = 1, .hi = MAX_TOP, .help = "likeliest tokens a cell; default 3"},
    {0}};

static void put_cell(sd_jw *w, const study *y, int64_t at)
{
    const sd_lens *l = &y->lens;
    sd_jw_obj(w);
    sd_jw_key(w, "top");
    sd_jw_arr(w);
    for (int k = 0; k < l->n_top; k++) {
        sd_jw_arr(w);
        sd_acts__token(w, y->s->opt.m->tok, l->top[at * l->n_top + k].id);
        sd_jw_f32(w, l->top[at * l->n_top + k].p);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    if (l->cell[at].rank) {
        sd_jw_key(w, "p_next");
        sd_jw_f32(w, (float)l->cell[at].p_next);
        sd_jw_ki64(w, "rank", l->cell[at].rank);
    }
    sd_jw_key(w, "kl");
    sd_jw_f32(w, (float)l->cell[at].kl);
    sd_jw_end(w);
}

static void put_lens(sd_jw *w, const study *y)
{
    const sd_lens *l = &y->lens;
    char name[16];
    sd_jw_obj(w);
    sd_jw_kstr(w, "schema", "sonde.lens_page/1");
    sd_jw_kstr(w, "mode", sd_mode_name(sd_model_get_mode(y->s->opt.m)));
    sd_jw_key(w, "tokens");
    sd_jw_arr(w);
    for (int64_t i = 0; i < l->n; i++) {
        /* loss: of this token, given those before it */
        double loss = i ? -log(l->cell[(l->n_row - 1) * l->n + i - 1].p_next) : (double)NAN;
        sd_jw_obj(w);
        sd_jw_ki64(w, "id", l->id[i]);
        sd_jw_key(w, "token");
        sd_acts__token(w, y->s->opt.m->tok, l->id[i]);
        sd_jw_kbool(w, "special", sd_tok_is_special(y->s->opt.m->tok, l->id[i]));
        sd_jw_kf64(w, "loss", loss);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_key(w, "rows");
    sd_jw_arr(w);
    for (int r = 0; r < l->n_row; r++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", sd_lens_row_name(name, r));
        sd_jw_key(w, "cells");
        sd_jw_arr(w);
        for (int64_t i = 0; i < l->n; i++) put_cell(w, y, r * l->n + i);
        sd_jw_end(w);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_end(w);
}

int sd_handle__lens(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    study y = {.fn = do_lens};
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_lens, rp, p);
    if (http) return http;
    y.n_top = (int)sd_field_int(body, "top", 3);
    http = read_text(&y.ids, s, body, MAX_LENS, p);
    if (!http) http = run(&y, s, rq, p);
    sd_jw_init(&w, &rp->body);
    if (!http) put_lens(&w, &y);
    release(&y, body);
    return http;
}

/* ---- measure ---- */

const sd_field sd_body_measure[] = {
    {.name = "messages", .type = SD_FIELD_ARR, .help = "the chat that was answered; or give text"},
    {.name = "text", .type = SD_FIELD_STR, .help = "the text that was gone on with"},
    {.name = "answer", .type = SD_FIELD_STR, .required = true, .help = "what was said"},
    {.name = "steer", .type = SD_FIELD_ARR, .required = true, .help = "the steers it was said under"},
    {0}};

static int read_answer(study *y, const sd_server *s, const json_t *body, sd_problem *p)
{
    sd_err err = {0};
    sd_ids said = {0};
    const char *text = sd_field_str(body, "answer", "");
    int http = read_text(&y->ids, s, body, MAX_MEASURE, p);
    if (http) return http;
    y->n_prompt = y->ids.n;
    sd_status st = sd_tok_encode(s->opt.m->tok, sd_slice_of(text), &(sd_encode_opt){.no_bos = true}, &said, &err);
    if (!st) st = sd_ids_add(&y->ids, said.v, said.n, &err);
    if (st) http = sd_problem_of(p, &err, "answer");
    else if (!said.n) http = sd_problem_set(p, 400, "answer", "the answer has no tokens");
    else if (y->ids.n > MAX_MEASURE) http = sd_problem_set(p, 400, "answer", "prompt and answer have %lld tokens, at most %d are measured", (long long)y->ids.n, MAX_MEASURE);
    sd_ids_release(&said);
    return http;
}

static void put_measure(sd_jw *w, const study *y)
{
    const sd_measure *m = &y->measure;
    sd_jw_obj(w);
    sd_jw_kstr(w, "schema", "sonde.measure/1");
    sd_jw_kstr(w, "mode", sd_mode_name(sd_model_get_mode(y->s->opt.m)));
    sd_jw_ki64(w, "n", m->n);
    sd_jw_kf64(w, "kl_mean", m->kl_mean);
    sd_jw_kf64(w, "kl_max", m->kl_max);
    sd_jw_kf64(w, "ppl_plain", m->ppl_plain);
    sd_jw_kf64(w, "ppl_steered", m->ppl_steered);
    sd_jw_kf64(w, "rep4", m->rep4);
    sd_jw_key(w, "tokens");
    sd_jw_arr(w);
    for (int64_t i = 0; i < m->n; i++) {
        sd_jw_obj(w);
        sd_jw_key(w, "token");
        sd_acts__token(w, y->s->opt.m->tok, y->ids.v[y->n_prompt + i]);
        sd_jw_key(w, "kl");
        sd_jw_f32(w, (float)m->v[i].kl);
        sd_jw_key(w, "lp_plain");
        sd_jw_f32(w, (float)m->v[i].lp_plain);
        sd_jw_key(w, "lp_steered");
        sd_jw_f32(w, (float)m->v[i].lp_steered);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_edits__write(w, &y->edits);
    sd_jw_end(w);
}

int sd_handle__measure(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    study y = {.fn = do_measure};
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_measure, rp, p);
    if (http) return http;
    http = read_answer(&y, s, body, p);
    if (!http) http = sd_edits__add(&y.edits, s, sd_field_get(body, "steer"), "steer", p);
    if (!http) http = run(&y, s, rq, p);
    sd_jw_init(&w, &rp->body);
    if (!http) put_measure(&w, &y);
    release(&y, body);
    return http;
}

/* ---- patch ---- */

const sd_field sd_body_patch[] = {
    {.name = "clean", .type = SD_FIELD_ANY, .required = true, .help = "the prompt whose answer is looked for: a text, or token ids; at most 64 tokens"},
    {.name = "corrupt", .type = SD_FIELD_ANY, .required = true, .help = "the same prompt with one thing changed"},
    {.name = "answer", .type = SD_FIELD_STR, .help = "the clean prompt's answer: text of one token, or id:N"},
    {.name = "wrong", .type = SD_FIELD_STR, .help = "the corrupted prompt's answer"},
    {.name = "metric", .type = SD_FIELD_STR, .help = "logit_diff, prob or kl; by default logit_diff with two answers, prob with one, kl with none"},
    {.name = "way", .type = SD_FIELD_STR, .help = "denoise (default): clean activations into the corrupted run; noise: the other way round"},
    {.name = "site", .type = SD_FIELD_STR, .help = "what is replaced: resid_pre when absent, attn_z with heads; with a layer, only there"},
    {.name = "heads", .type = SD_FIELD_BOOL, .help = "one head at a time instead of one position"},
    {.name = "position", .type = SD_FIELD_INT, .lo = -MAX_PATCH, .hi = -1, .help = "with heads: only there, -1 being the last"},
    {.name = "layers", .type = SD_FIELD_ARR, .help = "[FIRST, LAST]; all when absent"},
    {.name = "align_end", .type = SD_FIELD_BOOL, .help = "let prompts of different lengths meet at their ends"},
    {0}};

static int read_word(const char **out, const json_t *body, const char *key, const char *a, const char *b, const char *c, sd_problem *p)
{
    *out = sd_field_str(body, key, *out);
    if (strcmp(*out, a) == 0 || strcmp(*out, b) == 0 || (c && strcmp(*out, c) == 0)) return 0;
    return sd_problem_set(p, 400, key, "%s is %s%s%s%s%s", key, a, c ? ", " : " or ", b, c ? " or " : "", c ? c : "");
}

static int read_layers(sd_patch_opt *o, const json_t *list, const sd_model *m, sd_problem *p)
{
    if (!list) return 0;
    const json_t *a = json_array_get(list, 0), *b = json_array_get(list, json_array_size(list) - 1);
    if (!json_is_integer(a) || !json_is_integer(b) || json_array_size(list) > 2 || json_integer_value(a) < 0 || json_integer_value(b) < json_integer_value(a) ||
        json_integer_value(b) >= m->cfg.n_layer)
        return sd_problem_set(p, 400, "layers", "layers: expected [FIRST, LAST], which count from 0 to %d", m->cfg.n_layer - 1);
    o->layer0 = (int)json_integer_value(a);
    o->layer1 = (int)json_integer_value(b) + 1;
    return 0;
}

static int read_patch(study *y, const sd_server *s, const json_t *body, sd_problem *p)
{
    sd_err err = {0};
    sd_patch_opt *o = &y->how;
    const char *answer = sd_field_str(body, "answer", NULL), *wrong = sd_field_str(body, "wrong", NULL);
    const char *metric = answer && wrong ? "logit_diff" : answer ? "prob" : "kl", *way = "denoise";
    int http = sd_body__ids(&y->ids, s, sd_field_get(body, "clean"), "clean", p);
    if (!http) http = sd_body__ids(&y->other, s, sd_field_get(body, "corrupt"), "corrupt", p);
    for (int i = 0; i < 2 && !http; i++) {
        int64_t n = i ? y->other.n : y->ids.n;
        if (n < 1 || n > MAX_PATCH) http = sd_problem_set(p, 400, i ? "corrupt" : "clean", "%s has %lld tokens: 1 to %d", i ? "corrupt" : "clean", (long long)n, MAX_PATCH);
    }
    if (!http) http = read_word(&metric, body, "metric", "logit_diff", "prob", "kl", p);
    if (!http) http = read_word(&way, body, "way", "denoise", "noise", NULL, p);
    if (http) return http;
    o->metric = metric[0] == 'l' ? SD_PATCH_LOGIT_DIFF : metric[0] == 'p' ? SD_PATCH_PROB : SD_PATCH_KL;
    o->way = way[0] == 'd' ? SD_PATCH_DENOISE : SD_PATCH_NOISE;
    o->heads = sd_field_bool(body, "heads", false);
    o->position = sd_field_int(body, "position", 0);
    o->align_end = sd_field_bool(body, "align_end", false);
    if (o->metric != SD_PATCH_KL && !answer) return sd_problem_set(p, 400, "answer", "%s needs an answer", metric);
    if (o->metric == SD_PATCH_LOGIT_DIFF && !wrong) return sd_problem_set(p, 400, "wrong", "logit_diff needs the wrong answer too");
    if (o->position && !o->heads) return sd_problem_set(p, 400, "position", "position goes with heads; without them every position is patched");
    if ((http = read_layers(o, sd_field_get(body, "layers"), s->opt.m, p))) return http;
    if (sd_patch_site(o, sd_field_str(body, "site", NULL), &err)) return sd_problem_of(p, &err, "site");
    if (answer && sd_look_one_token(&o->answer, s->opt.m, answer, "answer", &err)) return sd_problem_of(p, &err, "answer");
    if (wrong && sd_look_one_token(&o->wrong, s->opt.m, wrong, "wrong", &err)) return sd_problem_of(p, &err, "wrong");
    return 0;
}

static void put_patch_head(sd_jw *w, const study *y)
{
    const sd_patch *r = &y->patch;
    char site[48];
    sd_patch_site_name(site, r->kind);
    sd_jw_obj(w);
    sd_jw_kstr(w, "schema", "sonde.patch_page/1");
    sd_jw_kstr(w, "mode", sd_mode_name(sd_model_get_mode(y->s->opt.m)));
    sd_jw_kstr(w, "site", site);
    sd_jw_kstr(w, "metric", sd_patch_metric_name(r->metric));
    sd_jw_kstr(w, "way", sd_patch_way_name(r->way));
    sd_jw_ki64(w, "n_clean", r->n_clean);
    sd_jw_ki64(w, "n_corrupt", r->n_corrupt);
    sd_jw_ki64(w, "first_difference", r->first_diff);
    sd_jw_kf64(w, "clean", r->clean);
    sd_jw_kf64(w, "corrupt", r->corrupt);
    sd_jw_kstr(w, "columns", r->heads ? "heads" : "positions");
    if (!r->heads) {
        sd_jw_ki64(w, "first_position", r->first_pos);
        sd_jw_key(w, "tokens");
        sd_jw_arr(w);
        for (int64_t i = 0; i < r->n_col; i++) {
            sd_jw_obj(w);
            sd_jw_ki64(w, "id", r->id[i]);
            sd_jw_key(w, "token");
            sd_acts__token(w, y->s->opt.m->tok, r->id[i]);
            sd_jw_end(w);
        }
        sd_jw_end(w);
    }
    sd_jw_key(w, "layers");
    sd_jw_arr(w);
}

static void put_patch_row(sd_jw *w, const sd_patch *r)
{
    sd_jw_obj(w);
    sd_jw_key(w, "layer");
    if (sd_site_is_layered(r->kind)) sd_jw_i64(w, r->layer0);
    else sd_jw_null(w);
    for (int k = 0; k < 2; k++) {
        sd_jw_key(w, k ? "effect" : "value");
        sd_jw_arr(w);
        for (int64_t i = 0; i < r->n_col; i++) sd_jw_f64(w, (k ? r->effect : r->value)[i]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

/* A layer is a job of its own: others get their steps between two of them. */
int sd_handle__patch(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    json_t *body;
    study y = {.fn = do_patch};
    sd_jw w;
    int http = sd_body__parse(&body, rq->body, sd_body_patch, rp, p);
    if (http) return http;
    http = read_patch(&y, s, body, p);
    bool layered = sd_site_is_layered(y.how.kind);
    int first = y.how.layer0, end = !layered ? first + 1 : y.how.layer1 ? y.how.layer1 : s->opt.m->cfg.n_layer;
    sd_jw_init(&w, &rp->body);
    for (int l = first; l < end && !http; l++) {
        sd_patch_release(&y.patch);
        if (layered) y.how.layer0 = l, y.how.layer1 = l + 1;
        http = run(&y, s, rq, p);
        if (!http && l == first) put_patch_head(&w, &y);
        if (!http) put_patch_row(&w, &y.patch);
    }
    if (!http) {
        sd_jw_end(&w);
        sd_jw_end(&w);
    }
    release(&y, body);
    return http;
}
