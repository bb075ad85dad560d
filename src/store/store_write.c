/* Owns: putting rows into a store that is being built, and labels into one that is edited.
 * Everything of a build is one transaction that commit closes. */
#include "store/store_int.h"

#include <math.h>

void sd_store__bind_str(sqlite3_stmt *q, int i, const char *s) { sqlite3_bind_text(q, i, s ? s : "", -1, SQLITE_STATIC); }
static void bind_slice(sqlite3_stmt *q, int i, sd_slice s)
{
    sqlite3_bind_text64(q, i, s.p ? s.p : "", s.n, SQLITE_STATIC, SQLITE_UTF8);
}
void sd_store__bind_blob(sqlite3_stmt *q, int i, const void *p, size_t n)
{
    sqlite3_bind_blob64(q, i, n ? p : "", n, SQLITE_STATIC);
}
void sd_store__bind_f64(sqlite3_stmt *q, int i, double v)
{
    if (isfinite(v)) sqlite3_bind_double(q, i, v);
    else sqlite3_bind_null(q, i);
}

sd_status sd_store_put_direction(sd_store *s, int64_t index, const uint16_t *half, sd_err *err)
{
    sqlite3_stmt *q;
    sd_status st = sd_store__stmt(s, SQL_PUT_DIRECTION, &q, err);
    if (st) return st;
    SD_ASSERT(s->kind == STORE_BUILD && s->info.dict.d > 0);
    sqlite3_bind_int64(q, 1, index);
    sd_store__bind_blob(q, 2, half, (size_t)s->info.dict.d * sizeof *half);
    return sd_store__run(s, q, "writing a direction", err);
}

static sd_status put_row(sd_store *s, const char *sql, void (*bind)(sqlite3_stmt *q, const sd_store_info *in),
                         const sd_store_info *in, sd_err *err)
{
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) != SQLITE_OK)
        return sd_store__fail(s->db, s->path, "preparing a statement", err);
    bind(q, in);
    sd_status st = sd_store__run(s, q, "writing what was studied", err);
    sqlite3_finalize(q);
    return st;
}

static void bind_model(sqlite3_stmt *q, const sd_store_info *in)
{
    sd_store__bind_str(q, 1, in->model.name);
    sd_store__bind_str(q, 2, in->model.sha256);
    sqlite3_bind_int64(q, 3, in->model.n_layer);
    sqlite3_bind_int64(q, 4, in->model.d_model);
    sqlite3_bind_int64(q, 5, in->model.n_vocab);
}

static void bind_dict(sqlite3_stmt *q, const sd_store_info *in)
{
    const sd_store_dict *d = &in->dict;
    sd_store__bind_str(q, 1, d->kind);
    sd_store__bind_str(q, 2, d->site);
    sd_store__bind_str(q, 3, d->sha256);
    sd_store__bind_str(q, 4, d->dataset);
    sqlite3_bind_int64(q, 5, d->d);
    sqlite3_bind_int64(q, 6, d->m);
    sqlite3_bind_int64(q, 7, d->k);
    sqlite3_bind_int64(q, 8, d->n_dead);
    sqlite3_bind_int64(q, 9, d->n_tokens);
    sd_store__bind_f64(q, 10, d->site_rms);
    sd_store__bind_f64(q, 11, d->fvu);
    sd_store__bind_f64(q, 12, d->l0);
    sqlite3_bind_int64(q, 13, (int64_t)d->seed);
}

static void bind_run(sqlite3_stmt *q, const sd_store_info *in)
{
    const sd_store_run *r = &in->run;
    sd_store__bind_str(q, 1, r->tool);
    sd_store__bind_str(q, 2, r->created);
    sd_store__bind_str(q, 3, r->mode);
    sd_store__bind_str(q, 4, r->isa);
    sd_store__bind_str(q, 5, r->args);
    sd_store__bind_str(q, 6, r->data_sha256);
    sqlite3_bind_int64(q, 7, r->n_threads);
    sqlite3_bind_int64(q, 8, r->n_tokens);
    sqlite3_bind_int64(q, 9, r->n_docs);
    sqlite3_bind_int64(q, 10, r->n_sinks);
    sqlite3_bind_int64(q, 11, r->before);
    sqlite3_bind_int64(q, 12, r->after);
    sqlite3_bind_int64(q, 13, (int64_t)r->seed);
}

sd_status sd_store_put_info(sd_store *s, const sd_store_info *info, sd_err *err)
{
    SD_ASSERT(s->kind == STORE_BUILD);
    sd_status st = put_row(s, "INSERT INTO model VALUES (1, ?1, ?2, ?3, ?4, ?5)", bind_model, info, err);
    if (!st)
        st = put_row(s, "INSERT INTO dict VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)", bind_dict, info,
                     err);
    if (!st)
        st = put_row(s, "INSERT INTO run VALUES (1, 'features', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                     bind_run, info, err);
    if (!st) s->info = *info;
    return st;
}

sd_status sd_store_put_token(sd_store *s, int32_t id, sd_slice bytes, bool special, sd_err *err)
{
    sqlite3_stmt *q;
    sd_status st = sd_store__stmt(s, SQL_PUT_TOKEN, &q, err);
    if (st) return st;
    sqlite3_bind_int(q, 1, id);
    sd_store__bind_blob(q, 2, bytes.p, bytes.n);
    sqlite3_bind_int(q, 3, special);
    return sd_store__run(s, q, "writing a token", err);
}

sd_status sd_store_put_doc(sd_store *s, int32_t doc, const char *name, const int32_t *tok, int64_t n, sd_err *err)
{
    sqlite3_stmt *q;
    sd_status st = sd_store__stmt(s, SQL_PUT_DOC, &q, err);
    if (st) return st;
    sqlite3_bind_int(q, 1, doc);
    sd_store__bind_str(q, 2, name);
    sqlite3_bind_int64(q, 3, n);
    if ((st = sd_store__run(s, q, "writing a document", err))) return st;
    if ((st = sd_store__stmt(s, SQL_PUT_CORPUS, &q, err))) return st;
    for (int64_t at = 0; at < n && !st; at += CORPUS_CHUNK) {
        uint8_t bytes[CORPUS_CHUNK * 4];
        int64_t c = n - at < CORPUS_CHUNK ? n - at : CORPUS_CHUNK;
        for (int64_t i = 0; i < c; i++) {
            uint32_t u = (uint32_t)tok[at + i];
            for (int b = 0; b < 4; b++) bytes[i * 4 + b] = (uint8_t)(u >> (8 * b));
        }
        sqlite3_bind_int(q, 1, doc);
        sqlite3_bind_int64(q, 2, at);
        sd_store__bind_blob(q, 3, bytes, (size_t)c * 4);
        st = sd_store__run(s, q, "writing a document", err);
    }
    return st;
}

/* Encodes one blob after the other into s->blob; they are bound once all are there, for the buffer moves as it grows. */
static sd_status bind_feature_blobs(sd_store *s, sqlite3_stmt *q, const sd_feature *f, sd_err *err)
{
    static const int column[6] = {9, 12, 13, 14, 15, 16};
    size_t end[6];
    sd_buf *b = &s->blob;
    sd_buf_reset(b);
    sd_store__put_hist(b, &f->hist);
    end[0] = b->n;
    sd_store__put_logits(b, f->top, f->n_top);
    end[1] = b->n;
    sd_store__put_logits(b, f->bottom, f->n_bottom);
    end[2] = b->n;
    sd_store__put_near(b, f->near, f->n_near);
    end[3] = b->n;
    sd_store__put_fires(b, f->token, f->n_token);
    end[4] = b->n;
    sd_store__put_intervals(b, f->interval, f->n_interval);
    end[5] = b->n;
    sd_status st = sd_buf_check(b, "a feature", err);
    for (size_t i = 0, at = 0; i < 6 && !st; at = end[i++]) sd_store__bind_blob(q, column[i], b->p + at, end[i] - at);
    return st;
}

static sd_status put_examples(sd_store *s, const sd_feature *f, sd_err *err)
{
    sqlite3_stmt *q;
    sd_status st = sd_store__stmt(s, SQL_PUT_EXAMPLE, &q, err);
    for (int i = 0; i < f->n_example && !st; i++) {
        const sd_example *e = &f->example[i];
        SD_ASSERT(e->n > 0 && e->n <= SD_FEATURE_WINDOW_MAX && e->pos >= e->pos0 && e->pos < e->pos0 + e->n);
        sd_buf_reset(&s->blob);
        sd_store__put_values(&s->blob, e->val, e->n, (float)f->stats.max_act);
        if ((st = sd_buf_check(&s->blob, "an example", err))) break;
        sqlite3_bind_int64(q, 1, f->stats.index);
        sqlite3_bind_int(q, 2, e->group);
        sqlite3_bind_int(q, 3, e->rank);
        sqlite3_bind_int(q, 4, e->doc);
        sqlite3_bind_int(q, 5, e->pos);
        sqlite3_bind_int(q, 6, e->pos0);
        sqlite3_bind_int(q, 7, e->n);
        sqlite3_bind_double(q, 8, (double)e->act);
        sd_store__bind_blob(q, 9, s->blob.p, s->blob.n);
        st = sd_store__run(s, q, "writing an example", err);
    }
    return st;
}

sd_status sd_store_put_feature(sd_store *s, const sd_feature *f, const sd_feature_text *text, sd_err *err)
{
    sqlite3_stmt *q;
    const sd_feature_stats *a = &f->stats;
    sd_status st = sd_store__stmt(s, SQL_PUT_FEATURE, &q, err);
    if (st) return st;
    const double reals[] = {a->density, a->max_act, a->mean_act, a->interest, a->threshold};
    if (!sd_store__stats_fit(a)) return sd_fail(err, SD_E_FAIL, "feature %" PRId64 ": its statistics are out of their bounds", a->index);
    sqlite3_bind_int64(q, 1, a->index);
    sqlite3_bind_int64(q, 2, a->n_fire);
    for (int i = 0; i < 5; i++) sqlite3_bind_double(q, 3 + i, reals[i]);
    sd_store__bind_str(q, 8, f->words);
    sqlite3_bind_double(q, 10, f->logit_mean);
    sqlite3_bind_double(q, 11, f->logit_std);
    if ((st = bind_feature_blobs(s, q, f, err))) return st;
    if ((st = sd_store__run(s, q, "writing a feature", err))) return st;
    if ((st = put_examples(s, f, err)) || !text) return st;
    if ((st = sd_store__stmt(s, SQL_PUT_TEXT, &q, err))) return st;
    sqlite3_bind_int64(q, 1, a->index);
    bind_slice(q, 2, text->peak);
    bind_slice(q, 3, text->logits);
    bind_slice(q, 4, text->context);
    return sd_store__run(s, q, "writing the words of a feature", err);
}

sd_status sd_store_labels_begin(sd_store *s, sd_err *err)
{
    SD_ASSERT(s->kind == STORE_EDIT);
    return sd_store__exec(s->db, s->path, "BEGIN IMMEDIATE", "writing labels", err);
}

sd_status sd_store_labels_end(sd_store *s, sd_status st, sd_err *err)
{
    return sd_store__commit(s, st, "writing labels", err);
}

sd_status sd_store_add_label(sd_store *s, int64_t index, const sd_label *label, sd_err *err)
{
    static const char *const sql[2] = {
        "INSERT INTO label (feature, text, source, author, created, score, detection, fuzzing, floor, n_case, args, shown)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        "INSERT INTO label_text (rowid, text) VALUES (last_insert_rowid(), ?2)"};
    const bool alone = sqlite3_get_autocommit(s->db);
    sd_status st = SD_OK;
    SD_ASSERT(s->kind == STORE_EDIT);
    if (index < 0 || index >= s->info.dict.m) return sd_store__no_feature(s, index, err);
    if (!label->text || !label->text[0]) return sd_fail(err, SD_E_ARG, "the label of feature %" PRId64 " is empty", index);
    if (alone && (st = sd_store_labels_begin(s, err))) return st;
    for (int i = 0; i < 2 && !st; i++) {
        sqlite3_stmt *q = NULL;
        if (sqlite3_prepare_v2(s->db, sql[i], -1, &q, NULL) != SQLITE_OK) {
            st = sd_store__fail(s->db, s->path, "preparing a statement", err);
            break;
        }
        sd_store__bind_str(q, 2, label->text);
        if (i == 0) {
            sqlite3_bind_int64(q, 1, index);
            sd_store__bind_str(q, 3, label->source);
            sd_store__bind_str(q, 4, label->author);
            sd_store__bind_str(q, 5, label->created);
            sd_store__bind_f64(q, 6, label->score);
            sd_store__bind_f64(q, 7, label->n_case ? label->detection : (double)NAN);
            sd_store__bind_f64(q, 8, label->n_case ? label->fuzzing : (double)NAN);
            sd_store__bind_f64(q, 9, label->n_case ? label->floor : (double)NAN);
            sqlite3_bind_int64(q, 10, label->n_case);
            sd_store__bind_str(q, 11, label->args);
            sqlite3_bind_int(q, 12, !label->hidden);
        }
        st = sd_store__run(s, q, "writing a label", err);
        sqlite3_finalize(q);
    }
    return alone ? sd_store_labels_end(s, st, err) : st;
}
