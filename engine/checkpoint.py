"""Tensors out of a folder of safetensors files, one at a time: loading never holds the model twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.config import ModelError
from engine.quantized import Blocks, join

# After a matrix's own name, where the folder holds its blocks too.
CODES: Final = ".codes"
SCALES: Final = ".scales"


class Checkpoint:
    """The tensors of a model folder by name, in the dtype and on the device asked for.

    Names are those below the text model (`layers.0.mlp.up_proj.weight`) and `lm_head.weight`; the prefix before
    them, which differs between a text model and the text half of a larger one, is found here.
    Raises ModelError naming the file or the tensor.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self._folder, self._device, self.dtype = folder, device, dtype
        self._homes: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                file: Any = safe_open(path, framework="pt", device="cpu")
                self._homes.update(dict.fromkeys(file.keys(), file))
            except (SafetensorError, OSError) as error:
                raise ModelError(
                    f"{path}: not a readable safetensors file ({error}); it may be cut short, copy it again"
                ) from error
        self._prefix = self._find_prefix()

    def take(self, name: str) -> Tensor:
        full = self._full(name)
        if full is None:
            raise ModelError(
                f"{self._folder}: no tensor {self._prefix}{name}; the weights do not match config.json"
            )
        tensor: Tensor = self._homes[full].get_tensor(full)
        return tensor.to(device=self._device, dtype=self.dtype)

    def joined(self, names: list[str]) -> Tensor:
        """Several matrices (or vectors) one below the other."""
        return torch.cat([self.take(name) for name in names])

    @property
    def holds_blocks(self) -> bool:
        return any(name.endswith(CODES) for name in self._homes)

    def blocks(self, names: list[str]) -> Blocks | None:
        """Several matrices one below the other, if the folder holds them all in blocks of the same bits."""
        parts = [self._blocks(name) for name in names]
        there = [part for part in parts if part is not None]
        alike = len(there) == len(parts) and len({part.bits for part in there}) == 1
        return join(there) if alike else None

    def _blocks(self, name: str) -> Blocks | None:
        codes, scales = self._full(name + CODES), self._full(name + SCALES)
        if codes is None or scales is None:
            return None
        tensor: Tensor = self._homes[codes].get_tensor(codes)
        bits = 4 if tensor.dtype == torch.uint8 else 8
        return Blocks(bits, tensor, self._homes[scales].get_tensor(scales))

    def joined_if_there(self, names: list[str]) -> Tensor | None:
        return self.joined(names) if self._full(names[0]) else None

    def _full(self, name: str) -> str | None:
        beside = self._prefix.removesuffix("model.")  # where the output matrix stands
        return next(
            (full for full in (self._prefix + name, beside + name, name) if full in self._homes), None
        )

    def _find_prefix(self) -> str:
        anchor = "embed_tokens.weight"
        for name in self._homes:
            if name.endswith(anchor):
                return name.removesuffix(anchor)
        raise ModelError(f"{self._folder}: no safetensors file in it holds {anchor}; is the model whole?")
