"""What a round came to (pure): its figures by name, its faults, how tokens were counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from loadtest.histogram import Histogram
from loadtest.play import Part
from loadtest.turn import Turn

TOKENS_PER_S = "tokens/s"
FIRST_TEXT = "first text"
GAP = "gap"
RAN_OUT = "ran_out_beside_long_prompt"


class Outcome(Struct, frozen=True):
    """One round of one server. `measures` are medians, percentiles and rates by name, with their unit."""

    measures: dict[str, float]
    turns: int
    counted_by: dict[str, int]  # turns by what counted their tokens: usage, or deltas
    input_tokens: int  # of the longest prompt
    faults: dict[str, int]
    details: dict[str, str]  # what was said with the first fault of each name


def outcome_of(parts: Sequence[Part]) -> Outcome:
    """Turns with a fault count as faults alone."""
    turns = [turn for part in parts for turn in part.turns]
    good = _good(turns)
    faults = Counter(turn.fault for turn in turns if turn.fault is not None)
    details: dict[str, str] = {}
    for turn in turns:
        if turn.fault is not None and turn.detail:
            details.setdefault(turn.fault, turn.detail)
    running, intruders = _running(parts), _intruders(parts)
    if ran_out := sum(_ran_out(turn, intruder) for intruder in intruders for turn in running):
        faults[RAN_OUT] += ran_out
    return Outcome(
        measures=_measures(parts),
        turns=len(turns),
        counted_by=dict(Counter(str(turn.counted_by) for turn in good)),
        input_tokens=max((turn.input_tokens for turn in good), default=0),
        faults=dict(faults),
        details=details,
    )


def times_of(parts: Sequence[Part]) -> dict[str, Histogram]:
    """All times of a round but an intruder's own: to the first text, and between deltas."""
    running = _running(parts)
    return {FIRST_TEXT: Histogram(_firsts(running)), GAP: Histogram(_gaps(running))}


def _measures(parts: Sequence[Part]) -> dict[str, float]:
    running = _running(parts)
    found: dict[str, float] = {}
    if running and not any(part.script.keys_per_s for part in parts):
        found[TOKENS_PER_S] = _rate(running)
    for name, times in times_of(parts).items():
        if (spread := times.spread()) is not None:
            found[f"{name} p50 ms"] = spread.p50 * 1e3
            found[f"{name} p99 ms"] = spread.p99 * 1e3
    found |= _by_turn(parts)
    intruders = _intruders(parts)
    if intruders:
        found["longest gap ms"] = max((longest_gap_s(running, one) for one in intruders), default=0.0) * 1e3
        found["long prompt's first text ms"] = max(_firsts(intruders)) * 1e3
    return found


def _by_turn(parts: Sequence[Part]) -> dict[str, float]:
    """The median time to first text of each turn of the chats, where they have several."""
    turns = max(len(part.turns) for part in parts)
    found = {}
    for number in range(turns if turns > 1 else 0):
        of = Histogram(_firsts(_good(part.turns[number] for part in parts if number < len(part.turns))))
        if len(of):
            found[f"{FIRST_TEXT} of turn {number + 1} p50 ms"] = of.percentile(0.5) * 1e3
    return found


def longest_gap_s(running: Iterable[Turn], intruder: Turn) -> float:
    """The longest wait of a running stream that fell, in part, between the long prompt and its first text."""
    begin, end = intruder.asked_at, intruder.delta_at[0]
    return max(
        (
            after - before
            for turn in running
            for before, after in zip(turn.delta_at, turn.delta_at[1:], strict=False)
            if after > begin and before < end
        ),
        default=0.0,
    )


def _ran_out(turn: Turn, intruder: Turn) -> bool:
    """Whether the stream ended before the long prompt's first text: it may have escaped the longest gap."""
    return turn.delta_at[-1] < intruder.delta_at[0]


def _rate(turns: Sequence[Turn]) -> float:
    """Tokens a second of all streams together, from the first question to the last answer's end."""
    ends = [turn.ended_at for turn in turns if turn.ended_at is not None]
    seconds = max(ends) - min(turn.asked_at for turn in turns)
    return sum(turn.output_tokens for turn in turns) / seconds


def _good(turns: Iterable[Turn]) -> list[Turn]:
    return [turn for turn in turns if turn.fault is None]


def _running(parts: Sequence[Part]) -> list[Turn]:
    return _good(turn for part in parts if not part.script.after_deltas for turn in part.turns)


def _intruders(parts: Sequence[Part]) -> list[Turn]:
    return _good(turn for part in parts if part.script.after_deltas for turn in part.turns)


def _firsts(turns: Iterable[Turn]) -> list[float]:
    return [turn.first_text_s for turn in turns if turn.first_text_s is not None]


def _gaps(turns: Iterable[Turn]) -> list[float]:
    return [gap for turn in turns for gap in turn.gaps_s]
