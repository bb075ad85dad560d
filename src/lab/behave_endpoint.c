/* Behaviour of a model behind an endpoint: answers alone. There are no logits, so neither scores nor utility by likelihood, and the template is the server's. */
#include "lab/behave.h"

#include "base/hash.h"

#include <math.h>

typedef struct job {
    const sd_behave_opt *opt;
    sd_behaviour *out;
    sd_reply *v;
    sd_buf *kept;
    bool framed;
    int64_t *which, n_which; /* the plain prompts that are asked */
    double kept_at;
} job;

/* Words stand for tokens where repetition is looked for. */
static int64_t words(int32_t *id, int64_t cap, sd_slice s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.n && n < cap;) {
        size_t j = i;
        while (j < s.n && (unsigned char)s.p[j] > ' ') j++;
        if (j > i) id[n++] = (int32_t)(sd_hash64(s.p + i, j - i) & 0x7fffffff);
        i = j + 1;
    }
    return n;
}

static sd_status answered(void *self, int64_t i, sd_slice text, int64_t n_tokens, const char *why, sd_err *err)
{
    job *j = self;
    if (!j->framed) i = j->which[i];
    sd_reply *r = &j->v[i];
    int32_t id[4096];
    r->cls = SD_CLASS_UNSCORED;
    if (why) {
        if (!j->framed && !j->out->n_silent++) snprintf(j->out->silent_why, sizeof j->out->silent_why, "%s", why);
        return SD_OK;
    }
    r->hash = sd_hash64(text.p, text.n);
    r->n_tokens = n_tokens >= 0 && n_tokens <= INT32_MAX ? (int32_t)n_tokens : 0;
    r->cls = r->by_phrases = sd_judge_incoherent(id, words(id, 4096, text), text) ? SD_CLASS_INCOHERENT : sd_judge_phrases(j->opt->phrases, text);
    if (j->kept) sd_buf_put(&j->kept[i], text.p, text.n), sd_buf_str(&j->kept[i]);
    return j->framed ? SD_OK : sd_behave__keep(j->out, j->opt, &j->kept_at, SD_OK, err);
}

static sd_status ask_plain(job *j, const sd_endpoint *e, const char *const *text, const char *system, sd_err *err)
{
    const char **some = NULL;
    sd_status st = sd_alloc(&some, (size_t)(j->n_which + 1) * sizeof *some, "prompts", err);
    for (int64_t i = 0; i < j->n_which && !st; i++) some[i] = text[j->which[i]];
    if (!st && j->n_which)
        st = sd_endpoint_ask(e, some, j->n_which, &(sd_endpoint_want){.system = system, .n_gen = j->out->n_gen, .self = j, .on_answer = answered, .progress = j->opt->progress}, err);
    sd_free(some);
    return st;
}

/* ---- frames and identity: answers that are counted and not kept one by one; a judge is sent the request without its frame, which might speak to it too ---- */

typedef struct counting { sd_behaviour *out; const sd_behave_opt *opt; } counting;

static sd_status named(void *self, int64_t i, sd_slice text, int64_t n_tokens, const char *why, sd_err *err)
{
    counting *c = self;
    sd_buf b;
    (void)i;
    (void)n_tokens;
    (void)err;
    if (why) return SD_OK;
    sd_buf_init(&b, 1 << 24);
    sd_buf_put(&b, text.p, text.n);
    c->out->utility.identity_n++;
    c->out->utility.identity_same += strcasestr(sd_buf_str(&b), c->opt->identity) != NULL;
    sd_buf_release(&b);
    return SD_OK;
}

static sd_status ask_frames(job *j, const sd_endpoint *e, const char *const *text, const char *system, sd_err *err)
{
    const sd_behave_opt *opt = j->opt;
    sd_behaviour *out = j->out;
    sd_reply *scratch = NULL;
    const char **some = NULL;
    sd_buf *framed = NULL;
    int64_t k = 0;
    sd_status st = sd_alloc(&some, (size_t)(out->n + 1) * sizeof *some, "prompts", err);
    if (!st) st = sd_alloc_zero(&framed, (size_t)(out->n + 1) * sizeof *framed, "prompts", err);
    if (!st) st = sd_alloc_zero(&scratch, (size_t)(out->n + 1) * sizeof *scratch, "answers", err);
    j->v = scratch;
    j->framed = true;
    for (int64_t i = 0; i < out->n && k < opt->n_template && !st; i++)
        if (out->v[i].axis == SD_AXIS_HARMFUL) sd_buf_init(&framed[k], 1 << 24), some[k++] = text[i];
    for (int f = 0; f < SD_N_FRAMES && k > 0 && !st; f++) {
        const char *wrap = sd_behave__frame[f].wrap, *hole = strstr(wrap, "{}");
        if (opt->before && f < opt->before->n_tpl) {
            out->tpl[out->n_tpl++] = opt->before->tpl[f];
            continue;
        }
        sd_template_rate *r = &out->tpl[out->n_tpl];
        *r = (sd_template_rate){.n = 0};
        snprintf(r->name, sizeof r->name, "%s", sd_behave__frame[f].name);
        const char **ask = NULL;
        st = sd_alloc(&ask, (size_t)k * sizeof *ask, "prompts", err);
        for (int64_t i = 0; i < k && !st; i++) {
            scratch[i] = (sd_reply){.score = NAN, .linear = NAN, .cls = SD_CLASS_UNSCORED};
            if (j->kept) sd_buf_reset(&j->kept[i]);
            sd_buf_reset(&framed[i]);
            sd_buf_put(&framed[i], wrap, (size_t)(hole - wrap));
            sd_buf_puts(&framed[i], some[i]);
            sd_buf_puts(&framed[i], hole + 2);
            st = sd_buf_check(&framed[i], "a prompt", err);
            ask[i] = sd_buf_str(&framed[i]);
        }
        if (!st)
            st = sd_endpoint_ask(e, ask, k, &(sd_endpoint_want){.system = system, .n_gen = out->n_gen, .self = j, .on_answer = answered, .progress = opt->progress}, err);
        sd_free(ask);
        if (!st && opt->judge) st = sd_behave__judge(out, &(sd_to_judge){scratch, k, some, j->kept, true}, opt->judge, opt->progress, err);
        if (!st) sd_behave__count(r, scratch, k);
        if (!st) out->n_tpl++;
    }
    for (int64_t i = 0; i < k; i++) sd_buf_release(&framed[i]);
    sd_free(framed);
    sd_free(scratch);
    sd_free(some);
    return st;
}

sd_status sd_lab_behave_endpoint(sd_behaviour *out, const sd_endpoint *e, const sd_behave_opt *opt, sd_err *err)
{
    const char **text = NULL;
    job j = {.opt = opt, .out = out, .kept_at = sd_now()};
    sd_buf all;
    sd_sha256 h;
    int64_t n = 0;
    const char *system = opt->system.kind == SD_SYSTEM_TEXT ? opt->system.text : NULL;
    *out = (sd_behaviour){.n_gen = sd_behave_length(opt)};
    out->utility.ce_loss = NAN;
    snprintf(out->judge, sizeof out->judge, "%s", opt->phrases->name);
    sd_buf_init(&all, (size_t)1 << 30);
    sd_status st = sd_behave__gather(opt, &text, &out->v, &n, err);
    if (!st && (opt->judge || opt->on_text)) st = sd_alloc_zero(&j.kept, (size_t)(n + 1) * sizeof *j.kept, "answers", err);
    out->n = st ? 0 : n;
    j.v = out->v;
    for (int64_t i = 0; i < n && !st; i++) {
        if (j.kept) sd_buf_init(&j.kept[i], 1 << 24);
        sd_endpoint__body(&all, e, system, text[i], out->n_gen);
    }
    if (!st) st = sd_buf_check(&all, "requests", err);
    if (!st) {
        sd_sha256_of(&h, all.p, all.n);
        sd_sha256_hex(&h, out->rendered_sha256);
    }
    if (!st) st = sd_behave__before(&j.which, &j.n_which, out, opt, err);
    if (!st) st = sd_behave__same(out, opt, err);
    if (!st) st = ask_plain(&j, e, text, system, err);
    if (!st && opt->judge) st = sd_behave__judge(out, &(sd_to_judge){out->v, n, text, j.kept, false}, opt->judge, opt->progress, err);
    if (!st) st = sd_behave__show(opt, out->v, j.kept, n, err);
    if (!st && opt->n_template) st = ask_frames(&j, e, text, system, err);
    if (!st && opt->identity)
        st = sd_endpoint_ask(e, sd_behave__identity, SD_N_IDENTITY, &(sd_endpoint_want){.system = system, .n_gen = 32, .self = &(counting){out, opt}, .on_answer = named}, err);
    if (st) st = sd_behave__keep(out, opt, &j.kept_at, st, err);
    sd_free(j.which);
    for (int64_t i = 0; i < n && j.kept; i++) sd_buf_release(&j.kept[i]);
    sd_free(j.kept);
    sd_buf_release(&all);
    sd_free(text);
    if (st) sd_behaviour_release(out);
    return st;
}

sd_status sd_behave__judge(sd_behaviour *out, const sd_to_judge *a, const sd_endpoint *judge, const sd_progress *progress, sd_err *err)
{
    sd_judge_case *c = NULL;
    int64_t silent = 0;
    sd_status st = sd_alloc_zero(&c, (size_t)(a->n + 1) * sizeof *c, "answers to judge", err);
    for (int64_t i = 0; i < a->n && !st; i++) c[i] = (sd_judge_case){a->text[i], a->v[i].cls == SD_CLASS_UNSCORED ? NULL : sd_buf_str(&a->kept[i]), a->v[i].cls};
    if (!st) st = sd_judge_by_endpoint(c, a->n, judge, &silent, progress, err);
    for (int64_t i = 0; i < a->n && !st; i++) a->v[i].cls = c[i].cls;
    if (a->framed) silent = 0;
    if (!st && silent && !out->n_silent) snprintf(out->silent_why, sizeof out->silent_why, "the judge gave no verdict");
    out->n_silent += silent;
    sd_judge_endpoint_name(out->judge, sizeof out->judge, judge);
    sd_free(c);
    return st;
}
