/* Owns A, its gradient and moments. All of it happens when the gradient passes the site: x is there, dx takes what is added. */
#include "lab/foresee.h"

#include "base/par.h"
#include "num/ops.h"
#include "num/product.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 256 /* rows whose scores exist at a time */, BLOCK = 512 };

struct sd_foresee {
    const sd_exec *ex;
    sd_foresee_opt opt;
    int64_t n_vocab, d;
    sd_site site;
    sd_grad_hook hook;
    float *a, *g, *mom, *var; /* [n_vocab, d] */
    float *score;             /* [CHUNK, n_vocab] */
    double *part;             /* [CHUNK] loss of a row */
    int64_t *end;             /* [max_rows] the row behind the last that row i foresees */
    void *scratch;
    int64_t n_count, max_rows;
    double loss;
};

/* One chunk of rows: scores in, weight (p - q) / N out; rows with nothing ahead give 0. */
typedef struct slice { sd_foresee *f; const int32_t *tok; int64_t row0; } slice;

static void one_row(const slice *k, int64_t i)
{
    sd_foresee *f = k->f;
    float *s = f->score + i * f->n_vocab;
    const int64_t row = k->row0 + i, ahead = f->end[row] - row - 1;
    f->part[i] = 0;
    if (ahead <= 0) {
        memset(s, 0, (size_t)f->n_vocab * sizeof *s);
        return;
    }
    const double lse = sd_logsumexp(f->ex, s, f->n_vocab);
    double said = 0, p[BLOCK];
    for (int64_t j = row + 1; j <= row + ahead; j++) said += (double)s[k->tok[j]];
    f->part[i] = lse - said / (double)ahead;
    for (int64_t v = 0; v < f->n_vocab; v += BLOCK) {
        const int64_t n = f->n_vocab - v < BLOCK ? f->n_vocab - v : BLOCK;
        sd_probs(p, f->ex, s + v, lse, n);
        for (int64_t t = 0; t < n; t++) s[v + t] = (float)p[t];
    }
    for (int64_t j = row + 1; j <= row + ahead; j++) s[k->tok[j]] -= 1.0f / (float)ahead;
    const float w = (float)(f->opt.weight / (double)f->n_count);
    for (int64_t v = 0; v < f->n_vocab; v++) s[v] *= w;
}

static void rows_of_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    for (int64_t i = begin; i < end; i++) one_row(arg, i);
}

static sd_status on_site(void *self, const sd_grad_act *act, sd_err *err)
{
    sd_foresee *f = self;
    if (!act->dx.data) return SD_OK;
    SD_ASSERT(act->x.ld == f->d);
    if (act->x.rows > f->max_rows) return sd_fail(err, SD_E_ARG, "more rows than were planned");
    for (int b = 0; b < act->n_doc; b++)
        for (int64_t i = act->row0[b]; i < act->row0[b + 1]; i++) {
            const int64_t e = i + 1 + f->opt.horizon;
            f->end[i] = e < act->row0[b + 1] ? e : act->row0[b + 1];
        }
    for (int64_t r = 0; r < act->x.rows; r += CHUNK) {
        const int64_t n = act->x.rows - r < CHUNK ? act->x.rows - r : CHUNK;
        const sd_mat x = sd_mat_rows(act->x, r, n), dx = sd_mat_rows(act->dx, r, n), s = sd_mat_of(f->score, n, f->n_vocab);
        slice k = {f, act->tok, r};
        sd_prod_run(f->ex, &(sd_prod){.kind = SD_PROD_NT, .c = s, .a = x, .b = sd_wmat_of(f->a, f->n_vocab, f->d)}, f->scratch);
        sd_parallel_for(f->ex->n_threads, n, 8, rows_of_chunk, &k);
        for (int64_t i = 0; i < n; i++) f->loss += f->part[i] / (double)f->n_count;
        sd_prod_run(f->ex, &(sd_prod){.kind = SD_PROD_NN, .accumulate = true, .c = dx, .a = s, .b = sd_wmat_of(f->a, f->n_vocab, f->d)}, f->scratch);
        sd_prod_run(f->ex, &(sd_prod){.kind = SD_PROD_TN, .accumulate = true, .c = sd_mat_of(f->g, f->n_vocab, f->d), .a = s,
                                      .b = {.data = x.data, .dtype = SD_F32, .rows = n, .cols = f->d}}, f->scratch);
    }
    return SD_OK;
}

sd_status sd_foresee_new(sd_foresee **out, const sd_exec *ex, const sd_model *m, const sd_foresee_opt *opt, int64_t max_rows, sd_err *err)
{
    sd_foresee *f = NULL;
    *out = NULL;
    const int layer = opt->layer >= 0 ? opt->layer : m->cfg.n_layer > 1 ? (int)m->cfg.n_layer / 2 - 1 : 0;
    if (!(opt->weight > 0) || opt->horizon < 0 || layer >= m->cfg.n_layer)
        return sd_fail(err, SD_E_ARG, "foresee: block %d with weight %g; the model has %d blocks", layer, opt->weight, (int)m->cfg.n_layer);
    sd_status st = sd_alloc_zero(&f, sizeof *f, "what is foreseen", err);
    if (st) return st;
    *f = (sd_foresee){.ex = ex, .opt = *opt, .n_vocab = m->cfg.n_vocab, .d = m->cfg.d_model, .site = {SD_SITE_RESID_POST, layer}, .max_rows = max_rows, .n_count = 1};
    if (!f->opt.horizon) f->opt.horizon = 24;
    const size_t n = (size_t)(f->n_vocab * f->d) * sizeof(float);
    float **const all[] = {&f->a, &f->g, &f->mom, &f->var};
    for (size_t i = 0; i < sizeof all / sizeof *all && !st; i++) st = sd_alloc_zero(all[i], n, "what is foreseen", err);
    if (!st) st = sd_alloc(&f->score, (size_t)(CHUNK * f->n_vocab) * sizeof *f->score, "what is foreseen", err);
    if (!st) st = sd_alloc(&f->part, CHUNK * sizeof *f->part, "what is foreseen", err);
    if (!st) st = sd_alloc(&f->end, (size_t)max_rows * sizeof *f->end, "what is foreseen", err);
    const int64_t longest = f->n_vocab > f->d ? f->n_vocab : f->d;
    if (!st) st = sd_alloc(&f->scratch, sd_prod_scratch(ex, longest, longest), "what is foreseen", err);
    f->hook = (sd_grad_hook){.at = &f->site, .n_at = 1, .fn = on_site, .self = f};
    if (st) sd_foresee_free(f);
    else *out = f;
    return st;
}

void sd_foresee_free(sd_foresee *f)
{
    if (!f) return;
    void *const all[] = {f->a, f->g, f->mom, f->var, f->score, f->part, f->end, f->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_free(all[i]);
    sd_free(f);
}

const sd_grad_hook *sd_foresee_hook(const sd_foresee *f) { return &f->hook; }

void sd_foresee_begin(sd_foresee *f, int64_t n_count)
{
    f->n_count = n_count > 0 ? n_count : 1;
    f->loss = 0;
}

double sd_foresee_loss(const sd_foresee *f) { return f->loss; }

void sd_foresee_update(sd_foresee *f, const sd_adamw_opt *o)
{
    const int64_t n = sd_foresee_n(f);
    sd_adamw(f->ex, f->a, f->mom, f->var, f->g, n, o);
    memset(f->g, 0, (size_t)n * sizeof *f->g);
}

int64_t sd_foresee_n(const sd_foresee *f) { return f->n_vocab * f->d; }
float *sd_foresee_array(const sd_foresee *f, int which) { return which == 0 ? f->a : which == 1 ? f->mom : f->var; }
