#!/usr/bin/env python3
"""Writes chat templates, conversations and what transformers' Jinja2 renders, one JSON object a line, to stdout.

  gen_chat.py                       the cases of tests/data/chat/cases.jsonl
  gen_chat.py FOLDER..              the same conversations through the templates of model folders
  gen_chat.py FILE.jinja..          conversations, tools and tool calls through template files

Needs transformers (5.23 made the committed file) and jinja2. "want" is null where the template raises.
"""
import itertools
import json
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a test.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = [
    CHATML,
    DEFAULT_SYSTEM,
    # The same over many lines, with marks that take white space away.
    """{%- if messages[0].role == 'system' -%}
    {%- set system_message = messages[0].content | trim -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set system_message = "" -%}
    {%- set rest = messages -%}
{%- endif -%}
{{ bos_token }}
{%- if system_message %}<|im_start|>system
{{ system_message }}<|im_end|>
{% endif %}
{%- for m in rest %}
<|im_start|>{{ m.role }}
{{ m['content'].strip() }}<|im_end|>
  {% if not loop.last %}

    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
""",
    # trim_blocks and lstrip_blocks
    "A\n  {% for m in messages %}\n  {{ m.role }}:\n\n  {% if loop.index0 % 2 == 0 %}  \n even {% else %}\n odd\n {% endif %}\n{% endfor %}\n\n",
    "x {%+ if add_generation_prompt %} y {% endif +%}\nz\n\n",
    "{# a comment #}\n  {#- another -#}  \n{{- 'a' -}}  {{ 'b' }}\n {# c #} {% if true %}t{% endif %}\n",
    "\n\n  {%- if add_generation_prompt -%}  \n G \n {%- elif messages[0].role == 'system' %} S {% else %} E {%- endif %}\n \u00a0\u2003{{- '|' }}",
    # types and how they print
    "{{ true }} {{ 1 + 2 }} {{ none }} {{ nothing }} {{ 'a' ~ 1 ~ true ~ none }} {{ nothing is defined }} {{ tools }} {{ tools is none }}",
    "{{ messages|length }} {{ (messages|length) % 2 == 0 }} {{ messages|length > 1 }} {{ 'x' if messages|length >= 2 else 'y' }}",
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.last }}{{ m.tool_calls is defined }}{{ m.content is string }};{% endfor %}",
    "{% if not date is defined %}{% set date = '1 Jan' %}{% endif %}{{ date }}{% if tools is not none %}T{% endif %}{{ messages[-1].content }}",
    "{{ 'tab\\there \\'quoted\\' \\\\ \\u00e9 \\x41' }}{{ \"it's\" }}{{ 'multi\nline' }}",
    "{{ 'a' and 'b' }}{{ '' or 'c' }}{{ not 'd' }}{{ 'e' == 'e' and 'f' != 'g' }}{% if messages and not tools %}M{% endif %}{{ not not 'x' }}",
    "{% for m in messages[1:] %}{{ m.role[0:1] if false else m.role }}{% endfor %}",
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role }}]{% endfor %}{{ eos_token }}",
    "{% set x = messages[5] %}{% if x is defined %}six{% endif %}{{ messages[5].role }}",
    "{% if messages[1] is defined %}{{ messages[1]['content'] }}{% endif %}{% if messages %}{{ messages[0]['content'] | trim | trim }}{% endif %}",
    "{{ '{% not a tag %}' }}{{ '}}' }}{ % { { }",
    "{% for m in messages %}{{ m.content }}{% else %}none{% endfor %}",
    "{% set ns = namespace(found=false, n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% if m.role == 'user' %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }} {{ ns.n }}",
    "{{ messages | tojson }}|{{ messages | tojson(indent=2) }}|{{ {'b': [1, 2.5, none, true], 'a': {}} | tojson(sort_keys=true) }}|{{ [] | tojson(indent=4) }}",
    "{{ 'caf\u00e9 \U0001f600 \\u0001\"\\\\/' | tojson }}{{ 'caf\u00e9 \U0001f600' | tojson(ensure_ascii=true) }}{{ {1: 'a', true: 'b', none: 'c'} | tojson(separators=(',', ':')) }}",
    "{{ strftime_now('%d %b %Y') is string }}",
    "{% macro f(x, y='d') %}<{{ x }}{{ y }}{% if caller %}{{ caller() }}{% endif %}>{% endmacro %}{{ f('a') }}{{ f(y='b', x='c') }}{% call f('q') %}inside{% endcall %}",
    "{% macro each(l) %}{% for x in l %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(v, i) each(messages) %}{{ i }}={{ v.role }};{% endcall %}",
    "{% macro deep(n) %}{% if n > 0 %}({{ deep(n - 1) }}){% endif %}{% endmacro %}{{ deep(5) }}",
    "{% for m in messages %}{% set a = m.role %}{{ a }}{% endfor %}[{{ a }}]{% set a = 'x' %}{% for m in messages %}{% set a = a ~ 'y' %}{{ a }}{% endfor %}{{ a }}",
    "{{ messages[0].get('role') }}{{ messages[0].get('nothing') }}{{ messages[0].get('nothing', 'other') }}",
    "{{ 'a' in 'abc' }}{{ 'role' in messages[0] }}{{ 1 in [1, 2] }}{{ 3 not in (1, 2) }}{{ 'x' is in ['x'] }}",
    "{% for m in messages %}{{ m.role + 1 }}{% endfor %}",
    "{% raw %}{{ x }}{% endraw %} {%- raw -%}  {% y %} {%- endraw %} z",
    "{% for i in range(3) %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}|{% for i in range(5, 0, -2) %}{{ i }}{{ loop.revindex }}{% endfor %}",
    "{% for a, b in [(1, 'x'), (2, 'y')] %}{{ a }}{{ b }}{% endfor %}{% for k, v in {'p': 1, 'q': [2]}.items() %}{{ k }}:{{ v }};{% endfor %}{% for k in {'p': 1} %}{{ k }}{% endfor %}",
    "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in range(6) if x % 2 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% else %}none{% endfor %}{% for x in [] %}{% else %}empty{% endfor %}",
    "{% for x in ['a', 'b', 'c'] %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.cycle('odd', 'even') }}{{ loop.changed(x == 'c') }} {% endfor %}",
    "{% set t %}  block {{ messages|length }} {% endset %}[{{ t }}]{% set u | trim | upper %}  block {% endset %}[{{ u }}]{% filter upper %}up {{ 'x' }}{% endfilter %}",
    "{% with a = 1, b = 'z' %}{{ a }}{{ b }}{% endwith %}{{ a }}{% generation %}gen{% endgeneration %}",
    "{{ [1, 'a', 2.0, none, true, ['x'], {'k': \"it's\"}] }}{{ (1,) }}{{ () }}{{ {'a': 1, 'b': (1, 2)} }}{{ 'a\\nb' }}{{ ['a\\nb', 'q\"', 'e\u00e9'] }}",
    "{{ 1.0 }} {{ 0.1 }} {{ 1e20 }} {{ 1e16 }} {{ 123456789.125 }} {{ 1.5e-7 }} {{ 0.0001 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 1_000 }} {{ -3 | abs }}",
    "{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2.675 | round(2) }} {{ 2.5 | round }} {{ 3.2 | round(method='ceil') }} {{ '12' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ '1.9' | int }} {{ 3.9 | int }} {{ '2.5' | float }}",
    "{{ 'abc'[0] }}{{ 'abc'[-1] }}{{ 'abcdef'[1:3] }}{{ 'abcdef'[::2] }}{{ 'caf\u00e9s'[3:] }}{{ 'caf\u00e9' | length }}{{ [1, 2, 3][1:] }}{{ [1, 2, 3][::-1] }}{{ 'abc'[::-1] }}{{ [1, 2, 3][-2:] }}{{ 'abc'[7] }}{{ [1][5] is defined }}",
    "{{ 'a' if messages }}{{ 'b' if not messages }}|{{ nothing is undefined }}{{ nothing | default('d') }}{{ '' | default('e', true) }}{{ none | d('f') }}{{ nothing ~ 'g' }}{{ nothing == nothing2 }}{{ nothing | length }}",
    "{{ nothing.attribute }}",
    "{{ nothing() }}",
    "{{ nothing + 'a' }}",
    "{{ 'a' < 1 }}",
    "{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 1 == 1.0 }}{{ 1 == true }}{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}{{ not 1 == 2 }}{{ (1, 2) == [1, 2] }}{{ {'a': 1} == {'a': 1.0} }}",
    "{{ ' a b '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'a,b,,c'.split(',') }}|{{ ' a  b '.split() }}|{{ 'a b c'.split(' ', 1) }}|{{ 'a.b.c'.rsplit('.', 1) }}|{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}",
    "{{ 'a-b'.replace('-', '+') }}{{ 'aaa'.replace('a', 'b', 2) }}{{ 'ab'.replace('', '.') }}{{ 'Hello World'.title() }}{{ \"they're bill's\".title() }}{{ 'hELLO'.capitalize() }}{{ 'aB'.swapcase() }}{{ '\u00e9t\u00e9 stra\u00dfe'.upper() }}{{ 'abcabc'.find('c') }}{{ 'abcabc'.rfind('c') }}{{ 'caf\u00e9x'.find('x') }}{{ 'a'.find('z') }}{{ 'banana'.count('an') }}",
    "{{ 'a\\nb\\r\\nc'.splitlines() }}{{ '-'.join(['a', 'b']) }}{{ '12'.isdigit() }}{{ 'a1'.isalnum() }}{{ 'ab'.isalpha() }}{{ ' '.isspace() }}{{ 'ab'.islower() }}{{ 'AB1'.isupper() }}{{ 'a=b=c'.partition('=') }}{{ 'a=b=c'.rpartition('=') }}{{ 'prefix-x'.removeprefix('prefix-') }}{{ 'x.py'.removesuffix('.py') }}",
    "{{ messages | map(attribute='role') | join(', ') }}|{{ messages | selectattr('role', 'equalto', 'user') | list | length }}|{{ messages | rejectattr('role', 'in', ['user', 'system']) | map(attribute='content') | list }}|{{ messages | selectattr('tool_calls') | list }}",
    "{{ ['b', 'A', 'c'] | sort }}{{ ['b', 'A', 'c'] | sort(case_sensitive=true) }}{{ [3, 1, 2] | sort(reverse=true) }}{{ [{'n': 2}, {'n': 1}] | sort(attribute='n') }}{{ ['a', 'A', 'b'] | unique | list }}{{ [1, 5, 3] | max }}{{ ['b', 'A'] | min }}{{ [1, 2, 3] | sum }}{{ [{'n': 2}, {'n': 1}] | sum(attribute='n') }}",
    "{{ [1, 2, 3] | first }}{{ [1, 2, 3] | last }}{{ [] | first }}{{ 'abc' | first }}{{ [1, 2] | reverse | list }}{{ 'abc' | reverse }}{{ 'abc' | list }}{{ range(4) | select('odd') | list }}{{ range(4) | reject('odd') | list }}{{ ['a', ''] | select | list }}{{ ['a', 'b'] | map('upper') | join }}{{ [[1, 2], [3]] | map('length') | list }}",
    "{{ 'hello world-foo (bar)' | title }}{{ 'HELLO' | capitalize }}{{ ' x ' | trim }}{{ 'xax' | trim('x') }}{{ 'a' | upper }}{{ 'a<b>&\"' | e }}{{ '<' | safe }}{{ 'a' | replace('a', 'b') }}{{ 5 | string ~ 'x' }}{{ {'b': 1, 'a': 2} | dictsort }}{{ {'b': 1, 'a': 2} | items | list }}{{ '%s-%d' | format('a', 3) }}{{ '%s and %s' % ('a', 1) }}",
    "{{ 'one\ntwo\n\nthree' | indent }}|{{ 'one\ntwo' | indent(2, true) }}|{{ 'one\n\ntwo' | indent('> ', blank=true) }}|{{ 'one\n' | indent(1) }}|{{ '' | indent(3, first=true) }}",
    "{{ [1, 2] + [3] }}{{ (1,) + (2,) }}{{ 'ab' * 3 }}{{ [0] * 2 }}{{ 'a' 'b' \"c\" }}{{ 'a' ~ 1 ~ 2.0 ~ none ~ true }}{{ -2 ** 2 }}{{ 2 * 3 + 4 }}{{ 10 - 2 - 3 }}{{ not false and true }}{{ 1 if false else 2 if false else 3 }}",
    "{{ messages[0] is mapping }}{{ messages is iterable }}{{ messages is sequence }}{{ 'a' is string }}{{ 1 is number }}{{ 1.5 is float }}{{ 1 is integer }}{{ true is integer }}{{ true is boolean }}{{ true is true }}{{ 1 is true }}{{ none is none }}{{ nothing is none }}{{ 'a' is not none }}{{ 4 is even }}{{ 4 is divisibleby 2 }}{{ 'a' is eq 'a' }}{{ 3 is gt 2 }}{{ 'a' is lower }}{{ raise_exception is callable }}{{ nothing is iterable }}{{ nothing is sequence }}",
    "{{ messages[0]['content'] is string and messages[0]['content'] is not none }}{{ messages[-1]['role'] is in ['user', 'assistant'] }}{% if messages[0].content is defined and messages[0].content is not none and messages[0].content | trim %}t{% endif %}",
    "{% set x, y = 1, 2 %}{{ x }}{{ y }}{% set z = (x, y) %}{{ z }}{{ z[0] }}{{ dict(a=1, b=2) }}{{ dict({'c': 3}, d=4) }}{{ {'items': 1}.items is callable }}{{ {'items': 1}['items'] }}{{ {'a': {'b': ['c', 'd']}}.a.b.1 }}",
    "{{ {'a': 1}.keys() | list }}{{ {'a': 1}.values() | list }}{{ {'a': 1} | length }}{{ {'a': 1} | list }}{{ {'a': 1, 'a': 2} }}{{ [1, 2].index(2) }}{{ [1, 1].count(1) }}",
    "{% if messages | selectattr('role', 'equalto', 'nobody') %}a generator is true{% endif %}{% set g = messages | map(attribute='role') %}{{ g | list | length }}{{ g | list | length }}",
    "{{ [1].append(2) }}",
    "{{ ([1] | first) is eq(1) }}{{ 'x' is eq('x') and 'y' }}{% if 'a' is string or nothing.x %}short{% endif %}{{ (messages | length > 1) is true }}",
    "{%- for message in messages -%}\n    {%- if message.role == 'tool' -%}\n        {{- '<tool>' + message.content + '</tool>' -}}\n    {%- else -%}\n        {{- '\\n' + message.role + ': ' + (message.content | trim) -}}\n    {%- endif -%}\n{%- endfor -%}\n",
    "{{ '\\x41\\u00e9\\U0001f600\\q\\'' }}{{ 'a\\\nb' }}{{ \"\\\"\" }}",
    "{%- set ns = namespace(i=0) %}{%- for m in messages %}\n  {%- set ns.i = ns.i + 1 %}\n{{ ns.i }} {{ m.role }}\n{%- endfor %}\n\n",
    "{{ 1 / 0 }}",
    "{{ 5 % 0 }}",
    "{{ [1, 2, 3] | join('-') }}{{ ['a', none, 1.5] | join }}{{ messages | join(',', attribute='role') }}{{ [true, false] | join(' ') }}{{ 'abc' | join('.') }}",
    "{{ messages[1:] | length }}{{ messages[:-1] | length }}{{ messages[-1:] | map(attribute='role') | list }}{{ messages[::-1] | map(attribute='role') | list }}{{ messages | attr('x') is defined }}",
    "{% set m = {'role': 'user', 'content': [{'type': 'text', 'text': 'hi'}, {'type': 'image'}]} %}{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}{% elif c['type'] == 'image' %}<image>{% endif %}{% endfor %}",
    "{% for t in tools or [] %}{{ t.function.name }}({% for k, p in t.function.parameters.properties.items() %}{{ k }}: {{ p.type }}{{ '' if loop.last else ', ' }}{% endfor %}) {{ t | tojson(indent=4) }}{% endfor %}",
    "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{{ c.function.arguments.items() | list | length }}{% endfor %}{% endif %}{% endfor %}{{ enable_thinking if enable_thinking is defined else 'unset' }}",
    "{% set loop = 1 %}",
    "{{ (1, 2) | tojson }}{{ 1.0 | tojson }}{{ 1e100 | tojson }}{{ nothing | tojson }}",
    "{{ '\u2028 \u200b' }}{{ ['\u2028', '\u200b', '\\x7f', '\\\\'] }}",
    "no tags at all\r\nand two line ends\r\n",
    "{% raw %}\n{{ x }}\n{% endraw %}\n|{% raw -%}\n a\n {%- endraw -%}\n|  {% raw %}  {% endraw +%}\nb",
    "{% raw +%}a{% endraw %}",
    "{{ documents[1:] }}",
    "{{ messages[0][:1] }}",
    "{{ nothing | dictsort }}",
    "{{ 6.0 is divisibleby 2 }}{{ 6.5 is divisibleby(2) }}",
    "{% for _ in messages %}x{% endfor %}{% for _, v in {'a': 1}.items() %}{{ v }}{{ _ }}{% endfor %}{% set _ = 3 %}{{ _ }}",
]
CONVERSATIONS = [
    [("user", "Hello")],
    [("system", "Be brief."), ("user", "  Hello \u00a0\n"), ("assistant", "Hi.\n"), ("user", "Bye <|im_end|> {{ x }}")],
    [("user", ""), ("assistant", "caf\u00e9 \U0001f600"), ("user", "2")],
    [("system", "Only a system turn.")],
    [],
]


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": 'Tells the "weather" <now> of a city & its sky.',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city's name"},
                    "days": {"type": "integer", "default": 1},
                    "unit": {"type": "string", "enum": ["c", "f"]},
                },
                "required": ["city"],
            },
        },
    }
]
# An assistant that calls a tool, and the tool's answer.
CALLS = [
    {"role": "system", "content": "You may call tools."},
    {"role": "user", "content": "Weather in Gr\u00fcnau?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Gr\u00fcnau", "days": 2}}}
        ],
    },
    {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": '{"sky": "clear", "t": 21.5}'},
    {"role": "assistant", "content": "Clear, 21.5 degrees."},
    {"role": "user", "content": "Thanks"},
]


def render(template, case):
    tokens = {k: v for k, v in (("bos_token", case["bos"]), ("eos_token", case["eos"])) if v}
    try:
        return _compile_jinja_template(template).render(
            messages=case["messages"],
            tools=case.get("tools"),
            documents=None,
            add_generation_prompt=case["generate"],
            **case.get("more", {}),
            **tokens,
        )
    except Exception:  # noqa: BLE001  what it raises is Jinja2's business
        return None


def plain(talk):
    return [{"role": r, "content": c} for r, c in talk]


def emit(template, bos, eos, talks):
    for talk, generate in itertools.product(talks, (False, True)):
        case = {"template": template, "bos": bos, "eos": eos, "generate": generate, **talk}
        case["want"] = render(template, case)
        print(json.dumps(case, ensure_ascii=False))


TALKS = [{"messages": plain(t)} for t in CONVERSATIONS]
RICH = [
    {"messages": CALLS, "tools": TOOLS},
    {"messages": CALLS[:2], "tools": TOOLS, "more": {"enable_thinking": False, "date_string": "26 Jul 2024"}},
    {"messages": CALLS[:5]},
    {"messages": plain([("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nb"), ("user", "c")])},
]


def folder(path):
    from transformers import AutoTokenizer

    tok = AutoTokenizer.from_pretrained(path)
    emit(tok.chat_template, tok.bos_token or "", tok.eos_token or "", TALKS[:4] + RICH)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for p in sys.argv[1:]:
            if p.endswith(".jinja"):
                # The text of strftime_now changes with the day: those templates get a date of their own.
                text = open(p, encoding="utf-8").read()
                emit(text, "<s>", "</s>", [{**t, "more": {"date_string": "26 Jul 2024"}} for t in TALKS + RICH])
            else:
                folder(p)
    else:
        for i, t in enumerate(TEMPLATES):
            emit(t, "<s>" if i % 2 == 0 else "", "</s>", (TALKS if i < 17 else TALKS[1:3] + RICH[:2]))
