"""Continuous batching: which sequences take part in the next step, and what its results mean for them.

Pure: no clock, no thread, no I/O. A driver calls `plan`, computes the step, calls `commit` and hands out
`outputs`; a driver that knows its tokens beforehand calls `computed`, `grant` and `finish` itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as Items

from engine.adapters.adapter import Adapter
from engine.batch import Result
from engine.blocks import BlockPool
from engine.budget import Budget
from engine.decodes import plan_decodes
from engine.drafts import Drafts, draft_key
from engine.ended import EndedReplies
from engine.interface import EngineStats
from engine.ledger import Ledger
from engine.limits import Limits
from engine.newcomers import Newcomers
from engine.reply import Reply
from engine.request import (
    Deliver,
    Draft,
    EngineError,
    EngineRequest,
    Finished,
    FinishReason,
    Output,
    Queued,
    Started,
    Usage,
)
from engine.roster import Roster
from engine.sequence import Phase, Sequence
from engine.speculation import Speculation
from engine.step import Step


class Scheduler:
    """Owns the live sequences, from the queue to their end."""

    def __init__(
        self,
        limits: Limits,
        pool: BlockPool,
        reply_for: Callable[[EngineRequest, int], Reply],
        draw_seed: Callable[[], int],
    ) -> None:
        if limits.context_tokens > pool.pages_total * pool.page_tokens:
            raise ValueError("a context must fit into the pool")
        self.limits = limits
        self.pool = pool
        self.outputs: list[tuple[Sequence, Output]] = []  # in order; whoever hands them out clears it
        self.next_deadline = math.inf  # no deadline comes before this
        self.ledger = Ledger()
        self.speculation = Speculation(limits.guesses)
        self._newcomers = Newcomers(limits, reply_for, draw_seed)
        self._live: dict[str, Sequence] = {}
        self._ended = EndedReplies(pool, bound=2 * limits.max_running)
        self._drafts = Drafts(pool, limits.max_drafts, limits.pin_s)
        self._roster = Roster(limits, pool, self._drafts.make_room)

    @property
    def live(self) -> int:
        return len(self._live)

    def live_of(self, tenant: str) -> int:
        """How many of the live ones are a tenant's."""
        return self._roster.live_of(tenant)

    @property
    def pending(self) -> bool:
        """Whether `plan` has something to do now besides decoding and deadlines."""
        roster = self._roster
        if roster.prefilling or roster.waiting.fresh or roster.can_admit:
            return True
        return bool(self._drafts) and not roster.waiting

    @property
    def busy(self) -> bool:
        """Whether there is a step to compute, or to plan."""
        return bool(self._roster.running) or self.pending

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._live

    def prepare(self, request: EngineRequest, deliver: Deliver, now: float) -> Sequence:
        """A new request's sequence, to be given to `enter`. Changes nothing, so any thread may call it."""
        return self._newcomers.of(request, deliver, now)

    def enter(self, sequence: Sequence) -> None:
        """Queue a new sequence. `Limits.check` is the caller's part."""
        request = sequence.request
        assert request.id not in self._live
        if request.draft is not None:
            self.end_draft(request.salt, request.draft)
        self._live[request.id] = sequence
        self._roster.enter(sequence)
        self.next_deadline = min(self.next_deadline, sequence.next_deadline())

    def cancel(self, request_id: str) -> None:
        """End a request now; an unknown id is ignored."""
        if sequence := self._live.get(request_id):
            self.finish(sequence, FinishReason.CANCELLED)

    def prepare_draft(self, draft: Draft, now: float) -> Sequence:
        """As `prepare`, to be given to `enter_draft`. Refuses as `Limits.check` does."""
        return self._newcomers.of_draft(draft, now)

    def enter_draft(self, sequence: Sequence) -> None:
        self._drafts.put(sequence)

    def end_draft(self, salt: str, draft_id: str) -> None:
        self._drafts.end(draft_key(salt, draft_id))

    def end_drafts_of(self, adapter: Adapter) -> None:
        self._drafts.end_of(adapter)

    def commit_reply(self, request_id: str, released: Items[int], now: float) -> None:
        """See `Engine.commit`."""
        self._ended.commit(request_id, released, pin_until=now + self.limits.pin_s)

    def cancel_all(self) -> None:
        for sequence in list(self._live.values()):
            self.finish(sequence, FinishReason.CANCELLED)
        self._drafts.clear()

    def end_overdue(self, now: float) -> None:
        """Fail those whose time is up."""
        if now < self.next_deadline:
            return
        for sequence in list(self._live.values()):
            if error := sequence.overdue(now):
                self.fail(sequence, error)
        self.next_deadline = min((s.next_deadline() for s in self._live.values()), default=math.inf)

    def plan(self, now: float, *, decode: bool = True, budget: Budget | None = None) -> Step:
        """The next step: each decoding sequence's token (unless `decode` is false), prefill chunks, and drafts.

        `budget` bounds the chunks of a step that decodes.
        """
        self.end_overdue(now)
        self.pool.expire(now)
        step = Step()
        if decode:
            plan_decodes(step, self._roster, self.speculation, self.limits.ahead)
        chunk = max(self.limits.step_tokens - step.tokens, self.limits.min_chunk_tokens)
        if budget is not None and step.rows:
            chunk = budget.chunk(chunk)
        self._plan_prefills(step, chunk, now)
        step.moves = self.pool.take_moves()
        self.outputs += [(sequence, Queued(place)) for sequence, place in self._roster.waiting.announce()]
        return step

    def lose_moves(self, error: Exception) -> None:
        """None of the moves that are on their way will end: who waits for one fails."""
        for sequence in list(self._live.values()):
            if sequence.lease is not None and self.pool.waits(sequence.batch):
                self.fail(sequence, error)
        self._drafts.end_waiting()
        self.pool.lose_moves()

    def depart(self) -> None:
        """The planned step is being computed. Until its commit sequences may end, but their pages stay taken."""
        self.pool.depart()

    def commit(self, step: Step, results: Items[Result], now: float) -> None:
        """Take a computed step's results; a row that failed ends its own sequence only."""
        ledger, outputs, said = self.ledger, self.outputs, 0
        self.pool.arrive()
        decode, done = Phase.DECODE, Phase.DONE
        ledger.times.spoke(step.spoken(results), now)
        for sequence, row, result in zip(step.sequences, step.rows, results, strict=True):
            if (
                sequence.phase is decode and type(result) is int
            ):  # nearly all: `_append`, without a call for each
                said += 1
                row.tokens, row.start = [result], row.start + 1  # the reply's own, in the next step too
                sequence.tokens.append(result)
                sequence.output += 1
                if sequence.lookup is not None:
                    sequence.lookup.follow(result)
                reply = sequence.reply
                if text := reply.push(result):
                    outputs.append((sequence, text))
                if reply.reason is not None:
                    self.finish(sequence, reply.reason)
                continue
            if sequence.phase is done:
                continue
            if isinstance(result, Exception):
                self.fail(sequence, result)
                continue
            if sequence.phase is Phase.PREFILL:
                self.computed(sequence, len(row.tokens), now)
            if isinstance(result, tuple):
                said += self._append_agreed(sequence, row.guesses, result)
            elif result is not None:
                said += 1
                self._append(sequence, result)
        ledger.generated_tokens += said
        if step.rows:
            ledger.step(step.read + said)

    def computed(self, sequence: Sequence, tokens: int, now: float) -> None:
        """The next `tokens` of the sequence's context are in its pages."""
        if sequence.draft:
            self._drafts.computed(sequence, tokens, now)
            return
        self._roster.computed(sequence, tokens)
        if sequence.remaining:
            return
        if sequence.request.prefill_only:
            self._pin(sequence, now)
            self.finish(sequence, FinishReason.STOP)
        elif sequence.max_output <= 0:
            self.finish(sequence, FinishReason.LENGTH)
        else:
            self.speculation.begin(sequence)

    def grant(self, sequence: Sequence) -> bool:
        """See `Roster.grant`."""
        return self._roster.grant(sequence)

    def fail(self, sequence: Sequence, error: Exception) -> None:
        """End a sequence with an EngineError as it is, or with any other exception as `model_error`."""
        if not isinstance(error, EngineError):
            error = EngineError("model_error", f"The model failed on this request ({type(error).__name__}).")
        self.finish(sequence, FinishReason.FAILED, error)

    def finish(self, sequence: Sequence, reason: FinishReason, error: EngineError | None = None) -> None:
        """Free the sequence's pages, or have the step that is away free them, then say that it ended."""
        assert sequence.phase is not Phase.DONE
        request = sequence.request
        if sequence.draft:
            self.end_draft(request.salt, request.id)
            return
        sequence.count()
        if sequence.lease is not None:
            if sequence.phase is Phase.DECODE and sequence.output and reason is not FinishReason.FAILED:
                self._ended.put(sequence)
            else:
                self.pool.close(sequence.lease)
            sequence.lease = None
        sequence.phase = Phase.DONE
        sequence.granted = 0
        del self._live[request.id]
        self._roster.leave(sequence)
        self.ledger.end(sequence, reason)
        usage = Usage(len(sequence.prompt) if sequence.started else 0, sequence.cached, sequence.output)
        finished = Finished(reason, usage, tuple(sequence.tokens[: sequence.output]), error)
        self.outputs.append((sequence, finished))

    def stats(self) -> EngineStats:
        """A snapshot; may be taken on another thread, then its numbers may be a step apart."""
        return self.ledger.stats(self._roster, self.pool)

    def _append(self, sequence: Sequence, token: int) -> None:
        sequence.tokens.append(token)
        sequence.output += 1
        if sequence.lookup is not None:
            sequence.lookup.follow(token)
        reply = sequence.reply
        if text := reply.push(token):
            self.outputs.append((sequence, text))
        if reply.reason is not None:
            self.finish(sequence, reply.reason)

    def _append_agreed(self, sequence: Sequence, guesses: int, tokens: tuple[int, ...]) -> int:
        """A step's tokens of a sequence that was guessed at; one of them may end it. Returns how many it took."""
        self.ledger.guess(guesses, len(tokens) - 1)
        for said, token in enumerate(tokens, start=1):
            self._append(sequence, token)
            if sequence.phase is Phase.DONE:
                return said
        return len(tokens)

    def _plan_prefills(self, step: Step, chunk: int, now: float) -> None:
        self._roster.waiting.age(now)
        for sequence in self._roster.admit(step, chunk):
            if not sequence.started:
                self._start(sequence, now)
        for sequence, share in self._roster.shares(chunk):
            if share:
                chunk -= share
                start, end = sequence.computed, sequence.computed + share
                last = end == len(sequence.context)
                step.add(
                    sequence, sequence.context[start:end], start, sample=last and sequence.max_output > 0
                )
        if not self._roster.waiting:
            self._drafts.plan(step, chunk, now)

    def _start(self, sequence: Sequence, now: float) -> None:
        sequence.started = sequence.announced = True
        sequence.cached = sequence.computed
        self.ledger.start(sequence, now)
        self.outputs.append((sequence, Started(sequence.cached)))

    def _pin(self, sequence: Sequence, now: float) -> None:
        """Keep all of a computed prompt for a follow-up."""
        assert sequence.lease is not None
        self.pool.enter_all(sequence.lease, sequence.prompt)
        self.pool.pin(sequence.lease, (sequence.request.salt, sequence.session), now + self.limits.pin_s)

    def __repr__(self) -> str:
        return f"<Scheduler {self._roster} {self.pool}>"
