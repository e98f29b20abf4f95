"""What this machine has that a model's speed depends on, for people."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from engine.form import usable_cores

# Those that anything here makes use of, as torch names them.
_FEATURES: Final = (
    "avx2",
    "avx512_f",
    "avx512_bw",
    "avx512_vl",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "bf16",
)


@dataclass(frozen=True, slots=True)
class Machine:
    system: str
    processor: str
    cores: int  # that this process may use
    all_cores: int
    features: tuple[str, ...]
    gpu: str


def this_machine(root: Path = Path("/")) -> Machine:
    """`root` is where /proc and /dev are looked for."""
    available = torch.cpu.get_capabilities()
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(root),
        cores=usable_cores(),
        all_cores=os.cpu_count() or 1,
        features=tuple(name for name in _FEATURES if available.get(name)),
        gpu=_gpu(root),
    )


def _processor(root: Path) -> str:
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _gpu(root: Path) -> str:
    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    if any((root / "dev").glob("nvidia[0-9]*")):
        built = "is built without CUDA" if torch.version.cuda is None else "cannot use it; look at its driver"
        return f"the machine has one, but this torch ({torch.__version__}) {built}"
    return "none seen"
