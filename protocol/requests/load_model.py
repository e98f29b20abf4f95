"""`PUT /v1/admin/models/{id}`: where a model is to come from."""

from __future__ import annotations

from typing import Any, Final

from protocol.requests.fields import Fields, missing

_MAX_SOURCE_CHARS: Final = 4096  # of a path


def parse_load_model(body: dict[str, Any]) -> str:
    """The source: a path on the server's machine, or the name of a model in its cache. Raises ProtocolError."""
    fields = Fields(body)
    source = fields.text("source", _MAX_SOURCE_CHARS)
    fields.finish()
    if not source:
        raise missing("source")
    return source
