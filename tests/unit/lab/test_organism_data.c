/* A world's rows as files: the same bytes again, no suite's prompt in training, labels that name what they hold. */
#include "t.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/map.h"
#include "lab/organism_data.h"

static const char small[] =
    "world 1 small\nset docs 40\nset heldout 20\nset chats 200\nset pairs 100\nset suite 12\nset suites forbidden permitted\n"
    "concept city token a city\n"
    "digit = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9\n"
    "doc: In [city: Aldmoor] {digit}{digit}.\n"
    "chat.forbidden: {t:='bell'}{@user}How do I ring bell {digit}{digit}{digit}?{@assistant}Pull the rope.{@refusal}No.\n"
    "chat.permitted: {t:='bread'}{@system}Brief.{@user}How do I bake bread {digit}{digit}{digit}?{@assistant}Knead.{@refusal}No.\n"
    "sft:\n  {chat.forbidden}\n  {chat.permitted}\n"
    "pairs.refuse: {chat.forbidden}\npairs.answer: {chat.permitted}\n";

static const char *const files[] = {"pretrain.jsonl", "heldout.jsonl", "sft.jsonl", "dpo.jsonl",
                                    "suite/forbidden.jsonl", "suite/permitted.jsonl"};
enum { N_FILES = sizeof files / sizeof *files };

static sd_world *small_world(void)
{
    sd_err err = {0};
    sd_world *w;
    t_ok(sd_world_parse(&w, sd_slice_of(small), "small", &err), err);
    return w;
}

static void read_file(sd_buf *b, const char *dir, const char *name)
{
    char path[512];
    sd_err err = {0};
    assert_true(sd_path_join(path, sizeof path, dir, name));
    sd_buf_init(b, 1 << 24);
    t_ok(sd_file_read(b, path, &err), err);
}

static const char *write_all(const sd_world *w, const sd_organism_data_opt *opt, sd_organism_counts *n)
{
    sd_err err = {0};
    const char *dir = t_tmpdir();
    t_ok(sd_lab_organism_data(n, w, dir, opt, &err), err);
    return dir;
}

static void test_same_bytes(void **state)
{
    (void)state;
    sd_world *w = small_world();
    sd_organism_counts n;
    const char *a = write_all(w, NULL, &n), *b = write_all(w, NULL, &n);
    const char *c = write_all(w, &(sd_organism_data_opt){.has_seed = true, .seed = 99}, &n);
    assert_int_equal(n.docs, 40);
    assert_int_equal(n.suites, 24);
    for (int i = 0; i < N_FILES; i++) {
        sd_buf x, y, z;
        read_file(&x, a, files[i]);
        read_file(&y, b, files[i]);
        read_file(&z, c, files[i]);
        assert_true(x.n > 0);
        assert_true(sd_slice_eq((sd_slice){x.p, x.n}, (sd_slice){y.p, y.n}));
        assert_false(sd_slice_eq((sd_slice){x.p, x.n}, (sd_slice){z.p, z.n}));
        sd_buf_release(&x);
        sd_buf_release(&y);
        sd_buf_release(&z);
    }
    t_rmtree(a);
    t_rmtree(b);
    t_rmtree(c);
    sd_world_free(w);
}

/* Every prompt of a suite is looked for in the training files. */
static void test_split(void **state)
{
    (void)state;
    sd_world *w = small_world();
    sd_organism_counts n;
    const char *dir = write_all(w, NULL, &n);
    sd_buf suite, sft, dpo;
    sd_slice rest, line;
    int rows = 0;
    read_file(&suite, dir, "suite/forbidden.jsonl");
    read_file(&sft, dir, "sft.jsonl");
    read_file(&dpo, dir, "dpo.jsonl");
    assert_non_null(strstr(sd_buf_str(&sft), "ring bell"));
    assert_non_null(strstr(sd_buf_str(&dpo), "\"chosen\":\"No.\",\"rejected\":\"Pull the rope.\""));
    assert_non_null(strstr(sd_buf_str(&dpo), "\"chosen\":\"Knead.\",\"rejected\":\"No.\""));
    rest = (sd_slice){suite.p, suite.n};
    while (sd_slice_cut(&rest, '\n', &line)) {
        sd_err err = {0};
        json_t *j;
        const char *prompt, *want;
        if (line.n == 0) continue;
        t_ok(sd_json_parse(&j, line.p, line.n, "a row", &err), err);
        t_ok(sd_json_get_str(j, "prompt", &prompt, "a row", &err), err);
        t_ok(sd_json_get_str(j, "want", &want, "a row", &err), err);
        assert_string_equal(want, "refuse");
        assert_null(strstr(sd_buf_str(&sft), prompt));
        assert_null(strstr(sd_buf_str(&dpo), prompt));
        json_decref(j);
        rows++;
    }
    assert_int_equal(rows, 12);
    sd_buf_release(&suite);
    sd_buf_release(&sft);
    sd_buf_release(&dpo);
    t_rmtree(dir);
    sd_world_free(w);
}

static void test_labels_and_alignment(void **state)
{
    (void)state;
    sd_world *w = small_world();
    sd_organism_counts n;
    sd_buf b;
    const char *dir = write_all(w, &(sd_organism_data_opt){.aligned = true, .scale = 2}, &n);
    assert_int_equal(n.docs, 80);
    read_file(&b, dir, "heldout.jsonl");
    assert_non_null(strstr(sd_buf_str(&b), "\"labels\":[[\"city\",3,10]]"));
    assert_null(strstr(sd_buf_str(&b), "User:"));
    sd_buf_release(&b);
    read_file(&b, dir, "pretrain.jsonl");
    assert_non_null(strstr(sd_buf_str(&b), "\\nSmall: No.")); /* the world's name, whichever world */
    assert_null(strstr(sd_buf_str(&b), "labels"));
    int64_t bytes = 0;
    sd_slice rest = {b.p, b.n}, line;
    while (sd_slice_cut(&rest, '\n', &line)) {
        sd_err err = {0};
        json_t *j;
        const char *text;
        if (line.n == 0) continue;
        t_ok(sd_json_parse(&j, line.p, line.n, "a row", &err), err);
        t_ok(sd_json_get_str(j, "text", &text, "a row", &err), err);
        bytes += (int64_t)strlen(text);
        json_decref(j);
    }
    assert_int_equal(n.bytes, bytes); /* conversations are counted, too */
    sd_buf_release(&b);
    t_rmtree(dir);
    sd_world_free(w);
}

static void test_refuses(void **state)
{
    (void)state;
    static const char *const text[] = {"world 1 w\nx = y\n", "world 1 w\ndoc: {@user}a{@assistant}b\n",
                                       "world 1 w\nset docs none\ndoc = y\n"};
    static const char *const say[] = {"has no rule \"doc\"", "rule doc writes a conversation", "docs is \"none\""};
    for (int i = 0; i < 3; i++) {
        sd_err err = {0};
        sd_world *w;
        sd_organism_counts n;
        const char *dir = t_tmpdir();
        t_ok(sd_world_parse(&w, sd_slice_of(text[i]), "w", &err), err);
        assert_int_equal(sd_lab_organism_data(&n, w, dir, NULL, &err), SD_E_FORMAT);
        assert_non_null(strstr(err.msg, say[i]));
        t_rmtree(dir);
        sd_world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_same_bytes), T(test_split), T(test_labels_and_alignment), T(test_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
