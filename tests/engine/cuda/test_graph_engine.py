"""The engine's contract on a runner of graphs."""

from __future__ import annotations

import asyncio
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
from tests.engine.test_follow_up import ask
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


async def test_chats_that_do_not_fit_together_come_back_to_the_bit(toy: Path) -> None:
    """Pages that left and came back give the tokens that they would have given at once."""
    said: list[list[list[int]]] = []
    for pages, host_bytes in ((200, 0), (12, 1 << 20)):
        settings = EngineSettings(
            dtype="float32",
            page_tokens=16,
            context_tokens=128,
            max_running=8,
            kv_bytes=pages * 16 * 2 * 2 * 8 * 4,
            host_kv_bytes=host_bytes,
        )
        runner = GraphRunner(load_model(toy, settings), settings, ProcessorDevice(), TorchKernels(), 1)
        limits = Limits(runner.context_tokens, max_running=8, step_tokens=64, ahead=1)
        engine = StepEngine(ModelInfo("toy", 0, 128), ToyTokenizer(), runner, limits, {EOS})
        engine.start(asyncio.get_running_loop())
        chats = [[1 + (n * 7 + chat) % 90 for n in range(40)] for chat in range(3)]
        for turn in range(3):
            for chat, ids in enumerate(chats):
                heard = await ask(engine, f"{chat} {turn}", ids)
                assert heard.cached == (len(ids) - 5 if turn else 0)
                engine.commit(f"{chat} {turn}", heard.ids)
                ids += [*heard.ids, 5, 6, 7, 8]
        await engine.close()
        stats = engine.stats()
        assert bool(stats.host_pages_back) == bool(host_bytes)
        said.append(chats)
    assert said[0] == said[1]
