"""A stand-in for a GPU: graphs are calls, and nothing is ever on its way. For tests, and dry runs of the scripts."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from engine.cuda.device import Pending, Work


class ProcessorDevice:
    """Implements `Device` on the processor."""

    torch: Final = torch.device("cpu")
    processors: Final = 2

    def capture(self, work: Work) -> Work:
        work()
        return work

    def send(self, values: Tensor) -> Tensor:
        return values

    def fetch(self, values: Tensor) -> Pending:
        return _Copy(values.tolist())


class _Copy:
    def __init__(self, values: list[int]) -> None:
        self._values = values

    def wait(self) -> list[int]:
        return self._values
