"""The contract, for each engine."""

from __future__ import annotations

import random
from collections.abc import Callable
from zlib import crc32

import pytest

from engine.batch import Row
from engine.interface import Engine, ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.playback import Fault
from engine.request import EngineRequest
from engine.scripted import ScriptedEngine
from tests.engine.contract import EngineContract, Shape
from tests.engine.paged_runner import EOS, PagedRunner
from tests.engine.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.anyio


def unlucky(request: EngineRequest) -> Fault | None:
    """Every seventh request fails after some tokens."""
    lot = crc32(request.id.encode())
    return None if lot % 7 else Fault(after_tokens=lot % 5, error=RuntimeError("unlucky"))


class TestScriptedEngine(EngineContract):
    TOKENS_PER_S = 0.0

    def build(self, shape: Shape) -> Engine:
        return ScriptedEngine(
            self.TOKENS_PER_S,
            max_running=shape.max_running,
            max_waiting=shape.max_waiting,
            context_tokens=shape.context_tokens,
            page_tokens=shape.page_tokens,
            pages_total=shape.pages_total,
            faults=unlucky if self.failing else None,
        )


class TestScriptedEngineWithTiming(TestScriptedEngine):
    TOKENS_PER_S = 2_000.0
    RANDOM_ACTIONS = 300


class TestStepEngine(EngineContract):
    def build(self, shape: Shape) -> Engine:
        runner = PagedRunner(shape.pages_total, shape.page_tokens, shape.context_tokens)
        if self.failing:
            runner.fault, runner.row_fault, runner.copy_fault = self.faults()
        limits = Limits(
            shape.context_tokens, max_running=shape.max_running, max_waiting=shape.max_waiting, step_tokens=64
        )
        model = ModelInfo("paged", 0, shape.context_tokens)
        return StepEngine(model, ToyTokenizer(), runner, limits, {EOS})

    def faults(self) -> tuple[Callable[..., None], Callable[[Row], Exception | None], Callable[..., None]]:
        """Of a hundred steps, rows and copies, these fail."""
        chance = random.Random(11)

        def fault(*args: object) -> None:
            if chance.random() < 0.02:
                raise RuntimeError("unlucky")

        return fault, lambda row: RuntimeError("unlucky") if chance.random() < 0.01 else None, fault
