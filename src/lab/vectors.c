/* Owns: the vectors of candidates [n, d] f32 while ranks are counted. Words of a site run in batches behind one copied prefix. */
#include "lab/vectors.h"

#include "base/par.h"
#include "model/peek.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_TOP = 10, DEFAULT_CANDIDATES = 8192, BATCH = 64, MAX_PIECES = 8, CHUNK = 1024 };

void sd_vectors_release(sd_vectors *v)
{
    sd_free(v->top);
    sd_free(v->asked);
    *v = (sd_vectors){0};
}

typedef struct job {
    sd_vectors *out;
    const sd_exec *ex;
    const sd_model *m;
    const sd_vectors_opt *opt;
    const sd_expr *expr;
    int64_t d, n;
    int32_t *cand;     /* [n] tokens */
    float *x;          /* [n, d] their vectors */
    double *mean;      /* [d] zero unless opt.center */
    double *cosine;    /* [n] */
    uint8_t *put_in;   /* [n] */
    double *target;    /* [d] */
    double target_norm;
} job;

/* ---- words ---- */

static sd_status encode(sd_ids *ids, const job *j, const char *text, bool space, sd_err *err)
{
    char spaced[sizeof((sd_near_word *)0)->text + 1];
    ids->n = 0;
    snprintf(spaced, sizeof spaced, "%s%s", space ? " " : "", text);
    return sd_tok_encode(j->m->tok, sd_slice_of(spaced), &(sd_encode_opt){.no_special = true}, ids, err);
}

/* The token " word", else "word", else the pieces of " word". Text that begins with a space is taken as it is. */
static sd_status read_word(sd_near_word *w, const job *j, const char *text, sd_err *err)
{
    sd_ids ids = {0};
    if (strlen(text) >= sizeof w->text) return sd_fail(err, SD_E_ARG, "'%.60s..' has %zu bytes; a word has at most %zu", text, strlen(text), sizeof w->text - 1);
    sd_status st = encode(&ids, j, text, text[0] != ' ', err);
    if (!st && ids.n != 1) {
        if (!(st = encode(&ids, j, text, false, err)) && ids.n != 1) st = encode(&ids, j, text, text[0] != ' ', err);
    }
    if (!st && (ids.n < 1 || ids.n > MAX_PIECES)) {
        st = sd_fail(err, SD_E_ARG, "'%s' is %lld tokens; a word of 1 to %d is wanted", text, (long long)ids.n, MAX_PIECES);
        sd_hint(err, "text of several words has no vector of its own here");
    }
    if (!st) {
        snprintf(w->text, sizeof w->text, "%s", text);
        w->n_piece = (int)ids.n;
        memcpy(w->piece, ids.v, (size_t)ids.n * sizeof *w->piece);
    }
    sd_ids_release(&ids);
    return st;
}

/* ---- rows of a site ---- */

typedef struct grab { float *to; int64_t d; } grab;

static sd_status take_last(void *self, sd_act *act, sd_err *err)
{
    const grab *g = self;
    (void)err;
    memcpy(g->to, sd_mat_row(act->x, act->x.rows - 1), (size_t)g->d * sizeof *g->to);
    return SD_OK;
}

typedef struct bench { sd_session *plain, *s[BATCH]; sd_runner *r; grab grab[BATCH]; int64_t n_prefix; int last; } bench;

static sd_status bench_open(bench *b, const job *j, sd_err *err)
{
    const sd_site at = j->opt->site;
    sd_ids ids = {0};
    sd_status st = SD_OK;
    const char *prefix = j->opt->prefix ? j->opt->prefix : "";
    if (prefix[0]) st = sd_tok_encode(j->m->tok, sd_slice_of(prefix), &(sd_encode_opt){0}, &ids, err);
    else if (sd_tok_bos(j->m->tok) >= 0) st = sd_ids_push(&ids, sd_tok_bos(j->m->tok), err);
    b->n_prefix = ids.n;
    b->last = at.kind == SD_SITE_FINAL_NORM ? -1 : at.layer; /* -1: all blocks */
    int64_t n_ctx = ids.n + MAX_PIECES;
    if (!st && n_ctx > j->m->max_ctx)
        st = sd_fail(err, SD_E_ARG, "a prefix of %lld tokens and a word, the model's limit is %lld", (long long)ids.n, (long long)j->m->max_ctx);
    if (!st) st = sd_session_new(&b->plain, j->m, &(sd_session_opt){.n_ctx = n_ctx}, err);
    int64_t rows = BATCH * MAX_PIECES > ids.n ? BATCH * MAX_PIECES : ids.n;
    if (!st) st = sd_runner_new(&b->r, j->ex, j->m, &(sd_runner_opt){.max_rows = rows, .n_ctx = n_ctx}, err);
    if (!st && ids.n) st = sd_runner_step(b->r, &(sd_segment){.s = b->plain, .tok = ids.v, .n = ids.n}, 1, b->last, err);
    for (int i = 0; i < BATCH && !st; i++) {
        b->grab[i].d = j->d;
        if ((st = sd_session_new(&b->s[i], j->m, &(sd_session_opt){.n_ctx = n_ctx}, err))) break;
        const sd_hook hook = {.name = "near", .at = &at, .n_at = 1, .mode = SD_HOOK_READ, .fn = take_last, .self = &b->grab[i]};
        if ((st = sd_session_attach(b->s[i], &hook, NULL, err))) break;
        if (ids.n) st = sd_session_copy_prefix(b->s[i], b->plain, ids.n, err);
    }
    sd_ids_release(&ids);
    return st;
}

static void bench_close(bench *b)
{
    for (int i = 0; i < BATCH; i++) sd_session_free(b->s[i]);
    sd_session_free(b->plain);
    sd_runner_free(b->r);
}

/* Rows of n words, each of the tokens tok[i] .. tok[i] + len[i]. */
static sd_status bench_rows(bench *b, const job *j, float *out, const int32_t *const *tok, const int *len, int64_t n, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t i0 = 0; i0 < n && !st; i0 += BATCH) {
        sd_segment seg[BATCH];
        int k = 0;
        for (; k < BATCH && i0 + k < n; k++) {
            sd_session_rewind(b->s[k], b->n_prefix);
            b->grab[k].to = out + (i0 + k) * j->d;
            seg[k] = (sd_segment){.s = b->s[k], .tok = tok[i0 + k], .n = len[i0 + k]};
        }
        if (sd_progress_cancelled(j->opt->progress)) return sd_fail(err, SD_E_CANCELLED, "interrupted");
        st = sd_runner_step(b->r, seg, k, b->last, err);
        if (n > BATCH) sd_progress_update(j->opt->progress, "words", (double)(i0 + k), (double)n, NULL);
    }
    return st;
}

/* ---- candidates ---- */

static bool is_letter(unsigned char c) { return c >= 0x80 || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'); }

/* [space] and two letters or more. */
static bool is_word(sd_slice s)
{
    size_t letters = 0;
    if (s.n && s.p[0] == ' ') s.p++, s.n--;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_letter((unsigned char)s.p[i])) return false;
        letters += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    }
    return letters >= 2 && sd_utf8_valid_prefix(s) == s.n;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }

/* Does the token read as the word, but for spaces around and the case of ASCII letters? */
static bool reads_as(sd_slice token, const char *word)
{
    sd_slice a = sd_slice_trim(token), b = sd_slice_trim(sd_slice_of(word));
    if (a.n != b.n || a.n == 0) return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i])) return false;
    return true;
}

static bool is_put_in(const job *j, int32_t t)
{
    for (int w = 0; w < j->out->n_word; w++) {
        const sd_near_word *word = &j->out->word[w];
        if ((word->n_piece == 1 && word->piece[0] == t) || reads_as(sd_tok_bytes(j->m->tok, t), word->text)) return true;
    }
    return false;
}

static bool wanted(const job *j, const sd_near_word *asked, int32_t t)
{
    for (int w = 0; w < j->out->n_word; w++)
        if (j->out->word[w].n_piece == 1 && j->out->word[w].piece[0] == t) return true;
    for (int w = 0; w < j->opt->n_word; w++)
        if (asked[w].piece[0] == t) return true;
    return false;
}

static sd_status list_candidates(job *j, const sd_near_word *asked, sd_err *err)
{
    int64_t V = sd_tok_n_vocab(j->m->tok), max = j->opt->max_candidates ? j->opt->max_candidates : DEFAULT_CANDIDATES, words = 0;
    sd_status st = sd_alloc(&j->cand, (size_t)V * sizeof *j->cand, "candidates", err);
    if (!st) st = sd_alloc_zero(&j->put_in, (size_t)V, "candidates", err);
    for (int32_t t = 0; t < V && !st; t++) {
        if (j->opt->space == SD_SPACE_SITE && !wanted(j, asked, t)) {
            if (words >= max || sd_tok_is_special(j->m->tok, t) || !is_word(sd_tok_bytes(j->m->tok, t))) continue;
            words++;
        }
        j->put_in[j->n] = is_put_in(j, t);
        j->out->n_put_in += j->put_in[j->n];
        j->cand[j->n++] = t;
    }
    j->out->n_candidates = j->n;
    return st;
}

/* ---- vectors ---- */

static void token_row(float *to, const job *j, int32_t t)
{
    if (j->opt->space == SD_SPACE_UNEMBED) sd_model_head_row(to, j->m, t);
    else sd_model_embed_row(to, j->m, t);
}

static sd_status rows_of_vocabulary(job *j, float *word, sd_err *err)
{
    float *piece = NULL;
    sd_status st = sd_alloc(&piece, (size_t)j->d * sizeof *piece, "a row", err);
    for (int64_t i = 0; i < j->n && !st; i++) token_row(j->x + i * j->d, j, j->cand[i]);
    for (int w = 0; w < j->out->n_word && !st; w++) {
        const sd_near_word *nw = &j->out->word[w];
        float *to = word + w * j->d;
        memset(to, 0, (size_t)j->d * sizeof *to);
        for (int p = 0; p < nw->n_piece; p++) {
            token_row(piece, j, nw->piece[p]);
            for (int64_t k = 0; k < j->d; k++) to[k] += piece[k] / (float)nw->n_piece;
        }
    }
    sd_free(piece);
    return st;
}

static sd_status rows_of_site(job *j, float *word, sd_err *err)
{
    bench *b = NULL;
    const int32_t **tok = NULL;
    int *len = NULL;
    int64_t most = j->n > j->out->n_word ? j->n : j->out->n_word;
    sd_status st = sd_alloc_zero(&b, sizeof *b, "sessions for words", err);
    if (!st) st = sd_alloc(&tok, (size_t)most * sizeof *tok, "words", err);
    if (!st) st = sd_alloc(&len, (size_t)most * sizeof *len, "words", err);
    if (!st) st = bench_open(b, j, err);
    for (int64_t i = 0; i < j->n && !st; i++) tok[i] = &j->cand[i], len[i] = 1;
    if (!st) st = bench_rows(b, j, j->x, tok, len, j->n, err);
    for (int w = 0; w < j->out->n_word && !st; w++) tok[w] = j->out->word[w].piece, len[w] = j->out->word[w].n_piece;
    if (!st) st = bench_rows(b, j, word, tok, len, j->out->n_word, err);
    if (b) bench_close(b);
    sd_free(b);
    sd_free(tok);
    sd_free(len);
    return st;
}

static sd_status compute(job *j, const float *word, sd_err *err)
{
    int n_word = j->out->n_word;
    double *vec = NULL, *stack = NULL, sq = 0;
    sd_status st = sd_alloc(&vec, (size_t)(n_word * j->d) * sizeof *vec, "words", err);
    if (!st) st = sd_alloc(&stack, (size_t)(n_word * j->d) * sizeof *stack, "words", err);
    for (int w = 0; w < n_word && !st; w++) {
        double *v = vec + w * j->d, norm = 0;
        for (int64_t k = 0; k < j->d; k++) v[k] = (double)word[w * j->d + k] - j->mean[k], norm += v[k] * v[k];
        for (int64_t k = 0; j->opt->unit && norm > 0 && k < j->d; k++) v[k] /= sqrt(norm);
    }
    if (!st) st = sd_expr_eval(j->target, j->expr, vec, stack, j->d, err);
    for (int64_t k = 0; k < j->d && !st; k++) sq += j->target[k] * j->target[k];
    j->target_norm = j->out->norm = sqrt(sq);
    if (!st && !(j->target_norm > 0 && isfinite(j->target_norm)))
        st = sd_hint((sd_fail(err, SD_E_ARG, "the expression comes out as a vector of length %g", j->target_norm), err), "a word less itself leaves nothing to compare with");
    sd_free(vec);
    sd_free(stack);
    return st;
}

static void compare(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    job *j = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        double dot = 0, sq = 0;
        for (int64_t k = 0; k < j->d; k++) {
            double v = (double)j->x[i * j->d + k] - j->mean[k];
            dot += v * j->target[k];
            sq += v * v;
        }
        j->cosine[i] = sq > 0 ? dot / (sqrt(sq) * j->target_norm) : -2; /* below every cosine */
    }
}

/* ---- ranks ---- */

typedef struct ranked { double cosine; int64_t at; } ranked;

static int by_cosine(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->cosine != y->cosine ? (x->cosine > y->cosine ? -1 : 1) : x->at < y->at ? -1 : x->at > y->at;
}

static sd_status rank(job *j, const sd_near_word *asked, sd_err *err)
{
    sd_vectors *o = j->out;
    ranked *r = NULL;
    int64_t other = 0;
    int n_top = j->opt->n_top ? j->opt->n_top : DEFAULT_TOP;
    o->n_top = n_top < j->n ? n_top : (int)j->n;
    o->n_asked = j->opt->n_word;
    sd_status st = sd_alloc(&r, (size_t)j->n * sizeof *r, "ranks", err);
    if (!st) st = sd_alloc_zero(&o->top, (size_t)o->n_top * sizeof *o->top, "ranks", err);
    if (!st) st = sd_alloc_zero(&o->asked, (size_t)o->n_asked * sizeof *o->asked, "ranks", err);
    if (st) goto done;
    for (int64_t i = 0; i < j->n; i++) r[i] = (ranked){j->cosine[i], i};
    qsort(r, (size_t)j->n, sizeof *r, by_cosine);
    for (int64_t k = 0; k < j->n; k++) {
        int64_t i = r[k].at;
        sd_near_token near = {j->cand[i], j->cosine[i], k + 1, j->put_in[i] ? 0 : ++other};
        if (k < o->n_top) o->top[k] = near;
        for (int w = 0; w < o->n_asked; w++)
            if (asked[w].piece[0] == near.id) o->asked[w] = near;
    }
done:
    sd_free(r);
    return st;
}

static sd_status check(const job *j, sd_err *err)
{
    const sd_vectors_opt *o = j->opt;
    int64_t cols = 0;
    if (o->n_top < 0 || o->n_top > SD_VECTORS_MAX_TOP) return sd_fail(err, SD_E_ARG, "%d neighbours, at most %d", o->n_top, SD_VECTORS_MAX_TOP);
    if (o->n_word < 0 || o->n_word > SD_VECTORS_MAX_WORDS) return sd_fail(err, SD_E_ARG, "%d words to rank, at most %d", o->n_word, SD_VECTORS_MAX_WORDS);
    if (o->space != SD_SPACE_SITE) return SD_OK;
    sd_status st = sd_model_site_cols(j->m, o->site, &cols, err);
    if (!st && (cols != j->m->cfg.d_model || o->site.kind == SD_SITE_LOGITS)) {
        sd_fail(err, SD_E_ARG, "%s is not a place of the residual stream", sd_site_print((char[48]){0}, 48, o->site));
        st = sd_hint(err, "resid_pre.L, resid_mid.L and resid_post.L are");
    }
    return st;
}

sd_status sd_lab_vectors(sd_vectors *out, const sd_exec *ex, const sd_model *m, const char *expr, const sd_vectors_opt *opt, sd_err *err)
{
    sd_expr *e = NULL;
    sd_near_word *asked = NULL;
    float *word = NULL;
    job j = {.out = out, .ex = ex, .m = m, .opt = opt, .d = m->cfg.d_model};
    *out = (sd_vectors){0};
    sd_status st = sd_alloc_zero(&e, sizeof *e, "an expression", err);
    if (!st) st = sd_alloc_zero(&asked, SD_VECTORS_MAX_WORDS * sizeof *asked, "words", err);
    if (!st) st = sd_expr_parse(e, expr, err);
    if (!st) st = check(&j, err);
    j.expr = e;
    for (int w = 0; !st && w < e->n_word; w++) st = read_word(&out->word[out->n_word++], &j, e->word[w], err);
    for (int w = 0; !st && w < opt->n_word; w++) {
        st = read_word(&asked[w], &j, opt->word[w], err);
        if (!st && asked[w].n_piece != 1) st = sd_fail(err, SD_E_ARG, "'%s' is %d tokens; only single tokens have a rank", opt->word[w], asked[w].n_piece);
    }
    if (!st) st = list_candidates(&j, asked, err);
    if (!st) st = sd_alloc(&j.x, (size_t)(j.n * j.d) * sizeof *j.x, "vectors of the candidates", err);
    if (!st) st = sd_alloc(&word, (size_t)(out->n_word * j.d) * sizeof *word, "vectors of the words", err);
    if (!st) st = sd_alloc_zero(&j.mean, (size_t)j.d * sizeof *j.mean, "a mean", err);
    if (!st) st = sd_alloc(&j.target, (size_t)j.d * sizeof *j.target, "a vector", err);
    if (!st) st = sd_alloc(&j.cosine, (size_t)j.n * sizeof *j.cosine, "cosines", err);
    if (!st) st = opt->space == SD_SPACE_SITE ? rows_of_site(&j, word, err) : rows_of_vocabulary(&j, word, err);
    for (int64_t i = 0; !st && opt->center && i < j.n; i++)
        for (int64_t k = 0; k < j.d; k++) j.mean[k] += (double)j.x[i * j.d + k] / (double)j.n;
    if (!st) st = compute(&j, word, err);
    if (!st) sd_parallel_for(ex->n_threads, j.n, CHUNK, compare, &j);
    if (!st) st = rank(&j, asked, err);
    void *const all[] = {e, asked, word, j.cand, j.put_in, j.x, j.mean, j.target, j.cosine};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_free(all[i]);
    if (st) sd_vectors_release(out);
    return st;
}
