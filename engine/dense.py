"""Products with weights that are numbers, in no blocks, in C (`dense.c`)."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad

from engine.crew import Crew
from engine.library import LibraryError, load_library
from engine.memory import Arena

_SOURCE: Final = Path(__file__).with_name("dense.c")
_FEATURES: Final = ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl")
_PAIRS: Final = "avx512_bf16"  # multiplies two bfloat16 at once
_TILES: Final = "amx_bf16"  # multiplies whole tiles of them, which torch's libraries make use of
_OUTPUTS: Final = 32  # that lie together, see dense.c
_WORD: Final = 4  # bytes


class Dense:
    """The compiled product, for a crew. Used by one thread at a time. A row's outputs do not depend on others."""

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype, crew: Crew) -> None:
        """`dtype`: the weights'."""
        self.function, self._dtype, self._crew = library.sluice_dense, dtype, crew
        self.arena = Arena()
        pointer, whole, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_long
        self.function.argtypes = [pointer, whole, pointer, whole, pointer, pointer, pointer, whole]
        self.function.argtypes += [long, long, long, whole, pointer]
        self.function.restype = None

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, crew: Crew) -> Dense:
        """Compiled into `folder`, once. Raises LibraryError where torch's products are to be taken."""
        if dtype not in (torch.bfloat16, torch.float32):
            raise LibraryError(f"our own products are not for {str(dtype).removeprefix('torch.')}")
        if dtype == torch.float32:
            return cls(load_library(_SOURCE, _FEATURES, folder), dtype, crew)
        if torch.cpu.get_capabilities().get(_TILES):
            raise LibraryError("its libraries use the processor's tiles, as our own products do not")
        return cls(load_library(_SOURCE, (*_FEATURES, _PAIRS), folder), dtype, crew)

    def multiplies(self, weight: Tensor) -> bool:
        """Whether it can. weight: [N, K]."""
        return weight.dtype == self._dtype and weight.shape[1] * weight.itemsize % _WORD == 0

    def __call__(self, x: Tensor, filled: Filled, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        """x: [T, K] in the weights' type, bias: float32 [N] -> [T, N] in `dtype`, bfloat16 or float32."""
        x = x.contiguous()
        out = torch.empty((len(x), filled.outputs), dtype=dtype)
        scratch = torch.empty_like(x)
        self.function(
            x.data_ptr(),
            x.dtype == torch.bfloat16,
            filled.data.data_ptr(),
            0,
            None if bias is None else bias.data_ptr(),
            scratch.data_ptr(),
            out.data_ptr(),
            dtype == torch.bfloat16,
            len(x),
            x.shape[1],
            filled.outputs,
            0,
            self._crew.address,
        )
        return out


class Filled:
    """Weights in the order in which `dense.c` reads them: a word of each of 32 outputs, then their next ones."""

    def __init__(self, weight: Tensor, arena: Arena) -> None:
        self.outputs, self.inputs = weight.shape
        missing = -len(weight) % _OUTPUTS
        words = (pad(weight, (0, 0, 0, missing)) if missing else weight.contiguous()).view(torch.int32)
        self.data = arena.keep(
            words.view(-1, _OUTPUTS, words.shape[1]).transpose(1, 2)
        )  # [N / 32, words, 32]
