"""What the setting for adapters says: `[MODEL:]NAME=FOLDER` (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class AskedAdapter(NamedTuple):
    model: str | None  # None: the default one
    name: str
    folder: Path

    def of(self, model: str, *, default: bool) -> bool:
        """Whether it is this model's."""
        return self.model == model or (default and self.model is None)


def asked_adapter(setting: str) -> AskedAdapter:
    """A model's name may hold colons, an adapter's does not."""
    named, _, folder = setting.partition("=")
    model, colon, name = named.rpartition(":")
    return AskedAdapter(model if colon else None, name, Path(folder))


def of_no_model(settings: Iterable[str], models: Iterable[str]) -> str | None:
    """What is wrong where one names a model that is not among these; None if nothing is."""
    known = list(models)
    for one in map(asked_adapter, settings):
        if one.model is not None and one.model not in known:
            there = ", ".join(map(repr, known))
            return (
                f"adapters: '{one.model}:{one.name}' is for a model that the start does not load; it has {there}. "
                "Name one of these, or load the other with SLUICE_MODELS"
            )
    return None
