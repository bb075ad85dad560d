/* Owns: the words, their prompts and rows, and the order of a letter's judgement. absorption_fit.c has the sparse regression. */
#include "lab/absorption_int.h"

#include "base/par.h"
#include "base/rng.h"
#include "lab/batch.h"
#include "lab/logistic.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { MOST_WORDS = 100, FOLD = 5, FEWEST_TRAIN = 20, FEWEST_TEST = 4, SHOTS = 10 };
static const double PROBE_F1 = 0.6, SPLIT_GAIN = 0.03, ABSORBER_COS = 0.1, ABSORBER_SHARE = 0.4, FULL_COS = 0.025;
enum { ABSORBERS = 3 };

static void words_release(absorb_words *w)
{
    sd_free(w->token);
    sd_free(w->letter);
    sd_free(w->x);
    sd_codes_release(&w->z);
}

/* 0 .. 25 of a token that is a space and letters; -1 else. */
static int letter_of(const sd_tok *tok, int32_t id, sd_slice *word)
{
    sd_slice b = sd_tok_bytes(tok, id);
    if (sd_tok_is_special(tok, id)) return -1;
    if (b.n > 1 && b.p[0] == ' ') b.p++, b.n--;
    else if (b.n > 3 && memcmp(b.p, "\xe2\x96\x81", 3) == 0) b.p += 3, b.n -= 3; /* SentencePiece's space */
    else return -1;
    if (b.n < 2 || b.n > 24) return -1;
    for (size_t i = 0; i < b.n; i++)
        if (!((b.p[i] | 32) >= 'a' && (b.p[i] | 32) <= 'z')) return -1;
    *word = b;
    return (b.p[0] | 32) - 'a';
}

/* Words in an order that the seed draws; those to learn from first. */
static sd_status choose_words(absorb_words *w, const sd_tok *tok, uint64_t seed, sd_err *err)
{
    const int64_t n_vocab = sd_tok_n_vocab(tok);
    int64_t *order = NULL, n = 0;
    sd_slice word;
    sd_status st = sd_alloc(&order, (size_t)n_vocab * sizeof *order, "words", err);
    if (!st) st = sd_alloc(&w->token, (size_t)(MOST_WORDS * SD_ABSORB_LETTERS) * sizeof *w->token, "words", err);
    if (!st) st = sd_alloc(&w->letter, (size_t)(MOST_WORDS * SD_ABSORB_LETTERS), "letters", err);
    if (st) goto done;
    for (int64_t i = 0; i < n_vocab; i++) order[i] = i;
    sd_rng r = sd_rng_make(seed, "absorption words", 0);
    sd_rng_shuffle_i64(&r, order, n_vocab);
    for (int test = 0; test < 2; test++) {
        int64_t seen[SD_ABSORB_LETTERS] = {0};
        for (int64_t i = 0; i < n_vocab; i++) {
            const int l = letter_of(tok, (int32_t)order[i], &word);
            if (l < 0 || seen[l] == MOST_WORDS || (seen[l]++ % FOLD == FOLD - 1) != test) continue;
            w->token[n] = (int32_t)order[i];
            w->letter[n++] = (int8_t)l;
            w->count[test][l]++;
        }
        if (test == 0) w->n_train = n;
    }
    w->n = n;
    if (w->n_train <= 2 * SHOTS) st = sd_fail(err, SD_E_UNSUPPORTED, "the vocabulary has %" PRId64 " tokens that are words with a space before them; first letters need more", n);
done:
    sd_free(order);
    return st;
}

/* Prompt i ends in word i. The lines before it are of other words to learn from. */
static sd_status make_prompts(sd_rendered *out, const absorb_words *w, const sd_model *m, uint64_t seed, sd_err *err)
{
    sd_ids ids = {0};
    sd_buf text;
    sd_status st = sd_alloc_zero(&out->start, (size_t)(w->n + 1) * sizeof *out->start, "prompts", err);
    sd_buf_init(&text, 1 << 16);
    for (int64_t i = 0; i < w->n && !st; i++) {
        sd_rng r = sd_rng_make(seed, "absorption lines", (uint64_t)i);
        text.n = 0;
        for (int s = 0; s < SHOTS; s++) {
            int64_t k = (int64_t)sd_rng_below(&r, (uint64_t)w->n_train);
            if (k == i) k = (k + 1) % w->n_train;
            sd_slice word = {0};
            const int l = letter_of(m->tok, w->token[k], &word);
            sd_buf_printf(&text, " %.*s has the first letter: %c\n", SD_SLICE(word), 'A' + l);
        }
        if ((st = sd_buf_check(&text, "a prompt", err))) break;
        if (sd_tok_add_bos(m->tok)) st = sd_ids_push(&ids, sd_tok_bos(m->tok), err);
        if (!st) st = sd_tok_encode(m->tok, (sd_slice){text.p, text.n}, &(sd_encode_opt){.no_special = true}, &ids, err);
        if (!st) st = sd_ids_push(&ids, w->token[i], err);
        out->start[i + 1] = ids.n;
        const int64_t len = ids.n - out->start[i];
        if (!st && len >= m->max_ctx) st = sd_fail(err, SD_E_ARG, "a prompt of %" PRId64 " tokens, the model's context is %" PRId64, len, (int64_t)m->max_ctx);
        if (len > out->longest) out->longest = len;
    }
    sd_buf_release(&text);
    out->ids = ids.v;
    out->n = w->n;
    return st;
}

static sd_status keep_row(void *self, int64_t prompt, const sd_act *act, int64_t from_end, sd_err *err)
{
    absorb_words *w = self;
    (void)from_end, (void)err;
    memcpy(w->x + prompt * w->d, sd_mat_row(act->x, act->x.rows - 1), (size_t)w->d * sizeof(float));
    return SD_OK;
}

static sd_status read_words(absorb_words *w, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_absorption_opt *opt, sd_err *err)
{
    sd_rendered r = {0};
    sd_batch *b = NULL;
    sd_status st = make_prompts(&r, w, m, opt->seed, err);
    if (!st) st = sd_alloc_zero(&w->x, (size_t)(w->n * w->d) * sizeof *w->x, "rows of words", err);
    if (!st) st = sd_batch_open(&b, ex, m, &r, &(sd_batch_opt){0}, err);
    if (!st) st = sd_batch_run(b, &(sd_batch_want){.last_layer = opt->site.layer, .self = w, .site = &opt->site, .n_site = 1, .n_tail = 1, .on_rows = keep_row,
                                                   .progress = opt->progress, .what = "read words"}, err);
    if (!st) st = sd_dict_encode(&w->z, ex, dict, sd_mat_of(w->x, w->n, w->d), err);
    sd_batch_close(b);
    sd_rendered_release(&r);
    return st;
}

/* ---- one letter ---- */

typedef struct job { const absorb_words *w; const sd_dict *dict; sd_absorbed *out; sd_status *st; sd_err *err; } job;

/* Rows [from, to) of a letter and of the others, side by side for a fit; cols 0: the site's own. */
static void sides(const absorb_words *w, int l, float *side[2], int64_t n[2], const int64_t *feature, int k)
{
    const int64_t d = k ? k : w->d;
    n[0] = n[1] = 0;
    for (int64_t i = 0; i < w->n_train; i++) {
        const int s = w->letter[i] != l;
        float *to = side[s] + n[s]++ * d;
        if (k) sd_absorb__columns(to, w, i, feature, k);
        else memcpy(to, w->x + i * d, (size_t)d * sizeof *to);
    }
}

/* F1 on the words to judge; found (NULL: not wanted) gets which are rightly called the letter's. */
static double judge(const absorb_words *w, int l, const float *weight, double bias, const int64_t *feature, int k, bool *found)
{
    int64_t tp = 0, fp = 0, fn = 0;
    float few[SD_ABSORB_MAIN];
    for (int64_t i = w->n_train; i < w->n; i++) {
        const float *x = w->x + i * w->d;
        double z = bias;
        if (k) sd_absorb__columns(few, w, i, feature, k), x = few;
        for (int64_t j = 0; j < (k ? k : w->d); j++) z += (double)weight[j] * (double)x[j];
        const bool is = w->letter[i] == l, said = z > 0;
        tp += is && said, fp += !is && said, fn += is && !said;
        if (found) found[i - w->n_train] = is && said;
    }
    return tp ? 2 * (double)tp / (double)(2 * tp + fp + fn) : 0;
}

void sd_absorb__word(double add[2], const absorb_words *w, const sd_dict *dict, const sd_absorbed *a, int64_t i, const float *p)
{
    const int64_t d = w->d;
    double proj = 0, main = 0, best[ABSORBERS] = {0}, largest = 0, largest_cos = 0;
    const double scale = sd_dict_row_scale(dict, w->x + i * d);
    bool main_active = false;
    for (int64_t c = 0; c < d; c++) proj += (double)w->x[i * d + c] * (double)p[c];
    for (int64_t e = w->z.row_ptr[i]; e < w->z.row_ptr[i + 1]; e++) {
        const float *row = sd_dict_dec_row(dict, w->z.idx[e]);
        double dot = 0, len = 0;
        bool is_main = false;
        for (int64_t c = 0; c < d; c++) dot += (double)row[c] * (double)p[c], len += (double)row[c] * (double)row[c];
        const double by = (double)w->z.val[e] * scale * dot, cosine = len > 0 ? dot / sqrt(len) : 0;
        for (int k = 0; k < a->n_main; k++) is_main = is_main || a->main[k] == w->z.idx[e];
        if (is_main) {
            main += by;
            main_active = main_active || w->z.val[e] > 1e-8f;
        }
        if (by > largest) largest = by, largest_cos = cosine;
        if (is_main || cosine < ABSORBER_COS || !(by > 0)) continue;
        double v = by;
        for (int k = 0; k < ABSORBERS; k++)
            if (v > best[k]) {
                const double out = best[k];
                best[k] = v, v = out;
            }
    }
    double A = 0;
    for (int k = 0; k < ABSORBERS; k++) A += best[k];
    if (!(main >= proj || A < ABSORBER_SHARE * proj)) {
        const double part = A < proj - main ? A : proj - main;
        add[0] += main <= 0 ? 1 : part / (part + main);
    }
    add[1] += !main_active && proj >= 0 && largest_cos >= FULL_COS && largest >= ABSORBER_SHARE * proj;
}

static sd_status one_letter(const job *j, int l, sd_err *err)
{
    const absorb_words *w = j->w;
    sd_absorbed *a = &j->out[l];
    const int64_t wide = w->d > SD_ABSORB_MAIN ? w->d : SD_ABSORB_MAIN;
    float *side[2] = {0}, *p = NULL;
    bool *found = NULL;
    int64_t n[2], order[SD_ABSORB_MAIN];
    double bias, len = 0, add[2] = {0, 0};
    *a = (sd_absorbed){.letter = (char)('a' + l), .n_train = w->count[0][l], .n_test = w->count[1][l]};
    if (a->n_train < FEWEST_TRAIN || a->n_test < FEWEST_TEST) return SD_OK;
    sd_status st = sd_alloc(&p, (size_t)wide * sizeof *p, "a probe", err);
    if (!st) st = sd_alloc_zero(&found, (size_t)(w->n - w->n_train) * sizeof *found, "words", err);
    for (int s = 0; s < 2 && !st; s++) st = sd_alloc(&side[s], (size_t)(w->n_train * wide) * sizeof **side, "rows of words", err);
    if (st) goto done;
    int n_order = 0;
    if ((st = sd_absorb__rank(order, &n_order, &a->gap, w, l, err))) goto done;
    for (int k = 1; k <= n_order; k++) {
        sides(w, l, side, n, order, k);
        if ((st = sd_logistic_fit(p, &bias, (const float *const[]){side[0], side[1]}, n, k, err))) goto done;
        const double f1 = judge(w, l, p, bias, order, k, NULL);
        if (k > 1 && !(f1 - a->main_f1 > SPLIT_GAIN)) break;
        a->main[a->n_main++] = order[k - 1];
        a->main_f1 = f1;
    }
    sides(w, l, side, n, NULL, 0);
    if ((st = sd_logistic_fit(p, &bias, (const float *const[]){side[0], side[1]}, n, w->d, err))) goto done;
    a->probe_f1 = judge(w, l, p, bias, NULL, 0, found);
    for (int64_t c = 0; c < w->d; c++) len += (double)p[c] * (double)p[c];
    for (int64_t c = 0; c < w->d; c++) p[c] = (float)((double)p[c] / sqrt(len));
    for (int64_t i = w->n_train; i < w->n; i++) {
        if (!found[i - w->n_train]) continue;
        sd_absorb__word(add, w, j->dict, a, i, p);
        a->n_found++;
    }
    a->fraction = add[0] / (double)a->n_found;
    a->full = add[1] / (double)a->n_found;
done:
    sd_free(side[0]);
    sd_free(side[1]);
    sd_free(p);
    sd_free(found);
    return st;
}

static void letters(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    (void)chunk;
    for (int64_t l = begin; l < end; l++) j->st[l] = one_letter(j, (int)l, &j->err[l]);
}

static void conclude(sd_absorption *out, const sd_absorbed *all)
{
    double s[2] = {0, 0}, s2[2] = {0, 0}, main = 0;
    for (int l = 0; l < SD_ABSORB_LETTERS; l++) {
        const sd_absorbed *a = &all[l];
        if (a->n_train < FEWEST_TRAIN || a->n_test < FEWEST_TEST) out->n_few++;
        else if (a->probe_f1 < PROBE_F1 || a->n_found == 0 || a->n_main == 0) out->n_no_probe++;
        else {
            out->v[out->n++] = *a;
            s[0] += a->fraction, s2[0] += a->fraction * a->fraction;
            s[1] += a->full, s2[1] += a->full * a->full;
            main += a->n_main;
            out->n_open += a->gap > SD_ABSORB_CLOSE;
        }
    }
    const double n = out->n ? (double)out->n : (double)NAN;
    out->mean_fraction = s[0] / n, out->mean_full = s[1] / n, out->mean_main = main / n;
    out->sd_fraction = out->n ? sqrt(fmax(0, s2[0] / n - out->mean_fraction * out->mean_fraction)) : NAN;
    out->sd_full = out->n ? sqrt(fmax(0, s2[1] / n - out->mean_full * out->mean_full)) : NAN;
}

sd_status sd_lab_absorption(sd_absorption *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_absorption_opt *opt, sd_err *err)
{
    absorb_words w = {.d = sd_dict_get_info(dict)->d, .m = sd_dict_get_info(dict)->m};
    sd_absorbed all[SD_ABSORB_LETTERS] = {{0}};
    sd_status each[SD_ABSORB_LETTERS] = {SD_OK};
    sd_err *errs = NULL;
    int64_t cols = 0;
    *out = (sd_absorption){0};
    if (sd_dict_kind_maps(sd_dict_get_info(dict)->kind)) return sd_fail(err, SD_E_UNSUPPORTED, "absorption compares a row with the decoder's directions; a transcoder writes at another site");
    sd_status st = sd_model_site_cols(m, opt->site, &cols, err);
    if (!st && cols != w.d) st = sd_fail(err, SD_E_SHAPE, "the dictionary is for rows of %" PRId64 ", the site has %" PRId64, w.d, cols);
    if (!st) st = sd_alloc_zero(&errs, SD_ABSORB_LETTERS * sizeof *errs, "errors", err);
    if (!st) st = choose_words(&w, m->tok, opt->seed, err);
    if (!st) st = read_words(&w, ex, m, dict, opt, err);
    if (st) goto done;
    out->n_words = w.n;
    sd_progress_update(opt->progress, "first letters", 0, 1, "26 letters");
    sd_parallel_for(ex->n_threads, SD_ABSORB_LETTERS, 1, letters, &(job){&w, dict, all, each, errs});
    for (int l = 0; l < SD_ABSORB_LETTERS && !st; l++)
        if ((st = each[l]) && err) *err = errs[l];
    if (!st) conclude(out, all);
done:
    words_release(&w);
    sd_free(errs);
    return st;
}
