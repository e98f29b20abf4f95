"""What a GPU runner takes beside weights, keys and values, in bytes and by what it is for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.cuda.mover import STAGING_BYTES
from engine.cuda.shaped import BIASES, ENDS
from engine.cuda.slots import BUCKETS

_CHOICE: Final = 12  # copies of a batch's logits in float32 while tokens are chosen, the noise's among them
_SPLITS_ROOM: Final = 4 * 160  # parts of contexts for which programs run at once; no GPU has more processors
_LIBRARY_BYTES: Final = 512 << 20
"""For what libraries and the driver take for themselves, graphs' nodes and gaps between blocks. Not measured yet."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a model, as its configuration has them."""

    vocab: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    element: int  # bytes of a number


def rooms(sizes: Sizes, running: int, chunk_tokens: int, table_pages: int, *, moves: bool) -> dict[str, int]:
    """running: rows that decode at the most; chunk_tokens: of prompts beside them; `moves`: whether pages leave."""
    rows = min(running, BUCKETS[-1])
    found = {
        "logits": _CHOICE * rows * sizes.vocab * 4,
        "batch": rows * (sizes.vocab * 4 + BIASES * 12 + ENDS * 8 + table_pages * 4 + 256),
        "attention": _attention(sizes, rows),
        "layers": (rows + chunk_tokens) * _layer(sizes),
        "libraries": _LIBRARY_BYTES,
    }
    return found | ({"moves": 2 * STAGING_BYTES} if moves else {})


def _attention(sizes: Sizes, rows: int) -> int:
    """Parts of contexts in float32 before they are put together."""
    group = sizes.heads // sizes.kv_heads
    return (_SPLITS_ROOM + rows * sizes.kv_heads) * group * (sizes.head_dim + 1) * 4


def _layer(sizes: Sizes) -> int:
    """What one layer has of a token at once; norms and turns are computed in float32."""
    attention = (2 * sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim
    return 4 * (6 * sizes.hidden + 2 * attention + 3 * sizes.inner)
