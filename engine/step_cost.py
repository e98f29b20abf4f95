"""What steps of different sizes take, learned from those that were computed."""

from __future__ import annotations

from typing import Final

_WEIGHT: Final = 0.05  # of the latest step
_JUMP: Final = 2.0  # how far above what was expected a step counts: one that was held up says little
_FIXED: Final = 4.0
"""Until steps of different sizes have shown it, a step is believed to take as long without a token as so many tokens
add to it: what 4 bits on a processor show. Everything else has a larger fixed part, and is learned."""
_BELIEVED: Final = 0.1  # how much that counts, in tokens squared
_LEAST: Final = 0.01  # of a step: a token takes that at least, or noise would make it free


class StepCost:
    """A line through the latest steps. Pure: times are arguments."""

    def __init__(self) -> None:
        self._tokens = self._step_s = 0.0  # means
        self._spread = self._both = 0.0  # the tokens' variance, and their covariance with the time

    def __repr__(self) -> str:
        token_ms = self.token_s * 1e3 if self.known else 0.0
        return f"<StepCost {self._step_s * 1e3:.1f}ms of {self._tokens:.1f}, {token_ms:.2f}ms a token>"

    @property
    def known(self) -> bool:
        return self._tokens > 0

    @property
    def token_s(self) -> float:
        """What a token more takes."""
        believed_s = _BELIEVED * self._step_s / (self._tokens + _FIXED)
        return max((self._both + believed_s) / (self._spread + _BELIEVED), _LEAST * self._step_s)

    def of(self, tokens: int) -> float:
        """What a step of as many takes; no less than they add to one."""
        return max(self._step_s + self.token_s * (tokens - self._tokens), self.token_s * tokens)

    def learn(self, tokens: int, step_s: float) -> None:
        """A step of as many tokens took so long."""
        if not self.known:
            self._tokens, self._step_s = tokens, step_s
            return
        more = tokens - self._tokens
        longer_s = min(step_s, _JUMP * self.of(tokens)) - self._step_s
        self._tokens += _WEIGHT * more
        self._step_s += _WEIGHT * longer_s
        # Steps of the same size again and again say nothing of the slope, and must not wash out what is known of it.
        weight = _WEIGHT * more * more / (1 + more * more)
        self._spread += weight * (more * more - self._spread)
        self._both += weight * (more * longer_s - self._both)
