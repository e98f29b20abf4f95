"""The hub: every live response, who reads it, and the tasks that carry it from request to record."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from app.ask import Ask
from app.asked import engine_request, record_of
from app.auth import Authenticator
from app.config import Config
from app.context import Prompt
from app.emitter import Sink
from app.flush import Flush
from app.formats import compiled_format
from app.handle import Handle
from app.journal import Journal, Ring
from app.metrics import Metrics
from app.model import Model
from app.model_name import named
from app.models import Models
from app.moderation import CompiledPolicy
from app.prompts import translated
from app.store.record import StoredResponse
from app.store.responses import ResponseStores
from app.turn import Turn
from app.workers import Workers
from engine.interface import Engine
from engine.request import ChatMessage, EngineError
from protocol.codes import ProtocolError
from protocol.response import Response, ResponseError

if TYPE_CHECKING:
    from app.connection import Connection

log = logging.getLogger("sluice.hub")

_SHUT_DOWN: Final = ResponseError(
    "draining", "The server shut down before the reply's end. What came is kept: go on from it, or ask again."
)


class Hub:
    """Starts, finds, cancels and ends responses. `run` owns their tasks."""

    def __init__(
        self,
        *,
        config: Config,
        models: Models,
        stores: ResponseStores,
        auth: Authenticator,
        policy: CompiledPolicy,
        metrics: Metrics,
        workers: Workers,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.config = config
        self.models = models
        self.stores = stores
        self.auth = auth
        self.policy = policy
        self.metrics = metrics
        self.workers = workers
        self.flush = Flush(loop)
        self.connections: set[Connection] = set()
        self.draining = False
        self._live: dict[str, Turn] = {}
        self._ring = Ring(config.replay_bytes, config.replay_s)
        self._group: asyncio.TaskGroup | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._handles: set[Handle] = set()  # of every response that was asked for and has not ended

    async def run(self) -> None:
        """Own every response's task until cancelled; by then `drain` has ended them."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    def start(
        self,
        ask: Ask,
        sink: Sink,
        *,
        on_refused: Callable[[ProtocolError], None],
        on_ended: Callable[[], None],
    ) -> Handle:
        """Begin a response; `sink` gets its events, or `on_refused` the reason why there are none; then `on_ended`."""
        assert self._group is not None
        handle = Handle()
        self._handles.add(handle)
        self._idle.clear()
        self._group.create_task(self._serve(ask, sink, handle, on_refused, on_ended))
        return handle

    @property
    def engine(self) -> Engine:
        """The default model's."""
        return self.models.default.engine

    def live(self, response_id: str, tenant: str) -> Turn | None:
        turn = self._live.get(response_id)
        return turn if turn is not None and turn.tenant == tenant else None

    def ended_journal(self, response_id: str, tenant: str) -> Journal | None:
        return self._ring.get(response_id, tenant, time.monotonic())

    def forget(self, response_id: str, tenant: str) -> bool:
        """Drop what is kept in memory of a deleted response; whether there was anything."""
        known = self.ended_journal(response_id, tenant) is not None
        if known:
            self._ring.discard(response_id)
        return any(connection.forget(response_id, tenant) for connection in self.connections) or known

    def cancel(self, response_id: str, tenant: str) -> Turn:
        """Cancel a live response by id. Raises ProtocolError if there is none."""
        turn = self.live(response_id, tenant)
        if turn is None:
            raise ProtocolError(
                "response_not_found",
                f"No running response has the id {response_id!r}: it has ended, or never was.",
                param="response_id",
            )
        turn.cancel()
        return turn

    async def drain(self, grace_s: float) -> None:
        """Refuse new responses, let the running ones end within the grace time, then cancel what is left."""
        self.draining = True
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            self.cancel_all()

    def cancel_all(self) -> None:
        for handle in list(self._handles):
            handle.leave(_SHUT_DOWN)

    async def wait_idle(self) -> None:
        """Until no response is unfinished."""
        await self._idle.wait()

    async def _serve(
        self,
        ask: Ask,
        sink: Sink,
        handle: Handle,
        on_refused: Callable[[ProtocolError], None],
        on_ended: Callable[[], None],
    ) -> None:
        began = time.monotonic()
        ask = ask.limited(self.config.reply_tokens)
        try:
            try:
                await self.auth.recheck(ask.principal)  # a socket outlives a revocation, its turns do not
                self._check_open()
                if ask.keep and ask.create.store:
                    await self.stores.store.ping()  # a stored turn needs the store: say so before it begins
                model = self.models.serving(ask.create.model)
                grammar = await compiled_format(ask, model.engine, self.workers, lambda: handle.left)
                prompt, new = await model.prompts.of(ask)
                if handle.left:
                    self._check_open()
                    return  # nobody is there to be told
                turn = model.turns.begin(ask, prompt)
                turn.on_first_text = partial(self._first_text, model, began)
                turn.attach(sink)
                handle.turn = turn
                self._submit(model, turn, ask, prompt, grammar)
            except ProtocolError as error:
                self.metrics.refused.labels(error.code).inc()
                on_refused(error)
                return
            except Exception:
                log.exception("request failed before its response began")
                on_refused(
                    ProtocolError("internal_error", "The server failed before the response began. Try again.")
                )
                return
            await self._finish(model, turn, ask, prompt, new, began)
        finally:
            self._handles.discard(handle)
            if not self._handles:
                self._idle.set()
            on_ended()

    async def _finish(
        self,
        model: Model,
        turn: Turn,
        ask: Ask,
        prompt: Prompt,
        new: tuple[ChatMessage, ...],
        began: float,
    ) -> None:
        """From the engine's last word to the terminal event."""
        try:
            await turn.ended.wait()
            response = turn.finished_response(int(time.time()))
            try:
                reply = _commit(model, turn)
                tokenizer = model.engine.tokenizer.fingerprint
                await self._keep(ask, record_of(response, turn.text, reply, ask, prompt, new, tokenizer))
            except Exception:
                log.exception("response not kept id=%s", turn.id)
                error = ResponseError("internal_error", "The server failed to keep this response.")
                response = replace(response, status="failed", error=error, incomplete_details=None)
            turn.conclude(response)
            self._observe(model, turn, response, began)
        except Exception:  # of ours; raised, it would end the hub and with it every other response
            log.exception("response not concluded id=%s", turn.id)
        finally:
            turn.concluded.set()
            self._live.pop(turn.id, None)
            self.metrics.live.set(len(self._live))
            if turn.journal is not None:
                self._ring.add(turn.id, ask.principal.tenant, turn.journal, time.monotonic())

    def _check_open(self) -> None:
        if self.draining:
            raise ProtocolError(
                "draining", "This server is shutting down. Send the request again.", retry_after_s=1.0
            )

    def _submit(self, model: Model, turn: Turn, ask: Ask, prompt: Prompt, grammar: object | None) -> None:
        asked = named(model.engine, ask.create.model)
        try:
            turn.submit(engine_request(turn.id, ask, prompt, asked, grammar, self.config))
        except EngineError as error:
            raise translated(error, ask.param) from error
        self._live[turn.id] = turn
        self.metrics.live.set(len(self._live))

    async def _keep(self, ask: Ask, record: StoredResponse) -> None:
        """Make the response readable, as a parent and by GET, before its terminal event is sent."""
        if not ask.keep:
            return
        if ask.create.store:
            await self.stores.of(ask.principal.tenant).put(record)
        else:
            ask.local[record.id] = record

    def _first_text(self, model: Model, began: float) -> float:
        seconds = time.monotonic() - began
        self.metrics.observe_first_text(self._label(model), seconds)
        return seconds

    def _label(self, model: Model) -> str | None:
        """A model's in the metrics; none once it was forgotten there, or it would come back for good."""
        return model.id if self.models.holds(model) else None

    def _observe(self, model: Model, turn: Turn, response: Response, began: float) -> None:
        seconds = time.monotonic() - began
        metrics = self.metrics
        metrics.ended.labels(response.status).inc()
        metrics.observe_request(
            self._label(model),
            seconds,
            turn.usage.input_tokens,
            turn.usage.output_tokens,
            turn.first_text_s,
        )
        if turn.cut is not None:
            metrics.cuts.labels(turn.cut.category).inc()
        log.info(
            "response ended id=%s status=%s input=%d cached=%d output=%d seconds=%.3f",
            turn.id,
            response.status,
            turn.usage.input_tokens,
            turn.usage.input_tokens_details.cached_tokens,
            turn.usage.output_tokens,
            seconds,
        )

    def __repr__(self) -> str:
        return f"<Hub live={len(self._live)} connections={len(self.connections)} draining={self.draining}>"


def _commit(model: Model, turn: Turn) -> list[int]:
    """The ids of the released text, all of the reply that the engine may let a later turn find."""
    text = turn.text
    reply = model.engine.tokenizer.reply_ids(text, turn.token_ids) if text else []
    model.engine.commit(turn.id, reply)
    return reply
