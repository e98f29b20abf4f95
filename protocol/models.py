"""GET /v1/models: what can be asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from protocol.codec import encode


class SamplingDefaults(Struct, frozen=True, kw_only=True):
    """What counts where a request says nothing: the model's own recommendation."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float


class Model(Struct, frozen=True, kw_only=True):
    """`context_tokens` (prompt and output together; vLLM calls it `max_model_len`) and `defaults` are ours. An adapter
    has a `parent`, the model that it adapts, which is the `root` of its weights too."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "sluice"
    context_tokens: int
    max_model_len: int
    defaults: SamplingDefaults
    root: str | UnsetType = UNSET
    parent: str | UnsetType = UNSET


class ModelDeleted(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


class ModelList(Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: tuple[Model, ...]


def model_list(models: Iterable[Model]) -> bytes:
    return encode(ModelList(data=tuple(models)))
