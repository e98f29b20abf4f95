"""The programs from outside Python that the tests drive: where they are, or None. Standard library only."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODE_MAJOR = 20  # the oldest that the npm packages of the tests run on
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_redis_server() -> str | None:
    return shutil.which("redis-server")


def find_chromium() -> str | None:
    return next((path for path in map(shutil.which, CHROMIUM_NAMES) if path), None)


def find_node() -> str | None:
    """Node.js of a version that will do."""
    path = shutil.which("node")
    if path is None:
        return None
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.", told)
    return path if version and int(version[1]) >= NODE_MAJOR else None


def npm_folders(root: Path = ROOT) -> list[Path]:
    """Folders whose npm packages are pinned by a lock file."""
    return [
        folder
        for folder in (root, *sorted(root.glob("clients/*")))
        if (folder / "package-lock.json").exists()
    ]


def find_npm_packages(root: Path = ROOT) -> str | None:
    """The root's `node_modules`, if every locked folder has its own."""
    folders = npm_folders(root)
    return (
        str(root / "node_modules") if all((folder / "node_modules").is_dir() for folder in folders) else None
    )
