/* Owns: /sonde/v1/lens and /sonde/v1/measure: studies of a text, run on the engine's thread between its steps (it owns the processor). */
#include "serve/acts.h"

#include "lab/lens.h"
#include "lab/measure.h"

#include <math.h>

/* A study of 256 tokens keeps the engine for about a second on a small model: others wait that long. */
enum { MAX_LENS = 256, MAX_MEASURE = 1024, MAX_TOP = 10 };

typedef struct study {
    const sd_server *s;
    sd_ids ids;
    int64_t n_prompt;
    int n_top;
    sd_edits edits;
    sd_lens lens;
    sd_measure measure;
    bool is_lens;
    sd_status st;
    sd_err err;
} study;

static void work(void *self)
{
    study *y = self;
    const sd_serve_opt *o = &y->s->opt;
    if (y->is_lens) y->st = sd_lab_lens(&y->lens, o->ex, o->m, &y->ids, &(sd_lens_opt){.n_top = y->n_top}, &y->err);
    else y->st = sd_lab_measure(&y->measure, o->ex, o->m, &y->ids, y->n_prompt, &(sd_steer_set){.spec = y->edits.spec, .steer = y->edits.steer, .n = y->edits.n}, &y->err);
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
        st = sd_engine_submit(s->engine, job, &err);
    }
    int http = st ? sd_problem_of(p, &err, NULL) : sd_job__finish(s, job, rq, p);
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
    json_decref(body);
}

static int read_text(sd_ids *ids, const sd_server *s, const json_t *body, int64_t max, sd_problem *p)
{
    const json_t *text = sd_field_get(body, "text"), *list = sd_field_get(body, "ids"), *chat = sd_field_get(body, "messages");
    if ((text != NULL) + (list != NULL) + (chat != NULL) != 1) return sd_problem_set(p, 400, "text", "give one of text, ids and messages");
    int http = chat ? sd_body__chat_ids(ids, s, chat, "messages", p) : sd_body__ids(ids, s, text ? text : list, text ? "text" : "ids", p);
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
    study y = {.is_lens = true};
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
    for (int64_t i = 0; i < said.n && !st; i++) st = sd_ids_push(&y->ids, said.v[i], &err);
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
    study y = {0};
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
