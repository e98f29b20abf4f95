"""Replies that have ended, until it is known how much of their text was released.

A later turn may find the pages of released text only. Who reads an engine knows that, not the engine: it holds
text back, cuts and redacts. So an ended reply leaves its pages behind where nobody finds them; whoever reads
says by `commit` which ids were released, and what was generated as these say becomes known. Pages that are
never committed are evicted like any others, so nothing waits for a reader that forgets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence as Items
from dataclasses import dataclass

from engine.blocks import BlockPool
from engine.lease import Left
from engine.pins import Key
from engine.prefixes import common
from engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class _Ended:
    prompt: Items[int]
    session: Key | None
    generated: tuple[int, ...]  # those whose keys and values are in the pages: all but the last
    left: Left


class EndedReplies:
    """The last `bound` of them: readers commit within a step or two, so more than all that run is enough."""

    def __init__(self, pool: BlockPool, bound: int) -> None:
        self._pool = pool
        self._bound = bound
        self._ended: OrderedDict[str, _Ended] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ended)

    def put(self, sequence: Sequence) -> None:
        """Take over the pages of a sequence that has generated something and is not in a step."""
        assert sequence.lease is not None
        generated = tuple(sequence.tokens[: sequence.output - 1])
        left = self._pool.leave(sequence.lease)
        request = sequence.request
        session = (request.salt, sequence.session) if request.session else None
        self._ended.pop(request.id, None)
        self._ended[request.id] = _Ended(request.prompt_ids, session, generated, left)
        if len(self._ended) > self._bound:
            self._ended.popitem(last=False)

    def commit(self, request_id: str, released: Items[int], *, pin_until: float) -> None:
        """Make the prompt known, and the reply as far as it was generated as `released` says.

        The last turn of a session is pinned. Unknown ids are ignored.
        """
        ended = self._ended.pop(request_id, None)
        if ended is None:
            return
        pool = self._pool
        lease = pool.claim(ended.left)
        count = common(ended.generated, released)
        written = [*ended.prompt, *ended.generated[:count]][: len(lease.pages) * pool.page_tokens]
        pool.enter_all(lease, written)
        if ended.session is not None:
            pool.pin(lease, ended.session, pin_until)
        pool.close(lease)
