"""Which files the playground is made of, and how each is served."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app.routes.playground import SECURITY, TYPES, _served, playground_routes
from tests.app.serving import serving


def test_files_of_known_types_are_served_by_their_paths_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "deep").mkdir()
    for name in ("index.html", "parts/a.js", "parts/deep/b.css", "notes.txt", "parts/.hidden", "Makefile"):
        (tmp_path / name).write_text(name)
    found = {path: (body, kind) for path, body, kind in _served(tmp_path)}
    assert found == {
        "index.html": (b"index.html", TYPES["html"]),
        "parts/a.js": (b"parts/a.js", TYPES["js"]),
        "parts/deep/b.css": (b"parts/deep/b.css", TYPES["css"]),
    }


@pytest.mark.anyio
async def test_every_file_is_there_without_a_key_and_under_the_policy() -> None:
    async with serving() as served, httpx.AsyncClient(base_url=served.http) as client:
        for route in playground_routes():
            answer = await client.get(route.path)
            assert answer.status_code == 200, route.path
            assert answer.content
            for name, value in SECURITY.items():
                assert answer.headers[name] == value
            assert (await client.post(route.path)).status_code == 405
        assert (await client.get("/../config.py")).status_code == 404
        assert (await client.get("/index.html")).status_code == 404
