"""Pages: counted exactly, found by exact tokens of the same salt, evicted leaves first."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.blocks import BlockPool
from engine.carrier import Carrier
from engine.lease import Lease, Left, Opened
from tests.engine.late_mover import LateMover

PAGE = 4


def pool_of(pages: int) -> BlockPool:
    return BlockPool(pages, PAGE)


def opened(pool: BlockPool, prompt: list[int], salt: str = "", extra: int = 0) -> Opened:
    found = pool.open(prompt, len(prompt) + extra, salt)
    assert found is not None
    return found


def serve(pool: BlockPool, prompt: list[int], salt: str = "") -> int:
    """A whole life of a request; the tokens that were cached."""
    found = opened(pool, prompt, salt)
    pool.enter(found.lease, prompt, len(prompt))
    pool.close(found.lease)
    return found.cached_tokens


def warm_up(pool: BlockPool, prompt: list[int], until: float, salt: str = "", key: str = "") -> None:
    found = opened(pool, prompt, salt)
    pool.enter_all(found.lease, prompt)
    pool.pin(found.lease, (salt, key or repr(prompt)), until)
    pool.close(found.lease)


def test_a_pool_needs_pages_and_tokens() -> None:
    for pages, tokens in ((0, 4), (4, 0)):
        with pytest.raises(ValueError, match="at least one"):
            BlockPool(pages, tokens)


def test_a_prompt_takes_its_pages_and_gives_them_back() -> None:
    pool = pool_of(8)
    found = opened(pool, list(range(9)))
    assert (len(found.lease.pages), found.cached_tokens, found.copy) == (3, 0, None)
    assert (pool.used, pool.available) == (3, 5)
    pool.close(found.lease)
    assert (pool.used, pool.cached) == (0, 0)


def test_only_full_pages_of_what_was_computed_become_known() -> None:
    pool = pool_of(8)
    prompt = list(range(11))
    found = opened(pool, prompt)
    pool.enter(found.lease, prompt, 7)
    assert found.lease.known == 1
    pool.enter(found.lease, prompt, 11)
    assert found.lease.known == 2
    pool.close(found.lease)
    assert pool.cached == 2
    assert opened(pool, prompt).cached_tokens == 8


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    pool = pool_of(8)
    prompt = list(range(8))
    assert serve(pool, prompt) == 0
    again = opened(pool, prompt)
    assert again.cached_tokens == 7, "one page whole, three tokens of the second by a copy"
    assert again.copy is not None
    source, target = again.copy
    assert target == again.lease.pages[1] != source
    assert serve(pool, [*prompt, 99]) == 8


def left_behind(pool: BlockPool, prompt: list[int], reply: list[int]) -> Left:
    """A whole life of a request that replied."""
    found = opened(pool, prompt)
    assert pool.grow(found.lease, len(prompt) + len(reply))
    pool.enter(found.lease, prompt, len(prompt) + len(reply))
    return pool.leave(found.lease)


def test_what_was_left_is_not_found_until_it_is_entered() -> None:
    pool = pool_of(8)
    prompt, reply = [1, 2, 3, 4, 5], list(range(10, 20))
    left = left_behind(pool, prompt, reply)
    assert (pool.used, pool.cached) == (0, 4), "it may come back, and is in nobody's way"
    assert opened(pool, prompt + reply).cached_tokens == 4
    lease = pool.claim(left)
    assert (len(lease.pages), lease.known) == (4, 1)
    pool.enter_all(lease, [*prompt, *reply[:5]])
    pool.close(lease)
    assert opened(pool, [*prompt, *reply, 9]).cached_tokens == 10, "the partial page too, and no more"


def test_pages_that_were_taken_meanwhile_are_not_claimed() -> None:
    pool = pool_of(6)
    left = left_behind(pool, [1, 2, 3, 4, 5], list(range(10, 20)))
    held = opened(pool, [7] * 16)  # two free pages, then the last two that were left
    assert len(pool.claim(left).pages) == 2
    pool.close(held.lease)


def test_pages_that_are_claimed_twice_are_shared() -> None:
    pool = pool_of(6)
    left = left_behind(pool, [1, 2, 3, 4, 5], [6, 7, 8])
    first, second = pool.claim(left), pool.claim(left)
    assert first.pages == second.pages
    for lease in (first, second):
        pool.enter_all(lease, [1, 2, 3, 4, 5, 6, 7, 8])
        pool.close(lease)
    assert (pool.used, pool.cached) == (0, 2)


def test_a_reply_that_is_claimed_before_its_step_is_back_goes_leaves_first_too() -> None:
    pool, prompt, reply = pool_of(8), [1, 2, 3, 4], list(range(5, 14))
    lease = pool.claim(left_behind(pool, prompt, reply[:4]))
    pool.enter_all(lease, [*prompt, *reply[:4]])
    pool.close(lease)
    again = opened(pool, prompt).lease
    assert pool.grow(again, 13)
    pool.enter(again, prompt, 4)
    pool.depart()
    lease = pool.claim(pool.leave(again))
    pool.enter_all(lease, [*prompt, *reply[:8]])  # its second page is the first reply's from now on
    pool.close(lease)
    pool.arrive()
    for taken, known in ((5, 3), (6, 2), (7, 1), (8, 0)):
        pool.close(opened(pool, [99] * PAGE * taken).lease)
        assert len(pool._tree.match([*prompt, *reply], 12, "")) == known


def test_a_longer_page_replaces_the_partial_ones_it_goes_on_from() -> None:
    pool = pool_of(16)
    for typed in range(5, 9):
        warm_up(pool, list(range(1, typed + 1)), until=10, key="draft")
    assert (pool.cached, pool.pinned) == (2, 2)
    warm_up(pool, [1, 2, 3, 4, 5, 9], until=10, key="other")
    warm_up(pool, [1, 2, 3, 4, 5, 9, 9], until=10, key="longer")
    assert (pool.cached, pool.pinned) == (3, 3)
    pool.expire(10)
    assert (pool.cached, pool.pinned) == (3, 0)


def test_a_shorter_partial_page_adds_nothing_to_a_longer_one() -> None:
    pool = pool_of(16)
    warm_up(pool, [1, 2, 3, 4, 5, 6], until=10)
    warm_up(pool, [1, 2, 3, 4, 5], until=12)
    assert pool.cached == 2
    pool.expire(10)
    assert pool.pinned == 2


def test_a_page_that_is_held_is_not_replaced() -> None:
    pool = pool_of(16)
    short, long = opened(pool, [1, 2]).lease, opened(pool, [1, 2, 3]).lease
    pool.enter_all(short, [1, 2])
    pool.enter_all(long, [1, 2, 3])
    pool.close(long)
    pool.close(short)
    assert pool.cached == 2


def test_a_key_pins_one_context_at_a_time() -> None:
    pool = pool_of(16)
    warm_up(pool, [1] * 8, until=10, key="session")
    warm_up(pool, [2] * 8, until=11, key="session")
    assert (pool.cached, pool.pinned) == (4, 2)
    warm_up(pool, [2] * 12, until=12, key="session")
    assert (pool.cached, pool.pinned) == (5, 3)


def test_there_are_no_more_pins_than_pages() -> None:
    pool = pool_of(3)
    for n in range(5):
        warm_up(pool, [1, 2, 3], until=10.0 + n, key=f"session {n}")
    assert len(pool._pins) == 3
    assert pool.pinned == 1


def test_a_preempted_sequence_finds_its_prompt_again() -> None:
    pool = pool_of(8)
    prompt = list(range(8))
    serve(pool, prompt)
    found = pool.open(prompt, 14, "")
    assert found is not None
    assert (found.cached_tokens, len(found.lease.pages)) == (8, 4)


def test_a_page_that_two_computed_at_once_is_kept_once() -> None:
    pool = pool_of(8)
    prompt = list(range(9))
    first, second = opened(pool, prompt), opened(pool, prompt)
    assert pool.used == 6
    pool.enter(first.lease, prompt, 9)
    pool.enter(second.lease, prompt, 9)
    assert first.lease.pages[:2] == second.lease.pages[:2]
    assert first.lease.pages[2] != second.lease.pages[2]
    assert pool.used == 4
    pool.close(first.lease)
    assert pool.used == 3
    pool.close(second.lease)
    assert (pool.used, pool.cached) == (0, 2)


def test_nothing_changes_when_pages_lack() -> None:
    pool = pool_of(4)
    serve(pool, list(range(9)))
    held = opened(pool, [50, 51, 52])
    before = repr(pool)
    assert pool.open(list(range(17)), 17, "") is None
    assert pool.open(list(range(9)), 9, "", spare=2) is None
    assert not pool.grow(held.lease, 4 * PAGE + 1)
    assert repr(pool) == before
    assert pool.open(list(range(9)), 9, "", spare=0) is not None


def test_a_copy_is_given_up_where_its_source_is_needed() -> None:
    pool = pool_of(2)
    warm_up(pool, [1, 2, 3, 4, 5, 6], until=100)
    assert pool.available == 2
    found = pool.open([1, 2, 3, 4, 5, 6], 6, "")
    assert found is not None, "two pages are enough for it"
    assert (found.cached_tokens, found.copy) == (4, None)


def test_the_least_recently_used_goes_first_and_leaves_before_roots() -> None:
    pool = pool_of(6)
    old, new = [1] * 8 + [0], [2] * 8 + [0]
    serve(pool, old)
    serve(pool, new)
    assert pool.cached == 4
    held = opened(pool, [7] * 12)  # two pages are free, one is evicted: the older's leaf
    assert pool.cached == 3
    pool.close(held.lease)
    assert opened(pool, old).cached_tokens == 4
    assert opened(pool, new).cached_tokens == 8


def test_use_makes_young_again() -> None:
    pool = pool_of(4)
    first, second = [1] * 5, [2] * 5
    serve(pool, first)
    serve(pool, second)
    serve(pool, first)
    assert pool.cached == 2
    held = opened(pool, [7] * 12)
    pool.close(held.lease)
    assert opened(pool, first).cached_tokens == 4
    assert opened(pool, second).cached_tokens == 0


def test_a_warm_up_keeps_its_partial_page_too() -> None:
    pool = pool_of(8)
    warm_up(pool, [1, 2, 3], until=10)
    follow = opened(pool, [1, 2, 3, 4, 5, 6])
    assert follow.cached_tokens == 3
    assert follow.copy is not None
    diverged = opened(pool, [1, 2, 9, 9])
    assert diverged.cached_tokens == 2
    assert diverged.copy is not None
    assert diverged.copy[0] == follow.copy[0]
    assert opened(pool, [9, 2, 3]).cached_tokens == 0


def test_the_longest_of_many_partial_pages_is_found() -> None:
    pool = pool_of(16)
    for draft in ([1], [1, 2], [1, 2, 3], [5, 5]):
        warm_up(pool, draft, until=10)
    assert opened(pool, [1, 2, 3, 4]).cached_tokens == 3


def test_a_warm_up_outlives_other_prompts_until_its_time() -> None:
    for now, kept in ((9.0, 6), (10.0, 0)):
        pool = pool_of(4)
        warm_up(pool, [1, 2, 3, 4, 5, 6], until=10)
        pool.expire(now)
        for n in range(5):
            serve(pool, [10 + n] * 5)
        assert opened(pool, [1, 2, 3, 4, 5, 6, 7]).cached_tokens == kept


def test_memory_pressure_ends_a_pin() -> None:
    pool = pool_of(4)
    warm_up(pool, [1, 2, 3, 4, 5, 6], until=10)
    held = opened(pool, [7] * 16)
    assert pool.cached == 0
    pool.expire(10)
    pool.close(held.lease)
    assert pool.available == 4


def test_a_pin_ends_while_its_pages_are_held() -> None:
    pool = pool_of(4)
    warm_up(pool, [1, 2, 3, 4, 5, 6], until=10)
    warm_up(pool, [1, 2, 3, 4, 9], until=12)
    follow = opened(pool, [1, 2, 3, 4, 5, 6, 7])
    pool.expire(10)
    pool.close(follow.lease)
    for n in range(3):
        serve(pool, [10 + n] * 5)
    assert opened(pool, [1, 2, 3, 4, 9, 9]).cached_tokens == 5, "the second warm-up is still pinned"


def test_the_same_warm_up_twice_is_kept_once_and_longer() -> None:
    pool = pool_of(8)
    warm_up(pool, [1, 2, 3, 4, 5], until=10)
    warm_up(pool, [1, 2, 3, 4, 5], until=20)
    assert pool.cached == 2
    pool.expire(15)
    held = opened(pool, [7] * 24)
    pool.close(held.lease)
    assert opened(pool, [1, 2, 3, 4, 5, 6]).cached_tokens == 5


def test_a_salt_that_left_nothing_behind_leaves_nothing() -> None:
    pool = pool_of(2)
    for n in range(50):
        serve(pool, [n] * 5, salt=f"tenant {n}")
    assert len(pool._tree) <= 2


def test_a_lease_shows_its_state() -> None:
    found = opened(pool_of(2), [1, 2, 3, 4, 5])
    assert repr(found.lease) == "<Lease pages=2 known=0>"


PROMPTS = st.lists(st.integers(0, 2), min_size=1, max_size=14)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(PROMPTS, st.sampled_from("ab")), max_size=20), PROMPTS)
def test_nothing_of_one_salt_is_found_by_another(
    seen: list[tuple[list[int], str]], prompt: list[int]
) -> None:
    mixed, alone = pool_of(64), pool_of(64)
    for tokens, salt in seen:
        warm_up(mixed, tokens, 10, salt)
        if salt == "a":
            warm_up(alone, tokens, 10, salt)
    assert opened(mixed, prompt, "a").cached_tokens == opened(alone, prompt, "a").cached_tokens
    assert opened(mixed, prompt, "c").cached_tokens == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(PROMPTS, st.sampled_from("ab")), max_size=20), PROMPTS)
def test_nothing_of_one_salt_comes_back_for_another(
    seen: list[tuple[list[int], str]], prompt: list[int]
) -> None:
    tight, roomy = BlockPool(5, PAGE, 64), pool_of(64)
    for tokens, salt in seen:
        warm_up(tight, tokens, 10, salt)
        tight.take_moves()
        tight.land(1 << 30)
        if salt == "a":
            warm_up(roomy, tokens, 10, salt)
    cached, there = opened(tight, prompt, "a").cached_tokens, opened(roomy, prompt, "a").cached_tokens
    assert there - there % PAGE <= cached <= there, "all full pages, and no more than was seen"
    pool = BlockPool(5, PAGE, 64)
    for tokens, salt in seen:
        warm_up(pool, tokens, 10, salt)
        pool.take_moves()
        pool.land(1 << 30)
    assert opened(pool, prompt, "c").cached_tokens == 0


@dataclass
class Held:
    """A sequence as the machine knows it: what it should hold, and how much of that is written."""

    lease: Lease
    ids: list[int]
    prompt: int
    salt: str
    written: int


class Life(RuleBasedStateMachine):
    """Random lives of sequences, with the content of every page written down beside the pool."""

    @initialize(pages=st.integers(3, 12), host_pages=st.sampled_from([0, 0, 2, 9]))
    def begin(self, pages: int, host_pages: int) -> None:
        self.pool = BlockPool(pages, PAGE, host_pages)
        self.landing: list[
            tuple[Held, list[int]]
        ] = []  # those that wait for moves, and what they should find
        self.now = 0.0
        self.cells = [[-1] * PAGE for _ in range(pages)]
        self.carrier = Carrier(LateMover(self.cells, host_pages, lambda: self.landed))
        self.landed = False
        self.live: list[Held] = []
        self.left: list[tuple[Left, list[int]]] = []
        self.findable: dict[str, set[tuple[int, ...]]] = {"a": set(), "b": set()}

    def content(self, pages: list[int], tokens: int) -> list[int]:
        return [self.cells[pages[p // PAGE]][p % PAGE] for p in range(tokens)]

    @rule(prompt=PROMPTS, salt=st.sampled_from("ab"), spare=st.integers(0, 2))
    def open(self, prompt: list[int], salt: str, spare: int) -> None:
        found = self.pool.open(prompt, len(prompt), salt, spare=spare)
        self.send()
        if found is None:
            if not self.live and not self.carrier:
                assert self.pool.pages_for(len(prompt)) + spare > self.pool.pages_total
            return
        cached = found.cached_tokens
        assert 0 <= cached < len(prompt)
        assert len(found.lease.pages) == self.pool.pages_for(len(prompt))
        if found.copy is not None:
            source, target = found.copy
            self.cells[target] = list(self.cells[source])
        held = Held(found.lease, prompt, len(prompt), salt, cached)
        if self.pool.waits(found.batch):
            self.landing.append((held, prompt[:cached]))
        else:
            self.live.append(held)
            assert self.content(found.lease.pages, cached) == prompt[:cached], "what is cached was computed"
        if cached:
            own = self.findable[salt]
            assert any(seen[:cached] == tuple(prompt[:cached]) for seen in own), "released, of this salt"

    def send(self) -> None:
        if moves := self.pool.take_moves():
            self.carrier.send(moves)

    @rule()
    def land(self) -> None:
        self.landed = True
        self.pool.land(self.carrier.ended())
        self.landed = False
        for held, cached in self.landing:
            assert self.content(held.lease.pages, len(cached)) == cached, "what came back is what left"
            self.live.append(held)
        self.landing.clear()

    @rule(chance=st.randoms(use_true_random=False))
    def cancel(self, chance: random.Random) -> None:
        if self.landing:
            held, _ = self.landing.pop(chance.randrange(len(self.landing)))
            self.pool.close(held.lease)

    def write(self, held: Held, end: int) -> None:
        for position in range(held.written, end):
            page = held.lease.pages[position // PAGE]
            assert self.pool._pages.holders[page] == 1, "nobody writes into a shared page"
            self.cells[page][position % PAGE] = held.ids[position]
        held.written = max(held.written, end)

    @rule(chance=st.randoms(use_true_random=False))
    def compute(self, chance: random.Random) -> None:
        if self.live:
            held = chance.choice(self.live)
            self.write(held, chance.randint(held.written, len(held.ids)))
            prompt = held.ids[: held.prompt]
            self.pool.enter(held.lease, prompt, held.written)
            self.findable[held.salt].add(tuple(prompt[: held.written]))

    @rule(chance=st.randoms(use_true_random=False), reply=PROMPTS)
    def generate(self, chance: random.Random, reply: list[int]) -> None:
        if self.live:
            held = chance.choice(self.live)
            before, ids = list(held.lease.pages), held.ids + reply
            if self.pool.grow(held.lease, len(ids)):
                assert len(held.lease.pages) == max(len(before), self.pool.pages_for(len(ids)))
                held.ids = ids
            else:
                assert held.lease.pages == before
            self.send()

    @rule(chance=st.randoms(use_true_random=False), how=st.sampled_from(["close", "warm", "leave"]))
    def end(self, chance: random.Random, how: str) -> None:
        if not self.live:
            return
        held = self.live.pop(chance.randrange(len(self.live)))
        match how:
            case "leave":
                self.left.append((self.pool.leave(held.lease), held.ids[: held.written]))
            case "warm":
                self.write(held, held.prompt)
                prompt = held.ids[: held.prompt]
                self.findable[held.salt].add(tuple(prompt))
                self.pool.enter_all(held.lease, prompt)
                self.pool.pin(held.lease, (held.salt, chance.choice("xyz")), self.now + 5)
                self.pool.close(held.lease)
            case _:
                self.pool.close(held.lease)
        assert held.lease.pages == []

    @rule(chance=st.randoms(use_true_random=False), again=st.booleans(), pin=st.booleans())
    def commit(self, chance: random.Random, again: bool, pin: bool) -> None:
        if not self.left:
            return
        index = chance.randrange(len(self.left))
        left, written = self.left[index] if again else self.left.pop(index)
        lease = self.pool.claim(left)
        ids = written[: min(chance.randint(0, len(written)), len(lease.pages) * PAGE)]
        assert self.content(lease.pages, len(ids)) == ids, "what is claimed is as it was left"
        self.pool.enter_all(lease, ids)
        self.findable[left.salt].add(tuple(ids))
        if pin:
            self.pool.pin(lease, (left.salt, chance.choice("xyz")), self.now + 5)
        self.pool.close(lease)

    @rule(seconds=st.integers(0, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.pool.expire(self.now)

    @invariant()
    def every_page_is_counted(self) -> None:
        pool = self.pool
        live = [*self.live, *(held for held, _ in self.landing)]
        holders = Counter(page for held in live for page in held.lease.pages)
        holders.update(page for batch in pool._transit._sent for pages in batch.held for page in pages)
        assert pool._pages.holders == [holders[page] for page in range(pool.pages_total)]
        assert pool.used == len(holders)
        places = [*holders, *pool._pages.free, *pool._pages.idle, *pool._pages.pinned]
        assert sorted(places) == list(range(pool.pages_total))

    @invariant()
    def pins_are_counted_and_end(self) -> None:
        pins = self.pool._pins._pins
        assert all(until > self.now for until, _ in pins.values())
        host = self.pool.host
        assert len(pins) <= self.pool.pages_total + host.total
        counted = Counter(
            (node.page, node.host) for _, deepest in pins.values() for node in deepest.to_root()
        )
        known = [*self.pool._pages.nodes.values(), *host.nodes()]
        assert {(node.page, node.host): node.pins for node in known if node.pins} == counted
        assert all((page, -1) in counted for page in self.pool._pages.pinned)
        assert all((-1, page) in counted for page in host._pinned)
        assert not any((-1, page) in counted for page in host._loose)

    @invariant()
    def every_host_page_is_in_one_place(self) -> None:
        host = self.pool.host
        places = [*host._free, *host._loose, *host._pinned, *host._ended]
        assert sorted(places) == list(range(host.total))
        for root in self.pool._tree._roots.values():
            for node in list(root.below())[1:]:
                assert (node.page >= 0) != (node.host >= 0)
                assert node.page < 0 or node.parent is root or node.parent.page >= 0, (
                    "ancestors are there too"
                )


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase
