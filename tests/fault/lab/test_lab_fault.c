/* Memory that is out at every single request, and a disk that is full at every write, in what studies read and keep: one sentence, no leak, and the file
 * that was there is there. */
#include "tiny_model.h"

#include "lab/audit_part.h"
#include "lab/damage_int.h"
#include "lab/direction_file.h"
#include "lab/np_json.h"
#include "lab/tune_data.h"

#include <sys/stat.h>

static sd_exec *ex;
static sd_model *m;
static const char *dir;

static const char *at(const char *name)
{
    static char p[4][600];
    static int k;
    snprintf(p[k = (k + 1) & 3], sizeof p[0], "%s/%s", dir, name);
    return p[k];
}

static void put(const char *name, const char *text)
{
    sd_err err = {0};
    t_ok(sd_file_write_atomic(at(name), text, strlen(text), &err), err);
}

static sd_status rows(sd_err *err)
{
    sd_tune_set s;
    const sd_tune_data d = {.path = at("rows.jsonl"), .n = 3};
    sd_status st = sd_tune_set_read(&s, m, &(sd_tune_opt){.method = SD_TUNE_SFT, .data = &d, .n_data = 1, .guard = {.kind = SD_GUARD_DEEP, .safety = at("rows.jsonl")}}, 64, err);
    if (!st) assert_true(s.n > 3);
    sd_tune_set_release(&s);
    return st;
}

static sd_status pairs(sd_err *err)
{
    sd_tune_set s;
    const sd_tune_data d = {.path = at("pairs.jsonl")};
    sd_status st = sd_tune_set_read(&s, m, &(sd_tune_opt){.method = SD_TUNE_DPO, .data = &d, .n_data = 1}, 64, err);
    if (!st) assert_int_equal(s.n, 2);
    sd_tune_set_release(&s);
    return st;
}

static sd_status part(sd_err *err)
{
    static char model[] = "model", flag[] = "--suite", file[] = "s.csv", *word[] = {model, flag, file};
    sd_audit_part p = {.word = word, .n_word = 3}, back = {0};
    snprintf(p.model_sha256, sizeof p.model_sha256, "abc");
    sd_status st = sd_audit_part_write(at("a.json.part"), &p, err);
    if (!st) st = sd_audit_part_read(&back, at("a.json.part"), err);
    if (!st) assert_true(back.n_word == 3 && strcmp(back.word[2], "s.csv") == 0 && strcmp(back.model_sha256, "abc") == 0);
    sd_audit_part_release(&back);
    return st;
}

static sd_status direction(sd_err *err)
{
    float v[3] = {1, 2, 3};
    sd_direction_file f = {.name = "x", .kind = "concept", .model_sha256 = "abc", .d = 3, .vector = v}, back = {0};
    sd_status st = sd_direction_save(&f, dir, true, err);
    if (!st) st = sd_direction_load(&back, dir, "abc", "x", 3, err);
    if (!st) assert_true(back.vector[2] == 3);
    sd_direction_file_release(&back);
    return st;
}

static sd_status features(sd_err *err)
{
    static const char text[] = "[{\"modelId\":\"m\",\"layer\":\"1\",\"index\":\"1\",\"pos_str\":[\"a\"],\"pos_values\":[1],\"activations\":[{\"tokens\":[\"x\",\"a\"],\"values\":[0,2]}],"
                               "\"explanations\":[{\"description\":\"letters\"}]}]";
    sd_np_import out;
    json_t *doc;
    sd_status st = sd_json_parse(&doc, text, strlen(text), "features", err);
    if (st) return st;
    st = sd_lab_np_import(&out, at("f.db"), &doc, 1, &(sd_np_import_opt){.force = true, .tool = "t", .created = "now"}, err);
    json_decref(doc);
    return st;
}

static void fail_every_allocation(sd_status (*run)(sd_err *), int least)
{
    sd_status st = SD_E_NOMEM;
    int64_t n = 1;
    for (; st && n < 5000; n++) {
        sd_err err = {0};
        const int64_t before = sd_mem_live_blocks();
        sd_mem_fail_nth(n);
        st = run(&err);
        sd_mem_fail_nth(0);
        if (sd_mem_live_blocks() != before) fail_msg("request %lld: %lld blocks stay", (long long)n, (long long)(sd_mem_live_blocks() - before));
        if (st) assert_true(err.msg[0] != 0);
    }
    assert_int_equal(st, SD_OK);
    if (n <= least) fail_msg("only %lld requests", (long long)n);
}

static void test_memory(void **state)
{
    (void)state;
    fail_every_allocation(rows, 5);
    fail_every_allocation(pairs, 5);
    fail_every_allocation(part, 5);
    fail_every_allocation(direction, 5);
    fail_every_allocation(features, 5);
}

/* At the n-th write: the old file or the new one, whole and private, and nothing beside it. */
static void full_disk(sd_status (*run)(sd_err *), const char *file, unsigned mode)
{
    sd_err err = {0};
    struct stat is;
    sd_buf old, now;
    t_ok(run(&err), err);
    sd_buf_init(&old, 1 << 20), sd_buf_init(&now, 1 << 20);
    t_ok(sd_file_read(&old, at(file), &err), err);
    sd_status st = SD_E_NOSPACE;
    int n = 1;
    for (; st && n < 50; n++) {
        sd_file_fail_nth(n);
        st = run(&err);
        sd_file_fail_nth(0);
        if (st) assert_int_equal(st, SD_E_NOSPACE);
        sd_buf_reset(&now);
        t_ok(sd_file_read(&now, at(file), &err), err);
        assert_true(now.n == old.n && memcmp(now.p, old.p, old.n) == 0);
        assert_int_equal(stat(at(file), &is), 0);
        assert_int_equal(is.st_mode & 0777, mode);
    }
    assert_true(n > 2 && n < 50);
    sd_buf_release(&old), sd_buf_release(&now);
}

static void test_full_disk(void **state)
{
    (void)state;
    full_disk(part, "a.json.part", 0600);
    full_disk(direction, "directions/abc/x.json", 0600);
}

int main(void)
{
    sd_err err = {0};
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0); /* hundreds of fsyncs */
    dir = t_tmpdir();
    tiny_spec s = tiny_default;
    s.n_layer = 1, s.n_head = 2, s.n_head_kv = 1, s.d_head = 4, s.d = 8, s.ffn = 12, s.n_ctx = 64, s.tied = true;
    tiny_write_hf(dir, &s);
    put("tokenizer_config.json", "{\"chat_template\":\"{% for m in messages %}[{{ m.role }}]{{ m.content }};\\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}\"}");
    put("rows.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"},{\"role\":\"assistant\",\"content\":\"good day\"}]}\n"
                      "{\"instruction\":\"count\",\"input\":\"to two\",\"output\":\"one two\"}\n{\"prompt\":\"bye\",\"completion\":\"see you\"}\n{\"prompt\":\"x\",\"completion\":\"y\",\"prefill\":\"z\"}\n");
    put("pairs.jsonl", "{\"prompt\":\"hello\",\"chosen\":\"good day\",\"rejected\":\"go away\"}\n");
    if (sd_exec_new(&ex, &(sd_exec_opt){"ref", 1}, &err) || sd_model_open(&m, ex, dir, NULL, &err)) return printf("%s\n", err.msg), 1;
    const struct CMUnitTest tests[] = {T(test_memory), T(test_full_disk)};
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    sd_model_close(m);
    sd_exec_free(ex);
    t_rmtree(dir);
    return rc ? 1 : 0;
}
