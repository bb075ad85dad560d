/* Owns: the order of the work and its memory. Leaves the codes to codelog.c, the choice of examples to feature_study.c,
 * neighbours and logits to their files, SQL to the store.
 *
 * Why the codes are kept and not the examples: with all entries of a feature at hand its maximum, intervals and quantiles are exact, the
 * values of a window are looked up instead of computed again, and the top-k membership of every value is the dictionary's own. Keeping
 * examples while streaming needs guesses of the bounds, and 65 values for each of 70 x m of them. */
#include "lab/dashboard.h"

#include "base/par.h"
#include "lab/cross.h"
#include "lab/feature_places.h"
#include "lab/feature_study.h"
#include "lab/feature_words.h"
#include "lab/interest.h"
#include "lab/logit_effect.h"
#include "lab/feature_map.h"
#include "lab/neighbours.h"
#include "num/kern_dict.h"
#include "num/stats.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

/* Features put together at a time: enough work for a few threads, about 6 MB of windows. */
enum { BLOCK = 256 };

typedef struct build {
    const sd_exec *ex;
    const sd_features_in *in;
    sd_features_opt opt;
    sd_study_opt study_opt;
    const sd_progress *progress;
    sd_features_result *res;
    int64_t m, d, d_out;

    sd_rows rows;
    sd_codelog *log;
    sd_codes codes;
    uint8_t *keep;          /* [cap_keep] rows of a block that count */
    int64_t cap_keep;
    double max_norm;

    sd_store *store;
    int32_t *near;          /* [m, n_near] */
    float *cosine;
    sd_postings post;
    sd_feature_places places;
    sd_study *study;
    sd_interest *interest;
    sd_logit_effect *logits;
    sd_logit_lists lists[BLOCK];
    sd_interest_parts parts[BLOCK];
    sd_study_slot slot[BLOCK];
    sd_feature_words words;
    const sd_kern_dict *kern;
    float *unit;            /* [d_out] */
    uint16_t *half;         /* [d_out] */
} build;

static int or_default(int v, int def) { return v > 0 ? v : def; }

static void set_options(build *b, const sd_features_opt *opt)
{
    sd_features_opt *o = &b->opt;
    *o = *opt;
    o->n_top = or_default(o->n_top, 20);
    o->n_intervals = or_default(o->n_intervals, 10);
    o->per_interval = or_default(o->per_interval, 5);
    o->hist_bins = or_default(o->hist_bins, 50);
    o->n_logits = or_default(o->n_logits, 15);
    o->n_near = or_default(o->n_near, 10);
    o->n_fires = or_default(o->n_fires, 10);
    o->before = or_default(o->before, 48);
    o->after = or_default(o->after, 16);
    if (!(o->sink > 0)) o->sink = SD_SINK_FACTOR;
    if (!o->budget_bytes) o->budget_bytes = (size_t)24 << 20;
    b->study_opt = (sd_study_opt){.n_top = o->n_top, .n_intervals = o->n_intervals, .per_interval = o->per_interval,
                                  .hist_bins = o->hist_bins, .n_fires = o->n_fires, .before = o->before, .after = o->after,
                                  .seed = o->seed};
}

static sd_status check(const build *b, sd_err *err)
{
    const sd_features_opt *o = &b->opt;
    if (b->in->source.d != b->d) {
        sd_fail(err, SD_E_SHAPE, "the dictionary is of vectors of %" PRId64 " numbers, the activations have %" PRId64, b->d, b->in->source.d);
        return sd_hint(err, "is it a dictionary of this model and site?");
    }
    if (o->before + o->after >= SD_FEATURE_WINDOW_MAX)
        return sd_fail(err, SD_E_ARG, "a window of %d tokens; at most %d are kept", o->before + 1 + o->after, SD_FEATURE_WINDOW_MAX);
    if (o->n_intervals > 64 || o->per_interval > 40 || o->n_top > 200 || o->hist_bins > SD_FEATURE_LIST_MAX ||
        o->n_logits > 100 || o->n_near > 100 || o->n_fires > 100)
        return sd_fail(err, SD_E_ARG, "at most 64 intervals of 40 examples, 200 top examples, %d bins, 100 entries of the other lists",
                       SD_FEATURE_LIST_MAX);
    return SD_OK;
}

static sd_status cancelled(const build *b, sd_err *err)
{
    if (!sd_progress_cancelled(b->progress)) return SD_OK;
    return sd_fail(err, SD_E_CANCELLED, "interrupted; no store was written");
}

/* Marks the rows of a block that count. The limit of sinks is taken from the dictionary's own mean token norm where it is known (sinks
 * did not count in it), else from the median of the first block. */
static sd_status mark_rows(build *b, const sd_act_block *x, sd_err *err)
{
    int64_t n = x->x.rows;
    if (n > b->cap_keep) {
        sd_free(b->keep);
        b->keep = NULL;
        sd_status st = sd_alloc(&b->keep, (size_t)n, "marks of rows", err);
        if (st) return st;
        b->cap_keep = n;
    }
    if (b->max_norm == 0) {
        sd_status st = sd_median_norm(&b->max_norm, x->x, err);
        if (st) return st;
        b->max_norm *= b->opt.sink;
    }
    for (int64_t i = 0; i < n; i++) {
        const float *v = sd_mat_row(x->x, i);
        double norm = sqrt((double)b->ex->kern->dot(v, v, b->d));
        b->keep[i] = norm <= b->max_norm;
        b->res->n_sinks += !b->keep[i];
    }
    return SD_OK;
}

static sd_status take_block(build *b, sd_act_block x, sd_err *err)
{
    sd_status st;
    if (b->opt.max_rows && b->rows.n + x.x.rows > b->opt.max_rows) x.x.rows = b->opt.max_rows - b->rows.n;
    int32_t n_vocab = sd_tok_n_vocab(b->in->tok);
    for (int64_t i = 0; i < x.x.rows; i++)
        if (x.token_id[i] >= n_vocab)
            return sd_fail(err, SD_E_FORMAT, "row %" PRId64 " of the activations has token %d of a vocabulary of %d", b->rows.n + i,
                           x.token_id[i], n_vocab);
    if ((st = mark_rows(b, &x, err))) return st;
    double t0 = sd_now();
    if ((st = sd_dict_encode(&b->codes, b->ex, b->in->dict, x.x, err))) return st;
    b->res->encode_s += sd_now() - t0;
    /* Every row keeps its place, so that windows show it; one that does not count has no codes. */
    if ((st = sd_rows_put(&b->rows, x.token_id, x.doc, x.pos, x.x.rows, err))) return st;
    return sd_codelog_put(b->log, &b->codes, b->keep, err);
}

static sd_status pass(build *b, sd_err *err)
{
    sd_status st = sd_codelog_new(&b->log, b->opt.path, b->m, err);
    while (!st && !(st = cancelled(b, err))) {
        sd_act_block x = {0};
        double t0 = sd_now();
        if ((st = b->in->source.next(b->in->source.self, &x, err))) break;
        b->res->source_s += sd_now() - t0;
        if (x.x.rows == 0) break;
        if ((st = take_block(b, x, err))) break;
        sd_progress_update(b->progress, "tokens", (double)b->rows.n, (double)b->in->n_rows, NULL);
        if (b->opt.max_rows && b->rows.n >= b->opt.max_rows) break;
    }
    sd_codes_release(&b->codes);
    if (st) return st;
    b->res->n_codes = sd_codelog_nnz(b->log);
    b->res->n_tokens = b->rows.n - b->res->n_sinks;
    if (b->res->n_tokens == 0) {
        sd_fail(err, SD_E_FORMAT, "the corpus gave no token to look at (%" PRId64 " rows, %" PRId64 " of them sinks)", b->rows.n, b->res->n_sinks);
        return sd_hint(err, "give more text, or look at the norms with `sonde trace`");
    }
    b->res->l0 = (double)b->res->n_codes / (double)b->res->n_tokens;
    if ((st = sd_rows_finish(&b->rows, err))) return st;
    b->res->n_docs = b->rows.n_docs;
    return SD_OK;
}

static void copy(char *out, size_t cap, const char *s) { snprintf(out, cap, "%s", s ? s : ""); }

static void fill_info(const build *b, sd_store_info *o)
{
    const sd_dict_info *d = sd_dict_get_info(b->in->dict);
    const sd_prov *p = b->in->prov;
    char site[SD_CROSS_NAME];
    *o = (sd_store_info){0};
    copy(o->model.name, sizeof o->model.name, b->in->model_name ? b->in->model_name : d->model_name);
    copy(o->model.sha256, sizeof o->model.sha256, b->in->model_sha256 ? b->in->model_sha256 : d->model_sha256);
    o->model.n_layer = b->in->n_layer;
    o->model.d_model = b->in->model ? b->in->model->cfg.d_model : b->d;
    o->model.n_vocab = sd_tok_n_vocab(b->in->tok);
    copy(o->dict.kind, sizeof o->dict.kind, sd_dict_kind_name(d->kind));
    copy(o->dict.site, sizeof o->dict.site, sd_cross_site_of(site, b->in->dict));
    copy(o->dict.dataset, sizeof o->dict.dataset, d->dataset);
    o->dict.d = d->d_out, o->dict.m = d->m, o->dict.k = d->k, o->dict.n_dead = d->n_dead, o->dict.n_tokens = d->n_tokens;
    o->dict.site_rms = d->site_rms, o->dict.fvu = d->fvu, o->dict.l0 = d->l0, o->dict.seed = d->seed;
    o->run.n_tokens = b->res->n_tokens, o->run.n_docs = b->res->n_docs, o->run.n_sinks = b->res->n_sinks;
    o->run.before = b->opt.before, o->run.after = b->opt.after, o->run.seed = b->opt.seed;
    if (!p) return;
    copy(o->dict.sha256, sizeof o->dict.sha256, p->dict_sha256);
    copy(o->run.tool, sizeof o->run.tool, p->tool);
    copy(o->run.created, sizeof o->run.created, p->created);
    copy(o->run.mode, sizeof o->run.mode, p->mode);
    copy(o->run.isa, sizeof o->run.isa, p->isa);
    copy(o->run.data_sha256, sizeof o->run.data_sha256, p->data_sha256);
    copy(o->run.args, sizeof o->run.args, p->args);
    o->run.n_threads = p->n_threads;
}

static const char *document_name(const void *corpus, int32_t doc)
{
    return corpus && doc < sd_corpus_count(corpus) ? sd_corpus_name(corpus, doc) : NULL;
}

static sd_status write_corpus(build *b, sd_err *err)
{
    sd_store_info info;
    fill_info(b, &info);
    double t0 = sd_now();
    sd_status st = sd_store_put_info(b->store, &info, err);
    for (int32_t id = 0; id < sd_tok_n_vocab(b->in->tok) && !st; id++)
        st = sd_store_put_token(b->store, id, sd_tok_bytes(b->in->tok, id), sd_tok_is_special(b->in->tok, id), err);
    if (!st) st = sd_rows_store(&b->rows, b->store, document_name, b->in->corpus, err);
    b->res->write_s += sd_now() - t0;
    return st;
}

static sd_status prepare(build *b, sd_err *err)
{
    sd_status st;
    int64_t max_count = 0;
    size_t cells = (size_t)b->m * (size_t)b->opt.n_near;
    double t0 = sd_now();
    b->kern = sd_kern_dict_select(b->ex->cpu.flags);
    if ((st = sd_alloc(&b->unit, (size_t)b->d_out * sizeof *b->unit, "a direction", err))) return st;
    if ((st = sd_alloc(&b->half, (size_t)b->d_out * sizeof *b->half, "a direction", err))) return st;
    if ((st = sd_alloc(&b->near, cells * sizeof *b->near, "neighbours", err))) return st;
    if ((st = sd_alloc(&b->cosine, cells * sizeof *b->cosine, "neighbours", err))) return st;
    if ((st = sd_lab_neighbours(b->near, b->cosine, b->opt.n_near, b->ex, b->in->dict, b->progress, err))) return st;
    b->res->near_s = sd_now() - t0;
    for (int64_t f = 0; f < b->m; f++)
        if (sd_codelog_counts(b->log)[f] > max_count) max_count = sd_codelog_counts(b->log)[f];
    const sd_study_size size = {b->res->n_tokens, sd_tok_n_vocab(b->in->tok), max_count, b->ex->n_threads};
    if ((st = sd_feature_places_init(&b->places, &b->rows, err))) return st;
    if ((st = sd_study_new(&b->study, &b->rows, &b->study_opt, &size, err))) return st;
    if ((st = sd_interest_new(&b->interest, &b->rows, b->in->tok, err))) return st;
    if ((st = sd_logit_effect_new(&b->logits, b->ex, b->in->model, b->in->dict, b->opt.n_logits, err))) return st;
    for (int i = 0; i < BLOCK && i < b->m && !st; i++)
        st = sd_study_slot_init(&b->slot[i], &b->study_opt, b->opt.n_logits, b->opt.n_near, err);
    return st;
}

static void logits_of_block(build *b, int64_t f0, int64_t n)
{
    double t0 = sd_now();
    for (int64_t i = 0; i < n; i++) {
        sd_feature *f = &b->slot[i].f;
        b->lists[i] = (sd_logit_lists){.top = (sd_token_logit *)(uintptr_t)f->top, .bottom = (sd_token_logit *)(uintptr_t)f->bottom};
        f->n_top = f->n_bottom = 0;
    }
    for (int64_t i = 0; i < n && b->logits; i += SD_LOGIT_BLOCK)
        sd_logit_effect_run(&b->lists[i], b->logits, f0 + i, n - i < SD_LOGIT_BLOCK ? n - i : SD_LOGIT_BLOCK);
    for (int64_t i = 0; i < n && b->logits; i++) {
        sd_feature *f = &b->slot[i].f;
        while (f->n_top < b->opt.n_logits && f->top[f->n_top].id >= 0) f->n_top++;
        f->n_bottom = f->n_top;
    }
    b->res->logits_s += sd_now() - t0;
}

typedef struct block_job { build *b; int64_t f0; } block_job;

static void study_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const block_job *j = arg;
    build *b = j->b;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        sd_feature *f = &b->slot[i].f;
        int64_t id = j->f0 + i;
        sd_near *near = (sd_near *)(uintptr_t)f->near;
        sd_study_run(&b->slot[i], b->study, &b->post, id, sd_par_worker());
        f->logit_mean = b->lists[i].mean;
        f->logit_std = b->lists[i].std;
        /* A dictionary that nobody calibrated: the lowest activation that was seen. */
        if (sd_dict_has_threshold(b->in->dict)) f->stats.threshold = (double)sd_dict_threshold(b->in->dict, id);
        else f->stats.threshold = f->n_interval ? (double)f->interval[f->n_interval - 1].lo : 0;
        b->parts[i] = sd_interest_of(b->interest, f, b->lists[i].peak);
        for (f->n_near = 0; f->n_near < b->opt.n_near; f->n_near++) {
            int64_t at = id * b->opt.n_near + f->n_near;
            if (b->near[at] < 0) break;
            near[f->n_near] = (sd_near){b->near[at], b->cosine[at]};
        }
    }
}

/* At unit length a half is off by at most 2^-11 of each number: the cosine of two rows by under 1e-3. All before the first feature:
 * they are read together. */
static sd_status put_directions(build *b, sd_err *err)
{
    sd_status st = SD_OK;
    double t0 = sd_now();
    for (int64_t f = 0; f < b->m && !st; f++) {
        sd_lab_unit_row(b->unit, sd_dict_dec_row(b->in->dict, f), b->d_out);
        b->kern->f32_to_f16(b->half, b->unit, b->d_out);
        st = sd_store_put_direction(b->store, f, b->half, err);
    }
    b->res->write_s += sd_now() - t0;
    return st;
}

static sd_status put_postings(build *b, int64_t f, sd_err *err)
{
    const int64_t a = b->post.start[f - b->post.f0], n = b->post.start[f - b->post.f0 + 1] - a;
    return sd_feature_places_put(&b->places, b->store, f, b->post.row + a, b->post.val + a, n, err);
}

static sd_slice tok_bytes(const void *self, int32_t id) { return sd_tok_bytes(self, id); }

/* The rows of all tables are written feature by feature, so that their pages do not depend on how the features are cut into blocks. */
static sd_status do_block(build *b, int64_t f0, int64_t n, sd_err *err)
{
    const sd_vocab vocab = {tok_bytes, b->in->tok};
    sd_status st = SD_OK;
    logits_of_block(b, f0, n);
    double t0 = sd_now();
    block_job j = {b, f0};
    sd_parallel_for(b->ex->n_threads, n, 4, study_chunk, &j);
    double t1 = sd_now();
    b->res->study_s += t1 - t0;
    for (int64_t i = 0; i < n && !st; i++) {
        sd_feature *f = &b->slot[i].f;
        sd_feature_text text;
        if ((st = put_postings(b, f0 + i, err))) break;
        if ((st = sd_feature_words_of(&b->words, f, &vocab, &text, err))) break;
        f->stats.interest = sd_interest_score(&b->parts[i], b->words.n_words, b->words.letters);
        st = sd_store_put_feature(b->store, f, f->stats.n_fire ? &text : NULL, err);
        b->res->n_alive += f->stats.n_fire > 0;
        b->res->n_examples += f->n_example;
    }
    b->res->write_s += sd_now() - t1;
    return st;
}

static sd_status features(build *b, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t f0 = 0; f0 < b->m && !st;) {
        int64_t f1 = sd_codelog_range(b->log, f0, b->opt.budget_bytes);
        double t0 = sd_now();
        if ((st = sd_codelog_postings(&b->post, b->log, f0, f1, err))) break;
        b->res->study_s += sd_now() - t0;
        for (; f0 < f1 && !st; f0 += BLOCK) {
            if ((st = cancelled(b, err))) break;
            st = do_block(b, f0, f1 - f0 < BLOCK ? f1 - f0 : BLOCK, err);
            sd_progress_update(b->progress, "features", (double)f0, (double)b->m, NULL);
        }
        f0 = f1;
    }
    return st;
}

static void release(build *b)
{
    sd_store_abort(b->store);
    for (int i = 0; i < BLOCK; i++) sd_study_slot_release(&b->slot[i]);
    sd_feature_words_release(&b->words);
    sd_logit_effect_free(b->logits);
    sd_interest_free(b->interest);
    sd_study_free(b->study);
    sd_postings_release(&b->post);
    sd_codelog_free(b->log);
    sd_codes_release(&b->codes);
    sd_feature_places_release(&b->places);
    sd_rows_release(&b->rows);
    sd_free(b->unit);
    sd_free(b->half);
    sd_free(b->near);
    sd_free(b->cosine);
    sd_free(b->keep);
    sd_free(b);
}

sd_status sd_lab_features_build(sd_features_result *out, const sd_exec *ex, const sd_features_in *in, const sd_features_opt *opt,
                                const sd_progress *progress, sd_err *err)
{
    build *b = NULL;
    struct stat sb;
    double t0 = sd_now();
    *out = (sd_features_result){0};
    sd_status st = sd_alloc_zero(&b, sizeof *b, "the features", err);
    if (st) return st;
    const sd_dict_info *d = sd_dict_get_info(in->dict);
    b->ex = ex, b->in = in, b->progress = progress, b->res = out, b->m = d->m, b->d = d->d, b->d_out = d->d_out;
    set_options(b, opt);
    sd_feature_words_init(&b->words);
    if (d->site_rms > 0) b->max_norm = b->opt.sink * d->site_rms;
    out->n_features = b->m;
    if ((st = check(b, err))) goto done;
    if ((st = sd_store_create(&b->store, b->opt.path, b->opt.force, err))) goto done; /* before the long part: a path that cannot be written */
    if ((st = pass(b, err))) goto done;
    if ((st = write_corpus(b, err))) goto done;
    if ((st = prepare(b, err))) goto done;
    if ((st = put_directions(b, err))) goto done;
    if ((st = features(b, err))) goto done;
    double t1 = sd_now();
    st = sd_store_commit(b->store, err);
    b->store = NULL;
    out->write_s += sd_now() - t1;
    if (!st && stat(b->opt.path, &sb) == 0) out->store_bytes = (uint64_t)sb.st_size;
done:
    out->total_s = sd_now() - t0;
    release(b);
    return st;
}
