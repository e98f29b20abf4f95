"""Arguments between tags, as Qwen3-Coder writes them, read as JSON (pure)."""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Final

from engine.calls.arguments import MORE, Read
from engine.calls.kinds import STRING, ArgumentKinds, value_json
from engine.calls.pattern import SPACE, Pattern, literal
from engine.calls.value_end import ValueEnd

CLOSE: Final = "</parameter>"
_OPEN: Final = Pattern(SPACE, *literal("<parameter="), r"(?P<key>[^>\n]{1,256})", ">")
_END: Final = Pattern(SPACE, *literal("</function>"))
_CALL_END: Final = Pattern(SPACE, *literal("</tool_call>"))


class Parameters:
    """A value begins behind its tag's line and ends before the closing one's. Strings are handed on as they come; of
    what kind any other value is shows at its end. Of two values of one key the first counts."""

    def __init__(self, expected: ArgumentKinds) -> None:
        self._expected = expected
        self._seen: set[str] = set()
        self._kinds: Set[str] | None = None  # of the value that is read
        self._fresh = False  # the line of its tag may still end
        self._repeated = False
        self._end = ValueEnd(CLOSE)  # of one that is no string

    def read(self, held: str) -> Read:
        if self._kinds is None:
            return self._between(held)
        if self._fresh:
            self._fresh = False
            if held.startswith("\n"):
                return Read(1, "")
        return self._value(held, self._kinds)

    def _between(self, held: str) -> Read:
        if space := len(held) - len(held.lstrip()):
            return Read(space, "")
        if opened := _OPEN.match(held):
            return Read(opened.end(), self._open(opened["key"].strip()))
        end = "}" if self._seen else "{}"
        if ended := _END.match(held):
            return Read(ended.end(), end, whole=True)
        if _CALL_END.match(held):  # the function's tag was forgotten
            return Read(0, end, whole=True)
        if any(pattern.begun(held) for pattern in (_OPEN, _END, _CALL_END)):
            return MORE
        other = held.find("<", 1)
        return Read(other if other > 0 else len(held), "")  # what does not belong there

    def _open(self, key: str) -> str:
        self._repeated = key in self._seen
        self._kinds = self._expected.of(key)
        self._fresh = True
        self._end = ValueEnd(CLOSE)
        if self._repeated:
            return ""
        before = ", " if self._seen else "{"
        self._seen.add(key)
        return f"{before}{_quoted(key)}: " + ('"' if self._kinds == STRING else "")

    def _value(self, held: str, kinds: Set[str]) -> Read:
        end = _string_end(held) if kinds == STRING else self._end.find(held)
        if end is not None:
            self._kinds = None
            value = held[: end - len(CLOSE)].removesuffix("\n")
            return Read(end, self._shown(_last(value, kinds)))
        if kinds == STRING:
            sure = len(held) - _begun_end(held)
            return Read(sure, self._shown(_quoted(held[:sure])[1:-1]))
        return MORE

    def _shown(self, text: str) -> str:
        return "" if self._repeated else text


def _last(text: str, kinds: Set[str]) -> str:
    """The JSON of a value's end; of a string without the quote that begins it."""
    return _quoted(text)[1:] if kinds == STRING else value_json(text, kinds)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _string_end(held: str) -> int | None:
    start = held.find(CLOSE)
    return None if start < 0 else start + len(CLOSE)


def _begun_end(text: str) -> int:
    """How many characters at its end may be the beginning of what closes a value."""
    for begun in range(min(len(text), len(CLOSE)), 0, -1):
        end = text[-begun:]
        if CLOSE.startswith(end) or f"\n{CLOSE}".startswith(end):
            return begun
    return 0
