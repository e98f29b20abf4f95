"""Whatever JSON a function's schema is: there is a mask, or an error that names it, and replies can be read."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.calls.grammar import calls_format
from engine.calls.parser import CallParser
from engine.calls.qwen_coder import QWEN_CODER
from engine.calls.syntax import CallSyntax
from engine.request import EngineError, OutputFormat, Tool
from tests.engine.calls.families import SYNTAXES, written
from tests.engine.test_grammar import compiler

_KEYWORDS = [
    *(
        "type",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "$id",
        "items",
        "pattern",
        "format",
    ),
    *(
        "properties",
        "required",
        "additionalProperties",
        "minLength",
        "maxLength",
        "minimum",
        "multipleOf",
        "a",
    ),
]
_WORDS = [
    "string",
    "integer",
    "object",
    "array",
    "null",
    "date",
    "#",
    "#/$defs/a",
    "#/properties/a",
    "a",
    "(",
]
_KEYS = st.sampled_from(_KEYWORDS) | st.text(max_size=3)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10**13)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(_WORDS)
    | st.text(max_size=3)
)
_ANY = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)
_SCHEMAS = st.dictionaries(_KEYS, _ANY, max_size=4) | st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("abc"), _ANY, max_size=3)},
    optional={"required": _ANY, "$defs": st.dictionaries(st.just("a"), _ANY), "additionalProperties": _ANY},
)


def refusal(format: OutputFormat) -> EngineError | None:
    try:
        compiler().compile(format, "salt")
    except EngineError as error:
        return error
    return None


@SYNTAXES
@given(schema=_SCHEMAS)
def test_mask_of_any_schema_is_made_or_refused_by_name(syntax: CallSyntax, schema: dict[str, Any]) -> None:
    format = calls_format(syntax, [Tool("f", "d", schema)], forced=True, parallel=False, param="tools")
    if error := refusal(format):
        assert (error.code, error.param) == ("invalid_value", "tools")
        assert error.message.startswith("Invalid value for 'tools': ")


@given(schema=_SCHEMAS)
def test_call_of_a_function_with_any_schema_is_read(schema: dict[str, Any]) -> None:
    text = written(QWEN_CODER, ("f", '{"a": "x", "b": 2, "other": [null]}'))
    parser = CallParser(QWEN_CODER, {"f": schema})
    assert parser.push(text)
    assert not parser.in_call
