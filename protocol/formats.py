"""The formats that a reply can be asked to have, as the response object shows them."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct


class TextFormat(Struct, frozen=True, tag_field="type", tag="text"):
    """Any text."""


class JsonObjectFormat(Struct, frozen=True, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchemaFormat(Struct, frozen=True, tag_field="type", tag="json_schema", kw_only=True):
    """JSON that satisfies `schema`. It does so whatever `strict` says."""

    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


ReplyFormat: TypeAlias = TextFormat | JsonObjectFormat | JsonSchemaFormat
