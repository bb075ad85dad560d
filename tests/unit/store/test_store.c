/* The file: building, opening, identity, migrations, damage. */
#include "store_sample.h"
#include "store/store_int.h"

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>

static int files_in(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Overwrites bytes of a file. */
static void poke(const char *path, long at, const void *p, size_t n)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static void raw_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    char *msg = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &msg) != SQLITE_OK) fail_msg("%s", msg);
    sqlite3_close(db);
}

static void refused(const char *path, sd_status want, const char *words)
{
    sd_err err = {0};
    sd_store *s = NULL;
    assert_int_equal(sd_store_open(&s, path, &err), want);
    assert_null(s);
    assert_non_null(strstr(err.msg, path));
    if (!strstr(err.msg, words)) fail_msg("'%s' is not in: %s", words, err.msg);
    if (want == SD_E_STORE) assert_true(err.hint[0]);
}

static void builds_one_file(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    sd_store *s = NULL;
    t_ok(sd_store_create(&s, path, false, &err), err);
    assert_false(sd_file_exists(path)); /* nothing is there before commit */
    t_ok(sample_fill(s, &err), err);
    assert_false(sd_file_exists(path));
    t_ok(sd_store_commit(s, &err), err);
    assert_true(sd_file_exists(path));
    assert_int_equal(files_in(dir), 1);
    t_ok(sd_store_open(&s, path, &err), err);
    const sd_store_info *in = sd_store_get_info(s), want = sample_info();
    assert_string_equal(in->model.name, want.model.name);
    assert_string_equal(in->dict.site, want.dict.site);
    assert_true(in->dict.seed == UINT64_MAX);
    assert_true(in->dict.site_rms != in->dict.site_rms); /* NaN comes back as NaN */
    assert_true(in->dict.fvu == 0.25);
    assert_int_equal(in->run.before, 4);
    assert_int_equal(in->n_features, SAMPLE_M);
    assert_int_equal(in->n_alive, SAMPLE_M - 1);
    sd_store_close(s);
    assert_int_equal(files_in(dir), 1); /* reading leaves nothing beside it */
    t_rmtree(dir);
}

static void same_input_same_file(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char a[512], b[512];
    sd_sha256 ha, hb;
    snprintf(a, sizeof a, "%s/a.db", dir);
    snprintf(b, sizeof b, "%s/b.db", dir);
    t_ok(sample_build(a, false, &err), err);
    t_ok(sample_build(b, false, &err), err);
    t_ok(sd_sha256_file(&ha, a, NULL, &err), err);
    t_ok(sd_sha256_file(&hb, b, NULL, &err), err);
    assert_memory_equal(ha.b, hb.b, 32);
    t_rmtree(dir);
}

static void refuses_to_overwrite(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    sd_store *s = NULL;
    t_ok(sd_file_write_atomic(path, "mine", 4, &err), err);
    assert_int_equal(sd_store_create(&s, path, false, &err), SD_E_ARG);
    assert_non_null(strstr(err.hint, "-f"));
    t_ok(sd_store_create(&s, path, true, &err), err);
    sd_store_abort(s);
    assert_int_equal(files_in(dir), 1); /* aborted: the old file and nothing else */
    sd_buf b;
    sd_buf_init(&b, 100);
    t_ok(sd_file_read(&b, path, &err), err);
    assert_string_equal(sd_buf_str(&b), "mine");
    sd_buf_release(&b);
    t_ok(sample_build(path, true, &err), err);
    t_ok(sd_store_open(&s, path, &err), err);
    sd_store_close(s);
    assert_int_equal(sd_store_create(&s, dir, true, &err), SD_E_ARG); /* a folder is never replaced */
    t_rmtree(dir);
}

static void a_stale_log_is_not_replayed(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    char wal[600];
    snprintf(wal, sizeof wal, "%s-wal", path);
    t_ok(sample_build(path, false, &err), err);
    t_ok(sd_file_write_atomic(wal, "left over", 9, &err), err);
    t_ok(sample_build(path, true, &err), err);
    assert_false(sd_file_exists(wal));
    t_rmtree(dir);
}

static int labels_of(const char *path, int64_t index)
{
    sd_err err = {0};
    sd_store *s;
    sd_feature *f;
    t_ok(sd_store_open(&s, path, &err), err);
    t_ok(sd_store_feature(&f, s, index, -1, &err), err);
    int n = f->n_label;
    sd_feature_free(f);
    sd_store_close(s);
    return n;
}

static const sd_label a_label = {.text = "zebra", .source = "human", .score = (double)NAN};

/* An editor's store is built anew meanwhile, or renamed over just after the log was looked for: it is told, and what it wrote is in neither. */
static void a_store_built_anew_takes_no_label(void **state)
{
    (void)state;
    for (int renamed = 0; renamed < 2; renamed++) {
        sd_err err = {0};
        const char *dir = t_tmpdir(), *path = sample_path(dir);
        char other[600];
        sd_store *s;
        snprintf(other, sizeof other, "%s.other", path);
        t_ok(sample_build(path, false, &err), err);
        t_ok(sd_store_edit(&s, path, &err), err);
        t_ok(sample_build(renamed ? other : path, !renamed, &err), err);
        if (renamed) assert_int_equal(rename(other, path), 0);
        assert_int_equal(sd_store_add_label(s, 5, &a_label, &err), SD_E_BUSY);
        assert_non_null(strstr(err.msg, "built"));
        sd_store_close(s);
        assert_int_equal(labels_of(path, 5), 0);
        t_ok(sd_store_edit(&s, path, &err), err);
        t_ok(sd_store_add_label(s, 5, &a_label, &err), err);
        sd_store_close(s);
        assert_int_equal(labels_of(path, 5), 1);
        t_rmtree(dir);
    }
}

static void copy_file(const char *from, const char *to)
{
    sd_err err = {0};
    sd_buf b;
    sd_buf_init(&b, 1 << 26);
    t_ok(sd_file_read(&b, from, &err), err);
    t_ok(sd_file_write_atomic(to, b.p, b.n, &err), err);
    sd_buf_release(&b);
}

/* A killed editor left a label in its log. Who opens the old store before the new one is in its place, when the log is gone, sees it whole. */
static void a_log_is_folded_before_it_goes(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    char wal[600], killed[600], killed_wal[600], old[600];
    sd_store *s;
    snprintf(wal, sizeof wal, "%s-wal", path);
    snprintf(killed, sizeof killed, "%s.killed", path);
    snprintf(killed_wal, sizeof killed_wal, "%s.killed-wal", path);
    snprintf(old, sizeof old, "%s.old", path);
    t_ok(sample_build(path, false, &err), err);
    t_ok(sd_store_edit(&s, path, &err), err);
    t_ok(sd_store_add_label(s, 5, &a_label, &err), err);
    copy_file(path, killed);
    copy_file(wal, killed_wal);
    sd_store_close(s);
    assert_int_equal(link(killed, old), 0);
    t_ok(sample_build(killed, true, &err), err);
    assert_false(sd_file_exists(killed_wal));
    assert_int_equal(labels_of(old, 5), 1);
    assert_int_equal(labels_of(killed, 5), 0);
    t_rmtree(dir);
}

static void one_builder_a_path(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    sd_store *a = NULL, *b = NULL;
    t_ok(sd_store_create(&a, path, false, &err), err);
    assert_int_equal(sd_store_create(&b, path, false, &err), SD_E_BUSY);
    t_ok(sample_fill(a, &err), err);
    t_ok(sd_store_commit(a, &err), err);
    t_ok(sample_build(path, true, &err), err);
    t_rmtree(dir);
}

/* Who keeps an editor out is told; an editor waits for its end. */
static void an_editor_waits_for_readers(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    char who[64];
    sd_store *s = NULL;
    t_ok(sample_build(path, false, &err), err);
    pid_t pid = sample_reader(path, 1500);
    snprintf(who, sizeof who, "(process %d)", (int)pid);
    assert_int_equal(sd_store_try_edit(&s, path, 50, &err), SD_E_BUSY);
    if (!strstr(err.msg, who)) fail_msg("%s is not in: %s", who, err.msg);
    t_ok(sd_store_edit(&s, path, &err), err);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    sd_store_close(s);
    t_rmtree(dir);
}

static void a_dead_builders_file_is_taken_over(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    char tmp[600];
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    t_ok(sd_file_write_atomic(tmp, "half a store", 12, &err), err);
    t_ok(sample_build(path, false, &err), err);
    assert_int_equal(files_in(dir), 1);
    t_rmtree(dir);
}

static void odd_names_are_paths(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_store *s = NULL;
    char cwd[1024];
    const char *dir = t_tmpdir(), *names[] = {":memory:", "file:x?mode=memory", "with space.db"};
    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_int_equal(chdir(dir), 0);
    for (int i = 0; i < 3; i++) {
        t_ok(sample_build(names[i], false, &err), err);
        assert_true(sd_file_exists(names[i]));
        t_ok(sd_store_open(&s, names[i], &err), err);
        sd_store_close(s);
    }
    assert_int_equal(files_in("."), 3);
    assert_int_equal(chdir(cwd), 0);
    t_rmtree(dir);
}

static void foreign_files_are_refused(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    refused(path, SD_E_NOTFOUND, "cannot open");
    refused(dir, SD_E_STORE, "a folder");
    t_ok(sd_file_write_atomic(path, "this is no database, just some words, and quite a few of them", 61, &err), err);
    refused(path, SD_E_STORE, "not a database");
    unlink(path);
    raw_sql(path, "CREATE TABLE t (x); PRAGMA application_id = 305419896");
    refused(path, SD_E_STORE, "application id 0x12345678");
    unlink(path);
    t_ok(sample_build(path, false, &err), err);
    raw_sql(path, "PRAGMA user_version = 99");
    refused(path, SD_E_STORE, "version 99");
    raw_sql(path, "PRAGMA user_version = 0");
    refused(path, SD_E_STORE, "version 0");
    t_rmtree(dir);
}

static void damaged_files_are_refused(void **state)
{
    (void)state;
    sd_err err = {0};
    struct stat sb;
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    t_ok(sample_build(path, false, &err), err);
    raw_sql(path, "DROP TABLE corpus");
    refused(path, SD_E_STORE, "15 of the 16 tables");
    /* A view under a table's name could compute anything. */
    raw_sql(path, "CREATE VIEW corpus AS SELECT 0 AS doc, 0 AS pos0, zeroblob(100) AS tokens");
    refused(path, SD_E_STORE, "15 of the 16 tables");
    t_ok(sample_build(path, true, &err), err);
    raw_sql(path, "DELETE FROM dict");
    refused(path, SD_E_STORE, "what was studied");
    t_ok(sample_build(path, true, &err), err);
    raw_sql(path, "PRAGMA writable_schema = ON; UPDATE dict SET m = 1000000000000");
    refused(path, SD_E_STORE, "claims");
    for (int i = 0; i < 2; i++) {
        t_ok(sample_build(path, true, &err), err);
        raw_sql(path, i ? "UPDATE dict SET d = 1152921504606846976" : "UPDATE dict SET d = -5");
        refused(path, SD_E_STORE, "directions of");
    }
    t_ok(sample_build(path, true, &err), err);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(truncate(path, sb.st_size / 2), 0);
    refused(path, SD_E_STORE, "");
    t_rmtree(dir);
}

static void overwritten_pages_never_crash(void **state)
{
    (void)state;
    sd_err err = {0};
    struct stat sb;
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    unsigned x = 12345;
    int opened = 0, seen_damage = 0;
    for (int round = 0; round < 60; round++) {
        uint8_t junk[64];
        sd_store *s = NULL;
        t_ok(sample_build(path, true, &err), err);
        assert_int_equal(stat(path, &sb), 0);
        for (size_t i = 0; i < sizeof junk; i++) junk[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
        long at = 100 + (long)((x = x * 1664525u + 1013904223u) % (unsigned)(sb.st_size - 200));
        poke(path, at, junk, sizeof junk);
        if (sd_store_open(&s, path, &err)) {
            seen_damage++;
            continue;
        }
        opened++;
        for (int i = 0; i < SAMPLE_M; i++) {
            sd_feature *f = NULL;
            sd_feature_list l;
            if (sd_store_feature(&f, s, i, 0, &err)) seen_damage++;
            sd_feature_free(f);
            if (i == 0 && !sd_store_search(&l, s, "golden word3", 10, &err)) sd_feature_list_release(&l);
        }
        sd_store_close(s);
    }
    assert_true(opened > 0 && seen_damage > 0);
    t_rmtree(dir);
}

static void lying_blobs_are_damage(void **state)
{
    static const char *const lie[] = {
        "UPDATE feature SET top = x'ffffffff'",
        "UPDATE feature SET top = x'01000000'",
        "UPDATE feature SET top = x'01000000ffffff7f00000000'", /* a token id outside the vocabulary */
        "UPDATE feature SET top = x'01000000010000000000807f'", /* infinity */
        "UPDATE feature SET top = CAST(top || x'00' AS BLOB)",                /* a byte too many */
        "UPDATE feature SET near = x'01000000ffff000000000000'",
        "UPDATE feature SET hist = x'02000000'",
        "UPDATE feature SET intervals = x''",
        "UPDATE feature SET tokens = x'0100000001000000ffffffffffffffff0000000000000000'",
        "UPDATE example SET n = 256",
        "UPDATE example SET pos = pos0 + n",
        "UPDATE example SET pos0 = -1",
        "UPDATE example SET vals = x'090100'", /* offset 9 of a window of 9 */
        "UPDATE example SET vals = x'0201'",
        "UPDATE example SET vals = x'020100020100'", /* the same offset twice */
        "DELETE FROM feature WHERE id = 3",
    };
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir(), *path = sample_path(dir);
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        sd_store *s = NULL;
        sd_feature *f = NULL;
        t_ok(sample_build(path, true, &err), err);
        raw_sql(path, lie[i]);
        t_ok(sd_store_open(&s, path, &err), err);
        if (sd_store_feature(&f, s, 3, 0, &err) != SD_E_STORE) fail_msg("not noticed: %s", lie[i]);
        assert_null(f);
        assert_non_null(strstr(err.msg, "feature 3"));
        sd_store_close(s);
    }
    t_rmtree(dir);
}

static void migrations_run_in_order_and_whole(void **state)
{
    static const char *const step[] = {"CREATE TABLE a (x); INSERT INTO a VALUES (1)", "ALTER TABLE a ADD COLUMN y DEFAULT 7",
                                       "UPDATE a SET x = x + y; CREATE TABLE nonsense (", "SELECT 1"};
    (void)state;
    sd_err err = {0};
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    t_ok(sd_store__migrate(db, "m", step, 1, &err), err);
    for (int i = 0; i < 2; i++) t_ok(sd_store__migrate(db, "m", step, 2, &err), err); /* a second editor finds it done */
    assert_int_equal(sd_store__migrate(db, "m", step, 3, &err), SD_E_STORE); /* fails half way: all of it is undone */
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT x, y, (SELECT user_version FROM pragma_user_version) FROM a", -1, &q, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(q, 0), 1);
    assert_int_equal(sqlite3_column_int(q, 1), 7);
    assert_int_equal(sqlite3_column_int(q, 2), 2);
    sqlite3_finalize(q);
    sqlite3_close(db);
}

static void statuses_have_their_exit_codes(void **state)
{
    (void)state;
    sd_err err = {0};
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA max_page_count = 2; CREATE TABLE t (x); "
                                      "INSERT INTO t VALUES (zeroblob(100000))", NULL, NULL, NULL), SQLITE_FULL);
    assert_int_equal(sd_store__fail(db, "p", "writing", &err), SD_E_NOSPACE);
    assert_int_equal(sd_status_exit_code(err.code), 5);
    assert_int_not_equal(sqlite3_exec(db, "nonsense", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sd_store__fail(db, "p", "writing", &err), SD_E_STORE);
    assert_int_equal(sd_status_exit_code(err.code), 4);
    sqlite3_close(db);
    assert_int_equal(sd_store__fail(NULL, "p", "opening", &err), SD_E_NOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(builds_one_file), T(same_input_same_file), T(refuses_to_overwrite), T(a_stale_log_is_not_replayed), T(a_store_built_anew_takes_no_label), T(a_log_is_folded_before_it_goes),
        T(one_builder_a_path), T(an_editor_waits_for_readers), T(a_dead_builders_file_is_taken_over), T(odd_names_are_paths), T(foreign_files_are_refused),
        T(damaged_files_are_refused), T(overwritten_pages_never_crash), T(lying_blobs_are_damage),
        T(migrations_run_in_order_and_whole), T(statuses_have_their_exit_codes)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
