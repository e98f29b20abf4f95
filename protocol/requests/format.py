"""Asking for a reply of a format: JSON of a schema, any JSON object, or the match of a regular expression."""

from __future__ import annotations

import re
from typing import Final, Literal

from msgspec import Struct

from protocol.codec import encode
from protocol.formats import JsonObjectFormat, JsonSchemaFormat
from protocol.limits import Limits
from protocol.requests.fields import Fields, Off, invalid, missing, unsupported

SCHEMA_NAME: Final = "[A-Za-z0-9_-]{1,64}"
_SCHEMA_NAME: Final = re.compile(SCHEMA_NAME)
TEXT_OFF: Final[Off] = {"verbosity": ("medium",)}
STRUCTURED_OFF: Final[Off] = {
    "json": (),
    "choice": (),
    "grammar": (),
    "json_object": (False,),
    "structural_tag": (),
    "disable_any_whitespace": (False,),
    "disable_additional_properties": (False,),
    "whitespace_pattern": (),
}


class AskedFormat(Struct, frozen=True):
    """`source` is a schema as JSON or a regular expression, `param` where it stood; `shown` is for the response."""

    kind: Literal["json_schema", "regex"]
    source: str
    param: str
    shown: JsonSchemaFormat | JsonObjectFormat | None = None


def read_text(fields: Fields, limits: Limits) -> AskedFormat | None:
    """`text` of a response. Its schema stands in the format itself."""
    text = fields.inner("text")
    if text is None:
        return None
    asked = _read_format(text.inner("format"), limits, nested=False)
    text.off(TEXT_OFF)
    text.finish()
    return asked


def read_response_format(fields: Fields, limits: Limits) -> AskedFormat | None:
    """`response_format` of a chat completion. Its schema stands one level deeper."""
    return _read_format(fields.inner("response_format"), limits, nested=True)


def read_regex(fields: Fields, limits: Limits) -> AskedFormat | None:
    """`structured_outputs`, which is vLLM's: of what it may hold, a regular expression."""
    structured = fields.inner("structured_outputs")
    if structured is None:
        return None
    source = structured.label("regex", limits.max_regex_chars)
    structured.off(STRUCTURED_OFF)
    structured.finish()
    return None if source is None else AskedFormat("regex", source, structured.path("regex"))


def _read_format(format: Fields | None, limits: Limits, *, nested: bool) -> AskedFormat | None:
    if format is None:
        return None
    asked: AskedFormat | None = None
    match format.required("type"):
        case "text":
            pass
        case "json_object":
            asked = AskedFormat(
                "json_schema", '{"type":"object"}', format.path("type"), shown=JsonObjectFormat()
            )
        case "json_schema":
            inner = format.inner("json_schema") if nested else format
            if inner is None:
                raise missing(format.path("json_schema"))
            asked = _read_schema(inner, limits)
            inner.finish()
        case str():
            raise unsupported(format.path("type"), "names a format that is not supported")
        case _:
            raise invalid(format.path("type"), "'text', 'json_object' or 'json_schema'")
    format.finish()
    return asked


def _read_schema(fields: Fields, limits: Limits) -> AskedFormat:
    name = fields.required("name")
    if not isinstance(name, str) or not _SCHEMA_NAME.fullmatch(name):
        raise invalid(fields.path("name"), "1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'")
    schema = fields.required("schema")
    param = fields.path("schema")
    if not isinstance(schema, dict):
        raise invalid(param, "an object")
    source = encode(schema)
    if len(source) > limits.max_schema_bytes:
        raise invalid(param, f"a schema of at most {limits.max_schema_bytes} bytes of JSON")
    shown = JsonSchemaFormat(
        name=name,
        schema=schema,
        description=fields.text("description", limits.max_metadata_value_chars),
        strict=fields.flag("strict"),
    )
    return AskedFormat("json_schema", source.decode(), param, shown)
