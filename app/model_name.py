"""What a request's `model` names: a model, or `model:adapter`."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace
from typing import NamedTuple

from engine.adapters.adapter import Adapter
from engine.interface import Engine, ModelInfo
from protocol.codes import ProtocolError


class Named(NamedTuple):
    info: ModelInfo  # its id is the name in full
    adapter: Adapter | None


def split_name(name: str, models: Container[str]) -> tuple[str, str | None]:
    """The model and the adapter. A model's own name may hold colons, an adapter's does not."""
    model, colon, adapter = name.rpartition(":")
    return (name, None) if name in models or not colon else (model, adapter)


def full_name(model: str, adapter: Adapter) -> str:
    return f"{model}:{adapter.name}"


def names_of(engine: Engine) -> list[str]:
    """All that requests may name: the model, and it with each of its adapters."""
    model = engine.model.id
    return [model, *(full_name(model, loan.adapter) for loan in engine.adapters)]


def not_found(name: str, there: Iterable[str], default: str | None = None) -> ProtocolError:
    """default: what a request gets that names none."""
    there = list(there)
    model, _, adapter = name.rpartition(":")
    known = adapter and model in there
    what = f"The model {model!r} has no adapter {adapter!r}" if known else f"No model is called {name!r}"
    served = ", ".join(map(repr, there))
    way_out = f" Name one of them, or leave 'model' out for {default!r}." if default is not None else ""
    return ProtocolError("model_not_found", f"{what}; this server has {served}.{way_out}", param="model")


def named(engine: Engine, name: str | None) -> Named:
    """What `name` asks for; None asks for the model as it is. Raises ProtocolError `model_not_found`."""
    info = engine.model
    if name is None:
        return Named(info, None)
    model, chosen = split_name(name, (info.id,))
    if model == info.id and chosen is None:
        return Named(info, None)
    adapter = engine.adapters.find(chosen) if chosen is not None and model == info.id else None
    if adapter is None:
        raise not_found(name, names_of(engine))
    return Named(replace(info, id=full_name(info.id, adapter)), adapter)
