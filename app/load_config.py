"""The settings of a start: from flags, variables and a file to a `Config`, or to the one that is at fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.config import Config
from app.model_ids import further_models
from app.setting_faults import origin_fault
from app.settings import (
    ConfigError,
    Given,
    from_argv,
    from_env,
    from_toml,
    help_lines,
    parse,
    settings_of,
)

_SETTINGS = settings_of(Config)


def help_text(*names: str) -> str:
    """What `--help` says of these settings, or of all."""
    return (
        "Every setting is a flag, an environment variable (--max-lanes is SLUICE_MAX_LANES) or a line of\n"
        "sluice.toml (max_lanes = 32), in that order.\n\n"
        + help_lines([_SETTINGS[name] for name in names or _SETTINGS])
    )


def load_config(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, command: str = "serve", own: Sequence[str] = ()
) -> Config:
    """The settings of this start. Raises ConfigError, which names the setting at fault and the way out.

    command, own: who was given `argv`, and which flags it has besides, for the hints.
    """
    home = Path(env["HOME"]) if env.get("HOME") else None
    given = from_env(_SETTINGS, env, cwd) | from_argv(_SETTINGS, argv, cwd, command, own)
    file = _file(given, cwd, home)
    if file is not None:
        given = from_toml(_SETTINGS, file) | given
    values: dict[str, Any] = _folders(env, home)
    values |= {name: parse(_SETTINGS[name], value, home) for name, value in given.items()}
    if missing := [_SETTINGS[name] for name in ("state_dir", "cache_dir") if name not in values]:
        raise ConfigError(f"HOME is not set, so there is no default folder; set {missing[0].variable}")
    values["config"] = file
    config = Config(**values)
    _check_together(config)
    return config


def _file(given: Mapping[str, Given], cwd: Path, home: Path | None) -> Path | None:
    if "config" in given:
        named = parse(_SETTINGS["config"], given["config"], home)
        assert isinstance(named, Path)
        return named
    usual = cwd / "sluice.toml"
    return usual if usual.exists() else None


def _folders(env: Mapping[str, str], home: Path | None) -> dict[str, Any]:
    """The default folders, by the XDG base directory specification."""
    folders: dict[str, Any] = {}
    for name, variable, usual in (
        ("state_dir", "XDG_STATE_HOME", ".local/state"),
        ("cache_dir", "XDG_CACHE_HOME", ".cache"),
    ):
        base = Path(env.get(variable, ""))
        if base.is_absolute():  # the specification: ignore a relative one
            folders[name] = base / "sluice"
        elif home is not None:
            folders[name] = home / usual / "sluice"
    return folders


def _check_together(config: Config) -> None:
    if (config.ssl_certfile is None) != (config.ssl_keyfile is None):
        raise ConfigError("--ssl-certfile and --ssl-keyfile belong together; give both or neither")
    further_models(config.models)
    for origin in config.cors_origins:
        if origin != "*" and origin_fault(origin):
            raise ConfigError(
                f"cors_origins: {origin!r} is not an origin; write scheme and host alone, as in https://chat.example"
            )
