"""The contract, for each engine."""

from __future__ import annotations

import pytest

from engine.interface import Engine
from engine.scripted import ScriptedEngine
from tests.engine.contract import EngineContract, Shape

pytestmark = pytest.mark.anyio


class TestScriptedEngine(EngineContract):
    def build(self, shape: Shape) -> Engine:
        return ScriptedEngine(
            max_running=shape.max_running,
            max_waiting=shape.max_waiting,
            context_tokens=shape.context_tokens,
            page_tokens=shape.page_tokens,
            pages_total=shape.pages_total,
        )


class TestScriptedEngineWithTiming(TestScriptedEngine):
    RANDOM_ACTIONS = 300

    def build(self, shape: Shape) -> Engine:
        return ScriptedEngine(
            2_000.0,
            max_running=shape.max_running,
            max_waiting=shape.max_waiting,
            context_tokens=shape.context_tokens,
            page_tokens=shape.page_tokens,
            pages_total=shape.pages_total,
        )
