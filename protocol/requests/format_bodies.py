"""What a reply must be, as clients write it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from protocol.requests.body import Body, Label
from protocol.requests.format import SCHEMA_NAME


class TextFormatBody(Body, frozen=True, kw_only=True, tag_field="type", tag="text"):
    pass


class JsonObjectFormatBody(Body, frozen=True, kw_only=True, tag_field="type", tag="json_object"):
    pass


class JsonSchemaBody(Body, frozen=True, kw_only=True):
    """The reply satisfies the schema, whatever `strict` says. What the schema may hold the server says by name."""

    name: Annotated[str, Meta(pattern=f"^{SCHEMA_NAME}$")]
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormatBody(JsonSchemaBody, frozen=True, kw_only=True, tag_field="type", tag="json_schema"):
    pass


class ChatJsonSchemaFormatBody(Body, frozen=True, kw_only=True, tag_field="type", tag="json_schema"):
    json_schema: JsonSchemaBody


class TextBody(Body, frozen=True, kw_only=True):
    """What the reply must be."""

    format: TextFormatBody | JsonObjectFormatBody | JsonSchemaFormatBody | None = None


class StructuredOutputsBody(Body, frozen=True, kw_only=True):
    """Another way, as vLLM has it: the whole reply matches `regex`."""

    regex: Label | None = None
