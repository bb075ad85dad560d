/* The n-th request for memory and the n-th write fail, for every n until all goes well: an error each time, nothing
 * leaked, and at the place of the file either the old one or the new one. */
#include "../../unit/file/gguf_build.h"

#define MAX_FAULTS 2000 /* far above what one call makes; a loop that does not end is a failure */

static const float old_data[2] = {1, 2}, new_data[3] = {3, 4, 5};

static sd_status write_tensor(const char *path, const float *p, int64_t n, sd_err *err)
{
    sd_st_tensor t[2] = {{"w", SD_F32, 1, {n}, p}, {"ids", SD_I32, 1, {n}, p}};
    return sd_safetensors_write(path, t, 2, (const char *const[]){"format", "pt", NULL}, err);
}

static int64_t stored(const char *path)
{
    sd_weights *w;
    sd_err err = {0};
    t_ok(sd_weights_open(&w, path, &err), err);
    int64_t n = sd_weights_find(w, "w")->dim[0];
    assert_memory_equal(sd_weights_find(w, "w")->data, n == 2 ? old_data : new_data, (size_t)n * 4);
    sd_weights_close(w);
    return n;
}

static int64_t files_in(const char *dir)
{
    sd_paths p;
    sd_err err = {0};
    t_ok(sd_dir_list(&p, dir, &err), err);
    int64_t n = p.n;
    sd_paths_free(&p);
    return n;
}

static void no_memory_while_reading(const char *path)
{
    int64_t live = sd_mem_live_blocks(), n = 1;
    for (; n < MAX_FAULTS; n++) {
        sd_err err = {0};
        sd_weights *w = NULL;
        sd_mem_fail_nth(n);
        sd_status st = sd_weights_open(&w, path, &err);
        sd_mem_fail_nth(0);
        if (st == SD_OK) {
            sd_weights_close(w);
            break;
        }
        if (st != SD_E_NOMEM) fail_msg("request %lld: status %s: %s", (long long)n, sd_status_name(st), err.msg);
        assert_int_not_equal(err.msg[0], 0);
        assert_null(w);
        assert_int_equal(sd_mem_live_blocks(), live);
    }
    assert_true(n > 5 && n < MAX_FAULTS);
    assert_int_equal(sd_mem_live_blocks(), live);
}

static void reading_without_memory(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    sd_buf b;
    assert_true(sd_path_join(path, sizeof path, dir, "a.gguf"));
    sd_buf_init(&b, 1 << 16);
    gb_valid(&b, 3);
    t_ok(sd_file_write_atomic(path, b.p, b.n, &err), err);
    sd_buf_release(&b);
    no_memory_while_reading(path);
    assert_true(sd_path_join(path, sizeof path, dir, "s.safetensors"));
    t_ok(write_tensor(path, old_data, 2, &err), err);
    no_memory_while_reading(path);
    static const char index[] = "{\"weight_map\":{\"w\":\"s.safetensors\"}}";
    assert_true(sd_path_join(path, sizeof path, dir, "config.json"));
    t_ok(sd_file_write_atomic(path, "{}", 2, &err), err);
    assert_true(sd_path_join(path, sizeof path, dir, "model.safetensors.index.json"));
    t_ok(sd_file_write_atomic(path, index, sizeof index - 1, &err), err);
    no_memory_while_reading(dir);
    t_rmtree(dir);
}

static void strings_without_memory(void **state)
{
    (void)state;
    sd_buf b;
    sd_err err = {0};
    sd_weights *w;
    sd_kv_array a;
    sd_slice *s;
    sd_buf_init(&b, 1 << 16);
    gb_valid(&b, 3);
    t_ok(sd_weights_open_bytes(&w, b.p, b.n, "mem.gguf", NULL, &err), err);
    t_ok(sd_weights_kv_arr(w, "tokenizer.ggml.tokens", &a, &err), err);
    sd_mem_fail_nth(1);
    assert_int_equal(sd_kv_array_strings(&a, &s, &err), SD_E_NOMEM);
    sd_mem_fail_nth(0);
    assert_null(s);
    sd_weights_close(w);
    sd_buf_release(&b);
}

static void writing_without_memory(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    assert_true(sd_path_join(path, sizeof path, dir, "w.safetensors"));
    t_ok(write_tensor(path, old_data, 2, &err), err);
    int64_t live = sd_mem_live_blocks(), n = 1;
    for (; n < MAX_FAULTS; n++) {
        sd_mem_fail_nth(n);
        sd_status st = write_tensor(path, new_data, 3, &err);
        sd_mem_fail_nth(0);
        assert_int_equal(sd_mem_live_blocks(), live);
        assert_int_equal(files_in(dir), 1);
        if (st == SD_OK) break;
        if (st != SD_E_NOMEM) fail_msg("request %lld: status %s: %s", (long long)n, sd_status_name(st), err.msg);
        assert_int_equal(stored(path), 2);
    }
    assert_true(n > 5 && n < MAX_FAULTS);
    assert_int_equal(stored(path), 3);
    t_rmtree(dir);
}

static void writing_to_a_full_disk(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    assert_true(sd_path_join(path, sizeof path, dir, "w.safetensors"));
    t_ok(write_tensor(path, old_data, 2, &err), err);
    int64_t live = sd_mem_live_blocks(), n = 1;
    for (; n < MAX_FAULTS; n++) {
        sd_file_fail_nth(n);
        sd_status st = write_tensor(path, new_data, 3, &err);
        sd_file_fail_nth(0);
        assert_int_equal(sd_mem_live_blocks(), live);
        assert_int_equal(files_in(dir), 1);
        if (st == SD_OK) break;
        if (st != SD_E_NOSPACE) fail_msg("write %lld: status %s: %s", (long long)n, sd_status_name(st), err.msg);
        assert_non_null(strstr(err.msg, path));
        (void)stored(path); /* the old or the new one, whole */
    }
    assert_true(n > 2 && n < MAX_FAULTS);
    assert_int_equal(stored(path), 3);
    t_rmtree(dir);
}

/* Many small pieces and one larger than any buffer: the error comes from append or from end, never later. */
static void streaming_to_a_full_disk(void **state)
{
    (void)state;
    enum { ROWS = 400, COLS = 1024 };
    const char *dir = t_tmpdir();
    char path[512];
    static float row[COLS];
    const sd_st_tensor t = {"w", SD_F32, 2, {ROWS, COLS}, NULL};
    assert_true(sd_path_join(path, sizeof path, dir, "w.safetensors"));
    int64_t live = sd_mem_live_blocks(), n = 1;
    for (; n < MAX_FAULTS; n++) {
        sd_err err = {0};
        sd_st_writer *w = NULL;
        sd_file_fail_nth(n);
        sd_status st = sd_safetensors_begin(&w, path, &t, 1, NULL, &err);
        for (int i = 0; i < ROWS && !st; i++) st = sd_safetensors_append(w, row, sizeof row, &err);
        if (st)
            sd_safetensors_abort(w);
        else
            st = sd_safetensors_end(w, &err);
        sd_file_fail_nth(0);
        assert_int_equal(sd_mem_live_blocks(), live);
        if (st == SD_OK) break;
        assert_int_equal(st, SD_E_NOSPACE);
    }
    assert_true(n > 4 && n < MAX_FAULTS);
    assert_int_equal(files_in(dir), 1);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(reading_without_memory), T(strings_without_memory),   T(writing_without_memory),
        T(writing_to_a_full_disk), T(streaming_to_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
