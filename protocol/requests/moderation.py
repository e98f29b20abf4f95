"""`POST /v1/moderations`."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from protocol.limits import Limits
from protocol.requests.fields import Fields, invalid, missing, nested, unsupported


class ModerationRequest(Struct, frozen=True, kw_only=True):
    """Texts to be judged, each with a result of its own. The text parts of one input are its lines."""

    texts: tuple[str, ...]
    model: str | None = None


def parse_moderations(body: dict[str, Any], limits: Limits) -> ModerationRequest:
    """Check the body of POST /v1/moderations. Raises ProtocolError, `param` naming the field."""
    fields = Fields(body)
    request = ModerationRequest(
        texts=_read_texts(fields, limits), model=fields.label("model", limits.max_label_chars)
    )
    fields.finish()
    return request


def _read_texts(fields: Fields, limits: Limits) -> tuple[str, ...]:
    value = fields.required("input")
    path = fields.path("input")
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not 1 <= len(value) <= limits.max_moderation_inputs:
        raise invalid(path, f"a string or an array of 1 to {limits.max_moderation_inputs} inputs")
    if isinstance(value[0], dict):
        parts = (nested(part, f"{path}[{index}]") for index, part in enumerate(value))
        return ("\n".join(_read_part(part) for part in parts),)
    for index, text in enumerate(value):
        if not isinstance(text, str):
            raise invalid(f"{path}[{index}]", "a string")
    return tuple(value)


def _read_part(part: Fields) -> str:
    kind = part.required("type")
    if kind == "image_url":
        raise unsupported(part.path("type"), "names an image, which is not supported")
    if kind != "text":
        raise invalid(part.path("type"), "'text'")
    text = part.text("text")
    if text is None:
        raise missing(part.path("text"))
    part.finish()
    return text
