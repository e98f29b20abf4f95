"""One inline command on a unix socket, without a client: is there a store, and what does it say?"""

from __future__ import annotations

import asyncio
from pathlib import Path

_TIMEOUT_S = 1.0


async def ask(socket: Path, command: bytes) -> bytes | None:
    """The first line of the answer, empty if the store hung up without one; None if nobody listens."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
    except (OSError, TimeoutError):
        return None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            writer.write(command + b"\r\n")
            return (await reader.readline()).strip()
    except (OSError, TimeoutError):
        return b""
    finally:
        writer.transport.abort()
