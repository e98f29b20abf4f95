"""Log probabilities under the gate: a token's are text too, and leave when its text does, or never."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from app.moderation import CompiledPolicy, Gate
from app.moderation.policy import HOLD_CAP
from engine.request import Candidate, Score, Scored
from protocol.logprobs import TokenLogprob, TopLogprob

BEFORE: Final = 64
"""Characters of shown text that a token which did not come is judged behind, besides all that is undecided before it:
they tell whether a word began there. With the default policy an alternative costs about 15 us."""


class Placed(NamedTuple):
    """A token's score; its text is among the first `end` characters that were released, and ends there."""

    score: TokenLogprob
    end: int


class ScoreBook:
    """One response's scores, held until the gate has decided about the text that they are of.

    Tokens that were only likely never were in the text, so the gate has not seen them: one that the policy would cut
    or redact, had it come, is left out. So are all that directly follow a redaction, which they might continue.
    """

    def __init__(self, policy: CompiledPolicy) -> None:
        self._policy = policy
        self._behind = Gate(policy)  # has the text up to `_begin`, and so knows what is undecided there
        self._judges = not self._behind.transparent
        self._glancing = _glancing(
            policy
        )  # sees texts one after the other, and has nothing to say about them
        self._waiting: deque[Score] = deque()
        # The place of the last token taken from there, in raw characters. Tokens that make up one character share it.
        self._begin = self._end = 0
        self._begun = b""  # of the tokens that share it, those taken
        self._before: str | None = (
            ""  # what alternatives are judged behind; None: they might continue a redaction
        )
        self._raw = ""  # the reply's text from `_base` on
        self._base = 0

    def add(self, delta: Scored) -> None:
        """Take a delta before the gate does."""
        self._waiting.extend(delta.scores)
        if self._judges:
            self._raw += delta

    def release(self, decided: int, hidden: Sequence[tuple[int, int, int]]) -> tuple[Placed, ...]:
        """The scores of tokens that end within the `decided` raw characters, but for those that touch `hidden` ones,
        which are as `Gate.hidden` has them."""
        released: list[Placed] = []
        while self._waiting and self._waiting[0].end <= decided:
            score = self._waiting.popleft()
            if score.end > self._end:
                self._move(score.end)
            if not any(start < self._end and self._begin < end for start, end, _ in hidden):
                released.append(Placed(self._told(score), _shown(self._end, hidden)))
            self._begun += score.chosen.bytes
        return tuple(released)

    def _move(self, end: int) -> None:
        """To the tokens from where the last ones ended up to `end`."""
        if self._judges:
            self._behind.push(self._raw[self._begin - self._base : self._end - self._base])
            decided, redacted_to = self._behind.decided, self._behind.redacted_to
            first = max(decided - BEFORE, redacted_to, 0)
            shown = decided > redacted_to
            self._before = self._raw[first - self._base : self._end - self._base] if shown else None
            self._forget(first)
        self._begin, self._end, self._begun = self._end, end, b""

    def _told(self, score: Score) -> TokenLogprob:
        token, data, logprob = score.chosen
        top = (other for other in score.top if other[:2] == (token, data) or self._passes(other))
        return TokenLogprob(
            token, tuple(data), logprob, tuple(TopLogprob(c.token, tuple(c.bytes), c.logprob) for c in top)
        )

    def _passes(self, other: Candidate) -> bool:
        if not self._judges or not other.bytes:
            return True
        if self._before is None:
            return False
        whole, _ = codecs.utf_8_decode(self._begun + other.bytes, "replace", False)
        text = f" {self._before}{whole}"
        if self._glancing.glance(text) == text:
            return True
        self._glancing = _glancing(self._policy)
        if len(text) > HOLD_CAP:
            return False  # the cap might decide here otherwise than it did in the reply
        gate = Gate(self._policy)
        gate.push(text)
        gate.finish()
        return gate.cut is None and not gate.hidden

    def _forget(self, first: int) -> None:
        """Nothing before `first` will be judged behind, but it must not be cut off at every token."""
        if first - self._base > BEFORE:
            self._raw = self._raw[first - self._base :]
            self._base = first

    def __repr__(self) -> str:
        return f"<ScoreBook waiting={len(self._waiting)}>"


def _shown(end: int, hidden: Sequence[tuple[int, int, int]]) -> int:
    """How many characters were shown up to the raw character `end`, which is not hidden."""
    before = [one for one in hidden if one[1] <= end]
    _, hidden_to, shown = before[-1] if before else (0, 0, 0)
    return shown + end - hidden_to


def _glancing(policy: CompiledPolicy) -> Gate:
    """A gate that has begun, for it glances from its second text on."""
    gate = Gate(policy)
    gate.push(" ")
    return gate
