"""A reply whose tokens are told with their log probabilities."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TypeAlias

from engine.detokenize import TextStream
from engine.reply import ShapedReply
from engine.request import Candidate, Sampling, Score, Scored
from engine.scores import Scores
from engine.shaping import Shaping

Name: TypeAlias = Callable[[int], tuple[str, bytes]]
"""What a token is called, and its text as bytes: none for a special token."""


class ScoredReply(ShapedReply):
    """Its deltas are `Scored`. A token's place is known once nothing of its text is held as incomplete UTF-8."""

    __slots__ = ("_counted", "_name", "_placed", "_scores", "_unplaced")

    def __init__(
        self,
        stream: TextStream,
        sampling: Sampling,
        max_output: int,
        eos_ids: Set[int],
        shaping: Shaping,
        scores: Scores,
        name: Name,
    ) -> None:
        self._counted = _Counted(stream)
        super().__init__(self._counted, sampling, max_output, eos_ids, shaping)
        self._scores = scores
        self._name = name
        self._unplaced: list[tuple[Candidate, tuple[Candidate, ...]]] = []
        self._placed: list[Score] = []  # to go with the next delta

    def push(self, token: int) -> str:
        scores = self._scores.of(token)
        if token not in self._eos_ids:
            top = tuple(self._candidate(other, logprob) for other, logprob in scores.top)
            self._unplaced.append((self._candidate(token, scores.logprob), top))
        text = super().push(token)
        if not self._counted.holding:
            self._placed += [Score(chosen, top, self._counted.characters) for chosen, top in self._unplaced]
            self._unplaced.clear()
        if not text:
            return ""
        placed = tuple(self._placed)
        self._placed.clear()
        return Scored(text, placed)

    def _candidate(self, token: int, logprob: float) -> Candidate:
        name, data = self._name(token)
        return Candidate(name, data, logprob)


class _Counted:
    """A stream that counts the characters it has given."""

    def __init__(self, stream: TextStream) -> None:
        self._stream = stream
        self.characters = 0

    @property
    def holding(self) -> bool:
        return self._stream.holding

    def push(self, token: int) -> str:
        text = self._stream.push(token)
        self.characters += len(text)
        return text

    def flush(self) -> str:
        text = self._stream.flush()
        self.characters += len(text)
        return text
