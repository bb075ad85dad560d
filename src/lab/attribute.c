/* Owns: the parts. Everything of one position; the recorded rows are taken at it. */
#include "lab/attribute.h"

#include "lab/record.h"
#include "model/peek.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Half an ulp of f32: the relative error of one rounded operation. */
#define UNIT_F32 ((double)FLT_EPSILON / 2)

typedef struct job {
    sd_attribution *out;
    const sd_exec *ex;
    const sd_model *m;
    const sd_attribute_opt *opt;
    sd_record rec;
    int64_t row;     /* of the position */
    double *dir, *dir_wrong; /* [d] */
    int64_t cap;     /* parts that fit */
} job;

void sd_attribution_release(sd_attribution *a)
{
    sd_free(a->part);
    *a = (sd_attribution){0};
}

static const float *row_at(const job *j, sd_site_kind kind, int layer)
{
    return sd_mat_row(sd_record_get(&j->rec, (sd_site){kind, layer}), j->row);
}

static double dot(const job *j, const float *x)
{
    double s = 0;
    for (int64_t k = 0; k < j->m->cfg.d_model; k++) s += j->dir[k] * (double)x[k];
    return s;
}

static sd_status add(job *j, sd_part p, sd_err *err)
{
    if (j->out->n_part == j->cap) {
        int64_t cap = j->cap ? 2 * j->cap : 1024;
        sd_part *grown = sd_realloc(j->out->part, (size_t)cap * sizeof *grown);
        if (!grown) return sd_fail(err, SD_E_NOMEM, "out of memory: %lld parts of a logit", (long long)cap);
        j->out->part = grown;
        j->cap = cap;
    }
    j->out->part[j->out->n_part++] = p;
    return SD_OK;
}

static sd_status add_plain(job *j, sd_part_kind kind, int layer, const float *x, sd_err *err)
{
    return add(j, (sd_part){.kind = kind, .layer = layer, .head = -1, .feature = -1, .share = dot(j, x)}, err);
}

/* x as the dictionary tells it: features, offset, error. */
static sd_status add_features(job *j, int layer, const float *x, sd_err *err)
{
    const sd_dict *dict = j->opt->dict;
    int64_t d = j->m->cfg.d_model;
    sd_codes z = {0};
    float *copy = NULL, *back = NULL;
    sd_status st = sd_alloc(&copy, (size_t)d * sizeof *copy, "a row", err);
    if (!st) st = sd_alloc(&back, (size_t)d * sizeof *back, "a row", err);
    if (st) goto done;
    memcpy(copy, x, (size_t)d * sizeof *copy);
    if ((st = sd_dict_encode(&z, j->ex, dict, sd_mat_of(copy, 1, d), err))) goto done;
    sd_dict_decode(sd_mat_of(back, 1, d), j->ex, dict, &z);
    double whole = dot(j, x), rebuilt = dot(j, sd_dict_b_dec(dict));
    if ((st = add(j, (sd_part){.kind = SD_PART_B_DEC, .layer = layer, .head = -1, .feature = -1, .share = rebuilt}, err))) goto done;
    for (int64_t k = 0; k < z.nnz && !st; k++) {
        double share = (double)z.val[k] * dot(j, sd_dict_dec_row(dict, z.idx[k]));
        rebuilt += share;
        st = add(j, (sd_part){.kind = SD_PART_FEATURE, .layer = layer, .head = -1, .feature = z.idx[k], .act = (double)z.val[k], .share = share}, err);
    }
    if (!st) st = add(j, (sd_part){.kind = SD_PART_DICT_ERROR, .layer = layer, .head = -1, .feature = -1, .share = whole - rebuilt}, err);
done:
    sd_codes_release(&z);
    sd_free(copy);
    sd_free(back);
    return st;
}

static sd_status add_heads(job *j, int layer, sd_err *err)
{
    int64_t H = j->m->cfg.n_head, d = j->m->cfg.d_model;
    float *out = NULL;
    double rest = dot(j, row_at(j, SD_SITE_ATTN_OUT, layer));
    sd_status st = sd_alloc(&out, (size_t)(H * d) * sizeof *out, "heads one by one", err);
    if (!st) st = sd_model_split_heads(sd_mat_of(out, H, d), j->ex, j->m, layer, row_at(j, SD_SITE_ATTN_Z, layer), err);
    for (int h = 0; h < H && !st; h++) {
        double share = dot(j, out + h * d);
        rest -= share;
        st = add(j, (sd_part){.kind = SD_PART_HEAD, .layer = layer, .head = h, .feature = -1, .share = share}, err);
    }
    if (!st) st = add(j, (sd_part){.kind = SD_PART_REST, .layer = layer, .head = -1, .feature = -1, .share = rest}, err);
    sd_free(out);
    return st;
}

/* Is this place of the stream where the dictionary reads? */
static bool reads(const job *j, sd_site_kind kind, int layer)
{
    return j->opt->dict && j->opt->dict_site.kind == kind && j->opt->dict_site.layer == layer;
}

/* A place of the stream that the dictionary reads: all parts so far become its features. */
static sd_status maybe_stream(job *j, sd_site_kind kind, int layer, sd_err *err)
{
    if (!reads(j, kind, layer)) return SD_OK;
    j->out->n_part = 0;
    return add_features(j, layer, row_at(j, kind, layer), err);
}

static sd_status add_layer(job *j, int l, sd_err *err)
{
    sd_status st = maybe_stream(j, SD_SITE_RESID_PRE, l, err);
    if (!st) st = reads(j, SD_SITE_ATTN_OUT, l) ? add_features(j, l, row_at(j, SD_SITE_ATTN_OUT, l), err) : add_heads(j, l, err);
    if (!st) st = maybe_stream(j, SD_SITE_RESID_MID, l, err);
    if (!st) st = reads(j, SD_SITE_MLP_OUT, l) ? add_features(j, l, row_at(j, SD_SITE_MLP_OUT, l), err)
                                               : add_plain(j, SD_PART_MLP, l, row_at(j, SD_SITE_MLP_OUT, l), err);
    return st ? st : maybe_stream(j, SD_SITE_RESID_POST, l, err);
}

/* What additions into the stream may have lost: each rounds its result, two a block. Where the stream within a block is no site (parallel
 * blocks) |resid_post| + |mlp_out| bounds it. */
static double stream_bound(const job *j)
{
    double sum = 0;
    for (int l = 0; l < j->m->cfg.n_layer; l++) {
        const float *post = row_at(j, SD_SITE_RESID_POST, l), *mlp = row_at(j, SD_SITE_MLP_OUT, l);
        for (int64_t k = 0; k < j->m->cfg.d_model; k++) sum += fabs(j->dir[k]) * (2 * fabs((double)post[k]) + fabs((double)mlp[k]));
    }
    return UNIT_F32 * sum * (1 + 1e-6); /* the second order of u */
}

static sd_status read_logits(job *j, const float *x, sd_err *err)
{
    sd_attribution *o = j->out;
    int64_t V = j->m->cfg.n_vocab;
    float *logits = NULL;
    sd_mat row = {(float *)(uintptr_t)x, 1, j->m->cfg.d_model, j->m->cfg.d_model}; /* read only */
    sd_status st = sd_alloc(&logits, (size_t)V * sizeof *logits, "logits", err);
    if (!st) st = sd_model_unembed(sd_mat_of(logits, 1, V), j->ex, j->m, row, err);
    if (st) goto done;
    o->answer = j->opt->has_answer ? j->opt->answer : (int32_t)sd_argmax(logits, V);
    o->wrong = j->opt->has_wrong ? j->opt->wrong : -1;
    if (o->answer < 0 || o->answer >= V || o->wrong >= V || (j->opt->has_wrong && o->wrong < 0)) {
        st = sd_fail(err, SD_E_ARG, "tokens %d and %d of a vocabulary of %lld", (int)o->answer, (int)o->wrong, (long long)V);
        goto done;
    }
    double lse = sd_logsumexp(j->ex, logits, V);
    o->p_answer = exp((double)logits[o->answer] - lse);
    o->p_wrong = o->wrong < 0 ? NAN : exp((double)logits[o->wrong] - lse);
    o->model = (double)logits[o->answer] - (o->wrong < 0 ? 0 : (double)logits[o->wrong]);
done:
    sd_free(logits);
    return st;
}

/* dir and constants of the token, less those of the other; what the parts come to. */
static sd_status sum_up(job *j, const float *x, sd_err *err)
{
    sd_attribution *o = j->out;
    int64_t d = j->m->cfg.d_model;
    double c = 0, c_wrong = 0, chain = 0, one = 0, two = 0;
    sd_status st = sd_model_readout(j->dir, &c, j->m, x, o->answer, err);
    if (!st && o->wrong >= 0) st = sd_model_readout(j->dir_wrong, &c_wrong, j->m, x, o->wrong, err);
    if (st) return st;
    for (int64_t k = 0; k < d; k++) {
        double other = o->wrong >= 0 ? j->dir_wrong[k] : 0;
        chain += (fabs(j->dir[k]) + fabs(other)) * fabs((double)x[k]);
        one += j->dir[k] * (double)x[k];
        two += other * (double)x[k];
        j->dir[k] -= other;
    }
    o->constant = c - c_wrong;
    o->stream = dot(j, x) + o->constant;
    if (!(st = add_plain(j, SD_PART_EMBED, -1, row_at(j, SD_SITE_RESID_PRE, 0), err)))
        for (int l = 0; l < j->m->cfg.n_layer && !st; l++) st = add_layer(j, l, err);
    if (st) return st;
    o->sum = o->constant;
    for (int64_t i = 0; i < o->n_part; i++) o->sum += o->part[i].share;
    o->error = o->stream - o->sum;
    o->error_bound = stream_bound(j);
    o->capped = sd_model_cap_logit(j->m, one + c - o->error) - (o->wrong < 0 ? 0 : sd_model_cap_logit(j->m, two + c_wrong));
    o->model_bound = o->error_bound + UNIT_F32 * ((double)(2 * d + 16) * (chain + fabs(c) + fabs(c_wrong)) + fabs(o->model));
    return SD_OK;
}

static sd_status check(const job *j, int64_t n, sd_err *err)
{
    const sd_attribute_opt *o = j->opt;
    if (o->position > 0 || -o->position > n)
        return sd_fail(err, SD_E_ARG, "position %lld of a prompt of %lld tokens; -1 is the last", (long long)o->position, (long long)n);
    if (!o->dict) return SD_OK;
    char name[48];
    sd_site_print(name, sizeof name, o->dict_site);
    int64_t cols = sd_dict_get_info(o->dict)->d;
    if (sd_dict_kind_maps(sd_dict_get_info(o->dict)->kind)) return sd_fail(err, SD_E_UNSUPPORTED, "a transcoder tells one site from another; a row is told by a dictionary of its own site");
    if (sd_dict_scales_rows(o->dict)) return sd_fail(err, SD_E_UNSUPPORTED, "the dictionary scales each row by itself first, so its features are no sum in the row's own units");
    switch (o->dict_site.kind) {
    case SD_SITE_RESID_PRE:
    case SD_SITE_RESID_MID:
    case SD_SITE_RESID_POST:
    case SD_SITE_ATTN_OUT:
    case SD_SITE_MLP_OUT: break;
    default:
        sd_fail(err, SD_E_ARG, "a dictionary of %s does not write into the residual stream", name);
        return sd_hint(err, "resid_pre, resid_mid, resid_post, attn_out and mlp_out can be attributed");
    }
    if (o->dict_site.layer >= j->m->cfg.n_layer)
        return sd_fail(err, SD_E_ARG, "a dictionary of %s for a model with %d layers", name, j->m->cfg.n_layer);
    if (cols != j->m->cfg.d_model)
        return sd_fail(err, SD_E_SHAPE, "a dictionary of %lld columns for a model of width %lld", (long long)cols, (long long)j->m->cfg.d_model);
    return SD_OK;
}

static sd_status record(job *j, const sd_ids *ids, sd_err *err)
{
    static const sd_site_kind kind[] = {SD_SITE_RESID_PRE, SD_SITE_ATTN_Z, SD_SITE_ATTN_OUT, SD_SITE_MLP_OUT, SD_SITE_RESID_POST};
    sd_session *s = NULL;
    sd_runner *r = NULL;
    sd_status st = SD_OK;
    for (size_t i = 0; i < sizeof kind / sizeof *kind && !st; i++) st = sd_record_kind(&j->rec, j->m, kind[i], err);
    if (!st && j->opt->dict && j->opt->dict_site.kind == SD_SITE_RESID_MID) st = sd_record_kind(&j->rec, j->m, SD_SITE_RESID_MID, err);
    if (!st) st = sd_session_new(&s, j->m, &(sd_session_opt){.n_ctx = ids->n}, err);
    if (!st) st = sd_runner_new(&r, j->ex, j->m, &(sd_runner_opt){.max_rows = ids->n, .n_ctx = ids->n}, err);
    if (!st) st = sd_record_step(&j->rec, r, &(sd_segment){.s = s, .tok = ids->v, .n = ids->n}, -1, err);
    sd_runner_free(r);
    sd_session_free(s);
    return st;
}

sd_status sd_lab_attribute(sd_attribution *out, const sd_exec *ex, const sd_model *m, const sd_ids *ids, const sd_attribute_opt *opt,
                           sd_err *err)
{
    job j = {.out = out, .ex = ex, .m = m, .opt = opt};
    *out = (sd_attribution){.n = ids->n, .n_layer = m->cfg.n_layer, .n_head = m->cfg.n_head};
    sd_status st = sd_record_check(m, ids, SD_ATTRIBUTE_MAX_TOKENS, err);
    if (!st) st = check(&j, ids->n, err);
    if (!st) st = sd_alloc(&j.dir, (size_t)m->cfg.d_model * sizeof(double), "a direction", err);
    if (!st) st = sd_alloc(&j.dir_wrong, (size_t)m->cfg.d_model * sizeof(double), "a direction", err);
    if (!st) st = record(&j, ids, err);
    if (!st) {
        j.row = out->position = ids->n + (opt->position ? opt->position : -1);
        const float *x = row_at(&j, SD_SITE_RESID_POST, m->cfg.n_layer - 1);
        st = read_logits(&j, x, err);
        if (!st) st = sum_up(&j, x, err);
    }
    sd_record_release(&j.rec);
    sd_free(j.dir);
    sd_free(j.dir_wrong);
    if (st) sd_attribution_release(out);
    return st;
}

const char *sd_part_name(char out[48], const sd_part *p)
{
    switch (p->kind) {
    case SD_PART_EMBED: snprintf(out, 48, "embed"); break;
    case SD_PART_HEAD: snprintf(out, 48, "head %d.%d", p->layer, p->head); break;
    case SD_PART_REST: snprintf(out, 48, "attn rest %d", p->layer); break;
    case SD_PART_MLP: snprintf(out, 48, "mlp %d", p->layer); break;
    case SD_PART_FEATURE: snprintf(out, 48, "feature %lld", (long long)p->feature); break;
    case SD_PART_B_DEC: snprintf(out, 48, "dictionary offset"); break;
    case SD_PART_DICT_ERROR: snprintf(out, 48, "dictionary error"); break;
    }
    return out;
}

typedef struct ranked { double size; int64_t at; } ranked;

static int by_size(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->size != y->size ? (x->size > y->size ? -1 : 1) : x->at < y->at ? -1 : x->at > y->at;
}

sd_status sd_attribution_order(int64_t *out, const sd_attribution *a, sd_err *err)
{
    ranked *r = NULL;
    sd_status st = sd_alloc(&r, (size_t)a->n_part * sizeof *r, "order of the parts", err);
    if (st) return st;
    for (int64_t i = 0; i < a->n_part; i++) r[i] = (ranked){fabs(a->part[i].share), i};
    qsort(r, (size_t)a->n_part, sizeof *r, by_size);
    for (int64_t i = 0; i < a->n_part; i++) out[i] = r[i].at;
    sd_free(r);
    return SD_OK;
}

sd_status sd_attribution_grid(sd_grid *g, const sd_attribution *a, sd_err *err)
{
    *g = (sd_grid){.title = "direct logit attribution", .rows_are = "layer", .cols_are = "head, and the MLP", .value = a->wrong >= 0 ? "share of the logit difference" : "share of the logit",
                   .diverging = true, .up = true};
    sd_status st = sd_grid_init(g, a->n_layer, a->n_head + 1, false, err);
    if (st) return st;
    for (int64_t i = 0; i < a->n_part; i++) {
        const sd_part *p = &a->part[i];
        if (p->kind == SD_PART_HEAD) g->v[p->layer * g->cols + p->head] = p->share;
        if (p->kind == SD_PART_MLP) g->v[p->layer * g->cols + a->n_head] = p->share;
    }
    for (int l = 0; l < a->n_layer && !st; l++) st = sd_grid_name(&g->row[l], err, "%d", l);
    for (int h = 0; h < a->n_head && !st; h++) st = sd_grid_name(&g->col[h], err, "%d", h);
    if (!st) st = sd_grid_name(&g->col[a->n_head], err, "mlp");
    if (st) sd_grid_release(g);
    else sd_grid_fit(g);
    return st;
}
