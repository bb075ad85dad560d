/* Owns: two who explain and judge without leaving this machine: the feature's own tokens, and a model. */
#include "lab/label_int.h"

#include "lab/batch.h"
#include "lab/token_text.h"

#include <stdio.h>

/* ---- tokens ---- */

static sd_status tokens_explain(void *self, const sd_feature *f, const char *prompt, sd_buf *out, sd_err *err)
{
    sd_store *s = self;
    const size_t from = out->n;
    (void)prompt;
    sd_status st = sd_label__words(out, s, f, err);
    if (st) return st;
    const bool any = out->n > from;
    for (int i = 0, n = 0; i < f->n_top && n < 3; i++) {
        sd_slice t = sd_slice_trim(sd_store_token(s, f->top[i].id));
        if (t.n < 2 || sd_utf8_valid_prefix(t) != t.n) continue;
        sd_buf_puts(out, n++ ? " " : any ? " -> " : "-> "); /* no word, which a text could have */
        sd_token_show(out, t);
    }
    return sd_buf_check(out, "a label", err);
}

static sd_status tokens_judge(void *self, const sd_label_ask *ask, int64_t n, double *score, sd_err *err)
{
    (void)self;
    (void)err;
    for (int64_t i = 0; i < n; i++) score[i] = sd_label__overlap(ask[i].label, ask[i].passage, ask[i].marked);
    return SD_OK;
}

sd_labeler sd_label_by_tokens(sd_store *s) { return (sd_labeler){"tokens", s, tokens_explain, tokens_judge}; }

/* ---- a model ---- */

enum { LABEL_TOKENS = 24 };

typedef struct said { const sd_model *m; sd_buf *out; } said;
static sd_status on_answer(void *self, int64_t prompt, const int32_t *ids, int64_t n, bool ended, sd_err *err)
{
    said *a = self;
    (void)prompt;
    (void)ended;
    return sd_tok_decode(a->m->tok, ids, n, false, a->out, err);
}

static sd_status model_explain(void *self, const sd_feature *f, const char *prompt, sd_buf *out, sd_err *err)
{
    const sd_label_model *by = self;
    said a = {by->m, out};
    sd_rendered r = {0};
    sd_batch *b = NULL;
    (void)f;
    sd_status st = sd_render(&r, by->m, &prompt, 1, &(sd_render_opt){0}, err);
    if (!st) st = sd_batch_open(&b, by->ex, by->m, &r, &(sd_batch_opt){.n_lanes = 1, .n_gen = LABEL_TOKENS}, err);
    if (!st) st = sd_batch_run(b, &(sd_batch_want){.n_gen = LABEL_TOKENS, .self = &a, .on_answer = on_answer}, err);
    sd_batch_close(b);
    sd_rendered_release(&r);
    return st;
}

typedef struct verdicts { double *score; int32_t yes, no; } verdicts;
static sd_status on_first(void *self, int64_t prompt, const float *logits, sd_err *err)
{
    verdicts *v = self;
    (void)err;
    v->score[prompt] = (double)logits[v->yes] - (double)logits[v->no];
    return SD_OK;
}

static sd_status first_token(int32_t *out, const sd_model *m, const char *word, sd_err *err)
{
    sd_ids ids = {0};
    sd_status st = sd_tok_encode(m->tok, sd_slice_of(word), &(sd_encode_opt){.no_special = true}, &ids, err);
    if (!st && ids.n < 1) st = sd_fail(err, SD_E_UNSUPPORTED, "the model's vocabulary has no \"%s\"", word);
    if (!st) *out = ids.v[0];
    sd_ids_release(&ids);
    return st;
}

static void question(sd_buf *b, const sd_label_ask *a)
{
    sd_buf_printf(b, a->marked ? "Text: %s\n\nAre the words between \xc2\xab and \xc2\xbb about: %s? Answer Yes or No." : "Text: %s\n\nDoes this text have: %s? Answer Yes or No.",
                  a->passage, a->label);
    sd_buf_putc(b, '\0');
}

static sd_status model_judge(void *self, const sd_label_ask *ask, int64_t n, double *score, sd_err *err)
{
    const sd_label_model *by = self;
    verdicts v = {.score = score};
    sd_rendered r = {0};
    sd_batch *batch = NULL;
    const char **text = NULL;
    size_t *at = NULL;
    sd_buf b;
    sd_buf_init(&b, 1 << 26);
    sd_status st = sd_alloc(&text, (size_t)n * sizeof *text, "questions", err);
    if (!st) st = sd_alloc(&at, (size_t)n * sizeof *at, "questions", err);
    for (int64_t i = 0; i < n && !st; i++) {
        at[i] = b.n;
        question(&b, &ask[i]);
    }
    if (!st) st = sd_buf_check(&b, "questions", err);
    for (int64_t i = 0; i < n && !st; i++) text[i] = b.p + at[i];
    if (!st) st = first_token(&v.yes, by->m, "Yes", err);
    if (!st) st = first_token(&v.no, by->m, "No", err);
    if (!st && v.yes == v.no) st = sd_fail(err, SD_E_UNSUPPORTED, "to this tokenizer \"Yes\" and \"No\" begin alike: the model cannot judge by its first token");
    if (!st) st = sd_render(&r, by->m, text, n, &(sd_render_opt){0}, err);
    if (!st) st = sd_batch_open(&batch, by->ex, by->m, &r, &(sd_batch_opt){0}, err);
    if (!st) st = sd_batch_run(batch, &(sd_batch_want){.self = &v, .on_first = on_first}, err);
    sd_batch_close(batch);
    sd_rendered_release(&r);
    sd_buf_release(&b);
    sd_free(text);
    sd_free(at);
    return st;
}

sd_labeler sd_label_by_model(sd_label_model *m) { return (sd_labeler){"model", m, model_explain, model_judge}; }
