/* Owns: the rows of the sites that were asked for, one buffer a site. */
#include "lab/reference.h"

#include "num/stats.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>

enum { MAX_TOKENS = 4096, MAX_SITES = 64, STEP = 512 };

const char sd_reference_text[] =
    "The river had been rising for three days when the ferry stopped. On the far bank the road to the market went on as before, but nobody could reach it, and the "
    "baker sold bread from the back of a cart. \"It will fall by Friday,\" said the old woman at the pump; she had said the same last year, and the year before that.\n\n"
    "In 1862 the district counted 4,310 people, 912 houses and two schools. Ten years later the railway came, and with it coal, newspapers and a doctor. Most families "
    "stayed on the land: they grew barley, rye and potatoes, kept a few sheep, and sold cheese in the town every second week.\n\n"
    "A cell takes in sugar and oxygen and gives off carbon dioxide and water. What it gains is kept in small molecules that carry energy to wherever it is spent, in muscle, "
    "in nerve or in the growth of a root. Light is caught by leaves; the colour we see is what they do not use. If the temperature falls below five degrees, these reactions "
    "slow down, and below zero they nearly stop.\n\n"
    "Dear Anna, thank you for the photographs. The children looked at them all evening and asked when you would come again. We have had little rain, so the garden needs "
    "water morning and night. Please tell your brother that his letter from Lisbon arrived, although the stamp was gone. With love, Martin\n\n"
    "How to make a simple soup:\n1. Cut two onions and a carrot into small pieces.\n2. Warm some oil in a pot and stir the onions until they are soft.\n"
    "3. Add a litre of water, salt, pepper and a handful of lentils.\n4. Cook for half an hour and serve with bread.\n\n"
    "def mean(values):\n    total = 0.0\n    for v in values:\n        total += v\n    return total / len(values) if values else None\n\n"
    "The committee met on Tuesday to discuss the budget. Members from the north asked for more buses; those from the coast wanted the harbour dredged first. After two hours "
    "the chair proposed to split the sum, forty per cent for transport and the rest for the port, and the motion was carried by eleven votes to four. A report is expected in March.\n\n"
    "Question: If a train leaves at 9:40 and the journey takes 2 hours and 35 minutes, when does it arrive? Answer: It arrives at 12:15, because 9:40 plus two hours is 11:40, "
    "and thirty-five minutes more make a quarter past twelve.\n\n"
    "Music was never far away in that house. The eldest played the cello, badly at first, then well enough to be asked to weddings; the twins sang in two languages; and their "
    "father, who could not read a note, whistled every tune after hearing it once. Why some people remember melodies so easily is still not understood. Studies of memory suggest "
    "that rhythm helps, that repetition helps more, and that strong feeling helps most of all. I think he simply listened.\n";

typedef struct kept { sd_site site; sd_mat x; } kept;

struct sd_reference {
    const sd_exec *ex;
    const sd_model *m;
    sd_ids ids;
    kept site[MAX_SITES];
    int n_site;
    pthread_mutex_t lock;
};

sd_status sd_reference_new(sd_reference **out, const sd_exec *ex, const sd_model *m, sd_slice text, sd_err *err)
{
    sd_reference *r = NULL;
    *out = NULL;
    sd_status st = sd_alloc_zero(&r, sizeof *r, "the reference text", err);
    if (st) return st;
    r->ex = ex;
    r->m = m;
    pthread_mutex_init(&r->lock, NULL);
    st = sd_tok_encode(m->tok, text.n ? text : sd_slice_of(sd_reference_text), &(sd_encode_opt){0}, &r->ids, err);
    if (!st && r->ids.n < 2) st = sd_fail(err, SD_E_FORMAT, "the reference text has %" PRId64 " tokens", r->ids.n);
    if (r->ids.n > MAX_TOKENS) r->ids.n = MAX_TOKENS;
    if (r->ids.n > m->max_ctx) r->ids.n = m->max_ctx;
    if (st) sd_reference_free(r);
    else *out = r;
    return st;
}

void sd_reference_free(sd_reference *r)
{
    if (!r) return;
    for (int i = 0; i < r->n_site; i++) sd_free(r->site[i].x.data);
    sd_ids_release(&r->ids);
    pthread_mutex_destroy(&r->lock);
    sd_free(r);
}

static sd_status keep_rows(void *self, sd_act *act, sd_err *err)
{
    sd_mat *x = self;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) memcpy(sd_mat_row(*x, act->pos0 + i), sd_mat_row(act->x, i), (size_t)x->cols * sizeof(float));
    return SD_OK;
}

static sd_status run(const sd_reference *r, sd_mat x, sd_site site, sd_err *err)
{
    sd_session *s = NULL;
    sd_runner *by = NULL;
    int layer = sd_site_is_layered(site.kind) ? site.layer : site.kind == SD_SITE_EMBED ? 0 : -1;
    sd_status st = sd_session_new(&s, r->m, &(sd_session_opt){.n_ctx = r->ids.n}, err);
    if (!st) st = sd_runner_new(&by, r->ex, r->m, &(sd_runner_opt){.max_rows = STEP, .n_ctx = r->ids.n}, err);
    if (!st) st = sd_session_attach(s, &(sd_hook){.name = "reference", .at = &site, .n_at = 1, .mode = SD_HOOK_READ, .fn = keep_rows, .self = &x}, NULL, err);
    for (int64_t at = 0; at < r->ids.n && !st; at += STEP) {
        sd_segment seg = {.s = s, .tok = r->ids.v + at, .n = r->ids.n - at < STEP ? r->ids.n - at : STEP};
        st = sd_runner_step(by, &seg, 1, layer, err);
    }
    sd_runner_free(by);
    sd_session_free(s);
    return st;
}

static double norm_of(const float *v, int64_t d)
{
    double n2 = 0;
    for (int64_t j = 0; j < d; j++) n2 += (double)v[j] * (double)v[j];
    return sqrt(n2);
}

/* Leaves special tokens and sinks out. */
static sd_status filter(const sd_reference *r, sd_mat *x, sd_site site, sd_err *err)
{
    int64_t n = 0;
    double limit = 0;
    for (int64_t i = 0; i < x->rows; i++)
        if (!sd_tok_is_special(r->m->tok, r->ids.v[i])) memmove(sd_mat_row(*x, n++), sd_mat_row(*x, i), (size_t)x->cols * sizeof(float));
    x->rows = n;
    sd_status st = n ? sd_median_norm(&limit, *x, err) : SD_OK;
    if (st) return st;
    n = 0;
    for (int64_t i = 0; i < x->rows; i++)
        if (norm_of(sd_mat_row(*x, i), x->cols) <= SD_SINK_FACTOR * limit) memmove(sd_mat_row(*x, n++), sd_mat_row(*x, i), (size_t)x->cols * sizeof(float));
    x->rows = n;
    return n ? SD_OK : sd_fail(err, SD_E_FAIL, "the reference text leaves no usual row at %s", sd_site_print((char[64]){0}, 64, site));
}

static sd_status measure(sd_reference *r, sd_site site, sd_err *err)
{
    int64_t d = 0;
    kept *k = &r->site[r->n_site];
    float *data = NULL;
    if (r->n_site == MAX_SITES) return sd_fail(err, SD_E_ARG, "reference figures of more than %d sites", (int)MAX_SITES);
    sd_status st = sd_model_site_cols(r->m, site, &d, err);
    if (!st && (d == 0 || site.kind == SD_SITE_LOGITS)) st = sd_fail(err, SD_E_ARG, "%s has no row a token to take a unit from", sd_site_print((char[64]){0}, 64, site));
    if (!st) st = sd_alloc(&data, (size_t)(r->ids.n * d) * sizeof *data, "the reference text", err);
    if (st) return st;
    *k = (kept){site, sd_mat_of(data, r->ids.n, d)};
    if ((st = run(r, k->x, site, err)) || (st = filter(r, &k->x, site, err))) {
        sd_free(data);
        return st;
    }
    r->n_site++;
    return SD_OK;
}

sd_status sd_reference_rows(void *self, sd_mat *out, sd_site site, sd_err *err)
{
    sd_reference *r = self;
    sd_status st = SD_OK;
    int i = 0;
    pthread_mutex_lock(&r->lock);
    while (i < r->n_site && (r->site[i].site.kind != site.kind || r->site[i].site.layer != site.layer)) i++;
    if (i == r->n_site) st = measure(r, site, err);
    if (!st) *out = r->site[i].x;
    pthread_mutex_unlock(&r->lock);
    return st;
}
