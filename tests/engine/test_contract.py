"""The contract, for each engine."""

from __future__ import annotations

import pytest

from engine.interface import Engine, ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.scripted import ScriptedEngine
from tests.engine.contract import EngineContract, Shape
from tests.engine.paged_runner import EOS, PagedRunner
from tests.engine.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.anyio


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
        )


class TestScriptedEngineWithTiming(TestScriptedEngine):
    TOKENS_PER_S = 2_000.0
    RANDOM_ACTIONS = 300


class TestStepEngine(EngineContract):
    def build(self, shape: Shape) -> Engine:
        runner = PagedRunner(shape.pages_total, shape.page_tokens, shape.context_tokens)
        limits = Limits(
            shape.context_tokens, max_running=shape.max_running, max_waiting=shape.max_waiting, step_tokens=64
        )
        model = ModelInfo("paged", 0, shape.context_tokens)
        return StepEngine(model, ToyTokenizer(), runner, limits, {EOS})
