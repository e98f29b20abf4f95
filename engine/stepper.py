"""One step after the other, and what can be done for the requests while a step does not end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.batch import DeviceLost, Result, Row, Runner
from engine.budget import Budget
from engine.carrier import Carrier
from engine.scheduler import Scheduler
from engine.sequence import Phase
from engine.step import Step

log = logging.getLogger(__name__)


class Stepper:
    """Plans, computes and commits steps on the engine's thread, which owns the scheduler but for one case.

    A device that hangs cannot be interrupted. So while a step is computed, and only then, another thread may take
    the scheduler by `stand_in`, to end requests; their pages stay taken until the step is back.
    """

    def __init__(self, scheduler: Scheduler, runner: Runner, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._clock = clock
        self._carrier = Carrier(runner.mover)
        self._budget = Budget(scheduler.limits.gap_s)
        self._turn = threading.Lock()  # guards `_began`: who sees it set and holds this may use the scheduler
        self._began: float | None = None  # when the step that is being computed began

    def step(self) -> None:
        """Compute the next step, if there is anything to compute."""
        with self._turn:
            self._scheduler.pool.land(self._carrier.ended())
            step = self._scheduler.plan(self._clock(), budget=self._budget)
            if step:
                self._scheduler.depart()
                began = self._began = self._clock()
        if not step:
            self._wait_for_moves()  # there is nothing else to do
            return
        self._copy_pages(step)  # first: another's content may come to where one is copied from
        self._move_pages(step)
        decodes, prefills = step.counts()
        results = self._compute(step.rows) if step.rows else []
        with self._turn:
            self._began = None
            now = self._clock()
            if step.rows:
                self._learn(step, decodes, prefills, now - began)
            self._scheduler.commit(step, results, now)

    @property
    def busy(self) -> bool:
        """Whether `step` has something to do now; deadlines are no matter of this."""
        return self._scheduler.busy or bool(self._carrier)

    def end_moves(self) -> None:
        """Wait for pages that are on their way, so that they are given back."""
        self._carrier.wait()
        self._scheduler.pool.land(self._carrier.ended())

    def stuck_s(self) -> float:
        """How long the step that is being computed takes already."""
        began = self._began
        return 0.0 if began is None else self._clock() - began

    @contextmanager
    def stand_in(self) -> Iterator[bool]:
        """For another thread: whether it may use the scheduler within the context. Never waits."""
        if not self._turn.acquire(blocking=False):
            yield False
            return
        try:
            yield self._began is not None
        finally:
            self._turn.release()

    def _wait_for_moves(self) -> None:
        if not self._carrier:
            return
        with self._turn:
            self._scheduler.depart()
            self._began = self._clock()
        self._carrier.wait()
        with self._turn:
            self._began = None
            self._scheduler.pool.arrive()
            self._scheduler.pool.land(self._carrier.ended())  # somebody may wait for nothing but their pages

    def _learn(self, step: Step, decodes: int, prefills: int, took_s: float) -> None:
        self._budget.learn(decodes, prefills, took_s)
        if not prefills:
            self._scheduler.speculation.learn(step.tokens, took_s)

    def _move_pages(self, step: Step) -> None:
        """Before any row of the step is computed."""
        if not step.moves:
            return
        try:
            self._carrier.send(step.moves)
        except Exception as error:
            log.exception("moving_pages_failed")
            with self._turn:
                self._scheduler.lose_moves(error)
            step.drop_ended()

    def _copy_pages(self, step: Step) -> None:
        if not step.copies:
            return
        for sequence, (source, target) in step.copies:
            try:
                self._runner.copy_page(source, target)
            except Exception as error:
                log.exception("copy_page_failed id=%s", sequence.request.id)
                with self._turn:
                    if sequence.phase is not Phase.DONE:
                        self._scheduler.fail(sequence, error)
        step.drop_ended()

    def _compute(self, rows: list[Row]) -> list[Result]:
        """The step's results. If all of it fails, each row alone: a bad one does not harm the others.

        Raises DeviceLost, with which the engine ends: it would fail all that comes, and say that it is ready.
        """
        try:
            return self._runner.step(rows)
        except DeviceLost:
            raise
        except Exception as error:
            log.exception("step_failed rows=%d", len(rows))
            return [error] if len(rows) == 1 else [self._compute([row])[0] for row in rows]
