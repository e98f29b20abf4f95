"""The work of one step, and how prefill's part of it is shared."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from engine.batch import Row
from engine.sequence import Phase, Sequence


@dataclass(slots=True)
class Step:
    """One step's work: do the copies in order, then compute the rows. `sequences` go with `rows`."""

    sequences: list[Sequence] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    copies: list[tuple[Sequence, tuple[int, int]]] = field(default_factory=list)  # (source, target) pages

    def add(self, sequence: Sequence, tokens: Items[int], start: int, *, sample: bool) -> None:
        """Let the sequence compute `tokens` from position `start` on."""
        assert sequence.lease is not None
        self.sequences.append(sequence)
        sampling = sequence.request.sampling
        self.rows.append(
            Row(tokens, start, sequence.lease.pages, sampling, sequence.seed, sample, sequence.reply.shaping)
        )

    def counts(self) -> tuple[int, int]:
        """How many rows go on with a reply, and how many tokens the others have."""
        chunks = [
            len(row.tokens)
            for sequence, row in zip(self.sequences, self.rows, strict=True)
            if sequence.phase is Phase.PREFILL
        ]
        return len(self.rows) - len(chunks), sum(chunks)

    def drop_ended(self) -> None:
        """Take out the rows of sequences that ended since the plan."""
        kept = [n for n, sequence in enumerate(self.sequences) if sequence.phase is not Phase.DONE]
        if len(kept) < len(self.rows):
            self.sequences = [self.sequences[n] for n in kept]
            self.rows = [self.rows[n] for n in kept]


def share_out(budget: int, wanted: Items[int]) -> list[int]:
    """Share the budget evenly, but give nobody more than wanted: short prompts are through at once."""
    shares = [0] * len(wanted)
    smallest_first = sorted(range(len(wanted)), key=wanted.__getitem__)
    for sharers, index in zip(range(len(wanted), 0, -1), smallest_first, strict=True):
        shares[index] = min(wanted[index], -(-budget // sharers))
        budget -= shares[index]
    return shares
