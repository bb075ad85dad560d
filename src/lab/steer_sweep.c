/* Owns: the loop over strengths and prompts, and the reading of answers. */
#include "lab/steer_sweep.h"

#include "base/rng.h"
#include "lab/generate.h"
#include "lab/measure.h"

#include <math.h>

#define MOST_REP4 0.1

typedef struct work {
    sd_steer_sweep *out;
    const sd_steer_env *env;
    const sd_steer_sweep_opt *opt;
    sd_ids *prompt;        /* [n_prompt] */
    sd_steer_set concept;  /* the steer as given: what is read */
    sd_site site;          /* where it is read */
} work;

void sd_steer_sweep_release(sd_steer_sweep *s)
{
    for (int i = 0; i < s->n; i++) {
        for (int p = 0; s->point[i].answer && p < s->n_prompt; p++) sd_buf_release(&s->point[i].answer[p]);
        sd_free(s->point[i].answer);
    }
    sd_free(s->point);
    *s = (sd_steer_sweep){0};
}

/* The spec with another value. */
static sd_status with_value(sd_steer_set *set, sd_slice spec, double value, sd_err *err)
{
    json_t *j = NULL;
    sd_buf b;
    sd_jw w;
    sd_status st = sd_json_parse(&j, spec.p, spec.n, "steer", err);
    if (st) return st;
    const char *op = json_string_value(json_object_get(j, "op"));
    if (!json_is_object(j) || (op && (strcmp(op, "cap") == 0 || strcmp(op, "ablate") == 0)))
        st = sd_fail(err, SD_E_ARG, "steer: %s has no value to sweep", op ? op : "it");
    else if (json_object_set_new(j, "value", json_real(value))) st = sd_fail(err, SD_E_NOMEM, "out of memory: a steer");
    sd_buf_init(&b, 1 << 24);
    sd_jw_init(&w, &b);
    if (!st) sd_jw_tree(&w, j);
    if (!st) st = sd_buf_check(&b, "a steer", err);
    if (!st) st = sd_steer_set_add(set, (sd_slice){b.p, b.n}, err);
    sd_buf_release(&b);
    json_decref(j);
    return st;
}

/* ---- the concept as the plain model reads it ---- */

typedef struct reader { const work *w; int64_t n_prompt; const float *v; int64_t d; double norm, sum; } reader;

static sd_status read_rows(void *self, sd_act *act, sd_err *err)
{
    reader *r = self;
    const sd_steer_set *c = &r->w->concept;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) {
        const float *h = sd_mat_row(act->x, i);
        double p = 0;
        if (act->pos0 + i < r->n_prompt) continue;
        if (c->dict[0]) {
            p = (double)sd_dict_preact(c->dict[0], c->spec[0].feature, h);
            r->sum += p > 0 && p > (double)sd_dict_threshold(c->dict[0], c->spec[0].feature);
            continue;
        }
        for (int64_t j = 0; j < r->d; j++) p += (double)h[j] * (double)r->v[j];
        r->sum += p / r->norm;
    }
    return SD_OK;
}

static sd_status concept_of(double *sum, const work *w, const sd_ids *ids, int64_t n_prompt, sd_err *err)
{
    const sd_steer_spec *sp = &w->concept.spec[0];
    sd_session *s = NULL;
    sd_runner *r = NULL;
    reader rd = {.w = w, .n_prompt = n_prompt, .v = sp->vector, .d = sp->n_vector};
    for (int64_t j = 0; j < rd.d; j++) rd.norm += (double)rd.v[j] * (double)rd.v[j];
    rd.norm = rd.norm > 0 ? sqrt(rd.norm) : 1;
    sd_status st = sd_session_new(&s, w->env->m, &(sd_session_opt){.n_ctx = ids->n}, err);
    if (!st) st = sd_runner_new(&r, w->env->ex, w->env->m, &(sd_runner_opt){.max_rows = ids->n, .n_ctx = ids->n}, err);
    if (!st) st = sd_session_attach(s, &(sd_hook){.name = "concept", .at = &w->site, .n_at = 1, .mode = SD_HOOK_READ, .fn = read_rows, .self = &rd}, NULL, err);
    if (!st) st = sd_runner_step(r, &(sd_segment){.s = s, .tok = ids->v, .n = ids->n}, 1, sd_site_is_layered(w->site.kind) ? w->site.layer : -1, err);
    sd_runner_free(r);
    sd_session_free(s);
    *sum = rd.sum;
    return st;
}

static bool is_word(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 0x80 || (u >= '0' && u <= '9') || ((u | 0x20) >= 'a' && (u | 0x20) <= 'z');
}

/* Does text hold the word, any case, as a whole? */
static bool has_word(sd_slice text, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; n && i + n <= text.n; i++) {
        size_t k = 0;
        if (i > 0 && is_word(text.p[i - 1]) && is_word(word[0])) continue;
        for (; k < n; k++) {
            char a = text.p[i + k], b = word[k];
            if ((a >= 'A' && a <= 'Z' ? a | 32 : a) != (b >= 'A' && b <= 'Z' ? b | 32 : b)) break;
        }
        if (k == n && (i + n == text.n || !is_word(text.p[i + n]) || !is_word(word[n - 1]))) return true;
    }
    return false;
}

/* ---- one point ---- */

typedef struct sums { double kl, ce, rep4, concept; int64_t n, words, answered; } sums;

/* An answer after the plain prompt p, whatever it was made with. */
static sd_status judge(sums *t, sd_steer_point *pt, const work *w, int p, const sd_ids *answer, const sd_steer_set *edits, sd_err *err)
{
    sd_ids all = {0};
    sd_measure x = {0};
    double concept = 0;
    sd_status st = sd_tok_decode(w->env->m->tok, answer->v, answer->n, false, &pt->answer[p], err);
    bool word = false;
    for (int i = 0; i < w->opt->n_word && !word; i++) word = has_word((sd_slice){pt->answer[p].p ? pt->answer[p].p : "", pt->answer[p].n}, w->opt->word[i]);
    t->words += word;
    if (st || answer->n == 0) {
        pt->n_empty += answer->n == 0;
        return st;
    }
    st = sd_ids_add(&all, w->prompt[p].v, w->prompt[p].n, err);
    if (!st) st = sd_ids_add(&all, answer->v, answer->n, err);
    if (!st) st = sd_lab_measure(&x, w->env->ex, w->env->m, &all, w->prompt[p].n, edits, err);
    if (!st) st = concept_of(&concept, w, &all, w->prompt[p].n, err);
    if (!st) {
        t->kl += x.kl_mean * (double)answer->n;
        t->ce += log(x.ppl_plain) * (double)answer->n;
        t->rep4 += x.rep4;
        t->concept += concept;
        t->n += answer->n;
        t->answered++;
    }
    sd_measure_release(&x);
    sd_ids_release(&all);
    return st;
}

static void finish(sd_steer_point *pt, const sums *t, const sd_steer_sweep_opt *o)
{
    double n = (double)t->n;
    pt->n_tokens = t->n;
    pt->kl = pt->prompt_only ? NAN : n > 0 ? t->kl / n : NAN;
    pt->ppl = n > 0 ? exp(t->ce / n) : NAN;
    pt->rep4 = t->answered ? t->rep4 / (double)t->answered : NAN;
    pt->active = n > 0 ? t->concept / n : NAN;
    pt->words = o->n_word ? (double)t->words / (double)o->n_prompt : NAN;
}

static sd_status one_point(work *w, sd_steer_point *pt, const sd_steer_set *edits, sd_err *err)
{
    const sd_steer_sweep_opt *o = w->opt;
    sums t = {0};
    sd_status st = SD_OK;
    for (int p = 0; p < o->n_prompt && !st; p++) {
        sd_generate_result r = {0};
        sd_ids own = {0};
        const sd_ids *ids = &w->prompt[p];
        const sd_generate_opt g = {.n_gen = o->n_gen, .sample = o->sample, .seed = sd_seed_of(o->seed, (uint64_t)p), .steer = edits ? edits->steer : NULL, .n_steer = edits ? edits->n : 0, .progress = o->progress};
        if (pt->prompt_only) {
            st = sd_lab_prompt_ids(&own, w->env->m, sd_slice_of(o->prompt[p]), sd_slice_of(o->baseline), SD_PROMPT_CHAT, err);
            ids = &own;
        }
        if (!st) st = sd_lab_generate(&r, w->env->ex, w->env->m, ids->v, ids->n, &g, err);
        if (!st) {
            st = judge(&t, pt, w, p, &r.lane[edits ? 1 : 0].ids, edits, err);
            sd_generate_release(&r);
        }
        sd_ids_release(&own);
    }
    finish(pt, &t, o);
    return st;
}

static sd_steer_point *new_point(sd_steer_sweep *s, double value, sd_err *err)
{
    sd_steer_point *pt = &s->point[s->n];
    *pt = (sd_steer_point){.value = value};
    if (sd_alloc_zero(&pt->answer, (size_t)s->n_prompt * sizeof *pt->answer, "answers", err)) return NULL;
    for (int p = 0; p < s->n_prompt; p++) sd_buf_init(&pt->answer[p], 1 << 22);
    s->n++;
    return pt;
}

static sd_status all_points(work *w, sd_err *err)
{
    const sd_steer_sweep_opt *o = w->opt;
    int total = 1 + o->n_value + (o->baseline != NULL);
    sd_status st = SD_OK;
    for (int i = 0; i < total && !st; i++) {
        bool baseline = i > o->n_value;
        sd_steer_set set = {0};
        sd_steer_point *pt = new_point(w->out, i && !baseline ? o->value[i - 1] : NAN, err);
        if (!pt) return SD_E_NOMEM;
        pt->prompt_only = baseline;
        if (i && !baseline) st = with_value(&set, o->spec, o->value[i - 1], err);
        if (!st && set.n) st = sd_steer_set_open(&set, w->env, err);
        if (!st) st = one_point(w, pt, set.n ? &set : NULL, err);
        sd_steer_set_release(&set);
        sd_progress_update(o->progress, "sweep", i + 1, total, "strengths");
        if (!st && sd_progress_cancelled(o->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %d of %d strengths", i + 1, total);
    }
    return st;
}

static void suggest(sd_steer_sweep *s, double most_ppl)
{
    const sd_steer_point *plain = &s->point[0];
    s->suggested = -1;
    for (int i = 1; i < s->n; i++) {
        const sd_steer_point *p = &s->point[i];
        double best = s->suggested < 0 ? plain->active : s->point[s->suggested].active;
        if (!p->prompt_only && p->ppl <= most_ppl * plain->ppl && p->rep4 <= plain->rep4 + MOST_REP4 && p->active > best) s->suggested = i;
    }
}

/* Where the concept is read: where a vector or feature is steered, but for a transcoder's feature, which is written there and read elsewhere. */
static sd_status reading_site(work *w, sd_err *err)
{
    const sd_dict *d = w->concept.dict[0];
    const char *name = d ? sd_dict_site_name(d) : "";
    int64_t cols = 0;
    w->site = sd_steer_get_applied(w->concept.steer[0]).site;
    w->out->of_feature = d != NULL;
    if (!d) return SD_OK;
    if (!sd_dict_has_threshold(d)) return sd_fail(err, SD_E_ARG, "the dictionary was not calibrated: it is not known when the feature is active");
    if (sd_dict_get_info(d)->kind == SD_DICT_CROSSCODER) {
        (void)sd_fail(err, SD_E_UNSUPPORTED, "a crosscoder's feature is read at %s together, so no answer tells where it is active", name);
        return sd_hint(err, "sweep a feature of a dictionary of one site");
    }
    if (!sd_dict_kind_maps(sd_dict_get_info(d)->kind)) return SD_OK;
    if (!*name) return sd_fail(err, SD_E_ARG, "the transcoder does not say at which site it reads");
    sd_status st = sd_site_parse(&w->site, name, strlen(name), err);
    if (!st) st = sd_model_site_cols(w->env->m, w->site, &cols, err);
    if (st || cols == sd_dict_get_info(d)->d) return st;
    return sd_fail(err, SD_E_SHAPE, "the transcoder reads rows of %lld, %s has %lld", (long long)sd_dict_get_info(d)->d, name, (long long)cols);
}

/* Everything that can be refused, before the first answer is made. */
static sd_status prepare(work *w, sd_err *err)
{
    const sd_steer_sweep_opt *o = w->opt;
    sd_status st = with_value(&w->concept, o->spec, o->value[0], err);
    if (!st) st = sd_steer_set_open(&w->concept, w->env, err);
    if (!st) st = reading_site(w, err);
    for (int i = 1; i < o->n_value && !st; i++) {
        sd_steer_set set = {0};
        st = with_value(&set, o->spec, o->value[i], err);
        if (!st) st = sd_steer_set_open(&set, w->env, err);
        sd_steer_set_release(&set);
    }
    if (!st) st = sd_alloc_zero(&w->prompt, (size_t)o->n_prompt * sizeof *w->prompt, "prompts", err);
    for (int p = 0; p < o->n_prompt && !st; p++) st = sd_lab_prompt_ids(&w->prompt[p], w->env->m, sd_slice_of(o->prompt[p]), SD_LIT(""), o->chat ? SD_PROMPT_CHAT : SD_PROMPT_TEXT, err);
    return st;
}

sd_status sd_lab_steer_sweep(sd_steer_sweep *out, const sd_steer_env *env, const sd_steer_sweep_opt *opt, sd_err *err)
{
    work w = {.out = out, .env = env, .opt = opt};
    *out = (sd_steer_sweep){.n_prompt = opt->n_prompt};
    if (opt->n_value < 1 || opt->n_value > SD_SWEEP_POINTS - 2) return sd_fail(err, SD_E_ARG, "a sweep takes 1 to %d values", SD_SWEEP_POINTS - 2);
    if (opt->n_prompt < 1 || opt->n_prompt > SD_SWEEP_PROMPTS) return sd_fail(err, SD_E_ARG, "a sweep takes 1 to %d prompts", SD_SWEEP_PROMPTS);
    if (opt->baseline && !opt->chat) return sd_fail(err, SD_E_ARG, "a prompt-only baseline is a system message: it needs a chat");
    sd_status st = sd_alloc_zero(&out->point, SD_SWEEP_POINTS * sizeof *out->point, "a sweep", err);
    if (!st) st = prepare(&w, err);
    if (!st) st = all_points(&w, err);
    if (!st) suggest(out, opt->most_ppl > 0 ? opt->most_ppl : SD_SWEEP_MOST_PPL);
    for (int p = 0; w.prompt && p < opt->n_prompt; p++) sd_ids_release(&w.prompt[p]);
    sd_free(w.prompt);
    sd_steer_set_release(&w.concept);
    if (st) sd_steer_sweep_release(out);
    return st;
}
