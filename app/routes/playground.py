"""The playground: static files from the package, under a strict policy of what the page may load."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

SECURITY: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "manifest-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "webmanifest": "application/manifest+json",
}


def _served(folder: Traversable, path: str = "") -> Iterator[tuple[str, bytes, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _served(entry, f"{path}{entry.name}/")
            continue
        kind = TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None:
            yield path + entry.name, entry.read_bytes(), kind


def playground_routes() -> list[Route]:
    """One route a file, read once; `/` is the page."""
    routes = []
    for name, body, kind in _served(files("app") / "web"):
        path = "/" if name == "index.html" else f"/{name}"
        routes.append(Route(path, _file(body, kind), methods=["GET"]))
    return routes


def _file(body: bytes, kind: str):  # type: ignore[no-untyped-def]
    async def answer(request: Request) -> HttpResponse:
        return HttpResponse(body, media_type=kind, headers=SECURITY)

    return answer
