from __future__ import annotations

import asyncio

import pytest

from loadtest.models import with_model
from loadtest.target import Target, TargetError
from tests.app.serving import serving
from tests.loadtest.peer import answering, over_http, over_socket

pytestmark = pytest.mark.anyio


def unnamed(target: Target) -> Target:
    return Target(target.scheme, target.host, target.port, target.path, target.key, target.label)


async def test_the_model_is_the_first_that_the_server_names() -> None:
    async with serving() as served:
        target = over_http(served)
        assert await with_model(unnamed(target)) == target


async def test_a_named_model_is_kept_and_our_socket_needs_none() -> None:
    async with serving() as served:
        socket, named = over_socket(served), over_http(served)
    assert (await with_model(socket), await with_model(named)) == (socket, named)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b'{"data":[]}', r"\?model=NAME"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", r"\?model=NAME"),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "unauthorized"),
        (b"", "does not answer"),
    ],
)
async def test_a_server_that_names_no_model_is_refused_and_the_way_out_named(
    answer: bytes, said: str
) -> None:
    async with answering([answer]) as target:
        with pytest.raises(TargetError, match=said):
            await with_model(unnamed(target))


async def test_a_server_that_is_not_there_is_refused_before_any_load() -> None:
    async with answering([]) as target:
        pass
    with pytest.raises(TargetError, match="does not answer"):
        await with_model(unnamed(target))


async def test_a_server_that_stalls_is_given_up_after_the_time_of_a_turn() -> None:
    waits = asyncio.Event()

    async def stall(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await waits.wait()
        writer.close()

    async with await asyncio.start_server(stall, "127.0.0.1", 0) as server:
        target = Target("http", "127.0.0.1", server.sockets[0].getsockname()[1], "/v1", "")
        with pytest.raises(TargetError, match=r"not answered within 0\.05 s"):
            await with_model(target, 0.05)
        waits.set()
