"""GGUF to safetensors, once: reading the quantised file takes 20 s, reading what this leaves takes 1 s.

Names, the Llama family's row order and Gemma's norm offset follow the GGUF conventions of llama.cpp.
Configuration and tokenizer come from transformers, which knows both formats.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import filelock
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, ReaderTensor, dequantize
from safetensors.torch import save_file
from transformers import AutoConfig, AutoTokenizer

from engine.config import ModelError
from engine.gguf_sampling import gguf_sampling
from engine.progress import Progress
from engine.quantized import GROUP
from engine.weight_files import CODES, SCALES

ARCHITECTURES: Final = ("llama", "mistral", "qwen2", "qwen3", "gemma3")
SHARD_BYTES: Final = 4 << 30

_TOP: Final = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER: Final = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_BLOCK_BYTES: Final = {
    GGMLQuantizationType.Q4_0: 2 + GROUP // 2,
    GGMLQuantizationType.Q4_1: 4 + GROUP // 2,
    GGMLQuantizationType.Q8_0: 2 + GROUP,
}
_FFN_NORM: Final = {"ffn_norm": "post_attention_layernorm"}
_GEMMA_NORMS: Final = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def convert_gguf(
    gguf_path: Path,
    out_dir: Path,
    progress: Progress,
    *,
    generation: Mapping[str, Any] | None = None,
) -> Path:
    """Write `out_dir` as a transformers folder (safetensors, config, tokenizer) unless it is there; return it.

    `generation` is for the folder's generation_config.json, instead of what the file says. The folder appears by one
    rename, so it is whole or absent; a lock beside it lets a second process wait for the first. Raises ModelError.
    """
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{out_dir}.lock"):
        if out_dir.is_dir():
            return out_dir
        _remove_leftovers(out_dir)
        partial = Path(tempfile.mkdtemp(prefix=f"{out_dir.name}.partial-", dir=out_dir.parent))
        try:
            _write_model(gguf_path, partial, progress, generation)
            _flush_to_disk(partial)
            partial.rename(out_dir)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return out_dir


def hf_name(gguf_name: str, architecture: str) -> str | None:
    """The checkpoint's name for a tensor of the GGUF file; None for one we do not know."""
    stem, _, suffix = gguf_name.rpartition(".")
    if stem in _TOP:
        return f"{_TOP[stem]}.{suffix}"
    if not stem.startswith("blk."):
        return None
    _, layer, part = stem.split(".", 2)
    norms = _GEMMA_NORMS if architecture == "gemma3" else _FFN_NORM
    name = (_LAYER | norms).get(part)
    return f"model.layers.{layer}.{name}.{suffix}" if name else None


def storage_dtype(types: set[GGMLQuantizationType]) -> torch.dtype:
    """The smallest dtype that keeps the matrices: what they are stored in, bfloat16 for quantised ones."""
    if types == {GGMLQuantizationType.F32}:
        return torch.float32
    if types == {GGMLQuantizationType.F16}:
        return torch.float16
    return torch.bfloat16


def _write_model(
    gguf_path: Path, folder: Path, progress: Progress, generation: Mapping[str, Any] | None
) -> None:
    reading = "Reading the GGUF model, once (a small one takes half a minute)"
    progress(reading, 0, 1)
    reader = _open(gguf_path)
    architecture = _architecture(reader, gguf_path)
    where = {"pretrained_model_name_or_path": str(gguf_path.parent), "gguf_file": gguf_path.name}
    try:
        config = AutoConfig.from_pretrained(**where)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    except Exception as error:
        raise ModelError(
            f"{gguf_path}: transformers cannot read its configuration or tokenizer ({error}); "
            "use a safetensors folder of the same model"
        ) from error
    progress(reading, 1, 1)
    dtype = storage_dtype({tensor.tensor_type for tensor in reader.tensors if len(tensor.shape) > 1})
    config.dtype = dtype
    tensors = _tensors(reader, architecture, config, gguf_path, dtype, progress)
    _write_index(_write_shards(tensors, folder, "model"), folder)
    _write_shards(_blocks(reader, architecture, config), folder, "blocks")
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    defaults = {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
    if generation is None:
        generation = gguf_sampling(lambda key: _value(reader, key))
    (folder / "generation_config.json").write_text(json.dumps({**defaults, **generation}, indent=2) + "\n")


def _value(reader: GGUFReader, key: str) -> object:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _open(gguf_path: Path) -> GGUFReader:
    try:
        return GGUFReader(gguf_path)
    except FileNotFoundError:
        raise ModelError(f"{gguf_path}: no such file") from None
    except Exception as error:  # the reader raises whatever its parsing meets
        raise ModelError(
            f"{gguf_path}: not a readable GGUF file ({error}); it may be cut short, so fetch it again"
        ) from error


def _architecture(reader: GGUFReader, gguf_path: Path) -> str:
    field = reader.get_field("general.architecture")
    name = str(field.contents()) if field else "none named"
    if name not in ARCHITECTURES:
        raise ModelError(
            f"{gguf_path}: architecture {name!r} is not among those converted from GGUF "
            f"({', '.join(ARCHITECTURES)}); use a safetensors folder of the same model"
        )
    if any(tensor.name == "rope_freqs.weight" for tensor in reader.tensors):
        raise ModelError(
            f"{gguf_path}: its rotary frequencies are rescaled by a table, which is not supported; "
            "use a safetensors folder of the same model"
        )
    return name


def _tensors(
    reader: GGUFReader,
    architecture: str,
    config: Any,
    gguf_path: Path,
    dtype: torch.dtype,
    progress: Progress,
) -> Iterator[tuple[str, torch.Tensor]]:
    for index, tensor in enumerate(reader.tensors):
        name = hf_name(tensor.name, architecture)
        if name is None:
            raise ModelError(
                f"{gguf_path}: unknown tensor {tensor.name!r}; use a safetensors folder of the same model"
            )
        values = dequantize(tensor.data, tensor.tensor_type)
        values = _rows_in_order(values, tensor.name, architecture, config)
        if architecture == "gemma3" and tensor.name.split(".")[-2].endswith("norm"):
            values = values - 1.0  # GGUF stores 1 + w
        yield (
            name,
            torch.from_numpy(np.array(values, order="C")).to(dtype),
        )  # a copy: the file's map is read-only
        progress("Converting its weights, once", index + 1, len(reader.tensors))


def _blocks(reader: GGUFReader, architecture: str, config: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The matrices whose blocks are ours to the bit, as `engine.quantized` has them."""
    for tensor in reader.tensors:
        name = hf_name(tensor.name, architecture)
        if tensor.tensor_type not in _BLOCK_BYTES or name is None:
            continue
        for suffix, part in zip((CODES, SCALES), _codes_and_scales(tensor), strict=True):
            rows = _rows_in_order(part, tensor.name, architecture, config)
            yield name + suffix, torch.from_numpy(np.array(rows, order="C"))


def _codes_and_scales(tensor: ReaderTensor) -> tuple[np.ndarray, np.ndarray]:
    """Blocks as GGUF stores them: scale (and least, in Q4_1) in float16, then the codes."""
    kind = tensor.tensor_type
    blocks = tensor.data.reshape(tensor.data.shape[0], -1, _BLOCK_BYTES[kind])
    if kind == GGMLQuantizationType.Q8_0:
        return blocks[..., 2:].view(np.int8), blocks[..., :2].view(np.float16)
    if kind == GGMLQuantizationType.Q4_1:
        return blocks[..., 4:], blocks[..., :4].view(np.float16)
    scale = blocks[..., :2].view(np.float16)
    return blocks[..., 2:], np.concatenate((scale, -8 * scale), axis=-1)


def _rows_in_order(rows: np.ndarray, name: str, architecture: str, config: Any) -> np.ndarray:
    """The matrix (or its codes or scales) in the row order of transformers."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    part = name.split(".")[-2]
    if architecture in ("llama", "mistral") and part in heads:
        return _halves_from_pairs(rows, heads[part])
    return rows


def _halves_from_pairs(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undo GGUF's rotary row order (pairs side by side) for Llama: the two halves of each head apart."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, half, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _write_shards(
    tensors: Iterator[tuple[str, torch.Tensor]], folder: Path, stem: str
) -> tuple[dict[str, str], int]:
    """Write safetensors files of bounded size, so that a large model never stands in memory whole.

    Returns the file of each tensor and the bytes of all.
    """
    weight_map: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    total = 0

    def flush() -> None:
        file = f"{stem}-{len(set(weight_map.values())) + 1:05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, file))
        shard.clear()

    for name, tensor in tensors:
        if shard and sum(kept.nbytes for kept in shard.values()) + tensor.nbytes > SHARD_BYTES:
            flush()
        shard[name] = tensor
        total += tensor.nbytes
    if shard:
        flush()
    return weight_map, total


def _write_index(written: tuple[dict[str, str], int], folder: Path) -> None:
    """The blocks are not named in it: transformers is to load the matrices themselves."""
    weight_map, total = written
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def _remove_leftovers(out_dir: Path) -> None:
    """Delete what a killed conversion left; the lock is ours, so nobody else is writing there."""
    for left in out_dir.parent.glob(f"{out_dir.name}.partial-*"):
        shutil.rmtree(left, ignore_errors=True)


def _flush_to_disk(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
