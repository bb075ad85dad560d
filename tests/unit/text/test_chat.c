/* Chat templates: what is refused and how it is said, and messages that a template refuses. What templates render is
 * compared with transformers in golden/text/test_chat_cases.c. */
#include "t.h"

#include "text/chat.h"

#include <time.h>

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
    refused("{% if true %}", "line 1: the template ends, \"endif\" is expected for the tag in line 1");
    refused("{% for m in messages %}", "\"endfor\" is expected");
    refused("a\n{% if true %}\n{% else %}\n{% for m in messages %}{% endfor %}\n", "\"endif\" is expected for the tag in line 3");
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

static void fails(const char *text, const char *say)
{
    sd_err err = {0};
    sd_status st = render_bare(text, &err);
    if (st != SD_E_ARG || !strstr(err.msg, say)) fail_msg("%.200s: status %d, \"%s\", expected \"%s\"", text, (int)st, err.msg, say);
}

/* What Jinja2 3.1.6 gives, or that it fails. */
static void test_as_jinja2(void **state)
{
    (void)state;
    static const struct { const char *text, *want; } row[] = {
        {"{{ -(0.0 * -1) }} {{ +true }} {{ -3 }}", "0.0 1 -3"},
        {"{{ 2.5|round }} {{ 3|round }} {{ 42|round(1) }} {{ 3|round(0, 'floor') }}", "2.0 3 42 3.0"},
        {"{{ 1e16 // 3 }} {{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 0.3 // 0.1 }}", "3333333333333333.0 3.0 -4.0 2.0"},
        {"{{ 'abc'[1::9223372036854775807] }}", "b"},
        {"{{ range(9223372036854775800, 9223372036854775807, 1000)|list }}", "[9223372036854775800]"},
        {"{{ ([] * 100000000000)|length }}", "0"},
        {"{{ 'a' % {'b': 1} }}{{ 'c' % [1, 2] }}{{ '%s' % [1] }}{{ '%s%s' % (1, 2) }}", "ac[1]12"},
        {"{{ 3.0 is odd }} {{ 2.5 is odd }} {{ -1.0 is odd }} {{ 4.0 is even }}", "True False True True"},
        {"{{ [1]|tojson(indent=true) }}", "[\n 1\n]"},
        {"{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, b=3) }} {{ m(b=4, a=5) }}", "12 13 54"},
        {"{% macro m(a) %}[{{ caller(a) }}]{% endmacro %}{% call(x) m(3) %}{{ x }}!{% endcall %}", "[3!]"},
        {"{{ [[1, 2], {'a': [3]}] == [[1, 2], {'a': [3]}] }} {{ [1, [2]] < [1, [3]] }} {{ [1] < [1, 2] }}", "True True True"},
        {"{% set s = 'nan' %}{% set n = s|float %}{{ n < 1 }} {{ n <= 1 }} {{ n > 1 }} {{ n >= 1 }} {{ n == n }} {{ n != n }} {{ n <= n }}", "False False False False False True False"},
        {"{% set s = 'nan' %}{% set n = s|float %}{{ n is le(1) }} {{ n is ge(1) }} {{ 1 is le(n) }} {{ [n] <= [1] }} {{ [1, n] >= [1, 2] }}", "False False False False False"},
        {"{% set s = ['nan', '-Inf', '+infinity', 'in', 'nano'] %}{{ s|map('float')|list }}", "[nan, -inf, inf, 0.0, 0.0]"},
        {"{% set a = 1e308 %}{% set n = a * 10 - a * 10 %}{{ n <= 1 }} {{ n >= 1 }} {{ a * 10 >= a * 10 }}", "False False True"},
        {"{{ 2 <= 2.0 }} {{ [1, 2] <= [1, 2] }} {{ 'b' >= 'b' }} {{ 3 is ge(3) }} {{ 2 >= 3 }} {{ [1] <= [1, 2] }} {{ [2] >= [1, 5] }}", "True True True True False True True"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        sd_err err = {0};
        sd_buf out;
        sd_chat *c = make(row[i].text);
        sd_buf_init(&out, 1 << 20);
        t_ok(sd_chat_render(c, NULL, 0, false, &out, &err), err);
        assert_string_equal(sd_buf_str(&out), row[i].want);
        sd_buf_release(&out);
        sd_chat_free(c);
    }
    fails("{% set x = 1 %}{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, x=2) }}", "takes no keyword argument x");
    fails("{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "takes no keyword argument a");
    fails("{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "more arguments than it takes");
    fails("{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "no use for its caller");
    fails("{{ [1, 2]|tojson(separators='x') }}", "pair of strings");
    fails("{{ 'a' % 1 }}", "too many values");
    fails("{{ 'a' % ([1],) }}", "too many values");
    /* Python has an answer to these, this engine says that it has none. */
    fails("{{ '%d' % 1e300 }}", "past 64 bits");
    /* Arguments that Python does not take. */
    fails("{{ 'a'|trim(2) }}", "trim of a int");
    fails("{{ 'a'|indent(none) }}", "has to be an integer");
    fails("{{ [1]|indent(2) }}", "indent of a list");
    fails("{{ 2.5|round(1, 'up') }}", "common, ceil or floor");
    fails("{{ [2, 1]|sort('x') }}", "\"reverse\" has to be an integer");
    fails("{{ ['a']|sum(start='x') }}", "join strings");
    fails("{{ {'a': 1}|dictsort(by='values') }}", "\"key\" or \"value\"");
    fails("{{ messages|attr(1) }}", "attr by a int");
    fails("{{ 1|tojson(indent=1.5) }}", "indent by a float");
    fails("{{ 'a'|upper(1) }}", "upper takes no arguments");
    fails("{{ ['a']|map('upper', 1)|list }}", "upper takes no arguments");
    fails("{{ 'a b'.split(' ', none) }}", "has to be an integer");
    fails("{{ 'a'.splitlines('x') }}", "has to be an integer");
    fails("{{ {}.get([1]) }}", "cannot be a key");
    fails("{{ [1] in {} }}", "cannot be a key");
    fails("{{ range(none) }}", "has to be an integer");
    fails("{{ [1]|tojson(indent=70) }}", "64 blanks");
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
#define DEEP "{% set a = namespace(x=[1]) %}{% set b = namespace(x=[2]) %}{% for i in range(50000) %}{% set a.x = [a.x] %}{% set b.x = [b.x] %}{% endfor %}"
    fails(DEEP "{{ a.x == b.x }}", "nested too deeply");
    fails(DEEP "{{ a.x < b.x }}", "nested too deeply");
    fails("{{ range(100000)|unique|list|length }}", "does not come to an end"); /* it looks at five billion pairs */
    fails("{% set s = 'x' * 4000000 %}{% macro m(n) %}{{ s }}{% if n %}{{ m(n - 1) }}{% else %}{{ raise_exception('bottom') }}{% endif %}{% endmacro %}{{ m(50) }}", "MB of text");
    fails("{% set s = 'ab' * 4000000 %}{% for i in range(100000) %}{% if 'c' in s %}{% endif %}{% endfor %}", "does not come to an end");
    sd_buf b;
    sd_buf_init(&b, 1 << 20);
    sd_buf_puts(&b, "{% macro m(n) %}{% if n %}{{ m(n - 1)|length");
    for (int i = 0; i < 900; i++) sd_buf_puts(&b, " + 1");
    sd_buf_puts(&b, " }}{% endif %}{% endmacro %}{{ m(60) }}");
    fails(sd_buf_str(&b), "nested too deeply");
    sd_buf_release(&b);
}

/* A conversation's objects are taken over once, however many keys they have. */
static void test_many_keys(void **state)
{
    enum { KEYS = 200000 }; /* looking each up among the others: half a minute */
    (void)state;
    sd_err err = {0};
    sd_buf out;
    json_t *m = json_pack("[{s:s, s:s, s:{}}]", "role", "user", "content", "x", "more"), *more = json_object_get(json_array_get(m, 0), "more");
    char key[16];
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "k%d", i);
        json_object_set_new(more, key, json_integer(i));
    }
    sd_chat *c = make("{{ messages[0].more|length }}");
    sd_buf_init(&out, 256);
    const clock_t began = clock();
    t_ok(sd_chat_render_json(c, &(sd_chat_input){.messages = m}, &out, &err), err);
    assert_string_equal(sd_buf_str(&out), "200000");
    assert_true((double)(clock() - began) / CLOCKS_PER_SEC < 5);
    sd_buf_release(&out);
    sd_chat_free(c);
    json_decref(m);
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
        T(test_messages_refused), T(test_running_is_bounded), T(test_as_jinja2), T(test_many_keys), T(test_clock),  T(test_spans)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
