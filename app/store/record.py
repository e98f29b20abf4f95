"""A stored response: what a later turn, a `GET` and a rebuilt context need of it."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec


class StoredMessage(msgspec.Struct, frozen=True, array_like=True):
    role: str
    content: str
    call: str = ""
    call_id: str = ""


class StoredResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn. It holds nothing of its ancestors, so deleting an ancestor leaves no copy of it here.

    `context_ids` are the token ids this turn appended to its parent's context, its prompt's suffix and its
    reply, packed by `pack_ids`; None if the context did not begin with the parent's ids, and so must be
    encoded anew from the messages of the lineage. `tokenizer` is the fingerprint of the one that they are of.
    """

    id: str
    created_at: int  # unix seconds
    model: str
    response: bytes  # the response object's JSON, as `GET` answers it
    parent_id: str | None = None
    instructions: str | None = None
    tools: bytes = b""  # the functions on offer, as `context.Conversation` compares them
    input: tuple[StoredMessage, ...] = ()  # this turn's own
    output_text: str = ""  # released text only
    context_ids: bytes | None = None
    tokenizer: str = ""

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        text = sum(len(message.content) for message in self.input) + len(self.output_text)
        return len(self.response) + text + len(self.tools) + len(self.context_ids or b"")


@dataclass(frozen=True, slots=True)
class Lineage:
    """A response and its ancestors, root first.

    `missing` names the ancestor (or the response itself) that is not there: deleted, expired or never stored.
    `cut` says that there are more ancestors than are read; the oldest are left out.
    """

    records: tuple[StoredResponse, ...] = ()
    missing: str | None = None
    cut: bool = False


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(StoredResponse)


def encode_record(record: StoredResponse) -> bytes:
    return _ENCODER.encode(record)


def decode_record(data: bytes) -> StoredResponse:
    return _DECODER.decode(data)


def pack_ids(ids: Iterable[int]) -> bytes:
    """Token ids as little-endian uint32."""
    packed = array("I", ids)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack_ids(data: bytes) -> list[int]:
    ids = array("I", data)
    if sys.byteorder == "big":
        ids.byteswap()
    return ids.tolist()


def context_ids(records: Sequence[StoredResponse]) -> list[int] | None:
    """The context after the last of `records` (root first); None if it must be encoded from the messages."""
    if records and records[0].parent_id is not None:
        return None  # it begins in the middle
    ids: list[int] = []
    for record in records:
        if record.context_ids is None:
            return None
        ids += unpack_ids(record.context_ids)
    return ids
