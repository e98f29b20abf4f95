"""Owners take turns, and none fills the whole room."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fair_queue import FairQueue, Room

OWNERS = "abc"
PUT_OR_TAKE = st.lists(st.sampled_from(OWNERS) | st.none(), max_size=80)  # None: take one
Job = tuple[str, int]


@given(PUT_OR_TAKE)
def test_every_job_comes_once_its_owners_in_order_and_nobodys_behind_all_of_anothers(
    steps: list[str | None],
) -> None:
    queue: FairQueue[Job] = FairQueue()
    waiting: list[Job] = []
    before: dict[Job, int] = {}  # how many of its owner's own each job found waiting
    overtaken: dict[Job, Counter[str]] = {}  # whose jobs were taken while it waited
    for number, owner in enumerate([*steps, *[None] * len(steps)]):
        if owner is not None:
            job = (owner, number)
            before[job] = sum(other == owner for other, _ in waiting)
            overtaken[job] = Counter()
            waiting.append(job)
            queue.put(owner, job)
        elif waiting:
            taken = queue.take()
            assert taken == next(job for job in waiting if job[0] == taken[0])
            waiting.remove(taken)
            for job in waiting:
                overtaken[job][taken[0]] += 1
            for other in set(OWNERS) - {taken[0]}:
                assert overtaken[taken][other] <= before[taken] + 1
        assert len(queue) == len(waiting)
    assert waiting == []


def test_an_empty_queue_has_nothing_to_take() -> None:
    queue: FairQueue[str] = FairQueue()
    with pytest.raises(IndexError):
        queue.take()
    queue.put("a", "job")
    assert repr(queue) == "<FairQueue owners=1 jobs=1>"


def test_a_late_owner_comes_second() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(3):
        queue.put("busy", f"busy {number}")
    queue.put("late", "late")
    assert [queue.take() for _ in range(4)] == ["busy 0", "late", "busy 1", "busy 2"]


def test_one_owner_has_half_of_the_room() -> None:
    room = Room(4, 100)
    assert [room.enter("a", 1) for _ in range(3)] == [True, True, False]
    assert [room.enter("b", 49), room.enter("b", 2), room.enter("b", 1)] == [True, False, True]
    assert not room.enter("c", 1)
    room.leave("a", 1)
    assert room.enter("c", 1)
    assert repr(room) == "<Room jobs=4 size=52 owners=3>"


def test_the_first_job_may_be_of_any_size() -> None:
    room = Room(4, 100)
    assert room.enter("a", 1000)
    assert not room.enter("b", 1)
    room.leave("a", 1000)
    assert room.enter("b", 90)
    assert room.enter("a", 10)


@given(st.lists(st.tuples(st.sampled_from(OWNERS), st.integers(0, 60), st.booleans()), max_size=60))
def test_the_room_is_never_overfull_and_empty_when_all_have_left(
    steps: list[tuple[str, int, bool]],
) -> None:
    room = Room(6, 100)
    inside: list[tuple[str, int]] = []
    for owner, size, leaves in steps:
        if leaves and inside:
            room.leave(*inside.pop())
        elif room.enter(owner, size):
            inside.append((owner, size))
        assert (room.jobs, room.size) == (len(inside), sum(size for _, size in inside))
        assert room.jobs <= 6
        assert room.size <= 100
        for one in OWNERS:
            mine = [size for owner, size in inside if owner == one]
            assert len(mine) <= 3
            assert len(mine) <= 1 or sum(mine) <= 50
    for job in inside:
        room.leave(*job)
    assert (room.jobs, room.size) == (0, 0)
    assert repr(room).endswith("owners=0>")
