"""Adapters loaded and unloaded while the server runs, for admins, from folders that the operator named."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from app.answers import json_answer
from app.model_name import full_name
from app.principal import Principal
from app.routes.models import adapter_model
from app.service import Service, service_of
from engine.adapters.adapter import AdapterError, AdapterNameError, AdapterQueueError
from engine.adapters.files import CONFIG, WEIGHTS
from engine.interface import Engine
from protocol.codes import ProtocolError
from protocol.models import ModelDeleted
from protocol.requests.adapter import parse_load_adapter, parse_unload_adapter

log = logging.getLogger("sluice.adapters")

_RETRY_AFTER_S: Final = 1.0  # one is read in less


async def load(request: Request) -> HttpResponse:
    service, principal = await _admit(request)
    asked = await service.read(request, principal.tenant, parse_load_adapter)
    folder = await asyncio.to_thread(allowed_folder, asked.path, service.config.adapter_dirs)
    engine, name = _asked_of(service, asked.name)
    try:
        adapter = await engine.adapters.load(name, folder)
    except AdapterError as error:
        log.warning("adapter refused name=%r key=%s reason=%r", asked.name, principal.key_id, str(error))
        raise _refusal(error) from error
    return json_answer(adapter_model(engine.model, adapter))


async def unload(request: Request) -> HttpResponse:
    service, principal = await _admit(request)
    asked = await service.read(request, principal.tenant, parse_unload_adapter)
    engine, name = _asked_of(service, asked.name)
    adapter = engine.adapters.unload(name)
    if adapter is None:
        loaded = ", ".join(repr(loan.adapter.name) for loan in engine.adapters) or "none"
        raise ProtocolError(
            "model_not_found", f"No adapter {asked.name!r} is loaded; there are: {loaded}.", param="lora_name"
        )
    return json_answer(ModelDeleted(id=full_name(engine.model.id, adapter)))


def allowed_folder(path: str, allowed: Sequence[str]) -> Path:
    """The folder that the network names, if its files lie in one of those that the operator named.

    Links are followed first. Whatever lies elsewhere is refused in the same words, whether it is there or not.
    """
    for base in allowed:
        home = Path(base).resolve()
        folder = home / path  # an absolute path stays as it is
        try:
            inside = all((folder / name).resolve().is_relative_to(home) for name in ("", CONFIG, WEIGHTS))
            if inside and folder.is_dir():
                return folder
        except (OSError, ValueError, RuntimeError):  # a name too long, with a NUL, links in a circle
            break
    raise ProtocolError(
        "invalid_value",
        "There is no such folder in those that the server's operator named for adapters (SLUICE_ADAPTER_DIRS).",
        param="lora_path",
    )


def _asked_of(service: Service, asked: str) -> tuple[Engine, str]:
    """The engine of `MODEL:NAME`, or of the default model, and the name alone. Raises ProtocolError."""
    models = service.hub.models
    model_id, colon, name = asked.rpartition(":")
    if not colon:
        return models.default.engine, name
    try:
        model = models.serving(model_id)
    except ProtocolError as error:
        raise ProtocolError(
            error.code, error.message, param="lora_name", retry_after_s=error.retry_after_s
        ) from error
    if model.id != model_id:  # what it names is a model with an adapter itself
        raise ProtocolError(
            "invalid_value", f"{model_id!r} is no model alone; name it MODEL:ADAPTER.", param="lora_name"
        )
    return model.engine, name


def _refusal(error: AdapterError) -> ProtocolError:
    if isinstance(error, AdapterQueueError):
        return ProtocolError("server_is_overloaded", str(error), retry_after_s=_RETRY_AFTER_S)
    param = "lora_name" if isinstance(error, AdapterNameError) else "lora_path"
    return ProtocolError("invalid_value", str(error), param=param)


async def _admit(request: Request) -> tuple[Service, Principal]:
    service = service_of(request)
    principal = await service.authenticate(request, "admin")
    if not service.config.adapter_dirs:
        raise ProtocolError(
            "not_found",
            "Adapters cannot be loaded over HTTP here: the server's operator has to name folders for them first "
            "(SLUICE_ADAPTER_DIRS).",
        )
    return service, principal


routes = [
    Route("/v1/load_lora_adapter", load, methods=["POST"]),
    Route("/v1/unload_lora_adapter", unload, methods=["POST"]),
]
