/* Owns: a session a prompt, decoded together, and the reading of what came out. */
#include "lab/effect.h"

#include "model/session.h"

#include <inttypes.h>
#include <math.h>

enum { DEFAULT_GEN = 24, MAX_PROMPTS = 16, MAX_PROMPT_TOKENS = 128 };
static const double CE_FINE = 3, CE_NOISE = 6;

typedef struct lab {
    const sd_model *m;
    const sd_dict *dict;
    const sd_effect_opt *opt;
    int64_t n_gen, d;
    sd_site site;
    sd_runner *runner;
    sd_session *session[MAX_PROMPTS];
    sd_ids text[MAX_PROMPTS];   /* prompt and continuation */
    float *x;                   /* [MAX_PROMPTS * n_gen, d] what the plain model reads at the site, continued tokens only */
    int64_t n_read;
} lab;

/* The continuation of one prompt while the plain model reads it. */
struct reader { lab *l; int64_t prompt_tokens; };

static sd_status keep_rows(void *self, sd_act *act, sd_err *err)
{
    struct reader *r = self;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) {
        if (act->pos0 + i < r->prompt_tokens) continue;
        memcpy(r->l->x + r->l->n_read++ * r->l->d, sd_mat_row(act->x, i), (size_t)r->l->d * sizeof(float));
    }
    return SD_OK;
}

static sd_status reset_text(lab *l, int p, sd_err *err)
{
    l->text[p].n = 0;
    return sd_ids_add(&l->text[p], l->opt->prompt[p].v, l->opt->prompt[p].n, err);
}

/* Greedy continuation of every prompt at once; special tokens are never chosen, so all continuations have n_gen tokens. */
static sd_status continue_all(lab *l, const sd_steer_spec *spec, sd_err *err)
{
    sd_steer *steer[MAX_PROMPTS] = {0};
    sd_segment seg[MAX_PROMPTS];
    sd_status st = SD_OK;
    int hook[MAX_PROMPTS][2];
    for (int p = 0; p < l->opt->n_prompt && !st; p++) {
        sd_session_rewind(l->session[p], 0);
        hook[p][0] = hook[p][1] = -1;
        st = reset_text(l, p, err);
        if (!st && spec) st = sd_steer_new(&steer[p], spec, l->m, l->dict, err);
        if (!st && spec) st = sd_steer_attach_id(steer[p], l->session[p], l->text[p].n, hook[p], err);
        seg[p] = (sd_segment){.s = l->session[p], .tok = l->text[p].v, .n = l->text[p].n, .want = SD_LOGITS_LAST};
    }
    for (int64_t t = 0; t < l->n_gen && !st; t++) {
        st = sd_runner_step(l->runner, seg, l->opt->n_prompt, -1, err);
        for (int p = 0; p < l->opt->n_prompt && !st; p++) {
            float *row = sd_mat_row(seg[p].logits, 0);
            int64_t id = sd_argmax(row, seg[p].logits.cols);
            while (id >= 0 && sd_tok_is_special(l->m->tok, (int32_t)id)) {
                row[id] = -INFINITY;
                id = sd_argmax(row, seg[p].logits.cols);
            }
            st = id < 0 ? sd_fail(err, SD_E_FAIL, "the logits are not finite") : sd_ids_push(&l->text[p], (int32_t)id, err);
            seg[p].tok = l->text[p].v + l->text[p].n - 1;
            seg[p].n = 1;
        }
    }
    for (int p = 0; p < l->opt->n_prompt && steer[p]; p++) {
        for (int k = 0; k < 2; k++)
            if (hook[p][k] >= 0) sd_session_detach(l->session[p], hook[p][k]);
        sd_steer_free(steer[p]);
    }
    return st;
}

/* The plain model reads all texts; gives the mean cross-entropy of the continued tokens and fills x. */
static sd_status read_all(lab *l, double *ce, sd_err *err)
{
    double sum = 0;
    int64_t n = 0;
    sd_status st = SD_OK;
    l->n_read = 0;
    for (int p = 0; p < l->opt->n_prompt && !st; p++) {
        struct reader r = {.l = l, .prompt_tokens = l->opt->prompt[p].n};
        int id = 0;
        sd_session_rewind(l->session[p], 0);
        st = sd_session_attach(l->session[p], &(sd_hook){.name = "read", .at = &l->site, .n_at = 1, .mode = SD_HOOK_READ, .fn = keep_rows, .self = &r}, &id, err);
        if (st) break;
        sd_segment seg = {.s = l->session[p], .tok = l->text[p].v, .n = l->text[p].n, .want = SD_LOGITS_ALL};
        st = sd_runner_step(l->runner, &seg, 1, -1, err);
        sd_session_detach(l->session[p], id);
        for (int64_t i = r.prompt_tokens; i < seg.n && !st; i++, n++) {
            const float *row = sd_mat_row(seg.logits, i - 1);
            sum += sd_logsumexp(l->m->ex, row, seg.logits.cols) - (double)row[seg.tok[i]];
        }
    }
    *ce = sum / (double)n;
    return st;
}

static double share_active(const lab *l, int64_t feature)
{
    int64_t n = 0;
    for (int64_t i = 0; i < l->n_read; i++)
        n += sd_dict_preact(l->dict, feature, l->x + i * l->d) > sd_dict_threshold(l->dict, feature);
    return l->n_read ? (double)n / (double)l->n_read : 0;
}

static double share_distinct(const lab *l)
{
    int64_t pairs = 0, distinct = 0;
    for (int p = 0; p < l->opt->n_prompt; p++) {
        const int32_t *v = l->text[p].v + l->opt->prompt[p].n;
        for (int64_t i = 0; i + 1 < l->n_gen; i++, pairs++) {
            bool seen = false;
            for (int64_t j = 0; j < i && !seen; j++) seen = v[j] == v[i] && v[j + 1] == v[i + 1];
            distinct += !seen;
        }
    }
    return pairs ? (double)distinct / (double)pairs : 0;
}

static sd_status open_lab(lab *l, const sd_exec *ex, sd_err *err)
{
    const sd_dict_info *info = sd_dict_get_info(l->dict);
    int64_t longest = 0, sum = 0;
    const char *site = sd_dict_site_name(l->dict);
    sd_status st = sd_site_parse(&l->site, site, strlen(site), err);
    if (st) return sd_err_wrap(err, "the dictionary's site");
    l->d = info->d;
    for (int p = 0; p < l->opt->n_prompt; p++) {
        int64_t n = l->opt->prompt[p].n;
        if (n < 1 || n > MAX_PROMPT_TOKENS) return sd_fail(err, SD_E_ARG, "prompt %d has %" PRId64 " tokens; 1 to %d are wanted", p, n, MAX_PROMPT_TOKENS);
        sum += n;
        if (n > longest) longest = n;
    }
    int64_t ctx = longest + l->n_gen, rows = sum > ctx ? sum : ctx, logit_rows = ctx > l->opt->n_prompt ? ctx : l->opt->n_prompt;
    for (int p = 0; p < l->opt->n_prompt && !st; p++) st = sd_session_new(&l->session[p], l->m, &(sd_session_opt){.n_ctx = ctx}, err);
    if (!st) st = sd_runner_new(&l->runner, ex, l->m, &(sd_runner_opt){.max_rows = rows, .max_logit_rows = logit_rows, .n_ctx = ctx}, err);
    if (!st) st = sd_alloc(&l->x, (size_t)(l->opt->n_prompt * l->n_gen * l->d) * sizeof(float), "activations", err);
    return st;
}

sd_status sd_lab_effect(sd_effect *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_effect_opt *opt, sd_err *err)
{
    const int64_t *feature = opt->feature, n_feature = opt->n_feature;
    lab l = {.m = m, .dict = dict, .opt = opt, .n_gen = opt->n_gen ? opt->n_gen : DEFAULT_GEN};
    double ce_plain = 0;
    if (opt->n_prompt < 1 || opt->n_prompt > MAX_PROMPTS) return sd_fail(err, SD_E_ARG, "%d prompts; 1 to %d are wanted", opt->n_prompt, MAX_PROMPTS);
    for (int64_t i = 0; i < n_feature; i++)
        if (feature[i] < 0 || feature[i] >= sd_dict_get_info(dict)->m) {
            sd_fail(err, SD_E_NOTFOUND, "feature %" PRId64 " of a dictionary with %" PRId64, feature[i], sd_dict_get_info(dict)->m);
            return sd_hint(err, "features are numbered 0 to %" PRId64, sd_dict_get_info(dict)->m - 1);
        }
    sd_status st = open_lab(&l, ex, err);
    if (!st) st = continue_all(&l, NULL, err);
    if (!st) st = read_all(&l, &ce_plain, err);
    for (int64_t i = 0; i < n_feature && !st; i++)
        out[i] = (sd_effect){.feature = feature[i], .active_plain = share_active(&l, feature[i]), .ce_plain = ce_plain};
    for (int64_t i = 0; i < n_feature && !st; i++) {
        sd_effect *e = &out[i];
        sd_steer_spec spec = {.feature = e->feature, .op = SD_STEER_ADD, .unit = SD_UNIT_RMS, .value = opt->value != 0 ? opt->value : SD_EFFECT_VALUE};
        if ((st = continue_all(&l, &spec, err))) break;
        if ((st = read_all(&l, &e->ce_steered, err))) break;
        e->active_steered = share_active(&l, e->feature);
        e->distinct = share_distinct(&l);
        e->score = fmax(0, e->active_steered - e->active_plain) * e->distinct * fmin(1, fmax(0, (CE_NOISE - e->ce_steered) / (CE_NOISE - CE_FINE)));
        sd_progress_update(opt->progress, "measure effects", (double)(i + 1), (double)n_feature, "features");
        if (sd_progress_cancelled(opt->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %" PRId64 " of %" PRId64 " features", i + 1, n_feature);
    }
    for (int p = 0; p < MAX_PROMPTS; p++) {
        sd_session_free(l.session[p]);
        sd_ids_release(&l.text[p]);
    }
    sd_runner_free(l.runner);
    sd_free(l.x);
    return st;
}
