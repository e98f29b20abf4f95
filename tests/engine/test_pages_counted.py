"""Ten thousand random actions: every page is in its place after each, and every reply is what it would be alone."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from engine.request import Draft, EngineError, Finished
from tests.engine.guessing import Guessing
from tests.engine.paged_runner import expected
from tests.engine.test_scheduler import ENDLESS, Bench

ACTIONS = 10_000


class Life:
    def __init__(self, host_pages: int) -> None:
        self.chance = random.Random(3)
        self.bench = Bench(24, 48, host_pages, step_tokens=16, max_running=5, max_waiting=8, pin_s=40.0)
        if self.bench.runner.mover is not None:
            self.bench.runner.mover.lands = lambda: self.chance.random() < 0.4
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
        self.bench.pool.land(self.bench.carrier.ended())
        step = scheduler.plan(self.bench.now)
        if not step:
            return
        scheduler.depart()
        if step.moves:
            self.bench.carrier.send(step.moves)
        for _, copy in step.copies:
            runner.copy_page(*copy)
        results = runner.step(step.rows) if step.rows else []
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
        holders.update(page for batch in pool._transit._sent for pages in batch.held for page in pages)
        assert pool._pages.holders == [holders[page] for page in range(pool.pages_total)]
        places = [*holders, *pool._pages.free, *pool._pages.idle, *pool._pages.pinned]
        assert sorted(places) == list(range(pool.pages_total))
        self.check_host()
        assert len(scheduler._ended) <= 2 * scheduler.limits.max_running

    def check_host(self) -> None:
        """Each of the host's pages is in one place, and the known pages on the device are closed under ancestors."""
        pool = self.bench.pool
        host = pool.host
        places = [*host._free, *host._loose, *host._pinned, *host._ended]
        assert sorted(places) == list(range(host.total))
        for root in pool._tree._roots.values():
            for node in root.below():
                if node is not root:
                    assert (node.page >= 0) != (node.host >= 0)
                    assert node.parent is root or node.page < 0 or node.parent.page >= 0


@pytest.mark.parametrize("host_pages", [0, 20])
def test_no_page_is_lost_or_shared_wrongly(host_pages: int) -> None:
    life = Life(host_pages)
    for number in range(ACTIONS):
        life.act(number)
        life.check()
    assert life.cached > ACTIONS / 2, "the cache was of use"
    assert life.bench.pool.evictions > ACTIONS / 10, "and was full"
    ledger = life.bench.scheduler.ledger
    assert ACTIONS / 10 < ledger.accepted_tokens < 0.8 * ledger.guessed_tokens, "guesses were right and wrong"
    assert min(life.bench.scheduler.ledger.finished.values()) > 10, "replies ended in every way"
    life.bench.scheduler.cancel_all()
    life.bench.carrier.wait()
    life.bench.pool.land(life.bench.carrier.ended())
    life.check()
    assert life.bench.pool.used == 0
    if host_pages:
        assert min(life.bench.pool.moved_out, life.bench.pool.moved_back) > ACTIONS / 10, "pages came back"
