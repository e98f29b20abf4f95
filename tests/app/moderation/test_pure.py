"""Deciding is pure: no clock, thread, network or event loop in the whole package."""

from __future__ import annotations

import ast
from pathlib import Path

import app.moderation

IMPURE = {
    "asyncio",
    "threading",
    "time",
    "datetime",
    "random",
    "os",
    "socket",
    "logging",
    "redis",
    "starlette",
    "anyio",
}


def test_nothing_impure_is_imported() -> None:
    files = list(Path(app.moderation.__file__).parent.glob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.split(".")[0] for name in names} & IMPURE, file.name
            assert not isinstance(node, ast.Await | ast.AsyncFunctionDef), file.name
