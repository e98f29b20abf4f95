"""Threads for long texts: bounded, in turns, ended with the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from app.moderation import Abandoned
from app.workers import HERE_CHARACTERS, MAX_FORMATS_WAITING, MAX_WAITING, SHORT_CHARACTERS, Workers
from protocol.codes import ProtocolError

pytestmark = pytest.mark.anyio

LONG = HERE_CHARACTERS + 1


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


class Blocked:
    """Jobs that wait in their thread to be released."""

    def __init__(self) -> None:
        self._release = threading.Event()
        self.begun = threading.Event()
        self.done: list[str] = []

    def job(self, name: str) -> Callable[[], str]:
        def work() -> str:
            self.begun.set()
            assert self._release.wait(30)
            self.done.append(name)
            return name

        return work

    def release(self) -> None:
        self._release.set()


def start(workers: Workers, blocked: Blocked, tenant: str, name: str) -> asyncio.Task[str]:
    return asyncio.ensure_future(workers.run(tenant, LONG, blocked.job(name)))


async def test_a_tenants_one_text_comes_before_anothers_many(workers: Workers) -> None:
    blocked = Blocked()
    jobs = [start(workers, blocked, "busy", f"busy {number}") for number in range(20)]
    jobs += [start(workers, blocked, "late", "late")]
    await asyncio.sleep(0)
    blocked.release()
    assert await asyncio.gather(*jobs) == [f"busy {number}" for number in range(20)] + ["late"]
    assert "late" in blocked.done[:3]  # behind the one that was begun and the one whose turn it was


async def test_too_many_at_once_are_refused_but_not_other_tenants_nor_short_ones(workers: Workers) -> None:
    blocked = Blocked()
    jobs = [start(workers, blocked, "busy", "x") for _ in range(MAX_WAITING // 2)]
    await asyncio.sleep(0)
    with pytest.raises(ProtocolError) as refused:
        await start(workers, blocked, "busy", "one more")
    assert (refused.value.code, refused.value.retry_after_s) == ("server_is_overloaded", 1.0)
    jobs.append(start(workers, blocked, "late", "late"))
    assert await workers.run("busy", 10, lambda: "short") == "short"
    blocked.release()
    await asyncio.gather(*jobs)
    assert (
        repr(workers)
        == "<Workers <Room jobs=0 size=0 owners=0> formats=<Room jobs=0 size=0 owners=0> stopped=False>"
    )


async def test_reading_and_short_texts_go_on_beside_a_long_one(workers: Workers) -> None:
    blocked = Blocked()
    long = asyncio.ensure_future(workers.run("a", SHORT_CHARACTERS + 1, blocked.job("long")))
    await asyncio.sleep(0)
    assert await workers.read("a", LONG, lambda: "read") == "read"
    assert await workers.run("a", LONG, lambda: "judged") == "judged"
    blocked.release()
    assert await long == "long"


async def test_texts_are_tokenised_beside_a_slow_format_and_formats_wait_in_turns(workers: Workers) -> None:
    blocked = Blocked()

    def compiling(tenant: str, name: str) -> asyncio.Task[str]:
        return asyncio.ensure_future(workers.compile(tenant, 5, blocked.job(name)))

    formats = [compiling("a", f"a {number}") for number in range(MAX_FORMATS_WAITING // 2)]
    await asyncio.sleep(0)
    assert await workers.run("a", LONG, lambda: "tokenised") == "tokenised"
    with pytest.raises(ProtocolError, match="Too many formats wait to be compiled") as refused:
        await compiling("a", "one more")
    assert (refused.value.code, refused.value.retry_after_s) == ("server_is_overloaded", 1.0)
    formats.append(compiling("b", "b"))
    await asyncio.sleep(0)
    blocked.release()
    await asyncio.gather(*formats)
    assert "b" in blocked.done[:3]
    assert workers.formats.jobs == 0


async def test_a_fault_of_the_work_reaches_who_asked(workers: Workers) -> None:
    with pytest.raises(ZeroDivisionError):
        await workers.run("a", LONG, lambda: 1 // 0)
    assert await workers.run("a", LONG, lambda: "and the thread goes on") == "and the thread goes on"


async def test_what_nobody_waits_for_any_more_is_never_begun(workers: Workers) -> None:
    blocked = Blocked()
    first, left, last = (start(workers, blocked, "a", name) for name in ("first", "left", "last"))
    await asyncio.to_thread(blocked.begun.wait, 30)
    left.cancel()
    await asyncio.wait([left])
    blocked.release()
    await asyncio.gather(first, last)
    assert blocked.done == ["first", "last"]


async def test_at_the_end_what_waits_is_answered_and_nothing_more_is_taken() -> None:
    workers = Workers()
    begun = threading.Event()

    def until_the_end() -> None:
        begun.set()
        while not workers.stopping():
            pass
        raise Abandoned

    jobs = [asyncio.ensure_future(workers.run("a", LONG, until_the_end)) for _ in range(3)]
    await asyncio.to_thread(begun.wait, 30)
    workers.close()
    jobs.append(asyncio.ensure_future(workers.run("a", LONG, until_the_end)))
    for outcome in await asyncio.gather(*jobs, return_exceptions=True):
        assert isinstance(outcome, ProtocolError)
        assert outcome.code == "draining"
