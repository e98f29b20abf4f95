"""What is kept for owners: within its bounds, each one's own, nobody's few driven out by another's many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.keeping import Keeping


def test_the_longest_unasked_goes_first() -> None:
    kept: Keeping[int, str] = Keeping(3, 100)
    for key in range(3):
        kept.put("a", key, f"value {key}", 10)
    assert kept.get("a", 0) == "value 0"
    kept.put("a", 3, "value 3", 10)
    assert [kept.get("a", key) for key in range(4)] == ["value 0", None, "value 2", "value 3"]
    assert repr(kept) == "<Keeping values=3 bytes=30 owners=1>"


def test_one_owners_many_leave_anothers_few() -> None:
    kept: Keeping[int, str] = Keeping(4, 100)
    kept.put("few", 0, "mine", 60)
    kept.put("few", 1, "mine too", 1)
    for key in range(20):
        kept.put("many", key, "small", 1)
    assert kept.get("few", 1) == "mine too"
    for key in range(20):
        kept.put("large", key, "large", 30)
    assert kept.get("few", 1) == "mine too"


def test_what_is_larger_than_all_drives_out_nothing() -> None:
    kept: Keeping[int, str] = Keeping(4, 100)
    kept.put("a", 0, "small", 1)
    kept.put("a", 1, "large", 101)
    assert (kept.get("a", 0), kept.get("a", 1)) == ("small", None)


def test_nobody_finds_anothers() -> None:
    kept: Keeping[int, str] = Keeping(4, 100)
    kept.put("a", 0, "mine", 1)
    assert kept.get("b", 0) is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.integers(0, 40), st.booleans()), max_size=60
    )
)
def test_bounds_hold_and_what_is_found_is_what_was_put(
    actions: list[tuple[str, int, int, bool]],
) -> None:
    kept: Keeping[int, tuple[str, int]] = Keeping(5, 60)
    for owner, key, size, puts in actions:
        if puts:
            kept.put(owner, key, (owner, key), size)
        found = {(o, k): kept.get(o, k) for o in "abc" for k in range(7)}
        assert all(value in (None, place) for place, value in found.items())
        assert sum(value is not None for value in found.values()) <= 5
