/* Owns: reading what was studied, the vocabulary, and one whole feature with its windows.
 * Windows are put together from the corpus at read time; a window never holds more than SD_FEATURE_WINDOW_MAX tokens. */
#include "store/store_int.h"

#include <float.h>
#include <math.h>

/* Ceilings on what a file may claim; each is far above any model or dictionary that exists. */
#define MAX_VOCAB INT64_C(16777216)
#define MAX_FEATURES INT64_C(268435456)
enum { MAX_EXAMPLES = 4096, MAX_WIDTH = 1 << 22 };

sd_slice sd_store__text(sqlite3_stmt *q, int col)
{
    const char *p = (const char *)sqlite3_column_text(q, col);
    return p ? (sd_slice){p, (size_t)sqlite3_column_bytes(q, col)} : SD_LIT("");
}

sd_slice sd_store__blob(sqlite3_stmt *q, int col)
{
    const char *p = sqlite3_column_blob(q, col);
    return p ? (sd_slice){p, (size_t)sqlite3_column_bytes(q, col)} : SD_LIT("");
}

static void copy_text(char *out, size_t cap, sqlite3_stmt *q, int col)
{
    sd_slice s = sd_store__text(q, col);
    size_t n = s.n < cap - 1 ? s.n : cap - 1;
    memcpy(out, s.p, n);
    out[n] = '\0';
}

double sd_store__f64(sqlite3_stmt *q, int col)
{
    return sqlite3_column_type(q, col) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(q, col);
}

static void read_model(sqlite3_stmt *q, sd_store_info *in)
{
    copy_text(in->model.name, sizeof in->model.name, q, 0);
    copy_text(in->model.sha256, sizeof in->model.sha256, q, 1);
    in->model.n_layer = sqlite3_column_int64(q, 2);
    in->model.d_model = sqlite3_column_int64(q, 3);
    in->model.n_vocab = sqlite3_column_int64(q, 4);
}

static void read_dict(sqlite3_stmt *q, sd_store_info *in)
{
    sd_store_dict *d = &in->dict;
    copy_text(d->kind, sizeof d->kind, q, 0);
    copy_text(d->site, sizeof d->site, q, 1);
    copy_text(d->sha256, sizeof d->sha256, q, 2);
    copy_text(d->dataset, sizeof d->dataset, q, 3);
    d->d = sqlite3_column_int64(q, 4);
    d->m = sqlite3_column_int64(q, 5);
    d->k = sqlite3_column_int64(q, 6);
    d->n_dead = sqlite3_column_int64(q, 7);
    d->n_tokens = sqlite3_column_int64(q, 8);
    d->site_rms = sd_store__f64(q, 9);
    d->fvu = sd_store__f64(q, 10);
    d->l0 = sd_store__f64(q, 11);
    d->seed = (uint64_t)sqlite3_column_int64(q, 12);
}

static void read_run(sqlite3_stmt *q, sd_store_info *in)
{
    sd_store_run *r = &in->run;
    copy_text(r->tool, sizeof r->tool, q, 0);
    copy_text(r->created, sizeof r->created, q, 1);
    copy_text(r->mode, sizeof r->mode, q, 2);
    copy_text(r->isa, sizeof r->isa, q, 3);
    copy_text(r->args, sizeof r->args, q, 4);
    copy_text(r->data_sha256, sizeof r->data_sha256, q, 5);
    r->n_threads = sqlite3_column_int64(q, 6);
    r->n_tokens = sqlite3_column_int64(q, 7);
    r->n_docs = sqlite3_column_int64(q, 8);
    r->n_sinks = sqlite3_column_int64(q, 9);
    r->before = sqlite3_column_int64(q, 10);
    r->after = sqlite3_column_int64(q, 11);
    r->seed = (uint64_t)sqlite3_column_int64(q, 12);
}

static void read_counts(sqlite3_stmt *q, sd_store_info *in)
{
    in->n_features = sqlite3_column_int64(q, 0);
    in->n_alive = sqlite3_column_int64(q, 1);
}

static sd_status read_row(sd_store *s, const char *sql, void (*read)(sqlite3_stmt *q, sd_store_info *in), sd_err *err)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(q);
    sd_status st = SD_OK;
    if (rc == SQLITE_ROW) read(q, &s->info);
    else if (rc == SQLITE_DONE) st = sd_store__damaged(s, err, "it does not say what was studied");
    else st = sd_store__fail(s->db, s->path, "reading what was studied", err);
    sqlite3_finalize(q);
    return st;
}

sd_status sd_store__load_info(sd_store *s, sd_err *err)
{
    sd_status st = read_row(s, "SELECT name, sha256, n_layer, d_model, n_vocab FROM model", read_model, err);
    if (!st)
        st = read_row(s, "SELECT kind, site, sha256, dataset, d, m, k, n_dead, n_tokens, site_rms, fvu, l0, seed FROM dict",
                      read_dict, err);
    if (!st)
        st = read_row(s,
                      "SELECT tool, created, mode, isa, args, data_sha256, n_threads, n_tokens, n_docs, n_sinks, win_before,"
                      " win_after, seed FROM run WHERE kind = 'features' ORDER BY id LIMIT 1",
                      read_run, err);
    if (!st) st = read_row(s, "SELECT (SELECT count(*) FROM feature), (SELECT count(*) FROM feature WHERE density > 0)", read_counts, err);
    if (st) return st;
    if (s->info.model.n_vocab < 1 || s->info.model.n_vocab > MAX_VOCAB || s->info.dict.m < 1 || s->info.dict.m > MAX_FEATURES)
        return sd_store__damaged(s, err, "it claims %" PRId64 " tokens and %" PRId64 " features", s->info.model.n_vocab,
                                 s->info.dict.m);
    if (s->info.dict.d < 0 || s->info.dict.d > MAX_WIDTH)
        return sd_store__damaged(s, err, "it claims directions of %" PRId64 " numbers", s->info.dict.d);
    return SD_OK;
}

/* The vocabulary in three blocks. A failure leaves it absent, and every token reads as empty. */
static void load_vocabulary(sd_store *s)
{
    sqlite3_stmt *q = NULL;
    int64_t n = s->info.model.n_vocab, bytes = 0, at = 0, next = 0;
    if (sqlite3_prepare_v2(s->db, "SELECT coalesce(sum(length(bytes)), 0) FROM token", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        bytes = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    q = NULL;
    s->token_at = sd_calloc((size_t)(n + 1) * sizeof *s->token_at);
    s->token_special = sd_calloc((size_t)n);
    s->token_bytes = bytes >= 0 ? sd_malloc((size_t)bytes + 1) : NULL;
    if (!s->token_at || !s->token_special || !s->token_bytes ||
        sqlite3_prepare_v2(s->db, "SELECT id, bytes, special FROM token ORDER BY id", -1, &q, NULL) != SQLITE_OK)
        goto done;
    while (sqlite3_step(q) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(q, 0);
        sd_slice b = sd_store__blob(q, 1);
        if (id < next || id >= n || (int64_t)b.n > bytes - at) continue;
        while (next <= id) s->token_at[next++] = at;
        memcpy(s->token_bytes + at, b.p, b.n);
        at += (int64_t)b.n;
        s->token_special[id] = sqlite3_column_int(q, 2) != 0;
    }
    while (next <= n) s->token_at[next++] = at;
done:
    sqlite3_finalize(q);
}

sd_slice sd_store_token(sd_store *s, int32_t id)
{
    if (!s->token_at) load_vocabulary(s);
    if (id < 0 || id >= s->info.model.n_vocab || !s->token_at || !s->token_bytes) return SD_LIT("");
    return (sd_slice){s->token_bytes + s->token_at[id], (size_t)(s->token_at[id + 1] - s->token_at[id])};
}

bool sd_store_token_special(sd_store *s, int32_t id)
{
    if (!s->token_at) load_vocabulary(s);
    return id >= 0 && id < s->info.model.n_vocab && s->token_special && s->token_special[id];
}

const char *sd_store_doc_name(sd_store *s, int32_t doc, char *out, size_t cap)
{
    sqlite3_stmt *q;
    out[0] = '\0';
    if (sd_store__stmt(s, SQL_DOC_NAME, &q, NULL)) return out;
    sqlite3_bind_int(q, 1, doc);
    if (sqlite3_step(q) == SQLITE_ROW) copy_text(out, cap, q, 0);
    sd_store__done(q);
    return out;
}

sd_status sd_store__no_feature(const sd_store *s, int64_t index, sd_err *err)
{
    sd_fail(err, SD_E_NOTFOUND, "feature %" PRId64 " of a store with %" PRId64, index, s->info.dict.m);
    return sd_hint(err, "features are numbered 0 to %" PRId64, s->info.dict.m - 1);
}

bool sd_store__stats_fit(const sd_feature_stats *v)
{
    return v->n_fire >= 0 && v->density >= 0 && v->density <= 1 && v->max_act >= 0 && v->max_act <= FLT_MAX && isfinite(v->mean_act) && isfinite(v->interest) && isfinite(v->threshold);
}

sd_status sd_store__stats(sd_feature_stats *out, const sd_store *s, sqlite3_stmt *q, sd_err *err)
{
    out->index = sqlite3_column_int64(q, 0);
    out->n_fire = sqlite3_column_int64(q, 1);
    out->density = sqlite3_column_double(q, 2);
    out->max_act = sqlite3_column_double(q, 3);
    out->mean_act = sqlite3_column_double(q, 4);
    out->interest = sqlite3_column_double(q, 5);
    out->threshold = sqlite3_column_double(q, 6);
    return sd_store__stats_fit(out) ? SD_OK : sd_store__damaged(s, err, "feature %" PRId64 ": its statistics are out of their bounds", out->index);
}

/* A feature and the memory of its lists: one handle for the caller. */
typedef struct owned_feature { sd_feature f; store_pool pool; } owned_feature;

static sd_status out_of_memory(sd_err *err) { return sd_fail(err, SD_E_NOMEM, "out of memory: a feature of the store"); }

/* Tokens of positions pos0 .. pos0 + n - 1; what the corpus does not have stays a gap. */
static sd_status read_window(sd_store *s, int32_t doc, int64_t pos0, int n, int32_t *tok, sd_err *err)
{
    sqlite3_stmt *q;
    sd_status st = sd_store__stmt(s, SQL_CORPUS, &q, err);
    if (st) return st;
    for (int i = 0; i < n; i++) tok[i] = SD_FEATURE_GAP;
    sqlite3_bind_int(q, 1, doc);
    sqlite3_bind_int64(q, 2, pos0 - pos0 % CORPUS_CHUNK);
    sqlite3_bind_int64(q, 3, pos0 + n - 1);
    int rc;
    while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
        int64_t at = sqlite3_column_int64(q, 0);
        sd_slice b = sd_store__blob(q, 1);
        const uint8_t *p = (const uint8_t *)b.p;
        int64_t len = (int64_t)(b.n / 4), i0 = at > pos0 ? at - pos0 : 0;
        if (at < 0 || at > INT32_MAX || at % CORPUS_CHUNK) continue;
        for (int64_t i = i0; i < n && pos0 + i - at < len; i++) {
            const uint8_t *w = p + (pos0 + i - at) * 4;
            uint32_t u = (uint32_t)w[0] | (uint32_t)w[1] << 8 | (uint32_t)w[2] << 16 | (uint32_t)w[3] << 24;
            if ((int64_t)u < s->info.model.n_vocab) tok[i] = (int32_t)u;
        }
    }
    if (rc != SQLITE_DONE) st = sd_store__fail(s->db, s->path, "reading the text of an example", err);
    sd_store__done(q);
    return st;
}

static sd_status read_example(sd_store *s, sqlite3_stmt *q, store_pool *p, const sd_feature *f, sd_example *e, sd_err *err)
{
    int64_t doc = sqlite3_column_int64(q, 2), pos = sqlite3_column_int64(q, 3), pos0 = sqlite3_column_int64(q, 4),
            n = sqlite3_column_int64(q, 5);
    double act = sqlite3_column_double(q, 6);
    if (doc < 0 || doc > INT32_MAX || n < 1 || n > SD_FEATURE_WINDOW_MAX || pos0 < 0 || pos < pos0 || pos >= pos0 + n ||
        pos > INT32_MAX - SD_FEATURE_WINDOW_MAX || !isfinite(act))
        return sd_store__damaged(s, err, "feature %" PRId64 ": an example is out of its bounds", f->stats.index);
    int32_t *tok = sd_store__push(p, (size_t)n * sizeof *tok);
    float *val = sd_store__push(p, (size_t)n * sizeof *val);
    if (!tok || !val) return out_of_memory(err);
    if (!sd_store__get_values(sd_store__blob(q, 7), val, (int)n, (float)f->stats.max_act))
        return sd_store__damaged(s, err, "feature %" PRId64 ": the values of an example are damaged", f->stats.index);
    *e = (sd_example){.group = sqlite3_column_int(q, 0), .rank = sqlite3_column_int(q, 1), .doc = (int32_t)doc,
                      .pos = (int32_t)pos, .pos0 = (int32_t)pos0, .n = (int)n, .act = (float)act, .tok = tok, .val = val};
    return read_window(s, e->doc, pos0, (int)n, tok, err);
}

static sd_status read_examples(sd_store *s, owned_feature *o, int max_example, sd_err *err)
{
    sqlite3_stmt *q;
    int cap = 0, n = 0, rc = SQLITE_DONE;
    sd_example *e = NULL;
    sd_status st = sd_store__stmt(s, SQL_EXAMPLES, &q, err);
    if (st) return st;
    sqlite3_bind_int64(q, 1, o->f.stats.index);
    sqlite3_bind_int(q, 2, max_example ? max_example : INT32_MAX);
    while (!st && (rc = sqlite3_step(q)) == SQLITE_ROW && n < MAX_EXAMPLES) {
        if (n == cap) {
            sd_example *more = sd_store__push(&o->pool, (size_t)(cap ? cap * 2 : 64) * sizeof *e);
            if (!more) {
                st = out_of_memory(err);
                break;
            }
            if (n) memcpy(more, e, (size_t)n * sizeof *e);
            e = more;
            cap = cap ? cap * 2 : 64;
        }
        st = read_example(s, q, &o->pool, &o->f, &e[n++], err);
    }
    if (!st && rc != SQLITE_DONE && rc != SQLITE_ROW) st = sd_store__fail(s->db, s->path, "reading examples", err);
    sd_store__done(q);
    o->f.example = e;
    o->f.n_example = n;
    return st;
}

static sd_status read_labels(sd_store *s, owned_feature *o, sd_err *err)
{
    sqlite3_stmt *q;
    int rc;
    sd_status st = sd_store__stmt(s, SQL_LABELS, &q, err);
    if (st) return st;
    sd_label *l = NULL;
    sqlite3_bind_int64(q, 1, o->f.stats.index);
    while ((rc = sqlite3_step(q)) == SQLITE_ROW && o->f.n_label < 100) {
        if (!l) o->f.label = l = sd_store__push(&o->pool, 100 * sizeof *l);
        const char **to[5] = {0};
        if (l) {
            sd_label *x = &l[o->f.n_label];
            to[0] = &x->text, to[1] = &x->source, to[2] = &x->author, to[3] = &x->created, to[4] = &x->args;
            x->score = sd_store__f64(q, 4);
            x->detection = sd_store__f64(q, 5);
            x->fuzzing = sd_store__f64(q, 6);
            x->floor = sd_store__f64(q, 7);
            x->n_case = sqlite3_column_int64(q, 8);
            x->hidden = !sqlite3_column_int(q, 10);
        }
        for (int i = 0; i < 5; i++) {
            sd_slice t = sd_store__text(q, i < 4 ? i : 9);
            char *copy = l ? sd_store__push_str(&o->pool, t.p, t.n) : NULL;
            if (!copy) {
                sd_store__done(q);
                return out_of_memory(err);
            }
            *to[i] = copy;
        }
        o->f.n_label++;
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) st = sd_store__fail(s->db, s->path, "reading labels", err);
    sd_store__done(q);
    return st;
}

static sd_status read_lists(sd_store *s, sqlite3_stmt *q, owned_feature *o, sd_err *err)
{
    sd_feature *f = &o->f;
    store_pool *p = &o->pool;
    const store_limits lim = {s->info.model.n_vocab, s->info.dict.m};
    sd_slice words = sd_store__text(q, 7);
    const char *bad = NULL;
    f->words = sd_store__push_str(p, words.p, words.n);
    if (!f->words) return out_of_memory(err);
    f->logit_mean = sqlite3_column_double(q, 9);
    f->logit_std = sqlite3_column_double(q, 10);
    if (!sd_store__get_hist(p, sd_store__blob(q, 8), &f->hist)) bad = "histogram";
    else if (!sd_store__get_logits(p, sd_store__blob(q, 11), &lim, &f->top, &f->n_top)) bad = "list of raised logits";
    else if (!sd_store__get_logits(p, sd_store__blob(q, 12), &lim, &f->bottom, &f->n_bottom)) bad = "list of lowered logits";
    else if (!sd_store__get_near(p, sd_store__blob(q, 13), &lim, &f->near, &f->n_near)) bad = "list of neighbours";
    else if (!sd_store__get_fires(p, sd_store__blob(q, 14), &lim, &f->token, &f->n_token)) bad = "list of tokens";
    else if (!sd_store__get_intervals(p, sd_store__blob(q, 15), &f->interval, &f->n_interval)) bad = "list of intervals";
    if (bad && p->failed) return out_of_memory(err);
    return bad ? sd_store__damaged(s, err, "feature %" PRId64 ": its %s is damaged", f->stats.index, bad) : SD_OK;
}

sd_status sd_store_feature(sd_feature **out, sd_store *s, int64_t index, int max_example, sd_err *err)
{
    sqlite3_stmt *q = NULL;
    owned_feature *o = NULL;
    *out = NULL;
    if (index < 0 || index >= s->info.dict.m) return sd_store__no_feature(s, index, err);
    sd_status st = sd_alloc_zero(&o, sizeof *o, "a feature", err);
    if (st) return st;
    if ((st = sd_store__stmt(s, SQL_FEATURE, &q, err))) goto done;
    sqlite3_bind_int64(q, 1, index);
    int rc = sqlite3_step(q);
    if (rc == SQLITE_ROW) {
        st = sd_store__stats(&o->f.stats, s, q, err);
        if (!st) st = read_lists(s, q, o, err);
    } else if (rc == SQLITE_DONE) {
        st = sd_store__damaged(s, err, "feature %" PRId64 " is missing", index);
    } else {
        st = sd_store__fail(s->db, s->path, "reading a feature", err);
    }
    if (!st && max_example >= 0) st = read_examples(s, o, max_example, err);
    if (!st) st = read_labels(s, o, err);
    if (st) goto done;
    *out = &o->f;
    o = NULL;
done:
    if (q) sd_store__done(q);
    if (o) sd_feature_free(&o->f);
    return st;
}

void sd_feature_free(sd_feature *f)
{
    if (!f) return;
    owned_feature *o = (owned_feature *)(void *)f; /* f is the first member */
    sd_store__pool_release(&o->pool);
    sd_free(o);
}
