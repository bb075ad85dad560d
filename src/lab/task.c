#include "lab/task.h"

#include "lab/tune_data.h"
#include "model/sample.h"

void sd_task_release(sd_task *t)
{
    sd_free(t->nll);
    sd_free(t->exact);
    *t = (sd_task){0};
}

static int64_t likeliest(const float *logits, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static sd_status one_row(sd_task *t, const sd_exec *ex, sd_runner *r, sd_session *s, const sd_tune_set *set, int64_t row, sd_err *err)
{
    const sd_tune_sample *x = &set->sample[row];
    sd_segment seg = {.s = s, .tok = set->tok + x->at, .n = x->n, .want = SD_LOGITS_ALL};
    double sum = 0;
    bool exact = true;
    sd_session_rewind(s, 0);
    sd_status st = sd_runner_step(r, &seg, 1, -1, err);
    for (int64_t i = 0; i < x->n && !st; i++) {
        const int32_t want = set->target[x->at + i];
        if (want < 0) continue;
        const float *logits = sd_mat_row(seg.logits, i);
        sum += sd_logprob(ex, logits, seg.logits.cols, want);
        exact = exact && likeliest(logits, seg.logits.cols) == want;
    }
    t->nll[row] = -sum / x->n_count;
    t->exact[row] = exact ? 'y' : 'n';
    return st;
}

sd_status sd_lab_task(sd_task *out, const sd_exec *ex, const sd_model *m, const char *path, sd_err *err)
{
    const sd_tune_data data = {.path = path};
    sd_tune_set set = {0};
    sd_session *s = NULL;
    sd_runner *r = NULL;
    int64_t most = 1;
    *out = (sd_task){0};
    sd_status st = sd_tune_set_read(&set, m, &(sd_tune_opt){.method = SD_TUNE_SFT, .data = &data, .n_data = 1}, m->max_ctx < 1024 ? m->max_ctx : 1024, err);
    for (int64_t i = 0; i < set.n; i++) most = set.sample[i].n > most ? set.sample[i].n : most;
    if (!st) st = sd_alloc_zero(&out->nll, (size_t)set.n * sizeof *out->nll, "a task's rows", err);
    if (!st) st = sd_alloc_zero(&out->exact, (size_t)set.n + 1, "a task's rows", err);
    if (!st) st = sd_session_new(&s, m, &(sd_session_opt){.n_ctx = most}, err);
    if (!st) st = sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = most, .max_logit_rows = most, .n_ctx = most}, err);
    if (!st) out->n = set.n;
    for (int64_t i = 0; i < set.n && !st; i++) st = one_row(out, ex, r, s, &set, i, err);
    sd_runner_free(r);
    sd_session_free(s);
    sd_tune_set_release(&set);
    if (st) sd_task_release(out);
    return st;
}
