"""What a model may be called, and the setting that names further ones (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from app.settings import ConfigError

# No colon, which stands before an adapter's name; no comma or equals sign, which settings are split at.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


def further_models(settings: Iterable[str]) -> dict[str, str]:
    """Sources by id, as the setting gives them: `ID=SOURCE`. Raises ConfigError."""
    found: dict[str, str] = {}
    for one in settings:
        model_id, equals, source = one.partition("=")
        try:
            check_id(model_id)
        except ValueError as error:
            raise ConfigError(f"SLUICE_MODELS: {error}") from None
        if not equals or not source or model_id in found:
            raise ConfigError(
                f"SLUICE_MODELS: {one!r} is not ID=PATH or ID=NAME with an id of its own; mend it"
            )
        found[model_id] = source
    return found


def check_id(model_id: str) -> None:
    """Raises ValueError for an id that a model cannot have."""
    if not _ID.fullmatch(model_id):
        raise ValueError(
            f"{model_id!r} is not a model's id: up to 128 letters, digits, '.', '_', '/', '-', a letter or digit first"
        )
    if any(part in ("", ".", "..") for part in model_id.split("/")):
        raise ValueError(
            f"{model_id!r} is not a model's id: between slashes stands a name, not nothing, '.' or '..', which HTTP "
            "clients leave out of paths"
        )
