/* The teacher of a distillation: a model as inference runs it, whose last states of the tokens that count are kept for one
 * forward of the learner. Its logits only exist in tiles (num/distill.h). */
#include "lab/tune_int.h"

#include "lab/same_tokens.h"
#include "model/session.h"
#include "num/product.h" /* sd_prod_can_half */

#include <inttypes.h>
#include <string.h>

/* A session and the document that it reads in this step. */
typedef struct lane {
    sd_session *s;
    const sd_doc *doc;
    float *to; /* where its next state that counts goes */
} lane;

struct sd_teacher {
    sd_model *m;
    sd_runner *runner;
    lane *lane; /* [n_lane] */
    sd_segment *seg;
    int n_lane;
    float *h;  /* [micro_rows, d] */
    float *kl; /* [micro_rows] */
};

/* ---- its life ---- */

static sd_status on_norm(void *self, sd_act *act, sd_err *err)
{
    lane *l = self;
    const int64_t d = act->x.cols;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) {
        if (l->doc->target[act->pos0 + i] < 0) continue;
        memcpy(l->to, sd_mat_row(act->x, i), (size_t)d * sizeof(float));
        l->to += d;
    }
    return SD_OK;
}

/* As many sessions as their contexts hold rows of a forward, so that caches take what micro_rows tokens take. */
static sd_status make_lanes(sd_teacher *t, const sd_tune_run *r, sd_err *err)
{
    static const sd_site norm = {SD_SITE_FINAL_NORM, 0};
    const int64_t fit = r->o.micro_rows / r->o.ctx;
    const int n = (int)(fit < 1 ? 1 : fit > SD_TUNE_MAX_DOCS ? SD_TUNE_MAX_DOCS : fit);
    sd_status st = sd_alloc_zero(&t->lane, (size_t)n * sizeof *t->lane, "a teacher's sessions", err);
    if (!st) st = sd_alloc_zero(&t->seg, (size_t)n * sizeof *t->seg, "a teacher's sessions", err);
    for (; !st && t->n_lane < n; t->n_lane++) {
        lane *l = &t->lane[t->n_lane];
        int id;
        if ((st = sd_session_new(&l->s, t->m, &(sd_session_opt){.n_ctx = r->o.ctx}, err))) break;
        const sd_hook hook = {.name = "teacher", .at = &norm, .n_at = 1, .mode = SD_HOOK_READ, .fn = on_norm, .self = l};
        if ((st = sd_session_attach(l->s, &hook, &id, err))) {
            sd_session_free(l->s);
            break;
        }
    }
    return st;
}

sd_status sd_tune__teacher_open(sd_tune_run *r, sd_err *err)
{
    sd_teacher *t = NULL;
    sd_status st = sd_alloc_zero(&t, sizeof *t, "a teacher", err);
    if (st) return st;
    r->teacher = t;
    if ((st = sd_model_open(&t->m, r->ex, r->o.teacher, &(sd_model_opt){.mode = r->o.teacher_mode, .no_head = true}, err))) return st;
    if ((st = sd_same_tokens(r->m, t->m, r->o.teacher, "the teacher's tokens must be the model's, one by one: take one of the same family", err))) return st;
    if (t->m->max_ctx < r->o.ctx) {
        sd_fail(err, SD_E_FORMAT, "%s reads at most %" PRId64 " tokens, rows have up to %" PRId64, r->o.teacher, t->m->max_ctx, r->o.ctx);
        return sd_hint(err, "cut the rows with --ctx %" PRId64, t->m->max_ctx);
    }
    const int64_t rows = r->o.micro_rows, d = t->m->cfg.d_model;
    if ((st = sd_runner_new(&t->runner, r->ex, t->m, &(sd_runner_opt){.max_rows = rows, .max_logit_rows = 1, .n_ctx = r->o.ctx}, err))) return st;
    if ((st = make_lanes(t, r, err))) return st;
    if ((st = sd_alloc(&t->h, (size_t)(rows * d) * sizeof *t->h, "a teacher's states", err))) return st;
    return sd_alloc(&t->kl, (size_t)rows * sizeof *t->kl, "a teacher's states", err);
}

void sd_tune__teacher_free(sd_teacher *t)
{
    if (!t) return;
    for (int i = 0; i < t->n_lane; i++) sd_session_free(t->lane[i].s);
    sd_runner_free(t->runner);
    sd_model_close(t->m);
    sd_free(t->lane);
    sd_free(t->seg);
    sd_free(t->h);
    sd_free(t->kl);
    sd_free(t);
}

int64_t sd_tune__teacher_cols(const sd_teacher *t)
{
    return t ? t->m->cfg.d_model : 0;
}

sd_status sd_tune__teach(sd_tune_run *r, int n_doc, sd_learner_soft *soft, sd_err *err)
{
    sd_teacher *t = r->teacher;
    const int64_t d = t->m->cfg.d_model;
    int64_t n_count = 0;
    sd_status st = SD_OK;
    for (int i = 0; !st && i < n_doc;) {
        int n = 0;
        for (; n < t->n_lane && i < n_doc; n++, i++) {
            lane *l = &t->lane[n];
            const sd_doc *doc = &r->doc[i];
            l->doc = doc;
            l->to = t->h + n_count * d;
            for (int64_t k = 0; k < doc->n; k++) n_count += doc->target[k] >= 0;
            sd_session_rewind(l->s, 0);
            t->seg[n] = (sd_segment){.s = l->s, .tok = doc->tok, .n = doc->n, .want = SD_LOGITS_NONE};
        }
        st = sd_runner_step(t->runner, t->seg, n, -1, err);
    }
    const bool bf16 = t->m->mode != SD_MODE_FAITHFUL && sd_prod_can_half(r->ex);
    *soft = (sd_learner_soft){.teacher = {sd_mat_of(t->h, n_count, d), t->m->head_w, t->m->wire.logit_cap, bf16},
                              .temperature = r->o.temperature,
                              .kl = t->kl};
    return st;
}
