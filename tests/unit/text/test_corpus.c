/* Documents out of files, and files that are refused with their place. */
#include "t.h"

#include "text/corpus.h"

static const char *dir;

static int setup(void **state)
{
    (void)state;
    dir = t_tmpdir();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    t_rmtree(dir);
    return 0;
}

static const char *file(const char *name, const char *text, size_t n)
{
    static char path[512];
    sd_err err = {0};
    assert_true(sd_path_join(path, sizeof path, dir, name));
    t_ok(sd_file_write_atomic(path, text, n, &err), err);
    return path;
}

#define FILE_OF(name, text) file(name, text, sizeof(text) - 1)

static sd_corpus *open_one(const char *path)
{
    sd_err err = {0};
    sd_corpus *c;
    t_ok(sd_corpus_open(&c, &path, 1, &err), err);
    return c;
}

static void doc_is(const sd_corpus *c, int64_t i, const char *want)
{
    sd_slice s = sd_corpus_text(c, i);
    if (!sd_slice_eq_str(s, want))
        fail_msg("document %lld is \"%.*s\", expected \"%s\"", (long long)i, SD_SLICE(s), want);
}

static void refused(const char *path, sd_status want, const char *say, const char *hint)
{
    sd_err err = {0};
    sd_corpus *c = (sd_corpus *)&err;
    sd_status st = sd_corpus_open(&c, &path, 1, &err);
    assert_null(c);
    if (st != want || !strstr(err.msg, say)) fail_msg("status %d: \"%s\", expected \"%s\"", (int)st, err.msg, say);
    if (path[0] && !strstr(err.msg, path)) fail_msg("\"%s\" does not name %s", err.msg, path);
    if (hint && !strstr(err.hint, hint)) fail_msg("hint \"%s\", expected \"%s\"", err.hint, hint);
}

static void test_prose(void **state)
{
    (void)state;
    sd_corpus *c = open_one(FILE_OF("a.txt", "\xef\xbb\xbf\n  Caf\xc3\xa9.\n\nTwo.\n \n"));
    assert_int_equal(sd_corpus_count(c), 1);
    doc_is(c, 0, "Caf\xc3\xa9.\n\nTwo.");
    assert_int_equal(sd_corpus_bytes(c), 12);
    assert_true(sd_slice_ends(sd_slice_of(sd_corpus_name(c, 0)), "/a.txt"));
    sd_corpus_close(c);
    sd_corpus_close(NULL);
}

/* Above 64 KiB: cut at blank lines after 2 KiB each; nothing of the text is lost but white space at the cuts. */
static void test_long_prose(void **state)
{
    (void)state;
    sd_buf b;
    sd_buf_init(&b, 1 << 22);
    for (int i = 0; b.n < 300000; i++)
        sd_buf_printf(&b, "Paragraph %d has some words in it.\nAnd a line.%s", i, i % 3 ? "\n\n" : "\r\n \t\r\n");
    sd_corpus *c = open_one(file("long.txt", b.p, b.n));
    int64_t n = sd_corpus_count(c);
    size_t words = 0;
    assert_in_range(n, 300000 / (2 << 10) - 8, 300000 / (2 << 10) + 1);
    for (int64_t i = 0; i < n; i++) {
        sd_slice s = sd_corpus_text(c, i);
        assert_true(sd_slice_starts(s, "Paragraph ") && sd_slice_ends(s, "And a line."));
        if (i + 1 < n) assert_in_range(s.n, (2 << 10) - 8, (2 << 10) + 100);
        for (size_t k = 0; k + 9 <= s.n; k++) words += memcmp(s.p + k, "Paragraph", 9) == 0;
    }
    size_t want = 0;
    for (size_t k = 0; k + 9 <= b.n; k++) want += memcmp(b.p + k, "Paragraph", 9) == 0;
    assert_int_equal(words, want);
    sd_corpus_close(c);
    sd_buf_reset(&b);
    for (int i = 0; b.n < 300000; i++) sd_buf_printf(&b, "line %d without a blank one\n", i);
    c = open_one(file("lines.txt", b.p, b.n));
    assert_int_equal(sd_corpus_count(c), 5); /* at the first line end after 64 KiB */
    for (int64_t i = 0; i < 5; i++) assert_true(sd_slice_starts(sd_corpus_text(c, i), "line "));
    sd_corpus_close(c);
    sd_buf_reset(&b);
    for (int i = 0; b.n < 200000; i++) sd_buf_puts(&b, "word ");
    c = open_one(file("oneline.txt", b.p, b.n));
    assert_int_equal(sd_corpus_count(c), 1);
    sd_corpus_close(c);
    sd_buf_release(&b);
}

static void test_jsonl(void **state)
{
    (void)state;
    sd_corpus *c = open_one(
        FILE_OF("a.jsonl", "{\"text\": \" one \\u00e9\"}\n\n{\"content\": \"two\", \"id\": 3}\r\n{\"text\": \"\"}\n"
                           "{\"content\": \"x\", \"text\": \"text wins\"}"));
    assert_int_equal(sd_corpus_count(c), 3);
    doc_is(c, 0, "one \xc3\xa9");
    doc_is(c, 1, "two");
    doc_is(c, 2, "text wins");
    sd_corpus_close(c);
    refused(FILE_OF("b.jsonl", "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n"), SD_E_FORMAT, "line 2: no text field",
            "{\"text\"");
    refused(FILE_OF("c.jsonl", "{\"text\": \"a\"}\n\n{\"text\": 1}\n"), SD_E_FORMAT, "line 3: no text field", NULL);
    refused(FILE_OF("d.jsonl", "{\"text\": \"a\"\n"), SD_E_FORMAT, "d.jsonl, line 1, column 12", NULL);
    refused(FILE_OF("e.jsonl", "[\"a\"]\n"), SD_E_FORMAT, "line 1: no text field", NULL);
}

static void test_csv(void **state)
{
    (void)state;
    sd_corpus *c =
        open_one(FILE_OF("a.csv", "id,text,note\r\n1,plain,\r\n2,\"a, \"\"b\"\"\r\nc\",x\r\n\r\n3,,y\n4,a\"b,"));
    assert_int_equal(sd_corpus_count(c), 3);
    doc_is(c, 0, "plain");
    doc_is(c, 1, "a, \"b\"\r\nc");
    doc_is(c, 2, "a\"b");
    sd_corpus_close(c);
    c = open_one(FILE_OF("b.csv", "\xef\xbb\xbf\"content\"\n\"only\""));
    assert_int_equal(sd_corpus_count(c), 1);
    doc_is(c, 0, "only");
    sd_corpus_close(c);
    refused(FILE_OF("c.csv", "id,body\n1,a\n"), SD_E_FORMAT, "line 1: no column named text", "text or content");
    refused(FILE_OF("d.csv", "id,text\n1,a\n2,b,c\n"), SD_E_FORMAT, "line 3: 3 fields, the first line has 2", "quotes");
    refused(FILE_OF("e.csv", "id,text\n1,\"a\nb\nc"), SD_E_FORMAT, "line 2: a quoted field does not end", NULL);
    refused(FILE_OF("f.csv", "id,text\n1,\"a\nb\"c\n"), SD_E_FORMAT, "line 3: text after the closing quote", "twice");
    refused(FILE_OF("g.csv", "id,text\n1,a\n2,b,"), SD_E_FORMAT, "line 3: 3 fields", NULL);
    refused(FILE_OF("h.csv", "id,text\n1\n"), SD_E_FORMAT, "line 2: 1 fields", NULL);
}

static void test_refused(void **state)
{
    (void)state;
    refused(FILE_OF("latin1.txt", "fine\nstill fine\nna\xefve\n"), SD_E_FORMAT, "line 3, byte 18", "iconv");
    refused(FILE_OF("surrogate.txt", "a\xed\xa0\x80"), SD_E_FORMAT, "line 1, byte 1", "iconv");
    refused(FILE_OF("latin1.jsonl", "{\"text\": \"a\"}\n{\"text\": \"\xe9\"}\n"), SD_E_FORMAT, "line 2", "iconv");
    refused(FILE_OF("rows.parquet", "PAR1\x15\xff\x10PAR1"), SD_E_UNSUPPORTED, "rows.parquet: parquet files are not read", "read_parquet");
    refused(FILE_OF("blank.txt", " \n\t\n"), SD_E_FORMAT, "no text in it", ".jsonl");
    refused(FILE_OF("header.csv", "text\n"), SD_E_FORMAT, "no text in it", NULL);
    char path[512];
    assert_true(sd_path_join(path, sizeof path, dir, "not-there.txt"));
    refused(path, SD_E_NOTFOUND, "not-there.txt", NULL);
    sd_err err = {0};
    sd_corpus *c;
    assert_int_equal(sd_corpus_open(&c, NULL, 0, &err), SD_E_FORMAT);
}

/* A folder of nothing but what is left out is refused as a file is. */
static void test_folder_of_no_text(void **state)
{
    (void)state;
    sd_err err = {0};
    char sub[512];
    assert_true(sd_path_join(sub, sizeof sub, dir, "bad"));
    t_ok(sd_dir_make(sub, &err), err);
    FILE_OF("bad/a.bin", "\xff");
    FILE_OF("bad/b.bin", "b\xff");
    refused(sub, SD_E_FORMAT, "bad/a.bin: line 1, byte 0", "iconv");
}

/* A folder's file is looked at before it is read: a character may lie across the end of that beginning. */
static void test_folder_beginning(void **state)
{
    (void)state;
    static char text[(64 << 10) + 3];
    sd_err err = {0};
    char sub[512];
    const char *why;
    assert_true(sd_path_join(sub, sizeof sub, dir, "edge"));
    t_ok(sd_dir_make(sub, &err), err);
    memset(text, 'x', sizeof text);
    memcpy(text + (64 << 10) - 2, "\xe2\x80\x99", 3);
    (void)file("edge/across.txt", text, sizeof text);
    memcpy(text + (64 << 10) - 2, "\xe2\x80x", 3);
    (void)file("edge/broken.txt", text, sizeof text);
    sd_corpus *c = open_one(sub);
    assert_int_equal(sd_corpus_files(c), 1);
    assert_int_equal(sd_corpus_left_out(c, &why), 1);
    assert_non_null(strstr(why, "broken.txt: line 1, byte 65534"));
    sd_corpus_close(c);
}

/* Files of a folder in the order of their names; the hash knows texts, order and cuts, not names. */
static void test_folder_and_hash(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_sha256 a, b;
    char sub[512];
    assert_true(sd_path_join(sub, sizeof sub, dir, "sub"));
    t_ok(sd_dir_make(sub, &err), err);
    FILE_OF("sub/b.txt", "second");
    FILE_OF("sub/a.md", "first");
    FILE_OF("sub/.hidden", "\xff");
    FILE_OF("sub/aa.txt", "fine\nna\xefve\n");
    FILE_OF("sub/aaa.gz", "\x1f\x8b");
    /* More than a text may have, were it read to its end. */
    assert_int_equal(truncate(FILE_OF("sub/huge.bin", "\xff\xfe"), (off_t)1 << 37), 0);
    const char *why;
    sd_corpus *c = open_one(sub);
    assert_int_equal(sd_corpus_count(c), 2);
    assert_int_equal(sd_corpus_files(c), 2);
    assert_int_equal(sd_corpus_left_out(c, &why), 3);
    assert_non_null(strstr(why, "sub/aa.txt: line 2, byte 7"));
    doc_is(c, 0, "first");
    doc_is(c, 1, "second");
    sd_corpus_sha256(c, &a);
    sd_corpus_close(c);
    c = open_one(FILE_OF("same.jsonl", "{\"text\": \"first\"}\n{\"text\": \"second\"}\n"));
    sd_corpus_sha256(c, &b);
    assert_memory_equal(&a, &b, sizeof a);
    sd_corpus_close(c);
    c = open_one(FILE_OF("swapped.jsonl", "{\"text\": \"second\"}\n{\"text\": \"first\"}\n"));
    sd_corpus_sha256(c, &b);
    assert_memory_not_equal(&a, &b, sizeof a);
    sd_corpus_close(c);
    c = open_one(FILE_OF("moved.jsonl", "{\"text\": \"firsts\"}\n{\"text\": \"econd\"}\n"));
    sd_corpus_sha256(c, &b);
    assert_memory_not_equal(&a, &b, sizeof a);
    sd_corpus_close(c);
}

int main(void)
{
#define C(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {C(test_prose), C(test_long_prose), C(test_jsonl),
                                       C(test_csv),   C(test_refused),    C(test_folder_beginning), C(test_folder_and_hash), C(test_folder_of_no_text)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
