/* Owns: directions and the map of a store. A map is replaced whole, in one transaction: readers see the old one or the new one. */
#include "store/store_int.h"

#include <math.h>

enum { MAX_CLUSTERS = 1 << 20 };

typedef struct map_mem { store_pool pool; } map_mem;

sd_status sd_store_directions(uint16_t *out, sd_store *s, int64_t f0, int64_t n, sd_err *err)
{
    sqlite3_stmt *q = NULL;
    int64_t d = s->info.dict.d, at = 0;
    int rc = SQLITE_ERROR;
    sd_status st = SD_OK;
    if (sqlite3_prepare_v2(s->db, "SELECT id, half FROM direction WHERE id >= ?1 AND id < ?2 ORDER BY id", -1, &q, NULL) != SQLITE_OK) goto done;
    sqlite3_bind_int64(q, 1, f0);
    sqlite3_bind_int64(q, 2, f0 + n);
    while (!st && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        sd_slice b = sd_store__blob(q, 1);
        if (sqlite3_column_int64(q, 0) != f0 + at || at >= n || b.n != (size_t)d * 2) {
            st = sd_store__damaged(s, err, "the direction of feature %" PRId64 " is missing or has another length", f0 + at);
            break;
        }
        const uint8_t *p = (const uint8_t *)b.p;
        for (int64_t i = 0; i < d; i++) out[at * d + i] = (uint16_t)(p[2 * i] | p[2 * i + 1] << 8);
        at++;
    }
done:
    if (!st && rc != SQLITE_DONE && rc != SQLITE_ROW) st = sd_store__fail(s->db, s->path, "reading directions", err);
    sqlite3_finalize(q);
    if (st || at == n) return st;
    if (at) return sd_store__damaged(s, err, "the direction of feature %" PRId64 " is missing", f0 + at);
    sd_fail(err, SD_E_NOTFOUND, "%s: built by a version that did not keep the directions of features", s->path);
    return sd_hint(err, "build it again with `sonde feature build`, or give the dictionary with --dict");
}

void sd_feature_map_release(sd_feature_map *m)
{
    map_mem *mem = m->mem;
    if (mem) sd_store__pool_release(&mem->pool);
    sd_free(mem);
    *m = (sd_feature_map){0};
}

static int64_t count_rows(sd_store *s, const char *sql)
{
    sqlite3_stmt *q = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW) n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

static void read_head(sd_feature_map *m, sqlite3_stmt *q)
{
    char *const text[2] = {m->tool, m->created};
    for (int i = 0; i < 2; i++) {
        sd_slice t = sd_store__text(q, i);
        size_t n = t.n < sizeof m->tool - 1 ? t.n : sizeof m->tool - 1;
        memcpy(text[i], t.p, n);
        text[i][n] = '\0';
    }
    m->k = sqlite3_column_int(q, 2);
    m->epochs = sqlite3_column_int(q, 3);
    m->min_dist = sqlite3_column_double(q, 4);
    m->seed = (uint64_t)sqlite3_column_int64(q, 5);
    m->n_checked = sqlite3_column_int64(q, 6);
    m->kept = sd_store__f64(q, 7);
    m->kept_chance = sd_store__f64(q, 8);
    m->trust = sd_store__f64(q, 9);
    m->modularity = sd_store__f64(q, 10);
}

static sd_status read_clusters(sd_feature_map *m, sd_store *s, sd_err *err)
{
    sqlite3_stmt *q = NULL;
    store_pool *p = &((map_mem *)m->mem)->pool;
    int64_t n = count_rows(s, "SELECT count(*) FROM map_cluster"), at = 0;
    sd_status st = SD_OK;
    if (n < 0 || n > MAX_CLUSTERS) return sd_store__damaged(s, err, "its map claims %" PRId64 " clusters", n);
    if (!(m->cluster = sd_store__push(p, (size_t)(n + 1) * sizeof *m->cluster))) return sd_fail(err, SD_E_NOMEM, "out of memory: the map");
    if (sqlite3_prepare_v2(s->db, "SELECT id, n, words FROM map_cluster ORDER BY id", -1, &q, NULL) != SQLITE_OK)
        return sd_store__fail(s->db, s->path, "reading the map", err);
    while (!st && sqlite3_step(q) == SQLITE_ROW && at < n) {
        sd_slice w = sd_store__text(q, 2);
        if (sqlite3_column_int64(q, 0) != at) st = sd_store__damaged(s, err, "cluster %" PRId64 " of its map is missing", at);
        m->cluster[at] = (sd_feature_cluster){.n = sqlite3_column_int64(q, 1), .words = sd_store__push_str(p, w.p, w.n)};
        if (!m->cluster[at++].words) st = sd_fail(err, SD_E_NOMEM, "out of memory: the map");
    }
    sqlite3_finalize(q);
    m->n_cluster = at;
    return st;
}

static sd_status read_points(sd_feature_map *m, sd_store *s, sd_err *err)
{
    sqlite3_stmt *q = NULL;
    store_pool *p = &((map_mem *)m->mem)->pool;
    int64_t n = count_rows(s, "SELECT count(*) FROM map_point"), last = -1;
    int rc = SQLITE_DONE;
    sd_status st = SD_OK;
    if (n < 0 || n > s->info.dict.m) return sd_store__damaged(s, err, "its map has %" PRId64 " points, it has %" PRId64 " features", n, s->info.dict.m);
    if (!(m->point = sd_store__push(p, (size_t)(n + 1) * sizeof *m->point))) return sd_fail(err, SD_E_NOMEM, "out of memory: the map");
    if (sqlite3_prepare_v2(s->db, "SELECT id, x, y, cluster FROM map_point ORDER BY id", -1, &q, NULL) != SQLITE_OK)
        return sd_store__fail(s->db, s->path, "reading the map", err);
    while (!st && (rc = sqlite3_step(q)) == SQLITE_ROW && m->n_point < n) {
        sd_feature_point o = {sqlite3_column_int64(q, 0), (float)sqlite3_column_double(q, 1), (float)sqlite3_column_double(q, 2), sqlite3_column_int(q, 3)};
        if (o.index <= last || o.index >= s->info.dict.m || !isfinite(o.x) || !isfinite(o.y) || o.cluster < 0 || o.cluster >= m->n_cluster)
            st = sd_store__damaged(s, err, "the place of feature %" PRId64 " on its map is out of bounds", o.index);
        last = o.index;
        m->point[m->n_point++] = o;
    }
    if (!st && rc != SQLITE_DONE && rc != SQLITE_ROW) st = sd_store__fail(s->db, s->path, "reading the map", err);
    sqlite3_finalize(q);
    return st;
}

sd_status sd_store_get_map(sd_feature_map *out, sd_store *s, sd_err *err)
{
    sqlite3_stmt *q = NULL;
    *out = (sd_feature_map){0};
    sd_status st = sd_alloc_zero(&out->mem, sizeof(map_mem), "the map", err);
    if (st) return st;
    int rc = sqlite3_prepare_v2(s->db, "SELECT tool, created, k, epochs, min_dist, seed, n_checked, kept, kept_chance, trust, modularity FROM map",
                                -1, &q, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(q);
    if (rc == SQLITE_ROW) read_head(out, q);
    else if (rc != SQLITE_DONE) st = sd_store__fail(s->db, s->path, "reading the map", err);
    sqlite3_finalize(q);
    if (!st && rc == SQLITE_ROW) st = read_clusters(out, s, err);
    if (!st && rc == SQLITE_ROW) st = read_points(out, s, err);
    if (st) sd_feature_map_release(out);
    return st;
}

static sd_status put_head(sqlite3_stmt *q, sd_store *s, const sd_feature_map *m, sd_err *err)
{
    sd_store__bind_str(q, 1, m->tool);
    sd_store__bind_str(q, 2, m->created);
    sqlite3_bind_int(q, 3, m->k);
    sqlite3_bind_int(q, 4, m->epochs);
    sd_store__bind_f64(q, 5, m->min_dist);
    sqlite3_bind_int64(q, 6, (int64_t)m->seed);
    sqlite3_bind_int64(q, 7, m->n_checked);
    sd_store__bind_f64(q, 8, m->kept);
    sd_store__bind_f64(q, 9, m->kept_chance);
    sd_store__bind_f64(q, 10, m->trust);
    sd_store__bind_f64(q, 11, m->modularity);
    return sd_store__run(s, q, "writing the map", err);
}

static sd_status put_clusters(sqlite3_stmt *q, sd_store *s, const sd_feature_map *m, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t i = 0; i < m->n_cluster && !st; i++) {
        sqlite3_bind_int64(q, 1, i);
        sqlite3_bind_int64(q, 2, m->cluster[i].n);
        sd_store__bind_str(q, 3, m->cluster[i].words);
        st = sd_store__run(s, q, "writing the map", err);
    }
    return st;
}

static sd_status put_points(sqlite3_stmt *q, sd_store *s, const sd_feature_map *m, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t i = 0; i < m->n_point && !st; i++) {
        const sd_feature_point *p = &m->point[i];
        SD_ASSERT(isfinite(p->x) && isfinite(p->y) && p->cluster >= 0 && p->cluster < m->n_cluster);
        sqlite3_bind_int64(q, 1, p->index);
        sqlite3_bind_double(q, 2, (double)p->x);
        sqlite3_bind_double(q, 3, (double)p->y);
        sqlite3_bind_int(q, 4, p->cluster);
        st = sd_store__run(s, q, "writing the map", err);
    }
    return st;
}

sd_status sd_store_put_map(sd_store *s, const sd_feature_map *m, sd_err *err)
{
    static const char *const sql[3] = {"INSERT INTO map VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                                       "INSERT INTO map_cluster VALUES (?1, ?2, ?3)", "INSERT INTO map_point VALUES (?1, ?2, ?3, ?4)"};
    static sd_status (*const put[3])(sqlite3_stmt *, sd_store *, const sd_feature_map *, sd_err *) = {put_head, put_clusters, put_points};
    SD_ASSERT(s->kind == STORE_EDIT);
    sd_status st = sd_store__exec(s->db, s->path, "BEGIN IMMEDIATE; DELETE FROM map; DELETE FROM map_cluster; DELETE FROM map_point",
                                  "writing the map", err);
    for (int i = 0; i < 3 && !st; i++) {
        sqlite3_stmt *q = NULL;
        if (sqlite3_prepare_v2(s->db, sql[i], -1, &q, NULL) != SQLITE_OK) st = sd_store__fail(s->db, s->path, "writing the map", err);
        else st = put[i](q, s, m, err);
        sqlite3_finalize(q);
    }
    return sd_store__commit(s, st, "writing the map", err);
}
