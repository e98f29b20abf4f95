"""The attention of rows with several tokens, in C (`prompts.c`)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from engine.crew import Crew
from engine.library import load_library

_SOURCE: Final = Path(__file__).with_name("prompts.c")
_FEATURES: Final = ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl")
_PAIRS: Final = "avx512_bf16"  # multiplies two bfloat16 at once, where there is it


@dataclass(frozen=True, slots=True)
class PromptTables:
    """Where a step's rows of several tokens keep them."""

    pages: Tensor  # int32, all rows' one after the other
    starts: Tensor  # int64 [R]: where each row's pages begin in it
    firsts: Tensor  # int64 [R + 1]: where each row's tokens begin among those of all these rows
    positions: Tensor  # int64 [R]: where each row's first token stands


class Prompts:
    """The compiled function, for a crew. Used by one thread at a time.

    A step of the default model, one thread, 256 tokens: attention takes 25 ms where torch's takes 115. Behind 1,300
    others the whole step takes 620 ms instead of 1,530.
    """

    def __init__(self, library: ctypes.CDLL, crew: Crew) -> None:
        self._crew = crew
        self._attend, self._room = library.sluice_attend_prompts, library.sluice_prompts_room
        pointer, whole, long, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_float
        self._attend.argtypes = [pointer, pointer, pointer, long, *[pointer] * 6]
        self._attend.argtypes += [whole, *[long] * 6, real, pointer]
        self._attend.restype = None
        self._room.argtypes, self._room.restype = [long, long], long
        self._scratch = torch.empty(0, dtype=torch.int32)

    @classmethod
    def load(cls, folder: Path, crew: Crew) -> Prompts:
        """Compiled into `folder`, once. Raises LibraryError."""
        has_pairs = torch.cpu.get_capabilities().get(_PAIRS)
        features = (*_FEATURES, _PAIRS) if has_pairs else _FEATURES
        return cls(load_library(_SOURCE, features, folder), crew)

    def attend(
        self,
        qkv: Tensor,
        turns: Tensor | None,
        pool: Tensor,
        tables: PromptTables,
        scale: float,
        window: int | None,
    ) -> Tensor:
        """Store the tokens' keys and values, then attend in place, for what `Kernels.attends` says.

        qkv: [T, H + 2 Hkv, D], contiguous; turns: float32 [T, 2, D], or None if queries and keys are turned already;
        pool: [2 Hkv, pages, page_tokens, D] -> [T, H, D].
        """
        both_heads, pages, page_tokens, dim = pool.shape
        kv_heads = both_heads // 2
        tokens, heads = qkv.shape[0], qkv.shape[1] - both_heads
        needed = self._crew.members * self._room(heads // kv_heads, dim)
        if self._scratch.numel() < needed:
            self._scratch = torch.empty(needed, dtype=torch.int32)
        out = qkv.new_empty(tokens, heads, dim)
        self._attend(
            qkv.data_ptr(),
            None if turns is None else turns.data_ptr(),
            pool.data_ptr(),
            pages,
            tables.pages.data_ptr(),
            tables.starts.data_ptr(),
            tables.firsts.data_ptr(),
            tables.positions.data_ptr(),
            out.data_ptr(),
            self._scratch.data_ptr(),
            qkv.dtype == torch.bfloat16,
            len(tables.positions),
            heads,
            kv_heads,
            dim,
            page_tokens,
            window or pages * page_tokens,
            scale,
            self._crew.address,
        )
        return out
