"""What a sequence has said so far: its sampled ids become deltas, until something ends it."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from engine.detokenize import StopStrings, TextStream
from engine.request import FinishReason, Sampling

if TYPE_CHECKING:
    from engine.shaping import Shaping  # needs torch; a scripted reply does not


class Reply:
    """Takes each sampled token once. `reason` is set by the token that ends the reply; take none after it."""

    __slots__ = ("_eos_ids", "_has_stops", "_left", "_stops", "_stream", "reason", "shaping")

    def __init__(self, stream: TextStream, sampling: Sampling, max_output: int, eos_ids: Set[int]) -> None:
        self.reason: FinishReason | None = None
        self.shaping: Shaping | None = None
        self._stream = stream
        self._stops = StopStrings(sampling.stop)
        self._has_stops = bool(sampling.stop)
        self._eos_ids: Set[int] = frozenset() if sampling.ignore_eos else eos_ids
        self._left = max_output

    def push(self, token: int) -> str:
        """The text that `token` gives, with everything held before it that is decided now; "" for none."""
        self._left -= 1
        if token in self._eos_ids:
            self.reason = FinishReason.STOP
            return self._last_text()
        text = self._stream.push(token)
        if not self._has_stops and self._left > 0:  # nearly all tokens
            return text
        if self._has_stops:
            text = self._stops.push(text)
        if self._left <= 0 and not self._stops.matched:
            self.reason = FinishReason.LENGTH
            text += self._last_text()
        if self._has_stops and self._stops.matched:
            self.reason = FinishReason.STOP
        return text

    def push_last(self, token: int) -> str:
        """The text of a token that is known to be the reply's last: it ends as the model would end it."""
        self._left = 1
        text = self.push(token)
        self.reason = FinishReason.STOP
        return text

    def count(self, output: int) -> int:
        """How many tokens the sequence has; `output` are those that came in steps, and here these are all."""
        return output

    def _last_text(self) -> str:
        text = self._stops.push(self._stream.flush())
        return text + self._stops.flush()


class ShapedReply(Reply):
    """A reply whose logits are changed by what it has said. It also ends when its format wants nothing more."""

    __slots__ = ("_shaping",)

    def __init__(
        self, stream: TextStream, sampling: Sampling, max_output: int, eos_ids: Set[int], shaping: Shaping
    ) -> None:
        super().__init__(stream, sampling, max_output, eos_ids)
        self.shaping = self._shaping = shaping

    def push(self, token: int) -> str:
        self._shaping.follow(token)
        text = super().push(token)
        if self._shaping.complete:
            if self.reason is None:
                text += self._last_text()
            self.reason = FinishReason.STOP
        return text
