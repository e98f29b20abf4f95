"""How many prompt tokens a step computes beside running replies: what fits the pause that they may notice."""

from __future__ import annotations

from typing import Final

LEAST: Final = 8  # tokens: a prompt gets on, however slow the machine
_WEIGHT: Final = 0.25  # of the latest measurement
_JUMP: Final = 2.0  # how far above the mean a measurement counts: one step that was held up says little


class Budget:
    """Learns from each step's time what a step of replies costs and what a prompt token costs on top of it.

    Pure: times are arguments. Until something has been measured it limits nothing.
    """

    def __init__(self, gap_s: float) -> None:
        """`gap_s`: how long a step may take while replies run."""
        self._gap_s = gap_s
        self._decode_s = self._token_s = 0.0

    def __repr__(self) -> str:
        return f"<Budget decode={self._decode_s * 1e3:.1f}ms token={self._token_s * 1e3:.2f}ms>"

    def learn(self, decodes: int, prefills: int, step_s: float) -> None:
        """Take in a step's time; `decodes` replies and `prefills` prompt tokens were computed in it."""
        rest_s = step_s - self._decode_s if decodes else step_s
        if prefills and rest_s > 0:
            self._token_s = _mean(self._token_s, rest_s / prefills)
        elif decodes and not prefills:
            self._decode_s = _mean(self._decode_s, step_s)

    def chunk(self, most: int) -> int:
        """How many prompt tokens the next step may have beside replies, `most` at the most.

        Where the replies take up most of the time, prompts still get as long as they: nobody starves.
        """
        rest_s = max(self._gap_s - self._decode_s, self._decode_s)
        fitting = most if rest_s >= most * self._token_s else int(rest_s / self._token_s)
        return min(most, max(LEAST, fitting))


def _mean(mean: float, latest: float) -> float:
    return mean + _WEIGHT * (min(latest, _JUMP * mean) - mean) if mean else latest
