/* A store file of any bytes: opened, read through and edited, it gives values in their ranges or an error with a sentence. */
#include "base/map.h"
#include "store/store.h"

#include "t_fuzz.h"

#include <math.h>

static void lists(sd_store *s)
{
    enum { LISTS = 5 };
    sd_feature_list l[LISTS] = {{0}};
    sd_err err[LISTS] = {{0}};
    const sd_status st[LISTS] = {sd_store_search(&l[0], s, "golden \"gate bridge\" word3", 10, &err[0]),
                                 sd_store_list(&l[1], s, &(sd_feature_query){.sort = SD_SORT_INTEREST}, &err[1]), sd_store_near(&l[2], s, 1, 0, &err[2]),
                                 sd_store_coactive(&l[3], s, 1, 0, &err[3]), sd_store_passages(&l[4], s, "t1 \"t2 t9\"", 0, &err[4])};
    for (int i = 0; i < LISTS; i++) {
        SD_ASSERT(st[i] == SD_OK || err[i].msg[0]);
        if (!st[i]) sd_feature_list_release(&l[i]);
    }
}

static void the_rest(sd_store *s)
{
    enum { WIDEST = 1 << 12 };
    static uint16_t half[WIDEST];
    const sd_store_info *in = sd_store_get_info(s);
    sd_feature_map map;
    sd_posting *v = NULL;
    int64_t n_post = 0;
    sd_err err = {0};
    if (!sd_store_postings(&v, &n_post, s, 2, &err)) {
        for (int64_t i = 0; i < n_post; i++) SD_ASSERT(v[i].pos >= 0 && v[i].level >= 1 && v[i].level <= 16);
        sd_free(v);
    } else SD_ASSERT(err.msg[0]);
    if (in->dict.d > 0 && in->dict.d <= WIDEST) (void)sd_store_directions(half, s, 0, 1, &err);
    if (!sd_store_get_map(&map, s, &err)) {
        for (int64_t i = 0; i < map.n_point; i++) SD_ASSERT(map.point[i].index >= 0 && map.point[i].index < in->dict.m && isfinite(map.point[i].x));
        sd_feature_map_release(&map);
    } else SD_ASSERT(err.msg[0]);
}

static void read_all(sd_store *s)
{
    const sd_store_info *in = sd_store_get_info(s);
    for (int64_t i = 0; i < in->n_features && i < 50; i++) {
        sd_feature *f = NULL;
        sd_err err = {0};
        if (sd_store_feature(&f, s, i, 0, &err)) {
            SD_ASSERT(err.msg[0]);
            continue;
        }
        for (int e = 0; e < f->n_example; e++)
            for (int t = 0; t < f->example[e].n; t++) {
                SD_ASSERT(f->example[e].tok[t] < in->model.n_vocab && f->example[e].val[t] >= 0);
                (void)sd_store_token(s, f->example[e].tok[t]);
            }
        sd_feature_free(f);
    }
    lists(s);
    the_rest(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char *const beside[] = {"", "-wal", "-shm", "-journal"};
    char path[400];
    snprintf(path, sizeof path, "%s", t_fuzz_write("features.db", p, n));
    for (int edit = 0; edit < 2; edit++) {
        sd_err err = {0};
        sd_store *s = NULL;
        const sd_status st = edit ? sd_store_try_edit(&s, path, 0, &err) : sd_store_open(&s, path, &err);
        SD_ASSERT((st == SD_OK) == (s != NULL) && (st == SD_OK || err.msg[0]));
        if (s && edit && sd_store_add_label(s, 1, &(sd_label){.text = "a", .source = "human", .author = "b", .created = "c", .score = 0.5}, &err)) SD_ASSERT(err.msg[0]);
        if (s && !edit) read_all(s);
        sd_store_close(s);
    }
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        char at[420];
        snprintf(at, sizeof at, "%s%s", path, beside[i]);
        (void)unlink(at);
    }
    return 0;
}

#ifdef SD_LIBFUZZER
#include "store/store_int.h"

size_t LLVMFuzzerMutate(uint8_t *p, size_t n, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned seed);

static void change_value(sqlite3_stmt *up, sqlite3_stmt *was, unsigned r)
{
    static const int64_t whole[] = {0, 1, -1, 2, 63, 64, 65536, INT32_MAX, (int64_t)1 << 32, INT64_MAX, INT64_MIN};
    static const double real[] = {0, -1, 0.5, 2, 1e300, -1e300, INFINITY, 1e-320};
    static uint8_t b[1 << 13];
    const int n = sqlite3_column_bytes(was, 0);
    switch (sqlite3_column_type(was, 0)) {
    case SQLITE_INTEGER: sqlite3_bind_int64(up, 1, r % 3 ? whole[r / 3 % (sizeof whole / sizeof *whole)] : (int64_t)((uint64_t)sqlite3_column_int64(was, 0) + r / 3 % 5 - 2)); break;
    case SQLITE_FLOAT: sqlite3_bind_double(up, 1, real[r % (sizeof real / sizeof *real)]); break;
    case SQLITE_NULL: sqlite3_bind_double(up, 1, 0.5); break;
    default:
        if (n > (int)sizeof b / 2) return; /* NULL, which NOT NULL refuses */
        if (n) memcpy(b, sqlite3_column_blob(was, 0), (size_t)n);
        const size_t has = LLVMFuzzerMutate(b, (size_t)n, sizeof b);
        if (sqlite3_column_type(was, 0) == SQLITE_BLOB) sqlite3_bind_blob(up, 1, b, (int)has, SQLITE_TRANSIENT);
        else sqlite3_bind_text(up, 1, (const char *)b, (int)has, SQLITE_TRANSIENT);
    }
}

/* A value of a row of a table; the whole stays a database. */
static bool change_row(sqlite3 *db, unsigned seed)
{
    sqlite3_stmt *pick = NULL, *was = NULL, *up = NULL;
    char sql[300];
    bool done = false;
    snprintf(sql, sizeof sql, "WITH c AS (SELECT t.name AS t, i.name AS c FROM sqlite_schema t, pragma_table_info(t.name) i WHERE t.type = 'table' AND t.name NOT LIKE '%%text%%')"
                              " SELECT t, c FROM c LIMIT 1 OFFSET %u %% (SELECT count(*) FROM c)", seed / 7);
    if (sqlite3_prepare_v2(db, sql, -1, &pick, NULL) != SQLITE_OK || sqlite3_step(pick) != SQLITE_ROW) goto done;
    const char *t = (const char *)sqlite3_column_text(pick, 0), *c = (const char *)sqlite3_column_text(pick, 1);
    snprintf(sql, sizeof sql, "SELECT \"%.60s\" FROM \"%.60s\" LIMIT 1 OFFSET %u", c, t, seed / 1009 % 8);
    if (sqlite3_prepare_v2(db, sql, -1, &was, NULL) != SQLITE_OK || sqlite3_step(was) != SQLITE_ROW) goto done;
    snprintf(sql, sizeof sql, "UPDATE \"%.60s\" SET \"%.60s\" = ?1 WHERE \"%.60s\" = ?2", t, c, c);
    if (sqlite3_prepare_v2(db, sql, -1, &up, NULL) != SQLITE_OK) goto done;
    sqlite3_bind_value(up, 2, sqlite3_column_value(was, 0));
    change_value(up, was, seed / 65537);
    done = sqlite3_step(up) == SQLITE_DONE;
done:
    sqlite3_finalize(up);
    sqlite3_finalize(was);
    sqlite3_finalize(pick);
    return done;
}

size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned seed)
{
    enum { ROOM = 1 << 18 };
    sqlite3 *db = NULL;
    size_t out = 0;
    unsigned char *copy = seed % 4 && n < ROOM ? sqlite3_malloc(ROOM) : NULL;
    if (!copy || sqlite3_open(":memory:", &db) != SQLITE_OK) goto done;
    memcpy(copy, p, n);
    const int rc = sqlite3_deserialize(db, "main", copy, (sqlite3_int64)n, ROOM, SQLITE_DESERIALIZE_FREEONCLOSE);
    copy = NULL;
    if (rc != SQLITE_OK || sqlite3_exec(db, "PRAGMA ignore_check_constraints = ON", NULL, NULL, NULL) != SQLITE_OK || !change_row(db, seed)) goto done;
    sqlite3_int64 has = 0;
    const unsigned char *whole = sqlite3_serialize(db, "main", &has, SQLITE_SERIALIZE_NOCOPY);
    if (whole && (size_t)has <= most) memcpy(p, whole, out = (size_t)has);
done:
    sqlite3_free(copy);
    sqlite3_close(db);
    return out ? out : LLVMFuzzerMutate(p, n, most);
}
#endif

T_FUZZ_MAIN("fuzz_store")
