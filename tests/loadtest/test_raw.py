from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadtest.drain import Drain
from loadtest.raw import RawLoop, delta_frame
from tests.loadtest.test_drain import at

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def looping(loop: RawLoop, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[int]:
    """The bare loop in the test's own event loop, and the port that it names."""
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(loop.run())
        said = ""
        while not said.strip():
            await asyncio.sleep(0)
            said = capsys.readouterr().out
        yield int(said)
        task.cancel()


async def test_it_writes_to_those_that_asked(capsys: pytest.CaptureFixture[str]) -> None:
    async with looping(RawLoop(0, 2), capsys) as port:
        with await asyncio.to_thread(Drain, at(port), 2) as drain:
            assert (await asyncio.to_thread(drain.count, 0.1)).frames == 0
            drain.send([b"go"])
            drained = await asyncio.to_thread(drain.count, 0.3)
    assert drained.frames > 0
    assert drained.frames % 2 == 0 or drained.bytes % len(delta_frame(" hello")) != 0


async def test_a_paced_loop_says_when_its_steps_were(capsys: pytest.CaptureFixture[str]) -> None:
    async with looping(RawLoop(100, 1), capsys) as port:
        with await asyncio.to_thread(Drain, at(port), 1) as drain:
            drain.send([b"go"])
            ages = await asyncio.to_thread(drain.ages, 0.5)
    assert ages
    assert min(ages) > 0


async def test_a_reader_that_stops_is_left_out_until_it_reads_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loop = RawLoop(0, 64)
    async with looping(loop, capsys) as port:
        with await asyncio.to_thread(Drain, at(port), 1) as drain:
            drain.send([b"go"])
            while not loop.writing:
                await asyncio.sleep(0)
            while loop.writing:  # until its buffers are full
                await asyncio.sleep(0)
            while not loop.writing:
                await asyncio.to_thread(drain.count, 0.05)
        while loop.writing:  # it has left
            await asyncio.sleep(0)


async def test_a_handshake_may_come_in_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    async with looping(RawLoop(0, 1), capsys) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(b"\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer  # RFC 6455, 1.3
