/* GGUFs in parts: the first part opens all of them; what is missing, misnamed or of another model is said. */
#include "gguf_build.h"

#include <unistd.h>

enum { PARTS = 3, MAX_BYTES = 1 << 16 };

typedef struct part { uint32_t no, count, tensors; float value; } part;

/* blk.NO.w [2] of two values; the first part also has a name and the number of tensors. */
static void write_part(const char *path, part p)
{
    char name[32];
    sd_buf b;
    sd_err err = {0};
    sd_buf_init(&b, MAX_BYTES);
    gb_header(&b, 3, 1, p.no == 0 ? 4 : 2);
    gb_kv_u32(&b, "split.no", p.no);
    gb_kv_u32(&b, "split.count", p.count);
    if (p.no == 0) {
        gb_kv_str(&b, "general.name", "parted");
        gb_kv_u32(&b, "split.tensors.count", p.tensors);
    }
    snprintf(name, sizeof name, "blk.%u.w", p.no);
    gb_tensor(&b, name, 1, (uint64_t[1]){2}, GB_F32, 0);
    gb_pad(&b, 32);
    const float v[2] = {p.value, -p.value};
    sd_buf_put(&b, v, sizeof v);
    t_ok(sd_file_write_atomic(path, b.p, b.n, &err), err);
    sd_buf_release(&b);
}

static char dir[400];
static const char *at(int i)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/m-%05d-of-00003.gguf", dir, i + 1);
    return path;
}

static void write_all(void)
{
    snprintf(dir, sizeof dir, "%s", t_tmpdir());
    for (uint32_t i = 0; i < PARTS; i++) write_part(at((int)i), (part){i, PARTS, PARTS, (float)(i + 1)});
}

static void refused(const char *path, sd_status want, const char *say, const char *hint)
{
    sd_err err = {0};
    sd_weights *w;
    assert_int_equal(sd_weights_open(&w, path, &err), want);
    if (!strstr(err.msg, say) || !strstr(err.hint, hint)) fail_msg("%s (hint: %s)", err.msg, err.hint);
}

static void test_whole(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_weights *w;
    sd_slice name;
    write_all();
    t_ok(sd_weights_open(&w, at(0), &err), err);
    assert_int_equal(sd_weights_count(w), PARTS);
    t_ok(sd_weights_kv_str(w, "general.name", &name, &err), err);
    assert_true(sd_slice_eq_str(name, "parted"));
    for (int i = 0; i < PARTS; i++) {
        char tensor[32];
        snprintf(tensor, sizeof tensor, "blk.%d.w", i);
        const sd_tensor *t = sd_weights_find(w, tensor);
        assert_non_null(t);
        assert_true(((const float *)t->data)[0] == (float)(i + 1) && ((const float *)t->data)[1] == -(float)(i + 1));
    }
    sd_weights_close(w);
    /* A tokenizer needs the first part alone. */
    assert_int_equal(unlink(at(2)), 0);
    t_ok(sd_weights_open_opt(&w, at(0), &(sd_weights_opt){.meta_only = true}, &err), err);
    sd_weights_close(w);
    refused(at(0), SD_E_NOTFOUND, "m-00003-of-00003.gguf", "part 3 of 3");
    t_rmtree(dir);
}

static void test_lies(void **state)
{
    (void)state;
    char other[600];
    write_all();
    refused(at(1), SD_E_ARG, "part 2 of 3", "m-00001-of-00003.gguf");
    write_part(at(1), (part){2, PARTS, 0, 1});
    refused(at(0), SD_E_FORMAT, "says that it is part 3 of 3, its name says 2 of 3", "");
    write_part(at(1), (part){1, 7, 0, 1});
    refused(at(0), SD_E_FORMAT, "says that it is part 2 of 7", "");
    write_part(at(1), (part){1, PARTS, 0, 1});
    write_part(at(0), (part){0, PARTS, 5, 1});
    refused(at(0), SD_E_FORMAT, "the parts hold 3 tensors, split.tensors.count says 5", "");
    write_part(at(0), (part){0, 100000, PARTS, 1});
    refused(at(0), SD_E_FORMAT, "the first of 100000 parts", "");
    write_part(at(0), (part){0, 2, PARTS, 1});
    refused(at(0), SD_E_FORMAT, "-00001-of-00002.gguf", "--merge");
    snprintf(other, sizeof other, "%s/other.gguf", dir);
    write_part(other, (part){0, PARTS, PARTS, 1});
    refused(other, SD_E_FORMAT, "its name does not end in -00001-of-00003.gguf", "--merge");
    sd_err err = {0};
    t_ok(sd_file_write_atomic(at(1), "<html>", 6, &err), err);
    write_part(at(0), (part){0, PARTS, PARTS, 1});
    refused(at(0), SD_E_FORMAT, "no GGUF file, but part 2", "");
    t_rmtree(dir);
}

static void test_names(void **state)
{
    (void)state;
    int64_t no, count;
    char out[64];
    assert_true(sd_gguf_part_of("a/b-00002-of-00010.gguf", &no, &count) && no == 2 && count == 10);
    static const char *const not[] = {"", "m.gguf", "-00003-of-00002.gguf", "m-0001-of-0002.gguf", "m-00001-of-00002.ggu", "m-00000-of-00002.gguf", "m-+0001-of-00002.gguf", "m-00001_of-00002.gguf"};
    for (size_t i = 0; i < sizeof not / sizeof not[0]; i++)
        if (sd_gguf_part_of(not[i], &no, &count)) fail_msg("\"%s\" was taken as a part", not[i]);
    assert_true(sd_gguf_parts("m-00001-of-00003.gguf") == 3 && sd_gguf_parts("m-00002-of-00003.gguf") == 1 && sd_gguf_parts("m.gguf") == 1);
    assert_true(sd_gguf_part(out, sizeof out, "m-00001-of-00003.gguf", 3));
    assert_string_equal(out, "m-00003-of-00003.gguf");
    assert_false(sd_gguf_part(out, 10, "m-00001-of-00003.gguf", 3));
    assert_true(sd_gguf_part(out, sizeof out, "m.gguf", 1) && strcmp(out, "m.gguf") == 0);
}

/* Every request for memory fails once: nothing is left behind. */
static void test_memory(void **state)
{
    (void)state;
    write_all();
    const int64_t live = sd_mem_live_blocks();
    int64_t n = 0;
    for (sd_status st = SD_E_NOMEM; st; n++) {
        sd_err err = {0};
        sd_weights *w = NULL;
        sd_mem_fail_nth(n + 1);
        st = sd_weights_open(&w, at(0), &err);
        sd_mem_fail_nth(0);
        if (st && st != SD_E_NOMEM) fail_msg("request %d: %s", (int)n, err.msg);
        sd_weights_close(w);
        assert_int_equal(sd_mem_live_blocks(), live);
        assert_true(n < 1000);
    }
    assert_true(n > 10);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_whole), T(test_lies), T(test_names), T(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
