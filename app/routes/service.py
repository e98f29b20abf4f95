"""Moderation, keys for browsers, health, metrics, and the documents of it all."""

from __future__ import annotations

import contextlib
from functools import cache

from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from app.answers import json_answer
from app.ids import new_id
from app.moderation import category_scores
from app.service import service_of
from app.store.client import StoreUnavailable
from protocol.asyncapi import asyncapi_document
from protocol.client_secret import ClientSecret, SecretSession
from protocol.codec import encode
from protocol.health import Health, Readiness
from protocol.moderation import moderation_answer
from protocol.openapi import openapi_document
from protocol.requests.client_secret import parse_client_secret
from protocol.requests.moderation import parse_moderations


async def moderations(request: Request) -> HttpResponse:
    service = service_of(request)
    principal = await service.authenticate(request, "moderations:write")
    asked = await service.read(request, principal.tenant, parse_moderations)
    policy, workers = service.hub.policy, service.hub.workers
    verdicts = await workers.run(
        principal.tenant,
        sum(map(len, asked.texts)),
        lambda: [category_scores(policy, text, workers.stopping) for text in asked.texts],
    )
    return json_answer(moderation_answer(new_id("modr"), f"sluice-policy-{policy.version}", verdicts))


async def client_secrets(request: Request) -> HttpResponse:
    service = service_of(request)
    principal = await service.authenticate(request, "responses:write")
    asked = await service.read(request, principal.tenant, lambda body, _: parse_client_secret(body))
    key = service.auth.mint_ephemeral(principal, asked.life_s)
    session = SecretSession(id=new_id("sess"), expires_at=key.expires_at)
    return json_answer(ClientSecret(value=key.value, expires_at=key.expires_at, session=session))


async def healthz(request: Request) -> HttpResponse:
    """Whether the process answers; it looks at nothing else."""
    return json_answer(Health())


async def readyz(request: Request) -> HttpResponse:
    """Whether a turn sent now would be served, and if not, for want of what. Never generates."""
    service = service_of(request)
    with contextlib.suppress(StoreUnavailable):
        await service.store.ping()
    engine = all(model.engine.ready for model in service.hub.models.ready)
    store, open_ = service.store.healthy, not service.hub.draining
    readiness = Readiness(
        status="ready" if engine and store and open_ else "unavailable",
        engine="ok" if engine else "unavailable",
        store="ok" if store else "unavailable",
        hub="ok" if open_ else "draining",
    )
    return json_answer(readiness, 200 if readiness.status == "ready" else 503)


async def metrics(request: Request) -> HttpResponse:
    service = service_of(request)
    await service.authenticate(request, "usage:read")
    return HttpResponse(service.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def openapi(request: Request) -> HttpResponse:
    await service_of(request).authenticate(request, "models:read")
    return json_answer(_openapi())


async def asyncapi(request: Request) -> HttpResponse:
    await service_of(request).authenticate(request, "models:read")
    return json_answer(_asyncapi())


@cache
def _openapi() -> bytes:
    return encode(openapi_document())


@cache
def _asyncapi() -> bytes:
    return encode(asyncapi_document())


routes = [
    Route("/v1/moderations", moderations, methods=["POST"]),
    Route("/v1/realtime/client_secrets", client_secrets, methods=["POST"]),
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route("/metrics", metrics, methods=["GET"]),
    Route("/openapi.json", openapi, methods=["GET"]),
    Route("/asyncapi.json", asyncapi, methods=["GET"]),
]
