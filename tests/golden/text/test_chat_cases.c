/* Chat templates against what transformers' Jinja2 made of them: tests/data/chat/cases.jsonl (gen_chat.py wrote it), or
 * the file that $SONDE_CHAT_CASES names (tests/interop/tokenize.sh): every one that Jinja2 renders is rendered alike. */
#include "t.h"

#include "base/json.h"
#include "base/map.h"
#include "text/chat.h"

typedef struct tally {
    int same, refused, raised;
} tally;

static sd_slice text_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return (sd_slice){json_string_value(v), json_string_length(v)};
}

static void check_case(const json_t *c, int line, tally *t)
{
    sd_err err = {0};
    sd_chat *chat;
    sd_slice template_text = text_of(c, "template");
    const json_t *want = json_object_get(c, "want");
    sd_status st = sd_chat_new(&chat, template_text, &err);
    if (st) {
        assert_int_equal(st, SD_E_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "line ")); /* the reason names its place */
        if (!json_is_null(want)) {
            printf("refused: case %d: %s\n", line, err.msg);
            t->refused++;
        } else {
            t->raised++;
        }
        return;
    }
    t_ok(sd_chat_set_tokens(chat, text_of(c, "bos"), text_of(c, "eos"), &err), err);
    sd_chat_set_clock(chat, 1700000000);
    sd_buf out;
    sd_buf_init(&out, 1 << 20);
    sd_buf_puts(&out, "before|");
    const sd_chat_input in = {.messages = json_object_get(c, "messages"),
                              .tools = json_object_get(c, "tools"),
                              .more = json_object_get(c, "more"),
                              .add_generation_prompt = json_is_true(json_object_get(c, "generate"))};
    st = sd_chat_render_json(chat, &in, &out, &err);
    if (json_is_null(want)) {
        if (st != SD_E_ARG)
            fail_msg("case %d: rendered where Jinja2 raises: %s\ntemplate: %.*s", line, sd_buf_str(&out), SD_SLICE(template_text));
        assert_string_equal(sd_buf_str(&out), "before|");
        t->raised++;
    } else {
        if (st) fail_msg("case %d: status %d: %s\ntemplate: %.*s", line, (int)st, err.msg, SD_SLICE(template_text));
        if (strcmp(sd_buf_str(&out) + 7, json_string_value(want)) != 0)
            fail_msg("case %d:\ntemplate: %.*s\ngot:  <%s>\nwant: <%s>", line, SD_SLICE(template_text),
                     sd_buf_str(&out) + 7, json_string_value(want));
        t->same++;
    }
    sd_buf_release(&out);
    sd_chat_free(chat);
}

static tally check_file(const char *path)
{
    sd_err err = {0};
    sd_buf b;
    tally t = {0};
    int n = 0;
    sd_buf_init(&b, 64 << 20);
    t_ok(sd_file_read(&b, path, &err), err);
    sd_slice rest = {b.p, b.n}, line;
    while (sd_slice_cut(&rest, '\n', &line)) {
        json_t *c;
        if (line.n == 0) continue;
        t_ok(sd_json_parse(&c, line.p, line.n, path, &err), err);
        check_case(c, ++n, &t);
        json_decref(c);
    }
    sd_buf_release(&b);
    printf("%s: %d rendered alike, %d raised alike, %d refused when loaded\n", path, t.same, t.raised, t.refused);
    return t;
}

static void test_cases(void **state)
{
    (void)state;
    tally t = check_file("tests/data/chat/cases.jsonl");
    /* Every template of the file is inside the language, or raises at once in Jinja2 too. */
    assert_int_equal(t.refused, 0);
    assert_int_equal(t.same + t.raised, 714);
    assert_true(t.raised > 10 && t.raised < 130);
}

static void test_given(void **state)
{
    (void)state;
    tally t = check_file(getenv("SONDE_CHAT_CASES"));
    assert_true(t.same > 0);
    assert_int_equal(t.refused, 0);
}

int main(void)
{
    const struct CMUnitTest cases[] = {T(test_cases)}, given[] = {T(test_given)};
    int failed = getenv("SONDE_CHAT_CASES") ? cmocka_run_group_tests(given, NULL, NULL)
                                            : cmocka_run_group_tests(cases, NULL, NULL);
    return failed ? 1 : 0;
}
