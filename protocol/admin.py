"""`/v1/admin/models`: what an admin sees of each model, those on their way included."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class AdminModel(Struct, frozen=True, kw_only=True):
    """`bytes`: the memory that it may take. `doing`, `done`, `total`: the part of its loading that goes on."""

    id: str
    object: Literal["admin.model"] = "admin.model"
    source: str
    state: Literal["loading", "ready", "unloading", "failed"]
    bytes: int
    doing: str
    done: int
    total: int
    error: str


class AdminModelList(Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: tuple[AdminModel, ...]
