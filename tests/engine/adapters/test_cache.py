"""Keys and values are found only by requests of the same tenant and the same adapter's content."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.adapters.adapter import Adapter
from engine.request import Draft, EngineRequest, Sampling, cache_salt
from tests.engine.test_scheduler import ENDLESS, Bench

SAYS = replace(ENDLESS, max_tokens=6)
PROMPT = [5 + n % 7 for n in range(18)]


def adapter(name: str, identity: str) -> Adapter:
    return Adapter(name, identity, rank=1, bytes=1, loaded_at=0)


# The second is loaded under the first one's name after it is gone.
ADAPTERS = [None, adapter("poet", "1f"), adapter("poet", "2e"), adapter("clerk", "3d")]


def alone(prompt: list[int], chosen: Adapter | None) -> list[int]:
    bench = Bench()
    bench.submit("a", prompt, SAYS, adapter=chosen)
    bench.run()
    return bench.ids("a")


def cached(bench: Bench, id: str) -> int:
    return bench.end(id).usage.cached


@settings(max_examples=60, deadline=None)
@given(
    asked=st.lists(
        st.tuples(
            st.sampled_from(ADAPTERS),
            st.sampled_from(["", "acme", "acme\t"]),
            st.integers(1, 18),
            st.sampled_from(["commit", "leave", "draft first"]),
            st.integers(0, 8),
        ),
        min_size=2,
        max_size=8,
    )
)
def test_a_reply_is_the_same_whoever_was_served_before(
    asked: list[tuple[Adapter | None, str, int, str, int]],
) -> None:
    bench = Bench(pages=48)
    for number, (chosen, salt, length, way, steps) in enumerate(asked):
        id, prompt = f"{number}", PROMPT[:length]
        if way == "draft first":
            draft = Draft("d", prompt[:-1] or prompt, salt, chosen)
            bench.scheduler.enter_draft(bench.scheduler.prepare_draft(draft, bench.now))
            bench.step()
        bench.submit(id, prompt, SAYS, salt=salt, adapter=chosen, session="talk")
        bench.step(steps)
        if way == "commit":
            bench.run()
            bench.scheduler.commit_reply(id, bench.ids(id), bench.now)
    bench.run()
    for number, (chosen, _, length, _, _) in enumerate(asked):
        assert bench.ids(f"{number}") == alone(PROMPT[:length], chosen)


@given(
    st.tuples(st.text("ab\t", max_size=3), st.sampled_from(ADAPTERS)),
    st.tuples(st.text("ab\t", max_size=3), st.sampled_from(ADAPTERS)),
)
def test_salts_are_equal_only_for_the_same_tenant_and_content(
    one: tuple[str, Adapter | None], other: tuple[str, Adapter | None]
) -> None:
    assert (cache_salt(*one) == cache_salt(*other)) == (one == other)


def test_an_adapter_finds_its_own_pages_and_no_others() -> None:
    bench = Bench()
    for number, chosen in enumerate([*ADAPTERS, *ADAPTERS]):
        bench.submit(f"{number}", PROMPT, SAYS, salt="acme", adapter=chosen)
        bench.run()
    assert [cached(bench, f"{number}") for number in range(8)] == [0] * 4 + [16] * 4


def test_a_conversation_goes_on_with_another_adapter_and_computes_its_history_anew() -> None:
    bench = Bench()
    for turn, chosen in enumerate([ADAPTERS[1], ADAPTERS[3], None]):
        bench.submit(f"{turn}", PROMPT, SAYS, adapter=chosen, session="talk")
        bench.run()
        bench.scheduler.commit_reply(f"{turn}", bench.ids(f"{turn}"), bench.now)
        assert cached(bench, f"{turn}") == 0
    assert bench.pool.pinned == 6  # of its last turn alone: 18 tokens and 5 that were generated


def test_tenants_get_their_shares_whatever_adapters_they_use() -> None:
    bench = Bench(pages=96, step_tokens=12)
    for number, (salt, chosen) in enumerate([("a", ADAPTERS[1]), ("a", ADAPTERS[3]), ("b", None)]):
        request = EngineRequest(
            f"{number}", [number + 1] * 40, "", Sampling(max_tokens=1), salt, adapter=chosen
        )
        bench.scheduler.enter(bench.scheduler.prepare(request, lambda output: None, 0.0))
    shares = dict.fromkeys("ab", 0)
    for id, _, tokens in bench.step():
        shares["b" if id == "2" else "a"] += tokens
    assert shares == {"a": 6, "b": 6}


def test_drafts_of_an_adapter_that_is_gone_are_not_computed() -> None:
    bench = Bench()
    for number, chosen in enumerate(ADAPTERS):
        draft = Draft(f"{number}", [number + 1] * 5, adapter=chosen)
        bench.scheduler.enter_draft(bench.scheduler.prepare_draft(draft, 0.0))
    gone = ADAPTERS[1]
    assert gone is not None
    bench.scheduler.end_drafts_of(gone)
    assert [id for id, _, _ in bench.step()] == ["0", "2", "3"]
