"""The models of the process by id: which one a request gets, how more come and go while it serves."""

from __future__ import annotations

import asyncio
import ctypes
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeAlias

from app.engines import Built, Share
from app.model import Model
from app.model_ids import check_id
from app.model_name import names_of, not_found, split_name
from engine.aside import aside
from engine.config import ModelError
from engine.interface import Engine
from engine.progress import Progress
from protocol.codes import ProtocolError

log = logging.getLogger("sluice.models")

State: TypeAlias = Literal["loading", "ready", "unloading", "failed"]
Build: TypeAlias = Callable[[str, str, Mapping[str, Share], Progress], Built]
"""As `engines.build_further`, with the configuration given already."""

MAX_MODELS: Final = 16
"""Also the bound of a metric's model names; each has a thread and its own memory, so no machine has room for more."""
RETRY_AFTER_S: Final = 2.0  # a small model is there then; who asks earlier is told again


@dataclass(slots=True, eq=False)
class Entry:
    """What is known of an id. `doing`, `done`, `total`: the part of its loading that goes on."""

    id: str
    source: str
    state: State
    model: Model | None = None
    built: Built | None = None
    doing: str = ""
    done: int = 0
    total: int = 0
    error: str = ""

    @property
    def bytes(self) -> int:
        """The memory that it may take."""
        return self.built.share.bytes if self.built is not None else 0

    def progress(self, doing: str, done: int, total: int) -> None:
        """Called by the thread that loads; read by the event loop for people alone."""
        self.doing, self.done, self.total = doing, done, total


class Models:
    """Finds, loads and unloads models; the default one stays. `run` owns the tasks that do it.

    Everything but building engines happens on the event loop's thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        build: Build,
        equip: Callable[[Engine], Model],
        *,
        on_gone: Callable[[str], None],
        grace_s: float,
    ) -> None:
        """equip: prompts and turns for an engine. on_gone: told the id of a model whose last trace is to go."""
        self._loop = loop
        self._build = build
        self._equip = equip
        self._on_gone = on_gone
        self._grace_s = grace_s
        self._entries: dict[str, Entry] = {}
        self._default = ""
        self._building = asyncio.Lock()  # each plan must see what those before it take
        self._group: asyncio.TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<Models {' '.join(f'{one.id}={one.state}' for one in self._entries.values())}>"

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    def add(self, built: Built, source: str) -> Model:
        """Start to serve an engine; the first one is the default."""
        model_id = built.engine.model.id
        self._default = self._default or model_id
        entry = self._entries.setdefault(model_id, Entry(model_id, source, "loading"))
        built.engine.start(self._loop)
        entry.model, entry.built, entry.state = self._equip(built.engine), built, "ready"
        return entry.model

    @property
    def default(self) -> Model:
        model = self._entries[self._default].model
        assert model is not None
        return model

    @property
    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    @property
    def ready(self) -> list[Model]:
        """Those that serve, the default one first."""
        return [one.model for one in self._entries.values() if one.state == "ready" and one.model is not None]

    @property
    def names(self) -> list[str]:
        """All that requests may name, adapters and models on their way included."""
        loading = [one.id for one in self._entries.values() if one.state == "loading"]
        return [name for model in self.ready for name in names_of(model.engine)] + loading

    @property
    def planned(self) -> dict[str, Share]:
        """Of each that takes memory."""
        return {one.id: one.built.share for one in self._entries.values() if one.built and one.built.plan}

    def holds(self, model: Model) -> bool:
        """Whether it has not gone yet; another of its id may be there."""
        entry = self._entries.get(model.id)
        return entry is not None and entry.model is model

    def serving(self, asked: str | None) -> Model:
        """The model of a request. Raises ProtocolError `model_not_found`, `model_loading`."""
        if asked is None:
            return self.default
        known = {one.id: one for one in self._entries.values() if one.state in ("ready", "loading")}
        model_id, adapter = split_name(asked, known)
        entry = known.get(model_id)
        if entry is None:
            raise not_found(asked, self.names, self._default)
        if entry.model is not None:
            if adapter is not None and entry.model.engine.adapters.find(adapter) is None:
                raise not_found(asked, self.names, self._default)
            return entry.model
        raise ProtocolError(
            "model_loading",
            f"The model {entry.id!r} is being loaded. Send the request again.",
            param="model",
            retry_after_s=RETRY_AFTER_S,
        )

    def load(self, model_id: str, source: str) -> Entry:
        """Begin to load a model; its entry shows how it goes. Raises ProtocolError `invalid_value`."""
        try:
            check_id(model_id)
        except ValueError as error:
            raise ProtocolError("invalid_value", f"{error}.", param="id") from None
        known = self._entries.get(model_id)
        if known is not None and known.state != "failed":
            way_out = "unload it first" if known.state == "ready" else "wait until that has ended"
            raise ProtocolError(
                "invalid_value", f"There is a model {model_id!r} ({known.state}); {way_out}.", param="id"
            )
        if known is None and len(self._entries) >= MAX_MODELS:
            raise ProtocolError("invalid_value", f"{MAX_MODELS} models are the most; unload one.", param="id")
        assert self._group is not None
        entry = self._entries[model_id] = Entry(model_id, source, "loading")
        self._group.create_task(self._load(entry))
        return entry

    def unload(self, model_id: str) -> Entry:
        """Begin to unload a model: running replies may end within the grace time. One that failed is forgotten.

        Raises ProtocolError `model_not_found`, `model_loading`, `invalid_value`.
        """
        entry = self._entries.get(model_id)
        if entry is None:
            raise not_found(model_id, self._entries)
        if model_id == self._default:
            raise ProtocolError(
                "invalid_value",
                f"{model_id!r} answers the requests that name no model; it stays while the server runs.",
                param="id",
            )
        if entry.state == "loading":
            raise ProtocolError(
                "model_loading", f"{model_id!r} is being loaded; unload it then.", retry_after_s=RETRY_AFTER_S
            )
        if entry.state == "failed":
            del self._entries[model_id]
        if entry.state == "ready":
            assert self._group is not None
            entry.state = "unloading"
            self._group.create_task(self._unload(entry))
        return entry

    async def close(self) -> None:
        """End every engine."""
        engines = [one.model.engine for one in self._entries.values() if one.model is not None]
        await asyncio.gather(*(engine.close() for engine in engines))

    async def _load(self, entry: Entry) -> None:
        try:
            async with self._building:
                planned = self.planned
                build = partial(self._build, entry.id, entry.source, planned, entry.progress)
                built = await asyncio.wrap_future(aside("load", build))
                self.add(built, entry.source)
            log.info("model loaded id=%s bytes=%d", entry.id, entry.bytes)
        except ModelError as error:
            entry.state, entry.error = "failed", str(error)
            log.warning("model not loaded id=%s reason=%r", entry.id, str(error))
        except Exception as error:  # whatever a folder makes of the libraries: the server goes on
            entry.state, entry.error = "failed", f"{type(error).__name__}: {error}"
            log.exception("model not loaded id=%s", entry.id)

    async def _unload(self, entry: Entry) -> None:
        assert entry.model is not None
        try:
            await _end(entry.model.engine, self._grace_s)
        except Exception:  # whatever is the matter with it, it is served no more, and the others are
            log.exception("model not ended in order id=%s", entry.id)
        entry.model = entry.built = None
        del self._entries[entry.id]
        self._on_gone(entry.id)
        await asyncio.wrap_future(aside("trim", _trim))
        log.info("model unloaded id=%s", entry.id)


async def _end(engine: Engine, grace_s: float) -> None:
    try:
        await engine.drain(grace_s)
    finally:
        await engine.close()


def _trim() -> None:
    """Have the allocator give back what it keeps: the machine's plan counts on it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
