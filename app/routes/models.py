"""The models that are served; and for an admin, how more come and go."""

from __future__ import annotations

import asyncio

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from app.answers import json_answer
from app.model_name import full_name, named
from app.model_sources import allowed_source
from app.models import Entry
from app.service import service_of
from engine.adapters.adapter import Adapter
from engine.interface import ModelInfo
from protocol.admin import AdminModel, AdminModelList
from protocol.models import Model, SamplingDefaults, model_list
from protocol.requests.load_model import parse_load_model


async def models(request: Request) -> HttpResponse:
    service = service_of(request)
    await service.authenticate(request, "models:read")
    shown = []
    for model in service.hub.models.ready:
        info = model.engine.model
        shown += [_shown(info), *(adapter_model(info, loan.adapter) for loan in model.engine.adapters)]
    return json_answer(model_list(shown))


async def model(request: Request) -> HttpResponse:
    service = service_of(request)
    await service.authenticate(request, "models:read")
    asked = request.path_params["model_id"]
    engine = service.hub.models.serving(asked).engine
    found = named(engine, asked)
    if found.adapter is not None:
        return json_answer(adapter_model(engine.model, found.adapter))
    return json_answer(_shown(found.info))


async def all_models(request: Request) -> HttpResponse:
    service = service_of(request)
    await service.authenticate(request, "admin")
    return json_answer(AdminModelList(data=tuple(map(_entry, service.hub.models.entries))))


async def load(request: Request) -> HttpResponse:
    service = service_of(request)
    principal = await service.authenticate(request, "admin")
    asked = await service.read(request, principal.tenant, lambda body, _: parse_load_model(body))
    source = await asyncio.to_thread(allowed_source, asked, service.config)
    return json_answer(_entry(service.hub.models.load(request.path_params["model_id"], source)), 202)


async def unload(request: Request) -> HttpResponse:
    service = service_of(request)
    await service.authenticate(request, "admin")
    return json_answer(_entry(service.hub.models.unload(request.path_params["model_id"])), 202)


def adapter_model(base: ModelInfo, adapter: Adapter) -> Model:
    return structs.replace(
        _shown(base), id=full_name(base.id, adapter), created=adapter.loaded_at, parent=base.id
    )


def _shown(info: ModelInfo) -> Model:
    return Model(
        id=info.id,
        created=info.created_at,
        context_tokens=info.context_tokens,
        max_model_len=info.context_tokens,
        defaults=_defaults(info),
        root=info.id,
    )


def _defaults(info: ModelInfo) -> SamplingDefaults:
    sampling = info.defaults
    return SamplingDefaults(
        temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p
    )


def _entry(entry: Entry) -> AdminModel:
    return AdminModel(
        id=entry.id,
        source=entry.source,
        state=entry.state,
        bytes=entry.bytes,
        doing=entry.doing if entry.state == "loading" else "",
        done=entry.done,
        total=entry.total,
        error=entry.error,
    )


routes = [
    Route("/v1/models", models, methods=["GET"]),
    Route("/v1/models/{model_id:path}", model, methods=["GET"]),
    Route("/v1/admin/models", all_models, methods=["GET"]),
    Route("/v1/admin/models/{model_id:path}", load, methods=["PUT"]),
    Route("/v1/admin/models/{model_id:path}", unload, methods=["DELETE"]),
]
