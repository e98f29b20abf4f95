"""What a step does between its products, in C: norms, gates, and the attention of rows that decode (`between.c`)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from engine.crew import Crew
from engine.library import load_library
from engine.prompts import Prompts

_SOURCE: Final = Path(__file__).with_name("between.c")
_WHOLE: Final = _SOURCE.with_name("whole.c")
_FEATURES: Final = ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl")
_DTYPES: Final = (torch.bfloat16, torch.float32)
_LANES: Final = 16
_MOST_GROUP: Final = 8
_MOST_DIM: Final = 256


@dataclass(frozen=True, slots=True)
class Tables:
    """Where the decoding rows of a step keep their tokens. Rows of one token each, perhaps several of one sequence."""

    pages: Tensor  # int32, all rows' one after the other
    starts: Tensor  # int64 [B]: where each row's pages begin in it
    positions: Tensor  # int64 [B]: where each row's token stands
    longest: int  # tokens of the longest context


class Kernels:
    """The compiled functions, for a crew. Used by one thread at a time."""

    def __init__(self, library: ctypes.CDLL, steps: ctypes.CDLL, prompts: Prompts, crew: Crew) -> None:
        """`steps`: what `engine.whole` calls."""
        self.library, self.steps, self.prompts, self.crew = library, steps, prompts, crew
        pointer, whole, long, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_float
        self._norm, self._gate, self._attend = (
            library.sluice_norm,
            library.sluice_gate,
            library.sluice_attend,
        )
        self._norm.argtypes = [*[pointer] * 4, whole, long, long, real, pointer]
        self._gate.argtypes = [pointer, pointer, whole, long, long, whole, pointer]
        self._attend.argtypes = [pointer, pointer, pointer, long, *[pointer] * 5, long]
        self._attend.argtypes += [whole, *[long] * 6, real, pointer]
        for function in (self._norm, self._gate, self._attend):
            function.restype = None
        self._scores = torch.empty(0)

    @classmethod
    def load(cls, folder: Path, threads: int) -> Kernels:
        """Compiled into `folder`, once. Raises LibraryError."""
        library = load_library(_SOURCE, _FEATURES, folder)
        crew = Crew.load(folder, threads)
        return cls(library, load_library(_WHOLE, (), folder), Prompts.load(folder, crew), crew)

    @staticmethod
    def norms(size: int, dtype: torch.dtype) -> bool:
        """Whether vectors of this size and type can be normed, or be a gate."""
        return size % _LANES == 0 and dtype in _DTYPES

    @staticmethod
    def attends(heads: int, kv_heads: int, dim: int, dtype: torch.dtype) -> bool:
        """Whether `attend` and `prompts` can be used."""
        return (
            heads // kv_heads <= _MOST_GROUP
            and dim % (2 * _LANES) == 0
            and dim <= _MOST_DIM
            and dtype in _DTYPES
        )

    def norm(self, x: Tensor, more: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        """x += more, then x normed. x, more: [T, N], contiguous; weight: float32 [N] -> [T, N]."""
        out = torch.empty_like(x)
        rows, size = x.shape
        self._norm(
            x.data_ptr(),
            None if more is None else more.data_ptr(),
            weight.data_ptr(),
            out.data_ptr(),
            x.dtype == torch.bfloat16,
            rows,
            size,
            eps,
            self.crew.address,
        )
        return out

    def gate(self, x: Tensor, gelu: bool) -> Tensor:
        """act(gate) * up. x: [T, 2 N], gate before up, contiguous -> [T, N]."""
        rows, both = x.shape
        out = x.new_empty(rows, both // 2)
        self._gate(
            x.data_ptr(), out.data_ptr(), x.dtype == torch.bfloat16, rows, both // 2, gelu, self.crew.address
        )
        return out

    def attend(
        self,
        qkv: Tensor,
        turns: Tensor | None,
        pool: Tensor,
        tables: Tables,
        scale: float,
        window: int | None,
    ) -> Tensor:
        """Store all rows' keys and values, then attend in place.

        qkv: [B, H + 2 Hkv, D], contiguous; turns: float32 [B, 2, D], or None if queries and keys are turned already;
        pool: [2 Hkv, pages, page_tokens, D] -> [B, H, D].
        """
        both_heads, pages, page_tokens, dim = pool.shape
        rows, heads = qkv.shape[0], qkv.shape[1] - both_heads
        kv_heads = both_heads // 2
        width = tables.longest + _LANES
        scores = self._room(self.crew.members * (heads // kv_heads) * width)
        out = qkv.new_empty(rows, heads, dim)
        self._attend(
            qkv.data_ptr(),
            None if turns is None else turns.data_ptr(),
            pool.data_ptr(),
            pages,
            tables.pages.data_ptr(),
            tables.starts.data_ptr(),
            tables.positions.data_ptr(),
            out.data_ptr(),
            scores.data_ptr(),
            width,
            qkv.dtype == torch.bfloat16,
            rows,
            heads,
            kv_heads,
            dim,
            page_tokens,
            window or tables.longest,
            scale,
            self.crew.address,
        )
        return out

    def _room(self, needed: int) -> Tensor:
        if self._scores.numel() < needed:
            self._scores = torch.empty(needed + needed // 4)
        return self._scores
