"""What is to be reached on one H200, and whether it was: the table that a benchmark ends with. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Goal:
    what: str
    row: str  # of the run, behind the model's name
    figure: str
    sign: str
    limit: float

    def met(self, value: float) -> bool:
        return _SIGNS[self.sign](value, self.limit)


_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
}
SHARE: Final = "of the copy's bandwidth"
TIMES: Final = "of transformers'"
GOALS: Final = (
    Goal("decode, batch 1, share of the copy's bandwidth", "decode 1 x 1,024", SHARE, ">=", 0.85),
    Goal("decode, batch 32 at 4k, the same", "decode 32 x 4,096", SHARE, ">=", 0.85),
    Goal("32 streams, of transformers' tokens/s", "transformers, 32 streams", TIMES, ">=", 3),
    Goal("128 streams, of transformers' tokens/s", "transformers, 128 streams", TIMES, ">=", 3),
    Goal(
        "turn 4 of a chat with 8k, first token, of anew",
        "turn 4 of a chat with 8,192 tokens",
        "of anew",
        "<=",
        0.1,
    ),
    Goal("Python time a step, p50 ms, 32 streams", "32 streams", "Python ms a step", "<", 0.3),
    Goal("Python time a step, p50 ms, 128 streams", "128 streams", "Python ms a step", "<", 0.3),
    Goal("cancel to pages freed, steps", "cancel", "steps until its pages are free", "<=", 2),
    Goal("event-loop lag p99 while 64 decode, ms", "64 streams", "event-loop lag p99 ms", "<=", 5),
    Goal("call_soon_threadsafe a step", "64 streams", "call_soon_threadsafe a step", "<=", 1),
)


def verdicts(model: str, found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """What, its figure, its limit, and whether it is met: of one model's rows."""
    lines: list[tuple[str, str, str, str]] = []
    for goal in GOALS:
        figures = found.get(f"{model}: {goal.row}", {})
        value = figures.get(goal.figure)
        if isinstance(value, float):
            told, verdict = f"{value:.3g}", "met" if goal.met(value) else "MISSED"
        else:
            told, verdict = "", figures.get("error") or figures.get("skipped") or "not measured"
        lines.append((goal.what, told, f"{goal.sign} {goal.limit:g}", verdict[:60]))
    return lines
