"""What a follow-up turn need not compute: every full page of the prompt before it."""

from __future__ import annotations

import asyncio

import pytest

from engine.interface import ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.request import EngineRequest, Sampling
from tests.engine.contract import Heard
from tests.engine.paged_runner import EOS, PagedRunner
from tests.engine.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.anyio

PAGE, CONTEXT = 16, 512


async def ask(engine: StepEngine, id: str, ids: list[int], *, warm: bool = False) -> Heard:
    heard = Heard()
    sampling = Sampling(temperature=0, max_tokens=20, ignore_eos=True)
    engine.submit(EngineRequest(id, tuple(ids), "", sampling, prefill_only=warm), heard)
    await heard.end()
    return heard


@pytest.mark.parametrize("length", [15, 16, 17, 33, 48, 49, 60, 64, 65])
async def test_the_full_pages_of_the_prompt_before_are_there(length: int) -> None:
    runner = PagedRunner(64, PAGE, CONTEXT)
    engine = StepEngine(ModelInfo("paged", 0, CONTEXT), ToyTokenizer(), runner, Limits(CONTEXT), {EOS})
    engine.start(asyncio.get_running_loop())
    try:
        prompt = [1 + n % 90 for n in range(length)]
        first = await ask(engine, "first", prompt)
        second = [*prompt, *first.ids, *range(60, 72)]
        follow = await ask(engine, "follow", second)
        assert follow.cached == length // PAGE * PAGE
        third = [*second, *follow.ids, *range(30, 40)]
        await ask(engine, "typed", third, warm=True)
        assert (await ask(engine, "sent", [*third, 50])).cached == len(third), "a warm-up keeps all of it"
    finally:
        await engine.close()
