/* Shared inside src/store: the handle, the migrations, statement helpers, blob codecs. */
#ifndef SD_STORE_STORE_INT_H
#define SD_STORE_STORE_INT_H

#include "base/cursor.h"
#include "base/map.h"
#include "store/store.h"
#include <inttypes.h>
#include <sqlite3.h>

/* Positions of one corpus row; a window of at most SD_FEATURE_WINDOW_MAX tokens touches two. */
enum { CORPUS_CHUNK = 512 };

typedef enum store_kind { STORE_READ, STORE_BUILD, STORE_EDIT } store_kind;

enum store_sql {
    SQL_PUT_TOKEN, SQL_PUT_DOC, SQL_PUT_CORPUS, SQL_PUT_FEATURE, SQL_PUT_EXAMPLE, SQL_PUT_TEXT,
    SQL_FEATURE, SQL_EXAMPLES, SQL_CORPUS, SQL_LABELS, SQL_BRIEF, SQL_DOC_NAME, SQL_PUT_DIRECTION, SQL_PUT_POSTING, SQL_POSTING,
    SQL_COUNT
};

struct sd_store {
    sqlite3 *db;
    sqlite3_stmt *stmt[SQL_COUNT]; /* prepared at first use */
    store_kind kind;
    char path[1024], tmp[1040];    /* as given; the file being built */
    int wait_ms;                   /* for a file that is in use */
    int lock;                      /* descriptor that holds the builder's lock, -1 */
    sd_store_info info;
    sd_buf blob;                   /* scratch of the encoders */
    char *token_bytes;             /* vocabulary: all bytes; offsets [n_vocab + 1]; flags [n_vocab] */
    int64_t *token_at;
    uint8_t *token_special;
    int64_t *doc_at;               /* [n_doc + 1] tokens before document i (by id); read at the first call that needs it */
    int32_t *doc_id;               /* [n_doc] */
    int64_t n_doc;
    bool (*stop)(void *self);
    void *stop_self;
};

enum { OLDEST_READABLE = 2 };

/* Migration i takes a file from version i to i + 1. */
extern const char *const sd_store__migration[];
extern const int sd_store__n_migration;
/* Applies what is missing up to version `to` in one transaction and sets user_version. What is missing is read inside it: another editor may have been first. */
sd_status sd_store__migrate(sqlite3 *db, const char *path, const char *const *sql, int to, sd_err *err);

/* Binding: a string (NULL is empty), bytes, a number (NULL where it is not finite). Borrowed until the statement is reset. */
void sd_store__bind_str(sqlite3_stmt *q, int i, const char *s);
void sd_store__bind_blob(sqlite3_stmt *q, int i, const void *p, size_t n);
void sd_store__bind_f64(sqlite3_stmt *q, int i, double v);
double sd_store__f64(sqlite3_stmt *q, int col); /* NaN for NULL */

/* The status and sentence for the last failure on db: "PATH: WHAT: ..." */
sd_status sd_store__fail(sqlite3 *db, const char *path, const char *what, sd_err *err);
sd_status sd_store__damaged(const sd_store *s, sd_err *err, const char *fmt, ...) SD_PRINTF(3, 4);
sd_status sd_store__exec(sqlite3 *db, const char *path, const char *sql, const char *what, sd_err *err);
/* A statement ready to be bound; reset by sd_store__done. */
sd_status sd_store__stmt(sd_store *s, enum store_sql which, sqlite3_stmt **out, sd_err *err);
/* Makes feature_rank(feature_text) known to the connection. */
sd_status sd_store__add_rank(sd_store *s, sd_err *err);
/* The end of an edit: commits where st is SD_OK and the file is still at its path, else rolls back. */
sd_status sd_store__commit(sd_store *s, sd_status st, const char *what, sd_err *err);
/* Steps a statement that gives no row, and resets it. */
sd_status sd_store__run(sd_store *s, sqlite3_stmt *q, const char *what, sd_err *err);
void sd_store__done(sqlite3_stmt *q);
sd_status sd_store__load_info(sd_store *s, sd_err *err);

/* Memory of a result: pieces that are freed together. */
typedef struct store_pool { struct store_piece *first; size_t left; char *at; bool failed; } store_pool; /* failed: memory was out */
void *sd_store__push(store_pool *p, size_t n); /* zeroed, 8-byte aligned; NULL when memory is out */
char *sd_store__push_str(store_pool *p, const char *s, size_t n);
void sd_store__pool_release(store_pool *p);

/* A column's text (never NULL) and bytes. */
sd_slice sd_store__text(sqlite3_stmt *q, int col);
sd_slice sd_store__blob(sqlite3_stmt *q, int col);

/* Blobs: a u32 count, then the entries, little-endian. Encoders append to b; decoders check counts, ranges and that all
 * bytes are used, and say false otherwise. */
void sd_store__put_logits(sd_buf *b, const sd_token_logit *v, int n);
void sd_store__put_near(sd_buf *b, const sd_near *v, int n);
void sd_store__put_fires(sd_buf *b, const sd_token_fire *v, int n);
void sd_store__put_intervals(sd_buf *b, const sd_interval *v, int n);
void sd_store__put_hist(sd_buf *b, const sd_histogram *h);
/* Non-zero values as (offset u8, value u16), value = round(v / scale * 65535): off by at most scale / 131070. */
void sd_store__put_values(sd_buf *b, const float *v, int n, float scale);
typedef struct store_limits { int64_t n_vocab, m; } store_limits;
bool sd_store__get_logits(store_pool *p, sd_slice s, const store_limits *lim, const sd_token_logit **v, int *n);
bool sd_store__get_near(store_pool *p, sd_slice s, const store_limits *lim, const sd_near **v, int *n);
bool sd_store__get_fires(store_pool *p, sd_slice s, const store_limits *lim, const sd_token_fire **v, int *n);
bool sd_store__get_intervals(store_pool *p, sd_slice s, const sd_interval **v, int *n);
bool sd_store__get_hist(store_pool *p, sd_slice s, sd_histogram *h);
bool sd_store__get_values(sd_slice s, float *v, int n, float scale);

/* The label of a feature that is shown: a person's before a machine's, the later before the earlier. */
#define SHOWN_LABEL " FROM label WHERE feature = f.id AND shown ORDER BY source <> 'human', id DESC LIMIT 1"
/* One row of a list from a statement whose columns are BRIEF_COLUMNS, from column 0. */
#define BRIEF_COLUMNS \
    "f.id, f.n_fire, f.density, f.max_act, f.mean_act, f.interest, f.threshold, f.words, f.top, " \
    "(SELECT text" SHOWN_LABEL "), (SELECT CASE WHEN source <> 'human' THEN coalesce(score, 0) END" SHOWN_LABEL ")"
sd_status sd_store__brief(sd_store *s, store_pool *p, sqlite3_stmt *q, sd_feature_brief *out, sd_err *err);
bool sd_store__stats_fit(const sd_feature_stats *v); /* each in its range, what is an activation in that of f32 */
sd_status sd_store__stats(sd_feature_stats *out, const sd_store *s, sqlite3_stmt *q, sd_err *err); /* columns 0..6 */
/* An empty list with room for cap rows; the row of feature `index` into it. */
sd_status sd_store__list_init(sd_feature_list *l, int64_t cap, sd_err *err);
sd_status sd_store__list_add(sd_feature_list *l, sd_store *s, int64_t index, double score, sd_err *err);
sd_status sd_store__no_feature(const sd_store *s, int64_t index, sd_err *err);

#endif
