#!/usr/bin/env python3
"""Writes chat templates, conversations and what transformers' Jinja2 renders, one JSON object a line, to stdout.

  gen_chat.py                       the cases of tests/data/chat/cases.jsonl
  gen_chat.py FOLDER..              the same conversations through the templates of model folders

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
    "{% set ns = namespace(found=false) %}{{ ns.found }}",
    "{{ messages | tojson }}",
    "{{ strftime_now('%d %b %Y') }}",
    "{% macro f(x) %}{{ x }}{% endmacro %}{{ f('a') }}",
    "{% for m in messages %}{% set a = m.role %}{{ a }}{% endfor %}",
    "{{ messages[0].get('role') }}",
    "{{ 'a' in 'abc' }}",
    "{% for m in messages %}{{ m.role + 1 }}{% endfor %}",
    "{% raw %}{{ x }}{% endraw %}",
    "no tags at all\r\nand two line ends\r\n",
]
CONVERSATIONS = [
    [("user", "Hello")],
    [("system", "Be brief."), ("user", "  Hello \u00a0\n"), ("assistant", "Hi.\n"), ("user", "Bye <|im_end|> {{ x }}")],
    [("user", ""), ("assistant", "caf\u00e9 \U0001f600"), ("user", "2")],
    [("system", "Only a system turn.")],
    [],
]


def render(template, messages, generate, bos, eos):
    tokens = {k: v for k, v in (("bos_token", bos), ("eos_token", eos)) if v}
    try:
        return _compile_jinja_template(template).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=generate, **tokens
        )
    except Exception:  # noqa: BLE001  what it raises is Jinja2's business
        return None


def emit(template, bos, eos):
    for talk, generate in itertools.product(CONVERSATIONS, (False, True)):
        messages = [{"role": r, "content": c} for r, c in talk]
        case = {"template": template, "bos": bos, "eos": eos, "messages": messages, "generate": generate}
        case["want"] = render(template, messages, generate, bos, eos)
        print(json.dumps(case, ensure_ascii=False))


def folder(path):
    from transformers import AutoTokenizer

    tok = AutoTokenizer.from_pretrained(path)
    for talk, generate in itertools.product(CONVERSATIONS[:4], (False, True)):
        messages = [{"role": r, "content": c} for r, c in talk]
        case = {"template": tok.chat_template, "bos": tok.bos_token or "", "eos": tok.eos_token or ""}
        case |= {"messages": messages, "generate": generate}
        case["want"] = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
        print(json.dumps(case, ensure_ascii=False))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for p in sys.argv[1:]:
            folder(p)
    else:
        for i, t in enumerate(TEMPLATES):
            emit(t, "<s>" if i % 2 == 0 else "", "</s>")
