"""What a follow-up turn need not compute: all that was released before it."""

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
async def test_all_of_the_turns_before_is_there(length: int) -> None:
    runner = PagedRunner(64, PAGE, CONTEXT)
    engine = StepEngine(ModelInfo("paged", 0, CONTEXT), ToyTokenizer(), runner, Limits(CONTEXT), {EOS})
    engine.start(asyncio.get_running_loop())
    try:
        ids, known = [1 + n % 90 for n in range(length)], 0
        for turn in range(4):
            heard = await ask(engine, f"turn {turn}", ids)
            assert heard.cached == known
            engine.commit(f"turn {turn}", heard.ids)
            known = len(ids) + len(heard.ids) - 1  # the last token of a reply is not computed
            ids = [*ids, *heard.ids, *range(60, 72)]
        await ask(engine, "typed", ids, warm=True)
        assert (await ask(engine, "sent", [*ids, 50])).cached == len(ids), "a warm-up keeps all of it"
    finally:
        await engine.close()
