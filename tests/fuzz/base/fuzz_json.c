/* JSON from anywhere: parse never crashes, and what it accepts is written by sd_jw_tree as a text that parses to an
 * equal value and is written the same again. A refusal comes with a sentence that has no control bytes. */
#include "base/json.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

static void check(bool ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "fuzz_json: %s\n", what);
    abort();
}

static void write_tree(sd_buf *b, const json_t *v)
{
    sd_jw w;
    sd_buf_reset(b);
    sd_jw_init(&w, b);
    sd_jw_tree(&w, v);
    check(w.depth == 0 && !b->failed, "the writer did not finish");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *v = NULL, *back = NULL;
    sd_err err = {0};
    sd_status st = sd_json_parse(&v, (const char *)data, size, "input", &err);
    if (st) {
        check(v == NULL && st == err.code && err.msg[0], "a refusal without a sentence");
        for (const char *p = err.msg; *p; p++) check((unsigned char)*p >= 0x20, "a control byte in the sentence");
        return 0;
    }
    sd_buf a, b;
    sd_buf_init(&a, 64 * size + 1024);
    sd_buf_init(&b, 64 * size + 1024);
    write_tree(&a, v);
    check(sd_json_parse(&back, a.p, a.n, "written", &err) == SD_OK, err.msg);
    check(json_equal(v, back), "what was written is another value");
    write_tree(&b, back);
    check(a.n == b.n && memcmp(a.p, b.p, a.n) == 0, "what was written twice differs");
    json_decref(v);
    json_decref(back);
    sd_buf_release(&a);
    sd_buf_release(&b);
    return 0;
}

T_FUZZ_MAIN("fuzz_json")
