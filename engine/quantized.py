"""Weights in blocks of few bits: a scale and a least value for each group of 32 inputs, as GGUF's Q4_1 has them.

`w = scale * code + least` with codes of 4 bits, `w = scale * code` with codes of 8 bits, scales in float16: what GGUF
files hold in Q4_0, Q4_1 and Q8_0 is kept to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

GROUP: Final = 32  # inputs that share a scale
BITS: Final = (4, 8)


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix of N outputs and 32 G inputs."""

    bits: int
    # 4 bits: uint8 [N, G, 16], input i of the group in the low half of byte i, input i + 16 in its high half;
    # 8 bits: int8 [N, G, 32].
    codes: Tensor
    scales: Tensor  # float16 [N, G, 2]: scale, least; with 8 bits [N, G, 1]

    @property
    def outputs(self) -> int:
        return self.codes.shape[0]

    @property
    def inputs(self) -> int:
        return self.codes.shape[1] * GROUP


def quantizable(weight: Tensor) -> bool:
    """Whether the inputs come in whole groups. weight: [N, K]."""
    return weight.shape[1] % GROUP == 0


def quantize(weight: Tensor, bits: int) -> Blocks:
    """The nearest blocks: 4 bits between a group's least and greatest value, 8 bits around zero. weight: [N, K]."""
    groups = weight.float().view(len(weight), -1, GROUP)
    if bits == 8:
        scale = _half(groups.abs().amax(-1, keepdim=True) / 127)
        codes = (groups / _divisor(scale)).round_().clamp_(-127, 127)
        return Blocks(8, codes.to(torch.int8), scale)
    least, greatest = groups.aminmax(dim=-1, keepdim=True)
    scales = _half(torch.cat(((greatest - least) / 15, least), dim=-1))
    codes = ((groups - scales[..., 1:].float()) / _divisor(scales[..., :1])).round_().clamp_(0, 15)
    whole = codes.to(torch.uint8)
    return Blocks(4, whole[..., :16] | (whole[..., 16:] << 4), scales)


def dequantize(blocks: Blocks) -> Tensor:
    """float32 [N, K]."""
    scales = blocks.scales.float()
    if blocks.bits == 8:
        return (blocks.codes.float() * scales).flatten(1)
    codes = torch.cat((blocks.codes & 15, blocks.codes >> 4), dim=-1)
    return (codes.float() * scales[..., :1] + scales[..., 1:]).flatten(1)


def join(parts: Sequence[Blocks]) -> Blocks:
    """Several matrices of the same bits one below the other."""
    codes = torch.cat([part.codes for part in parts])
    return Blocks(parts[0].bits, codes, torch.cat([part.scales for part in parts]))


def _half(scales: Tensor) -> Tensor:
    return scales.to(torch.float16)


def _divisor(scale: Tensor) -> Tensor:
    """A group of equal values has no scale: its codes are zero whatever they are divided by."""
    divisor = scale.float()
    return torch.where(divisor == 0, 1.0, divisor)
