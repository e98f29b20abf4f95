"""What an operator may choose about the torch engine; every default has its reason beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

KV_DTYPES: Final = ("auto", "fp8")
DTYPES: Final = ("auto", "float32", "bfloat16", "float16", "int8", "int4", "fp8")


class ModelError(ValueError):
    """The model cannot be had; the message names the fault and a way out."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of the in-process engine. Raises ValueError naming the bad one."""

    device: str = "cpu"  # as torch names it; auto: a GPU where there is one
    # What weights are kept in. auto on a processor: blocks where the model's GGUF file had them, bfloat16 where that
    # is multiplied natively, else float32. A step of the default model on one thread, 1 and 8 rows: at most 6 and 12 ms
    # in its own blocks of 4 bits, 32 and 34 in bfloat16; a prompt of 256 tokens 440 against 400.
    dtype: str = "auto"
    # Where our own C, compiled for this machine, is kept. None: torch computes everything, so weights are in no blocks;
    # what a decode step has between its products takes two to three times as long.
    native_dir: Path | None = None
    # Those that compute in our own C (engine/crew.py), and torch's. 0: one for each core but one, which is the event
    # loop's, but two in our own C on two cores: 8 streams of the default model get 740 tokens a second with 2 threads
    # and 500 with 1. torch's threads wait for each other spinning, so that whatever needs a core holds up all: one in
    # bfloat16 took 29 ms with 1 and 21 ms with 2 if nothing else ran, 35 and 360 ms beside other work.
    threads: int = 0
    page_tokens: int = 16  # a tail page wastes 8 tokens on average; larger pages share fewer prefixes
    kv_bytes: int = (
        0  # memory for keys and values; 0: what the device suggests (see runner.suggested_kv_bytes)
    )
    host_kv_bytes: int = 0  # memory of the host for those that leave a GPU; 0: they are computed again
    # What keys and values are kept in, on a GPU. auto: what the model is computed in. fp8: about half the memory,
    # for twice as long contexts and half the reading (what it costs: docs/benchmarks.md).
    kv_dtype: str = "auto"
    context_tokens: int = 0  # 0: what the model was trained for
    max_running: int = 32
    max_waiting: int = 256
    chunk_tokens: int = 256  # prompt tokens of one step while no reply runs; a cancel waits for so many
    gap_s: float = (
        0.08  # how long a step takes at the most, as far as prompts are to blame, while replies run
    )
    # Tokens of one reply that are guessed in a step at the most, where none run ahead. A tile of our products has 8
    # rows; alone, a reply that repeats a text says twice as much in the same time, others as much as without.
    speculation: int = 7
    # Decode steps that a GPU computes before their tokens are asked for: so many of a reply's last ones are computed
    # for nothing, and it does not wait for the processor between two.
    ahead: int = 1
    max_adapters: int = 16  # that are loaded at once
    adapter_bytes: int = 1 << 30  # of them all; those of one step take as much again
    keep_warm_s: float = 300.0  # how long a context keeps its pages: a person's pause for thought

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}")
        if self.kv_dtype not in KV_DTYPES:
            raise ValueError(f"kv_dtype must be one of {', '.join(KV_DTYPES)}, not {self.kv_dtype!r}")
        least = {"threads": 0, "page_tokens": 1, "kv_bytes": 0, "context_tokens": 0}
        least |= {"max_running": 1, "max_waiting": 0, "chunk_tokens": 1, "speculation": 0}
        least |= {"host_kv_bytes": 0, "ahead": 0, "keep_warm_s": 0, "max_adapters": 0, "adapter_bytes": 0}
        if not self.gap_s > 0:
            raise ValueError(f"gap_s must be positive, not {self.gap_s}")
        for name, bound in least.items():
            if (value := getattr(self, name)) < bound:
                raise ValueError(f"{name} must be at least {bound}, not {value}")
