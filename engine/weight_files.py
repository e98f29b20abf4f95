"""The safetensors files of a model folder: which tensors they hold, without reading one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from engine.config import ModelError

# After a matrix's own name, where the folder holds its blocks too.
CODES: Final = ".codes"
SCALES: Final = ".scales"
_ANCHOR: Final = "embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class Listed:
    """A tensor as its file lists it."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # as safetensors names it: BF16, F32, U8

    @property
    def elements(self) -> int:
        return prod(self.shape)


class WeightFiles:
    """A folder's tensors by name. Raises ModelError naming the file that cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._homes: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                file: Any = safe_open(path, framework="pt", device="cpu")
                self._homes.update(dict.fromkeys(file.keys(), file))
            except (SafetensorError, OSError) as error:
                raise ModelError(
                    f"{path}: not a readable safetensors file ({error}); it may be cut short, copy it again"
                ) from error

    def __contains__(self, name: str) -> bool:
        return name in self._homes

    def read(self, name: str) -> Any:
        return self._homes[name].get_tensor(name)

    def listed(self) -> Iterator[Listed]:
        for name, file in self._homes.items():
            part = file.get_slice(name)
            yield Listed(name, tuple(part.get_shape()), str(part.get_dtype()))

    @property
    def holds_blocks(self) -> bool:
        return any(name.endswith(CODES) for name in self._homes)

    @property
    def prefix(self) -> str:
        """What stands before `layers.0…`: it differs between a text model and the text half of a larger one."""
        for name in self._homes:
            if name.endswith(_ANCHOR):
                return name.removesuffix(_ANCHOR)
        raise ModelError(f"{self.folder}: no safetensors file in it holds {_ANCHOR}; is the model whole?")
