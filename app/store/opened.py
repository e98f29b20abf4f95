"""The store for a command that runs beside the server, or without one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from app.settings import ConfigError
from app.store.client import Store, StoreUnavailable
from app.store.valkey import EmbeddedValkey, StateFolderInUse


@contextmanager
def named_by(redis_url: str | None) -> Iterator[None]:
    """Where the settings name the store it is their fault that it cannot be used: ConfigError."""
    try:
        yield
    except StoreUnavailable as error:
        if redis_url is None:
            raise
        raise ConfigError(
            f"SLUICE_REDIS_URL: the store that it names cannot be used ({error.reason})"
        ) from error


def store_begun(state_dir: Path) -> bool:
    """Whether an embedded store was ever started there."""
    return (state_dir / "valkey").exists()


@asynccontextmanager
async def opened_store(redis_url: str | None, state_dir: Path) -> AsyncIterator[Store]:
    """The Redis that is named; else the embedded one of the running server, or one of our own for the moment.

    Raises EmbeddedValkeyError, ValueError for an address of no known form.
    """
    async with AsyncExitStack() as stack:
        if redis_url is None:
            embedded = EmbeddedValkey(state_dir)
            try:
                await embedded.start()
                stack.push_async_callback(embedded.stop)
            except StateFolderInUse:
                pass  # a server runs, and its store serves us too
            redis_url = embedded.url
        store = Store(redis_url)
        stack.push_async_callback(store.close)
        yield store
