"""What all bodies, as clients write them, are made of."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from protocol.requests.message import FUNCTION_NAME

Label: TypeAlias = Annotated[str, Meta(min_length=1)]
FunctionName: TypeAlias = Annotated[str, Meta(pattern=f"^{FUNCTION_NAME}$")]


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass
