"""The query parameters of what reads a response, refused by name like those of a body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from protocol.requests.fields import invalid, unsupported

MAX_ITEMS: Final = 100
"""Of one page of items, as the hosted API has it."""

_ORDERS: Final[dict[str, Literal["asc", "desc"]]] = {"asc": "asc", "desc": "desc"}
_NOTHING_TO_INCLUDE: Final = ("include", "include[]")
_SHOWN_CHARS: Final = 128


class Retrieve(Struct, frozen=True, kw_only=True):
    """The response as it is, or a stream of its events after a position."""

    stream: bool = False
    starting_after: int = -1


class ItemPage(Struct, frozen=True, kw_only=True):
    """So many items, from one end or after an item."""

    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    limit: int = 20


def parse_retrieve(query: Mapping[str, str]) -> Retrieve:
    """Raises ProtocolError."""
    _check_names(query, "stream", "starting_after", "include_obfuscation")
    if query.get("include_obfuscation", "false") != "false":
        raise unsupported("include_obfuscation")
    stream = query.get("stream", "false").lower()
    if stream not in ("true", "false"):
        raise invalid("stream", "true or false")
    after = query.get("starting_after")
    if after is None:
        return Retrieve(stream=stream == "true")
    if stream == "false":
        raise invalid("starting_after", "`stream=true` beside it")
    return Retrieve(stream=True, starting_after=_whole("starting_after", after, 0, 999_999_999))


def parse_item_page(query: Mapping[str, str]) -> ItemPage:
    """Raises ProtocolError."""
    _check_names(query, "order", "after", "limit")
    order = _ORDERS.get(query.get("order", "desc"))
    if order is None:
        raise invalid("order", "'asc' or 'desc'")
    return ItemPage(
        order=order,
        after=query.get("after"),
        limit=_whole("limit", query.get("limit", "20"), 1, MAX_ITEMS),
    )


def _check_names(query: Mapping[str, str], *known: str) -> None:
    for name in query:
        if name in _NOTHING_TO_INCLUDE:
            if query[name]:
                raise unsupported("include")
        elif name not in known:
            raise unsupported(name[:_SHOWN_CHARS])


def _whole(name: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise invalid(name, f"an integer from {low} to {high}")
    return int(text)
