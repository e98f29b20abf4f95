"""Adapters of several models: each has its own, by the model's name."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.adapter_settings import AskedAdapter, asked_adapter
from app.config import Config
from app.engines import build_default, build_further
from app.main import running
from app.settings import ConfigError
from engine.config import ModelError
from engine.progress import ProgressBars
from tests.app.dialects import client_of, take_turn
from tests.app.serving import Served, config_for, default_policy, serving
from tests.app.test_adapters import load, refusal, unload
from tests.engine.adapters.peft_folders import save_adapter, save_merged
from tests.engine.adapters.test_modules import KINDS
from tests.engine.adapters.test_reader import tensors, write
from tests.engine.tiny_models import save_tiny
from tests.engine.tiny_tokenizers import CHATML, byte_level, outer

pytestmark = pytest.mark.anyio


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    folder.mkdir()
    write(folder / "poet", tensors())
    write(folder / "dora", tensors(), use_dora=True)
    return folder


@pytest.fixture
async def served(home: Path) -> AsyncIterator[Served]:
    async with serving(adapter_dirs=home, models="second/one=scripted") as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(served) as client:
        yield client


async def ids(client: httpx.AsyncClient) -> list[str]:
    return [model["id"] for model in (await client.get("/v1/models")).json()["data"]]


async def test_models_have_adapters_of_the_same_name(client: httpx.AsyncClient, served: Served) -> None:
    first, second = await load(client, "poet", "poet"), await load(client, "second/one:poet", "poet")
    assert [answer.json()["id"] for answer in (first, second)] == ["scripted:poet", "second/one:poet"]
    assert second.json()["parent"] == "second/one"
    assert await ids(client) == ["scripted", "scripted:poet", "second/one", "second/one:poet"]
    for model in ("scripted:poet", "second/one:poet"):
        assert (await take_turn(served, "json", "hello", model=model)).text == "hello"
    figures = (await client.get("/metrics")).text
    for model in ("scripted", "second/one"):
        assert f'sluice_adapters{{model_name="{model}"}} 1.0' in figures
        assert f'sluice_adapter_requests_total{{adapter="poet",model_name="{model}"}} 1.0' in figures
    assert (await unload(client, "scripted:poet")).json()["id"] == "scripted:poet"
    assert await ids(client) == ["scripted", "second/one", "second/one:poet"]
    assert (await take_turn(served, "json", "hello", model="second/one:poet")).text == "hello"
    assert refusal(await unload(client, "poet"))[:2] == (404, "model_not_found")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("third:poet", "model_not_found", "No model is called 'third'"),
        ("second/one:a b", "invalid_value", "the name must be"),
        ("second/one:", "invalid_value", "the name must be"),
        ("scripted:clerk:x", "invalid_value", "'scripted:clerk' is no model alone"),
    ],
)
async def test_an_adapter_for_what_is_no_model_is_refused(
    client: httpx.AsyncClient, name: str, code: str, said: str
) -> None:
    await load(client, "clerk", "poet")
    answer = await load(client, name, "poet")
    assert refusal(answer)[1] == code
    assert said in refusal(answer)[2]
    assert answer.json()["error"]["param"] == "lora_name"


async def test_a_model_with_adapters_is_unloaded_and_comes_back_without_them(
    client: httpx.AsyncClient, served: Served
) -> None:
    await load(client, "second/one:poet", "poet")
    running = asyncio.create_task(take_turn(served, "json", "word " * 3000, model="second/one:poet"))
    store = served.service.hub.models.serving("second/one").engine.adapters
    while not any(loan.users for loan in store):
        await asyncio.sleep(0)
    assert (await client.delete("/v1/admin/models/second/one")).status_code == 202
    assert refusal(await load(client, "second/one:clerk", "poet"))[:2] == (404, "model_not_found")
    assert (await running).text
    while len(served.service.hub.models.entries) > 1:
        await asyncio.sleep(0.001)
    assert (len(store), store.bytes) == (0, 0)
    assert await ids(client) == ["scripted"]
    assert "second/one" not in (await client.get("/metrics")).text
    assert (await take_turn(served, "json", "hello", model="second/one:poet")).code == "model_not_found"


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("poet=/a=b", AskedAdapter(None, "poet", Path("/a=b"))),
        ("second/one:poet=/a:b", AskedAdapter("second/one", "poet", Path("/a:b"))),
        ("a:b:poet=x", AskedAdapter("a:b", "poet", Path("x"))),
    ],
)
def test_a_setting_names_model_and_adapter(setting: str, read: AskedAdapter) -> None:
    assert asked_adapter(setting) == read


def further(config: Config) -> list[str]:
    built = build_further(config, "second", "scripted", {}, ProgressBars())
    return [loan.adapter.name for loan in built.engine.adapters]


def test_settings_give_each_model_its_own(tmp_path: Path, home: Path) -> None:
    poet = home / "poet"
    config = config_for(tmp_path, adapters=f"a={poet},second:a={poet},second:b={poet},scripted:c={poet}")
    assert [loan.adapter.name for loan in build_default(config).engine.adapters] == ["a", "c"]
    assert further(config) == ["a", "b"]
    bad = config_for(tmp_path, adapters=f"second:a={home / 'dora'}")
    with pytest.raises(ModelError, match=r"adapters: adapter 'a': .*use_dora is set"):
        further(bad)


async def test_a_setting_for_a_model_that_the_start_does_not_load_stops_it(
    tmp_path: Path, home: Path
) -> None:
    config = config_for(tmp_path, adapters=f"third:a={home / 'poet'}", models="second=scripted")
    fault = "'third:a' is for a model that the start does not load; it has 'scripted', 'second'"
    with pytest.raises(ConfigError, match=re.escape(fault)):
        async with running(config, policy=default_policy()):
            pass


async def test_each_of_two_models_says_with_its_adapter_what_its_merged_model_says(tmp_path: Path) -> None:
    tokenizer = outer(byte_level(), CHATML, eos_token="<|im_end|>", bos_token="<|im_start|>")
    home = tmp_path / "adapters"
    merged: dict[str, Path] = {}
    bases: dict[str, Path] = {}
    for seed, (kind, options) in enumerate({"qwen3": {}, "olmo2": KINDS["olmo2"]}.items()):
        bases[kind] = save_tiny(kind, tmp_path / kind, vocab_size=len(tokenizer), seed=seed)
        adapter = save_adapter(bases[kind], home / kind, seed, **options)
        merged[kind] = save_merged(bases[kind], adapter, tmp_path / f"{kind}-merged")
        for folder in (bases[kind], merged[kind]):
            tokenizer.save_pretrained(folder)
    sources = {"qwen3-merged": merged["qwen3"], "olmo2": bases["olmo2"], "olmo2-merged": merged["olmo2"]}
    memory: dict[str, Any] = {"dtype": "float32", "kv_memory_mib": 16}
    first = config_for(
        tmp_path / "state", engine="torch", model=bases["qwen3"], adapters=f"poet={home / 'qwen3'}", **memory
    )
    further = ",".join(f"{name}={folder}" for name, folder in sources.items())
    asked: dict[str, Any] = {"max_output_tokens": 16, "temperature": 0, "ignore_eos": True}
    engine = build_default(first).engine
    async with (
        serving(engine, models=further, adapter_dirs=home, **memory) as served,
        client_of(served) as client,
    ):
        assert (await load(client, "olmo2:poet", "olmo2")).status_code == 200
        names = [f"{kind}{what}" for kind in bases for what in (":poet", "-merged", "")]
        turns = [take_turn(served, "json", "hello", model=name, **asked) for name in names]
        said = {name: turn.text for name, turn in zip(names, await asyncio.gather(*turns), strict=True)}
    for kind in bases:
        assert said[f"{kind}:poet"] == said[f"{kind}-merged"] != said[kind]
