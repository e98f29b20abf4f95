"""Who is next: by tier, by what tenants were served, by turns of sessions; and nobody waits for ever."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.detokenize import ByteStream, TokenTexts
from engine.fairness import FORGIVEN_PAST, Accounts, Waiting
from engine.reply import Reply
from engine.request import EngineRequest, Sampling, ServiceTier
from engine.sequence import RANKS, Sequence, deadline

TIERS: tuple[ServiceTier, ...] = ("auto", "default", "flex", "priority")


def sequence(
    id: str,
    tenant: str = "t",
    session: str = "",
    tier: ServiceTier = "default",
    now: float = 0.0,
    first_token_timeout_s: float | None = None,
) -> Sequence:
    sampling = Sampling()
    return Sequence(
        request=EngineRequest(id, [1], "", sampling, tenant, session, service_tier=tier),
        deliver=lambda output: None,
        reply=Reply(ByteStream(TokenTexts(lambda token: b"")), sampling, 1, frozenset()),
        seed=0,
        max_output=1,
        submitted=now,
        first_token_deadline=deadline(now, first_token_timeout_s),
        deadline=deadline(now, None),
        rank=RANKS[tier],
    )


class Queue:
    """A queue whose head is served by hand."""

    def __init__(self, patience_s: float = 10.0) -> None:
        self.accounts = Accounts()
        self.waiting = Waiting(self.accounts, patience_s)

    def put(self, *waiting: Sequence) -> None:
        for one in waiting:
            self.accounts.join(one.request.salt)
            self.waiting.put(one)

    def serve(self, tokens: int = 0, weight: float = 1.0) -> str:
        head = next(self.waiting.heads())
        self.waiting.remove(head)
        self.accounts.charge(head.request.salt, weight, tokens)
        return head.request.id

    def serve_all(self) -> list[str]:
        list(self.waiting.announce())
        return [self.serve() for _ in range(len(self.waiting))]


def test_tiers_go_before_each_other() -> None:
    queue = Queue()
    queue.put(*(sequence(tier, tier=tier) for tier in ("flex", "default", "auto", "priority")))
    assert queue.serve_all() == ["priority", "default", "auto", "flex"]


def test_an_empty_queue_has_no_head() -> None:
    assert list(Queue().waiting.heads()) == []


def test_the_tenant_that_was_served_least_comes_first() -> None:
    queue = Queue()
    queue.put(sequence("a1", "a"), sequence("a2", "a"), sequence("b1", "b"), sequence("b2", "b"))
    assert [queue.serve(tokens) for tokens in (10, 4, 4, 4)] == ["a1", "b1", "b2", "a2"]


def test_sessions_of_a_tenant_take_turns() -> None:
    queue = Queue()
    queue.put(*(sequence(f"{session}{n}", session=session) for session in "xy" for n in range(3)))
    queue.put(sequence("alone"))
    assert queue.serve_all() == ["x0", "y0", "alone", "x1", "y1", "x2", "y2"]


def test_who_has_had_its_turn_before_comes_back_to_the_front() -> None:
    queue = Queue()
    queue.put(sequence("x0", session="x"), sequence("x1", session="x"), sequence("y0", session="y"))
    back = sequence("y1", session="y")
    queue.accounts.join("t")
    queue.waiting.put(back, first=True)
    assert queue.serve_all() == ["y1", "x0", "y0", "x1"]


def test_who_waits_for_long_moves_up_to_the_first_tier() -> None:
    queue = Queue(patience_s=10.0)
    queue.put(sequence("flex", tier="flex"), sequence("flex too", tier="flex", now=5.0))
    list(queue.waiting.announce())
    queue.waiting.age(9.0)
    queue.put(sequence("default", now=9.0))
    list(queue.waiting.announce())
    queue.waiting.age(12.0)
    queue.put(sequence("priority", tier="priority", now=12.0))
    queue.waiting.age(20.0)
    assert queue.serve_all() == ["priority", "default", "flex", "flex too"]


def test_who_has_little_time_moves_up_sooner() -> None:
    queue = Queue(patience_s=10.0)
    queue.put(sequence("patient"), sequence("pressed", first_token_timeout_s=8.0))
    list(queue.waiting.announce())
    queue.waiting.age(2.0)
    assert queue.serve_all() == ["pressed", "patient"]


def test_who_has_left_does_not_age() -> None:
    queue = Queue()
    queue.put(sequence("gone"), sequence("there"))
    list(queue.waiting.announce())
    assert queue.serve() == "gone"
    queue.waiting.age(100.0)
    assert queue.serve_all() == ["there"]


def test_removing_who_does_not_wait_changes_nothing() -> None:
    queue = Queue()
    queue.put(sequence("a"))
    queue.waiting.remove(sequence("b"))
    assert queue.serve_all() == ["a"]


def test_newcomers_are_told_their_places_once() -> None:
    queue = Queue()
    queue.put(sequence("a"), sequence("b"))
    assert queue.waiting.fresh
    assert [(one.request.id, place) for one, place in queue.waiting.announce()] == [("a", 0), ("b", 1)]
    queue.put(sequence("c"), sequence("d"))
    queue.serve()
    assert [(one.request.id, place) for one, place in queue.waiting.announce()] == [("c", 1), ("d", 2)]
    assert not queue.waiting.fresh
    assert list(queue.waiting.announce()) == []


def test_nobody_saves_up_by_being_away() -> None:
    accounts = Accounts()
    accounts.join("a")
    accounts.charge("a", 1.0, 1_000)
    accounts.join("b")
    assert accounts.served("b") == 1_000
    accounts.charge("b", 2.0, 100)
    accounts.charge("a", 1.0, 200)
    accounts.leave("b")
    accounts.join("b")
    assert accounts.served("b") == 1_200


def test_nobody_escapes_what_it_had_by_being_away() -> None:
    accounts = Accounts()
    for tenant in "ab":
        accounts.join(tenant)
    accounts.charge("a", 1.0, 500)
    accounts.leave("a")
    accounts.join("a")
    assert (accounts.served("a"), accounts.served("b")) == (500, 0)


def test_of_many_that_are_away_those_that_owe_least_are_forgotten() -> None:
    accounts = Accounts()
    accounts.join("always")
    for n in range(2 * FORGIVEN_PAST):
        accounts.join(f"{n}")
        accounts.charge(f"{n}", 1.0, n)
        accounts.leave(f"{n}")
    assert len(accounts._served) == FORGIVEN_PAST + 1
    accounts.join("0")
    accounts.join(f"{2 * FORGIVEN_PAST - 1}")
    assert (accounts.served("0"), accounts.served(f"{2 * FORGIVEN_PAST - 1}")) == (0, 2 * FORGIVEN_PAST - 1)


@settings(max_examples=200, deadline=None)
@given(
    weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=6),
    chunks=st.lists(st.integers(1, 64), min_size=1, max_size=200),
)
def test_shares_stay_within_one_chunk_of_the_weights(weights: list[float], chunks: list[int]) -> None:
    queue = Queue()
    served = [0] * len(weights)
    for tenant in range(len(weights)):
        queue.put(*(sequence(f"{tenant}.{n}", f"{tenant}") for n in range(len(chunks))))
    for chunk in chunks:
        head = next(queue.waiting.heads())
        tenant = int(head.request.salt)
        queue.serve(chunk, weights[tenant])
        served[tenant] += chunk
    shares = [tokens / weight for tokens, weight in zip(served, weights, strict=True)]
    for one, weight in zip(shares, weights, strict=True):
        assert one - min(shares) <= max(chunks) / weight + 1e-6


class Company(RuleBasedStateMachine):
    """Random tenants, sessions and tiers come, are served, return and leave."""

    PATIENCE_S = 10.0

    @initialize()
    def begin(self) -> None:
        self.queue = Queue(self.PATIENCE_S)
        self.now = 0.0
        self.there: dict[str, Sequence] = {}
        self.served: list[Sequence] = []
        self.number = 0

    @rule(tenant=st.sampled_from("abc"), session=st.sampled_from(["", "s", "t"]), tier=st.sampled_from(TIERS))
    def come(self, tenant: str, session: str, tier: ServiceTier) -> None:
        self.number += 1
        one = sequence(f"{self.number}", tenant, session, tier, self.now)
        self.queue.put(one)
        self.there[one.request.id] = one

    @rule(seconds=st.integers(1, 8))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        list(self.queue.waiting.announce())
        self.queue.waiting.age(self.now)

    @rule(tokens=st.integers(1, 100))
    def serve(self, tokens: int) -> None:
        head = next(self.queue.waiting.heads(), None)
        assert (head is None) == (not self.there)
        if head is None:
            return
        assert head.rank == min(one.rank for one in self.there.values())
        mates = [
            one
            for one in self.there.values()
            if (one.request.salt, one.session) == (head.request.salt, head.session)
            and one.request.service_tier == head.request.service_tier
        ]
        assert head is mates[0], "first come, first served within a session and tier"
        self.queue.serve(tokens)
        del self.there[head.request.id]
        self.served.append(head)

    @rule(which=st.integers(0, 100))
    def leave(self, which: int) -> None:
        if self.there:
            one = list(self.there.values())[which % len(self.there)]
            self.queue.waiting.remove(one)
            self.queue.accounts.leave(one.request.salt)
            del self.there[one.request.id]

    @invariant()
    def all_are_counted(self) -> None:
        assert len(self.queue.waiting) == len(self.there)

    @invariant()
    def who_has_waited_long_enough_is_in_the_first_tier(self) -> None:
        if not self.queue.waiting.fresh:
            late = self.now - 2 * self.PATIENCE_S
            assert all(one.rank == 0 for one in self.there.values() if one.submitted < late)


Company.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCompany = Company.TestCase


@pytest.mark.parametrize("flood", TIERS)
def test_nobody_starves_however_many_come_after(flood: ServiceTier) -> None:
    queue = Queue(patience_s=10.0)
    poor = sequence("poor", "small", tier="flex")
    queue.put(poor)
    list(queue.waiting.announce())
    for second in range(1_000):
        queue.put(*(sequence(f"{second}.{n}", f"big{n}", tier=flood, now=second) for n in range(3)))
        list(queue.waiting.announce())
        queue.waiting.age(float(second))
        if queue.serve(100) == "poor":
            break
    assert second <= 25
