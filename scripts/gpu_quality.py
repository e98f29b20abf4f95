"""What fewer bits do to a real model: a text's perplexity, and how often the likeliest token is bfloat16's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from engine.batch import Row
from engine.config import EngineSettings
from engine.cuda.attention import ChunkAttention
from engine.cuda.device import CudaDevice, Device
from engine.cuda.processor import ProcessorDevice
from engine.cuda.products import TritonProducts
from engine.cuda.triton_kernels import TritonKernels
from engine.cuda.weights import NarrowWeights
from engine.form import kv_dtype_of
from engine.models import LoadedModel, load_model
from engine.paged_cache import PagedCache
from engine.request import Sampling
from engine.runner import slots_of

TEXT: Final = Path(__file__).resolve().parent.parent / "LICENSE"
STEPS: Final = (8, 64)  # rows: as replies decode, and as prompts are computed
_PAGE: Final = 16


def qualities(
    folder: Path, device: str, weights: Sequence[str], kv: Sequence[str], tokens: int
) -> dict[str, float]:
    """By what is measured: of every kind of weights with every kind of keys and values, bfloat16 with its own first."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT.read_text())["input_ids"][:tokens]
    likeliest: dict[int, Tensor] = {}
    found: dict[str, float] = {}
    for kind in dict.fromkeys(("bfloat16", *weights)):
        loaded = loaded_with(folder, device, kind)
        for keys in dict.fromkeys(("auto", *kv)):
            for step in STEPS:
                logits = torch.cat(list(logits_of(loaded, ids, step, keys, device)))[:-1].cpu()
                name = f"quality of {kind}, keys {keys}, {step} rows"
                perplexity = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:])).exp()
                same = logits.argmax(-1) == likeliest.setdefault(step, logits.argmax(-1))
                found[f"{name}, perplexity"] = float(perplexity)
                found[f"{name}, likeliest token is bfloat16's"] = float(same.float().mean())
    return found


def loaded_with(folder: Path, device: str, weights: str) -> LoadedModel:
    """Without a GPU the same products, in float32 and interpreted."""
    if device == "cuda":
        return load_model(folder, EngineSettings(device=device, dtype=weights))
    narrow = None if weights == "bfloat16" else NarrowWeights(TritonProducts(2), weights)
    return load_model(folder, EngineSettings(dtype="float32"), narrow)


@torch.inference_mode()
def logits_of(loaded: LoadedModel, ids: list[int], step: int, kv: str, device: str) -> Iterator[Tensor]:
    """The logits after each token, a step at a time, on the kernels that serve."""
    place: Device = CudaDevice(loaded.device) if device == "cuda" else ProcessorDevice()
    pages = list(range(-(-len(ids) // _PAGE)))
    dtype = kv_dtype_of(kv, loaded.dtype)
    cache = PagedCache(loaded.model.shapes, len(pages), _PAGE, dtype, loaded.device)
    kernels = TritonKernels(place.processors, len(ids))
    for start in range(0, len(ids), step):
        row = Row(ids[start : start + step], start, pages, Sampling(temperature=0), 0, False)
        span = range(start, start + len(row.tokens))
        whole = place.send(torch.tensor([row.tokens, span, slots_of([row], _PAGE)]))
        attention = ChunkAttention(kernels, cache.layers, [row], whole[2], place)
        chosen = place.send(torch.arange(len(row.tokens)))
        yield loaded.model.forward(whole[0], whole[1], attention, chosen)
