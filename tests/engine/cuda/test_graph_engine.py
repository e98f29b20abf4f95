"""The engine's contract on a runner of graphs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.config import EngineSettings
from engine.cuda.processor import ProcessorDevice
from engine.cuda.runner import GraphRunner
from engine.interface import Engine, ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.models import load_model
from engine.request import FinishReason
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


async def test_a_prompt_for_which_memory_runs_out_fails_alone(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EngineSettings(dtype="float32", page_tokens=16, context_tokens=256, kv_bytes=4 << 20)
    loaded = load_model(toy, settings)
    forward = loaded.model.forward

    def short_of_memory(tokens: Tensor, *rest: Any) -> Tensor:
        if len(tokens) > 100:
            raise torch.OutOfMemoryError("no memory")
        return forward(tokens, *rest)

    monkeypatch.setattr(loaded.model, "forward", short_of_memory)
    runner = GraphRunner(loaded, settings, ProcessorDevice(), TorchKernels(), 1)
    limits = Limits(runner.context_tokens, max_running=8, step_tokens=200, ahead=1)
    engine = StepEngine(ModelInfo("toy", 0, 256), ToyTokenizer(), runner, limits, {EOS})
    engine.start(asyncio.get_running_loop())
    try:
        expected = await ask(engine, "alone", [5, 6, 7])
        beside, large = await asyncio.gather(
            ask(engine, "beside", [5, 6, 7]), ask(engine, "large", list(range(1, 91)) * 2)
        )
        assert large.finished.reason is FinishReason.FAILED
        assert beside.ids == expected.ids
        assert (await ask(engine, "after", [5, 6, 7])).ids == expected.ids
    finally:
        await engine.close()
    assert engine.stats().pages_used == 0
