"""Weights in 8 bits, whole numbers or floating, with a scale for each output; made a slab at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

INT8: Final = "int8"
FP8: Final = "fp8"
E4M3: Final = torch.float8_e4m3fn
LARGEST: Final = {torch.int8: 127.0, E4M3: 448.0}
_TYPES: Final = {INT8: torch.int8, FP8: E4M3}
SCALED_ROWS: Final = 16
"""From so many rows on a product's inputs are in fp8 too, where its weights are; below, reading them takes the time."""
_SLAB: Final = 1 << 22  # numbers encoded at once
SLAB_BYTES: Final = 4 * 4 * _SLAB
"""The most memory that encoding takes beside the matrix and its codes: a slab's copies in float32."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A matrix: `values * scales[:, None]`."""

    values: Tensor  # int8 or E4M3 [N, K]
    scales: Tensor  # float32 [N]


def encode(matrices: Iterable[Tensor], name: str) -> Codes:
    """Matrices one below the other; each may be let go before the next is asked for. [N_i, K] each -> [N, K]."""
    parts = [_encoded(matrix, _TYPES[name]) for matrix in matrices]
    if len(parts) == 1:
        return parts[0]
    return Codes(torch.cat([part.values for part in parts]), torch.cat([part.scales for part in parts]))


def decode(codes: Codes) -> Tensor:
    """float32 [N, K]."""
    return codes.values.float() * codes.scales[:, None]


def scaled_to(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The nearest numbers of `dtype` with a scale for each vector. [..., K] -> [..., K], float32 [...]."""
    exact, most = values.float(), LARGEST[dtype]
    scales = exact.abs().amax(-1) / most
    scaled = (exact / torch.where(scales == 0, 1.0, scales)[..., None]).clamp_(-most, most)
    return (scaled if dtype.is_floating_point else scaled.round_()).to(dtype), scales


def _encoded(matrix: Tensor, dtype: torch.dtype) -> Codes:
    rows, inputs = matrix.shape
    values = torch.empty(rows, inputs, dtype=dtype, device=matrix.device)
    scales = torch.empty(rows, dtype=torch.float32, device=matrix.device)
    each = max(1, _SLAB // inputs)
    for first in range(0, rows, each):
        part = slice(first, first + each)
        values[part], scales[part] = scaled_to(matrix[part], dtype)
    return Codes(values, scales)
