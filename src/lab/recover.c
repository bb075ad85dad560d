/* recover: reads labelled rows, runs the model over their texts, and asks the other files. Owns: how labels and tokens meet. The harvest
 * gives rows as (document, position); the same tokenizer run over the same text says which label stands there. */
#include "lab/recover_int.h"

#include "lab/harvest.h"
#include "lab/label_rows.h"

#include <inttypes.h>
#include <math.h>

enum { FEWEST = 8 };

/* Labels of every token of every document. */
typedef struct labelled {
    uint64_t *mask;
    int64_t n, cap;
    int64_t *from; /* [n_docs + 1] */
    int64_t n_docs;
    char name[SD_RECOVER_CONCEPTS][SD_LABEL_NAME];
    int n_concept;
} labelled;

static void labelled_release(labelled *l)
{
    sd_free(l->mask);
    sd_free(l->from);
}

typedef struct spans { sd_world_span *v; int64_t n; } spans;

/* The spans of a row, in bytes of `cut`, which is `full` as the corpus has it: without white space at its ends. */
static sd_status read_spans(labelled *l, const json_t *row, sd_slice full, sd_slice cut, spans *out, const char *what, sd_err *err)
{
    size_t trimmed = (size_t)(cut.p - full.p);
    const json_t *v = json_object_get(row, "labels");
    if (!json_is_array(v)) return sd_fail(err, SD_E_FORMAT, "%s: no labels", what);
    out->n = 0;
    sd_status st = sd_alloc(&out->v, (json_array_size(v) + 1) * sizeof *out->v, "labels", err);
    for (size_t i = 0; i < json_array_size(v) && !st; i++) {
        const json_t *e = json_array_get(v, i);
        json_int_t b = json_integer_value(json_array_get(e, 1)), z = json_integer_value(json_array_get(e, 2));
        const char *name = json_string_value(json_array_get(e, 0));
        if (!name || json_array_size(e) != 3 || b < 0 || z < b || (size_t)z > full.n)
            return sd_fail(err, SD_E_FORMAT, "%s: label %zu is not [name, begin, end] within the text", what, i);
        int c = sd_label_place(l->name, &l->n_concept, SD_RECOVER_CONCEPTS, name);
        if (c < 0) return sd_fail(err, SD_E_FORMAT, "%s: more than 64 concepts, or a name longer than 47 bytes", what);
        size_t begin = (size_t)b > trimmed ? (size_t)b - trimmed : 0, end = (size_t)z > trimmed ? (size_t)z - trimmed : 0;
        if (end > cut.n) end = cut.n;
        if (end > begin) out->v[out->n++] = (sd_world_span){c, (uint32_t)begin, (uint32_t)end};
    }
    return st;
}

static sd_status label_document(labelled *l, const sd_tok *tok, sd_slice text, const sd_world_span *span, int64_t n_span, sd_err *err)
{
    sd_ids ids = {0};
    sd_status st = sd_tok_encode(tok, text, &(sd_encode_opt){.no_special = true}, &ids, err);
    if (!st && l->n + ids.n > l->cap) {
        int64_t cap = (l->n + ids.n) * 2;
        uint64_t *p = sd_realloc(l->mask, (size_t)cap * sizeof *p);
        if (p) l->mask = p, l->cap = cap;
        else st = sd_fail(err, SD_E_NOMEM, "out of memory: labels of %" PRId64 " tokens", cap);
    }
    if (!st) st = sd_world_label(l->mask + l->n, tok, &ids, text, span, n_span, err);
    if (!st) l->n += ids.n;
    sd_ids_release(&ids);
    return st;
}

typedef struct reading { labelled *l; const sd_corpus *corpus; const sd_tok *tok; int64_t doc; } reading;

/* Row i of the file is document i of the corpus. */
static sd_status read_row(void *self, const json_t *row, sd_slice full, sd_slice text, const char *what, sd_err *err)
{
    reading *r = self;
    spans sp = {0};
    if (r->doc == r->l->n_docs || !sd_slice_eq(text, sd_corpus_text(r->corpus, r->doc)))
        return sd_fail(err, SD_E_FORMAT, "%s: not the document that was read before", what);
    sd_status st = read_spans(r->l, row, full, text, &sp, what, err);
    if (!st) st = label_document(r->l, r->tok, text, sp.v, sp.n, err);
    r->l->from[++r->doc] = r->l->n;
    sd_free(sp.v);
    return st;
}

static sd_status read_labels(labelled *l, const char *path, const sd_corpus *corpus, const sd_tok *tok, sd_err *err)
{
    reading r = {l, corpus, tok, 0};
    l->n_docs = sd_corpus_count(corpus);
    sd_status st = sd_alloc_zero(&l->from, (size_t)(l->n_docs + 1) * sizeof *l->from, "documents", err);
    if (!st) st = sd_label_rows(path, read_row, &r, err);
    if (!st && r.doc < l->n_docs) st = sd_fail(err, SD_E_FORMAT, "%s: %" PRId64 " rows for %" PRId64 " documents", path, r.doc, l->n_docs);
    return st;
}

/* ---- rows ---- */

static sd_status half_room(recover_half *h, int64_t n, int64_t cols, sd_err *err)
{
    sd_status st;
    h->cap = n;
    if ((st = sd_alloc(&h->token, (size_t)n * sizeof *h->token, "tokens", err))) return st;
    if ((st = sd_alloc(&h->doc, (size_t)n * sizeof *h->doc, "tokens", err))) return st;
    if ((st = sd_alloc(&h->pos, (size_t)n * sizeof *h->pos, "tokens", err))) return st;
    if ((st = sd_alloc(&h->mask, (size_t)n * sizeof *h->mask, "tokens", err))) return st;
    if ((st = sd_alloc(&h->turned, (size_t)n * sizeof *h->turned, "tokens", err))) return st;
    float *x;
    st = sd_alloc(&x, (size_t)(n * cols) * sizeof *x, "activations of the labelled text", err);
    if (!st) h->x = sd_mat_of(x, 0, cols);
    return st;
}

static void half_release(recover_half *h)
{
    sd_free(h->token);
    sd_free(h->doc);
    sd_free(h->pos);
    sd_free(h->mask);
    sd_free(h->turned);
    sd_free(h->x.data);
    *h = (recover_half){0};
}

/* Where activations and labels come from. */
typedef struct source { const sd_model *m; const sd_corpus *corpus; const labelled *l; } source;

/* Runs the model and sorts its rows in two halves by the document's number. */
static sd_status gather(recover_set *s, const source *from, sd_site site, sd_err *err)
{
    const sd_model *m = from->m;
    const labelled *l = from->l;
    sd_harvest *h = NULL;
    int64_t cols, need[2] = {0, 0};
    sd_status st = sd_model_site_cols(m, site, &cols, err);
    if (st) return st;
    if ((st = sd_harvest_open(&h, s->ex, m, from->corpus, &(sd_harvest_opt){.site = site}, err))) goto done;
    for (int64_t d = 0; d < l->n_docs; d++) need[d & 1] += l->from[d + 1] - l->from[d];
    for (int i = 0; i < 2; i++) {
        half_release(&s->half[i]);
        if ((st = half_room(&s->half[i], need[i], cols, err))) goto done;
    }
    sd_act_source src = sd_harvest_source(h);
    for (;;) {
        sd_act_block b;
        if ((st = src.next(src.self, &b, err)) || b.x.rows == 0) break;
        if (sd_progress_cancelled(s->progress)) st = sd_fail(err, SD_E_CANCELLED, "interrupted");
        for (int64_t i = 0; i < b.x.rows && !st; i++) {
            recover_half *to = &s->half[b.doc[i] & 1];
            int64_t at = l->from[b.doc[i]] + b.pos[i];
            if (b.pos[i] < 0 || at >= l->from[b.doc[i] + 1] || to->n == to->cap) continue;
            to->token[to->n] = b.token_id[i];
            to->doc[to->n] = b.doc[i];
            to->pos[to->n] = b.pos[i];
            to->mask[to->n] = l->mask[at];
            memcpy(to->x.data + to->n * cols, sd_mat_row(b.x, i), (size_t)cols * sizeof(float));
            to->n++;
        }
        if (st) break;
    }
    for (int i = 0; i < 2; i++) {
        recover_half *p = &s->half[i];
        p->x.rows = p->n;
        memset(p->count, 0, sizeof p->count);
        for (int64_t r = 0; r < p->n; r++) {
            p->turned[r] = p->mask[(r + p->n / 2) % p->n];
            for (uint64_t k = p->mask[r]; k; k &= k - 1) p->count[__builtin_ctzll(k)]++;
        }
    }
done:
    sd_harvest_close(h);
    return st;
}

/* ---- the dictionary ---- */

typedef struct features { const recover_set *s; recover_columns half[2]; } features;

static void feature_value(const void *self, int half, int64_t f, float *out)
{
    const features *k = self;
    const recover_columns *t = &k->half[half];
    memset(out, 0, (size_t)k->s->half[half].n * sizeof *out);
    for (int64_t e = t->from[f]; e < t->from[f + 1]; e++) out[t->row[e]] = t->val[e];
}

static sd_status judge_features(sd_recovery *r, const recover_set *s, const sd_dict *dict, sd_err *err)
{
    sd_codes z = {0};
    features k = {.s = s};
    sd_detector best[SD_RECOVER_CONCEPTS];
    int64_t m = sd_dict_get_info(dict)->m, active = 0;
    sd_status st = SD_OK;
    for (int i = 0; i < 2 && !st; i++) {
        st = sd_dict_encode(&z, s->ex, dict, s->half[i].x, err);
        if (!st) st = sd_recover__transpose(&k.half[i], &z, m, err);
        active += z.nnz;
    }
    recover_family f = {.n = m, .value = feature_value, .self = &k};
    if (!st) st = sd_recover__best(best, s, &f, false, err);
    for (int c = 0; c < r->n && !st; c++) r->v[c].feature = best[c];
    if (!st) st = sd_recover__best(best, s, &f, true, err);
    for (int c = 0; c < r->n && !st; c++) r->v[c].shuffled = best[c];
    if (!st) st = sd_recover__any(r->v, s, k.half, m, err);
    if (!st) st = sd_recover__together(r->v, s, k.half, m, err);
    r->n_features = m;
    r->l0 = (double)active / (double)(s->half[0].n + s->half[1].n);
    sd_recover__columns_release(&k.half[0]);
    sd_recover__columns_release(&k.half[1]);
    sd_codes_release(&z);
    return st;
}

static sd_status judge_others(sd_recovery *r, recover_set *s, const source *from, const sd_recover_opt *opt, sd_site site, sd_err *err)
{
    sd_status st;
    sd_progress_update(opt->progress, "recover", 2, 7, "a probe");
    if ((st = sd_recover__probe(r->v, s, false, err))) return st;
    sd_progress_update(opt->progress, "recover", 3, 7, "components, random directions");
    if ((st = sd_recover__random(r->v, s, opt->seed, err))) return st;
    if ((st = sd_recover__components(r->v, s, err))) return st;
    sd_progress_update(opt->progress, "recover", 4, 7, "tokens");
    if ((st = sd_recover__pairs(r->v, s, err))) return st;
    if ((st = sd_recover__bag(r->v, s, sd_tok_n_vocab(from->m->tok), err))) return st;
    sd_progress_update(opt->progress, "recover", 5, 7, "neurons");
    if ((st = gather(s, from, (sd_site){SD_SITE_MLP_POST, site.layer}, err))) return st;
    if ((st = sd_recover__neurons(r->v, s, err))) return st;
    sd_progress_update(opt->progress, "recover", 6, 7, "embeddings");
    if ((st = gather(s, from, (sd_site){SD_SITE_EMBED, 0}, err))) return st;
    return sd_recover__probe(r->v, s, true, err);
}

void sd_recovery_release(sd_recovery *r)
{
    sd_free(r->v);
    *r = (sd_recovery){0};
}

static void summarise(sd_recovery *r)
{
    for (int c = 0; c < r->n; c++) {
        const sd_recovered *v = &r->v[c];
        r->n_one += v->feature.f1 >= SD_RECOVERED_F1;
        r->n_five += v->together_f1 >= SD_RECOVERED_F1;
        r->n_any += v->any_f1 >= SD_RECOVERED_F1;
        r->n_five_shuffled += v->together_shuffled >= SD_RECOVERED_F1;
        r->n_probe += v->probe.f1 >= SD_RECOVERED_F1;
        r->n_shuffled += v->shuffled.f1 >= SD_RECOVERED_F1;
        r->n_contextual += v->embedding.f1 < 0.5;
    }
}

sd_status sd_lab_recover(sd_recovery *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const char *labels,
                         const sd_recover_opt *opt, sd_err *err)
{
    recover_set s = {.ex = ex, .progress = opt->progress};
    sd_recovery r = {0};
    sd_corpus *corpus = NULL;
    labelled *l = NULL;
    sd_site site;
    const sd_dict_info *info = sd_dict_get_info(dict);
    const char *reads = sd_dict_site_name(dict);
    double began = sd_now();
    *out = r;
    sd_status st = sd_site_parse(&site, reads, strlen(reads), err);
    if (!st) st = sd_alloc_zero(&l, sizeof *l, "labels", err);
    if (!st) st = sd_corpus_open(&corpus, &labels, 1, err);
    if (!st) st = read_labels(l, labels, corpus, m->tok, err);
    if (st) goto done;
    source from = {m, corpus, l};
    sd_progress_update(opt->progress, "recover", 0, 7, "activations");
    if ((st = gather(&s, &from, site, err))) goto done;
    if (s.half[0].x.cols != info->d) {
        st = sd_fail(err, SD_E_SHAPE, "the dictionary is of %" PRId64 " columns, %s of this model has %" PRId64, info->d, reads,
                     s.half[0].x.cols);
        goto done;
    }
    r.n = s.n_concept = l->n_concept;
    r.n_docs = l->n_docs;
    r.n_tokens = s.half[0].n + s.half[1].n;
    if ((st = sd_alloc_zero(&r.v, (size_t)(r.n + 1) * sizeof *r.v, "results", err))) goto done;
    for (int c = 0; c < r.n; c++) {
        memcpy(r.v[c].name, l->name[c], sizeof r.v[c].name);
        r.v[c].n_choose = s.half[0].count[c];
        r.v[c].n_judge = s.half[1].count[c];
        if (r.v[c].n_choose < FEWEST || r.v[c].n_judge < FEWEST) {
            sd_fail(err, SD_E_FORMAT, "%s: %s has %" PRId64 " and %" PRId64 " labelled tokens in the two halves, at least %d are needed",
                    labels, r.v[c].name, r.v[c].n_choose, r.v[c].n_judge, FEWEST);
            st = sd_hint(err, "give more documents, or leave that label out");
            goto done;
        }
        r.v[c].probe.f1 = r.v[c].embedding.f1 = r.v[c].random.f1 = r.v[c].neuron.f1 = r.v[c].component.f1 = r.v[c].pairs.f1 = r.v[c].bag.f1 = NAN;
    }
    sd_progress_update(opt->progress, "recover", 1, 7, "features");
    if ((st = judge_features(&r, &s, dict, err))) goto done;
    if (!opt->quick && (st = judge_others(&r, &s, &from, opt, site, err))) goto done;
    summarise(&r);
    r.seconds = sd_now() - began;
    *out = r;
    r.v = NULL;
done:
    sd_free(r.v);
    half_release(&s.half[0]);
    half_release(&s.half[1]);
    if (l) labelled_release(l);
    sd_free(l);
    sd_corpus_close(corpus);
    return st;
}
