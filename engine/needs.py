"""What a model folder would take, from its configuration and the lists of its files: nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from engine.architecture import Architecture, architecture_of
from engine.config import EngineSettings
from engine.cuda.codes import SLAB_BYTES
from engine.cuda.room import Sizes, rooms
from engine.form import BITS, FP8, NARROW, Form, computed_dtype, form_of
from engine.groups import SCRATCH_BYTES
from engine.model_config import read_config
from engine.models import check_generic
from engine.paged_cache import LayerShape, token_bytes
from engine.plan import Needs
from engine.quantized import GROUP
from engine.rope import head_dim, steady_context
from engine.shapes import check_shapes
from engine.weight_files import CODES, SCALES, Listed, WeightFiles

_EMBEDDING: Final = "embed_tokens.weight"
_GROUP_BYTES: Final = {4: GROUP // 2 + 4, 8: GROUP + 2}  # of a group of weights in blocks: codes and scales
_TOKENIZER_BYTES: Final = 64 << 20  # the default model's takes 40 MiB, and formats are compiled for it
_CPU_BYTES: Final = SCRATCH_BYTES + _TOKENIZER_BYTES
_LOGITS: Final = 3  # copies of a step's logits in float32: as computed, as probabilities, sorted
_QUANTISING: Final = 4  # copies in float32 of a matrix that is quantised


@dataclass(frozen=True, slots=True)
class Looked:
    """A model folder that was looked at, and what it would be computed with."""

    folder: Path
    config: Any
    architecture: Architecture | None
    form: Form
    needs: Needs


def look_at(folder: Path, settings: EngineSettings, name: str) -> Looked:
    """Raises ModelError naming what is wrong with the folder, or what was asked for and cannot be had."""
    config = read_config(folder)
    architecture = architecture_of(config)
    if architecture is None:
        check_generic(config, settings)
    files = WeightFiles(folder)
    if architecture is not None:
        check_shapes(files, config, architecture)
    form = form_of(settings, holds_blocks=files.holds_blocks and architecture is not None)
    return Looked(
        folder, config, architecture, form, _needs(config, architecture, files, form, settings, name)
    )


def _needs(
    config: Any,
    architecture: Architecture | None,
    files: WeightFiles,
    form: Form,
    settings: EngineSettings,
    name: str,
) -> Needs:
    listed = list(files.listed())
    element = form.dtype.itemsize
    limit = steady_context(config)
    context = min(limit, settings.context_tokens) if settings.context_tokens else limit
    largest = max((one.elements for one in listed if not _is_block(one.name)), default=0)
    parts = _gpu_rooms(config, element, settings, context) if form.device.type == "cuda" else {}
    # The tokenizer's is the machine's memory, and on a processor the steps' too.
    step = sum(parts.values()) or _CPU_BYTES + settings.max_running * int(config.vocab_size) * 4 * _LOGITS
    loading = largest * (4 * _QUANTISING if form.bits else element) + (SLAB_BYTES if form.narrow else 0)
    tied = architecture is None or architecture.tied
    in_blocks = form.products is not None
    others: dict[str, int] = {}
    if architecture is not None and form.device.type == "cpu":
        others = {
            dtype: weight_bytes(listed, element, True, bits, tied)
            for dtype, bits in BITS.items()
            if dtype != settings.dtype
        }
    elif architecture is not None:
        others = {
            dtype: narrow_bytes(listed, element, tied) for dtype in NARROW[:1] if dtype != settings.dtype
        }
    if architecture is None:
        weights = sum(one.elements for one in listed) * element
        if form.dense is not None and getattr(config, "tie_word_embeddings", False):
            weights += int(config.vocab_size) * int(config.hidden_size) * element  # as `weight_bytes` has it
    elif form.narrow:
        weights = narrow_bytes(listed, element, tied)
    else:
        weights = weight_bytes(listed, element, in_blocks, form.bits, tied)
    return Needs(
        name=name,
        weights=weights,
        dtype=dtype_words(settings, form),
        token=token_bytes(_layer_shapes(config), form.kv_dtype),
        work=max(step, loading if parts else _CPU_BYTES + loading),
        rooms=parts,
        context_tokens=context,
        others=others,
    )


def _gpu_rooms(config: Any, element: int, settings: EngineSettings, context_tokens: int) -> dict[str, int]:
    heads, hidden = int(config.num_attention_heads), int(config.hidden_size)
    sizes = Sizes(
        vocab=int(config.vocab_size),
        hidden=hidden,
        inner=int(getattr(config, "intermediate_size", None) or 4 * hidden),
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_dim=head_dim(config),
        element=element,
    )
    table = -(-context_tokens // settings.page_tokens)
    return rooms(sizes, settings.max_running, settings.chunk_tokens, table, moves=True)


def weight_bytes(
    listed: Iterable[Listed], element: int, in_blocks: bool, bits: int | None, tied: bool
) -> int:
    """What our own decoder keeps of these tensors. element: bytes of a number that is in no block.

    in_blocks: whether blocks are computed, those of the folder or, with `bits`, made of what it has. A tied output
    matrix is kept beside the embedding, for products read it in another order.
    """
    matrices = {one.name: one for one in listed}
    total = 0
    for name, one in matrices.items():
        if _is_block(name):
            continue
        plain = one.elements * (element if len(one.shape) > 1 else 4)
        embedding = name.endswith(_EMBEDDING)
        if embedding:
            total += plain
            if not tied:
                continue
        blocks = _bits_of(matrices, one, in_blocks, bits, embedding or name.endswith("lm_head.weight"))
        total += plain if blocks is None else one.elements // GROUP * _GROUP_BYTES[blocks]
    return total


def narrow_bytes(listed: Iterable[Listed], element: int, tied: bool) -> int:
    """What our own decoder keeps of these tensors where a GPU has its weights in 8 bits, a scale for each output."""
    total = 0
    for one in listed:
        if _is_block(one.name):
            continue
        embedding = one.name.endswith(_EMBEDDING)
        if len(one.shape) < 2:
            total += one.elements * 4
        if embedding:
            total += one.elements * element
        if len(one.shape) > 1 and (tied or not embedding):
            total += one.elements + 4 * one.shape[0]
    return total


def dtype_words(settings: EngineSettings, form: Form) -> str:
    if form.narrow is not None:
        return form.narrow
    if form.products is None:
        return form.dtype_name
    return settings.dtype if form.bits else f"the file's blocks and {form.dtype_name}"


def kv_words(form: Form) -> str:
    """The number type of keys and values, and the reason for it."""
    if form.kv == FP8:
        return "fp8, with a scale for each token and head: asked for by kv_dtype"
    return f"{form.dtype_name}: as the model is computed"


def why_dtype(settings: EngineSettings, form: Form) -> str:
    """The reason for the form that the weights have, for people."""
    if settings.dtype != "auto":
        return "asked for by dtype"
    if form.products is not None:
        return "its file has them, and the processor computes from them"
    if form.device.type == "cuda":
        return "what the GPU multiplies natively"
    native = computed_dtype("auto", form.device) == torch.bfloat16
    return "the processor multiplies it natively" if native else "the processor has no bfloat16 products"


def _bits_of(
    matrices: dict[str, Listed], one: Listed, in_blocks: bool, bits: int | None, is_head: bool
) -> int | None:
    """The bits of the blocks that a matrix is kept in, as `engine.linear` decides it."""
    if not in_blocks or len(one.shape) < 2:
        return None
    codes = matrices.get(one.name + CODES)
    held = None if codes is None else 4 if codes.dtype == "U8" else 8
    wanted = 8 if bits and is_head else bits
    if held is not None and held <= (wanted or held):
        return held
    return wanted if wanted and one.shape[-1] % GROUP == 0 else None


def _layer_shapes(config: Any) -> list[LayerShape]:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return [LayerShape(int(heads), head_dim(config))] * int(config.num_hidden_layers)


def _is_block(name: str) -> bool:
    return name.endswith((CODES, SCALES))
