"""`POST /v1/load_lora_adapter` and `/v1/unload_lora_adapter`, in the words of other servers."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from protocol.limits import Limits
from protocol.requests.fields import Fields, missing

MAX_PATH_CHARS: Final = 4096  # as Linux has it


class LoadAdapter(Struct, frozen=True, kw_only=True):
    name: str
    path: str


class UnloadAdapter(Struct, frozen=True, kw_only=True):
    name: str


def parse_load_adapter(body: dict[str, Any], limits: Limits) -> LoadAdapter:
    """Check the body. Raises ProtocolError, `param` naming the field."""
    fields = Fields(body)
    asked = LoadAdapter(name=_name(fields, limits), path=_label(fields, "lora_path", MAX_PATH_CHARS))
    fields.finish()
    return asked


def parse_unload_adapter(body: dict[str, Any], limits: Limits) -> UnloadAdapter:
    """Check the body. Raises ProtocolError, `param` naming the field."""
    fields = Fields(body)
    asked = UnloadAdapter(name=_name(fields, limits))
    fields.finish()
    return asked


def _name(fields: Fields, limits: Limits) -> str:
    return _label(fields, "lora_name", limits.max_label_chars)


def _label(fields: Fields, name: str, max_chars: int) -> str:
    label = fields.label(name, max_chars)
    if label is None:
        raise missing(name)
    return label
