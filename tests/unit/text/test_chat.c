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
    refused("a\nb\n{{ messages | wordwrap }}", "line 3: the filter \"wordwrap\"");
    refused("{#\n\n#}\n{% include 'x' %}", "line 4: the statement \"include\"");
    refused("{% for x in y recursive %}{% endfor %}", "recursive");
    refused("{{ cycler('a') }}", "line 1: the name \"cycler\"");
    refused("{{ a is escaped }}", "the test \"escaped\"");
    refused("{{ [].append(1) }}", "the method \"append\"");
    refused("{{ ''.__class__ }}", "the attribute \"__class__\"");
    refused("{{ f(*a) }}", "out of a list");
    refused("{{ a[1, 2] }}", "several");
    refused("{% if true %}", "\"elif\" is expected");
    refused("{% for m in messages %}", "\"else\" is expected");
    refused("{% endif %}", "the statement \"endif\"");
    refused("{% break %}", "outside a loop");
    refused("{% raw %} x", "\"endraw\" is expected");
    refused("{{ 'a }}", "a string does not end");
    refused("{{ 'a' ", "a tag does not end");
    refused("{{ ) }}", "a bracket closes");
    refused("{{ (1 }}", "a bracket closes");
    refused("{{ a ? b }}", "belongs to no expression");
    refused("{# a", "a comment does not end");
    refused("{{ }}", "an expression is expected");
    refused("{{ 'a' if }}", "an expression is expected");
    refused("{% set true = 'a' %}", "setting the name \"true\"");
    refused("{{ '\\N{DASH}' }}", "an escape");
    refused("{{ 99999999999999999999 }}", "a number of this kind");
    refused("{{ 0x10 }}", "a number of this kind");
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
    sd_buf_puts(&b, "1");
    for (int i = 0; i < 100000; i++) sd_buf_puts(&b, ")");
    sd_buf_puts(&b, " }}");
    refused(sd_buf_str(&b), "nested too deeply");
    sd_buf_reset(&b);
    sd_buf_puts(&b, "{{ ");
    for (int i = 0; i < 100000; i++) sd_buf_puts(&b, "not ");
    sd_buf_puts(&b, "true }}");
    refused(sd_buf_str(&b), "nested too deeply");
    sd_buf_reset(&b);
    for (int i = 0; i < 40000; i++) sd_buf_puts(&b, "{{a.b.c.d.e.f.g}}");
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

/* Renders no messages; the status, and the sentence in *err. */
static sd_status render_bare(const char *text, sd_err *err)
{
    sd_buf out;
    sd_chat *c = make(text);
    sd_buf_init(&out, 1 << 20);
    sd_status st = sd_chat_render(c, NULL, 0, false, &out, err);
    sd_buf_release(&out);
    sd_chat_free(c);
    return st;
}

/* Templates come from strangers: none may run for ever, fill the memory or the stack. */
static void test_running_is_bounded(void **state)
{
    (void)state;
    sd_err err = {0};
    assert_int_equal(
        render_bare("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "MB of text")); /* every turn of a loop has its own names */
    assert_int_equal(render_bare("{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for a in range(60) %}{% set n.s = "
                                 "n.s ~ n.s %}{% endfor %}",
                                 &err),
                     SD_E_ARG);
    assert_non_null(strstr(err.msg, "MB of text"));
    assert_int_equal(render_bare("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "nested too deeply"));
    assert_int_equal(render_bare("{{ 'x' * 9223372036854775807 }}", &err), SD_E_ARG);
    assert_int_equal(render_bare("{{ range(100001) }}", &err), SD_E_ARG);
    assert_int_equal(render_bare("{{ 9223372036854775807 + 1 }}", &err), SD_E_ARG);
    assert_int_equal(render_bare("\n\n{{ 1 + x.y }}", &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "line 3"));
}

static void test_clock(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_buf out;
    sd_chat *c = make("{{ strftime_now('%d %b %Y %-d %H:%M:%S %j %A %p %%') }}");
    sd_buf_init(&out, 256);
    assert_int_equal(sd_chat_render(c, NULL, 0, false, &out, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "no clock"));
    sd_chat_set_clock(c, 951868805); /* 2000-03-01 00:00:05 */
    t_ok(sd_chat_render(c, NULL, 0, false, &out, &err), err);
    assert_string_equal(sd_buf_str(&out), "01 Mar 2000 1 00:00:05 061 Wednesday AM %");
    sd_buf_release(&out);
    sd_chat_free(c);
}

/* The text of span i of a conversation. */
static void check_spans(const char *text, const char *messages, const char *const *want, int n_want)
{
    sd_err err = {0};
    sd_buf out;
    sd_chat_span span[8];
    int n;
    json_t *m;
    sd_chat *c = make(text);
    t_ok(sd_json_parse(&m, messages, strlen(messages), "messages", &err), err);
    sd_buf_init(&out, 4096);
    t_ok(sd_chat_spans(c, &(sd_chat_input){.messages = m}, &out, span, &n, &err), err);
    assert_int_equal(n, n_want);
    for (int i = 0; i < n; i++) {
        sd_slice s = {out.p + span[i].from, span[i].to - span[i].from};
        if (!sd_slice_eq_str(s, want[i])) fail_msg("span %d: <%.*s>", i, SD_SLICE(s));
    }
    sd_buf_release(&out);
    json_decref(m);
    sd_chat_free(c);
}

static void test_spans(void **state)
{
    (void)state;
    const char *talk =
        "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"assistant\","
        "\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":\"dd\"}]";
    const char *const chatml[] = {"b<|im_end|>", "dd<|im_end|>"};
    check_spans(CHATML, talk, chatml, 2);
    const char *const inst[] = {"b</s>", "dd</s>"}; /* no open prompt: the content is looked for */
    check_spans("{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% elif m.role == "
                "'assistant' %} "
                "{{ m.content }}</s>{% endif %}{% endfor %}",
                talk, inst, 2);
    const char *const none[] = {""};
    check_spans(CHATML, "[{\"role\":\"user\",\"content\":\"b\"}]", none, 0);
    sd_err err = {0};
    sd_buf out;
    sd_chat_span span[8];
    int n;
    json_t *m;
    /* Earlier answers are cut: their turn is not in the whole text. */
    sd_chat *c = make("{% for m in messages %}<{{ m.role }}>{{ m.content if loop.last else '-' }}{% endfor %}{% if "
                      "add_generation_prompt %}<assistant>{% endif %}");
    t_ok(sd_json_parse(&m, talk, strlen(talk), "messages", &err), err);
    sd_buf_init(&out, 4096);
    assert_int_equal(sd_chat_spans(c, &(sd_chat_input){.messages = m}, &out, span, &n, &err), SD_E_UNSUPPORTED);
    assert_int_equal(out.n, 0);
    json_decref(m);
    t_ok(sd_json_parse(&m, "[{\"content\":\"x\"}]", 17, "messages", &err), err);
    assert_int_equal(sd_chat_render_json(c, &(sd_chat_input){.messages = m}, &out, &err), SD_E_FORMAT);
    assert_int_equal(sd_chat_render(c, &(sd_message){SD_LIT("user"), SD_LIT("\xff")}, 1, false, &out, &err),
                     SD_E_FORMAT);
    json_decref(m);
    sd_buf_release(&out);
    sd_chat_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_chatml),           T(test_refused_with_place), T(test_limits), T(test_long_chains),
        T(test_messages_refused), T(test_running_is_bounded), T(test_clock),  T(test_spans)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
