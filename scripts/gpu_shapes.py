"""Models of known shapes with random weights, made on the device: speed needs no more of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, cast

import torch
from torch import Tensor

from engine.architecture import architecture_of
from engine.checkpoint import Checkpoint
from engine.cuda.pointwise import TritonPointwise
from engine.cuda.products import TritonProducts
from engine.cuda.weights import CodesLinear, NarrowWeights
from engine.decoder import Decoder
from engine.linear import Linear, Linears
from engine.models import LoadedModel
from engine.request import Sampling

_LLAMA_3: Final = {
    "model_type": "llama",
    "vocab_size": 128_256,
    "max_position_embeddings": 32_768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
}
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "llama-3-8b": _LLAMA_3
    | {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    },
    "llama-3-1b": _LLAMA_3
    | {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3",
        "vocab_size": 151_936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 32_768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "tie_word_embeddings": True,
    },
    "smollm2-135m": {
        "model_type": "llama",
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
        "tie_word_embeddings": True,
    },
    "tiny": {
        "model_type": "llama",
        "vocab_size": 256,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    },
}


def config_of(shape: str) -> Any:
    from transformers import AutoConfig

    options = dict(SHAPES[shape])
    return AutoConfig.for_model(options.pop("model_type"), **options)


def random_model(shape: str, device: torch.device, dtype: torch.dtype, kept: str) -> tuple[LoadedModel, int]:
    """A model whose weights are kept as said, and how many bytes of them a decode step reads."""
    config = config_of(shape)
    architecture = architecture_of(config)
    assert architecture is not None
    weights = RandomWeights(config, device, dtype)
    with torch.inference_mode():
        checkpoint = cast(Checkpoint, weights)
        narrow = None if kept == "bfloat16" else Counted(kept, device)
        linears = Linears(checkpoint, narrow=narrow)
        model = Decoder(architecture, config, checkpoint, linears, TritonPointwise())
    embedding = config.vocab_size * config.hidden_size * dtype.itemsize
    read = weights.made - (
        0 if architecture.tied else embedding
    )  # of the embedding itself, a row for each token
    if narrow is not None:
        read = narrow.bytes
    loaded = LoadedModel(
        model, config.max_position_embeddings, Sampling(temperature=0), frozenset(), device, dtype
    )
    return loaded, read


class Counted:
    """Weights in 8 bits, and how many bytes they are."""

    def __init__(self, name: str, device: torch.device) -> None:
        processors = 2
        if device.type == "cuda":
            processors = torch.cuda.get_device_properties(device).multi_processor_count
        self._weights, self.bytes = NarrowWeights(TritonProducts(processors), name), 0

    def linear(self, matrices: Iterable[Tensor], bias: Tensor | None, dtype: torch.dtype) -> Linear:
        return self._counted(self._weights.linear(matrices, bias, dtype))

    def head(self, weight: Tensor) -> Linear:
        return self._counted(self._weights.head(weight))

    def _counted(self, made: CodesLinear) -> Linear:
        self.bytes += made.codes.values.nbytes + made.codes.scales.nbytes
        return made


class RandomWeights:
    """Stands in for a checkpoint of `config`."""

    def __init__(self, config: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.dtype, self._device = dtype, device
        self.made = 0  # bytes
        hidden, inner, vocab = config.hidden_size, config.intermediate_size, config.vocab_size
        dim = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
        queries, keys = config.num_attention_heads * dim, config.num_key_value_heads * dim
        self._shapes: dict[str, tuple[int, ...]] = {
            r".*(embed_tokens|lm_head)\.weight": (vocab, hidden),
            r".*q_proj\.weight": (queries, hidden),
            r".*(k|v)_proj\.weight": (keys, hidden),
            r".*o_proj\.weight": (hidden, queries),
            r".*(gate|up)_proj\.weight": (inner, hidden),
            r".*down_proj\.weight": (hidden, inner),
            r".*(q|k)_norm\.weight": (dim,),
            r".*norm\.weight": (hidden,),
        }

    def take(self, name: str) -> Tensor:
        shape = next(shape for pattern, shape in self._shapes.items() if re.fullmatch(pattern, name))
        weight = torch.randn(shape, dtype=self.dtype, device=self._device)
        weight = weight.mul_(shape[-1] ** -0.5) if len(shape) > 1 else weight.mul_(0.1).add_(1)
        self.made += weight.nbytes
        return weight

    def joined(self, names: list[str]) -> Tensor:
        return torch.cat([self.take(name) for name in names])

    def joined_if_there(self, names: list[str]) -> None:
        """There is no bias."""
