/* Owns: how well a feature answers a word, for FTS5's ORDER BY.
 *
 * BM25 saturates after two or three occurrences, so a feature with the word in every one of its twenty windows and one with it in three were
 * alike, and one stray peak outranked a passage. Here shares of the examples count: of the peaks, and of the windows; a window is about
 * WINDOW words, and occurrences within one count once. Definition:
 *
 *   score = sum over words w of idf(w) (8 P + 2 L + 2 C),   idf = ln(1 + (N - n + 1/2) / (n + 1/2))
 *   P = peaks that are w / (peaks + FEW), C = windows with w / (windows + FEW), L = 1 where w is promoted; N features, n with w anywhere. */
#include "store/store_int.h"

#include <math.h>

/* Words of a window as it is put in (lab/feature_words.c: 25 tokens); what a share of few examples is held back by. */
enum { WINDOW = 18, FEW = 2, MAX_PHRASES = 32 };
enum { COL_PEAK, COL_LOGITS, COL_CONTEXT, N_COL };
static const double weight[N_COL] = {8, 2, 2};

typedef struct rank { double idf[MAX_PHRASES]; } rank;

static int count_row(const Fts5ExtensionApi *api, Fts5Context *at, void *n)
{
    (void)api, (void)at;
    (*(sqlite3_int64 *)n)++;
    return SQLITE_OK;
}

static void rank_free(void *p) { sd_free(p); }

/* The weights of the query's words, counted once a query. */
static int weigh(const Fts5ExtensionApi *api, Fts5Context *at, rank **out)
{
    sd_err err;
    sqlite3_int64 n_all = 0;
    *out = api->xGetAuxdata(at, 0);
    if (*out) return SQLITE_OK;
    rank *r = NULL;
    if (sd_alloc_zero(&r, sizeof *r, "weights of a query", &err)) return SQLITE_NOMEM;
    int rc = api->xRowCount(at, &n_all);
    for (int i = 0; i < api->xPhraseCount(at) && i < MAX_PHRASES && rc == SQLITE_OK; i++) {
        sqlite3_int64 n = 0;
        rc = api->xQueryPhrase(at, i, &n, count_row);
        r->idf[i] = log1p(((double)(n_all - n) + 0.5) / ((double)n + 0.5));
    }
    if (rc == SQLITE_OK) rc = api->xSetAuxdata(at, r, rank_free); /* frees r itself when it fails */
    else sd_free(r);
    *out = rc == SQLITE_OK ? r : NULL;
    return rc;
}

static void rank_of(const Fts5ExtensionApi *api, Fts5Context *at, sqlite3_context *to, int n_arg, sqlite3_value **arg)
{
    double found[MAX_PHRASES][N_COL] = {0}, score = 0;
    int last[MAX_PHRASES], size[N_COL] = {0}, n = 0;
    rank *r = NULL;
    int rc = weigh(api, at, &r);
    (void)n_arg, (void)arg;
    for (int c = 0; c < N_COL && rc == SQLITE_OK; c++) rc = api->xColumnSize(at, c, &size[c]);
    for (int i = 0; i < MAX_PHRASES; i++) last[i] = -1;
    if (rc == SQLITE_OK) rc = api->xInstCount(at, &n);
    for (int i = 0; i < n && rc == SQLITE_OK; i++) {
        int w = 0, col = 0, off = 0;
        rc = api->xInst(at, i, &w, &col, &off);
        if (rc != SQLITE_OK || w < 0 || w >= MAX_PHRASES || col < 0 || col >= N_COL) continue;
        if (col == COL_CONTEXT && off / WINDOW == last[w]) continue; /* instances come in the order of their places */
        if (col == COL_CONTEXT) last[w] = off / WINDOW;
        found[w][col]++;
    }
    if (rc != SQLITE_OK) {
        sqlite3_result_error_code(to, rc);
        return;
    }
    const double of[N_COL] = {size[COL_PEAK] + FEW, 1, (size[COL_CONTEXT] + WINDOW - 1) / WINDOW + FEW};
    for (int w = 0; w < api->xPhraseCount(at) && w < MAX_PHRASES; w++)
        for (int c = 0; c < N_COL; c++) score += r->idf[w] * weight[c] * fmin(1, found[w][c] / of[c]);
    sqlite3_result_double(to, -score); /* lower is better, as with bm25 */
}

sd_status sd_store__add_rank(sd_store *s, sd_err *err)
{
    fts5_api *api = NULL;
    sqlite3_stmt *q = NULL;
    bool ok = sqlite3_prepare_v2(s->db, "SELECT fts5(?1)", -1, &q, NULL) == SQLITE_OK &&
              sqlite3_bind_pointer(q, 1, (void *)&api, "fts5_api_ptr", NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW && api &&
              api->xCreateFunction(api, "feature_rank", NULL, rank_of, NULL) == SQLITE_OK;
    sqlite3_finalize(q);
    return ok ? SD_OK : sd_store__fail(s->db, s->path, "preparing the search", err);
}
