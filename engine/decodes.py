"""What running replies have of a step: the next token of each, and guesses of those behind it."""

from __future__ import annotations

from collections.abc import Sequence as Items

from engine.roster import Roster
from engine.sequence import Phase, Sequence
from engine.speculation import Speculation
from engine.step import Step


def plan_decodes(step: Step, roster: Roster, speculation: Speculation, ahead: int) -> None:
    """Put them into the step. `ahead`: room for so many tokens more is reserved, where pages are free."""
    decode = Phase.DECODE
    short = [sequence for sequence in roster.running.values() if sequence.output + ahead >= sequence.granted]
    for sequence in short:
        if sequence.phase is decode and sequence.output >= sequence.granted:
            roster.grant(sequence)
    # Of those that were granted a token some may be preempted by now.
    decoding = roster.decoding()
    if ahead:
        for sequence in short:
            if sequence.phase is decode and sequence.output + ahead >= sequence.granted:
                roster.reserve(sequence, ahead)
    if not speculation.most:
        step.go_on(decoding)
        return
    for sequence, guesses in zip(decoding, _guesses(decoding, roster, speculation), strict=True):
        position = len(sequence.prompt) + sequence.output - 1
        tokens = [sequence.tokens[-1], *guesses]
        step.add(sequence, tokens, position, sample=True, guesses=len(guesses))


def _guesses(decoding: Items[Sequence], roster: Roster, speculation: Speculation) -> list[list[int]]:
    """What is guessed of each."""
    counts = speculation.share([sequence.lookup for sequence in decoding])
    return [
        sequence.lookup.guess(roster.reserve(sequence, count)) if count and sequence.lookup else []
        for sequence, count in zip(decoding, counts, strict=True)
    ]
