"""Products with weights in blocks, in C (`products.c`, and `rows.c` for prompts)."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from engine.crew import Crew
from engine.library import LibraryError, load_library
from engine.memory import Arena
from engine.quantized import Blocks
from engine.rows import Rows

_SOURCE: Final = Path(__file__).with_name("products.c")
_FEATURES: Final = ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl", "avx512_vnni")
# Inputs are quantised to 8 bits where more replies than these decode, to 15 bits else: with fewer the weights' way from
# memory is what takes the time. Guesses do not count: with them a reply's numbers are to the bit what they are without.
# A prompt is computed once and then attended to by all that follows: it gets 15 bits, or products of its own.
_FEW: Final = 4
_MANY: Final = 64  # rows; with fewer, unpacking the weights once for all of them gains little
_LANES: Final = 16  # outputs that lie together, see products.c
_INPUTS_BYTES: Final = 80  # of a group of inputs, see products.c


class Products:
    """The compiled products, for a crew. Used by one thread at a time."""

    def __init__(self, library: ctypes.CDLL, rows: Rows, crew: Crew) -> None:
        self._rows = rows
        self._crew = crew
        self.arena = Arena()
        self.decoding = 0
        """How many replies the step goes on with, 0 if it has a prompt in it, however short: set before each."""
        self.function = library.sluice_product
        pointer, whole, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_long
        self.function.argtypes = [pointer, whole, pointer, whole, pointer, pointer, pointer, whole]
        self.function.argtypes += [long, long, long, whole, pointer]
        self.function.restype = None

    @property
    def precise(self) -> bool:
        """Whether inputs get 15 bits, where `products.c` computes."""
        return self.decoding <= _FEW

    @classmethod
    def load(cls, folder: Path | None, crew: Crew) -> Products:
        """Compiled into `folder`, once. Raises LibraryError."""
        if folder is None:
            raise LibraryError("there is no folder for compiled C; name one in native_dir")
        library = load_library(_SOURCE, _FEATURES, folder)
        return cls(library, Rows.load(_FEATURES, folder, crew), crew)

    def __call__(self, x: Tensor, packed: Packed, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        """x: [T, K] in bfloat16 or float32, bias: float32 [N] -> [T, N] in `dtype`, one of these too."""
        x = x.contiguous()
        rows = x.shape[0]
        out = torch.empty((rows, packed.outputs), dtype=dtype)
        if not self.decoding and rows >= _MANY:
            self._rows(x, packed.data, packed.bits, bias, out)
            return out
        scratch = torch.empty(rows * packed.groups * _INPUTS_BYTES, dtype=torch.uint8)
        self.function(
            x.data_ptr(),
            x.dtype == torch.bfloat16,
            packed.data.data_ptr(),
            packed.bits,
            None if bias is None else bias.data_ptr(),
            scratch.data_ptr(),
            out.data_ptr(),
            dtype == torch.bfloat16,
            rows,
            x.shape[1],
            packed.outputs,
            self.precise,
            self._crew.address,
        )
        return out


class Packed:
    """Blocks in the order in which `products.c` reads them: 16 outputs together, group after group."""

    def __init__(self, blocks: Blocks, arena: Arena) -> None:
        self.bits, self.outputs, self.groups = blocks.bits, blocks.outputs, blocks.codes.shape[1]
        codes = blocks.codes if blocks.bits == 4 else blocks.codes.view(torch.uint8) ^ 128
        parts = codes.view(torch.int32)  # [N, G, 4 or 8]: four inputs each
        scales = _in_lanes(blocks.scales).flatten(2).view(torch.int32)
        joined = torch.cat((_in_lanes(parts).flatten(2), scales), dim=-1)
        self.data = arena.keep(joined)  # [N / 16, G, 80 or 136]


def _in_lanes(values: Tensor) -> Tensor:
    """[N, G, C] -> [N / 16, G, C, 16], or with the four bytes of an int32 innermost; outputs filled up with zeros."""
    missing = -len(values) % _LANES
    filled = torch.nn.functional.pad(values, (0, 0, 0, 0, 0, missing)) if missing else values
    return filled.view(-1, _LANES, *values.shape[1:]).permute(0, 2, 3, 1).contiguous()
