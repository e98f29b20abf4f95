"""Continuous batching: which sequences take part in the next step, and what its results mean for them.

Pure: no clock, no thread, no I/O. A driver calls `plan`, computes the step, calls `commit` and hands out
`outputs`; a driver that knows its tokens beforehand calls `computed`, `grant` and `finish` itself.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence as Items

from engine.blocks import BlockPool, Lease
from engine.budget import Budget
from engine.ended import EndedReplies
from engine.interface import EngineStats
from engine.ledger import Ledger
from engine.limits import Limits
from engine.reply import Reply
from engine.request import (
    Deliver,
    EngineError,
    EngineRequest,
    Finished,
    FinishReason,
    Output,
    Queued,
    Started,
    Usage,
)
from engine.sequence import Phase, Sequence, deadline
from engine.step import Step, share_out

SEED_MASK = (1 << 63) - 1
SPARE_SHARE = 16
"""Admission leaves a page for each running sequence to grow into, up to this part of the pool: without it a
newcomer would be preempted at once by the next page that an older sequence needs."""


class Scheduler:
    """Owns the live sequences and their pages. First come, first served; the youngest is preempted first."""

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
        self._reply_for = reply_for
        self._draw_seed = draw_seed
        self._live: dict[str, Sequence] = {}
        self._waiting: OrderedDict[str, Sequence] = OrderedDict()
        self._running: dict[str, Sequence] = {}  # oldest first
        self._prefilling: dict[str, Sequence] = {}  # those of `_running` whose context is not computed yet
        self._blocked_at = -1  # the pool's releases when the head of the queue last did not fit
        self._ended = EndedReplies(pool, bound=2 * limits.max_running)
        self._departed = False
        self._parked: list[Lease] = []  # of those that ended since `depart`

    @property
    def live(self) -> int:
        return len(self._live)

    @property
    def pending(self) -> bool:
        """Whether `plan` has something to do now besides decoding and deadlines."""
        if self._prefilling:
            return True
        if not self._waiting:
            return False
        if not next(reversed(self._waiting.values())).announced:
            return True
        return len(self._running) < self.limits.max_running and self._blocked_at != self.pool.releases

    @property
    def busy(self) -> bool:
        """Whether there is a step to compute, or to plan."""
        return bool(self._running) or self.pending

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._live

    def prepare(self, request: EngineRequest, deliver: Deliver, now: float) -> Sequence:
        """A new request's sequence, to be given to `enter`. Changes nothing, so any thread may call it."""
        max_output = self.limits.max_output(request)
        seed = request.sampling.seed
        return Sequence(
            request=request,
            deliver=deliver,
            reply=self._reply_for(request, max_output),
            seed=(self._draw_seed() if seed is None else seed) & SEED_MASK,
            max_output=max_output,
            first_token_deadline=deadline(now, request.first_token_timeout_s),
            deadline=deadline(now, request.total_timeout_s),
            context=request.prompt_ids,
        )

    def enter(self, sequence: Sequence) -> None:
        """Queue a new sequence. `Limits.check` is the caller's part."""
        request_id = sequence.request.id
        assert request_id not in self._live
        self._live[request_id] = self._waiting[request_id] = sequence
        self.next_deadline = min(self.next_deadline, sequence.next_deadline())

    def cancel(self, request_id: str) -> None:
        """End a request now; an unknown id is ignored."""
        if sequence := self._live.get(request_id):
            self.finish(sequence, FinishReason.CANCELLED)

    def commit_reply(self, request_id: str, released: Items[int], now: float) -> None:
        """See `Engine.commit`."""
        self._ended.commit(request_id, released, pin_until=now + self.limits.pin_s)

    def cancel_all(self) -> None:
        for sequence in list(self._live.values()):
            self.finish(sequence, FinishReason.CANCELLED)

    def end_overdue(self, now: float) -> None:
        """Fail those whose time is up."""
        if now < self.next_deadline:
            return
        for sequence in list(self._live.values()):
            if error := sequence.overdue(now):
                self.fail(sequence, error)
        self.next_deadline = min((s.next_deadline() for s in self._live.values()), default=math.inf)

    def plan(self, now: float, *, decode: bool = True, budget: Budget | None = None) -> Step:
        """The next step: each decoding sequence's token (unless `decode` is false), then prefill chunks.

        `budget` bounds the chunks of a step that decodes.
        """
        self.end_overdue(now)
        self.pool.expire(now)
        step = Step()
        if decode:
            self._plan_decodes(step)
        chunk = max(self.limits.step_tokens - len(step.rows), self.limits.min_chunk_tokens)
        if budget is not None and step.rows:
            chunk = budget.chunk(chunk)
        self._admit(step, chunk)
        self._plan_prefills(step, chunk)
        self._announce_waiting()
        return step

    def depart(self) -> None:
        """The planned step is being computed. Until its commit sequences may end, but their pages stay taken:
        it may still write to them."""
        self._departed = True

    def commit(self, step: Step, results: Items[int | Exception | None], now: float) -> None:
        """Take a computed step's results; a row that failed ends its own sequence only."""
        self.ledger.steps += 1
        self._departed = False
        while self._parked:
            self.pool.close(self._parked.pop())
        for sequence, row, result in zip(step.sequences, step.rows, results, strict=True):
            if sequence.phase is Phase.DONE:
                continue
            if isinstance(result, Exception):
                self.fail(sequence, result)
                continue
            if sequence.phase is Phase.PREFILL:
                self.computed(sequence, len(row.tokens), now)
            if result is not None:
                self._append(sequence, result)

    def computed(self, sequence: Sequence, tokens: int, now: float) -> None:
        """The next `tokens` of the sequence's context are in its pages."""
        assert sequence.lease is not None
        sequence.computed += tokens
        self.pool.enter(sequence.lease, sequence.prompt, sequence.computed)
        if sequence.remaining:
            return
        del self._prefilling[sequence.request.id]
        sequence.phase = Phase.DECODE
        if sequence.request.prefill_only:
            request = sequence.request
            self.pool.enter_all(sequence.lease, sequence.prompt)
            self.pool.pin(
                sequence.lease, (request.salt, request.session or request.id), now + self.limits.pin_s
            )
            self.finish(sequence, FinishReason.STOP)
        elif sequence.max_output <= 0:
            self.finish(sequence, FinishReason.LENGTH)

    def grant(self, sequence: Sequence) -> bool:
        """Make room for a decoding sequence's next token and set `granted`.

        Younger sequences are preempted while pages lack, at last this one: then False.
        """
        assert sequence.lease is not None
        prompt = len(sequence.prompt)
        while not self.pool.grow(sequence.lease, prompt + sequence.output):
            victim = next(reversed(self._running.values()))
            self._preempt(victim)
            if victim is sequence:
                return False
        # The last token of a reply needs no page: its keys and values are never read.
        room = len(sequence.lease.pages) * self.pool.page_tokens - prompt + 1
        sequence.granted = min(room, sequence.max_output)
        return True

    def fail(self, sequence: Sequence, error: Exception) -> None:
        """End a sequence with an EngineError as it is, or with any other exception as `model_error`."""
        if not isinstance(error, EngineError):
            error = EngineError("model_error", f"The model failed on this request ({type(error).__name__}).")
        self.finish(sequence, FinishReason.FAILED, error)

    def finish(self, sequence: Sequence, reason: FinishReason, error: EngineError | None = None) -> None:
        """Free the sequence's pages, or have the step that is away free them, then say that it ended."""
        assert sequence.phase is not Phase.DONE
        request_id = sequence.request.id
        if sequence.lease is not None:
            if self._departed:
                self._parked.append(sequence.lease)
            elif sequence.phase is Phase.DECODE and sequence.output and reason is not FinishReason.FAILED:
                self._ended.put(sequence)
            else:
                self.pool.close(sequence.lease)
            sequence.lease = None
        sequence.phase = Phase.DONE
        sequence.granted = 0
        del self._live[request_id]
        self._waiting.pop(request_id, None)
        self._running.pop(request_id, None)
        self._prefilling.pop(request_id, None)
        self.ledger.finished[reason.value] += 1
        self._blocked_at = -1  # the queue's head or the number of running sequences may have changed
        usage = Usage(len(sequence.prompt) if sequence.started else 0, sequence.cached, sequence.output)
        finished = Finished(reason, usage, tuple(sequence.tokens[: sequence.output]), error)
        self.outputs.append((sequence, finished))

    def stats(self) -> EngineStats:
        """A snapshot; may be taken on another thread, then its numbers may be a step apart."""
        return self.ledger.stats(len(self._running), len(self._waiting), self.pool)

    def _append(self, sequence: Sequence, token: int) -> None:
        sequence.tokens.append(token)
        sequence.output += 1
        self.ledger.generated_tokens += 1
        reply = sequence.reply
        if text := reply.push(token):
            self.outputs.append((sequence, text))
        if reply.reason is not None:
            self.finish(sequence, reply.reason)

    def _plan_decodes(self, step: Step) -> None:
        for sequence in list(self._running.values()):
            if sequence.phase is not Phase.DECODE:  # prefilling, or just preempted
                continue
            if sequence.output >= sequence.granted and not self.grant(sequence):
                continue
            position = len(sequence.prompt) + sequence.output - 1
            step.add(sequence, sequence.tokens[-1:], position, sample=True)

    def _plan_prefills(self, step: Step, chunk: int) -> None:
        shares = share_out(chunk, [sequence.remaining for sequence in self._prefilling.values()])
        for sequence, share in zip(self._prefilling.values(), shares, strict=True):
            if share:
                start, end = sequence.computed, sequence.computed + share
                last = end == len(sequence.context)
                step.add(
                    sequence, sequence.context[start:end], start, sample=last and sequence.max_output > 0
                )

    def _admit(self, step: Step, chunk: int) -> None:
        if not self._waiting or self._blocked_at == self.pool.releases:
            return
        backlog = sum(sequence.remaining for sequence in self._prefilling.values())
        while self._waiting and len(self._running) < self.limits.max_running:
            if backlog >= chunk and len(self._prefilling) >= self.limits.partial_prefills:
                return
            sequence = next(iter(self._waiting.values()))
            if not self._open(sequence, step):
                self._blocked_at = self.pool.releases
                return
            backlog += sequence.remaining

    def _open(self, sequence: Sequence, step: Step) -> bool:
        request = sequence.request
        spare = min(len(self._running), self.pool.pages_total // SPARE_SHARE)
        opened = self.pool.open(request.prompt_ids, len(sequence.context), request.salt, spare=spare)
        if opened is None:
            return False
        sequence.lease = opened.lease
        sequence.computed = opened.cached_tokens
        sequence.phase = Phase.PREFILL
        if opened.copy is not None:
            step.copies.append((sequence, opened.copy))
        del self._waiting[request.id]
        self._running[request.id] = self._prefilling[request.id] = sequence
        if not sequence.started:
            self._start(sequence)
        return True

    def _start(self, sequence: Sequence) -> None:
        sequence.started = sequence.announced = True
        sequence.cached = sequence.computed
        self.ledger.start(sequence)
        self.outputs.append((sequence, Started(sequence.cached)))

    def _preempt(self, sequence: Sequence) -> None:
        """Take the youngest sequence's pages; it heads the queue and will compute its tokens again."""
        assert sequence.lease is not None
        self.pool.close(sequence.lease)
        sequence.lease = None
        sequence.phase = Phase.WAITING
        sequence.granted = sequence.computed = 0
        sequence.context = [*sequence.prompt, *sequence.tokens[: sequence.output]]
        del self._running[sequence.request.id]
        self._prefilling.pop(sequence.request.id, None)
        self._waiting[sequence.request.id] = sequence
        self._waiting.move_to_end(sequence.request.id, last=False)

    def _announce_waiting(self) -> None:
        """Tell those that arrived since the last step, who stand at the queue's end, where they stand."""
        position = len(self._waiting)
        for sequence in reversed(self._waiting.values()):
            position -= 1
            if sequence.announced:
                return
            sequence.announced = True
            self.outputs.append((sequence, Queued(position)))

    def __repr__(self) -> str:
        return f"<Scheduler running={len(self._running)} waiting={len(self._waiting)} {self.pool}>"
