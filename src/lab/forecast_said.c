/* Owns: the harmful prompts' answers on the way of a rehearsal: greedy, by the learner as it stands. What is answered as before costs one forward: the answer before is
 * put behind the prompt and holds as far as every token of it is still the likeliest; only behind that is one token taken a forward. Easy to break: the first forward's
 * targets lie one before the tokens they are, and the one behind the last is asked for too. */
#include "lab/forecast_int.h"

enum { MAX_DOCS = 64 };

typedef struct answer { int32_t id[SD_FORECAST_SAID]; int n; bool ended; } answer;

sd_status sd_forecast__said_init(sd_forecast_said *s, sd_err *err)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < s->n; i++) longest = s->v[i].n > longest ? s->v[i].n : longest;
    s->ld = longest + SD_FORECAST_SAID;
    sd_buf_init(&s->text, 1 << 16);
    sd_status st = sd_alloc_zero(&s->before, (size_t)(s->n * (SD_FORECAST_SAID + 1)) * sizeof *s->before, "answers", err);
    if (!st) st = sd_alloc(&s->look, (size_t)MAX_DOCS * (SD_FORECAST_SAID + 1) * SD_REFUSAL_TOKENS * sizeof *s->look, "answers", err);
    if (!st) st = sd_alloc(&s->tok, (size_t)(s->n * s->ld) * sizeof *s->tok, "answers", err);
    return st;
}

void sd_forecast__said_release(sd_forecast_said *s)
{
    sd_buf_release(&s->text);
    sd_free(s->before);
    sd_free(s->tok);
    sd_free(s->look);
    *s = (sd_forecast_said){0};
}

/* As many of the prompts that are not done, from *i on, as one forward takes, each with what is answered so far; `ahead` tokens behind it are given (its answer before). */
typedef struct part { int64_t which[MAX_DOCS]; int ahead[MAX_DOCS], n_doc; } part;
static void pack(sd_forecast_said *s, sd_forecast_pass *p, answer *a, bool first, part *to, int64_t *i)
{
    int64_t at = 0;
    to->n_doc = 0;
    for (; *i < s->n && to->n_doc < MAX_DOCS; ++*i) {
        answer *w = &a[*i];
        if (w->ended) continue;
        const int32_t *before = s->before + *i * (SD_FORECAST_SAID + 1);
        const int ahead = first ? before[0] : 0;
        const int64_t n = s->v[*i].n + w->n + ahead;
        int32_t *tok = s->tok + *i * s->ld;
        if (at + n > p->max_rows) return;
        memcpy(tok, s->v[*i].tok, (size_t)s->v[*i].n * sizeof *tok);
        memcpy(tok + s->v[*i].n, first ? before + 1 : w->id, (size_t)(w->n + ahead) * sizeof *tok);
        for (int64_t k = 0; k < n; k++) p->target[at + k] = k < n - 1 - ahead ? -1 : k < n - 1 ? tok[k + 1] : 0;
        to->which[to->n_doc] = *i;
        to->ahead[to->n_doc] = ahead;
        p->doc[to->n_doc++] = (sd_doc){tok, p->target + at, n};
        at += n;
    }
}

static void push(const sd_forecast_said *s, answer *a, int32_t id)
{
    a->ended = id < 0 || sd_tok_ends(s->m->tok, id);
    if (!a->ended) a->id[a->n++] = id;
    a->ended = a->ended || a->n == SD_FORECAST_SAID;
}

/* All answers; first: with the answers before behind the prompts, whose log-probabilities go to `out`. */
static sd_status round_of(sd_forecast_said *s, sd_forecast_pass *p, answer *a, bool first, sd_forecast_heard *out, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t i = 0; i < s->n && !st;) {
        part t;
        const float *lp;
        int64_t n_lp, at = 0, begin = i;
        int32_t top[MAX_DOCS * (SD_FORECAST_SAID + 1)];
        const int R = first ? p->set->n : 0;
        pack(s, p, a, first, &t, &i);
        if (!t.n_doc && i < s->n) return sd_fail(err, SD_E_ARG, "prompt %lld has %lld tokens, at most %lld", (long long)begin + 1, (long long)s->v[i].n, (long long)(p->max_rows - SD_FORECAST_SAID));
        if (!t.n_doc) return SD_OK;
        const sd_learner_look look = {.top = top, .id = p->set->id, .n_id = R, .lp = s->look};
        st = sd_learner_forward(p->l, &(sd_learner_batch){.doc = p->doc, .n_doc = t.n_doc, .look = &look}, &lp, &n_lp, err);
        for (int d = 0; d < t.n_doc && !st; at += t.ahead[d++] + 1) {
            answer *w = &a[t.which[d]];
            const int32_t *before = s->before + t.which[d] * (SD_FORECAST_SAID + 1) + 1;
            double sum = 0;
            memcpy(s->lp + t.which[d] * p->set->n, s->look + at * R, (size_t)R * sizeof *s->lp);
            for (int k = 0; k < t.ahead[d]; k++) sum += (double)lp[at + k];
            if (t.ahead[d]) out->lp += sum / t.ahead[d] / (double)s->n;
            int k = 0;
            while (k < t.ahead[d] && top[at + k] == before[k]) push(s, w, before[k++]);
            if (!w->ended) push(s, w, top[at + k]);
        }
    }
    return st;
}

sd_status sd_forecast__said(sd_forecast_said *s, sd_forecast_pass *p, bool is_before, sd_forecast_heard *out, sd_err *err)
{
    answer *a = NULL;
    int64_t left = s->n;
    *out = (sd_forecast_heard){0};
    sd_status st = sd_alloc_zero(&a, (size_t)s->n * sizeof *a, "answers", err);
    for (int r = 0; left && !st; r++) {
        st = round_of(s, p, a, r == 0, out, err);
        left = 0;
        for (int64_t i = 0; i < s->n; i++) left += !a[i].ended;
    }
    for (int64_t i = 0; i < s->n && !st; i++) {
        sd_buf_reset(&s->text);
        if ((st = sd_tok_decode(s->m->tok, a[i].id, a[i].n, false, &s->text, err))) break;
        const sd_slice text = {s->text.n ? s->text.p : "", s->text.n};
        out->said += !sd_judge_incoherent(a[i].id, a[i].n, text) && sd_judge_phrases(s->phrases, text) == SD_CLASS_REFUSAL;
        if (is_before) {
            s->before[i * (SD_FORECAST_SAID + 1)] = a[i].n;
            memcpy(s->before + i * (SD_FORECAST_SAID + 1) + 1, a[i].id, (size_t)a[i].n * sizeof *s->before);
        }
    }
    out->said /= (double)s->n;
    sd_free(a);
    return st;
}
