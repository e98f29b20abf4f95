"""A step's attention over pages, by our own kernels or in plain torch.

A step's rows are laid out decode rows first, shortest context first, then those with guesses, then prefill. Our own
kernel takes each token of a row with guesses as a decode row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.groups import Group, groups_of
from engine.norm import HeadNorms
from engine.paged_cache import PagedCache
from engine.rope import Turns, rotate
from engine.span import Span, prompt_tables_of, tables_of


class StepAttention:
    """Attention for the rows of one step. Layers call `attend` in turn."""

    def __init__(self, cache: PagedCache, spans: Sequence[Span], slots: Tensor) -> None:
        """`spans`: those of one token first, by `start`, then those with guesses. slots: [T], where keys go."""
        self.cache, self._spans, self._slots = cache, spans, slots
        count = next((i for i, span in enumerate(spans) if not span.decodes), len(spans))
        self.decoding = count if count == len(spans) else 0
        """How many replies the step goes on with, if it has no prompts in it; 0 if it has."""
        decodes, prompts = spans[:count], spans[count:]
        self._decoded = sum(span.count for span in decodes)  # tokens
        self._tables = tables_of(decodes) if cache.kernels and decodes else None
        self.tables = None if prompts else self._tables
        """Where the rows keep their tokens, if all of them decode and our kernels attend."""
        self._prompts = prompt_tables_of(prompts) if cache.kernels and prompts else None
        self._plans: dict[int | None, list[Group]] = {}

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        kv_heads: int,
        turns: Turns | None,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
        norms: HeadNorms | None = None,
    ) -> Tensor:
        """Norm and turn queries and keys if `norms` and `turns` say so, store the tokens' keys and values, then attend.

        qkv: [T, H + 2 Hkv, D], contiguous; may be changed -> [T, H, D].
        """
        if norms is not None:
            norms.apply(qkv)
        heads = qkv.shape[1] - 2 * kv_heads
        kernels, done = self.cache.kernels, self._decoded
        if (
            kernels is None
            or softcap is not None
            or not kernels.attends(heads, kv_heads, qkv.shape[2], qkv.dtype)
        ):
            if turns is not None:
                rotate(qkv[:, : heads + kv_heads], turns)
            outputs = self._attend_in_torch(layer, qkv, heads, scale, window, softcap)
        else:
            pool, outputs = self.cache.pools[layer], []
            exact = None if turns is None else turns.exact
            if self._tables:
                outputs.append(kernels.attend(qkv[:done], exact, pool, self._tables, scale, window))
            if self._prompts:
                exact = None if exact is None else exact[done:]
                outputs.append(kernels.prompts.attend(qkv[done:], exact, pool, self._prompts, scale, window))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _attend_in_torch(
        self, layer: int, qkv: Tensor, heads: int, scale: float, window: int | None, softcap: float | None
    ) -> list[Tensor]:
        """The outputs of each group; queries and keys are turned."""
        query, kv = qkv[:, :heads], qkv[:, heads:]
        self.cache.flat[layer].index_copy_(1, self._slots, kv.transpose(0, 1))
        if window not in self._plans:
            self._plans[window] = groups_of(self._spans, window, self.cache, kv)
        pool = self.cache.pools[layer]
        return [group.attend(query, pool, scale, softcap) for group in self._plans[window]]
