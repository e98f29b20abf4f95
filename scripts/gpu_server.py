"""A server whose GPU is a stand-in: a step takes `--step-ms` and no processor, and says what stands in a text.

    python -m scripts.gpu_server [--step-ms 8] [--text FILE] [settings of `sluice serve`]

Tokens are those of the model's tokenizer, and replies go through engine, gate, hub and socket like any others. So
`python -m loadtest` shows what all of that leaves of a device's speed, and how late the event loop is. Nothing is
computed, and what launching on a real device costs is not in it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

import engine.torch_engine
from app.__main__ import main as sluice
from engine.config import EngineSettings
from engine.cuda.device import Pending, Work
from engine.cuda.processor import ProcessorDevice
from engine.cuda.runner import GraphRunner
from engine.models import LoadedModel
from scripts.gpu_python import NoKernels

TEXT = Path(__file__).parents[1] / "docs" / "internals.md"


class SlowDevice(ProcessorDevice):
    """Replays take `step_s` each, one after the other; waiting for them leaves the processor to others."""

    def __init__(self, step_s: float, text: Sequence[int]) -> None:
        self._step_s, self._text = step_s, text
        self._step, self._free = 0, 0.0

    def capture(self, work: Work) -> Work:
        return lambda: None

    def fetch(self, values: Tensor) -> Pending:
        """Every row is somewhere else in the text."""
        self._free = max(self._free, time.monotonic()) + self._step_s
        self._step += 1
        tokens = [self._text[(self._step + 97 * row) % len(self._text)] for row in range(len(values))]
        return _Arriving(tokens, self._free)


class _Arriving:
    def __init__(self, tokens: list[int], at: float) -> None:
        self._tokens, self._at = tokens, at

    def wait(self) -> list[int]:
        time.sleep(max(0.0, self._at - time.monotonic()))
        return self._tokens


class SlowModel:
    """Prompts take `step_s` too, and end in the text's first token."""

    def __init__(self, model: Any, step_s: float, text: Sequence[int]) -> None:
        self._model, self.step_s, self.text = model, step_s, text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def forward(
        self, tokens: Tensor, positions: Tensor, attention: object, chosen: Tensor, adapted: bool = False
    ) -> Tensor:
        time.sleep(self.step_s)
        logits = torch.zeros(len(chosen), self._model.vocab)
        logits[:, self.text[0]] = 100.0
        return logits


def slow_runner(loaded: LoadedModel, settings: EngineSettings) -> GraphRunner:
    model, kernels = cast(SlowModel, loaded.model), NoKernels()
    device = SlowDevice(model.step_s, model.text)
    return GraphRunner(loaded, settings, device, kernels, settings.ahead)  # type: ignore[arg-type]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.gpu_server", description=__doc__)
    parser.add_argument("--step-ms", type=float, default=8.0)
    parser.add_argument("--text", type=Path, default=TEXT)
    given, settings = parser.parse_known_args()
    step_s, said = given.step_ms / 1e3, given.text.read_text(encoding="utf-8")
    module: Any = engine.torch_engine
    load_model = module.load_model

    def load(folder: Path, settings: EngineSettings) -> LoadedModel:
        loaded: LoadedModel = load_model(folder, settings)
        ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(said, add_special_tokens=False).ids
        return replace(loaded, model=SlowModel(loaded.model, step_s, ids))

    module.load_model, module.runner_for = load, slow_runner
    return sluice(["serve", *settings])


if __name__ == "__main__":
    sys.exit(main())
