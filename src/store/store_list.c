/* Owns: lists of features: sorted, searched by words, near another.
 *
 * Search: the query's words are quoted, so no text is FTS5 syntax. Three passes fill the list: features with a label that has
 * all words, those whose text has all words, those with any word (order: store_rank.c; labels by bm25). Both are better when lower; the
 * sign is turned. The passes have no LIMIT: rows of features that are in the list already (many labels of one feature, the second pass
 * over the first) must not use it up. */
#include "store/store_int.h"

#include <math.h>

enum { DEFAULT_LIMIT = 20, MAX_LIMIT = 100000, BRIEF_LOGITS = 5, MAX_WORDS = 32 };
/* Above any score of a query of a few words (each word gives at most weight x idf, 12 x ln(m) ~ 170 at a million features). */
#define LABEL_BONUS 1000.0

typedef struct list_mem {
    store_pool pool;
    uint8_t *seen; /* a search: a bit a feature, set when it was counted */
} list_mem;

void sd_feature_list_release(sd_feature_list *l)
{
    list_mem *m = l->mem;
    if (m) sd_store__pool_release(&m->pool);
    if (m) sd_free(m->seen);
    sd_free(m);
    sd_free(l->v);
    *l = (sd_feature_list){0};
}

sd_status sd_store__brief(sd_store *s, store_pool *p, sqlite3_stmt *q, sd_feature_brief *out, sd_err *err)
{
    const store_limits lim = {s->info.model.n_vocab, s->info.dict.m};
    *out = (sd_feature_brief){0};
    const sd_status st = sd_store__stats(&out->stats, s, q, err);
    if (st) return st;
    if (out->stats.index < 0 || out->stats.index >= s->info.dict.m)
        return sd_store__damaged(s, err, "it has a feature %" PRId64 " of %" PRId64, out->stats.index, s->info.dict.m);
    sd_slice words = sd_store__text(q, 7);
    out->words = sd_store__push_str(p, words.p, words.n);
    if (sqlite3_column_type(q, 9) != SQLITE_NULL) {
        sd_slice label = sd_store__text(q, 9);
        out->label = sd_store__push_str(p, label.p, label.n);
    }
    out->label_score = sqlite3_column_type(q, 10) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(q, 10);
    if (!out->words || (!out->label && sqlite3_column_type(q, 9) != SQLITE_NULL))
        return sd_fail(err, SD_E_NOMEM, "out of memory: a list of features");
    if (!sd_store__get_logits(p, sd_store__blob(q, 8), &lim, &out->top, &out->n_top))
        return p->failed ? sd_fail(err, SD_E_NOMEM, "out of memory: a list of features") : sd_store__damaged(s, err, "feature %" PRId64 ": its list of raised logits is damaged", out->stats.index);
    if (out->n_top > BRIEF_LOGITS) out->n_top = BRIEF_LOGITS;
    return SD_OK;
}

sd_status sd_store__list_init(sd_feature_list *l, int64_t cap, sd_err *err)
{
    *l = (sd_feature_list){0};
    sd_status st = sd_alloc_zero(&l->mem, sizeof(list_mem), "a list of features", err);
    if (!st) st = sd_alloc_zero(&l->v, (size_t)cap * sizeof *l->v, "a list of features", err);
    return st;
}

static store_pool *pool_of(sd_feature_list *l) { return &((list_mem *)l->mem)->pool; }

static int64_t clamp_limit(int64_t limit)
{
    return limit <= 0 ? DEFAULT_LIMIT : limit < MAX_LIMIT ? limit : MAX_LIMIT;
}

static double score_of(const sd_feature_stats *a, sd_feature_sort sort)
{
    switch (sort) {
    case SD_SORT_DENSITY: return a->density;
    case SD_SORT_MAX_ACT: return a->max_act;
    case SD_SORT_INDEX:
    case SD_SORT_INTEREST:
    case SD_SORT_COUNT: break;
    }
    return a->interest;
}

/* "+": the index that has the order is walked, and holds what the condition asks; else SQLite takes the one of densities and sorts. */
#define WHERE " FROM feature f WHERE (?1 OR f.n_fire > 0) AND +f.density >= ?2 AND +f.density <= ?3" LABELLED
/* The first is asked of the few features with a label only. A person's label counts as right. */
#define LABELLED " AND (?6 IS NULL OR (f.id IN (SELECT feature FROM label WHERE shown) AND (SELECT source = 'human' OR coalesce(score, 0) >= ?6" SHOWN_LABEL ")))"
static const char *const list_sql[SD_SORT_COUNT] = {
    [SD_SORT_INDEX] = "SELECT " BRIEF_COLUMNS WHERE " ORDER BY f.id LIMIT ?4 OFFSET ?5",
    [SD_SORT_INTEREST] = "SELECT " BRIEF_COLUMNS WHERE " ORDER BY f.interest DESC, f.id LIMIT ?4 OFFSET ?5",
    [SD_SORT_DENSITY] = "SELECT " BRIEF_COLUMNS WHERE " ORDER BY f.density DESC, f.id LIMIT ?4 OFFSET ?5",
    [SD_SORT_MAX_ACT] = "SELECT " BRIEF_COLUMNS WHERE " ORDER BY f.max_act DESC, f.id LIMIT ?4 OFFSET ?5",
};
/* Whoever fires has a density above 0; the index holds both. */
static const char count_sql[] = "SELECT count(*) FROM feature f WHERE (?1 OR f.n_fire > 0) AND f.density >= ?2 AND f.density <= ?3" LABELLED;

static void bind_query(sqlite3_stmt *q, const sd_feature_query *ask)
{
    sqlite3_bind_int(q, 1, ask->silent);
    sqlite3_bind_double(q, 2, ask->min_density);
    sqlite3_bind_double(q, 3, ask->has_max ? ask->max_density : 1.0);
    if (ask->has_label) sqlite3_bind_double(q, 6, ask->min_label_score);
}

sd_status sd_store_list(sd_feature_list *out, sd_store *s, const sd_feature_query *ask, sd_err *err)
{
    sqlite3_stmt *q = NULL;
    int64_t limit = clamp_limit(ask->limit);
    int rc = SQLITE_DONE;
    SD_ASSERT((unsigned)ask->sort < SD_SORT_COUNT);
    sd_status st = sd_store__list_init(out, limit, err);
    if (st) goto done;
    out->n_total = ask->silent ? s->info.n_features : s->info.n_alive;
    if (ask->min_density > 0 || ask->has_max || ask->has_label) {
        if (sqlite3_prepare_v2(s->db, count_sql, -1, &q, NULL) != SQLITE_OK) goto failed;
        bind_query(q, ask);
        if (sqlite3_step(q) != SQLITE_ROW) goto failed;
        out->n_total = sqlite3_column_int64(q, 0);
        sqlite3_finalize(q);
        q = NULL;
    }
    if (sqlite3_prepare_v2(s->db, list_sql[ask->sort], -1, &q, NULL) != SQLITE_OK) goto failed;
    bind_query(q, ask);
    sqlite3_bind_int64(q, 4, limit);
    sqlite3_bind_int64(q, 5, ask->offset > 0 ? ask->offset : 0);
    while (out->n < limit && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        sd_feature_brief *b = &out->v[out->n];
        if ((st = sd_store__brief(s, pool_of(out), q, b, err))) goto done;
        b->score = score_of(&b->stats, ask->sort);
        out->n++;
    }
    if (rc == SQLITE_DONE || rc == SQLITE_ROW) goto done;
failed:
    st = sd_store__fail(s->db, s->path, "listing features", err);
done:
    sqlite3_finalize(q);
    if (st) sd_feature_list_release(out);
    return st;
}

sd_status sd_store__list_add(sd_feature_list *l, sd_store *s, int64_t index, double score, sd_err *err)
{
    sqlite3_stmt *q;
    sd_status st = sd_store__stmt(s, SQL_BRIEF, &q, err);
    if (st) return st;
    sqlite3_bind_int64(q, 1, index);
    int rc = sqlite3_step(q);
    if (rc == SQLITE_ROW) {
        st = sd_store__brief(s, pool_of(l), q, &l->v[l->n], err);
        if (!st) l->v[l->n++].score = score;
    } else {
        st = rc == SQLITE_DONE ? sd_store__damaged(s, err, "feature %" PRId64 " is missing", index)
                               : sd_store__fail(s->db, s->path, "reading a feature", err);
    }
    sd_store__done(q);
    return st;
}

/* "golden gate" bridge -> "golden gate" JOINER "bridge", each quoted for FTS5. Words without a letter or digit would match
 * nothing and turn an "all words" query empty, so they are left out. Returns the number of words. */
static int quote_query(sd_buf *b, const char *query, const char *joiner)
{
    int n = 0;
    sd_buf_reset(b);
    for (const char *p = query; *p && n < MAX_WORDS;) {
        bool phrase = *p == '"';
        const char *stop = phrase ? "\"" : " \t\r\n\"";
        if (phrase) p++;
        size_t len = strcspn(p, stop);
        bool word = false;
        for (size_t i = 0; i < len; i++) {
            unsigned char c = (unsigned char)p[i];
            word |= c >= 0x80 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        }
        if (word) {
            if (n++) sd_buf_puts(b, joiner);
            sd_buf_putc(b, '"');
            sd_buf_put(b, p, len);
            sd_buf_putc(b, '"');
        }
        p += len;
        if (*p && (phrase || *p != '"')) p++;
    }
    return n;
}

static sd_status match(sd_feature_list *l, sd_store *s, const char *sql, sd_buf *words, int64_t limit, double bonus, sd_err *err)
{
    sqlite3_stmt *q = NULL;
    sd_status st = SD_OK;
    int rc = SQLITE_DONE;
    uint8_t *seen = ((list_mem *)l->mem)->seen;
    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) != SQLITE_OK)
        return sd_store__fail(s->db, s->path, "searching", err);
    sqlite3_bind_text(q, 1, sd_buf_str(words), -1, SQLITE_STATIC);
    while (!st && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        int64_t index = sqlite3_column_int64(q, 0);
        if (index < 0 || index >= s->info.dict.m) st = sd_store__damaged(s, err, "its search finds feature %" PRId64, index);
        else if (!(seen[index / 8] & 1 << index % 8)) {
            seen[index / 8] |= (uint8_t)(1 << index % 8);
            l->n_total++;
            if (l->n < limit) st = sd_store__list_add(l, s, index, bonus - sqlite3_column_double(q, 1), err);
        }
    }
    if (!st && rc != SQLITE_DONE && rc != SQLITE_ROW) st = sd_store__fail(s->db, s->path, "searching", err);
    sqlite3_finalize(q);
    return st;
}

sd_status sd_store_search(sd_feature_list *out, sd_store *s, const char *query, int64_t limit, sd_err *err)
{
    static const char by_label[] =
        "SELECT coalesce((SELECT feature FROM label WHERE id = label_text.rowid), -1), bm25(label_text) FROM label_text"
        " WHERE label_text MATCH ?1 ORDER BY 2, 1";
    static const char by_text[] =
        "SELECT rowid, feature_rank(feature_text) FROM feature_text WHERE feature_text MATCH ?1 ORDER BY 2, 1";
    sd_buf words;
    sd_buf_init(&words, 1 << 20);
    limit = clamp_limit(limit);
    sd_status st = sd_store__list_init(out, limit, err);
    if (!st) st = sd_alloc_zero(&((list_mem *)out->mem)->seen, (size_t)s->info.dict.m / 8 + 1, "a list of features", err);
    if (st) goto done;
    int n = quote_query(&words, query, " ");
    if ((st = sd_buf_check(&words, "the query", err)) || n == 0) goto done;
    if ((st = match(out, s, by_label, &words, limit, LABEL_BONUS, err))) goto done;
    if ((st = match(out, s, by_text, &words, limit, 0, err))) goto done;
    if (n > 1) {
        quote_query(&words, query, " OR ");
        if ((st = sd_buf_check(&words, "the query", err))) goto done;
        st = match(out, s, by_text, &words, limit, 0, err);
    }
done:
    sd_buf_release(&words);
    if (st) sd_feature_list_release(out);
    return st;
}

sd_status sd_store_near(sd_feature_list *out, sd_store *s, int64_t index, int64_t limit, sd_err *err)
{
    sd_feature *f = NULL;
    *out = (sd_feature_list){0};
    sd_status st = sd_store_feature(&f, s, index, -1, err);
    if (st) return st;
    if ((st = sd_store__list_init(out, f->n_near ? f->n_near : 1, err))) goto done;
    out->n_total = f->n_near;
    for (int i = 0; i < f->n_near && (limit <= 0 || out->n < limit) && !st; i++)
        st = sd_store__list_add(out, s, f->near[i].index, (double)f->near[i].cosine, err);
done:
    if (st) sd_feature_list_release(out);
    sd_feature_free(f);
    return st;
}

sd_status sd_store_some(sd_feature_list *out, sd_store *s, const int64_t *index, const double *score, int64_t n, sd_err *err)
{
    sd_status st = sd_store__list_init(out, n ? n : 1, err);
    for (int64_t i = 0; i < n && !st; i++)
        st = index[i] < 0 || index[i] >= s->info.dict.m ? sd_store__no_feature(s, index[i], err) : sd_store__list_add(out, s, index[i], score[i], err);
    out->n_total = n;
    if (st) sd_feature_list_release(out);
    return st;
}

sd_status sd_store_one(sd_feature_list *out, sd_store *s, int64_t index, sd_err *err)
{
    return sd_store_some(out, s, &index, &(double){0}, 1, err);
}
