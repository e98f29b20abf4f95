"""A bounded queue in which owners take turns, so that nobody waits behind all of another's jobs (pure)."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Each owner's jobs in their order; of several owners one job each in turn.

    With `n` jobs of its own before it, a job waits for at most `n + 1` of any other owner's.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()  # the owner whose turn is next comes first

    def put(self, owner: str, job: T) -> None:
        self._waiting.setdefault(owner, deque()).append(job)

    def take(self) -> T:
        """The next job. Raises IndexError if there is none."""
        if not self._waiting:
            raise IndexError("no job waits")
        owner, jobs = self._waiting.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self._waiting[owner] = jobs
        return job

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __repr__(self) -> str:
        return f"<FairQueue owners={len(self._waiting)} jobs={len(self)}>"


class Room:
    """How much may be asked for at once: by all together, and half as much by one owner.

    Whoever has nothing here is let in with any one job that all together have room for, and with nobody else here
    with any job at all.
    """

    def __init__(self, max_jobs: int, max_size: int) -> None:
        self._max_jobs = max_jobs
        self._max_size = max_size
        self.jobs = 0
        self.size = 0
        self._of: dict[str, tuple[int, int]] = {}

    def enter(self, owner: str, size: int) -> bool:
        """Take up room for a job; false if there is none."""
        jobs, mine = self._of.get(owner, (0, 0))
        if self.jobs and (self.jobs >= self._max_jobs or self.size + size > self._max_size):
            return False
        if jobs and (2 * jobs >= self._max_jobs or 2 * (mine + size) > self._max_size):
            return False
        self._of[owner] = jobs + 1, mine + size
        self.jobs += 1
        self.size += size
        return True

    def leave(self, owner: str, size: int) -> None:
        """Give back what `enter` took."""
        jobs, mine = self._of[owner]
        if jobs == 1:
            del self._of[owner]
        else:
            self._of[owner] = jobs - 1, mine - size
        self.jobs -= 1
        self.size -= size

    def __repr__(self) -> str:
        return f"<Room jobs={self.jobs} size={self.size} owners={len(self._of)}>"
