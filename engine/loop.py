"""The engine around a runner: a thread that steps, seen from the event loop."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Set
from collections.abc import Sequence as Items
from dataclasses import replace
from pathlib import Path
from typing import Final

from engine.adapters.adapter import Adapter, AdapterError
from engine.adapters.store import AdapterLimits, AdapterStore, Read
from engine.batch import Runner
from engine.blocks import BlockPool
from engine.delivery import hand_out
from engine.grammar import Grammar, GrammarCompiler
from engine.interface import EngineStats, ModelInfo
from engine.limits import Limits
from engine.replies import Replies, StreamingTokenizer
from engine.request import (
    Deliver,
    Draft,
    EngineError,
    EngineRequest,
    Finished,
    FinishReason,
    OutputFormat,
    Usage,
)
from engine.scheduler import Scheduler
from engine.sequence import Sequence
from engine.thread import Batch, EngineThread

log = logging.getLogger(__name__)

STAND_IN_S: Final = 2.0
"""After a step has taken so long, cancels and time limits are seen to without it. Early is harmless: it changes
when they are answered, not what is computed."""
UNREADY_S: Final = 10.0  # a step of 512 tokens of the largest model that a CPU serves at all takes less
CLOSE_S: Final = 3.0  # most steps take less; of the time that container runtimes give, it leaves the most


class StepEngine:
    """An Engine over a Runner. Submissions and cancels go through an inbox, outputs come back a step at a
    time.

    The event loop's thread owns `_live`, `_asked` and the answers at the door; the engine's thread owns runner and
    scheduler (see EngineThread). It never waits for a consumer: what is undelivered is bounded by each request's max
    tokens. If a step hangs, the event loop takes scheduler and inbox meanwhile, so that every request still ends
    exactly once, by the scheduler's word.
    """

    def __init__(
        self,
        model: ModelInfo,
        tokenizer: StreamingTokenizer,
        runner: Runner,
        limits: Limits,
        eos_ids: Set[int],
        *,
        compiler: GrammarCompiler | None = None,
        read_adapter: Read | None = None,
        adapter_limits: AdapterLimits = AdapterLimits(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
        draw_seed: Callable[[], int] = lambda: random.getrandbits(63),
        stand_in_s: float = STAND_IN_S,
        unready_s: float = UNREADY_S,
        close_s: float = CLOSE_S,
    ) -> None:
        if limits.context_tokens > runner.context_tokens:
            raise ValueError("the runner's context is shorter than the limit")
        self._model = model
        self._tokenizer = tokenizer
        self._compiler = compiler
        self._adapters = AdapterStore(read_adapter or _refuse_adapter, adapter_limits, self._forget_adapter)
        self._runner = runner
        self._clock = clock
        self._stand_in_s, self._unready_s, self._close_s = stand_in_s, unready_s, close_s
        mover = runner.mover
        self._page_bytes = mover.page_bytes if mover else 0
        pool = BlockPool(runner.pages_total, runner.page_tokens, mover.pages if mover else 0)
        replies = Replies(tokenizer, frozenset(eos_ids))
        self._scheduler = Scheduler(limits, pool, replies.begin, draw_seed)
        self._thread = EngineThread(
            self._scheduler, runner, clock, on_outputs=self._flush, on_death=self._bury
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._live: dict[str, Sequence] = {}
        self._of_tenant: Counter[str] = Counter()  # how many of them are whose
        self._asked: set[str] = set()  # live ids whose cancel is on its way
        self._refusal: EngineError | None = EngineError("model_loading", "The engine has not started.")
        self._buried = False
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def model(self) -> ModelInfo:
        return self._model

    @property
    def tokenizer(self) -> StreamingTokenizer:
        return self._tokenizer

    @property
    def adapters(self) -> AdapterStore:
        return self._adapters

    @property
    def ready(self) -> bool:
        return self._refusal is None and self._thread.stuck_s() < self._unready_s

    def kept(self, format: OutputFormat, salt: str = "") -> Grammar | None:
        return self._compiler.kept(format, salt) if self._compiler else None

    def compile(self, format: OutputFormat, salt: str = "") -> Grammar:
        if self._compiler is None:
            raise EngineError(
                "unsupported_parameter",
                f"Parameter '{format.param}' is not supported by this model: its tokens have no bytes of their own, "
                "or it has no token for the end.",
                param=format.param,
            )
        return self._compiler.compile(format, salt)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._loop is None, "an engine starts once"
        self._loop = loop
        self._refusal = None
        self._thread.begin(loop)

    def submit(self, request: EngineRequest, deliver: Deliver) -> None:
        if self._refusal is not None:
            raise self._refusal
        if request.id in self._live:
            raise ValueError(f"request {request.id} is live already")
        self._scheduler.limits.check(request, len(self._live), self._of_tenant[request.salt])
        sequence = self._scheduler.prepare(request, deliver, self._clock())
        if request.adapter is not None:
            sequence.deliver = self._adapters.lend(request.adapter, deliver)
        self._live[request.id] = sequence
        self._of_tenant[request.salt] += 1
        self._idle.clear()
        self._thread.put(lambda: self._scheduler.enter(sequence))
        if self._watch is None:
            self._look_again()

    def cancel(self, request_id: str) -> None:
        if request_id in self._live and request_id not in self._asked:
            self._asked.add(request_id)
            self._thread.put(lambda: self._scheduler.cancel(request_id))

    def commit(self, request_id: str, released: Items[int]) -> None:
        self._thread.put(lambda: self._scheduler.commit_reply(request_id, released, self._clock()))

    def prefill(self, draft: Draft) -> None:
        if self._refusal is not None:
            raise self._refusal
        sequence = self._scheduler.prepare_draft(draft, self._clock())
        self._thread.put_hint(lambda: self._scheduler.enter_draft(sequence))

    def forget(self, draft_id: str, salt: str = "") -> None:
        self._thread.put_hint(lambda: self._scheduler.end_draft(salt, draft_id))

    def stats(self) -> EngineStats:
        return replace(self._scheduler.stats(), page_bytes=self._page_bytes)

    async def drain(self, timeout_s: float) -> None:
        self._refuse("draining", "The engine takes no new requests.")
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            for request_id in list(self._live):
                self.cancel(request_id)
            await self._idle.wait()

    async def close(self) -> None:
        self._refuse("draining", "The engine takes no new requests.")
        closed, self._closed = self._closed, True
        if self._loop is None:
            if not closed:
                self._runner.close()
                self._adapters.close()
            return
        self._thread.put(None)
        await self._loop.run_in_executor(None, self._thread.join, self._close_s)
        self._flush()  # the last hop may still be on its way; it will find nothing
        if self._thread.is_alive():
            log.critical("engine_left_behind step_s=%.1f", self._thread.stuck_s())
            self._stand_in()
        if self._live:
            self._bury()
        if self._watch is not None:
            self._watch.cancel()
        self._adapters.close()

    def _forget_adapter(self, adapter: Adapter) -> None:
        def forget() -> None:
            self._scheduler.end_drafts_of(adapter)
            self._runner.forget_adapter(adapter)

        if not self._closed:  # else everything goes, and nobody may take the command any more
            self._thread.put(forget)

    def _refuse(self, code: str, message: str) -> None:
        self._refusal = EngineError(code, message)

    def _look_again(self) -> None:
        assert self._loop is not None
        self._watch = self._loop.call_later(self._stand_in_s / 4, self._look)

    def _look(self) -> None:
        """See that the engine's thread goes on, as long as it owes something."""
        self._watch = None
        if self._thread.stuck_s() >= self._stand_in_s:
            self._stand_in()
        if self._live:
            self._look_again()

    def _stand_in(self) -> None:
        self._thread.stand_in()
        self._flush()

    def _flush(self) -> None:
        for batch in self._thread.take():
            if not self._buried:
                self._hand_out(batch)
        if not self._live:
            self._idle.set()

    def _hand_out(self, batch: Batch) -> None:
        for sequence, output in batch:
            if type(output) is Finished:
                self._forget(sequence)
        hand_out(batch)

    def _forget(self, sequence: Sequence) -> None:
        request = sequence.request
        if self._live.pop(request.id, None):
            self._of_tenant[request.salt] -= 1
            if not self._of_tenant[request.salt]:
                del self._of_tenant[request.salt]
        self._asked.discard(request.id)

    def _bury(self) -> None:
        """The engine's thread died, or hangs, of a fault of ours: end what it owed, refuse what comes."""
        self._refuse("internal_error", "The engine has stopped.")
        self._flush()
        self._buried = True
        error = EngineError("internal_error", "The engine stopped while it served this request.")
        owed = [*self._live.values()]
        self._hand_out([(s, Finished(FinishReason.FAILED, Usage(), error=error)) for s in owed])
        self._idle.set()


def _refuse_adapter(name: str, folder: Path, limit_bytes: int, now: int) -> Adapter:
    raise AdapterError(name, "this model takes no adapters")
