/* Owns: the order of the work; features that have no direction or no neighbour are taken out first and never come back. */
#include "lab/map_int.h"

#include "lab/neighbours.h"
#include "num/kern_dict.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_K = 15, SMALL = 10000, EPOCHS_SMALL = 500, EPOCHS = 200, READ_ROWS = 256, CLUSTER_WORDS = 4, WORD_LEAST = 3, WORD_MAX = 48 };

void sd_lab_unit_row(float *out, const float *w, int64_t d)
{
    double sq = 0;
    for (int64_t i = 0; i < d; i++) sq += (double)w[i] * (double)w[i];
    float inv = sq > 0 ? (float)(1 / sqrt(sq)) : 0;
    for (int64_t i = 0; i < d; i++) out[i] = w[i] * inv;
}

sd_status sd_lab_has_directions(const sd_store *s, sd_err *err)
{
    if (sd_store_get_info(s)->dict.d) return SD_OK;
    sd_fail(err, SD_E_NOTFOUND, "the store holds no directions of its features");
    return sd_hint(err, "one that `sonde feature import` made has none; `sonde feature build` keeps them, and `feature map` takes a dictionary with --dict");
}

sd_status sd_lab_directions(sd_mat *out, sd_store *s, sd_err *err)
{
    const sd_store_dict *in = &sd_store_get_info(s)->dict;
    const sd_kern_dict *kern = sd_kern_dict_select(0);
    uint16_t *half = NULL;
    float *w = NULL;
    size_t n = 0, bytes = 0;
    *out = (sd_mat){0};
    if (sd_lab_has_directions(s, err)) return SD_E_NOTFOUND;
    if (in->d < 0 || !sd_mul_size((size_t)in->m, (size_t)in->d, &n) || !sd_mul_size(n, sizeof *w, &bytes))
        return sd_fail(err, SD_E_STORE, "the store claims directions of %" PRId64 " numbers", in->d);
    sd_status st = sd_alloc(&w, bytes, "directions of the features", err);
    if (!st) st = sd_alloc(&half, (size_t)(READ_ROWS * in->d) * sizeof *half, "directions of the features", err);
    for (int64_t f0 = 0; f0 < in->m && !st; f0 += READ_ROWS) {
        int64_t rows = in->m - f0 < READ_ROWS ? in->m - f0 : READ_ROWS;
        if (!(st = sd_store_directions(half, s, f0, rows, err))) kern->f16_to_f32(w + f0 * in->d, half, rows * in->d);
    }
    for (int64_t f = 0; f < in->m && !st; f++) {
        for (int64_t i = 0; i < in->d && !st; i++)
            if (!isfinite(w[f * in->d + i])) st = sd_fail(err, SD_E_STORE, "the direction of feature %" PRId64 " is not finite", f);
        sd_lab_unit_row(w + f * in->d, w + f * in->d, in->d);
    }
    sd_free(half);
    if (st) sd_free(w);
    else *out = sd_mat_of(w, in->m, in->d);
    return st;
}

typedef struct work {
    sd_mat w;            /* [n, d] the placed rows */
    int64_t *feature;    /* [n] */
    int32_t *near, *of;
    float *cosine, *xy;
    sd_map_graph graph;
} work;

static void release(work *k)
{
    sd_free(k->w.data);
    sd_free(k->feature);
    sd_free(k->near);
    sd_free(k->of);
    sd_free(k->cosine);
    sd_free(k->xy);
    sd_map__graph_release(&k->graph);
}

static sd_status gather(work *k, sd_mat w, int n_near, sd_err *err)
{
    static const char what[] = "the map";
    int64_t n = 0;
    size_t m = (size_t)w.rows + 1;
    sd_status st = sd_alloc(&k->feature, m * sizeof *k->feature, what, err);
    if (st) return st;
    for (int64_t f = 0; f < w.rows; f++) {
        bool any = false;
        for (int64_t i = 0; i < w.cols && !any; i++) any = sd_mat_row(w, f)[i] != 0;
        if (any) k->feature[n++] = f;
    }
    if ((st = sd_alloc(&k->w.data, (size_t)(n * w.cols + 1) * sizeof(float), what, err))) return st;
    k->w = sd_mat_of(k->w.data, n, w.cols);
    for (int64_t i = 0; i < n; i++) memcpy(sd_mat_row(k->w, i), sd_mat_row(w, k->feature[i]), (size_t)w.cols * sizeof(float));
    if (!st) st = sd_alloc(&k->near, (size_t)(n * n_near + 1) * sizeof *k->near, what, err);
    if (!st) st = sd_alloc(&k->cosine, (size_t)(n * n_near + 1) * sizeof *k->cosine, what, err);
    if (!st) st = sd_alloc(&k->xy, (size_t)(n * 2 + 1) * sizeof *k->xy, what, err);
    if (!st) st = sd_alloc(&k->of, (size_t)(n + 1) * sizeof *k->of, what, err);
    return st;
}

sd_status sd_lab_map(sd_feature_map *out, const sd_exec *ex, sd_mat w, const sd_map_opt *opt, sd_err *err)
{
    work k = {0};
    sd_map_quality q;
    int near = opt->k ? opt->k : DEFAULT_K;
    *out = (sd_feature_map){.k = near, .min_dist = 0.1, .seed = opt->seed};
    if (near < 2 || near > 100) return sd_fail(err, SD_E_ARG, "a map of %d neighbours a feature; between 2 and 100 make sense", near);
    sd_status st = gather(&k, w, near, err);
    if (st) goto done;
    int64_t n = k.w.rows;
    if (n < 2) {
        st = sd_fail(err, SD_E_FORMAT, "%" PRId64 " features have a direction; a map needs two", n);
        goto done;
    }
    out->epochs = opt->epochs ? opt->epochs : n <= SMALL ? EPOCHS_SMALL : EPOCHS;
    if ((st = sd_lab_neighbours_of(k.near, k.cosine, near, ex, k.w, opt->progress, err))) goto done;
    if ((st = sd_map__graph(&k.graph, k.near, k.cosine, n, near, err))) goto done;
    if ((st = sd_map__clusters(k.of, &out->n_cluster, &out->modularity, &k.graph, err))) goto done;
    if ((st = sd_map__layout(k.xy, &k.graph, out->epochs, opt->seed, opt->progress, err))) goto done;
    if ((st = sd_map__check(&q, ex, k.w, k.xy, k.near, near, err))) goto done;
    out->n_checked = q.n, out->kept = q.kept, out->trust = q.trust;
    out->kept_chance = fmin(1, (double)near / (double)(n - 1));
    if ((st = sd_alloc(&out->point, (size_t)n * sizeof *out->point, "the map", err))) goto done;
    if ((st = sd_alloc_zero(&out->cluster, (size_t)out->n_cluster * sizeof *out->cluster, "the map", err))) goto done;
    for (int64_t i = 0; i < n; i++) {
        out->point[i] = (sd_feature_point){k.feature[i], k.xy[2 * i], k.xy[2 * i + 1], k.of[i]};
        out->cluster[k.of[i]].n++;
    }
    out->n_point = n;
done:
    release(&k);
    if (st) sd_lab_map_release(out);
    return st;
}

void sd_lab_map_release(sd_feature_map *m)
{
    for (int64_t c = 0; m->cluster && c < m->n_cluster; c++) sd_free((char *)(uintptr_t)m->cluster[c].words);
    sd_free(m->point);
    sd_free(m->cluster);
    *m = (sd_feature_map){0};
}

/* A word of a feature, in its cluster. */
typedef struct word { char text[WORD_MAX]; int32_t cluster; } word;

static int by_word(const void *a, const void *b)
{
    const word *x = a, *y = b;
    int c = strcmp(x->text, y->text);
    return c ? c : x->cluster - y->cluster;
}

/* The first words of a feature, folded to lower case in ASCII; at most three, none twice. */
static sd_status take_words(sd_buf *b, const char *words, int32_t cluster)
{
    sd_slice rest = sd_slice_of(words), part;
    const size_t from = b->n;
    for (int n = 0; n < 3 && sd_slice_cut(&rest, ',', &part); n++) {
        word w = {.cluster = cluster};
        part = sd_slice_trim(part);
        bool letter = false;
        for (size_t i = 0; i < part.n; i++) letter |= (part.p[i] | 32) >= 'a' && (part.p[i] | 32) <= 'z';
        letter |= part.n > 0 && (unsigned char)part.p[0] >= 0x80;
        if (!letter || part.n < WORD_LEAST || part.n >= WORD_MAX) continue; /* signs and "of" say nothing of a cluster */
        for (size_t i = 0; i < part.n; i++) w.text[i] = (char)(part.p[i] >= 'A' && part.p[i] <= 'Z' ? part.p[i] | 32 : part.p[i]);
        bool known = false;
        for (size_t at = from; at < b->n && !known; at += sizeof w) known = strcmp(((const word *)(const void *)(b->p + at))->text, w.text) == 0;
        if (!known) sd_buf_put(b, &w, sizeof w);
    }
    return b->failed ? SD_E_NOMEM : SD_OK;
}

typedef struct best { double score; const char *text; } best;

/* A share p of the cluster's features has the word, P of all: score p ln(p / P), common here and rarer elsewhere. */
static void rank_words(best *top, const sd_feature_map *m, const word *v, int64_t n)
{
    for (int64_t a = 0, b; a < n; a = b) {
        for (b = a; b < n && strcmp(v[b].text, v[a].text) == 0;) b++;
        double all = (double)(b - a) / (double)m->n_point;
        for (int64_t i = a, j; i < b; i = j) {
            for (j = i; j < b && v[j].cluster == v[i].cluster;) j++;
            double here = (double)(j - i) / (double)m->cluster[v[i].cluster].n;
            best *t = top + (int64_t)v[i].cluster * CLUSTER_WORDS, x = {here * log(here / all), v[i].text};
            for (int k = 0; k < CLUSTER_WORDS; k++)
                if (x.score > t[k].score) {
                    best old = t[k];
                    t[k] = x;
                    x = old;
                }
        }
    }
}

static sd_status collect(sd_buf *b, const sd_feature_map *m, sd_store *s, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t i = 0; i < m->n_point && !st; i++) {
        sd_feature_list l;
        if ((st = sd_store_one(&l, s, m->point[i].index, err))) break;
        if (take_words(b, l.v[0].label ? l.v[0].label : l.v[0].words, m->point[i].cluster)) st = sd_buf_check(b, "words of the clusters", err);
        sd_feature_list_release(&l);
    }
    return st;
}

sd_status sd_lab_map_words(sd_feature_map *m, sd_store *s, sd_err *err)
{
    sd_buf b;
    best *top = NULL;
    sd_buf_init(&b, (size_t)1 << 30);
    sd_status st = collect(&b, m, s, err);
    if (!st) st = sd_alloc_zero(&top, (size_t)(m->n_cluster * CLUSTER_WORDS + 1) * sizeof *top, "words of the clusters", err);
    if (st) goto done;
    int64_t n = (int64_t)(b.n / sizeof(word));
    if (n) {
        qsort(b.p, (size_t)n, sizeof(word), by_word);
        rank_words(top, m, (const word *)(const void *)b.p, n);
    }
    for (int64_t c = 0; c < m->n_cluster && !st; c++) {
        char text[CLUSTER_WORDS * (WORD_MAX + 2) + 1] = "";
        for (int k = 0, at = 0; k < CLUSTER_WORDS && top[c * CLUSTER_WORDS + k].text; k++)
            at += snprintf(text + at, sizeof text - (size_t)at, "%s%s", k ? ", " : "", top[c * CLUSTER_WORDS + k].text);
        sd_free((char *)(uintptr_t)m->cluster[c].words);
        if (!(m->cluster[c].words = sd_strdup(text))) st = sd_fail(err, SD_E_NOMEM, "out of memory: words of the clusters");
    }
done:
    sd_free(top);
    sd_buf_release(&b);
    return st;
}
