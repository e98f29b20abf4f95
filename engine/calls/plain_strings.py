"""Strings that stand between tags without quotes, held to their schema (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from engine.calls.syntax import SchemaError

_ANY: Final = r"(.|\n)"
_WITHOUT_END: Final = rf"~/{_ANY}*<\/parameter>{_ANY}*/"
_DATE: Final = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_BYTE: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_DAYS_OF_ALL_MONTHS: Final = _DATE.replace("|[12][0-9]|3[01]", "|1[0-9]|2[0-8]")
_FORMATS: Final = {
    "date": _DAYS_OF_ALL_MONTHS,
    "time": _TIME,
    "date-time": f"{_DAYS_OF_ALL_MONTHS}T{_TIME}",
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "email": r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9]+(-[A-Za-z0-9]+)*(\.[A-Za-z0-9]+(-[A-Za-z0-9]+)*)+",
    "ipv4": rf"{_BYTE}(\.{_BYTE}){{3}}",
}
MAX_LENGTH: Final = 1_000_000
_RULES: Final = frozenset(["minLength", "maxLength", "pattern", "format"])


def string_rule(schema: Mapping[str, Any]) -> str:
    """The texts that satisfy the rules in `schema` and do not end the argument, for a terminal. Raises SchemaError."""
    if unknown := sorted(schema.keys() - _RULES):
        raise SchemaError(f"'{unknown[0]}' is not supported for a string in this model's calls")
    rules = [f"/{_ANY}{_length(schema)}/"]
    if "pattern" in schema:
        rules.append(_found(schema["pattern"]))
    if "format" in schema:
        named = schema["format"]
        if not isinstance(named, str) or named not in _FORMATS:
            raise SchemaError(f"its 'format' is none of {', '.join(sorted(_FORMATS))}")
        rules.append(f"/{_FORMATS[named]}/")
    return " & ".join([*rules, _WITHOUT_END])


def _length(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if not all(_is_count(length) for length in (least, 0 if most is None else most)):
        raise SchemaError(f"'minLength' and 'maxLength' must be whole numbers from 0 to {MAX_LENGTH}")
    if most is None:
        return f"{{{least},}}" if least else "*"
    if least > most:
        raise SchemaError("its 'minLength' is more than its 'maxLength'")
    return f"{{{least},{most}}}"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LENGTH


def _found(pattern: Any) -> str:
    """The texts in which the pattern is found somewhere."""
    from llguidance import regex_to_lark

    if not isinstance(pattern, str):
        raise SchemaError("its 'pattern' is no text")
    begins = pattern.startswith("^")
    ends = pattern.endswith("$") and not pattern.endswith(r"\$")
    inner = pattern[begins : len(pattern) - ends]
    if (begins or ends) and _chooses(inner):
        raise SchemaError("its 'pattern' has '|' beside '^' or '$': put what is between these in parentheses")
    before, behind = ("" if begins else f"{_ANY}*"), ("" if ends else f"{_ANY}*")
    return f"/{before}({regex_to_lark(inner, use_ascii='d')}){behind}/"


def _chooses(pattern: str) -> bool:
    """Whether it has alternatives outside of parentheses and classes."""
    depth = 0
    for found in re.finditer(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*+\]?|[()|]", pattern):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if found[0] == "|" and not depth:
            return True
    return False
