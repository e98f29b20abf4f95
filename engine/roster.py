"""Who waits, who holds pages, and who must give them up for others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from engine.blocks import BlockPool
from engine.fairness import Accounts, Waiting
from engine.limits import Limits
from engine.sequence import Phase, Sequence
from engine.step import FINE, Step, in_tokens, share_out, soonest_first

SPARE_SHARE: Final = 16
"""Admission leaves a page for each running sequence to grow into, up to this part of the pool: without it a
newcomer would be preempted at once by the next page that an older sequence needs."""
TIER_SHARES: Final = (4.0, 1.0, 0.25)
"""Prompts in prefill share a step by these, by rank. No tier waits for another there: its pages are taken already."""


class Roster:
    """The live sequences by what they have: a place in the queue, or pages."""

    def __init__(self, limits: Limits, pool: BlockPool, make_room: Callable[[], bool]) -> None:
        """`make_room` gives up pages that nobody's request needs, if there are any."""
        self.running: dict[str, Sequence] = {}  # longest first
        self.prefilling: dict[str, Sequence] = {}  # those of `running` whose context is not computed yet
        self._limits = limits
        self._pool = pool
        self._make_room = make_room
        self._accounts = Accounts()
        self.waiting = Waiting(self._accounts, limits.patience_s)
        self.preemptions = 0
        self._turn = 0  # of those that shares are rounded by
        # The head of the queue when it last did not fit, and the pool's releases then.
        self._blocked: tuple[Sequence, int] | None = None

    @property
    def can_admit(self) -> bool:
        if len(self.running) >= self._limits.max_running:
            return False
        head = next(self.waiting.heads(), None)
        return head is not None and not self._is_blocked(head)

    def live_of(self, tenant: str) -> int:
        return self._accounts.live_of(tenant)

    def enter(self, sequence: Sequence) -> None:
        self._accounts.join(sequence.request.salt)
        self.waiting.put(sequence)

    def leave(self, sequence: Sequence) -> None:
        """It has ended; its pages are the caller's part."""
        self.waiting.remove(sequence)
        self.running.pop(sequence.request.id, None)
        self.prefilling.pop(sequence.request.id, None)
        self._accounts.leave(sequence.request.salt)
        self._blocked = None  # there is more room, or a shorter queue

    def admit(self, step: Step, chunk: int) -> list[Sequence]:
        """Give pages to those who come next, while the step has work for them. Returns them."""
        admitted: list[Sequence] = []
        backlog = sum(sequence.remaining for sequence in self._ready())
        while len(self.running) < self._limits.max_running:
            heads = self.waiting.heads()
            head = next((head for head in heads if backlog < chunk or not self._has_rivals(head)), None)
            if head is None or self._is_blocked(head) or not self._open(head, step):
                break
            admitted.append(head)
            backlog += 0 if self._pool.waits(head.batch) else head.remaining
        return admitted

    def computed(self, sequence: Sequence, tokens: int) -> None:
        """The next `tokens` of the sequence's context are in its pages."""
        assert sequence.lease is not None
        sequence.computed += tokens
        self._pool.enter(sequence.lease, sequence.prompt, sequence.computed)
        if not sequence.remaining:
            del self.prefilling[sequence.request.id]
            sequence.phase = Phase.DECODE

    def grant(self, sequence: Sequence) -> bool:
        """Make room for a decoding sequence's next token and set `granted`.

        While pages lack, less deserving sequences are preempted, at last this one: then False.
        """
        assert sequence.lease is not None
        prompt = len(sequence.prompt)
        while not self._pool.grow(sequence.lease, prompt + sequence.output):
            if self._make_room():
                continue
            victim = self._least_deserving()
            self._preempt(victim)
            if victim is sequence:
                return False
        self._use_pages(sequence)
        return True

    def reserve(self, sequence: Sequence, guesses: int) -> int:
        """Room for tokens behind a granted one, if nobody has to give up pages for it; for how many there is."""
        assert sequence.lease is not None
        guesses = min(guesses, sequence.max_output - sequence.output - 1)
        if sequence.output + guesses >= sequence.granted and self._pool.grow(
            sequence.lease, len(sequence.prompt) + sequence.output + guesses
        ):
            self._use_pages(sequence)
        return min(guesses, sequence.granted - sequence.output - 1)

    def shares(self, chunk: int) -> list[tuple[Sequence, int]]:
        """How many tokens of each prompt are for the next step: by weight between tenants and tiers.

        Within a tenant's tier those are first who are through the soonest.
        """
        prefilling = self._ready()
        if not prefilling:
            return []
        of_tenant = Counter(sequence.request.salt for sequence in prefilling)
        weights = [
            TIER_SHARES[sequence.rank] * sequence.request.weight / of_tenant[sequence.request.salt]
            for sequence in prefilling
        ]
        wanted = [sequence.remaining * FINE for sequence in prefilling]
        shares = share_out(chunk * FINE, wanted, weights)
        equals: dict[tuple[str, int], list[int]] = {}
        for index, sequence in enumerate(prefilling):
            equals.setdefault((sequence.request.salt, sequence.rank), []).append(index)
        for group in equals.values():
            together = soonest_first(
                sum(shares[index] for index in group), [wanted[index] for index in group]
            )
            for index, share in zip(group, together, strict=True):
                shares[index] = share
        self._turn += 1
        return list(zip(prefilling, in_tokens(shares, self._turn), strict=True))

    def decoding(self) -> list[Sequence]:
        """Those whose context is computed, the longest running first."""
        running = self.running.values()
        if not self.prefilling:  # as a rule, and then it takes no look at each
            return list(running)
        return [sequence for sequence in running if sequence.phase is Phase.DECODE]

    def _ready(self) -> list[Sequence]:
        """Those in prefill whose pages are there."""
        return [sequence for sequence in self.prefilling.values() if not self._pool.waits(sequence.batch)]

    def _use_pages(self, sequence: Sequence) -> None:
        """Let a sequence go on to the end of its pages."""
        assert sequence.lease is not None
        prompt = len(sequence.prompt)
        # The last token of a reply needs no page: its keys and values are never read.
        room = len(sequence.lease.pages) * self._pool.page_tokens - prompt + 1
        sequence.granted = min(room, sequence.max_output)
        self._charge(sequence, prompt + sequence.granted)

    def _is_blocked(self, head: Sequence) -> bool:
        """Whether nothing has changed since it did not fit."""
        return self._blocked == (head, self._pool.releases)

    def _has_rivals(self, head: Sequence) -> bool:
        """Whether its tenant has enough prompts in prefill that are as urgent: others' never make it wait."""
        salt, rank = head.request.salt, head.rank
        rivals = sum(s.request.salt == salt and s.rank <= rank for s in self.prefilling.values())
        return rivals >= self._limits.partial_prefills

    def _open(self, sequence: Sequence, step: Step) -> bool:
        request = sequence.request
        spare = min(len(self.running), self._pool.pages_total // SPARE_SHARE)
        length, salt = len(sequence.context), request.cache_salt
        while (opened := self._pool.open(request.prompt_ids, length, salt, spare=spare)) is None:
            if not self._make_room():
                self._blocked = sequence, self._pool.releases
                return False
        self.waiting.remove(sequence)
        self.running[request.id] = self.prefilling[request.id] = sequence
        sequence.lease, sequence.batch = opened.lease, opened.batch
        sequence.computed = opened.cached_tokens
        sequence.charged = max(sequence.charged, opened.cached_tokens)
        self._charge(sequence, len(sequence.context))
        sequence.phase, sequence.row = Phase.PREFILL, None
        if opened.copy is not None:
            step.copies.append((sequence, opened.copy))
        return True

    def _charge(self, sequence: Sequence, positions: int) -> None:
        """Its tenant has had so many positions; what is computed again after a preemption is not charged."""
        if (tokens := positions - sequence.charged) > 0:
            sequence.charged = positions
            self._accounts.charge(sequence.request.salt, sequence.request.weight, tokens)

    def _least_deserving(self) -> Sequence:
        """Of the last tier, the youngest of the tenant that was served the most."""
        served = self._accounts.served
        return max(reversed(self.running.values()), key=lambda s: (s.rank, served(s.request.salt)))

    def _preempt(self, sequence: Sequence) -> None:
        """Take its pages; it goes to the front of its queue and will compute its tokens again."""
        assert sequence.lease is not None
        self.preemptions += 1
        sequence.count()
        self._pool.close(sequence.lease)
        sequence.lease = None
        sequence.phase = Phase.WAITING
        sequence.granted = sequence.computed = 0
        sequence.context = [*sequence.prompt, *sequence.tokens[: sequence.output]]
        del self.running[sequence.request.id]
        self.prefilling.pop(sequence.request.id, None)
        self.waiting.put(sequence, first=True)

    def __repr__(self) -> str:
        return f"<Roster running={len(self.running)} waiting={len(self.waiting)}>"
