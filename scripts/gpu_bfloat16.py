"""The part of `gpu_test` about bfloat16: where a greedy reply leaves transformers', and how near the two tokens are."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

GAP: Final = 1e-2
_COUNT: Final = 64
_NOISES: Final = 4  # two computations lie on two sides of the truth, and so do two logits of each


def random_in_bfloat16(family: str, device: str) -> str:
    """A tiny model with random weights, which blow up what rounding does: there its noise is the measure."""
    from tests.engine.driving import prompts
    from tests.engine.tiny_models import save_tiny

    with tempfile.TemporaryDirectory() as work:
        found = in_bfloat16(save_tiny(family, Path(work)), prompts(), device)
    assert all(gap <= _NOISES * noise for gap, noise in found), found
    return told(found)


def real_in_bfloat16(folder: Path, device: str) -> str:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = ("The capital of France is", "def quicksort(values):", "Once upon a time")
    found = in_bfloat16(folder, [tokenizer(text)["input_ids"] for text in texts], device)
    assert all(gap < GAP for gap, _ in found), found
    return told(found)


def told(found: Sequence[tuple[float, float]]) -> str:
    worst, noise = max(found, default=(0.0, 0.0))
    return (
        f"{len(found)} replies differ; largest gap {worst:.4f} of the largest logit, noise there {noise:.4f}"
    )


def in_bfloat16(folder: Path, prompts: Sequence[list[int]], device: str) -> list[tuple[float, float]]:
    """Of each reply that leaves transformers': at its first token that does, how far that lies below the best, and how
    far transformers' own logits in bfloat16 are from those in float32; both as shares of the largest logit."""
    import torch
    from transformers import AutoModelForCausalLM

    from engine.config import EngineSettings
    from engine.models import load_model
    from engine.runners import runner_for
    from tests.engine.driving import Run, drive

    def logits_of(dtype: torch.dtype) -> Any:
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        model = loaded.to(device, dtype)
        return lambda ids: model.eval()(ids).logits[0].float()

    rounded, exact = logits_of(torch.bfloat16), logits_of(torch.float32)
    settings = EngineSettings(
        device=device, dtype="bfloat16", kv_bytes=1 << 30 if device == "cuda" else 4 << 20
    )
    runner = runner_for(load_model(folder, settings), settings)
    found: list[tuple[float, float]] = []
    for prompt in prompts:
        count = min(_COUNT, runner.context_tokens - len(prompt))
        pages = list(range(-(-(len(prompt) + count) // runner.page_tokens)))
        (reply,) = drive(runner, [Run(prompt, pages, 0, 512, count)])
        ids = torch.tensor([prompt + reply], device=device)
        with torch.inference_mode():
            theirs, truth = (logits(ids)[len(prompt) - 1 : -1] for logits in (rounded, exact))
        gaps = theirs.max(-1).values - theirs.gather(1, ids[0, len(prompt) :, None])[:, 0]
        if bool((gaps > 0).any()):
            first = int((gaps > 0).nonzero()[0])
            largest = float(theirs[first].abs().max())
            noise = float((theirs[first] - truth[first]).abs().max())
            found.append((float(gaps[first]) / largest, noise / largest))
    runner.close()
    return found
