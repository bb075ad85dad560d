/* Owns: the order of the work: explain all, judge each beside others, write all at the end. */
#include "lab/label_int.h"

#include "base/rng.h"

#include <inttypes.h>
#include <math.h>

enum { MAX_OTHER = 16 };

typedef struct work {
    sd_label_result *out;
    sd_store *s;
    const sd_labeler *by;
    sd_label_opt opt;
    label_cases cases;
    sd_label_ask *ask;  /* [(1 + n_other) x cases] */
    double *score;
    char (*other)[SD_LABEL_MAX + 1]; /* [n_other] */
} work;

static sd_status cancelled(const work *w, sd_err *err)
{
    if (!sd_progress_cancelled(w->opt.progress)) return SD_OK;
    return sd_fail(err, SD_E_CANCELLED, "interrupted; no label was written");
}

static sd_status explain_all(work *w, sd_err *err)
{
    sd_buf question, said;
    sd_status st = SD_OK;
    sd_buf_init(&question, 1 << 20);
    sd_buf_init(&said, 1 << 20);
    for (int64_t i = 0; i < w->opt.n && !st && !(st = cancelled(w, err)); i++) {
        sd_feature *f = NULL;
        sd_label_result *r = &w->out[i];
        *r = (sd_label_result){.index = w->opt.feature[i], .detection = NAN, .fuzzing = NAN, .score = NAN, .floor = NAN};
        if ((st = sd_store_feature(&f, w->s, r->index, 0, err))) break;
        sd_buf_reset(&question);
        sd_buf_reset(&said);
        if (f->n_example) {
            st = sd_label__question(&question, w->s, f, err);
            if (!st) st = w->by->explain(w->by->self, f, sd_buf_str(&question), &said, err);
            if (!st) sd_label__clean(r->text, (sd_slice){said.p ? said.p : "", said.n});
            if (st) sd_err_wrap(err, "explaining feature %" PRId64, r->index);
        }
        sd_feature_free(f);
        sd_progress_update(w->opt.progress, "explain", (double)(i + 1), (double)w->opt.n, "features");
    }
    sd_buf_release(&question);
    sd_buf_release(&said);
    return st;
}

/* Labels of others for the floor: of this run, else the words at the peaks of features drawn by the seed. None like its own. */
static sd_status others(work *w, int64_t i, sd_err *err)
{
    sd_rng rng = sd_rng_make(w->opt.seed, "label others", (uint64_t)w->out[i].index);
    int64_t m = sd_store_get_info(w->s)->dict.m;
    int n = 0;
    sd_status st = SD_OK;
    for (int t = 0; n < w->opt.n_other && t < 1000 && !st; t++) {
        char text[SD_LABEL_MAX + 1] = "";
        if (w->opt.n > w->opt.n_other && t < 200) memcpy(text, w->out[sd_rng_below(&rng, (uint64_t)w->opt.n)].text, sizeof text);
        else {
            sd_feature_list l;
            if ((st = sd_store_one(&l, w->s, (int64_t)sd_rng_below(&rng, (uint64_t)m), err))) break;
            sd_label__clean(text, sd_slice_of(l.v[0].words));
            sd_feature_list_release(&l);
        }
        bool known = !text[0] || strcmp(text, w->out[i].text) == 0;
        for (int k = 0; k < n && !known; k++) known = strcmp(w->other[k], text) == 0;
        if (!known) memcpy(w->other[n++], text, sizeof text);
    }
    if (!st && n < w->opt.n_other) st = sd_fail(err, SD_E_FAIL, "the store has fewer than %d different labels to set feature %" PRId64 "'s against", w->opt.n_other, w->out[i].index);
    return st;
}

static void scores_of(const work *w, int label, double *detection, double *fuzzing)
{
    const label_cases *c = &w->cases;
    const double *s = w->score + (int64_t)label * c->n;
    *detection = sd_label__auc(s, c->truth, c->n_detect);
    *fuzzing = sd_label__auc(s + c->n_detect, c->truth + c->n_detect, c->n - c->n_detect);
}

static sd_status judge_one(work *w, int64_t i, sd_err *err)
{
    sd_label_result *r = &w->out[i];
    label_cases *c = &w->cases;
    sd_feature *f = NULL;
    sd_status st = sd_store_feature(&f, w->s, r->index, 0, err);
    if (st) return st;
    st = sd_label__cases(c, w->s, f, w->opt.n_case, w->opt.seed, err);
    sd_feature_free(f);
    if (st || c->n == 0) return st;
    if ((st = others(w, i, err))) return st;
    for (int l = 0; l <= w->opt.n_other; l++)
        for (int k = 0; k < c->n; k++) w->ask[l * c->n + k] = (sd_label_ask){l ? w->other[l - 1] : r->text, c->text.p + c->at[k], c->marked[k]};
    st = w->by->judge(w->by->self, w->ask, (int64_t)(w->opt.n_other + 1) * c->n, w->score, err);
    if (st) return sd_err_wrap(err, "judging the label of feature %" PRId64, r->index);
    scores_of(w, 0, &r->detection, &r->fuzzing);
    r->score = (r->detection + r->fuzzing) / 2;
    r->floor = 0;
    r->n_case = c->n;
    for (int l = 1; l <= w->opt.n_other; l++) {
        double d, z;
        scores_of(w, l, &d, &z);
        r->floor = fmax(r->floor, (d + z) / 2);
    }
    r->shown = r->score > r->floor;
    return SD_OK;
}

static sd_status write_all(const work *w, sd_err *err)
{
    sd_status st = sd_store_labels_begin(w->s, err);
    if (st) return st;
    for (int64_t i = 0; i < w->opt.n && !st; i++) {
        const sd_label_result *r = &w->out[i];
        const sd_label l = {.text = r->text, .source = w->by->name, .author = w->opt.author, .created = w->opt.created, .score = r->score, .detection = r->detection,
                            .fuzzing = r->fuzzing, .floor = r->floor, .n_case = r->n_case, .args = w->opt.args, .hidden = !r->shown};
        if (r->text[0]) st = sd_store_add_label(w->s, r->index, &l, err);
    }
    return sd_store_labels_end(w->s, st, err);
}

sd_status sd_lab_label(sd_label_result *out, sd_store *s, const sd_labeler *by, const sd_label_opt *opt, sd_err *err)
{
    work w = {.out = out, .s = s, .by = by, .opt = *opt};
    if (!w.opt.n_case) w.opt.n_case = 8;
    if (!w.opt.n_other) w.opt.n_other = 4;
    SD_ASSERT(w.opt.n_case <= LABEL_CASES && w.opt.n_other <= MAX_OTHER);
    size_t cap = (size_t)(w.opt.n_other + 1) * 4 * (size_t)w.opt.n_case;
    sd_label__cases_init(&w.cases);
    sd_status st = sd_alloc(&w.ask, cap * sizeof *w.ask, "questions", err);
    if (!st) st = sd_alloc(&w.score, cap * sizeof *w.score, "questions", err);
    if (!st) st = sd_alloc(&w.other, (size_t)w.opt.n_other * sizeof *w.other, "questions", err);
    if (!st) st = explain_all(&w, err);
    for (int64_t i = 0; i < w.opt.n && !st && !(st = cancelled(&w, err)); i++) {
        if (out[i].text[0]) st = judge_one(&w, i, err);
        sd_progress_update(opt->progress, "judge", (double)(i + 1), (double)opt->n, "features");
    }
    if (!st) st = write_all(&w, err);
    sd_label__cases_release(&w.cases);
    sd_free(w.ask);
    sd_free(w.score);
    sd_free(w.other);
    return st;
}
