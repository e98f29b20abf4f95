"""The engine around a runner: a thread that steps, and one hop a step to the event loop."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Set
from collections.abc import Sequence as Items
from queue import Empty, SimpleQueue
from typing import Final, Protocol, TypeAlias

from engine.batch import Runner
from engine.blocks import BlockPool
from engine.delivery import hand_out
from engine.detokenize import TextStream
from engine.grammar import Grammar, GrammarCompiler
from engine.interface import ChatTokenizer, EngineStats, ModelInfo
from engine.limits import Limits
from engine.reply import Reply, ShapedReply
from engine.request import (
    Deliver,
    Draft,
    EngineError,
    EngineRequest,
    Finished,
    FinishReason,
    Output,
    OutputFormat,
    Usage,
)
from engine.scheduler import Scheduler
from engine.scored_reply import ScoredReply
from engine.sequence import Sequence
from engine.shaping import shaping_of
from engine.stepper import Stepper

log = logging.getLogger(__name__)

STAND_IN_S: Final = 2.0
"""After a step has taken so long, cancels and time limits are seen to without it. Early is harmless: it changes
when they are answered, not what is computed."""
UNREADY_S: Final = 10.0  # a step of 512 tokens of the largest model that a CPU serves at all takes less
CLOSE_S: Final = 3.0  # most steps take less; of the time that container runtimes give, it leaves the most

Batch = list[tuple[Sequence, Output]]
Command: TypeAlias = Callable[[], None] | None
"""For the engine's thread: a call of its scheduler, or the end."""
MAX_COMMANDS: Final = 4096  # hints that come while so many commands wait are dropped: the engine hangs


class StreamingTokenizer(ChatTokenizer, Protocol):
    def stream(self) -> TextStream:
        """A fresh stream for one reply."""
        ...

    def named(self, token: int) -> tuple[str, bytes]:
        """What a token is called, and its text as bytes: none for a special token."""
        ...


class StepEngine:
    """An Engine over a Runner. Submissions and cancels go through an inbox, outputs come back a step at a
    time.

    The event loop's thread owns `_live`, `_asked` and the answers at the door; the engine's thread owns
    runner and scheduler, and the inbox's other end. It never waits for a consumer: what is undelivered is
    bounded by each request's max tokens. If a step hangs, the event loop takes scheduler and inbox meanwhile
    (see Stepper), so that every request still ends exactly once, by the scheduler's word.
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
        clock: Callable[[], float] = time.monotonic,
        draw_seed: Callable[[], int] = lambda: random.getrandbits(63),
        stand_in_s: float = STAND_IN_S,
        unready_s: float = UNREADY_S,
        close_s: float = CLOSE_S,
    ) -> None:
        if limits.context_tokens > runner.context_tokens:
            raise ValueError("the runner's context is shorter than the limit")
        eos_ids = frozenset(eos_ids)

        def reply_for(request: EngineRequest, max_output: int) -> Reply:
            stream, sampling = tokenizer.stream(), request.sampling
            grammar = request.grammar.follow() if isinstance(request.grammar, Grammar) else None
            shaping = shaping_of(sampling, request.prompt_ids, eos_ids, grammar)
            if shaping is None:
                return Reply(stream, sampling, max_output, eos_ids)
            if shaping.scores is None:
                return ShapedReply(stream, sampling, max_output, eos_ids, shaping)
            return ScoredReply(
                stream, sampling, max_output, eos_ids, shaping, shaping.scores, tokenizer.named
            )

        self._model = model
        self._tokenizer = tokenizer
        self._compiler = compiler
        self._runner = runner
        self._clock = clock
        self._stand_in_s, self._unready_s, self._close_s = stand_in_s, unready_s, close_s
        pool = BlockPool(runner.pages_total, runner.page_tokens)
        self._scheduler = Scheduler(limits, pool, reply_for, draw_seed)
        self._stepper = Stepper(self._scheduler, runner, clock)
        # Bounded by `_live` and by those that have just ended.
        self._inbox: SimpleQueue[Command] = SimpleQueue()
        self._outbox: deque[Batch] = deque()
        self._hop_pending = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._live: dict[str, Sequence] = {}
        self._asked: set[str] = set()  # live ids whose cancel is on its way
        self._refusal: EngineError | None = EngineError("model_loading", "The engine has not started.")
        self._ending = False  # the inbox's end has been read
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
    def ready(self) -> bool:
        return self._refusal is None and self._stepper.stuck_s() < self._unready_s

    def compile(self, format: OutputFormat) -> Grammar:
        if self._compiler is None:
            raise EngineError(
                "unsupported_parameter",
                f"Parameter '{format.param}' is not supported by this model: its tokens have no bytes of their own, "
                "or it has no token for the end.",
                param=format.param,
            )
        return self._compiler.compile(format)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._thread is None, "an engine starts once"
        self._loop = loop
        self._refusal = None
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: EngineRequest, deliver: Deliver) -> None:
        if self._refusal is not None:
            raise self._refusal
        if request.id in self._live:
            raise ValueError(f"request {request.id} is live already")
        self._scheduler.limits.check(request, len(self._live))
        sequence = self._scheduler.prepare(request, deliver, self._clock())
        self._live[request.id] = sequence
        self._idle.clear()
        self._inbox.put(lambda: self._scheduler.enter(sequence))
        if self._watch is None:
            self._look_again()

    def cancel(self, request_id: str) -> None:
        if request_id in self._live and request_id not in self._asked:
            self._asked.add(request_id)
            self._inbox.put(lambda: self._scheduler.cancel(request_id))

    def commit(self, request_id: str, released: Items[int]) -> None:
        self._inbox.put(lambda: self._scheduler.commit_reply(request_id, released, self._clock()))

    def prefill(self, draft: Draft) -> None:
        if self._refusal is not None:
            raise self._refusal
        sequence = self._scheduler.prepare_draft(draft, self._clock())
        if self._inbox.qsize() < MAX_COMMANDS:
            self._inbox.put(lambda: self._scheduler.enter_draft(sequence))

    def forget(self, draft_id: str, salt: str = "") -> None:
        if self._inbox.qsize() < MAX_COMMANDS:
            self._inbox.put(lambda: self._scheduler.end_draft(salt, draft_id))

    def stats(self) -> EngineStats:
        return self._scheduler.stats()

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
        if self._thread is None:
            if not self._closed:
                self._runner.close()
            self._closed = True
            return
        assert self._loop is not None
        self._inbox.put(None)
        await self._loop.run_in_executor(None, self._thread.join, self._close_s)
        self._flush()  # the last hop may still be on its way; it will find nothing
        if self._thread.is_alive():
            log.critical("engine_left_behind step_s=%.1f", self._stepper.stuck_s())
            self._stand_in()
        if self._live:
            self._bury()
        if self._watch is not None:
            self._watch.cancel()

    def _refuse(self, code: str, message: str) -> None:
        self._refusal = EngineError(code, message)

    def _look_again(self) -> None:
        assert self._loop is not None
        self._watch = self._loop.call_later(self._stand_in_s / 4, self._look)

    def _look(self) -> None:
        """See that the engine's thread goes on, as long as it owes something."""
        self._watch = None
        if self._stepper.stuck_s() >= self._stand_in_s:
            self._stand_in()
        if self._live:
            self._look_again()

    def _stand_in(self) -> None:
        """Do what the engine's thread would do between two steps, but for the steps."""
        with self._stepper.stand_in() as ours:
            if ours:
                while not self._inbox.empty():
                    self._obey(self._inbox.get_nowait())
                self._scheduler.end_overdue(self._clock())
                if self._ending:
                    self._scheduler.cancel_all()
                self._outbox.append(self._scheduler.outputs)
                self._scheduler.outputs = []
        self._flush()

    def _flush(self) -> None:
        self._hop_pending = False  # before the look into the outbox: what comes after it asks for a new hop
        if self._buried:
            self._outbox.clear()
        while self._outbox:
            batch = self._outbox.popleft()
            for sequence, output in batch:
                if type(output) is Finished:
                    self._live.pop(sequence.request.id, None)
                    self._asked.discard(sequence.request.id)
            hand_out(batch)
        if not self._live:
            self._idle.set()

    def _bury(self) -> None:
        """The engine's thread died, or hangs, of a fault of ours: end what it owed, refuse what comes."""
        self._refuse("internal_error", "The engine has stopped.")
        self._flush()
        error = EngineError("internal_error", "The engine stopped while it served this request.")
        owed = [*self._live.values()]
        self._outbox.append([(s, Finished(FinishReason.FAILED, Usage(), error=error)) for s in owed])
        self._flush()
        self._buried = True

    def _serve(self) -> None:
        try:
            while self._take_commands():
                self._stepper.step()
                self._post()
            self._scheduler.cancel_all()
            self._post()
        except Exception:
            log.critical("engine_stopped", exc_info=True)
            self._hop(self._bury)
        finally:
            self._runner.close()

    def _take_commands(self) -> bool:
        """Take what has come, or wait for something if there is no work. False at the end."""
        while not self._ending:
            try:
                self._obey(self._inbox.get(timeout=self._patience_s()))
            except Empty:
                return True
        return False

    def _obey(self, command: Command) -> None:
        if command is None:
            self._ending = True
        else:
            command()

    def _patience_s(self) -> float | None:
        """How long to wait for the next command: not at all with work or outputs at hand."""
        if self._scheduler.busy or self._scheduler.outputs:
            return 0.0
        due = self._scheduler.next_deadline
        return None if due == math.inf else max(0.0, due - self._clock())

    def _post(self) -> None:
        if outputs := self._scheduler.outputs:
            self._scheduler.outputs = []
            self._outbox.append(outputs)
            if not self._hop_pending:
                self._hop_pending = True
                self._hop(self._flush)

    def _hop(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed, and whoever waited on it is gone
            log.warning("event_loop_closed undelivered=%d", len(self._outbox))
