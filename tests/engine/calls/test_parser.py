"""Replies taken apart: whole, character by character, and cut anywhere."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.calls import mistral
from engine.calls.hermes import HERMES
from engine.calls.llama import LLAMA
from engine.calls.parser import CallParser
from engine.calls.pieces import Arguments, CallBegin, CallEnd, Piece, Said
from engine.calls.qwen_coder import QWEN_CODER
from engine.calls.syntax import CallSyntax
from tests.engine.calls.families import SYNTAXES, WITH_JSON_SYNTAXES, opening, written

SCHEMAS: dict[str, dict[str, Any]] = {"weather": {}, "f": {}}
Call = tuple[str, str, bool]  # name, arguments, whether they are whole


def joined(pieces: list[Piece]) -> list[str | Call]:
    """Texts and calls, with neighbouring texts made one."""
    parts: list[str | Call] = []
    for piece in pieces:
        match piece:
            case str():
                if parts and isinstance(parts[-1], str):
                    parts[-1] += piece
                else:
                    parts.append(piece)
            case CallBegin(name):
                parts.append((name, "", False))
            case Arguments(text):
                name, before, whole = parts[-1]
                assert not whole
                parts[-1] = (name, before + text, False)
            case CallEnd():
                name, arguments, whole = parts[-1]
                assert not whole
                parts[-1] = (name, arguments, True)
    return parts


def parsed(syntax: CallSyntax, *deltas: str, either: bool = False) -> list[str | Call]:
    parser = CallParser(syntax, SCHEMAS, either=either)
    pieces = [piece for delta in deltas for piece in parser.push(delta)]
    return joined(pieces + parser.finish())


@SYNTAXES
def test_text_call_and_text(syntax: CallSyntax) -> None:
    text = "Let me look.\n" + written(syntax, ("weather", '{"city": "Paris"}')) + "\nThere."
    assert parsed(syntax, text) == ["Let me look.", ("weather", '{"city": "Paris"}', True), "There."]


@SYNTAXES
def test_a_reply_of_a_format_is_calls_from_its_beginning_or_text(syntax: CallSyntax) -> None:
    call = written(syntax, ("f", "{}"))

    for cut in (list, lambda text: [text]):
        assert parsed(syntax, *cut(f"{call}\n{call}"), either=True) == [("f", "{}", True)] * 2
        for text in (f'{{"said": {call}}}', f",{call}", f"<{call}"):
            assert parsed(syntax, *cut(text), either=True) == [text]


@SYNTAXES
def test_texts_know_where_they_begin(syntax: CallSyntax) -> None:
    text = "Let me look.\n" + written(syntax, ("f", "{}")) + "\n There."
    parser = CallParser(syntax, SCHEMAS)
    pieces = [piece for char in text for piece in parser.push(char)] + parser.finish()
    said = [piece for piece in pieces if isinstance(piece, Said)]
    assert "".join(said) == "Let me look.There."
    assert all(text[piece.at :].startswith(piece) for piece in said)


@SYNTAXES
def test_two_calls(syntax: CallSyntax) -> None:
    text = written(syntax, ("f", "{}")) + "\n" + written(syntax, ("weather", '{"a": [{"b": "}"}]}'))
    assert parsed(syntax, text) == [("f", "{}", True), ("weather", '{"a": [{"b": "}"}]}', True)]


@SYNTAXES
def test_calls_of_one_reply(syntax: CallSyntax) -> None:
    text = written(syntax, ("f", "{}"), ("weather", '{"a": 1}'), ("f", '{"b": "c"}'))
    assert parsed(syntax, text) == [
        ("f", "{}", True),
        ("weather", '{"a": 1}', True),
        ("f", '{"b": "c"}', True),
    ]


@SYNTAXES
def test_function_that_was_not_offered_is_text(syntax: CallSyntax) -> None:
    text = written(syntax, ("unknown", '{"a": 1}'))
    assert parsed(syntax, text) == [text]


@WITH_JSON_SYNTAXES
def test_reply_that_ends_in_a_call(syntax: CallSyntax) -> None:
    begun = opening(syntax, "f") + '{"a": "b\\'
    assert parsed(syntax, begun) == [("f", '{"a": "b\\', False)]


@WITH_JSON_SYNTAXES
def test_reply_that_ends_before_the_arguments(syntax: CallSyntax) -> None:
    assert parsed(syntax, " " + opening(syntax, "f")) == [" " + opening(syntax, "f")]


@WITH_JSON_SYNTAXES
def test_arguments_leave_at_once(syntax: CallSyntax) -> None:
    parser = CallParser(syntax, SCHEMAS)
    assert parser.push(opening(syntax, "f")) == []
    assert parser.push('{"a') == [CallBegin("f"), Arguments('{"a')]
    assert parser.push('": "x\\') == [Arguments('": "x\\')]
    assert parser.push('""}') == [Arguments('""}'), CallEnd()]
    assert parser.finish() == []


def test_calls_in_a_list_that_the_model_did_not_close() -> None:
    begun = '[TOOL_CALLS] [{"name": "f", "arguments": {}, "id": "abc"}'
    assert parsed(mistral.LIST, f"{begun} So.") == [("f", "{}", True), "So."]
    assert parsed(mistral.LIST, begun + ', {"name": "unknown", "arguments": {}}') == [
        ("f", "{}", True),
        ', {"name": "unknown", "arguments": {}}',
    ]


def test_compact_call_with_its_kind_before_its_name() -> None:
    assert parsed(LLAMA, '{"type":"function","name":"f","parameters":{"a":1}}') == [("f", '{"a":1}', True)]


def test_call_without_its_closing_tag() -> None:
    assert parsed(HERMES, '<tool_call>{"name":"f","arguments":{}}') == [("f", "{}", True)]
    assert parsed(HERMES, '<tool_call>{"name":"f","arguments":{}} Well.') == [("f", "{}", True), "Well."]


def test_quotes_and_brackets_in_arguments() -> None:
    arguments = json.dumps({"a": '}"]\\', "b": [[], {"{": "["}]})
    assert parsed(HERMES, HERMES.written("f", arguments)) == [("f", arguments, True)]


def test_white_space_waits_for_what_follows() -> None:
    parser = CallParser(HERMES, SCHEMAS)
    assert parser.push("Yes. \n") == ["Yes."]
    assert parser.push("No <b") == [" \nNo <b"]
    assert parser.push("\n\n") == []
    assert parser.finish() == ["\n\n"]


@SYNTAXES
def test_long_white_space_is_read_in_linear_time(syntax: CallSyntax) -> None:
    text = " " * 100_000 + "<" * 1000 + "[" * 1000
    assert parsed(syntax, text) == [text]


@pytest.mark.fuzz
@SYNTAXES
def test_long_white_space_in_many_pieces_is_read_in_linear_time(syntax: CallSyntax) -> None:
    spaces = [" "] * 400_000
    call = written(syntax, ("f", "{}"))
    assert parsed(syntax, *spaces, "x") == [" " * 400_000 + "x"]
    for start in (1, len(call) - 1):
        whole = call[:start] + " " * 400_000 + call[start:]
        assert parsed(syntax, call[:start], *spaces, call[start:]) == parsed(syntax, whole)
    assert parsed(syntax, call, *spaces, "x") == [("f", "{}", True), "x"]


@pytest.mark.fuzz
def test_whatever_stands_between_arguments_is_read_in_linear_time() -> None:
    begun = "<tool_call>\n<function=f>\n"
    for between in (" ", "x", "<", " x", '"'):
        text = begun + between * 400_000 + "</function>"
        assert parsed(QWEN_CODER, text) == [("f", "{}", True)]
    [(_, arguments, whole)] = parsed(QWEN_CODER, f'{begun}<parameter=a>["', *["</parameter>"] * 20_000)
    assert (arguments, whole) == ('{"a": ', False)


_MARKS = [
    '{"name": "f", ',
    '"arguments": {',
    '"parameters": {',
    "[TOOL_CALLS]",
    "[",
    "]",
    ",",
    ', "id": "abcdef123"',
    "f[ARGS]{",
    "[CALL_ID]abcdef123",
    "<tool_call>",
    "</tool_call>",
    "<function=f>",
    "<parameter=a>",
    "<parameter=b>",
    "</parameter>",
    "</function>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "}",
    '"',
    "\\",
    " ",
    "\n",
    "<",
    "{",
    "text",
]
_ARGUMENTS = ['{"a": "\\"}"}', '{"a": [1, {"b": {}}]}', '{"a": "x\\n</parameter>"}', "{}"]


def _parts(syntax: CallSyntax) -> st.SearchStrategy[str]:
    calls = [written(syntax, ("f", arguments)) for arguments in _ARGUMENTS]
    several = written(syntax, ("f", "{}"), ("weather", '{"a": 1}'))
    return st.sampled_from([*calls, several, *_MARKS])


@SYNTAXES
@given(data=st.data())
def test_any_split_of_a_text_gives_the_same(syntax: CallSyntax, data: st.DataObject) -> None:
    text = "".join(data.draw(st.lists(_parts(syntax), max_size=12)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)) | {0, len(text)})
    deltas = [text[start:end] for start, end in pairwise(cuts)]
    for either in (False, True):
        whole = parsed(syntax, text, either=either)
        assert parsed(syntax, *deltas, either=either) == whole
        assert parsed(syntax, *text, either=either) == whole


@SYNTAXES
@given(st.text(alphabet=st.sampled_from('<tool_cal>{"name: }\n f'), max_size=60) | st.text(max_size=60))
@example(" ")
def test_text_without_a_call_comes_out_as_it_went_in(syntax: CallSyntax, text: str) -> None:
    said = parsed(syntax, text)
    assert said == ([text] if text else [])
