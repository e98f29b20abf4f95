"""A stand-in for a GPU: graphs are calls, and nothing is ever on its way. For tests, and dry runs of the scripts."""

from __future__ import annotations

import time
from typing import Final

import torch
from torch import Tensor
from torch import dtype as DType

from engine.cuda.codes import E4M3, SCALED_ROWS, Codes, scaled_to
from engine.cuda.device import Pending, Work
from engine.moves import Underway


class ProcessorDevice:
    """Implements `Device` on the processor."""

    torch: Final = torch.device("cpu")
    processors: Final = 2
    overlaps: Final = False
    measures: bool = False  # Triton's interpreter says nothing of a GPU

    def capture(self, work: Work) -> Work:
        work()
        return work

    def seconds(self, replay: Work) -> float:
        began = time.perf_counter()
        replay()
        return time.perf_counter() - began

    def works(self) -> bool:
        return True

    def send(self, values: Tensor) -> Tensor:
        return values

    def fetch(self, values: Tensor) -> Pending:
        return _Copy(values.tolist())

    def pinned(self, shape: tuple[int, ...], dtype: DType) -> Tensor:
        return torch.empty(shape, dtype=dtype)

    def beside(self, work: Work) -> Underway:
        work()
        return _Done()


class _Done:
    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        """There is nothing to wait for."""


class _Copy:
    def __init__(self, values: list[int]) -> None:
        self._values = values

    def wait(self) -> list[int]:
        return self._values


class ProcessorProducts:
    """Implements `weights.Products` in plain torch, with inputs in fp8 where a GPU has them so."""

    def __call__(self, x: Tensor, codes: Codes, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        exact = x.float()
        if len(x) >= SCALED_ROWS and codes.values.dtype == E4M3:
            values, scales = scaled_to(x, E4M3)
            exact = values.float() * scales[:, None]
        out = torch.nn.functional.linear(exact, codes.values.float()) * codes.scales
        return (out if bias is None else out + bias).to(dtype)

    def prepare(self, codes: Codes, bias: Tensor | None, inputs: torch.dtype, dtype: torch.dtype) -> None:
        """There is nothing to compile."""
