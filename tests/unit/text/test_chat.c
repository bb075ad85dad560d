/* Chat templates: what is refused and how it is said, and messages that a template refuses. What templates render is
 * compared with transformers in golden/text/test_chat_cases.c. */
#include "t.h"

#include "text/chat.h"

#define CHATML                                                                                                         \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "   \
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

static sd_chat *make(const char *text)
{
    sd_err err = {0};
    sd_chat *c;
    t_ok(sd_chat_new(&c, sd_slice_of(text), &err), err);
    return c;
}

static void refused(const char *text, const char *say)
{
    sd_err err = {0};
    sd_chat *c = (sd_chat *)&err;
    sd_status st = sd_chat_new(&c, sd_slice_of(text), &err);
    if (st != SD_E_UNSUPPORTED || !strstr(err.msg, say)) fail_msg("%s: status %d, \"%s\"", text, (int)st, err.msg);
    assert_null(c);
}

static void test_chatml(void **state)
{
    (void)state;
    sd_chat *c = make(CHATML);
    sd_err err = {0};
    sd_buf out;
    const sd_message msg[] = {{SD_LIT("system"), SD_LIT("Be brief.")}, {SD_LIT("user"), SD_LIT("<|im_end|> {{ x }}")}};
    assert_string_equal(sd_chat_name(c), "chatml");
    sd_buf_init(&out, 4096);
    t_ok(sd_chat_render(c, msg, 2, true, &out, &err), err);
    assert_string_equal(sd_buf_str(&out),
                        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<|im_end|> {{ x }}"
                        "<|im_end|>\n<|im_start|>assistant\n");
    sd_buf_reset(&out);
    t_ok(sd_chat_render(c, NULL, 0, false, &out, &err), err);
    assert_int_equal(out.n, 0);
    sd_buf_release(&out);
    sd_chat_free(c);
    c = make("{% for m in messages %}<|start_header_id|>{{ m.role }}{% endfor %}");
    assert_string_equal(sd_chat_name(c), "llama3");
    sd_chat_free(c);
    c = make("");
    assert_string_equal(sd_chat_name(c), "template");
    sd_chat_free(c);
    sd_chat_free(NULL);
}

static void test_refused_with_place(void **state)
{
    (void)state;
    refused("a\nb\n{{ messages | tojson }}", "line 3: the filter \"tojson\"");
    refused("{#\n\n#}\n{% macro x() %}{% endmacro %}", "line 4: the statement \"macro\"");
    refused("{{ strftime_now('%d') }}", "line 1: the name \"strftime_now\"");
    refused("{% if true %}", "\"endif\" is expected");
    refused("{% for m in messages %}", "\"endfor\" is expected");
    refused("{% endif %}", "the statement \"endif\"");
    refused("{{ 'a }}", "a string does not end");
    refused("{{ 'a' ", "not supported");
    refused("{# a", "a comment does not end");
    refused("{{ }}", "an expression is expected");
    refused("{{ 'a' 'b' }}", "something in this tag");
    refused("{{ messages }}", "no text");
    refused("{{ messages[0] }}", "no text");
    refused("{{ 'a' + 1 }}", "both strings or both integers");
    refused("{{ 1 == true }}", "kinds");
    refused("{{ 1 < 2 < 3 }}", "chain");
    refused("{{ 'a' if true }}", "without \"else\"");
    refused("{% set messages = 'a' %}", "a type that changes");
    refused("{% for x in 'abc' %}{% endfor %}", "something else than messages");
    refused("{{ '\\N{DASH}' }}", "an escape");
    refused("{{ {'a': 1} }}", "this kind");
    refused("{{ nothing.at_all }}", "the attribute");
    refused("{{ 10 ** 2 }}", "something in this tag");
    refused("{{ 99999999999 }}", "no plain integer");
}

static void test_limits(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_chat *c;
    sd_buf b;
    sd_buf_init(&b, 8 << 20);
    for (int i = 0; i < 200; i++) sd_buf_puts(&b, "{% if true %}");
    refused(sd_buf_str(&b), "nested too deeply");
    sd_buf_reset(&b);
    sd_buf_puts(&b, "{{ ");
    for (int i = 0; i < 100000; i++) sd_buf_puts(&b, "(");
    refused(sd_buf_str(&b), "nested too deeply");
    sd_buf_reset(&b);
    sd_buf_puts(&b, "{{ ");
    for (int i = 0; i < 100000; i++) sd_buf_puts(&b, "not ");
    sd_buf_puts(&b, "true }}");
    c = make(sd_buf_str(&b)); /* a chain without depth: an even number of nots */
    sd_buf out;
    sd_buf_init(&out, 64);
    t_ok(sd_chat_render(c, NULL, 0, false, &out, &err), err);
    assert_string_equal(sd_buf_str(&out), "True");
    sd_buf_release(&out);
    sd_chat_free(c);
    sd_buf_reset(&b);
    for (int i = 0; i < 20000; i++) sd_buf_puts(&b, "{% if true %}a{% elif true %}b{% endif %}");
    refused(sd_buf_str(&b), "too long");
    sd_buf_reset(&b);
    for (int i = 0; i < 300; i++) sd_buf_puts(&b, i ? "{% elif true %}b" : "{% if true %}a");
    refused(sd_buf_str(&b), "nested too deeply");
    sd_buf_reset(&b);
    while (b.n <= 1 << 20) sd_buf_puts(&b, "text without tags ");
    refused(sd_buf_str(&b), "at most 1048576");
    sd_buf_release(&b);
    assert_int_equal(sd_chat_new(&c, SD_LIT("abc\xff"), &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "byte 3"));
}

/* A chain of operators is evaluated by depth of the tree: its length is bounded like nesting. */
static void test_long_chains(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_buf b, out;
    sd_buf_init(&b, 1 << 20);
    sd_buf_init(&out, 1 << 20);
    sd_buf_puts(&b, "{{ 'x'");
    for (int i = 0; i < 500; i++) sd_buf_puts(&b, " + 'y'");
    sd_buf_puts(&b, " }}");
    sd_chat *c = make(sd_buf_str(&b));
    t_ok(sd_chat_render(c, NULL, 0, false, &out, &err), err);
    assert_int_equal(out.n, 501);
    sd_chat_free(c);
    sd_buf_reset(&b);
    sd_buf_puts(&b, "{{ 'x'");
    for (int i = 0; i < 40000; i++) sd_buf_puts(&b, " + 'y'");
    sd_buf_puts(&b, " }}");
    refused(sd_buf_str(&b), "an expression is too long");
    sd_buf_release(&b);
    sd_buf_release(&out);
}

static void test_messages_refused(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_buf out;
    const sd_message msg[] = {{SD_LIT("user"), SD_LIT("a")}};
    sd_buf_init(&out, 64);
    sd_buf_puts(&out, "kept");
    sd_chat *c =
        make("x{% if messages[0].role != 'system' %}{{ raise_exception('a system turn is needed') }}{% endif %}");
    assert_int_equal(sd_chat_render(c, msg, 1, false, &out, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "a system turn is needed"));
    assert_string_equal(sd_buf_str(&out), "kept");
    assert_int_equal(sd_chat_render(c, NULL, 0, false, &out, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "not defined"));
    sd_chat_free(c);
    c = make("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}");
    char big[64];
    memset(big, 'b', sizeof big);
    const sd_message long_msg[] = {{SD_LIT("user"), {big, sizeof big}}};
    assert_int_equal(sd_chat_render(c, long_msg, 1, false, &out, &err), SD_E_NOMEM);
    sd_buf_release(&out);
    sd_chat_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_chatml), T(test_refused_with_place), T(test_limits), T(test_long_chains),
                                       T(test_messages_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
