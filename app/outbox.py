"""A reader's bounded queue of ready payloads (pure)."""

from __future__ import annotations


class Outbox:
    """Payloads in order, at most `max_bytes` of them, or one that is larger.

    While a client keeps up it holds what one turn of the event loop produced; past the bound the client is
    too slow and the connection is aborted by its owner.
    """

    __slots__ = ("_payloads", "bytes", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._payloads: list[bytes] = []
        self.bytes = 0
        self.max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._payloads)

    def offer(self, payload: bytes) -> bool:
        """Append; False if that takes the outbox past its bound (the payload is not kept)."""
        size = self.bytes + len(payload)
        if size > self.max_bytes and self._payloads:
            return False
        self.bytes = size
        self._payloads.append(payload)
        return True

    def take(self) -> list[bytes]:
        """Everything, in order; the outbox is empty afterwards."""
        payloads = self._payloads
        self._payloads = []
        self.bytes = 0
        return payloads

    def __repr__(self) -> str:
        return f"<Outbox {len(self._payloads)} payloads {self.bytes}/{self.max_bytes} bytes>"
