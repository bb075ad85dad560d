/* Row 0 is the plain model: it gives the first-token distributions that the others are held against. */
#include "lab/sweep.h"

#include "lab/score.h"

#include <math.h>

enum { WINDOW = 256 };
static const double ablations[SD_SWEEP_ABLATE] = {0, 0.25, 0.5, 0.75, 1, 1.25, 1.5}, additions[SD_SWEEP_ADD] = {0.25, 0.5, 1, 1.5};

typedef struct job {
    const sd_sweep_opt *opt;
    const sd_model *m;
    sd_sweep *out;
    sd_sweep_row *row;
    float *plain; /* [n_neg, V] */
    bool store;
} job;

static sd_status first(void *self, int64_t prompt, const float *logits, sd_err *err)
{
    job *j = self;
    int64_t V = j->m->cfg.n_vocab, i = prompt - j->opt->n_pos;
    double s = sd_refusal_score(&j->out->refusal, logits, j->m);
    (void)err;
    if (i < 0) {
        j->row->score_pos += s / (double)j->opt->n_pos;
        j->row->refused_pos += (s > 0) / (double)j->opt->n_pos;
        return SD_OK;
    }
    j->row->score_neg += s / (double)j->opt->n_neg;
    j->row->refused_neg += (s > 0) / (double)j->opt->n_neg;
    if (j->store) sd_first_probs(j->plain + i * V, j->m->ex, logits, V);
    else j->row->kl += sd_first_kl(j->plain + i * V, j->m->ex, logits, V) / (double)j->opt->n_neg;
    return SD_OK;
}

static sd_status measure(job *j, sd_batch *b, sd_ablate *edit, sd_err *err)
{
    sd_hook h = {0};
    sd_score_result r = {0};
    if (edit) h = sd_ablate_hook(edit);
    sd_status st = sd_batch_edit(b, &h, edit ? 1 : 0, err);
    if (!st) st = sd_batch_run(b, &(sd_batch_want){.self = j, .on_first = first}, err);
    if (!st && j->opt->text) {
        int64_t window = j->m->max_ctx < WINDOW ? j->m->max_ctx : WINDOW;
        st = sd_lab_score(&r, j->m->ex, j->m, j->opt->text, j->opt->n_text, &(sd_score_opt){.window = window, .edit = edit ? &h : NULL}, err);
    }
    j->row->ce_loss = j->opt->text ? r.ce_loss : NAN;
    sd_status off = sd_batch_edit(b, NULL, 0, st ? NULL : err); /* the hook loses its owner */
    return st ? st : off;
}

static sd_status learn(job *j, sd_batch *b, sd_err *err)
{
    int64_t n = j->opt->n_pos + j->opt->n_neg, *at = NULL;
    sd_status st = sd_alloc(&at, (size_t)n * sizeof *at, "prompts", err);
    for (int64_t i = 0; i < n && !st; i++) at[i] = i;
    if (!st)
        st = sd_refusal_learn(&j->out->refusal, b, j->m, &(sd_sides){at, at + j->opt->n_pos, j->opt->n_pos, j->opt->n_neg}, err);
    sd_free(at);
    if (st || j->out->refusal.n) return st;
    return sd_fail(err, SD_E_FORMAT, "no first token is clearly likelier on the positive prompts than on the negative ones");
}

static sd_status rows(job *j, sd_batch *b, const float *unit, sd_err *err)
{
    sd_status st = SD_OK;
    for (int i = 0; i < SD_SWEEP_ROWS && !st; i++) {
        sd_ablate a = {0};
        bool add = i >= SD_SWEEP_ABLATE;
        j->row = &j->out->row[i];
        *j->row = (sd_sweep_row){.add = add, .w = add ? additions[i - SD_SWEEP_ABLATE] : ablations[i]};
        j->store = i == 0;
        if (i) st = add ? sd_ablate_init_add(&a, j->m, j->opt->vector, j->opt->layer, j->row->w, err) : sd_ablate_init(&a, j->m, unit, j->row->w, err);
        if (!st) st = measure(j, b, i ? &a : NULL, err);
        sd_ablate_release(&a);
        sd_progress_update(j->opt->progress, "sweep", i + 1, SD_SWEEP_ROWS, "strengths");
        if (!st && sd_progress_cancelled(j->opt->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %d of %d strengths", i + 1, (int)SD_SWEEP_ROWS);
    }
    return st;
}

sd_status sd_lab_sweep(sd_sweep *out, const sd_exec *ex, const sd_model *m, const sd_sweep_opt *opt, sd_err *err)
{
    job j = {.opt = opt, .m = m, .out = out};
    const char **text = NULL;
    float *unit = NULL;
    sd_rendered r = {0};
    sd_batch *b = NULL;
    int64_t n = opt->n_pos + opt->n_neg;
    *out = (sd_sweep){0};
    if (opt->n_pos < 1 || opt->n_neg < 1) return sd_fail(err, SD_E_FORMAT, "a sweep needs prompts of both kinds");
    sd_status st = sd_alloc(&text, (size_t)n * sizeof *text, "prompts", err);
    if (!st) st = sd_alloc(&unit, (size_t)m->cfg.d_model * sizeof *unit, "a direction", err);
    if (!st) st = sd_alloc(&j.plain, (size_t)(opt->n_neg * m->cfg.n_vocab) * sizeof(float), "plain probabilities", err);
    for (int64_t i = 0; i < n && !st; i++) text[i] = i < opt->n_pos ? opt->pos[i] : opt->neg[i - opt->n_pos];
    if (!st && !sd_unit(unit, opt->vector, m->cfg.d_model)) st = sd_fail(err, SD_E_FORMAT, "the direction is all zero");
    if (!st) st = sd_render(&r, m, text, n, &(sd_render_opt){.system = opt->system}, err);
    if (!st) st = sd_batch_open(&b, ex, m, &r, &(sd_batch_opt){.max_rows = 1024}, err);
    if (!st) st = learn(&j, b, err);
    if (!st) st = rows(&j, b, unit, err);
    snprintf(out->prompts_sha256, sizeof out->prompts_sha256, "%s", r.sha256);
    sd_batch_close(b);
    sd_rendered_release(&r);
    sd_free(text);
    sd_free(unit);
    sd_free(j.plain);
    return st;
}
