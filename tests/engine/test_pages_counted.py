"""Ten thousand random actions: every page is in its place after each, and every reply is what it would be alone."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace

from engine.request import Draft, EngineError, Finished
from tests.engine.guessing import Guessing
from tests.engine.paged_runner import expected
from tests.engine.test_scheduler import ENDLESS, Bench

ACTIONS = 10_000


class Life:
    def __init__(self) -> None:
        self.chance = random.Random(3)
        self.bench = Bench(pages=24, context=48, step_tokens=16, max_running=5, max_waiting=8, pin_s=40.0)
        self.bench.scheduler.speculation = Guessing(self.chance)
        self.bench.runner.row_fault = lambda row: ValueError() if self.chance.random() < 0.01 else None
        self.talks: list[tuple[str, list[int]]] = [(salt, []) for salt in "xyz" for _ in range(3)]
        self.open: dict[str, int] = {}  # live ids, and the talk that each goes on with
        self.cached = 0

    def act(self, number: int) -> None:
        chance, scheduler = self.chance, self.bench.scheduler
        match chance.choice(["submit", "step", "step", "step", "cancel", "draft", "forget", "wait"]):
            case "submit":
                with suppress(EngineError):
                    self.submit(number)
            case "cancel" if self.open and chance.random() < 0.3:
                scheduler.cancel(chance.choice(list(self.open)))
            case "draft":
                salt, ids = chance.choice(self.talks)
                typed = [*ids[:30], *(chance.randrange(1, 4) for _ in range(chance.randrange(1, 12)))]
                draft = Draft(chance.choice("de"), typed, salt)
                scheduler.enter_draft(scheduler.prepare_draft(draft, self.bench.now))
            case "forget":
                scheduler.end_draft(chance.choice("xyz"), chance.choice("de"))
            case "wait":
                self.bench.now += chance.random()
            case _:
                self.step()
        self.bench.hand_out()
        for id in [id for id in self.open if self.ended(id)]:
            self.end(id)

    def submit(self, number: int) -> None:
        chance = self.chance
        index = chance.randrange(len(self.talks))
        salt, ids = self.talks[index]
        if len(ids) > 36:
            ids.clear()
        prompt = [*ids, *(chance.randrange(1, 4) for _ in range(chance.randrange(1, 10)))]
        self.bench.submit(
            f"r{number}",
            prompt,
            replace(ENDLESS, max_tokens=chance.randrange(1, 12)),
            salt=salt,
            session=chance.choice(["", f"s{index}"]),
            service_tier=chance.choice(["auto", "default", "flex", "priority"]),
            prefill_only=chance.random() < 0.1,
            draft=chance.choice([None, "d", "e"]),
            total_timeout_s=chance.choice([None, 3.0]),
        )
        self.open[f"r{number}"] = index

    def step(self) -> None:
        """A step, in which something may end while it is computed."""
        scheduler, runner = self.bench.scheduler, self.bench.runner
        step = scheduler.plan(self.bench.now)
        if not step.rows:
            return
        scheduler.depart()
        for _, copy in step.copies:
            runner.copy_page(*copy)
        results = runner.step(step.rows)
        if self.open and self.chance.random() < 0.05:
            scheduler.cancel(self.chance.choice(list(self.open)))
        if self.chance.random() < 0.05:
            scheduler.end_draft(self.chance.choice("xyz"), self.chance.choice("de"))
        scheduler.commit(step, results, self.bench.now)

    def ended(self, id: str) -> bool:
        return bool(self.bench.heard[id]) and isinstance(self.bench.heard[id][-1], Finished)

    def end(self, id: str) -> None:
        """Check the reply and release a part of it, or all; the talk goes on from there."""
        index = self.open.pop(id)
        finished, sequence = self.bench.end(id), self.bench.sequences.pop(id)
        prompt, said = list(sequence.prompt), list(finished.token_ids)
        assert said == expected(prompt, len(said))
        self.cached += finished.usage.cached
        released = said[: self.chance.choice([len(said), self.chance.randint(0, len(said))])]
        if self.chance.random() < 0.8:
            self.bench.scheduler.commit_reply(id, released, self.bench.now)
        self.talks[index][1][:] = [*prompt, *released]
        del self.bench.heard[id]

    def check(self) -> None:
        pool, scheduler = self.bench.pool, self.bench.scheduler
        holders = Counter(
            page
            for sequence in [*scheduler._live.values(), *scheduler._drafts._todo.values()]
            if sequence.lease is not None
            for page in sequence.lease.pages
        )
        assert pool._holders == [holders[page] for page in range(pool.pages_total)]
        places = [*holders, *pool._free, *pool._idle, *pool._pinned]
        assert sorted(places) == list(range(pool.pages_total))
        assert len(scheduler._ended) <= 2 * scheduler.limits.max_running


def test_no_page_is_lost_or_shared_wrongly() -> None:
    life = Life()
    for number in range(ACTIONS):
        life.act(number)
        life.check()
    assert life.cached > ACTIONS / 2, "the cache was of use"
    assert life.bench.pool.evictions > ACTIONS / 10, "and was full"
    ledger = life.bench.scheduler.ledger
    assert ACTIONS / 10 < ledger.accepted_tokens < 0.8 * ledger.guessed_tokens, "guesses were right and wrong"
    assert min(life.bench.scheduler.ledger.finished.values()) > 10, "replies ended in every way"
    life.bench.scheduler.cancel_all()
    life.check()
    assert life.bench.pool.used == 0
