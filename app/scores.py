"""Log probabilities under the gate: a token's are text too, and leave when its text does, or never."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from app.moderation import CompiledPolicy, Gate
from engine.request import Candidate, Score, Scored
from protocol.logprobs import TokenLogprob, TopLogprob

BEFORE: Final = 64
"""Characters of released text behind which a token that did not come is judged: more than terms have. With the default
policy a token costs 5 us, or 28 where there is something to say about it."""


class ScoreBook:
    """One response's scores, held until the gate has decided about the text that they are of.

    Tokens that were only likely never were in the text, so the gate has not seen them: one that the policy would cut
    or redact, behind what was released before it, is left out.
    """

    def __init__(self, policy: CompiledPolicy) -> None:
        self._policy = policy
        self._judges = not Gate(policy).transparent
        self._glancing = _glancing(
            policy
        )  # sees texts one after the other, and has nothing to say about them
        self._waiting: deque[Score] = deque()
        self._begin = 0  # where the first waiting token begins, in raw characters
        self._raw = ""  # the reply's text from `_base` on
        self._base = 0

    def add(self, delta: Scored) -> None:
        """Take a delta before the gate does."""
        self._waiting.extend(delta.scores)
        if self._judges:
            self._raw += delta

    def release(self, decided: int, hidden: Sequence[tuple[int, int]]) -> tuple[TokenLogprob, ...]:
        """The scores of tokens that end within the `decided` raw characters, but for those that touch `hidden` ones."""
        released: list[TokenLogprob] = []
        while self._waiting and self._waiting[0].end <= decided:
            score = self._waiting.popleft()
            if not any(start < score.end and self._begin < end for start, end in hidden):
                released.append(self._told(score, hidden))
            self._begin = score.end
        self._forget()
        return tuple(released)

    def _told(self, score: Score, hidden: Sequence[tuple[int, int]]) -> TokenLogprob:
        shown_from = max((end for _, end in hidden if end <= self._begin), default=0)
        first = max(self._begin - BEFORE, shown_from, self._base)
        before = self._raw[first - self._base : self._begin - self._base]
        token, data, logprob = score.chosen
        top = (other for other in score.top if other.token == token or self._passes(before, other))
        return TokenLogprob(
            token, tuple(data), logprob, tuple(TopLogprob(c.token, tuple(c.bytes), c.logprob) for c in top)
        )

    def _passes(self, before: str, other: Candidate) -> bool:
        if not self._judges or not other.bytes:
            return True
        text = f" {before}{other.token}"
        if self._glancing.glance(text) == text:
            return True
        self._glancing = _glancing(self._policy)
        gate = Gate(self._policy)
        gate.push(text)
        gate.finish()
        return gate.cut is None and not gate.hidden

    def _forget(self) -> None:
        """Keep as much text as tokens yet to be released are judged behind."""
        unused = self._begin - BEFORE - self._base
        if unused > BEFORE:
            self._raw = self._raw[unused:]
            self._base += unused

    def __repr__(self) -> str:
        return f"<ScoreBook waiting={len(self._waiting)}>"


def _glancing(policy: CompiledPolicy) -> Gate:
    """A gate that has begun, for it glances from its second text on."""
    gate = Gate(policy)
    gate.push(" ")
    return gate
