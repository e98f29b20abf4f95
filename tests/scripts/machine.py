"""A copy of the set-up in a folder of its own, where foreign programs are scripts that note their calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Machine:
    """`folder` holds the repository's set-up files, `bin` is all of PATH."""

    folder: Path
    bin: Path

    @property
    def venv_python(self) -> Path:
        return self.folder / ".venv" / "bin" / "python"

    @property
    def calls(self) -> list[str]:
        """Every call of a noted program, in order: its name and its arguments."""
        log = self.folder / "calls"
        return log.read_text().splitlines() if log.exists() else []

    def program(self, path: Path, then: str = "") -> None:
        """Put a program in place: it notes its call, then does `then` (shell)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\necho "{path.name}${{*:+ $*}}" >> {self.folder}/calls\n{then}\n')
        path.chmod(0o755)

    def tool(self, name: str, then: str = "") -> None:
        self.program(self.bin / name, then)

    def setup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, "-m", "scripts.setup", *arguments)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("make", f"PYTHON={sys.executable}", *arguments)

    def env(self) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": str(self.folder)}

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.folder, env=self.env(), capture_output=True, text=True)


def make_machine(folder: Path) -> Machine:
    """A machine with a shell, make, a C compiler and a virtual environment whose Python does as told; nothing else."""
    machine = Machine(folder / "sluice", folder / "bin")
    machine.folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, machine.folder)
    shutil.copytree(
        ROOT / "scripts", machine.folder / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    machine.bin.mkdir()
    for name in ("sh", "make", "cat", "mkdir", "touch", "sleep"):
        there = shutil.which(name)
        assert there is not None
        os.symlink(there, machine.bin / name)
    machine.tool("gcc")
    machine.program(machine.venv_python)
    return machine
