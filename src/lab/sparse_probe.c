/* Owns: texts to mean rows, and the probes on them. A text's contexts follow one another in a harvest, so one scratch row is enough. */
#include "lab/sparse_probe.h"

#include "base/par.h"
#include "base/rng.h"
#include "lab/harvest.h"
#include "lab/label_rows.h"
#include "lab/logistic.h"
#include "num/infer.h"
#include "num/stats.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { FEWEST = 8, MOST_TRAIN = 2000, MOST_TEST = 500, FOLD = 5 };
const int sd_probe_k[SD_PROBE_KS] = {1, 2, 5};

/* Texts as mean rows: the active features of text i are idx, val[from[i] .. to[i]). */
typedef struct texts {
    int64_t n, d, m;
    uint64_t *mask;        /* [n] bit c: class c */
    int64_t *from, *to, *rows; /* [n]; rows: tokens that count */
    int32_t *idx;
    float *val;
    int64_t nnz, cap;
    float *x;              /* [n, d] */
    float *scratch;        /* [m] zero between texts */
    int32_t *touched;      /* [m] */
    int64_t n_touched;
    char name[SD_PROBE_CLASSES][SD_LABEL_NAME];
    int n_class;
} texts;

static void texts_release(texts *t)
{
    void *const all[] = {t->mask, t->from, t->to, t->rows, t->idx, t->val, t->x, t->scratch, t->touched};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_free(all[i]);
}

/* The classes that a row names. */
static sd_status read_classes(texts *t, uint64_t *mask, const json_t *row, const char *what, sd_err *err)
{
    const json_t *one = json_object_get(row, "label"), *many = json_object_get(row, "labels");
    const size_t n = one ? 1 : json_array_size(many);
    if (!json_is_string(one) && !json_is_array(many)) {
        (void)sd_fail(err, SD_E_FORMAT, "%s: neither a label nor labels", what);
        return sd_hint(err, "rows look like {\"text\": \"..\", \"label\": \"sports\"}");
    }
    *mask = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *e = one ? one : json_array_get(many, i);
        const char *name = json_string_value(json_is_array(e) ? json_array_get(e, 0) : e);
        const int c = name ? sd_label_place(t->name, &t->n_class, SD_PROBE_CLASSES, name) : -1;
        if (!name) return sd_fail(err, SD_E_FORMAT, "%s: label %zu is neither a name nor [name, begin, end]", what, i);
        if (c < 0) return sd_fail(err, SD_E_FORMAT, "%s: more than %d classes, or a name longer than 47 bytes", what, SD_PROBE_CLASSES);
        *mask |= UINT64_C(1) << c;
    }
    return SD_OK;
}

typedef struct reading { texts *t; int64_t doc; } reading;

/* Row i of the file is document i of the corpus. */
static sd_status read_row(void *self, const json_t *row, sd_slice full, sd_slice text, const char *what, sd_err *err)
{
    reading *r = self;
    (void)full;
    (void)text;
    if (r->doc == r->t->n) return sd_fail(err, SD_E_FORMAT, "%s: more rows than the texts that were read before", what);
    return read_classes(r->t, &r->t->mask[r->doc++], row, what, err);
}

static sd_status read_labels(texts *t, const char *path, sd_err *err)
{
    reading r = {t, 0};
    sd_status st = sd_label_rows(path, read_row, &r, err);
    if (!st && r.doc < t->n) st = sd_fail(err, SD_E_FORMAT, "%s: %" PRId64 " rows for %" PRId64 " texts", path, r.doc, t->n);
    return st;
}

static sd_status texts_room(texts *t, sd_err *err)
{
    const size_t n = (size_t)t->n;
    sd_status st = sd_alloc_zero(&t->mask, n * sizeof *t->mask, "labels", err);
    if (!st) st = sd_alloc_zero(&t->from, n * sizeof *t->from, "texts", err);
    if (!st) st = sd_alloc_zero(&t->to, n * sizeof *t->to, "texts", err);
    if (!st) st = sd_alloc_zero(&t->rows, n * sizeof *t->rows, "texts", err);
    if (!st) st = sd_alloc_zero(&t->x, n * (size_t)t->d * sizeof *t->x, "mean rows of texts", err);
    if (!st) st = sd_alloc_zero(&t->scratch, (size_t)t->m * sizeof *t->scratch, "features of a text", err);
    if (!st) st = sd_alloc(&t->touched, (size_t)t->m * sizeof *t->touched, "features of a text", err);
    return st;
}

/* Sums become means, and what was added up becomes the text's list. */
static sd_status close_text(texts *t, int64_t doc, sd_err *err)
{
    if (doc < 0 || t->rows[doc] == 0) return SD_OK;
    if (t->nnz + t->n_touched > t->cap) {
        const int64_t cap = 2 * (t->nnz + t->n_touched) + 1024;
        int32_t *idx = sd_realloc(t->idx, (size_t)cap * sizeof *idx);
        if (idx) t->idx = idx;
        float *val = idx ? sd_realloc(t->val, (size_t)cap * sizeof *val) : NULL;
        if (!val) return sd_fail(err, SD_E_NOMEM, "out of memory: %" PRId64 " active features of texts", cap);
        t->val = val;
        t->cap = cap;
    }
    const float by = 1.0f / (float)t->rows[doc];
    t->from[doc] = t->nnz;
    for (int64_t i = 0; i < t->n_touched; i++, t->nnz++) {
        const int32_t f = t->touched[i];
        t->idx[t->nnz] = f;
        t->val[t->nnz] = t->scratch[f] * by;
        t->scratch[f] = 0.0f;
    }
    t->to[doc] = t->nnz;
    t->n_touched = 0;
    for (int64_t j = 0; j < t->d; j++) t->x[doc * t->d + j] *= by;
    return SD_OK;
}

static void add_row(texts *t, int64_t doc, const float *x, const sd_codes *z, int64_t row)
{
    t->rows[doc]++;
    for (int64_t j = 0; j < t->d; j++) t->x[doc * t->d + j] += x[j];
    for (int64_t e = z->row_ptr[row]; e < z->row_ptr[row + 1]; e++) {
        const int32_t f = z->idx[e];
        if (!(z->val[e] > 0.0f)) continue;
        if (t->scratch[f] == 0.0f) t->touched[t->n_touched++] = f;
        t->scratch[f] += z->val[e];
    }
}

static sd_status read_texts(texts *t, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_corpus *corpus, const sd_sparse_probe_opt *opt, sd_err *err)
{
    sd_harvest *h = NULL;
    sd_codes z = {0};
    double limit = SD_SINK_FACTOR * sd_dict_get_info(dict)->site_rms;
    int64_t doc = -1, seen = 0;
    sd_status st = sd_harvest_open(&h, ex, m, corpus, &(sd_harvest_opt){.site = opt->site}, err);
    sd_act_source src = st ? (sd_act_source){0} : sd_harvest_source(h);
    while (!st) {
        sd_act_block b;
        if ((st = sd_harvest_block(&b, &limit, &src, err)) || b.x.rows == 0) break;
        if ((st = sd_dict_encode(&z, ex, dict, b.x, err))) break;
        for (int64_t i = 0; i < b.x.rows && !st; i++) {
            const float *x = sd_mat_row(b.x, i);
            if (b.doc[i] != doc) {
                st = close_text(t, doc, err);
                doc = b.doc[i];
            }
            if (!st && (double)ex->kern->dot(x, x, t->d) <= limit * limit) add_row(t, doc, x, &z, i);
        }
        seen += b.x.rows;
        sd_progress_update(opt->progress, "read labelled texts", (double)seen, (double)sd_harvest_rows(h), "tokens");
        if (sd_progress_cancelled(opt->progress)) st = sd_fail(err, SD_E_CANCELLED, "interrupted");
    }
    if (!st) st = close_text(t, doc, err);
    sd_codes_release(&z);
    sd_harvest_close(h);
    return st;
}

/* ---- one class ---- */

typedef struct job { const texts *t; uint64_t seed; sd_probed *out; sd_status *st; sd_err *err; } job;

/* Texts of one side of one part: at most `most`, those that a draw puts first. */
static int64_t choose(const job *j, int c, bool of_class, bool test, int64_t *list, int64_t most)
{
    int64_t n = 0;
    for (int64_t i = 0; i < j->t->n; i++)
        if (j->t->rows[i] > 0 && (i % FOLD == FOLD - 1) == test && (j->t->mask[i] >> c & 1) == of_class) list[n++] = i;
    sd_rng r = sd_rng_make(j->seed, "sparse probe", (uint64_t)(4 * c + 2 * of_class + test));
    sd_rng_shuffle_i64(&r, list, n);
    return n < most ? n : most;
}

/* The features whose means differ most, best first, ties to the lower index. */
static void rank_features(const texts *t, const int64_t *const list[2], int64_t n, double *diff, int64_t best[SD_PROBE_MOST])
{
    memset(diff, 0, (size_t)t->m * sizeof *diff);
    for (int side = 0; side < 2; side++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t e = t->from[list[side][i]]; e < t->to[list[side][i]]; e++) diff[t->idx[e]] += side ? -(double)t->val[e] : (double)t->val[e];
    for (int k = 0; k < SD_PROBE_MOST; k++) best[k] = -1;
    for (int64_t f = 0; f < t->m; f++) {
        int64_t at = f;
        for (int k = 0; k < SD_PROBE_MOST; k++) {
            if (best[k] >= 0 && !(fabs(diff[at]) > fabs(diff[best[k]]))) continue;
            const int64_t out = best[k];
            best[k] = at;
            if (out < 0) break;
            at = out;
        }
    }
}

/* Columns of some texts: k features, or with k 0 the whole mean row. */
static void columns(const texts *t, float *to, const int64_t *list, int64_t n, const int64_t *feature, int k)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t doc = list[i];
        if (!k) {
            memcpy(to + i * t->d, t->x + doc * t->d, (size_t)t->d * sizeof *to);
            continue;
        }
        memset(to + i * k, 0, (size_t)k * sizeof *to);
        for (int64_t e = t->from[doc]; e < t->to[doc]; e++)
            for (int q = 0; q < k; q++)
                if (t->idx[e] == feature[q]) to[i * k + q] = t->val[e];
    }
}

typedef struct split { int64_t *list[2][2]; int64_t n[2]; float *x[2], *w; double *score[2]; } split; /* [test][side] */

static sd_status probe(sd_probe_score *out, const texts *t, const split *s, const int64_t *feature, int k, sd_err *err)
{
    const int64_t d = k ? k : t->d;
    double bias = 0;
    int64_t right[2] = {0, 0};
    for (int side = 0; side < 2; side++) columns(t, s->x[side], s->list[0][side], s->n[0], feature, k);
    sd_status st = sd_logistic_fit(s->w, &bias, (const float *const[]){s->x[0], s->x[1]}, (const int64_t[]){s->n[0], s->n[0]}, d, err);
    if (st) return st;
    for (int side = 0; side < 2; side++) {
        columns(t, s->x[side], s->list[1][side], s->n[1], feature, k);
        for (int64_t i = 0; i < s->n[1]; i++) {
            double z = bias;
            for (int64_t q = 0; q < d; q++) z += (double)s->w[q] * (double)s->x[side][i * d + q];
            s->score[side][i] = z;
            right[side] += side ? !(z > 0) : z > 0;
        }
    }
    const double n = (double)s->n[1], tp = (double)right[0], fp = n - (double)right[1];
    out->accuracy = (double)(right[0] + right[1]) / (2 * n);
    out->f1 = tp > 0 ? 2 * tp / (tp + n + fp) : 0;
    out->auroc = sd_auroc(s->score[0], s->n[1], s->score[1], s->n[1]);
    return SD_OK;
}

static sd_status one_class(const job *j, int c, sd_err *err)
{
    const texts *t = j->t;
    sd_probed *p = &j->out[c];
    split s = {0};
    double *diff = NULL;
    int64_t *room = NULL;
    const size_t wide = (size_t)(t->d > SD_PROBE_MOST ? t->d : SD_PROBE_MOST) * sizeof(float);
    sd_status st = sd_alloc(&room, (size_t)(4 * t->n) * sizeof *room, "texts of a class", err);
    if (!st) st = sd_alloc(&diff, (size_t)t->m * sizeof *diff, "differences of means", err);
    if (st) goto done;
    for (int test = 0; test < 2; test++) {
        for (int side = 0; side < 2; side++) {
            s.list[test][side] = room + (2 * test + side) * t->n;
            const int64_t got = choose(j, c, side == 0, test, s.list[test][side], test ? MOST_TEST : MOST_TRAIN);
            if (side == 0 || got < s.n[test]) s.n[test] = got;
        }
    }
    memcpy(p->name, t->name[c], sizeof p->name);
    p->n_train = 2 * s.n[0], p->n_test = 2 * s.n[1];
    if (s.n[0] < FEWEST || s.n[1] < FEWEST) goto done;
    const int64_t most = s.n[0] > s.n[1] ? s.n[0] : s.n[1];
    for (int side = 0; side < 2 && !st; side++) {
        st = sd_alloc(&s.x[side], (size_t)most * wide, "columns of texts", err);
        if (!st) st = sd_alloc(&s.score[side], (size_t)most * sizeof(double), "scores of texts", err);
    }
    if (!st) st = sd_alloc(&s.w, wide, "a probe", err);
    if (st) goto done;
    rank_features(t, (const int64_t *const[]){s.list[0][0], s.list[0][1]}, s.n[0], diff, p->feature);
    for (int i = 0; i < SD_PROBE_KS && !st; i++) st = probe(&p->k[i], t, &s, p->feature, sd_probe_k[i] < t->m ? sd_probe_k[i] : (int)t->m, err);
    if (!st) st = probe(&p->rows, t, &s, NULL, 0, err);
done:
    for (int side = 0; side < 2; side++) sd_free(s.x[side]), sd_free(s.score[side]);
    sd_free(s.w);
    sd_free(room);
    sd_free(diff);
    return st;
}

static void classes(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    (void)chunk;
    for (int64_t c = begin; c < end; c++) j->st[c] = one_class(j, (int)c, &j->err[c]);
}

static void mean_score(sd_probe_score *to, const sd_probe_score *of, int n)
{
    to->accuracy += of->accuracy / n, to->f1 += of->f1 / n, to->auroc += of->auroc / n;
}

/* Classes with too few texts leave the list; the others' means. */
static void conclude(sd_sparse_probe *out, int n_class)
{
    int n = 0;
    for (int c = 0; c < n_class; c++)
        if (out->v[c].n_train >= 2 * FEWEST && out->v[c].n_test >= 2 * FEWEST) out->v[n++] = out->v[c];
    out->n = n, out->n_few = n_class - n;
    for (int c = 0; c < n; c++) {
        for (int i = 0; i < SD_PROBE_KS; i++) mean_score(&out->k[i], &out->v[c].k[i], n);
        mean_score(&out->rows, &out->v[c].rows, n);
    }
}

void sd_sparse_probe_release(sd_sparse_probe *p)
{
    sd_free(p->v);
    *p = (sd_sparse_probe){0};
}

sd_status sd_lab_sparse_probe(sd_sparse_probe *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const char *file,
                              const sd_sparse_probe_opt *opt, sd_err *err)
{
    const sd_dict_info *info = sd_dict_get_info(dict);
    texts *t = NULL;
    sd_corpus *corpus = NULL;
    sd_status each[SD_PROBE_CLASSES] = {SD_OK};
    sd_err *errs = NULL;
    *out = (sd_sparse_probe){0};
    sd_status st = sd_alloc_zero(&t, sizeof *t, "labelled texts", err);
    if (!st) st = sd_corpus_open(&corpus, &file, 1, err);
    if (st) goto done;
    t->n = out->n_docs = sd_corpus_count(corpus), t->d = info->d, t->m = info->m;
    if ((st = texts_room(t, err)) || (st = read_labels(t, file, err)) || (st = read_texts(t, ex, m, dict, corpus, opt, err))) goto done;
    if ((st = sd_alloc_zero(&out->v, ((size_t)t->n_class + 1) * sizeof *out->v, "classes", err))) goto done;
    if ((st = sd_alloc_zero(&errs, ((size_t)t->n_class + 1) * sizeof *errs, "errors", err))) goto done;
    sd_parallel_for(ex->n_threads, t->n_class, 1, classes, &(job){t, opt->seed, out->v, each, errs});
    for (int c = 0; c < t->n_class && !st; c++)
        if ((st = each[c]) && err) *err = errs[c];
    if (st) goto done;
    conclude(out, t->n_class);
    if (out->n == 0) st = sd_fail(err, SD_E_FORMAT, "%s: no class has %d texts of its own and of others both to learn from and, every fifth, to judge", file, FEWEST);
done:
    if (st) sd_sparse_probe_release(out);
    if (t) texts_release(t);
    sd_free(t);
    sd_free(errs);
    sd_corpus_close(corpus);
    return st;
}
