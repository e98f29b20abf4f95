"""What chat templates may make of a conversation, and that what they make is what transformers makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from transformers.utils.chat_template_utils import render_jinja_template

from engine import template_budget
from engine.template_budget import CHARS_A_CHAR, LEAST_CHARS, MAX_DEPTH, TooMuch, weight
from engine.template_environment import BoundedEnvironment

HUGE = "3000000000"
MESSAGES = [{"role": "user", "content": "probe"}, {"role": "assistant", "content": " Fine, \tthank you "}]
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "required": ["a"]}}}
]
DOUBLING = "{% set ns = namespace(x='xxxxxxxxxx') %}{% for n in range(100) %}STEP{% endfor %}"
LAUGHS = (
    "{% set a = ['ha'] %}"
    + "".join(f"{{% set a = [{', '.join(['a'] * 20)}] %}}" for _ in range(4))
    + "{% set found = a %}"
)


def rendered(template: str, messages: list[dict[str, Any]] = MESSAGES) -> str:
    environment = BoundedEnvironment()
    return environment.rendered(
        environment.from_string(template), weight(messages, 1 << 40), messages=messages, tools=TOOLS
    )


@pytest.mark.parametrize(
    "expression",
    [
        f"'x' * {HUGE}",
        f"{HUGE} * 'x'",
        f"b * {HUGE}",
        f"[1, 2] * {HUGE}",
        f"{HUGE} * (1, 2)",
        f"'x' * 2 ** {HUGE}",
        f"10 ** {HUGE}",
        "10 ** 1000 * 10 ** 1000",
        f"'%{HUGE}d' % 1",
        f"'%-{HUGE}s|' % 'x'",
        f"'%.{HUGE}f' % 1",
        f"'%*d' % ({HUGE}, 1)",
        f"'%(a){HUGE}s' % {{'a': 1}}",
        f"b.__mod__ or '%{HUGE}d'.encode() % 1",
        f"'%{HUGE}d' | format(1)",
        f"'{{:{HUGE}}}'.format(1)",
        f"'{{:{{w}}}}'.format(1, w={HUGE})",
        f"'{{a:>{HUGE}}}'.format_map({{'a': 1}})",
        f"'x'['format'] and 'x{{:.{HUGE}f}}'['format'](1.5)",
        f"'x'.ljust({HUGE})",
        f"'x'.rjust({HUGE})",
        f"'x'.center({HUGE}, '-')",
        f"'x'.zfill({HUGE})",
        f"b.ljust({HUGE})",
        f"'\\t'.expandtabs({HUGE})",
        f"'\\t'.expandtabs(tabsize={HUGE})",
        f"(5).to_bytes({HUGE}, 'big')",
        f"'x' | center({HUGE})",
        f"'x\\ny' | indent({HUGE})",
        f"['x'] | map('center', {HUGE}) | list",
        f"[1] | batch({HUGE}, 'x') | list",
        f"[1] | slice({HUGE}) | list",
        f"1.5 | round({HUGE}, 'ceil')",
        f"[[1]] | tojson(indent={HUGE})",
        "[1, 2, 3] | tojson(separators=('x' * 9000000, ':'))",
        "'x x x' | wordwrap(1, wrapstring='x' * 9000000)",
        f"range({HUGE})",
        "('x' * 100000).replace('x', 'y' * 100000)",
        "('x' * 100000) | replace('x', 'y' * 100000)",
        "(b * 100000).replace(b, b * 100000)",
        "('x' * 100000).translate({120: 'y' * 100000})",
        "('x' * 100000).join(['y'] * 100000)",
        "('x' * 100000).join(range(9999) | map('string'))",
        "(['x' * 100000] * 100000) | join",
        "(['x' * 100000] * 100000) | join(d=', ')",
        "(['x' * 100000] * 100000) | string",
        "(['x' * 100000] * 100000) ~ ''",
        "['x' * 100000] * 100000",
        "'%s' % ((['x' * 100000] * 100000),)",
        "'{}'.format(['x' * 100000] * 100000)",
        "([range(1000) | list] * 100000) | sum(start=[])",
        "([[1]] * 100000) | sum(start=[])",
    ],
)
def test_what_would_fill_the_memory_is_refused_before_it_is_made(expression: str) -> None:
    with pytest.raises((TooMuch, OverflowError), match=r"^it makes|^it takes|Range too big"):
        rendered("{% set b = 'x'.encode() %}{{ " + expression + " }}")


@pytest.mark.parametrize(
    "step",
    [
        "{% set ns.x = ns.x + ns.x %}",
        "{% set ns.x = ns.x ~ ns.x %}",
        "{% set ns.x = [ns.x, ns.x] | join %}",
        "{% set ns.x = '%s%s' % (ns.x, ns.x) %}",
        "{% set ns.x = '{0}{0}'.format(ns.x) %}",
        "{% set ns.x = ns.x.replace('x', 'xx') %}",
        "{% set ns.x = ns.x.upper() + ns.x %}",
        "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}",
        "{% set ns.x = ns.x | list + ns.x | list %}",
        "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns.x = twice(ns.x) %}",
        "{% filter upper %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfilter %}",
    ],
)
def test_a_text_that_doubles_is_refused(step: str) -> None:
    with pytest.raises(TooMuch, match=f"^it makes more than {LEAST_CHARS:,}|^it makes more than 16,"):
        rendered(DOUBLING.replace("STEP", step))


@pytest.mark.parametrize(
    "use",
    [
        "{{ found }}",
        "{{ found | tojson }}",
        "{{ found | pprint }}",
        "{{ found ~ 'x' }}",
        "{{ {'a': found} | string }}",
        "{{ {'a': found}.values() }}",
        "{% set ns = namespace(a=found) %}{{ ns }}",
    ],
)
def test_a_list_of_lists_of_the_same_lists_has_no_text(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_budget, "LEAST_CHARS", 1 << 18)  # 16 Mi are counted for seconds
    with pytest.raises(TooMuch):
        rendered(LAUGHS + use)
    assert rendered(LAUGHS + "{{ found | length }}") == "20"


@pytest.mark.parametrize(
    "step",
    [
        "(ns.t, ns.t)",
        "[ns.t] + [ns.t]",
        "{1: ns.t, 2: ns.t}",
        "([ns.t] * 2) | batch(2) | list",
        "([ns.t] * 2) | slice(1) | list",
        "([[0, ns.t]] * 2) | groupby(0)",
        "{}.fromkeys([1, 2], ns.t)",
        "dict(a=ns.t, b=ns.t)",
    ],
)
def test_lists_that_double_in_each_other_are_refused(step: str) -> None:
    template = DOUBLING.replace("x='xxxxxxxxxx'", "t=(1,)").replace("STEP", f"{{% set ns.t = {step} %}}")
    with pytest.raises(TooMuch, match=r"^it nests lists"):
        rendered(template)


def test_lists_that_nest_deeper_than_the_interpreter_can_follow_are_refused() -> None:
    deep = "{% set ns = namespace(t=()) %}{% for n in range(COUNT) %}{% set ns.t = (ns.t,) %}{% endfor %}"
    deep += "{{ {ns.t: 1}[ns.t] }}"
    assert rendered(deep.replace("COUNT", f"{MAX_DEPTH - 2}")) == "1"
    with pytest.raises(TooMuch, match=f"more than {MAX_DEPTH} deep"):
        rendered(deep.replace("COUNT", "99999"))


def test_the_arguments_of_a_macro_double_no_more() -> None:
    macro = "{% macro keep() %}{% set ns.t = varargs %}{% endmacro %}"
    template = DOUBLING.replace("x='xxxxxxxxxx'", "t=(1,)").replace("STEP", "{{ keep(ns.t, ns.t) }}")
    with pytest.raises(TooMuch, match=r"^it nests lists"):
        rendered(template.replace("{% for", macro + "{% for", 1))


@pytest.mark.parametrize(
    "number", ["('f' * 4000) | int(0, 16)", "(5).from_bytes('x'.encode() * 4000, 'big')"]
)
def test_a_number_that_takes_seconds_to_divide_is_refused(number: str) -> None:
    with pytest.raises(TooMuch, match=r"^it makes a number"):
        rendered(f"{{{{ {number} }}}}")


def test_nonsense_is_not_to_be_had() -> None:
    with pytest.raises(UndefinedError, match="lipsum"):
        rendered("{{ lipsum(1000000) }}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages | tojson(indent=4) }}{{ tools | tojson }}",
        "{% for m in messages %}{{ loop.index ~ ': ' ~ m.role + ' ' + m.content | trim }}\n{% endfor %}",
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m['content'] }}{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{%- set ns = namespace(all=[], n=2) -%}{%- for m in messages -%}{%- set ns.all = ns.all + [m.content] -%}"
        "{%- set ns.n = ns.n * 3 % 5 ** 2 -%}{%- endfor -%}{{ ns.all | join('|') }}{{ ns.n }}",
        "{{ messages | map(attribute='role') | join(', ') }}",
        "{{ messages | selectattr('role', 'equalto', 'user') | list }}",
        "{{ 'a-b' | replace('-', 1) | upper | center(9) }}{{ 'x'.center(5) }}",
        "{{ '%5.2f|%s' % (1.5, 'x') }}{{ '%%' % () }}",
        "{{ '%s and %(a)s' | replace('%s', 'x') | format(a='b') }}{{ '{a:>4}{0[0]!r}'.format([1], a='x') }}",
        "{{ ['a', 'b'] * 2 }}{{ 2 * 'ab' }}{{ (1, 2) + (3,) }}{{ 1.5 * 2 }}{{ 2 ** -1 }}{{ 2.5 | round(1) }}",
        "{{ 'a\tb'.expandtabs(4).translate({97: 'zz'}) }}{{ ' '.join(messages[0].keys()) }}{{ missing ~ none }}",
        "{% macro say(m) %}<{{ m.content }}>{{ caller() if caller }}{% endmacro %}"
        "{% call say(messages[0]) %}!{% endcall %}",
        "{% set text %}{% for m in messages %}{{ m.content }}{% endfor %}{% endset %}"
        "{{ text.split('t') | last | indent(2) }}",
        "{{ dict(a=1) | items | list }}{{ range(3) | batch(2, 'x') | list }}",
        "{% for a, b in [(1, 2), (3, [4])] %}{% set c, d = b, a %}{{ (c, d) }}{{ {'a': c, 'b': [d]} }}{% endfor %}",
        "{{ 7 // 2 }}{{ 7.5 // 2 }}{{ 'ff' | int(0, 16) }}{{ [3, 1] | slice(2) | list }}",
        "{{ [3, 1] | sort | first }}{{ 'ab' | list }}",
        "{{ strftime_now('%Y') }}{{ messages[::-1] | tojson }}{{ none is defined }}{{ 'x'.encode().hex() }}",
        "{{ (7).bit_length() }}{{ 'aXbX'.replace('X', '-', 1) }}{{ ['b', 'a'] | join }}{{ [1, 2] | sum }}",
    ],
)
def test_what_templates_do_is_what_transformers_makes_of_it(template: str) -> None:
    [theirs], _ = render_jinja_template([MESSAGES], tools=TOOLS, chat_template=template)
    assert rendered(template) == theirs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_any_contents_are_rendered_as_by_transformers(contents: list[str]) -> None:
    messages = [{"role": "user", "content": content} for content in contents]
    template = (
        "{% for m in messages %}{{ '<' ~ m.role ~ '>' + m.content | trim + m.content * 2 }}{% endfor %}"
    )
    [theirs], _ = render_jinja_template([messages], chat_template=template)
    assert rendered(template, messages) == theirs


def test_a_long_conversation_has_room_to_be_worked_on() -> None:
    messages = [{"role": "user", "content": "x" * 5000}] * 400
    adding_up = (
        "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + m.content %}{% endfor %}"
    )
    assert rendered(adding_up + "{{ ns.t }}", messages) == "x" * 2_000_000


def test_each_rendering_has_a_budget_of_its_own() -> None:
    environment = BoundedEnvironment()
    template = environment.from_string("{{ 'x' * n }}")
    most = LEAST_CHARS // 3
    for _ in range(4):
        assert len(environment.rendered(template, 0, n=most)) == most
    with pytest.raises(TooMuch, match=f"more than {LEAST_CHARS + CHARS_A_CHAR:,} characters"):
        environment.rendered(template, 1, n=LEAST_CHARS + CHARS_A_CHAR + 1)


VALUES = st.recursive(
    st.text() | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_a_weight_is_never_far_below_the_text(value: Any) -> None:
    # A character may be written by its number, in ten characters.
    assert len(str(value)) <= 10 * weight(value, 1 << 40) + 30
    assert len(json.dumps(value)) <= 12 * weight(value, 1 << 40) + 30
