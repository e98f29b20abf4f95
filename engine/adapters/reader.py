"""An adapter's files into what is added to one model's products, after all of it was checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from engine.adapters.adapter import Adapter, AdapterError
from engine.adapters.choice import Chosen, choose
from engine.adapters.config import AdapterConfig, ConfigFault
from engine.adapters.delta import Delta, Pair, delta_of
from engine.adapters.files import CONFIG, WEIGHTS, read_files
from engine.adapters.targets import Targets

_TENSOR: Final = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_DTYPES: Final = (torch.float32, torch.bfloat16, torch.float16)


class AdapterReader:
    """Reads adapters for a model of these targets. Thread-safe, and slow: not for an event loop."""

    def __init__(self, targets: Targets, dtype: torch.dtype, device: torch.device) -> None:
        self._targets, self._dtype, self._device = targets, dtype, device

    def __call__(self, name: str, folder: Path, limit_bytes: int, now: int) -> Adapter:
        """now: unix seconds. Raises AdapterError naming the file and the field or tensor at fault."""
        files = read_files(name, folder, limit_bytes)
        try:
            pairs = self._pairs(files.config, load(files.weights))
            deltas = self._deltas(pairs)
        except ConfigFault as fault:
            raise AdapterError(name, f"{folder / CONFIG}: {fault}") from fault
        except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype that torch lacks
            raise AdapterError(name, f"{folder / WEIGHTS}: {error}") from error
        return Adapter(
            name=name,
            identity=files.identity,
            rank=max(len(pair.down) for pair in pairs.values()),
            bytes=sum(delta.bytes for delta in deltas.values()),
            loaded_at=now,
            content=deltas,
        )

    def _pairs(self, config: AdapterConfig, tensors: Mapping[str, Tensor]) -> dict[str, Pair]:
        """The matrices by module, checked: all that the configuration names, and nothing else."""
        halves: dict[str, dict[str, Tensor]] = {}
        prefixes: set[str] = set()
        for key, tensor in tensors.items():
            match = _TENSOR.fullmatch(key)
            found = self._targets.find(match[1]) if match else None
            if match is None or found is None:
                raise _Fault(
                    f"tensor {key} is of no linear module that this model has (the adapter's base: {config.base})"
                )
            prefixes.add(found[0])
            halves.setdefault(found[1], {})[match[2]] = _sound(key, tensor)
        if len(prefixes) != 1:
            raise _Fault("its tensors belong to no model, or to several")
        prefix = prefixes.pop()
        chosen = choose(config, [prefix + module for module in self._targets.places])
        wanted = {module.removeprefix(prefix): one for module, one in chosen.items()}
        _check_targets(wanted.keys(), halves.keys())
        return {
            module: self._pair(module, wanted[module], parts, config.base) for module, parts in halves.items()
        }

    def _pair(self, module: str, chosen: Chosen, halves: Mapping[str, Tensor], base: str) -> Pair:
        inputs, outputs = self._targets.shape(module)
        rank = chosen.rank
        for half, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            if half not in halves:
                raise _Fault(f"tensor {module}.lora_{half}.weight is missing")
            if halves[half].shape != shape:
                raise _Fault(
                    f"tensor {module}.lora_{half}.weight has the shape {tuple(halves[half].shape)}; this model and "
                    f"the rank {rank} want {shape} (the adapter's base: {base})"
                )
        return Pair(halves["A"], (halves["B"].float() * chosen.scale).T)

    def _deltas(self, pairs: Mapping[str, Pair]) -> dict[int, Delta]:
        by_site: dict[int, dict[int, Pair]] = {}
        for module, pair in pairs.items():
            site, part = self._targets.places[module]
            by_site.setdefault(site, {})[part] = Pair(*map(self._placed, pair))
        return {site: delta_of(self._targets.sites[site], parts) for site, parts in by_site.items()}

    def _placed(self, tensor: Tensor) -> Tensor:
        placed = tensor.to(device=self._device, dtype=self._dtype).contiguous()
        if not torch.isfinite(placed).all():
            raise _Fault(f"its numbers times lora_alpha are too great for {self._dtype}")
        return placed


class _Fault(ValueError):
    """What is wrong with the tensors."""


def _check_targets(wanted: Set[str], held: Set[str]) -> None:
    if missing := sorted(wanted - held):
        raise _Fault(f"{len(missing)} modules of target_modules have no tensors, such as {missing[0]}")
    if more := sorted(held - wanted):
        raise _Fault(f"{len(more)} modules with tensors are not in target_modules, such as {more[0]}")


def _sound(key: str, tensor: Tensor) -> Tensor:
    if tensor.dtype not in _DTYPES:
        raise _Fault(f"tensor {key} is of {tensor.dtype}; only float32, bfloat16 and float16 are supported")
    if not torch.isfinite(tensor).all():
        raise _Fault(f"tensor {key} holds numbers that are not finite")
    return tensor
