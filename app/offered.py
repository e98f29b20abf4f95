"""The functions of a request between the wire and the engine (pure)."""

from __future__ import annotations

from typing import Final

import msgspec

from engine.request import Tool
from protocol.codec import encode
from protocol.requests.tools import Offer
from protocol.tools import FunctionTool

_DECODER: Final = msgspec.json.Decoder(tuple[FunctionTool, ...])


def offered_json(offer: Offer) -> str:
    """What the model is told of, as the text that the input gate judges; "" for nothing."""
    return encode(offer.told).decode() if offer.told else ""


def read_offered(source: str) -> tuple[FunctionTool, ...]:
    """The other way round. Raises ValueError."""
    return _DECODER.decode(source)


def engine_tool(tool: FunctionTool) -> Tool:
    return Tool(
        tool.name, tool.description or "", {"type": "object", "properties": {}, **(tool.parameters or {})}
    )
