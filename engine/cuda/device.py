"""What the runner asks of a device besides computing: graphs, and numbers that come back without waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import torch
from torch import Tensor
from torch import dtype as DType

from engine.moves import Underway

Work = Callable[[], None]

_HOPPER: Final = 9  # the first of compute capability that overlaps kernels
_ROUNDS: Final = 5
_REPLAYS: Final = 4  # timed in a row, so that the launch of the first is a small part


class Pending(Protocol):
    """Numbers on their way to the processor."""

    def wait(self) -> list[int]:
        """Those of a tensor as it was when it was fetched. Other threads run meanwhile."""
        ...


class Device(Protocol):
    @property
    def torch(self) -> torch.device: ...

    @property
    def processors(self) -> int:
        """How many programs run at once."""
        ...

    @property
    def overlaps(self) -> bool:
        """Whether a kernel can be launched before the one before it has ended."""
        ...

    @property
    def measures(self) -> bool:
        """Whether `seconds` says which way to compute is the faster one."""
        ...

    def capture(self, work: Work) -> Work:
        """A replay of what `work` does to tensors that stay where they are. May run `work`, several times."""
        ...

    def seconds(self, replay: Work) -> float:
        """What a replay takes the device: the best of several."""
        ...

    def works(self) -> bool:
        """Whether anything can be computed on it still; after an error. Waits for what was sent."""
        ...

    def send(self, values: Tensor) -> Tensor:
        """The same on the device, in the order of its work; returns at once."""
        ...

    def fetch(self, values: Tensor) -> Pending:
        """Take the tensor's content in the order of the device's work; returns at once."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: DType) -> Tensor:
        """Memory of the host, of any content, that the device can copy from and to while others compute."""
        ...

    def beside(self, work: Work) -> Underway:
        """Do what `work` asks for behind all that was sent so far, and beside what is sent from now on. If it raises,
        what it has asked for has ended."""
        ...


class CudaDevice:
    """All work goes to the current stream; all graphs share one pool of memory, as they never run at once."""

    measures: Final = True

    def __init__(self, device: torch.device) -> None:
        self.torch = device
        properties = torch.cuda.get_device_properties(device)
        self.processors = properties.multi_processor_count
        self.overlaps = properties.major >= _HOPPER
        self._pool = torch.cuda.graph_pool_handle()
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def capture(self, work: Work) -> Work:
        current = torch.cuda.current_stream(self.torch)
        self._side.wait_stream(current)
        with torch.cuda.stream(self._side):
            work()  # compiles kernels and sets up libraries, which a capture may not
        current.wait_stream(self._side)
        graph = torch.cuda.CUDAGraph()
        # On the same stream, for which libraries have their memory by now. Of this thread alone: another model's
        # engine allocates and waits meanwhile, which may not break the capture.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._side, capture_error_mode="thread_local"):
            work()
        return graph.replay

    def seconds(self, replay: Work) -> float:
        stream = torch.cuda.current_stream(self.torch)
        replay()
        best = float("inf")
        for _ in range(_ROUNDS):
            began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            began.record(stream)
            for _ in range(_REPLAYS):
                replay()
            ended.record(stream)
            ended.synchronize()
            best = min(best, began.elapsed_time(ended) / 1e3 / _REPLAYS)
        return best

    def works(self) -> bool:
        try:
            torch.cuda.synchronize(self.torch)
        except RuntimeError:  # from the first such error on every call has it
            return False
        return True

    def send(self, values: Tensor) -> Tensor:
        return values.pin_memory().to(self.torch, non_blocking=True)

    def fetch(self, values: Tensor) -> Pending:
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(self.torch))
        return _Copy(host, arrived)

    def pinned(self, shape: tuple[int, ...], dtype: DType) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def beside(self, work: Work) -> Underway:
        self._copies.wait_stream(torch.cuda.current_stream(self.torch))
        ended = torch.cuda.Event()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._copies):
            try:
                work()
            except Exception:
                self._copies.synchronize()
                raise
            ended.record(self._copies)
        return ended


class _Copy:
    def __init__(self, host: Tensor, arrived: torch.cuda.Event) -> None:
        self._host, self._arrived = host, arrived

    def wait(self) -> list[int]:
        self._arrived.synchronize()
        values: list[int] = self._host.tolist()
        return values
