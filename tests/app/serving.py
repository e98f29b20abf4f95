"""A real server for tests: the whole service on a free loopback port, in the test's own event loop."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.config import Config
from app.load_config import load_config
from app.main import create_app, running
from app.moderation.matcher import CompiledPolicy, compile_policy
from app.moderation.policy import load_policy
from app.server import Server, bind, make_server
from app.service import Service
from engine.interface import Engine

KEY = "test-key-of-thirty-two-characters"


@cache
def default_policy() -> CompiledPolicy:
    """The shipped policy, compiled once: that takes half a second."""
    return compile_policy(load_policy(None))


@cache
def compiled() -> Path:
    """Where all servers of these tests keep our C: compiling it takes ten seconds, and its name says its content."""
    folder = tempfile.mkdtemp(prefix="sluice-test-native-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@dataclass(frozen=True, slots=True)
class Served:
    """A running server and the way to it."""

    service: Service
    server: Server
    key: str = KEY

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


def config_for(state_dir: Path, **settings: object) -> Config:
    """A scripted server's configuration; `settings` are named as in `Config`."""
    env = {
        "HOME": str(state_dir),
        "SLUICE_PORT": "0",
        "SLUICE_ENGINE": "scripted",
        "SLUICE_SCRIPTED_TOKENS_PER_S": "0",
        "SLUICE_BOOTSTRAP_KEY": KEY,
        "SLUICE_STATE_DIR": str(state_dir),
        "SLUICE_LOG_LEVEL": "warning",
    } | {f"SLUICE_{name.upper()}": str(value) for name, value in settings.items()}
    config = load_config([], env, state_dir)
    native = config.cache_dir / "native"
    if not native.exists():
        native.parent.mkdir(parents=True, exist_ok=True)
        native.symlink_to(compiled())
    return config


@asynccontextmanager
async def serving(engine: Engine | None = None, **settings: object) -> AsyncIterator[Served]:
    """Serve until the context ends; everything that was started is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sluice-test-") as folder:
        config = config_for(Path(folder), **settings)
        policy = default_policy() if config.policy is None else None
        async with running(config, engine, policy) as (service, _):
            listener = bind(config)
            server = make_server(config, create_app(service))
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve([listener]))
                await server.listening.wait()
                try:
                    yield Served(service, server)
                finally:
                    await service.hub.drain(0)
                    await service.hub.wait_idle()
                    server.should_exit = True
