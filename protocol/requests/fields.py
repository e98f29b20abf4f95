"""Checked reading of a JSON object: each field by its kind, and none left unread."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeVar

from protocol.codec import encode
from protocol.codes import ProtocolError

# No \Z-less `$`: a trailing line break is no part of a lane's name.
_LANE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}\Z")
_MAX_INT64: Final = 2**63 - 1
_MAX_SHOWN_CHARS: Final = 128  # of an unknown name in an error, which must not be as long as the request

Off: TypeAlias = Mapping[str, "tuple[object, ...] | Off"]
"""Parameters that this server does not have, each with the values, besides null, that mean "off" or what it
does anyway; for an object the same of its fields. The published schemas are made from the same tables."""

_Choice = TypeVar("_Choice", bound=str)


def lane_name(value: object) -> str | None:
    """`value` if it is a valid `stream_id`, else None."""
    return value if isinstance(value, str) and _LANE_NAME.match(value) else None


def missing(path: str) -> ProtocolError:
    return ProtocolError("missing_required_parameter", f"Missing required parameter: '{path}'.", param=path)


def invalid(path: str, wanted: str) -> ProtocolError:
    return ProtocolError("invalid_value", f"Invalid value for '{path}': expected {wanted}.", param=path)


def unsupported(path: str, why: str = "is not supported") -> ProtocolError:
    return ProtocolError("unsupported_parameter", f"Parameter '{path}' {why}.", param=path)


class Fields:
    """Reads a body's fields by name; `finish` refuses whatever was not read.

    Null counts as absent throughout. `path` is where the object stands, such as `input[2].`, so that the
    `param` of an error names the field from the root.
    """

    __slots__ = ("_body", "_path", "_unread")

    def __init__(self, body: dict[str, Any], path: str = "") -> None:
        self._body = body
        self._path = path
        self._unread = dict.fromkeys(body)

    def path(self, name: str) -> str:
        return self._path + name

    def take(self, name: str) -> Any:
        """The raw value, None where absent; the caller checks it."""
        self._unread.pop(name, None)
        return self._body.get(name)

    def peek(self, name: str) -> Any:
        """The raw value, still to be read."""
        return self._body.get(name)

    def required(self, name: str) -> Any:
        value = self.take(name)
        if value is None:
            raise missing(self.path(name))
        return value

    def text(self, name: str, max_chars: int | None = None) -> str | None:
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise invalid(self.path(name), "a string")
        if max_chars is not None and len(value) > max_chars:
            raise invalid(self.path(name), f"a string of at most {max_chars} characters")
        return value

    def label(self, name: str, max_chars: int) -> str | None:
        """A name or an id: a text that is not empty."""
        value = self.text(name, max_chars)
        if value == "":
            raise invalid(self.path(name), "a string that is not empty")
        return value

    def flag(self, name: str) -> bool | None:
        value = self.take(name)
        if value is None or isinstance(value, bool):
            return value
        raise invalid(self.path(name), "a boolean")

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise invalid(self.path(name), f"a number from {low:g} to {high:g}")
        return float(value)

    def integer(self, name: str, low: int, high: int = _MAX_INT64) -> int | None:
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            wanted = f"of at least {low}" if high == _MAX_INT64 and low >= 0 else f"from {low} to {high}"
            raise invalid(self.path(name), f"an integer {wanted}")
        return value

    def choice(self, name: str, *allowed: _Choice) -> _Choice | None:
        value = self.take(name)
        if value is None:
            return None
        for option in allowed:
            if value == option:
                return option
        raise invalid(self.path(name), " or ".join(f"'{option}'" for option in allowed))

    def inner(self, name: str) -> Fields | None:
        value = self.take(name)
        return None if value is None else nested(value, self.path(name))

    def off(self, table: Off) -> None:
        """Parameters that we do not have: only null and what the table allows passes."""
        for name, allowed in table.items():
            if isinstance(allowed, Mapping):
                inner = self.inner(name)
                if inner is not None:
                    inner.off(allowed)
                    inner.finish()
                continue
            value = self.take(name)
            if value is not None and not any(_same(value, option) for option in allowed):
                raise unsupported(self.path(name), _why_off(value, allowed))

    def finish(self) -> None:
        for name in self._unread:
            if self._body[name] is not None:
                raise unsupported(self.path(name[:_MAX_SHOWN_CHARS]))


def nested(value: object, path: str) -> Fields:
    """The object `value` that stands at `path`."""
    if not isinstance(value, dict):
        raise invalid(path, "an object")
    return Fields(value, f"{path}.")


def _why_off(value: object, allowed: tuple[object, ...]) -> str:
    if not allowed:
        return "is not supported"
    shown = encode(value).decode(errors="replace")
    if len(shown) > _MAX_SHOWN_CHARS:
        shown = f"{shown[:_MAX_SHOWN_CHARS]}…"
    options = " or ".join(encode(option).decode() for option in allowed)
    return f"is not supported with the value {shown}: leave it out, or send {options}"


def _same(value: object, allowed: object) -> bool:
    # 1 == True in Python, on the wire they are two things.
    return isinstance(value, bool) == isinstance(allowed, bool) and value == allowed
