#include "lab/heard.h"

typedef struct listener { const sd_model *m; const sd_refusal_set *set; const sd_phrases *phrases; sd_buf text; bool opened[SD_HEARD_PROMPTS]; sd_heard *out; } listener;

static sd_status on_first(void *self, int64_t prompt, const float *logits, sd_err *err)
{
    listener *l = self;
    (void)err;
    l->opened[prompt] = sd_refusal_score(l->set, logits, l->m) > 0;
    l->out->opened += l->opened[prompt];
    return SD_OK;
}

static sd_status on_answer(void *self, int64_t prompt, const int32_t *ids, int64_t n, bool ended, sd_err *err)
{
    listener *l = self;
    (void)ended;
    if (!l->opened[prompt]) return SD_OK;
    sd_buf_reset(&l->text);
    sd_status st = sd_tok_decode(l->m->tok, ids, n, false, &l->text, err);
    l->out->said += !st && sd_judge_phrases(l->phrases, (sd_slice){l->text.p ? l->text.p : "", l->text.n}) == SD_CLASS_REFUSAL;
    return st;
}

bool sd_heard_backs(const sd_heard *h) { return 2 * h->said >= h->opened; }

sd_status sd_lab_heard(sd_heard *out, const sd_exec *ex, const sd_model *m, const sd_refusal_set *set, const sd_heard_ask *ask, sd_err *err)
{
    sd_rendered r = {0};
    sd_batch *b = NULL;
    listener l = {.m = m, .set = set, .phrases = ask->phrases, .out = out};
    *out = (sd_heard){.n = ask->n < SD_HEARD_PROMPTS ? ask->n : SD_HEARD_PROMPTS};
    snprintf(out->judge, sizeof out->judge, "%s", ask->phrases->name);
    sd_buf_init(&l.text, 1 << 16);
    sd_status st = sd_render(&r, m, ask->text, out->n, &(sd_render_opt){.system = ask->system, .n_ctx = m->max_ctx - SD_HEARD_TOKENS}, err);
    if (!st) st = sd_batch_open(&b, ex, m, &r, &(sd_batch_opt){.n_gen = SD_HEARD_TOKENS}, err);
    sd_batch_want want = {.n_gen = SD_HEARD_TOKENS, .self = &l, .on_first = on_first, .on_answer = on_answer, .progress = ask->progress, .what = "answers"};
    if (!st) st = sd_batch_run(b, &want, err);
    sd_batch_close(b);
    sd_rendered_release(&r);
    sd_buf_release(&l.text);
    return st;
}
