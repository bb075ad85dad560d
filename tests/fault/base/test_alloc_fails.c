/* Makes the 1st, 2nd, .. request for memory fail until the work succeeds: each failure is SD_E_NOMEM with a
 * sentence, nothing stays allocated (jansson's blocks are counted too), no file stays behind. */
#include "base/hash.h"
#include "base/json.h"
#include "base/map.h"

#include "t.h"

static char dir[256], file[512];

typedef sd_status (*work)(sd_err *err);

/* Runs fn with every request failing once; returns how many requests a clean run makes. */
static int fail_each(work fn)
{
    int64_t blocks = sd_mem_live_blocks();
    for (int n = 1; n < 100000; n++) {
        sd_err err = {0};
        sd_mem_fail_nth(n);
        sd_status st = fn(&err);
        int64_t made = sd_mem_fail_nth(0);
        assert_int_equal(sd_mem_live_blocks(), blocks);
        if (st == SD_OK) {
            assert_int_equal(made, n - 1); /* the failure was never reached */
            return n - 1;
        }
        if (st != SD_E_NOMEM || err.code != SD_E_NOMEM || !err.msg[0])
            fail_msg("request %d: status %d: %s", n, (int)st, err.msg);
    }
    fail_msg("no end");
    return 0;
}

static sd_status parse_json(sd_err *err)
{
    static const char text[] =
        "{\"a\":[1,2.5,\"three\",{\"b\":null}],\"long\":\"0123456789012345678901234567890123456789\","
        "\"wide\":12345678901234567890123,\"t\":true,\"c\":[[[[]]]],\"d\":{},\"e\":{},\"f\":{},\"g\":{},\"h\":{},\"i\":"
        "{}}";
    json_t *v;
    sd_status st = sd_json_parse(&v, text, sizeof text - 1, "text", err);
    if (st == SD_OK)
        json_decref(v);
    else
        assert_null(v);
    return st;
}

static sd_status load_json(sd_err *err)
{
    json_t *v;
    sd_status st = sd_json_load(&v, file, 10000, err);
    if (st == SD_OK) json_decref(v);
    return st;
}

static sd_status write_json(sd_err *err)
{
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 1 << 20);
    sd_jw_init(&w, &b);
    sd_jw_arr(&w);
    for (int i = 0; i < 1000; i++) sd_jw_str(&w, "some words in a row");
    sd_jw_f64(&w, 0.1);
    sd_jw_end(&w);
    sd_status st = sd_buf_check(&b, "an answer", err);
    if (st == SD_OK) assert_int_equal(b.n, 2 + 1000 * 22 + 3);
    sd_buf_release(&b);
    return st;
}

static sd_status print_long(sd_err *err)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 20);
    sd_buf_printf(&b, "%05000d", 1);
    sd_status st = sd_buf_check(&b, "a line", err);
    sd_buf_release(&b);
    return st;
}

static sd_status fill_table(sd_err *err)
{
    static char keys[200][16];
    sd_table *t;
    sd_status st = sd_table_new(&t, 4, err);
    if (st) {
        assert_null(t);
        return st;
    }
    int i = 0;
    for (; i < 200 && !st; i++) {
        snprintf(keys[i], sizeof keys[i], "%d", i);
        st = sd_table_set(t, sd_slice_of(keys[i]), i, NULL, err);
    }
    /* What was set before the failure is still found. */
    int64_t kept = st ? i - 1 : i;
    assert_int_equal(sd_table_count(t), kept);
    for (int k = 0; k < kept; k++) assert_int_equal(sd_table_get(t, sd_slice_of(keys[k])), k);
    sd_table_free(t);
    return st;
}

static sd_status write_file(sd_err *err)
{
    char path[512];
    sd_paths p = {0};
    sd_path_join(path, sizeof path, dir, "out");
    sd_status st = sd_file_write_atomic(path, "new", 3, err);
    assert_int_equal(sd_file_exists(path), st == SD_OK);
    unlink(path);
    sd_mem_fail_nth(0);
    assert_int_equal(sd_dir_list(&p, dir, NULL), SD_OK);
    assert_int_equal(p.n, 1); /* `file` alone: no temporary one */
    sd_paths_free(&p);
    return st;
}

static sd_status list_folder(sd_err *err)
{
    sd_paths p;
    sd_status st = sd_dir_list(&p, dir, err);
    assert_int_equal(p.n, st == SD_OK);
    sd_paths_free(&p);
    return st;
}

static sd_status hash_file(sd_err *err)
{
    sd_sha256 h;
    return sd_sha256_file(&h, file, NULL, err);
}

static sd_status take_arena(sd_err *err)
{
    sd_arena a;
    sd_status st = sd_arena_init(&a, 1 << 20, "a plan", err);
    assert_true((a.base == NULL) == (st != SD_OK));
    sd_arena_release(&a);
    return st;
}

static void json_reading(void **state)
{
    (void)state;
    assert_true(fail_each(parse_json) > 30);
    assert_true(fail_each(load_json) > 3);
}

static void json_writing(void **state)
{
    (void)state;
    assert_true(fail_each(write_json) > 5);
    assert_true(fail_each(print_long) >= 1);
}

static void tables(void **state)
{
    (void)state;
    assert_true(fail_each(fill_table) > 5);
}

static void files(void **state)
{
    (void)state;
    /* write_file switches the hook off before it looks round, so its clean run is counted by the loop alone. */
    int64_t blocks = sd_mem_live_blocks();
    int failures = 0;
    for (int n = 1;; n++) {
        sd_err err = {0};
        sd_mem_fail_nth(n);
        sd_status st = write_file(&err);
        assert_int_equal(sd_mem_live_blocks(), blocks);
        if (st == SD_OK) break;
        assert_int_equal(st, SD_E_NOMEM);
        failures++;
    }
    assert_int_equal(failures, 4);
    assert_true(fail_each(list_folder) >= 3);
    assert_int_equal(fail_each(hash_file), 1);
    assert_int_equal(fail_each(take_arena), 1);
}

/* A cache that cannot be written for want of memory costs nothing but time. */
static void the_hash_cache_is_fail_soft(void **state)
{
    (void)state;
    char cache[300];
    sd_sha256 h, want;
    sd_path_join(cache, sizeof cache, dir, ".cache");
    sd_sha256_of(&want, "{\"key\": [1, 2]}", 15);
    int soft = 0;
    for (int n = 1; n < 100; n++) {
        sd_err err = {0};
        sd_mem_fail_nth(n);
        sd_status st = sd_sha256_file(&h, file, cache, &err);
        int64_t made = sd_mem_fail_nth(0);
        if (st == SD_OK)
            assert_memory_equal(&h, &want, sizeof h);
        else
            assert_int_equal(st, SD_E_NOMEM);
        if (st == SD_OK && made >= n) soft++;
        if (made < n) break;
        t_rmtree(cache);
    }
    assert_true(soft >= 4);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "%s", t_tmpdir());
    sd_path_join(file, sizeof file, dir, "c.json");
    return sd_file_write_atomic(file, "{\"key\": [1, 2]}", 15, NULL) != SD_OK;
}

static int tear_down(void **state)
{
    (void)state;
    t_rmtree(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(json_reading), T(json_writing), T(tables), T(files), T(the_hash_cache_is_fail_soft),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
