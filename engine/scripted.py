"""An engine without a model: it echoes the last user message, under the same limits as any other.

It runs on the event loop, for a thread's hops cost more than its work: scheduler and pages decide once a
page, and a token in between is one list access and one call.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from collections.abc import Sequence as Items

from engine.adapters.files import checked_adapter
from engine.adapters.store import AdapterLimits, AdapterStore
from engine.blocks import BlockPool
from engine.calls.hermes import HERMES
from engine.calls.syntax import CallSyntax
from engine.delivery import hand_out, log_failed_delivery
from engine.interface import EngineStats, ModelInfo
from engine.limits import Limits
from engine.playback import Fault, Playback, echoed_text
from engine.reply import Reply
from engine.request import Deliver, Draft, EngineError, EngineRequest, OutputFormat
from engine.scheduler import Scheduler
from engine.scripted_tokenizer import ScriptedTokenizer, Split, words
from engine.sequence import Phase
from engine.wheel import Wheel


class ScriptedEngine:
    """Deterministic text at `tokens_per_s` for each sequence (0: as fast as asked, one token a step).

    `split` sets where the text is cut into tokens, `syntax` how calls are written; `faults` names what goes
    wrong with a request, if anything.
    """

    def __init__(
        self,
        tokens_per_s: float = 0.0,
        *,
        max_running: int = 1024,
        max_waiting: int = 1024,
        model_id: str = "scripted",
        context_tokens: int = 131_072,
        created_at: int = 0,
        page_tokens: int = 64,
        pages_total: int | None = None,
        step_tokens: int = 1 << 16,
        pin_s: float = 300.0,
        split: Split = words,
        syntax: CallSyntax = HERMES,
        faults: Callable[[EngineRequest], Fault | None] | None = None,
        adapter_limits: AdapterLimits = AdapterLimits(),  # noqa: B008 - frozen
    ) -> None:
        if not 0 <= tokens_per_s < math.inf:
            raise ValueError("tokens_per_s must be a number from 0 on")
        limits = Limits(
            context_tokens,
            max_running=max_running,
            max_waiting=max_waiting,
            step_tokens=step_tokens,
            pin_s=pin_s,
        )
        pages_total = pages_total or max(65_536, -(-context_tokens // page_tokens))
        pool = BlockPool(pages_total, page_tokens)
        self._model = ModelInfo(model_id, created_at, context_tokens)
        self._tokenizer = ScriptedTokenizer(split, syntax)
        self._adapters = AdapterStore(checked_adapter, adapter_limits)
        self._faults = faults or (lambda request: None)
        self._scheduler = Scheduler(limits, pool, self._script, lambda: random.getrandbits(63))
        self._wheel = Wheel(1 / tokens_per_s if tokens_per_s else 0.0)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._timer_at = math.inf
        self._cancelled: dict[str, None] = {}  # live ids, in order of asking
        self._refusing = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def model(self) -> ModelInfo:
        return self._model

    @property
    def tokenizer(self) -> ScriptedTokenizer:
        return self._tokenizer

    @property
    def adapters(self) -> AdapterStore:
        return self._adapters

    @property
    def ready(self) -> bool:
        return self._loop is not None and not self._refusing

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def kept(self, format: OutputFormat, salt: str = "") -> object | None:
        return None

    def compile(self, format: OutputFormat, salt: str = "") -> object:
        raise EngineError(
            "unsupported_parameter",
            f"Parameter '{format.param}' is not supported by the scripted engine: it echoes. Serve a model.",
            param=format.param,
        )

    def submit(self, request: EngineRequest, deliver: Deliver) -> None:
        loop = self._open_loop()
        if request.sampling.logprobs is not None:
            raise EngineError(
                "unsupported_parameter",
                "Parameter 'logprobs' is not supported by the scripted engine: it draws no tokens. Serve a model.",
                param="logprobs",
            )
        if request.id in self._scheduler:
            raise ValueError(f"request {request.id} is live already")
        self._scheduler.limits.check(request, self._scheduler.live, self._scheduler.live_of(request.salt))
        sequence = self._scheduler.prepare(request, deliver, loop.time())
        if request.adapter is not None:
            sequence.deliver = self._adapters.lend(request.adapter, deliver)
        self._scheduler.enter(sequence)
        self._idle.clear()
        self._step_at(loop.time())

    def cancel(self, request_id: str) -> None:
        if request_id in self._scheduler and self._loop is not None:
            self._cancelled[request_id] = None
            self._step_at(self._loop.time())

    def commit(self, request_id: str, released: Items[int]) -> None:
        if self._loop is not None:
            self._scheduler.commit_reply(request_id, released, self._loop.time())

    def prefill(self, draft: Draft) -> None:
        loop = self._open_loop()
        self._scheduler.enter_draft(self._scheduler.prepare_draft(draft, loop.time()))
        self._step_at(loop.time())

    def forget(self, draft_id: str, salt: str = "") -> None:
        self._scheduler.end_draft(salt, draft_id)

    def stats(self) -> EngineStats:
        return self._scheduler.stats()

    async def drain(self, timeout_s: float) -> None:
        self._refusing = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            self._cancel_all()

    async def close(self) -> None:
        self._refusing = True
        self._cancel_all()
        if self._timer is not None:
            self._timer.cancel()
        self._adapters.close()

    def _open_loop(self) -> asyncio.AbstractEventLoop:
        if self._refusing:
            raise EngineError("draining", "The engine takes no new requests.")
        if self._loop is None:
            raise EngineError("model_loading", "The engine has not started.")
        return self._loop

    def _script(self, request: EngineRequest, max_output: int) -> Reply:
        fault = self._faults(request)
        if fault is not None and fault.refuse is not None:
            raise fault.refuse
        return Playback(request, max_output, self._tokenizer.pieces(echoed_text(request.source)), fault)

    def _cancel_all(self) -> None:
        self._scheduler.cancel_all()
        self._hand_out()

    def _step_at(self, when: float) -> None:
        """Step at the loop's time `when`, or earlier if that is planned."""
        assert self._loop is not None
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        if when <= self._loop.time():
            self._timer = self._loop.call_soon(self._step)
        else:
            self._timer = self._loop.call_at(when, self._step)

    def _step(self) -> None:
        assert self._loop is not None
        self._timer = None
        now = self._loop.time()
        scheduler = self._scheduler
        for request_id in self._cancelled:
            scheduler.cancel(request_id)
        self._cancelled.clear()
        if scheduler.pending or now >= scheduler.next_deadline:
            self._prefill(now)
        self._hand_out()
        if self._wheel:
            self._play(now)
            self._hand_out()
        self._plan_next(now)

    def _prefill(self, now: float) -> None:
        """Admit, and let what is admitted begin to speak: a script's context takes no computing."""
        step = self._scheduler.plan(now, decode=False)
        for sequence, row in zip(step.sequences, step.rows, strict=True):
            self._scheduler.computed(sequence, len(row.tokens), now)
            reply = sequence.reply
            assert isinstance(reply, Playback)
            if sequence.phase is not Phase.DECODE:
                continue
            reply.sequence, reply.deliver = sequence, sequence.deliver
            reply.reach = sequence.output
            sequence.tokens = reply.ids
            if not reply.on_wheel:  # a preempted one may be back before its time came
                self._wheel.add(reply, now)

    def _play(self, now: float) -> None:
        """One token of each reply that is due."""
        due = self._wheel.turn(now)
        ledger = self._scheduler.ledger
        generated, stopped = ledger.generated_tokens, 0
        for playback in due:
            ahead = playback.ahead
            if not ahead:
                stopped += not self._play_last(playback, now)
            elif text := ahead.pop():
                deliver = playback.deliver  # called as a method, Python 3.11 would look it up the long way
                try:
                    deliver(text)
                except Exception:
                    assert playback.sequence is not None
                    log_failed_delivery(playback.sequence)
        ledger.generated_tokens += len(due) - stopped
        ledger.step(ledger.generated_tokens - generated)
        if stopped:
            due = [playback for playback in due if playback.on_wheel]
        if due:
            self._wheel.again(due, now)

    def _play_last(self, playback: Playback, now: float) -> bool:
        """The token at which something is to be decided: whether there is one, whether it ends the reply, how far the
        next ones may go. False if it did not come, or none comes after it."""
        sequence = playback.sequence
        assert sequence is not None
        sequence.output = output = playback.reach
        playback.on_wheel = output < sequence.granted or self._more(playback)
        if not playback.on_wheel:
            return False
        sequence.output = playback.reach = output + 1
        self._scheduler.ledger.times.played(sequence, output + 1, now)
        if text := playback.texts[output]:
            hand_out([(sequence, text)])
        if output + 1 == playback.end:
            assert playback.reason is not None
            playback.on_wheel = False
            self._scheduler.ledger.generated_tokens += 1
            self._scheduler.finish(sequence, playback.reason)
            return False
        playback.look_ahead(sequence)
        return True

    def _more(self, playback: Playback) -> bool:
        """Get leave and text for the next token; False if there is none to play now."""
        sequence = playback.sequence
        assert sequence is not None
        if sequence.phase is not Phase.DECODE:  # preempted or over
            return False
        known = playback.known(sequence.output)
        if sequence.output >= known:
            fault = playback.fault
            if fault is not None and fault.error is not None:
                self._scheduler.fail(sequence, fault.error)
            return False
        if not self._scheduler.grant(sequence):
            return False
        sequence.granted = min(sequence.granted, known)
        return True

    def _plan_next(self, now: float) -> None:
        if self._scheduler.pending:
            self._step_at(now)
        if self._wheel:
            self._step_at(self._wheel.next_turn())
        if self._scheduler.next_deadline < math.inf:
            self._step_at(self._scheduler.next_deadline)

    def _hand_out(self) -> None:
        while outputs := self._scheduler.outputs:
            self._scheduler.outputs = []
            hand_out(outputs)
        if not self._scheduler.live:
            self._idle.set()
