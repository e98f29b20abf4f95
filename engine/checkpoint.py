"""Tensors out of a folder of safetensors files, one at a time: loading never holds the model twice."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.config import ModelError
from engine.quantized import Blocks, join
from engine.weight_files import CODES, SCALES, WeightFiles


class Checkpoint:
    """The tensors of a model folder by name, in the dtype and on the device asked for.

    Names are those below the text model (`layers.0.mlp.up_proj.weight`) and `lm_head.weight`.
    Raises ModelError naming the file or the tensor.
    """

    def __init__(self, files: WeightFiles, device: torch.device, dtype: torch.dtype) -> None:
        self._files, self._device, self.dtype = files, device, dtype
        self._prefix = files.prefix

    def take(self, name: str) -> Tensor:
        full = self._full(name)
        if full is None:
            raise ModelError(
                f"{self._files.folder}: no tensor {self._prefix}{name}; the weights do not match config.json"
            )
        tensor: Tensor = self._files.read(full)
        return tensor.to(device=self._device, dtype=self.dtype)

    def joined(self, names: list[str]) -> Tensor:
        """Several matrices (or vectors) one below the other."""
        return torch.cat([self.take(name) for name in names])

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
        tensor: Tensor = self._files.read(codes)
        bits = 4 if tensor.dtype == torch.uint8 else 8
        return Blocks(bits, tensor, self._files.read(scales))

    def joined_if_there(self, names: list[str]) -> Tensor | None:
        return self.joined(names) if self._full(names[0]) else None

    def _full(self, name: str) -> str | None:
        beside = self._prefix.removesuffix("model.")  # where the output matrix stands
        return next(
            (full for full in (self._prefix + name, beside + name, name) if full in self._files), None
        )
