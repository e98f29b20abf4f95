"""Engines that serve requests with adapters: loaded, lent, unloaded while replies run."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.adapters.adapter import Adapter, AdapterError
from engine.batch import Row
from engine.config import EngineSettings
from engine.interface import Engine, ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.request import EngineRequest, FinishReason, Sampling
from engine.scripted import ScriptedEngine
from engine.torch_engine import build_torch_engine
from tests.engine.adapters.peft_folders import save_adapter, save_merged
from tests.engine.adapters.test_reader import tensors, write
from tests.engine.contract import Heard
from tests.engine.paged_runner import EOS, PagedRunner
from tests.engine.tiny_models import generated, save_tiny
from tests.engine.tiny_tokenizers import CHATML, byte_level, outer
from tests.engine.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.anyio

PROMPT = [5, 9, 17, 33, 65, 29, 57]
COUNT = 30


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = outer(byte_level(), CHATML, eos_token="<|im_end|>", bos_token="<|im_start|>")
    folder = save_tiny("qwen3", tmp_path_factory.mktemp("base"), vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [save_adapter(base, tmp_path_factory.mktemp("adapter"), seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def expected(base: Path, folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    merged = [save_merged(base, folder, tmp_path_factory.mktemp("merged")) for folder in folders]
    return [generated(model, PROMPT, COUNT) for model in (base, *merged)]


@asynccontextmanager
async def started(engine: Engine) -> AsyncIterator[Engine]:
    engine.start(asyncio.get_running_loop())
    try:
        yield engine
    finally:
        await engine.close()


def torch_engine(base: Path) -> StepEngine:
    return build_torch_engine(base, EngineSettings(dtype="float32", kv_bytes=4 << 20, page_tokens=4))


def ask(engine: Engine, id: str, adapter: Adapter | None, *, count: int = COUNT) -> Heard:
    heard = Heard()
    sampling = Sampling(temperature=0, max_tokens=count, ignore_eos=True)
    engine.submit(EngineRequest(id, PROMPT, "one two three", sampling, adapter=adapter), heard)
    return heard


async def test_loaded_while_others_run_each_says_what_its_merged_model_says(
    base: Path, folders: list[Path], expected: list[list[int]]
) -> None:
    async with started(torch_engine(base)) as engine:
        plain = ask(engine, "plain", None)
        poet = await engine.adapters.load("poet", folders[0])
        first = ask(engine, "first", poet)
        clerk = await engine.adapters.load("clerk", folders[1])
        second = ask(engine, "second", clerk)
        third = ask(engine, "third", poet)
        for heard, said in ((plain, 0), (first, 1), (second, 2), (third, 1)):
            await heard.end()
            assert heard.ids == expected[said]


async def test_unloaded_while_it_runs_a_reply_goes_on_and_then_the_memory_is_free(
    base: Path, folders: list[Path], expected: list[list[int]]
) -> None:
    async with started(torch_engine(base)) as engine:
        poet = await engine.adapters.load("poet", folders[0])
        other = await engine.adapters.load("clerk", folders[1])
        there = weakref.ref(next(iter(poet.content.values())).down)
        running, beside = ask(engine, "running", poet), ask(engine, "beside", other)
        engine.adapters.unload("poet")
        again = await engine.adapters.load("poet", folders[1])  # another under the same name
        after = ask(engine, "after", again)
        del poet
        for heard, said in ((running, 1), (beside, 2), (after, 2)):
            await heard.end()
            assert heard.ids == expected[said]
        await ask(engine, "flush", None, count=2).end()  # behind whatever the engine was told
        gc.collect()
        assert there() is None


async def test_an_adapter_that_is_loaded_again_finds_its_pages_and_another_of_its_name_does_not(
    base: Path, folders: list[Path]
) -> None:
    async with started(torch_engine(base)) as engine:
        cached = []
        for number, folder in enumerate([folders[0], folders[1], folders[0]]):
            poet = await engine.adapters.load("poet", folder)
            heard = ask(engine, f"{number}", poet, count=2)
            await heard.end()
            cached.append(heard.cached)
            engine.adapters.unload("poet")
        assert cached == [0, 0, 4]


async def test_an_engine_that_reads_none_refuses_adapters_by_name(tmp_path: Path) -> None:
    engine = StepEngine(ModelInfo("m", 0, 64), ToyTokenizer(), PagedRunner(16, 4, 64), Limits(64), {EOS})
    with pytest.raises(AdapterError, match="adapter 'poet': this model takes no adapters"):
        engine.adapters.load_now("poet", tmp_path)


async def test_a_closed_engine_lets_go_of_its_adapters(base: Path, folders: list[Path]) -> None:
    engine = torch_engine(base)
    async with started(engine):
        poet, clerk = (engine.adapters.load_now(name, folders[0]) for name in ("poet", "clerk"))
        await ask(engine, "1", poet, count=2).end()
        heard = ask(engine, "2", clerk)
        engine.adapters.unload("clerk")
    assert heard.finished is not None
    held = [weakref.ref(next(iter(one.content.values())).down) for one in (poet, clerk)]
    assert (len(engine.adapters), engine.adapters.bytes) == (0, 0)
    with pytest.raises(AdapterError, match="its model is served no more"):
        await engine.adapters.load("late", folders[0])
    del poet, clerk, heard, engine
    gc.collect()
    assert [one() for one in held] == [None, None]


async def test_when_the_last_request_has_ended_the_engine_is_told_to_forget(tmp_path: Path) -> None:
    runner = PagedRunner(16, 4, 64)
    engine = StepEngine(ModelInfo("m", 0, 64), ToyTokenizer(), runner, Limits(64), {EOS}, read_adapter=_any)
    poet, clerk = engine.adapters.load_now("poet", tmp_path), engine.adapters.load_now("clerk", tmp_path)
    forgotten_at_its_steps: list[int] = []

    def watch(rows: Sequence[Row]) -> None:
        forgotten_at_its_steps.extend(len(runner.forgotten) for row in rows if row.adapter is poet)

    runner.fault = watch
    async with started(engine):
        heard = ask(engine, "running", poet)
        engine.adapters.unload("poet")
        await ask(engine, "beside", clerk, count=2).end()
        await heard.end()
        await ask(engine, "later", clerk, count=2).end()
    assert runner.forgotten == [poet]
    assert forgotten_at_its_steps == [0] * COUNT


def _any(name: str, folder: Path, limit: int, now: int) -> Adapter:
    return Adapter(name, name.encode().hex(), 1, 1, now)


async def test_a_script_takes_any_adapter_and_says_the_same(tmp_path: Path) -> None:
    async with started(ScriptedEngine()) as engine:
        poet = await engine.adapters.load("poet", write(tmp_path / "poet", tensors()))
        heard = ask(engine, "a", poet, count=5)
        assert (await heard.end()).reason is FinishReason.LENGTH
        engine.adapters.unload("poet")
        assert engine.adapters.bytes == 0
        with pytest.raises(AdapterError, match="use_dora"):
            await engine.adapters.load("poet", write(tmp_path / "bad", tensors(), use_dora=True))
