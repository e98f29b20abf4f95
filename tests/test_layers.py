"""Imports go one way, and each layer takes from outside only what it may."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The engine must run on a bare GPU machine: torch and transformers, what masks tokens by a grammar (a wheel of 3 MB
# without dependencies), and what reads model files.
ENGINE_MAY_IMPORT = {"engine", "llguidance", "numpy", "torch", "transformers"}
GPU_MAY_IMPORT = {"engine", "torch", "triton"}
LOADING_MAY_IMPORT = ENGINE_MAY_IMPORT | {"filelock", "gguf", "jinja2", "safetensors", "tokenizers", "tqdm"}
FOREIGN_TO_PROTOCOL = {
    "asyncio",
    "selectors",
    "socket",
    "torch",
    "transformers",
    "redis",
    "starlette",
    "uvicorn",
    "numpy",
}


def imported_by(source: str) -> Iterator[str]:
    """Top-level names of every import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def modules_of(package: str) -> list[str]:
    paths = sorted((ROOT / package).rglob("*.py"))
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths
    ]


def test_the_contracts_of_pyproject_hold() -> None:
    checked = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken" in checked.stdout


def test_importing_the_protocol_loads_no_event_loop_and_no_torch() -> None:
    script = (
        "import importlib, sys\n"
        f"for name in {modules_of('protocol')!r}: importlib.import_module(name)\n"
        f"print(sorted({FOREIGN_TO_PROTOCOL!r} & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "[]\n"


@pytest.mark.parametrize("path", sorted((ROOT / "engine").rglob("*.py")), ids=lambda path: path.name)
def test_the_engine_imports_the_standard_library_and_torch_only(path: Path) -> None:
    outside = set(imported_by(path.read_text())) - sys.stdlib_module_names
    allowed = GPU_MAY_IMPORT if path.parent.name == "cuda" else LOADING_MAY_IMPORT
    assert outside <= allowed, outside - allowed


def test_without_a_gpu_the_engine_does_without_triton() -> None:
    script = "import sys, engine.torch_engine; print('triton' in sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "False\n"


@pytest.mark.parametrize("path", sorted((ROOT / "protocol").rglob("*.py")), ids=lambda path: path.name)
def test_the_protocol_imports_the_standard_library_and_codecs_only(path: Path) -> None:
    outside = set(imported_by(path.read_text())) - sys.stdlib_module_names
    assert outside <= {"protocol", "msgspec", "msgpack"}, outside


def test_running_sequences_needs_no_model_format() -> None:
    """What reads model files is apart from what generates: the batch and its types know torch at most."""
    for name in ("batch", "interface", "request"):
        outside = set(imported_by((ROOT / "engine" / f"{name}.py").read_text())) - sys.stdlib_module_names
        assert outside <= ENGINE_MAY_IMPORT
