/* Owns: opening, building, editing and closing the file, migrations, prepared statements, errors.
 * Leaves to store_write.c, store_read.c, store_list.c: the rows. To store_blob.c: the blobs.
 *
 * Building needs no journal: the file is thrown away unless commit renames it, so rollback and sync are off until the one
 * fsync at the end. The lock on PATH.tmp is flock's: closing any descriptor of a file drops the process's fcntl locks, which
 * are SQLite's, so the descriptor stays open until SQLite has closed.
 * Easy to break: a write-ahead log left beside PATH by a killed editor would be replayed into the file that replaces it; commit folds it into
 * the old file, which may be opened until the rename, and removes it before. A living editor's log is beside the new file then: it looks whether
 * its own file is still at PATH when it opens and before each commit. */
#include "store/store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Every table is filled in the order of its key, so pages that left the cache are not asked for again. */
#define BUILD_CACHE_KIB 16384
/* No column of ours is near this; a file that claims more is refused by SQLite itself. */
#define MAX_BLOB_BYTES (16 << 20)
/* Features up to which the table is read through at open. */
enum { MAX_CHECKED = 65536 };
/* How long the file is waited for: a reader waits for one write; an editor for another process's search, which takes seconds in a store of a
 * million features; closing, which only tidies up, for next to nothing. */
enum { READ_WAIT_MS = 2000, EDIT_WAIT_MS = 15000, CLOSE_WAIT_MS = 250 };

sd_status sd_store__fail(sqlite3 *db, const char *path, const char *what, sd_err *err)
{
    int rc = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;
    const char *msg = db ? sqlite3_errmsg(db) : "out of memory";
    switch (rc & 0xff) {
    case SQLITE_INTERRUPT: return sd_fail(err, SD_E_CANCELLED, "%s: %s: stopped", path, what);
    case SQLITE_NOMEM: return sd_fail(err, SD_E_NOMEM, "%s: %s: out of memory", path, what);
    case SQLITE_FULL:
        sd_fail(err, SD_E_NOSPACE, "%s: %s: the disk is full", path, what);
        return sd_hint(err, "free some space; what was at the path before is untouched");
    case SQLITE_IOERR: return sd_fail(err, SD_E_IO, "%s: %s: %s", path, what, msg);
    case SQLITE_BUSY:
    case SQLITE_LOCKED: {
        char who[64];
        sd_fail(err, SD_E_BUSY, "%s: %s: it is in use by %s", path, what, sd_file_holder(who, path) ? who : "another process");
        return sd_hint(err, "try again when that has finished");
    }
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return sd_fail(err, SD_E_IO, "%s: %s: %s", path, what, msg);
    case SQLITE_CANTOPEN: return sd_fail(err, SD_E_IO, "%s: %s: cannot open it", path, what);
    default:
        sd_fail(err, SD_E_STORE, "%s: %s: %s", path, what, msg);
        return sd_hint(err, "is it a store? `sonde feature build` makes one");
    }
}

sd_status sd_store__damaged(const sd_store *s, sd_err *err, const char *fmt, ...)
{
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    sd_fail(err, SD_E_STORE, "%s: %s", s->path, what);
    return sd_hint(err, "the file is damaged; build it again with `sonde feature build`");
}

sd_status sd_store__exec(sqlite3 *db, const char *path, const char *sql, const char *what, sd_err *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? SD_OK : sd_store__fail(db, path, what, err);
}

static const char *const statement[SQL_COUNT] = {
    [SQL_PUT_TOKEN] = "INSERT INTO token VALUES (?1, ?2, ?3)",
    [SQL_PUT_DOC] = "INSERT INTO document VALUES (?1, ?2, ?3)",
    [SQL_PUT_CORPUS] = "INSERT INTO corpus VALUES (?1, ?2, ?3)",
    [SQL_PUT_FEATURE] = "INSERT INTO feature VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    [SQL_PUT_EXAMPLE] = "INSERT INTO example VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQL_PUT_TEXT] = "INSERT INTO feature_text (rowid, peak, logits, context) VALUES (?1, ?2, ?3, ?4)",
    [SQL_FEATURE] = "SELECT id, n_fire, density, max_act, mean_act, interest, threshold, words, hist, logit_mean, logit_std,"
                    " top, bottom, near, tokens, intervals FROM feature WHERE id = ?1",
    [SQL_EXAMPLES] = "SELECT grp, rank, doc, pos, pos0, n, act, vals FROM example WHERE feature = ?1 AND rank < ?2"
                     " ORDER BY grp, rank",
    [SQL_CORPUS] = "SELECT pos0, tokens FROM corpus WHERE doc = ?1 AND pos0 BETWEEN ?2 AND ?3",
    [SQL_LABELS] = "SELECT text, source, author, created, score, detection, fuzzing, floor, n_case, args, shown FROM label"
                   " WHERE feature = ?1 ORDER BY NOT shown, source <> 'human', id DESC LIMIT 100",
    [SQL_BRIEF] = "SELECT " BRIEF_COLUMNS " FROM feature f WHERE f.id = ?1",
    [SQL_DOC_NAME] = "SELECT name FROM document WHERE id = ?1",
    [SQL_PUT_DIRECTION] = "INSERT INTO direction VALUES (?1, ?2)",
    [SQL_PUT_POSTING] = "INSERT INTO posting VALUES (?1, ?2, ?3)",
    [SQL_POSTING] = "SELECT id, n, entries FROM posting WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
};

sd_status sd_store__stmt(sd_store *s, enum store_sql which, sqlite3_stmt **out, sd_err *err)
{
    if (!s->stmt[which] &&
        sqlite3_prepare_v3(s->db, statement[which], -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[which], NULL) != SQLITE_OK)
        return sd_store__fail(s->db, s->path, "preparing a statement", err);
    *out = s->stmt[which];
    return SD_OK;
}

static int asked(void *self)
{
    const sd_store *s = self;
    return s->stop(s->stop_self);
}

void sd_store_stop_when(sd_store *s, bool (*stop)(void *self), void *self)
{
    enum { STEPS = 1000 }; /* of SQLite's machine, some tens of microseconds */
    s->stop = stop;
    s->stop_self = self;
    sqlite3_progress_handler(s->db, stop ? STEPS : 0, stop ? asked : NULL, s);
}

void sd_store__done(sqlite3_stmt *q)
{
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
}

sd_status sd_store__run(sd_store *s, sqlite3_stmt *q, const char *what, sd_err *err)
{
    int rc = sqlite3_step(q);
    sd_status st = rc == SQLITE_DONE ? SD_OK : sd_store__fail(s->db, s->path, what, err);
    sd_store__done(q);
    return st;
}

/* A value of a pragma; false when SQLite could not say. */
static bool pragma_int(sqlite3 *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *q = NULL;
    bool ok = sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW;
    if (ok) *out = sqlite3_column_int64(q, 0);
    if (sqlite3_finalize(q) != SQLITE_OK) ok = false;
    return ok;
}

sd_status sd_store__migrate(sqlite3 *db, const char *path, const char *const *sql, int to, sd_err *err)
{
    sd_status st = sd_store__exec(db, path, "BEGIN IMMEDIATE", "starting a migration", err);
    char pragma[64];
    int64_t from = 0;
    if (!st && !pragma_int(db, "PRAGMA user_version", &from)) st = sd_store__fail(db, path, "reading its header", err);
    for (int64_t v = from > 0 ? from : 0; v < to && !st; v++) st = sd_store__exec(db, path, sql[v], "making the tables", err);
    snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d; COMMIT", from < to ? to : (int)from);
    if (!st) st = sd_store__exec(db, path, pragma, "setting the version", err);
    if (st && !sqlite3_get_autocommit(db)) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

/* SQLite reads "file:.." as a URI and ":memory:" as no file at all; a path is a path here. */
static const char *plain_path(const char *path, char *buf, size_t cap)
{
    if (path[0] != ':' && strncmp(path, "file:", 5) != 0) return path;
    snprintf(buf, cap, "./%s", path);
    return buf;
}

/* The file that was opened is at its path no more: what an editor wrote there would go into the log of the one that is. */
static sd_status check_place(sd_store *s, sd_err *err)
{
    int moved = 0;
    if (sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK || !moved) return SD_OK;
    sd_fail(err, SD_E_BUSY, "%s: another process has just built this store anew", s->path);
    return sd_hint(err, "try again: nothing was written");
}

sd_status sd_store__commit(sd_store *s, sd_status st, const char *what, sd_err *err)
{
    if (!st) st = check_place(s, err);
    if (!st) st = sd_store__exec(s->db, s->path, "COMMIT", what, err);
    if (st && !sqlite3_get_autocommit(s->db)) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

static sd_status open_db(sd_store *s, const char *path, int flags, sd_err *err)
{
    char buf[1048];
    int rc = sqlite3_open_v2(plain_path(path, buf, sizeof buf), &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc != SQLITE_OK) return sd_store__fail(s->db, s->path, "opening", err);
    sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, MAX_BLOB_BYTES);
    sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_busy_timeout(s->db, s->wait_ms ? s->wait_ms : READ_WAIT_MS);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    return sd_store__add_rank(s, err);
}

/* After the tables are made: nothing may change the schema by the back door. */
static void defend(sd_store *s) { sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL); }

static sd_status store_alloc(sd_store **out, const char *path, store_kind kind, sd_err *err)
{
    sd_store *s = NULL;
    sd_status st = sd_alloc_zero(&s, sizeof *s, "a store", err);
    if (st) return st;
    s->kind = kind;
    s->lock = -1;
    sd_buf_init(&s->blob, MAX_BLOB_BYTES);
    if (strlen(path) >= sizeof s->path) {
        sd_free(s);
        return sd_fail(err, SD_E_ARG, "the path of the store is longer than %zu bytes", sizeof s->path - 1);
    }
    snprintf(s->path, sizeof s->path, "%s", path);
    snprintf(s->tmp, sizeof s->tmp, "%s.tmp", path);
    *out = s;
    return SD_OK;
}

static void close_db(sd_store *s)
{
    for (int i = 0; i < SQL_COUNT; i++) {
        sqlite3_finalize(s->stmt[i]);
        s->stmt[i] = NULL;
    }
    sqlite3_close(s->db);
    s->db = NULL;
}

static void store_free(sd_store *s)
{
    close_db(s);
    if (s->lock >= 0) close(s->lock);
    sd_buf_release(&s->blob);
    sd_free(s->token_bytes);
    sd_free(s->token_at);
    sd_free(s->token_special);
    sd_free(s->doc_at);
    sd_free(s->doc_id);
    sd_free(s);
}

/* Another builder of the same path holds PATH.tmp; one that died left it unlocked, and it is emptied. */
static sd_status take_tmp(sd_store *s, sd_err *err)
{
    s->lock = open(s->tmp, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (s->lock < 0) return sd_fail_errno(err, errno, "cannot write %s", s->tmp);
    if (flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
        close(s->lock);
        s->lock = -1;
        sd_fail(err, SD_E_BUSY, "%s: another process is building this store", s->path);
        return sd_hint(err, "wait for it, or give another name");
    }
    /* The file that was opened may have become PATH in between: emptying it would destroy what its builder committed. */
    struct stat here, there;
    if (fstat(s->lock, &here) != 0 || stat(s->tmp, &there) != 0 || here.st_ino != there.st_ino) {
        close(s->lock);
        s->lock = -1;
        return sd_fail(err, SD_E_BUSY, "%s: another process has just built this store", s->path);
    }
    if (ftruncate(s->lock, 0) != 0) return sd_fail_errno(err, errno, "cannot write %s", s->tmp);
    return SD_OK;
}

sd_status sd_store_create(sd_store **out, const char *path, bool force, sd_err *err)
{
    sd_store *s = NULL;
    char pragma[256];
    *out = NULL;
    struct stat sb;
    bool there = stat(path, &sb) == 0;
    if (there && !S_ISREG(sb.st_mode)) return sd_fail(err, SD_E_ARG, "%s: a folder or a device; a store is a file", path);
    if (there && !force) {
        sd_fail(err, SD_E_ARG, "%s: there is a file of this name already", path);
        return sd_hint(err, "give another name, or -f to replace it");
    }
    sd_status st = store_alloc(&s, path, STORE_BUILD, err);
    if (st) return st;
    if ((st = take_tmp(s, err))) goto done;
    if ((st = open_db(s, s->tmp, SQLITE_OPEN_READWRITE, err))) goto done;
    snprintf(pragma, sizeof pragma,
             "PRAGMA application_id = %d; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;"
             "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -%d",
             SD_STORE_APPLICATION_ID, BUILD_CACHE_KIB);
    if ((st = sd_store__exec(s->db, path, pragma, "making the file", err))) goto done;
    if ((st = sd_store__migrate(s->db, path, sd_store__migration, sd_store__n_migration, err))) goto done;
    if ((st = sd_store__exec(s->db, path, "BEGIN", "starting", err))) goto done;
    *out = s;
    s = NULL;
done:
    sd_store_abort(s);
    return st;
}

static void remove_beside(const char *path, const char *suffix)
{
    char name[1100];
    snprintf(name, sizeof name, "%s%s", path, suffix);
    unlink(name);
}

/* What a killed editor left in a log, into its file. One that is no store, or in use, stays as it is. */
static void fold_log(const char *path)
{
    char buf[1048];
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(plain_path(path, buf, sizeof buf), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_busy_timeout(db, CLOSE_WAIT_MS);
        sqlite3_exec(db, "PRAGMA user_version; PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    }
    sqlite3_close(db);
}

static sd_status sync_folder(const char *path, sd_err *err)
{
    char dir[1024];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash) snprintf(dir, sizeof dir, ".");
    else slash[slash == dir] = '\0';
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return sd_fail_errno(err, errno, "cannot open the folder %s", dir);
    int rc = fsync(fd);
    int e = errno;
    close(fd);
    return rc == 0 ? SD_OK : sd_fail_errno(err, e, "cannot sync the folder %s", dir);
}

sd_status sd_store_commit(sd_store *s, sd_err *err)
{
    sd_status st;
    if ((st = sd_store__exec(s->db, s->path, "COMMIT", "writing", err))) goto done;
    close_db(s);
    if (fsync(s->lock) != 0) {
        st = sd_fail_errno(err, errno, "cannot sync %s", s->tmp);
        goto done;
    }
    fold_log(s->path);
    remove_beside(s->path, "-wal");
    remove_beside(s->path, "-shm");
    remove_beside(s->path, "-journal");
    if (rename(s->tmp, s->path) != 0) {
        st = sd_fail_errno(err, errno, "cannot rename %s to %s", s->tmp, s->path);
        goto done;
    }
    s->tmp[0] = '\0';
    st = sync_folder(s->path, err);
done:
    sd_store_abort(s);
    return st;
}

void sd_store_abort(sd_store *s)
{
    if (!s) return;
    close_db(s);
    if (s->lock >= 0 && s->tmp[0]) unlink(s->tmp);
    store_free(s);
}

static sd_status check_identity(sd_store *s, int64_t *version, sd_err *err)
{
    int64_t app = 0;
    if (!pragma_int(s->db, "PRAGMA application_id", &app) || !pragma_int(s->db, "PRAGMA user_version", version))
        return sd_store__fail(s->db, s->path, "reading its header", err);
    if (app != SD_STORE_APPLICATION_ID) {
        int64_t pages = 0;
        if (!app && pragma_int(s->db, "PRAGMA page_count", &pages) && !pages) {
            sd_fail(err, SD_E_STORE, "%s is empty, not a store", s->path);
            return sd_hint(err, "`sonde feature build` makes one");
        }
        sd_fail(err, SD_E_STORE, "%s: a SQLite file of another program (application id 0x%08" PRIx64 ", a store has 0x%08x)",
                s->path, app & 0xffffffff, SD_STORE_APPLICATION_ID);
        return sd_hint(err, "give a file made by `sonde feature build`");
    }
    if (*version > sd_store__n_migration) {
        sd_fail(err, SD_E_STORE, "%s: version %" PRId64 " of the store format, this program knows up to %d", s->path, *version,
                sd_store__n_migration);
        return sd_hint(err, "use a newer sonde, or build the store again with this one");
    }
    if (*version < 1) return sd_store__damaged(s, err, "version %" PRId64 " of the store format does not exist", *version);
    return SD_OK;
}

/* Every table is a table (a view of the same name could be anything), and the small ones read through. The large ones
 * are checked row by row as they are read: a whole quick_check reads the whole file (of a million features, a second a gigabyte). */
static sd_status check_tables(sd_store *s, int64_t version, sd_err *err)
{
    static const char *const sql =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('model', 'dict', 'run', 'token', 'document', 'corpus', 'feature',"
        " 'example', 'label', 'feature_text', 'label_text', 'direction', 'map', 'map_cluster', 'map_point', 'posting')";
    static const char *const small[] = {"model", "dict", "run", "label", "map", "map_cluster", "feature"};
    int64_t n = 0, want = version < 3 ? 15 : 16, n_feature = 0;
    if (!pragma_int(s->db, sql, &n)) return sd_store__fail(s->db, s->path, "reading its tables", err);
    if (n != want) return sd_store__damaged(s, err, "%" PRId64 " of the %" PRId64 " tables of a store are there", n, want);
    if (!pragma_int(s->db, "SELECT coalesce(max(id), 0) FROM feature", &n_feature)) return sd_store__fail(s->db, s->path, "reading its features", err);
    for (size_t i = 0; i < sizeof small / sizeof *small - (n_feature > MAX_CHECKED); i++) {
        char pragma[64];
        sqlite3_stmt *q = NULL;
        snprintf(pragma, sizeof pragma, "PRAGMA quick_check('%s')", small[i]);
        bool ok = sqlite3_prepare_v2(s->db, pragma, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW;
        sd_slice said = ok ? sd_store__text(q, 0) : SD_LIT("");
        bool good = sd_slice_eq_str(said, "ok");
        sd_status st = good ? SD_OK
                       : ok ? sd_store__damaged(s, err, "table %s is damaged: %.*s", small[i], (int)(said.n < 120 ? said.n : 120), said.p)
                            : sd_store__fail(s->db, s->path, "checking its tables", err);
        sqlite3_finalize(q);
        if (st) return st;
    }
    return SD_OK;
}

static sd_status open_existing(sd_store **out, const char *path, store_kind kind, int wait_ms, sd_err *err)
{
    sd_store *s = NULL;
    struct stat sb;
    int64_t version = 0;
    *out = NULL;
    if (stat(path, &sb) != 0) return sd_fail_errno(err, errno, "cannot open the store %s", path);
    if (!S_ISREG(sb.st_mode)) {
        sd_fail(err, SD_E_STORE, "%s: a folder or a device, not a store", path);
        return sd_hint(err, "a store is one file, made by `sonde feature build`");
    }
    sd_status st = store_alloc(&s, path, kind, err);
    if (st) return st;
    s->wait_ms = wait_ms;
    if ((st = open_db(s, path, kind == STORE_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE, err))) goto done;
    if ((st = sd_store__exec(s->db, path, "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0", "opening", err))) goto done;
    if ((st = check_identity(s, &version, err))) goto done;
    if (version < sd_store__n_migration && (kind != STORE_READ || version < OLDEST_READABLE)) {
        if (kind == STORE_READ) {
            sd_fail(err, SD_E_STORE, "%s: version %" PRId64 " of the store format, this program reads %d", path, version,
                    sd_store__n_migration);
            sd_hint(err, "`sonde feature label` and `sonde feature map` bring it up to date");
            st = SD_E_STORE;
            goto done;
        }
        if ((st = sd_store__migrate(s->db, path, sd_store__migration, sd_store__n_migration, err))) goto done;
        version = sd_store__n_migration;
    }
    defend(s);
    if ((st = check_tables(s, version, err))) goto done;
    if (kind == STORE_EDIT &&
        ((st = sd_store__exec(s->db, path, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", "starting to write", err)) || (st = check_place(s, err))))
        goto done;
    if ((st = sd_store__load_info(s, err))) goto done;
    *out = s;
    s = NULL;
done:
    sd_store_close(s);
    return st;
}

sd_status sd_store_open(sd_store **out, const char *path, sd_err *err) { return open_existing(out, path, STORE_READ, READ_WAIT_MS, err); }
sd_status sd_store_edit(sd_store **out, const char *path, sd_err *err) { return open_existing(out, path, STORE_EDIT, EDIT_WAIT_MS, err); }
sd_status sd_store_try_edit(sd_store **out, const char *path, int wait_ms, sd_err *err) { return open_existing(out, path, STORE_EDIT, wait_ms, err); }

void sd_store_close(sd_store *s)
{
    if (!s) return;
    SD_ASSERT(s->kind != STORE_BUILD);
    for (int i = 0; i < SQL_COUNT; i++)
        if (s->stmt[i]) sqlite3_reset(s->stmt[i]);
    /* While readers are on it this cannot be done; the log then stays until the next editor closes. */
    if (s->kind == STORE_EDIT && s->db && !check_place(s, NULL)) {
        sqlite3_busy_timeout(s->db, CLOSE_WAIT_MS);
        sqlite3_exec(s->db, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
    }
    store_free(s);
}

const sd_store_info *sd_store_get_info(const sd_store *s) { return &s->info; }
