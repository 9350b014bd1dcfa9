# SPDX-License-Identifier: Apache-2.0
"""Writes cases.json and chats.json: what Jinja2 3.1.4 makes of the snippets and templates here.

Run in an environment with jinja2==3.1.4: python make_cases.py
The environment below is set up as the transformers library sets up its own for chat templates.
"""
import datetime
import json
import pathlib

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
TIME = datetime.datetime(2025, 3, 9, 7, 5, 2)


class Generation(Extension):
    """{% generation %} marks text for training and shows its content."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("show"), [], [], body).set_lineno(line)

    def show(self, caller):
        return caller()


def environment():
    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = TIME.strftime
    return env


CONTEXT = {
    "name": "World", "empty": "", "n": 7, "neg": -3, "pi": 3.14159, "yes": True, "no": False,
    "nothing": None, "words": ["pear", "Apple", "fig", "apple"], "nums": [3, 1, 2],
    "text": "  some\ttext here \n", "umlaut": "Größe ÀÉ ß", "emoji": "a😀b", "html": "<a href=\"x\">'&'</a>",
    "user": {"name": "Ann", "age": 30, "tags": ["x", "y"], "address": {"city": "Rome"}},
    "rows": [{"id": 1, "role": "user", "text": "hi"}, {"id": 2, "role": "bot", "text": "yo"},
             {"id": 3, "role": "user", "text": "bye"}],
    "lines": "first\n\nthird\n",
    "tool": {"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"b": {"type": "number", "minimum": 0.5}, "a": {"enum": ["é", "\"q\"", None, True]}},
        "required": []}}},
}

SNIPPETS = [
    # Output and literals.
    "Hello {{ name }}!", "{{ 1 }} {{ 1.0 }} {{ 1e20 }} {{ 1.5e-7 }} {{ 123456789012345680.0 }} {{ 0.1 + 0.2 }}",
    "{{ true }} {{ False }} {{ none }} {{ None }}", "{{ 'it''s' \"a\" }}", r"{{ 'a\n\t\\\'\x41\u00e9\q' }}",
    "{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_000 }} {{ 1_0.5 }}",
    "{{ [1, 'a', \"it's\", '\"', none, true, 1.0, [], {}] }}", "{{ {'a': 1, 2: [3], none: 'x'} }}",
    "{{ (1, 2) }} {{ (1,) }} {{ () }} {{ 1, 'b' }}", "{{ ['\n\t\\ é 😀 \u200b\u00a0\x07'] }}", "{{ missing }}|{{ user.missing }}",
    "{{ [missing] | length }}", "{{ umlaut }} {{ emoji | length }} {{ emoji[1] }} {{ emoji[::-1] }}",
    # White space.
    "a\n{% if yes %}\nb\n{% endif %}\nc\n", "a\n  {% if yes %}  \n  b\n  {% endif %}\n  c\n\n", "x {%- if yes -%} y {%- endif -%} z",
    "x {{- name -}} z", "x\n  {%+ if yes %}\ny{% endif +%}\nz", "a {# comment #}\nb {#- strip -#} c\n  {# line #}\nd",
    "{% raw %}\n {{ name }} {% if %}{% endraw %}\nend", "{%- raw -%}  {{ x }}  {%- endraw -%}  y", "a\r\nb\r{{ '1\r\n2' }}\n",
    "  {{ name }}\n", "\n\n{% for i in [1,2] %}\n  {{ i }}\n{% endfor %}\n", "{% if yes %}\n\n{{ name }}{% endif %}", "{{ '%}' }}{{ '}}' }}{% set a = '#}' %}{{ a }}",
    "{{ {'a': {'b': 1}}['a'] }}", "{#\n multi\n#}\n\nx", "\t{% if yes %}y{% endif %}\t{% if no %}n{% endif %}|", "{% if yes -%}\n\n  y\n{%- endif %}\n z",
    # Arithmetic and comparison.
    "{{ 7 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 6 / 3 }}",
    "{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ -n }} {{ +n }} {{ 2 * 3.5 }}",
    "{{ 'ab' * 3 }} {{ 2 * [1, 2] }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ 'a' + 'b' }} {{ true + 1 }}", "{{ 'a' ~ 1 ~ none ~ 2.50 ~ [1] ~ missing }}",
    "{{ 1 < 2 }} {{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 == 1.0 }} {{ '1' == 1 }} {{ 1 != 2 }} {{ 2 >= 2 }}",
    "{{ 'a' in 'cat' }} {{ 1 in nums }} {{ 'age' in user }} {{ 'x' not in user.tags }} {{ 5 in (1, 2) }} {{ 'x' in missing }}",
    "{{ not yes }} {{ yes and 'x' }} {{ no or 'y' }} {{ empty or nothing or 0 }} {{ not 1 in [2] }} {{ 1 and 0 or 3 }}",
    "{{ 'a' if yes else 'b' }} {{ 'a' if no }}|{{ 'a' if no else 'b' if no else 'c' }}", "{{ missing == missing2 }} {{ missing == none }} {{ [] == () }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }}",
    "{{ -1|abs }} {{ 2 + 3|string|length }} {{ 'a' ~ 'b'|upper }}", "{{ 10 % 4 == 2 and 3 is odd }}", "{{ '%s=%d %05.2f %%' % ('a', 3, 2.5) }} {{ '%x' % 255 }} {{ '%r' % 'q' }}",
    "{{ 1 if true else 2 }}{{ [1, 2, 3][1 if yes else 0] }}", "{{ true is true }} {{ 1 == true }} {{ {1: 'a'}[true] }}",
    # Access.
    "{{ user.name }} {{ user['age'] }} {{ user.address.city }} {{ user.tags[0] }} {{ user.tags[-1] }} {{ user['tags'].1 }}",
    "{{ nums[0:2] }} {{ nums[::-1] }} {{ nums[-2:] }} {{ nums[:1] }} {{ nums[5:] }} {{ name[1:3] }} {{ name[::-1] }} {{ name[::2] }} {{ name[-3:-1] }}", "{{ nums[10] }}|{{ name[10] }}|{{ user[0] }}|{{ nums.foo }}",
    "{{ rows[1].role }} {{ rows[0]['text'][0] }} {{ rows[-1].id }}", "{{ nums[2:0:-1] }} {{ nums[::2] }} {{ name[10:0:-2] }} {{ (1,2,3)[1:] }}", "{{ user.get('name') }} {{ user.get('zip') }} {{ user.get('zip', 'none') }}",
    "{% for k, v in user.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in user %}{{ k }},{% endfor %}{{ user.keys() | list }} {{ user.values() | list | length }}", "{{ user.items is defined }} {{ user.update is defined }} {{ name.upper is callable }}",
    # Control.
    "{% for x in nums %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}", "{% for x in nums %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.depth }} {% endfor %}",
    "{% for x in nums %}[{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}]{% endfor %}", "{% for x in nums %}{{ loop.cycle('odd', 'even') }} {% endfor %}", "{% for x in nums if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}none{% endfor %}",
    "{% for x in [] %}x{% else %}empty{% endfor %}", "{% for x in missing %}x{% else %}undefined{% endfor %}", "{% for c in emoji %}{{ c }}.{% endfor %}", "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}-{{ b }} {% endfor %}", "{% for (a, b) in {'x': 1}.items() %}{{ a }}{{ b }}{% endfor %}",
    "{% for x in range(10) %}{% if x == 3 %}{% continue %}{% endif %}{% if x > 5 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in range(2) %}{% for y in range(2) %}{{ loop.index }}{{ loop.depth }} {% endfor %}{{ loop.index }};{% endfor %}",
    "{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ range(0) | list }}", "{% if n > 10 %}a{% elif n > 5 %}b{% else %}c{% endif %}", "{% if missing %}a{% elif nothing %}b{% elif empty %}c{% elif [] %}d{% elif {} %}e{% elif 0.0 %}f{% else %}g{% endif %}",
    "{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}", "{% set x = 1 %}{% for i in nums %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "{% for i in nums %}{{ y is defined }}{% set y = i %}{{ y }}{% endfor %}{{ y is defined }}",
    "{% set ns = namespace(found=false, n=0) %}{% for i in nums %}{% set ns.n = ns.n + i %}{% if i == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.n }} {{ ns.found }} {{ ns.other is defined }}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns['b'] }}",
    "{% set a, b = 1, 'x' %}{{ a }}{{ b }}{% set (c, d) = (3, 4) %}{{ c + d }}", "{% set t = 1, 2 %}{{ t }}", "{% set x %}in {{ name }}{% endset %}[{{ x }}]", "{% set x | upper | trim %} in {{ name }} {% endset %}[{{ x }}]", "{% set x %}{% set y = 1 %}{% endset %}{{ y is defined }}",
    "{% macro hi(who, mark='!') %}Hi {{ who }}{{ mark }}{% endmacro %}{{ hi('Bob') }} {{ hi('Al', mark='?') }} {{ hi(mark='.', who='Cy') }} {{ hi() }}", "{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}", "{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% set g = 1 %}{% macro f() %}{{ g }}{% set g = 5 %}{{ g }}{% endmacro %}{{ f() }}{{ g }}", "{% macro f() %}{{ x }}{% endmacro %}{% for x in nums %}{{ f() }}{% endfor %}|", "{% for x in nums %}{% macro f() %}<{{ x }}>{% endmacro %}{{ f() }}{% endfor %}", "{% macro box(t) %}<{{ t }}:{{ caller() }}>{% endmacro %}{% call box('a') %}in {{ name }}{% endcall %}", "{% macro each() %}{{ caller(1) }}{{ caller(2) }}{% endmacro %}{% call(x) each() %}[{{ x }}]{% endcall %}",
    "{% filter upper %}a {{ name }}{% endfilter %}", "{% filter trim | replace('a', 'o') %}  banana {% endfilter %}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "{% generation %}x{{ name }}{% endgeneration %}", "{% for m in rows %}\n{%- if m.role == 'user' %}\n{{ m.text }}\n{%- endif %}\n{% endfor %}",
    "{% macro f(l) %}{% for x in l %}{{ x }}{{ loop.last }}{% endfor %}{% endmacro %}{{ f(nums) | upper | length }}", "{% set d = dict(a=1, b='x') %}{{ d }} {{ dict({'q': 2}, r=3) }}",
    # Tests.
    "{{ missing is defined }} {{ name is defined }} {{ user.zip is not defined }} {{ missing is undefined }} {{ nothing is none }} {{ nothing is not none }} {{ missing is none }}",
    "{{ name is string }} {{ n is string }} {{ user is mapping }} {{ rows is mapping }} {{ rows is iterable }} {{ name is iterable }} {{ n is iterable }} {{ rows is sequence }} {{ user is sequence }} {{ name is sequence }} {{ missing is iterable }} {{ missing is string }}",
    "{{ n is number }} {{ pi is number }} {{ yes is number }} {{ n is integer }} {{ yes is integer }} {{ pi is float }} {{ yes is boolean }} {{ n is boolean }} {{ yes is true }} {{ no is false }} {{ 1 is true }}",
    "{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ n is equalto 7 }} {{ n is eq(8) }} {{ n is ne 8 }} {{ n is gt 3 }} {{ n is lt(3) }} {{ n is ge 7 }} {{ n is le 7 }}",
    "{{ 'a' is in ['a'] }} {{ 'ABC' is upper }} {{ 'abc' is lower }} {{ '12' is lower }} {{ range is callable }} {{ n is callable }} {{ n is sameas n }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }}", "{{ not missing is defined and yes is true }} {{ (n is not odd) or no }}",
    # Filters.
    "{{ text | trim }}|{{ 'xxaxx' | trim('x') }}|{{ umlaut | upper }}|{{ umlaut | lower }}|{{ 'hello wORLD foo-bar (baz' | title }}|{{ 'hELLO w' | capitalize }}", "{{ words | length }} {{ name | count }} {{ user | length }} {{ missing | length }}",
    "{{ words | join(', ') }} {{ nums | join }} {{ rows | join('|', attribute='role') }} {{ [1, none, 'a'] | join('-') }}", "{{ words | first }} {{ words | last }} {{ name | first }} {{ [] | first }}|{{ name | last }}", "{{ 'abc' | list }} {{ user | list }} {{ (1, 2) | list }}",
    "{{ '42' | int }} {{ ' 4.9 ' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 4.9 | int }} {{ -4.9 | int }} {{ '0x1f' | int(0, 16) }} {{ '1_0' | int }} {{ none | int }} {{ true | int }}", "{{ '1.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ '1e3' | float }} {{ 'x' | float(2.5) }}",
    "{{ missing | default('d') }} {{ empty | default('d') }}|{{ empty | default('d', true) }} {{ none | d('x') }} {{ nothing | default('y', boolean=true) }} {{ user.zip | default }}|", "{{ 'banana' | replace('a', 'o') }} {{ 'banana' | replace('a', 'o', 2) }} {{ 'ab' | replace('', '-') }} {{ 123 | replace('2', 'x') }}",
    "{{ tool | tojson }}", "{{ tool | tojson(indent=2) }}", "{{ tool.function | tojson(indent=4) }}", "{{ [] | tojson }} {{ {} | tojson(indent=2) }} {{ [1, [2, {}]] | tojson(indent=1) }} {{ '<a>&\\'' | tojson }} {{ 1.0 | tojson }} {{ none | tojson }} {{ 'é\\n\\x01\\x7f😀' | tojson }}",
    "{{ {'b': 1, 'a': [1, 2]} | tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ 'é😀' | tojson(ensure_ascii=true) }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}", "{{ (1, 'a') | tojson }} {{ 1e16 | tojson }} {{ 1e-5 | tojson }} {{ 123456.789 | tojson }} {{ 1e22 | tojson }}",
    "{{ rows | map(attribute='role') | list }} {{ words | map('upper') | list }} {{ rows | map(attribute='zip', default='-') | join }} {{ nums | map('string') | join('+') }} {{ words | map('replace', 'p', 'b') | list }}", "{{ nums | select('odd') | list }} {{ nums | reject('odd') | list }} {{ ['', 'a', none] | select | list }} {{ nums | select('gt', 1) | list }} {{ nums | select('in', [1, 2]) | list }}",
    "{{ rows | selectattr('role', 'equalto', 'user') | map(attribute='id') | list }} {{ rows | rejectattr('role', '==', 'user') | list | length }} {{ rows | selectattr('zip', 'defined') | list }} {{ rows | selectattr('text') | list | length }}", "{% for k, v in user | items %}{{ k }}:{{ v }} {% endfor %}{{ missing | items | list }}",
    "{% for k, v in user | dictsort %}{{ k }} {% endfor %}{{ {'b': 1, 'A': 2, 'c': 0} | dictsort }} {{ {'b': 1, 'A': 2} | dictsort(true) }} {{ {'b': 1, 'A': 2} | dictsort(by='value', reverse=true) }}", "{{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ nums | sort(reverse=true) }} {{ rows | sort(attribute='text') | map(attribute='id') | list }}",
    "{{ nums | reverse | list }} {{ 'abc' | reverse }} {{ words | unique | list }} {{ [1, 1.0, true, 2] | unique | list }} {{ rows | unique(attribute='role') | list | length }}", "{{ lines | indent }}|{{ lines | indent(2, true) }}|{{ lines | indent(2, blank=true) }}|{{ 'a\\nb' | indent('> ') }}|{{ '' | indent(2, true) }}",
    "{{ html | e }} {{ html | escape | length }} {{ html | safe }}", "{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 7 | round }} {{ 2.1 | round(0, 'ceil') }} {{ 2.19 | round(1, 'floor') }} {{ 1234.5 | round(-2) }}", "{{ nums | sum }} {{ [] | sum }} {{ rows | sum(attribute='id') }} {{ [1.5, 2] | sum }} {{ nums | sum(start=10) }}",
    "{{ nums | min }} {{ nums | max }} {{ words | min }} {{ words | max }} {{ [] | max }}| {{ rows | max(attribute='id') }} {{ -3 | abs }} {{ -2.5 | abs }}", "{{ [1,2,3,4,5] | batch(2) | list }} {{ [1,2,3] | batch(2, 'x') | list }}", "{% for role, items in rows | groupby('role') %}{{ role }}: {{ items | map(attribute='id') | list }}; {% endfor %}", "{{ 'a b  c' | wordcount }} {{ '%s-%s' | format(1, 'b') }} {{ user | attr('name') }}| {{ 3 | string + '!' }}",
    # Methods.
    "{{ text.strip() }}|{{ 'xxaxy'.strip('xy') }}|{{ '  a '.lstrip() }}|{{ ' a  '.rstrip() }}|{{ 'abc'.lstrip('ab') }}|{{ '\u3000a\u00a0'.strip() }}", "{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a b  c'.rsplit(none, 1) }} {{ 'aaa'.rsplit('aa') }} {{ 'aaa'.split('aa') }} {{ ''.split() }} {{ ''.split(',') }}",
    "{{ 'x</think>y</think>z'.split('</think>')[-1] }} {{ 'a\\nb'.split('\\n')[0].rstrip('\\n').split('a')[-1].lstrip('\\n') }}|", "{{ name.startswith('Wo') }} {{ name.endswith('x') }} {{ name.startswith(('a', 'W')) }} {{ name.upper() }} {{ name.lower() }} {{ 'they\\'re bill\\'s 3x éa'.title() }} {{ 'ab cd'.capitalize() }}", "{{ 'banana'.replace('an', 'x') }} {{ 'banana'.replace('a', 'b', 1) }} {{ ', '.join(words) }} {{ 'banana'.find('n') }} {{ 'banana'.find('z') }} {{ 'banana'.rfind('n') }} {{ 'banana'.count('an') }} {{ emoji.find('b') }} {{ 'banana'.index('a') }} {{ 'banana'.find('a', 2) }}",
    "{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('x') }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'a\\nb\\r\\nc\\n'.splitlines() }}", "{{ '12'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ ''.isdigit() }} {{ 'A'.isupper() }} {{ 'a'.islower() }} {{ 'a'.center(5) }}|{{ 'ab'.ljust(4, '.') }}|{{ 'ab'.rjust(4) }}|{{ 'abcd'.center(7, '*') }}|{{ 'abc'.center(6, '*') }}", "{{ nums.index(2) }} {{ nums.count(1) }} {{ (1, 1).count(1) }}",
    "{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y %H:%M:%S') }} {{ strftime_now('') }}|", "{% if 'system' == rows[0].role %}a{% else %}{{ rows[0].role | upper ~ ': ' + rows[0].text }}{% endif %}",
    # Errors: only that there is one.
    "{{ missing.x }}", "{{ missing() }}", "{{ missing + 1 }}", "{{ 1 + 'a' }}", "{{ 1 / 0 }}", "{{ raise_exception('no way') }}", "{{ nums.append(4) }}", "{{ user.update({'a': 1}) }}", "{% set user.name = 'x' %}", "{{ n() }}", "{{ missing | tojson }}", "{{ [1, 'a'] | sort }}", "{% for a, b in [1] %}{% endfor %}", "{{ name | nofilter }}", "{{ name is notest }}", "{{ 'a' < 1 }}", "{{ {[]: 1} }}", "{{ range(1000000000) | list }}", "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{% endmacro %}{{ f(b=2) }}", "{{ n | length }}",
    "{% if yes %}", "{% endif %}", "{{ 1", "{{ }}", "{% for x nums %}{% endfor %}", "{{ 'a }}", "{% nosuch %}", "{{ (1 }}", "{{ a b }}", "{# x", "{% raw %}x", "{% break %}", "{{ 1 + }}", "{% set %}", "{% if yes %}{% else %}{% else %}{% endif %}", "{{ x[ }}", "{{ ? }}", "{% macro f(a=1, b) %}{% endmacro %}",
]


def rendered(template, context):
    """The text, or the error as {"error": message}."""
    try:
        return {"expected": environment().from_string(template).render(**context)}
    except Exception as problem:  # any kind of error is one
        return {"error": str(problem)}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


GREETING = [message("user", "Hi there, how are you?")]
SYSTEM = [message("system", "You are terse."), message("user", "Name a colour.")]
TURNS = [message("user", " What is 2+2? "), message("assistant", "4"), message("user", "And 3+3?"),
         message("assistant", "<think>\nSix.\n</think>\n\n6"), message("user", "Größe 😀 <b>&</b>?")]
ALL = [message("system", "Be kind."), *TURNS]
WRONG = [message("user", "a"), message("user", "b")]
CALL = {"type": "function", "id": "call00001", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}}
WITH_CALL = [message("user", "Weather?"), message("assistant", "", tool_calls=[CALL]),
             message("tool", "{\"temp\": 21.5}", tool_call_id="call00001", name="get_weather"), message("assistant", "21.5 degrees."), message("user", "Thanks")]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city's <b>today</b>", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "Größe"}, "days": {"type": "integer", "minimum": 1, "default": 1.5}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "now", "description": "Time", "parameters": {"type": "object", "properties": {}}}}]
CHATS = [("greeting", GREETING, None, {}), ("system", SYSTEM, None, {}), ("turns", TURNS, None, {}), ("all", ALL, None, {}), ("wrong", WRONG, None, {}),
         ("tools", SYSTEM, TOOLS, {}), ("call", WITH_CALL, TOOLS, {}), ("call_without_tools", WITH_CALL, None, {}), ("no_thinking", ALL, None, {"enable_thinking": False}),
         ("empty", [], None, {})]


def chats(name, template, bos, eos):
    cases = []
    for chat, messages, tools, extra in CHATS:
        for prompt in (True, False):
            context = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt, "bos_token": bos, "eos_token": eos, **extra}
            cases.append({"name": f"{name}/{chat}/{prompt}", "messages": messages, "tools": tools, "prompt": prompt, "extra": extra, **rendered(template, context)})
    return {"template": name, "bos": bos, "eos": eos, "cases": cases}


def main():
    cases = [{"template": snippet, **rendered(snippet, CONTEXT)} for snippet in SNIPPETS]
    (HERE / "cases.json").write_text(json.dumps({"context": CONTEXT, "cases": cases}, ensure_ascii=False, indent=1) + "\n")
    templates = [chats(path.name, path.read_text(), "<s>", "</s>") for path in sorted(HERE.glob("*.jinja"))]
    (HERE / "chats.json").write_text(json.dumps(templates, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
