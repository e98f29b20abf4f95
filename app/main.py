"""Where the parts meet: the service from a configuration, and the Starlette app in front of it."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app.adapter_settings import of_no_model
from app.answers import RequestIds, on_bug, on_http_exception, on_protocol_error
from app.auth import Authenticator
from app.config import Config
from app.engines import Built, build_default, build_further, default_source
from app.hub import Hub
from app.keys import load_pepper
from app.metrics import Metrics
from app.model import Model
from app.model_ids import further_models
from app.models import Models
from app.moderation import CompiledPolicy, PolicyError, compile_policy, load_policy
from app.prompts import Prompts
from app.routes import adapters, completions, playground, responses, socket
from app.routes import models as model_routes
from app.routes import service as service_routes
from app.running_server import new_key
from app.service import Service
from app.settings import ConfigError
from app.short_slices import take_short_slices
from app.store.client import Store
from app.store.keys import KeyRecords
from app.store.opened import named_by
from app.store.responses import ResponseStores
from app.store.valkey import EmbeddedValkey
from app.turns import Turns
from app.workers import Workers
from engine.config import ModelError
from engine.interface import Engine
from protocol.codes import ProtocolError
from protocol.limits import MAX_INT32, ConnectionLimits, Limits

log = logging.getLogger("sluice")

LAG_INTERVAL_S: Final = 0.1
SWITCH_INTERVAL_S: Final = 5e-4
"""The default of 5 ms lets the engine's Python hold up the event loop that long (docs/benchmarks.md)."""


@asynccontextmanager
async def running(
    config: Config, engine: Engine | None = None, policy: CompiledPolicy | None = None
) -> AsyncIterator[tuple[Service, str | None]]:
    """The whole service, started; and the first key, if this start made it. Everything ends with the context.

    `engine` and `policy` serve instead of those that the configuration names.
    """
    loop = asyncio.get_running_loop()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    take_short_slices()
    policy = policy or _policy(config)
    metrics = Metrics()
    operator_key = new_key()
    async with AsyncExitStack() as stack:
        runs: list[Callable[[], Awaitable[None]]] = [lambda: _watch_lag(metrics)]
        embedded = None if config.redis_url is not None else EmbeddedValkey(config.state_dir)
        if embedded is not None:
            embedded.claim()  # first: a folder in use is said before anything slow
        gc.disable()  # imports and weights make much and drop little: a tenth of the start
        building = asyncio.create_task(asyncio.to_thread(_engines, config, engine))
        try:
            url = config.redis_url or ""
            if embedded is not None:
                await stack.enter_async_context(embedded)
                runs.append(embedded.run)
                url = embedded.url
            store = Store(url)
            metrics.watch_store(lambda: store.healthy)
            stack.push_async_callback(store.close)
            stores = ResponseStores(
                store,
                ttl_s=config.response_ttl_s,
                max_turns=config.max_turns,
                pending_writes=config.pending_writes,
                pending_bytes=config.pending_bytes,
                scrub=config.redis_url is None,
            )
            stack.push_async_callback(stores.close)
            auth = Authenticator(
                KeyRecords(store),
                load_pepper(config.state_dir, config.key_pepper),
                bootstrap_key=config.bootstrap_key,
                operator_key=operator_key,
                ephemeral_ttl_s=config.ephemeral_key_ttl_s,
            )
            with named_by(config.redis_url):
                first_key = await auth.prepare()
        finally:
            served = await building  # a thread cannot be cancelled: wait for it, whatever happened here
            gc.enable()
        workers = Workers()
        stack.callback(workers.close)

        def equip(served: Engine) -> Model:
            return _model(config, served, stores, policy, workers)

        models = Models(
            loop,
            partial(build_further, config),
            equip,
            on_gone=metrics.forget,
            grace_s=config.drain_grace_s,
        )
        stack.push_async_callback(models.close)
        for built, source in served:
            models.add(built, source)
        metrics.watch_engines(lambda: [model.engine for model in models.ready])
        metrics.watch_adapters(lambda: [(model.id, model.engine.adapters) for model in models.ready])
        hub = Hub(
            config=config,
            models=models,
            stores=stores,
            auth=auth,
            policy=policy,
            metrics=metrics,
            workers=workers,
            loop=loop,
        )
        await stack.enter_async_context(_tasks(hub.run, models.run, stores.run, *runs))
        gc.freeze()  # what lives as long as the process need not be looked at again
        yield (
            Service(
                config, hub, auth, store, metrics, _limits(config), _connection_limits(config), operator_key
            ),
            first_key,
        )


def _engines(config: Config, engine: Engine | None) -> list[tuple[Built, str]]:
    """The engines of a start with where they come from, the default one first. Raises ConfigError."""
    first = Built(engine) if engine is not None else build_default(config)
    served = [(first, default_source(config))]
    planned = {first.engine.model.id: first.share}
    if fault := of_no_model(config.adapters, [*planned, *further_models(config.models)]):
        raise ConfigError(fault)
    from engine.progress import ProgressBars

    progress = ProgressBars()
    for model_id, source in further_models(config.models).items():
        if model_id in planned:
            raise ConfigError(f"SLUICE_MODELS: {model_id!r} is the default model's id; choose another")
        try:
            built = build_further(config, model_id, source, planned, progress)
        except ModelError as error:
            raise ConfigError(f"SLUICE_MODELS: {model_id}={source}: {error}") from error
        finally:
            progress.close()
        planned[model_id] = built.share
        served.append((built, source))
    return served


def _model(
    config: Config, engine: Engine, stores: ResponseStores, policy: CompiledPolicy, workers: Workers
) -> Model:
    prompts = Prompts(
        engine,
        stores,
        policy,
        workers,
        max_turns=config.max_turns,
        max_prompt_tokens=config.max_prompt_tokens,
    )
    return Model(engine, prompts, Turns(engine, policy, config.replay_events))


def _policy(config: Config) -> CompiledPolicy:
    try:
        return compile_policy(load_policy(config.policy))
    except PolicyError as error:
        raise ConfigError(f"SLUICE_POLICY: {error}") from error


@asynccontextmanager
async def _tasks(*runs: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run these until the context ends; one that fails ends the service."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(run)) for run in runs]
        await asyncio.sleep(0)  # they stand before anyone asks them for something
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _run(run: Callable[[], Awaitable[None]]) -> None:
    await run()


async def _watch_lag(metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_INTERVAL_S
        await asyncio.sleep(LAG_INTERVAL_S)
        metrics.loop_lag.observe(max(0.0, loop.time() - due))


def _limits(config: Config) -> Limits:
    return Limits(
        max_body_bytes=config.max_body_bytes,
        max_nesting=config.max_nesting,
        max_input_items=config.max_input_items,
        max_parts=config.max_content_parts,
        max_tools=config.max_tools,
        max_tools_bytes=config.max_tools_bytes,
        max_schema_bytes=config.max_schema_bytes,
        max_tool_nesting=config.max_tool_nesting,
        max_stop=config.max_stop_strings,
        max_output_tokens=config.max_output_tokens or MAX_INT32,
        max_metadata_pairs=config.max_metadata_pairs,
        max_containers=config.max_containers,
        max_moderation_inputs=config.max_moderation_inputs,
    )


def _connection_limits(config: Config) -> ConnectionLimits:
    return ConnectionLimits(
        max_active=config.max_active_responses,
        max_lanes=config.max_lanes,
        max_age_s=config.connection_lifetime_s,
    )


def create_app(service: Service) -> Starlette:
    """The HTTP and WebSocket surface of a running service."""
    origins = service.config.cors_origins
    middleware = [Middleware(RequestIds)]
    if origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["*"],
                expose_headers=["x-request-id", "retry-after", "x-should-retry"],
            )
        )
    app = Starlette(
        routes=[
            *socket.routes,
            *responses.routes,
            *completions.routes,
            *model_routes.routes,
            *service_routes.routes,
            *adapters.routes,
            *playground.playground_routes(),
        ],
        middleware=middleware,
        exception_handlers={
            ProtocolError: on_protocol_error,
            HTTPException: on_http_exception,
            Exception: on_bug,
        },
    )
    app.router.redirect_slashes = False  # a redirect would name the host that the client claims
    app.state.service = service
    return app
