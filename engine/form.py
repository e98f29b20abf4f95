"""What a model is computed with on this machine: device, number type, blocks, our own C; and why."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Final

import torch

from engine.config import EngineSettings, ModelError
from engine.crew import Crew
from engine.dense import Dense
from engine.kernels import Kernels
from engine.library import LibraryError
from engine.products import Products

log = logging.getLogger(__name__)

BITS: Final = {"int8": 8, "int4": 4}
FP8: Final = "fp8"
NARROW: Final = ("int8", FP8)  # what a GPU keeps weights in, see engine/cuda/weights.py
_OFFERED: Final = torch.get_num_threads()  # before any of them was asked for
_COMPUTES_FP8: Final = (8, 9)  # compute capability


@dataclass(frozen=True, slots=True)
class Form:
    """The decisions for one model. A reason says why torch computes what our own C would."""

    device: torch.device
    dtype: torch.dtype  # what is computed in, and what weights are kept in that are not in blocks
    threads: int
    bits: int | None = None  # of the blocks that are asked for
    narrow: str | None = None  # what a GPU keeps weights in, if that has fewer bits than the number type
    kv: str = "auto"  # what keys and values are kept in
    kernels: Kernels | None = None
    kernels_reason: str = ""
    products: Products | None = None  # with weights in blocks
    dense: Dense | None = None  # with others
    products_reason: str = ""

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def kv_dtype(self) -> torch.dtype:
        return kv_dtype_of(self.kv, self.dtype)


def form_of(settings: EngineSettings, *, holds_blocks: bool) -> Form:
    """Decide, and compile our own C where it is missing. `holds_blocks`: whether the folder has weights in blocks.

    Raises ModelError naming what was asked for and cannot be had.
    """
    threads = settings.threads or spare_threads()
    torch.set_num_threads(threads)
    device = _device(settings.device)
    kernels, kernels_reason = _kernels(settings, device)
    narrow = _narrow(settings.dtype, device)
    if settings.kv_dtype == FP8:
        _check_fp8("kv_dtype", device)
    products = None if narrow else _products(settings, device, holds_blocks, kernels)
    dtype = computed_dtype(settings.dtype, device)
    dense, dense_reason = _dense(settings, dtype, kernels) if kernels else (None, kernels_reason)
    return Form(
        device=device,
        dtype=dtype,
        threads=threads if kernels is None or not (products or dense) else kernels.crew.members,
        bits=None if narrow else BITS.get(settings.dtype),
        narrow=narrow,
        kv=settings.kv_dtype,
        kernels=kernels,
        kernels_reason=kernels_reason,
        products=products,
        dense=dense,
        products_reason=dense_reason,
    )


def computed_dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto" and name not in BITS and name != FP8:
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32


def kv_dtype_of(name: str, computed: torch.dtype) -> torch.dtype:
    """What keys and values are kept in where a model is computed in `computed`."""
    return torch.float8_e4m3fn if name == FP8 else computed


def cpu_multiplies_bfloat16() -> bool:
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))


def spare_threads() -> int:
    """A thread for each core but one, which is the event loop's; no more than torch had (OMP_NUM_THREADS)."""
    return max(1, min(_OFFERED, usable_cores() - 1))


def crew_threads() -> int:
    """The same for our own C, but two where there are two cores."""
    return min(_OFFERED, max(2, usable_cores() - 1), usable_cores())


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name!r} cannot be used here ({error}); choose cpu") from error
    if device.index:  # Triton's kernels go to the one that a thread has chosen, and none of ours chooses
        raise ModelError(
            f"device {name!r} cannot be used, only the first is; "
            f"choose {device.type}, and which it is by CUDA_VISIBLE_DEVICES"
        )
    return device


def _kernels(settings: EngineSettings, device: torch.device) -> tuple[Kernels | None, str]:
    """Our own kernels between the products, where they can be had."""
    if settings.native_dir is None or device.type != "cpu":
        return None, "they are for processors, and need a folder to be compiled into"
    try:
        return Kernels.load(settings.native_dir, settings.threads or crew_threads()), ""
    except LibraryError as error:
        log.warning("kernels=torch reason=%r", str(error))
        return None, str(error)


def _dense(settings: EngineSettings, dtype: torch.dtype, kernels: Kernels) -> tuple[Dense | None, str]:
    """Our own products with weights in no blocks, where they can be had."""
    assert settings.native_dir is not None
    try:
        return Dense.load(settings.native_dir, dtype, kernels.crew), ""
    except LibraryError as error:
        return None, str(error)


def _narrow(dtype: str, device: torch.device) -> str | None:
    """Raises ModelError where the device does not compute it."""
    if dtype == FP8:
        _check_fp8("dtype", device)
    return dtype if device.type == "cuda" and dtype in NARROW else None


def _check_fp8(setting: str, device: torch.device) -> None:
    """Raises ModelError where the device does not compute it."""
    if device.type != "cuda":
        raise ModelError(f"{setting} fp8 is computed on a GPU only; choose auto or device cuda")
    if (has := torch.cuda.get_device_capability(device)) < _COMPUTES_FP8:
        needed, found = (".".join(map(str, one)) for one in (_COMPUTES_FP8, has))
        raise ModelError(
            f"{setting} fp8 needs a GPU of compute capability {needed}, and this has {found}; choose auto"
        )


def _products(
    settings: EngineSettings, device: torch.device, holds_blocks: bool, kernels: Kernels | None
) -> Products | None:
    """Our own products, where weights in blocks are asked for, or there and not declined. Raises ModelError."""
    asked = settings.dtype in BITS
    if not asked and not (settings.dtype == "auto" and holds_blocks and device.type == "cpu"):
        return None
    if device.type != "cpu":
        raise ModelError(f"dtype {settings.dtype} is computed on a processor only; choose auto or device cpu")
    try:
        return Products.load(settings.native_dir, kernels.crew if kernels else Crew(None, 1))
    except LibraryError as error:
        if asked:
            raise ModelError(f"dtype {settings.dtype} cannot be had: {error}; or choose auto") from error
        kept = str(computed_dtype("auto", device)).removeprefix("torch.")
        log.warning("weights=%s reason=%r", kept, str(error))
        return None
