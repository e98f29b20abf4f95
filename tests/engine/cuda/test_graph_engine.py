"""The engine's contract on a runner of graphs."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import EngineSettings
from engine.cuda.processor import ProcessorDevice
from engine.cuda.runner import GraphRunner
from engine.interface import Engine, ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.models import load_model
from tests.engine.contract import EngineContract, Shape
from tests.engine.cuda.torch_kernels import TorchKernels
from tests.engine.paged_runner import EOS, VOCABULARY
from tests.engine.tiny_models import save_tiny
from tests.engine.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    return save_tiny(
        "llama", folder, vocab_size=VOCABULARY, max_position_embeddings=16_384, num_hidden_layers=1
    )


class TestGraphEngine(EngineContract):
    ahead = 1

    @pytest.fixture(autouse=True)
    def model(self, toy: Path) -> None:
        self.folder = toy

    def build(self, shape: Shape) -> Engine:
        settings = EngineSettings(
            dtype="float32",
            page_tokens=shape.page_tokens,
            context_tokens=shape.context_tokens,
            max_running=shape.max_running,
            kv_bytes=shape.pages_total * shape.page_tokens * 2 * 2 * 8 * 4,
        )
        loaded = load_model(self.folder, settings)
        runner = GraphRunner(loaded, settings, ProcessorDevice(), TorchKernels(), self.ahead)
        limits = Limits(
            runner.context_tokens,
            max_running=shape.max_running,
            max_waiting=shape.max_waiting,
            step_tokens=64,
            ahead=runner.ahead,
        )
        return StepEngine(ModelInfo("toy", 0, shape.context_tokens), ToyTokenizer(), runner, limits, {EOS})


class TestGraphEngineFarAhead(TestGraphEngine):
    ahead = 4
