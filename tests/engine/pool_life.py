"""A scheduler that is stepped as its engine's thread does, by tenants who do anything at any time."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TypeAlias

from engine.adapters.adapter import Adapter
from engine.batch import Row
from engine.blocks import BlockPool
from engine.detokenize import ByteStream, TokenTexts
from engine.limits import Limits
from engine.reply import Reply
from engine.request import Draft, EngineError, EngineRequest, Finished, Output, Sampling, Started
from engine.scheduler import Scheduler
from engine.sequence import Sequence
from engine.stepper import Stepper
from tests.engine.guessing import Guessing
from tests.engine.pages_in_place import check_content, check_places
from tests.engine.written_runner import EOS, Written, WrittenRunner, reply_to, surely

Talk: TypeAlias = tuple[str, Adapter | None, list[int]]
SALTS = "xy"
DRAFTS = "de"


class Life:
    """Everything of it, sizes too, comes out of the seed."""

    def __init__(self, seed: int, host: bool) -> None:
        self.chance = chance = random.Random(seed)
        page, needed = chance.choice([1, 2, 4, 8]), chance.randint(2, 8)
        pages = needed + chance.choice([0, 1, needed, 3 * needed])
        self.context = context = page * needed - chance.randrange(page)
        guesses, ahead = chance.choice([(0, 0), (0, 2), (4, 0)])
        host_pages = chance.choice([1, needed, 4 * pages]) if host else 0
        self.runner = WrittenRunner(pages, page, context, host_pages, ahead, chance)
        self.runner.written = self.written
        self.runner.meanwhile = self.stand_in
        self.runner.fails = chance.choice([0.0, 0.0, 0.01])
        if self.runner.mover is not None:
            self.runner.mover.meanwhile = self.stand_in
            self.runner.mover.fails = chance.choice([0.0, 0.1])
        limits = Limits(
            context,
            max_running=chance.randint(1, 6),
            max_waiting=chance.randint(1, 8),
            step_tokens=chance.choice([1, 2, 5, 12, 40]),
            partial_prefills=chance.randint(1, 3),
            guesses=guesses,
            ahead=ahead,
            pin_s=chance.choice([1.0, 40.0]),
            patience_s=2.0,
            max_drafts=chance.randint(1, 3),
        )
        self.scheduler = Scheduler(
            limits, BlockPool(pages, page, host_pages), _reply, lambda: chance.getrandbits(9)
        )
        if guesses:
            self.scheduler.speculation = Guessing(
                chance, 0.6, lambda sequence, ids, count: reply_to(ids, count)
            )
        self.stepper = Stepper(self.scheduler, self.runner, lambda: self.now)
        self.now = 0.0
        self.number = 0
        self.stands_in = chance.choice([0.0, 0.05, 0.5])
        self.adapters = [self.load() for _ in range(2)]
        self.talks: list[Talk] = [(salt, None, []) for salt in SALTS for _ in range(2)]
        self.talks += [(chance.choice(SALTS), adapter, []) for adapter in self.adapters]
        self.open: dict[str, tuple[Sequence, Talk]] = {}
        self.said: dict[str, list[int]] = {}  # ended replies, and what was released of them
        self.cached = self.stood_in = 0

    def act(self) -> None:
        if self.chance.random() < 0.6:
            self.step()
        else:
            self.command()
        self.hand_out()
        self.check()

    def step(self) -> None:
        self.now += self.chance.choice([0.0, 0.01, 0.5])
        self.stepper.step()
        self.hand_out()
        assert self.scheduler.busy or not self.scheduler.live, "else nobody would step again"

    def finish(self) -> None:
        """Nobody asks for anything more: everything ends well, or the engine is closed at once."""
        self.runner.fails = self.stands_in = 0.0
        if self.runner.mover is not None:
            self.runner.mover.fails = 0.0
        if self.chance.random() < 0.7:
            for _ in range(2000):
                if not self.stepper.busy:
                    break
                self.step()
            assert not self.open
            assert not self.scheduler.pool.used
        self.scheduler.cancel_all()
        self.stepper.end_moves()
        self.hand_out()
        assert not self.open
        self.check()
        pool = self.scheduler.pool
        assert (pool.used, pool.available) == (0, pool.pages_total)
        pool.expire(self.now + 50.0)
        assert (pool.pinned, len(pool._pins)) == (0, 0)
        self.check()
        everything = pool.open([9], pool.pages_total * pool.page_tokens, "z")
        assert everything is not None
        assert not pool.available

    def seen(self) -> dict[str, int]:
        """How often what has happened."""
        pool, ledger, mover = self.scheduler.pool, self.scheduler.ledger, self.runner.mover
        return {
            "cached": self.cached,
            "stood in": self.stood_in,
            "evictions": pool.evictions,
            "moved out": pool.moved_out,
            "moved back": pool.moved_back,
            "moves failed": mover.failures if mover else 0,
            "guessed": ledger.guessed_tokens,
            "accepted": ledger.accepted_tokens,
            "preempted": self.scheduler.stats().preemptions,
            **{f"finished: {reason}": count for reason, count in ledger.finished.items()},
        }

    def check(self) -> None:
        check_places(self.scheduler)
        check_content(self.scheduler, self.runner)

    def written(self, row: Row) -> Written:
        """What a row's sequence consists of. Steps that failed are computed again row by row, when some have ended."""
        scheduler = self.scheduler
        for sequence in [*scheduler._live.values(), *scheduler._drafts._todo.values()]:
            if sequence.lease is not None and sequence.lease.pages is row.pages:
                request = sequence.request
                salt = f"{request.salt}\n{request.adapter.identity}" if request.adapter else request.salt
                return [(salt, token) for token in [*sequence.prompt, *sequence.tokens]]
        raise AssertionError("a row is somebody's")

    def stand_in(self) -> None:
        """What the event loop does while a step takes long."""
        if self.chance.random() >= self.stands_in:
            return
        with self.stepper.stand_in() as ours, surely():
            if ours:
                self.stood_in += 1
                for _ in range(self.chance.randrange(5)):
                    self.command()
                    self.hand_out()
                self.scheduler.end_overdue(self.now)
                self.hand_out()
                check_places(self.scheduler)

    def command(self) -> None:
        chance, scheduler = self.chance, self.scheduler
        match chance.choice(
            ["submit"] * 4 + ["commit"] * 4 + ["draft", "draft", "forget", "cancel", "cancel", "unload"]
        ):
            case "submit":
                with suppress(EngineError):
                    self.submit()
            case "commit" if self.said:
                id = list(self.said)[chance.choice([-1, -1, chance.randrange(len(self.said))])]
                scheduler.commit_reply(id, self.said.pop(id), self.now)
            case "cancel" if self.open:
                scheduler.cancel(chance.choice(list(self.open)))
            case "draft":
                salt, adapter, ids = chance.choice(self.talks)
                typed = [*ids, *self.words()][: self.context]
                draft = Draft(chance.choice(DRAFTS), typed, salt, adapter)
                scheduler.enter_draft(scheduler.prepare_draft(draft, self.now))
            case "forget":
                scheduler.end_draft(chance.choice(SALTS), chance.choice(DRAFTS))
            case "unload" if chance.random() < 0.2:
                self.unload()

    def load(self) -> Adapter:
        self.number += 1
        return Adapter(f"a{self.number}", f"identity {self.number}", 1, 1, 0)

    def unload(self) -> None:
        """Another one takes its place."""
        place = self.chance.randrange(len(self.adapters))
        older, newer = self.adapters[place], self.load()
        self.adapters[place] = newer
        self.scheduler.end_drafts_of(older)
        self.talks = [(salt, newer if used is older else used, ids) for salt, used, ids in self.talks]

    def submit(self) -> None:
        chance, scheduler = self.chance, self.scheduler
        talk = salt, adapter, ids = chance.choice(self.talks)
        if len(ids) > self.context - 2 or chance.random() < 0.3:
            ids[chance.randrange(len(ids) + 1) :] = []  # again, from somewhere
        self.number += 1
        request = EngineRequest(
            f"r{self.number}",
            [*ids, *self.words()][: self.context - 1],
            "",
            Sampling(max_tokens=chance.randint(0, self.context), ignore_eos=chance.random() < 0.8),
            salt,
            chance.choice(["", "s", "t"]),
            chance.choice([0.5, 1.0, 2.0]),
            chance.choice(["auto", "flex", "priority"]),
            prefill_only=chance.random() < 0.1,
            draft=chance.choice([None, *DRAFTS]),
            first_token_timeout_s=chance.choice([None, 5.0]),
            total_timeout_s=chance.choice([None, 9.0]),
            adapter=adapter,
        )
        scheduler.limits.check(request, scheduler.live, scheduler.live_of(salt))
        sequence = scheduler.prepare(request, lambda output: self.hear(request.id, output), self.now)
        self.open[request.id] = sequence, talk
        scheduler.enter(sequence)

    def words(self) -> list[int]:
        length = self.chance.choice([1, 1, 2, self.context])
        return [int(self.chance.random() < 0.2) for _ in range(self.chance.randint(1, length))]

    def hand_out(self) -> None:
        outputs, self.scheduler.outputs = self.scheduler.outputs, []
        for sequence, output in outputs:
            sequence.deliver(output)

    def hear(self, id: str, output: Output) -> None:
        if isinstance(output, Started):
            self.cached += output.cached_tokens
        elif isinstance(output, Finished):
            self.end(id, output)

    def end(self, id: str, finished: Finished) -> None:
        """The reply is what it should be; some of it, or all, is released, and the talk goes on from there."""
        sequence, (_, _, ids) = self.open.pop(id)
        prompt, said = list(sequence.prompt), list(finished.token_ids)
        assert said == reply_to(prompt, len(said))
        assert said == sequence.tokens
        self.said[id] = said[: self.chance.choice([len(said), self.chance.randint(0, len(said))])]
        ids[:] = [*prompt, *self.said[id]]


def _reply(request: EngineRequest, max_output: int) -> Reply:
    return Reply(ByteStream(TokenTexts(lambda token: b"a")), request.sampling, max_output, {EOS})
