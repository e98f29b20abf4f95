"""Prompts that are still being typed: computed in what a step has left, so that sending one starts a reply at once."""

from __future__ import annotations

from engine.adapters.adapter import Adapter
from engine.blocks import BlockPool
from engine.pins import Key
from engine.sequence import Phase, Sequence
from engine.step import Step


class Drafts:
    """Those that are not computed yet, in the order they came; what is computed is pinned under the draft's key.

    They yield to everybody: they have no place in the queue and give up their pages to any sequence that lacks some.
    """

    def __init__(self, pool: BlockPool, bound: int, keep_s: float) -> None:
        self._pool = pool
        self._bound = bound
        self._keep_s = keep_s
        self._todo: dict[Key, Sequence] = {}

    def __len__(self) -> int:
        return len(self._todo)

    def put(self, sequence: Sequence) -> None:
        """Take it up instead of the one of the same key: that one's pages serve it as far as both begin alike."""
        key = _key(sequence)
        if older := self._todo.pop(key, None):
            self._stop(older)
        self._todo[key] = sequence
        if len(self._todo) > self._bound:
            self._stop(self._todo.pop(next(iter(self._todo))))

    def end(self, key: Key) -> None:
        """Nobody types it any more; its pages stay known, but make room like any others."""
        if sequence := self._todo.pop(key, None):
            self._stop(sequence)
        self._pool.unpin(key)

    def end_of(self, adapter: Adapter) -> None:
        for key, sequence in list(self._todo.items()):
            if sequence.request.adapter is adapter:
                self.end(key)

    def clear(self) -> None:
        for key in list(self._todo):
            self.end(key)

    def end_waiting(self) -> None:
        """What they wait for does not come."""
        for key, sequence in list(self._todo.items()):
            if self._pool.waits(sequence.batch):
                self.end(key)

    def make_room(self) -> bool:
        """Give up the pages of a draft; whether there was one that held any."""
        for key, sequence in reversed(self._todo.items()):
            if sequence.lease is not None:
                self.end(key)
                return True
        return False

    def plan(self, step: Step, tokens: int, now: float) -> None:
        """Use what is left of a step."""
        for key, sequence in list(self._todo.items()):
            if tokens <= 0:
                return
            if now >= sequence.deadline or not (sequence.lease or self._open(sequence, step)):
                self.end(key)
                continue
            if self._pool.waits(sequence.batch):
                continue
            start = sequence.computed
            end = min(start + tokens, len(sequence.context))
            step.add(sequence, sequence.context[start:end], start, sample=False)
            tokens -= end - start

    def computed(self, sequence: Sequence, tokens: int, now: float) -> None:
        """The next `tokens` of it are in its pages."""
        assert sequence.lease is not None
        sequence.computed += tokens
        self._pool.enter(sequence.lease, sequence.prompt, sequence.computed)
        if not sequence.remaining:
            key = _key(sequence)
            del self._todo[key]
            self._pool.enter_all(sequence.lease, sequence.prompt)
            self._pool.pin(sequence.lease, key, now + self._keep_s)
            self._stop(sequence)

    def _open(self, sequence: Sequence, step: Step) -> bool:
        request = sequence.request
        opened = self._pool.open(request.prompt_ids, len(sequence.context), request.cache_salt)
        if opened is None:
            return False
        sequence.lease, sequence.computed = opened.lease, opened.cached_tokens
        sequence.batch = opened.batch
        sequence.phase = Phase.PREFILL
        if opened.copy is not None:
            step.copies.append((sequence, opened.copy))
        return True

    def _stop(self, sequence: Sequence) -> None:
        sequence.phase = Phase.DONE
        if sequence.lease is not None:
            self._pool.close(sequence.lease)
            sequence.lease = None

    def __repr__(self) -> str:
        return f"<Drafts todo={len(self._todo)}>"


def draft_key(salt: str, draft_id: str) -> Key:
    """Its own within its salt, and no session's."""
    return salt, f"draft {draft_id}"


def _key(sequence: Sequence) -> Key:
    return draft_key(sequence.request.salt, sequence.request.id)
