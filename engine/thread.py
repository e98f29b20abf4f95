"""The thread that steps. Commands come to it through an inbox; what it has to say waits in an outbox."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from engine.batch import Runner
from engine.request import Output
from engine.scheduler import Scheduler
from engine.sequence import Sequence
from engine.stepper import Stepper

log = logging.getLogger(__name__)

Batch: TypeAlias = list[tuple[Sequence, Output]]
Command: TypeAlias = Callable[[], None] | None
"""For the engine's thread: a call of its scheduler, or the end."""
MAX_COMMANDS: Final = 4096  # hints that come while so many commands wait are dropped: the engine hangs


class EngineThread(threading.Thread):
    """Owns runner and scheduler, and the inbox's other end; all else here is for the event loop's thread.

    `on_outputs` is called on the event loop once a step, to `take` them, and `on_death` if the thread dies of a fault
    of ours. If a step hangs the event loop may `stand_in` (see Stepper).
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        clock: Callable[[], float],
        *,
        on_outputs: Callable[[], None],
        on_death: Callable[[], None],
    ) -> None:
        super().__init__(name="engine", daemon=True)
        self._scheduler = scheduler
        self._runner = runner
        self._clock = clock
        self._on_outputs, self._on_death = on_outputs, on_death
        self._stepper = Stepper(scheduler, runner, clock)
        # Bounded by the live requests and by those that have just ended.
        self._inbox: SimpleQueue[Command] = SimpleQueue()
        self._outbox: deque[Batch] = deque()
        self._hop_pending = False
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._ending = False  # the inbox's end has been read

    def begin(self, event_loop: asyncio.AbstractEventLoop) -> None:
        self._event_loop = event_loop
        self.start()

    def put(self, command: Command) -> None:
        self._inbox.put(command)

    def put_hint(self, command: Command) -> None:
        """The same for a command that may be dropped."""
        if self._inbox.qsize() < MAX_COMMANDS:
            self._inbox.put(command)

    def take(self) -> Iterator[Batch]:
        """All that is in the outbox."""
        self._hop_pending = False  # before the look into the outbox: what comes after it asks for a new hop
        while self._outbox:
            yield self._outbox.popleft()

    def stuck_s(self) -> float:
        """How long the step that is being computed takes already."""
        return self._stepper.stuck_s()

    def stand_in(self) -> None:
        """Do what this thread would do between two steps, but for the steps."""
        with self._stepper.stand_in() as ours:
            if ours:
                while not self._inbox.empty():
                    self._obey(self._inbox.get_nowait())
                self._scheduler.end_overdue(self._clock())
                if self._ending:
                    self._scheduler.cancel_all()
                self._outbox.append(self._scheduler.outputs)
                self._scheduler.outputs = []

    def run(self) -> None:
        try:
            while self._take_commands():
                self._stepper.step()
                self._post()
            self._scheduler.cancel_all()
            self._stepper.end_moves()
            self._post()
        except BaseException:  # whatever it is, who waits for a reply must hear of it
            log.critical("engine_stopped", exc_info=True)
            self._hop(self._on_death)
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
        if self._stepper.busy or self._scheduler.outputs:
            return 0.0
        due = self._scheduler.next_deadline
        return None if due == math.inf else max(0.0, due - self._clock())

    def _post(self) -> None:
        if outputs := self._scheduler.outputs:
            self._scheduler.outputs = []
            self._outbox.append(outputs)
            if not self._hop_pending:
                self._hop_pending = True
                self._hop(self._on_outputs)

    def _hop(self, call: Callable[[], None]) -> None:
        assert self._event_loop is not None
        try:
            self._event_loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed, and whoever waited on it is gone
            log.warning("event_loop_closed undelivered=%d", len(self._outbox))
