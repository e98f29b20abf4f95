"""Pages: counted exactly, found by exact tokens of the same salt, evicted leaves first."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.blocks import BlockPool, Lease, Opened

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


def warm_up(pool: BlockPool, prompt: list[int], until: float, salt: str = "") -> None:
    found = opened(pool, prompt, salt)
    pool.pin(found.lease, prompt, until)
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


def test_generated_tokens_are_never_found() -> None:
    pool = pool_of(8)
    prompt = [1, 2, 3, 4, 5]
    found = opened(pool, prompt)
    assert pool.grow(found.lease, 16)
    pool.enter(found.lease, prompt, 16)
    pool.close(found.lease)
    assert opened(pool, [*prompt, *range(11)]).cached_tokens == 4


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
    assert len(pool._roots) <= 2


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


class Life(RuleBasedStateMachine):
    """Random lives of sequences, with the content of every page written down beside the pool."""

    @initialize(pages=st.integers(3, 12))
    def begin(self, pages: int) -> None:
        self.pool = pool_of(pages)
        self.now = 0.0
        self.cells = [[-1] * PAGE for _ in range(pages)]
        self.live: list[tuple[Lease, list[int], str, int]] = []
        self.warmed: dict[str, set[tuple[int, ...]]] = {}

    @rule(prompt=PROMPTS, salt=st.sampled_from("ab"), spare=st.integers(0, 2))
    def open(self, prompt: list[int], salt: str, spare: int) -> None:
        found = self.pool.open(prompt, len(prompt), salt, spare=spare)
        if found is None:
            if not self.live:
                assert self.pool.pages_for(len(prompt)) + spare > self.pool.pages_total
            return
        assert 0 <= found.cached_tokens < len(prompt)
        assert len(found.lease.pages) == self.pool.pages_for(len(prompt))
        if found.copy is not None:
            source, target = found.copy
            self.cells[target] = list(self.cells[source])
        written = [self.cells[found.lease.pages[p // PAGE]][p % PAGE] for p in range(found.cached_tokens)]
        assert written == prompt[: found.cached_tokens], "what is cached is what was computed"
        if found.cached_tokens:
            assert any(
                seen[: found.cached_tokens] == tuple(prompt[: found.cached_tokens])
                for seen in self.warmed[salt]
            )
        self.live.append((found.lease, prompt, salt, found.cached_tokens))

    def write(self, lease: Lease, prompt: list[int], start: int, end: int) -> None:
        for position in range(start, end):
            page = lease.pages[position // PAGE]
            assert self.pool._holders[page] == 1, "nobody writes into a shared page"
            self.cells[page][position % PAGE] = prompt[position]

    @rule(chance=st.randoms(use_true_random=False))
    def compute(self, chance: random.Random) -> None:
        if self.live:
            index = chance.randrange(len(self.live))
            lease, prompt, salt, computed = self.live[index]
            end = chance.randint(computed, len(prompt))
            self.write(lease, prompt, computed, end)
            self.pool.enter(lease, prompt, end)
            self.warmed.setdefault(salt, set()).add(tuple(prompt))
            self.live[index] = (lease, prompt, salt, end)

    @rule(chance=st.randoms(use_true_random=False), tokens=st.integers(1, 40))
    def grow(self, chance: random.Random, tokens: int) -> None:
        if self.live:
            lease = chance.choice(self.live)[0]
            before = list(lease.pages)
            if self.pool.grow(lease, tokens):
                assert len(lease.pages) == max(len(before), self.pool.pages_for(tokens))
            else:
                assert lease.pages == before

    @rule(chance=st.randoms(use_true_random=False), warm=st.booleans())
    def end(self, chance: random.Random, warm: bool) -> None:
        if self.live:
            lease, prompt, salt, computed = self.live.pop(chance.randrange(len(self.live)))
            if warm:
                self.write(lease, prompt, computed, len(prompt))
                self.warmed.setdefault(salt, set()).add(tuple(prompt))
                self.pool.pin(lease, prompt, self.now + 5)
            self.pool.close(lease)
            assert lease.pages == []

    @rule(seconds=st.integers(0, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.pool.expire(self.now)

    @invariant()
    def every_page_is_counted(self) -> None:
        held = {page for lease, *_ in self.live for page in lease.pages}
        assert self.pool.used == len(held)
        assert self.pool.used + self.pool.available == self.pool.pages_total
        holders = Counter(page for lease, *_ in self.live for page in lease.pages)
        assert self.pool._holders == [holders[page] for page in range(self.pool.pages_total)]
        if not self.live:
            assert self.pool.used == 0

    @invariant()
    def expired_pins_are_over(self) -> None:
        assert all(until > self.now for until, _ in self.pool._pins.values())
        assert len(self.pool._pins) <= self.pool.pages_total
        assert all(node.pinned_until > self.now for node in self.pool._pinned.values())


Life.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestLife = Life.TestCase
