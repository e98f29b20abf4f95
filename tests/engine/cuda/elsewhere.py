"""A GPU that is not here: tensors without content on a device of their own, and an eye on what a capture forbids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.cuda.device import Work

ELSEWHERE: Final = torch.device("meta")
_OF_NUMBERS: Final = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy)


class ElsewhereDevice:
    """The parts of `Device` that making graphs takes."""

    torch: Final = ELSEWHERE
    processors: Final = 132
    measures: Final = True

    def __init__(self) -> None:
        self.captured = 0

    def capture(self, work: Work) -> Work:
        work()  # as on a GPU, where it may do anything the first time
        captured(work)
        self.captured += 1
        return work

    def seconds(self, replay: Work) -> float:
        return 1.0

    def send(self, values: Tensor) -> Tensor:
        return values.to(ELSEWHERE)


def captured(work: Callable[[], object]) -> None:
    """Do it as a capture would. Who asks a tensor for its content meets torch's own error: there is none."""
    with _NoNumbers(), _OnDevice():
        work()


class _OnDevice(TorchDispatchMode):
    """Refuses every operation that takes, or gives, a tensor of the processor's memory."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves((args, kwargs, found)):
            if isinstance(one, Tensor) and one.device != ELSEWHERE:
                raise AssertionError(f"{func} meets a tensor of the processor in a graph")
        return found


class _NoNumbers(TorchFunctionMode):
    """Refuses tensors that are made of Python's numbers: they would be copied, wherever they are to be."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _OF_NUMBERS or (func is Tensor.__getitem__ and _holds_list(args[1])):
            raise AssertionError(f"{func.__name__} copies numbers of the processor's in a graph")
        return func(*args, **(kwargs or {}))


def _holds_list(index: object) -> bool:
    return isinstance(index, list) or (isinstance(index, tuple) and any(map(_holds_list, index)))
