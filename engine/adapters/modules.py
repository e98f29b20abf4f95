"""The linear modules of a model of transformers' own, which ask the mixer what to add."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from engine.adapters.mixer import Mixer
from engine.adapters.targets import Site, Targets


class AdaptedModules:
    """All that an adapter may change: those of the steps' number type that see every token, but the output matrix."""

    def __init__(self, model: Any, dtype: torch.dtype, mixer: Mixer) -> None:
        self._mixer = mixer
        self._asked = False
        output = model.get_output_embeddings()
        sites: list[Site] = []
        for name, module in model.named_modules():
            shape = _shape(module, dtype)
            # An expert sees some of the tokens, and the mixer knows whose they are by their places among all.
            if shape is not None and module is not output and "experts" not in name.split("."):
                module.register_forward_hook(partial(self._add, len(sites)))
                sites.append(Site((name,), shape[0], (shape[1],)))
        self.targets = Targets(tuple(sites))

    @contextmanager
    def asked(self, adapted: bool) -> Iterator[None]:
        """Whether what the mixer has is added within."""
        self._asked = adapted
        try:
            yield
        finally:
            self._asked = False

    def _add(self, site: int, module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        if self._asked:
            self._mixer.add(site, inputs[0].flatten(0, -2), out.view(-1, out.shape[-1]))


def _shape(module: nn.Module, dtype: torch.dtype) -> tuple[int, int] | None:
    """A linear module's inputs and outputs; None for any other."""
    match module:
        case nn.Linear(weight=weight) if weight.dtype == dtype:
            return module.in_features, module.out_features
        case Conv1D(weight=weight) if weight.dtype == dtype:
            return module.nx, module.nf
        case _:
            return None
