/* SHA-256 against the examples of FIPS 180-2, the cache of file hashes, the string table. */
#include "base/hash.h"
#include "base/map.h"

#include "t.h"

#include <fcntl.h>
#include <sys/stat.h>

static const char *hex_of(const sd_sha256 *h)
{
    static char hex[65];
    sd_sha256_hex(h, hex);
    return hex;
}

static void known_answers(void **state)
{
    (void)state;
    sd_sha256 h;
    sd_sha256_of(&h, "abc", 3); /* FIPS 180-2, appendix B.1, B.2, B.3 */
    assert_string_equal(hex_of(&h), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sd_sha256_of(&h, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56);
    assert_string_equal(hex_of(&h), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    char *a = malloc(1000000);
    memset(a, 'a', 1000000);
    sd_sha256_of(&h, a, 1000000);
    free(a);
    assert_string_equal(hex_of(&h), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    sd_sha256_of(&h, "", 0);
    assert_string_equal(hex_of(&h), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    /* XXH3_64bits("", seed 0), from the reference implementation's sanity test. */
    assert_true(sd_hash64("", 0) == 0x2d06800538d394c2u);
}

static void files_and_their_cache(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    char path[512], cache[512];
    sd_err err = {0};
    sd_sha256 h, want;
    sd_paths kept;
    struct stat s;
    sd_path_join(path, sizeof path, dir, "f");
    sd_path_join(cache, sizeof cache, dir, "cache/deep");
    size_t n = (3 << 20) + 17; /* more than one read */
    char *text = malloc(n);
    for (size_t i = 0; i < n; i++) text[i] = (char)(i * 31 >> 3);
    t_ok(sd_file_write_atomic(path, text, n, &err), err);
    sd_sha256_of(&want, text, n);
    free(text);
    t_ok(sd_sha256_file(&h, path, NULL, &err), err);
    assert_memory_equal(&h, &want, sizeof h);
    t_ok(sd_sha256_file(&h, path, cache, &err), err);
    assert_memory_equal(&h, &want, sizeof h);
    t_ok(sd_dir_list(&kept, cache, &err), err);
    assert_int_equal(kept.n, 1);

    /* The second time comes from the cache: a changed entry is believed. */
    sd_buf b;
    sd_buf_init(&b, 1000);
    t_ok(sd_file_read(&b, kept.v[0], &err), err);
    memcpy(b.p, "00ff", 4);
    t_ok(sd_file_write_atomic(kept.v[0], b.p, b.n, &err), err);
    t_ok(sd_sha256_file(&h, path, cache, &err), err);
    assert_true(h.b[0] == 0x00 && h.b[1] == 0xff);
    /* A broken one is not. */
    b.p[1] = 'x';
    t_ok(sd_file_write_atomic(kept.v[0], b.p, b.n, &err), err);
    t_ok(sd_sha256_file(&h, path, cache, &err), err);
    assert_memory_equal(&h, &want, sizeof h);
    t_ok(sd_file_write_atomic(kept.v[0], b.p, 70, &err), err);
    t_ok(sd_sha256_file(&h, path, cache, &err), err);
    assert_memory_equal(&h, &want, sizeof h);
    /* Nor one of another file that has the same name in the cache. */
    b.p[1] = '0';
    b.p[b.n - 2] ^= 1;
    t_ok(sd_file_write_atomic(kept.v[0], b.p, b.n, &err), err);
    t_ok(sd_sha256_file(&h, path, cache, &err), err);
    assert_memory_equal(&h, &want, sizeof h);
    sd_buf_release(&b);

    /* Another time of change is another key. */
    assert_int_equal(stat(path, &s), 0);
    struct timespec t[2] = {s.st_atim, s.st_mtim};
    t[1].tv_sec -= 10;
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
    t_ok(sd_sha256_file(&h, path, cache, &err), err);
    assert_memory_equal(&h, &want, sizeof h);
    sd_paths_free(&kept);
    t_ok(sd_dir_list(&kept, cache, &err), err);
    assert_int_equal(kept.n, 2);
    sd_paths_free(&kept);

    t_ok(sd_sha256_file(&h, path, "/proc/no/such/place", &err), err); /* a cache that cannot be: no harm */
    assert_memory_equal(&h, &want, sizeof h);
    assert_int_equal(sd_sha256_file(&h, dir, cache, &err), SD_E_IO);
    assert_int_equal(sd_sha256_file(&h, "/nowhere", cache, &err), SD_E_NOTFOUND);
    t_rmtree(dir);
}

static void table_finds_what_was_set(void **state)
{
    (void)state;
    enum { n = 5000 };
    static char keys[n][16];
    sd_table *t;
    sd_err err = {0};
    int64_t old, blocks = sd_mem_live_blocks();
    t_ok(sd_table_new(&t, 0, &err), err);
    for (int i = 0; i < n; i++) {
        snprintf(keys[i], sizeof keys[i], "key %d", i);
        t_ok(sd_table_set(t, sd_slice_of(keys[i]), i, &old, &err), err);
        assert_int_equal(old, -1);
    }
    assert_int_equal(sd_table_count(t), n);
    for (int i = 0; i < n; i++) assert_int_equal(sd_table_get(t, sd_slice_of(keys[i])), i);
    assert_int_equal(sd_table_get(t, SD_LIT("key")), -1);
    assert_int_equal(sd_table_get(t, SD_LIT("key 5000")), -1);
    t_ok(sd_table_set(t, sd_slice_of(keys[7]), 70, &old, &err), err);
    assert_int_equal(old, 7);
    assert_int_equal(sd_table_get(t, SD_LIT("key 7")), 70);
    assert_int_equal(sd_table_count(t), n);
    t_ok(sd_table_set(t, (sd_slice){NULL, 0}, 5, NULL, &err), err);
    assert_int_equal(sd_table_get(t, SD_LIT("")), 5);
    t_ok(sd_table_set(t, (sd_slice){"a\0b", 3}, 6, NULL, &err), err);
    assert_int_equal(sd_table_get(t, (sd_slice){"a\0c", 3}), -1);
    assert_int_equal(sd_table_get(t, (sd_slice){"a\0b", 3}), 6);
    sd_table_free(t);
    sd_table_free(NULL);
    assert_int_equal(sd_mem_live_blocks(), blocks);
    t_ok(sd_table_new(&t, 100000, &err), err);
    sd_table_free(t);
    assert_int_equal(sd_table_new(&t, INT64_MAX, &err), SD_E_NOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(known_answers), T(files_and_their_cache), T(table_finds_what_was_set)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
