"""The work of one step, and how prefill's part of it is shared."""

from __future__ import annotations

import math
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Final

from engine.batch import Result, Row
from engine.moves import Moves
from engine.sequence import Phase, Sequence

EVEN_PART: Final = 4
"""One part in so many of what equal prompts have is shared evenly, so that a long one gets on among short ones."""

FINE: Final = 1 << 16
"""What prompts get of a step is counted in so many parts of a token."""
_GOLDEN: Final = 40_503  # of FINE, the golden ratio's part


@dataclass(slots=True)
class Step:
    """One step's work: do the copies in order, send the moves, then compute the rows. `sequences` go with `rows`."""

    sequences: list[Sequence] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    copies: list[tuple[Sequence, tuple[int, int]]] = field(default_factory=list)  # (source, target) pages
    moves: Moves = field(default_factory=Moves)
    tokens: int = 0  # of all rows
    chunks: int = 0  # rows that are no replies' tokens
    read: int = 0  # tokens of those

    def __bool__(self) -> bool:
        return bool(self.rows or self.copies or self.moves)

    def add(
        self, sequence: Sequence, tokens: Items[int], start: int, *, sample: bool, guesses: int = 0
    ) -> None:
        """Let the sequence compute `tokens` from position `start` on; the last ones may be guesses."""
        self.sequences.append(sequence)
        self.rows.append(_row(sequence, tokens, start, sample=sample, guesses=guesses))
        self._count(sequence, len(tokens))

    def go_on(self, sequences: Items[Sequence]) -> None:
        """Let each compute its latest token: `add` for a whole batch, in rows that are made once."""
        self.sequences += sequences
        self.tokens += len(sequences)
        self.rows += [sequence.row or _own_row(sequence) for sequence in sequences]

    def counts(self) -> tuple[int, int]:
        """How many rows go on with a reply, and how many tokens the others have."""
        return len(self.rows) - self.chunks, self.read

    def _count(self, sequence: Sequence, tokens: int) -> None:
        self.tokens += tokens
        if sequence.phase is Phase.PREFILL:
            self.chunks += 1
            self.read += tokens

    def spoken(self, results: Items[Result]) -> list[Sequence]:
        """Those that have not ended and whose results hold tokens."""
        done = Phase.DONE
        return [
            sequence
            for sequence, result in zip(self.sequences, results, strict=True)
            if (type(result) is int or isinstance(result, tuple)) and sequence.phase is not done
        ]

    def drop_ended(self) -> None:
        """Take out the rows of sequences that ended since the plan."""
        kept = [n for n, sequence in enumerate(self.sequences) if sequence.phase is not Phase.DONE]
        if len(kept) < len(self.rows):
            self.sequences = [self.sequences[n] for n in kept]
            self.rows = [self.rows[n] for n in kept]
            self.tokens = self.chunks = self.read = 0
            for sequence, row in zip(self.sequences, self.rows, strict=True):
                self._count(sequence, len(row.tokens))


def _row(sequence: Sequence, tokens: Items[int], start: int, *, sample: bool = True, guesses: int = 0) -> Row:
    request, lease = sequence.request, sequence.lease
    assert lease is not None
    sampling, shaping = request.sampling, sequence.reply.shaping
    return Row(tokens, start, lease.pages, sampling, sequence.seed, sample, shaping, guesses, request.adapter)


def _own_row(sequence: Sequence) -> Row:
    """Of a reply's latest token; who commits the next one lets it go on."""
    position = len(sequence.prompt) + sequence.output - 1
    row = sequence.row = _row(sequence, sequence.tokens[-1:], position)
    return row


def share_out(budget: int, wanted: Items[int], weights: Items[float]) -> list[int]:
    """Share the budget by weight, but give nobody more than wanted: short prompts are through at once."""
    shares = [0] * len(wanted)
    sharing = math.fsum(weights)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index] / weights[index])
    for index in order:
        part = budget if index == order[-1] else int(budget * weights[index] / sharing)
        shares[index] = min(wanted[index], part)
        budget -= shares[index]
        sharing -= weights[index]
    return shares


def soonest_first(budget: int, wanted: Items[int]) -> list[int]:
    """Share the budget among equals: most of it to those who are through the soonest, so that few wait for a step more.

    Prompts of a length are then read one after the other. Evenly, all of them would end when the last one does.
    """
    shares = share_out(budget // EVEN_PART, wanted, [1.0] * len(wanted))
    budget -= sum(shares)
    for index in sorted(range(len(wanted)), key=lambda index: wanted[index]):
        more = min(budget, wanted[index] - shares[index])
        shares[index] += more
        budget -= more
    return shares


def in_tokens(shares: Items[int], turn: int) -> list[int]:
    """Shares in `FINE` parts of a token as whole tokens: the next lower or the next higher number of them.

    Over many turns everybody has on average what it was given: no part of a token is so small that nothing comes of it,
    however many share a step of few tokens. Which ones are rounded up goes round by the golden ratio, with which
    nothing that comes and goes keeps step. Where all shares together are whole tokens, all of those are given.
    """
    given: list[int] = []
    end = turn * _GOLDEN % FINE
    for share in shares:
        start, end = end, end + share
        given.append(end // FINE - start // FINE)
    return given
