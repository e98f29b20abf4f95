"""Adapters through the whole server: named by requests of every dialect, listed, loaded and unloaded by admins."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.engines import build_default
from app.settings import ConfigError
from engine.adapters.adapter import Adapter, AdapterError
from engine.adapters.store import MAX_LOADS, AdapterStore
from engine.request import EngineRequest
from engine.scripted import ScriptedEngine
from tests.app.dialects import DIALECTS, client_of, limit_field, take_turn
from tests.app.serving import Served, config_for, serving
from tests.app.talk import talking
from tests.engine.adapters.peft_folders import save_adapter, save_merged
from tests.engine.adapters.test_reader import tensors, write
from tests.engine.tiny_models import save_tiny
from tests.engine.tiny_tokenizers import CHATML, byte_level, outer
from tests.protocol.validation import validate

pytestmark = pytest.mark.anyio


class Witness:
    """Remembers which adapter the engine was asked for, by the place where a test's faults are decided."""

    def __init__(self) -> None:
        self.seen: list[Adapter | None] = []

    def __call__(self, request: EngineRequest) -> None:
        self.seen.append(request.adapter)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    folder.mkdir()
    write(folder / "poet", tensors())
    write(folder / "clerk", tensors())
    write(folder / "dora", tensors(), use_dora=True)
    write(folder / "alpha", tensors(), lora_alpha=10**400)
    write(folder / "flag", tensors(), rank_pattern={"(?i)q_proj": 2})
    return folder


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
async def served(home: Path, witness: Witness) -> AsyncIterator[Served]:
    engine = ScriptedEngine(faults=witness)
    engine.adapters.load_now("poet", home / "poet")
    async with serving(engine, adapter_dirs=home) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(served) as client:
        yield client


async def load(client: httpx.AsyncClient, name: str, path: Path | str) -> httpx.Response:
    return await client.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(path)})


async def unload(client: httpx.AsyncClient, name: str) -> httpx.Response:
    return await client.post("/v1/unload_lora_adapter", json={"lora_name": name})


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    validate(answer.content, "ErrorAnswer")
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_names_an_adapter_after_the_model(
    served: Served, witness: Witness, dialect: str
) -> None:
    outcome = await take_turn(served, dialect, "hello", model="scripted:poet")
    assert outcome.text == "hello"
    assert witness.seen == [served.service.hub.engine.adapters.find("poet")]
    last = outcome.items[-1]
    assert last.get("response", last)["model"] == "scripted:poet"
    await take_turn(served, dialect, "hello", model="scripted")
    await take_turn(served, dialect, "hello")
    assert witness.seen[1:] == [None, None]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("scripted:nobody", "The model 'scripted' has no adapter 'nobody'"),
        ("poet", "No model is called 'poet'"),
        ("other:poet", "No model is called 'other:poet'"),
        ("scripted:", "No model is called 'scripted:'"),
        (":poet", "No model is called ':poet'"),
        ("scripted:poet:x", "The model 'scripted:poet' has no adapter 'x'"),
    ],
)
async def test_an_unknown_one_is_refused_and_told_what_there_is(
    served: Served, dialect: str, name: str, told: str
) -> None:
    outcome = await take_turn(served, dialect, "hello", model=name)
    assert (outcome.code, outcome.status, outcome.error["param"]) == ("model_not_found", 404, "model")
    assert outcome.error["message"] == (
        f"{told}; this server has 'scripted', 'scripted:poet'. "
        "Name one of them, or leave 'model' out for 'scripted'."
    )


async def test_input_tokens_are_counted_for_an_adapter(client: httpx.AsyncClient) -> None:
    async def count(model: str) -> httpx.Response:
        return await client.post("/v1/responses/input_tokens", json={"model": model, "input": "hello"})

    assert (await count("scripted:poet")).json() == (await count("scripted")).json()
    assert refusal(await count("scripted:nobody"))[:2] == (404, "model_not_found")


async def test_models_list_the_adapters_with_their_parent(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/models")
    validate(answer.content, "ModelList")
    base, poet = answer.json()["data"]
    assert (base["id"], poet["id"]) == ("scripted", "scripted:poet")
    assert "parent" not in base
    assert (poet["parent"], poet["root"]) == ("scripted", "scripted")
    assert poet["context_tokens"] == base["context_tokens"]
    assert (await client.get("/v1/models/scripted:poet")).json() == poet
    assert refusal(await client.get("/v1/models/scripted:nobody"))[:2] == (404, "model_not_found")


async def test_an_adapter_is_loaded_used_and_unloaded_while_serving(
    client: httpx.AsyncClient, served: Served, home: Path
) -> None:
    loaded = await load(client, "clerk", home / "clerk")
    assert loaded.status_code == 200
    validate(loaded.content, "Model")
    assert loaded.json() == (await client.get("/v1/models/scripted:clerk")).json()
    assert (await take_turn(served, "json", "hello", model="scripted:clerk")).text == "hello"
    gone = await unload(client, "clerk")
    validate(gone.content, "ModelDeleted")
    assert gone.json() == {"id": "scripted:clerk", "object": "model", "deleted": True}
    assert (await take_turn(served, "json", "hello", model="scripted:clerk")).code == "model_not_found"
    assert (await load(client, "clerk", "clerk")).status_code == 200, "a path within the folders will do"


async def test_a_bad_adapter_is_refused_by_name_file_and_field(client: httpx.AsyncClient, home: Path) -> None:
    status, code, message = refusal(await load(client, "dora", home / "dora"))
    assert (status, code) == (400, "invalid_value")
    assert message.startswith(f"adapter 'dora': {home}/dora/adapter_config.json: use_dora is set")
    assert "one of that name is loaded" in refusal(await load(client, "poet", home / "poet"))[2]
    assert "the name must be" in refusal(await load(client, "a b", home / "poet"))[2]


@pytest.mark.parametrize(
    ("name", "folder", "param"),
    [("a b", "poet", "lora_name"), ("poet", "poet", "lora_name"), ("dora", "dora", "lora_path")],
)
async def test_a_refused_adapter_names_the_field_at_fault(
    client: httpx.AsyncClient, name: str, folder: str, param: str
) -> None:
    assert (await load(client, name, folder)).json()["error"]["param"] == param


async def load_in_turn(store: AdapterStore, name: str, folder: Path) -> None:
    with suppress(AdapterError):  # there are as many already as may be
        await store.load(name, folder)


async def test_who_comes_while_too_many_wait_is_told_to_come_back(
    served: Served, client: httpx.AsyncClient, home: Path
) -> None:
    store = served.service.hub.engine.adapters
    async with asyncio.TaskGroup() as group:
        async with store._loading:
            for number in range(MAX_LOADS):
                group.create_task(load_in_turn(store, f"a{number}", home / "clerk"))
            answer = await load(client, "clerk", "clerk")
        assert refusal(answer)[:2] == (503, "server_is_overloaded")
        assert "16 others wait to be loaded" in refusal(answer)[2]
        assert float(answer.headers["retry-after"]) > 0


async def test_unloading_what_is_not_there_says_what_is(client: httpx.AsyncClient) -> None:
    answer = refusal(await unload(client, "nobody"))
    assert answer == (404, "model_not_found", "No adapter 'nobody' is loaded; there are: 'poet'.")
    await unload(client, "poet")
    assert refusal(await unload(client, "poet"))[2] == "No adapter 'poet' is loaded; there are: none."


async def test_nothing_outside_of_the_named_folders_can_be_reached(
    client: httpx.AsyncClient, home: Path, tmp_path: Path
) -> None:
    outside = write(tmp_path / "outside", tensors())
    (home / "link").symlink_to(outside)
    (home / "inner").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (home / "inner" / name).symlink_to(outside / name)
    (home / "circle").symlink_to(home / "circle")
    paths = [
        "link",
        "inner",
        "circle",
        "nowhere",
        "../outside",
        str(outside),
        "/",
        "/etc",
        "poet\0",
        "x" * 4000,
    ]
    paths += [str(tmp_path / "adapters2"), "poet/../../outside", "poet/adapter_config.json"]
    messages = {refusal(await load(client, "new", path)) for path in paths}
    assert len(messages) == 1, "whether something is there is not told"
    status, code, message = messages.pop()
    assert (status, code) == (400, "invalid_value")
    assert message.startswith("There is no such folder in those that the server's operator named")


async def test_a_link_within_the_named_folders_is_followed(client: httpx.AsyncClient, home: Path) -> None:
    (home / "snapshot").mkdir()
    for name in os.listdir(home / "clerk"):
        (home / "snapshot" / name).symlink_to(home / "clerk" / name)
    assert (await load(client, "clerk", "snapshot")).status_code == 200


@pytest.mark.parametrize("route", ["load_lora_adapter", "unload_lora_adapter"])
async def test_only_admins_may(served: Served, client: httpx.AsyncClient, route: str) -> None:
    key = (await served.service.auth.create_key("mine", role="developer")).value
    answer = await client.post(f"/v1/{route}", json={}, headers={"authorization": f"Bearer {key}"})
    assert refusal(answer)[:2] == (403, "insufficient_scope")


@pytest.mark.parametrize("route", ["load_lora_adapter", "unload_lora_adapter"])
async def test_without_folders_nobody_may(route: str) -> None:
    async with serving() as served, client_of(served) as client:
        status, code, message = refusal(await client.post(f"/v1/{route}", json={}))
        assert (status, code) == (404, "not_found")
        assert "SLUICE_ADAPTER_DIRS" in message


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [
        ("load_lora_adapter", {"lora_path": "a"}, "lora_name"),
        ("load_lora_adapter", {"lora_name": "a"}, "lora_path"),
        ("load_lora_adapter", {"lora_name": "a", "lora_path": 1}, "lora_path"),
        ("load_lora_adapter", {"lora_name": "a", "lora_path": "a", "colour": "red"}, "colour"),
        ("unload_lora_adapter", {"lora_name": ""}, "lora_name"),
    ],
)
async def test_a_body_that_is_wrong_is_refused_by_field(
    client: httpx.AsyncClient, route: str, body: dict[str, Any], param: str
) -> None:
    answer = await client.post(f"/v1/{route}", json=body)
    assert refusal(answer)[0] == 400
    assert answer.json()["error"]["param"] == param


async def test_a_conversation_goes_on_with_another_adapter(
    served: Served, client: httpx.AsyncClient, home: Path, witness: Witness
) -> None:
    await load(client, "clerk", home / "clerk")
    async with talking(served) as talk:
        parent: dict[str, Any] = {}
        for word, model in (("one", "scripted:poet"), ("two", "scripted:clerk"), ("three", "scripted")):
            last = (await talk.turn(word, model=model, **parent))[-1]["response"]
            assert (last["model"], last["output"][0]["content"][0]["text"]) == (model, word)
            assert last["usage"]["input_tokens_details"]["cached_tokens"] == 0
            parent = {"previous_response_id": last["id"]}
    assert [adapter and adapter.name for adapter in witness.seen] == ["poet", "clerk", None]


async def test_metrics_count_the_loaded_adapters_and_their_requests(
    served: Served, client: httpx.AsyncClient
) -> None:
    for _ in range(2):
        await take_turn(served, "json", "hello", model="scripted:poet")
    size = served.service.hub.engine.adapters.bytes
    figures = (await client.get("/metrics")).text
    assert 'sluice_adapters{model_name="scripted"} 1.0' in figures
    assert f'sluice_adapter_bytes{{model_name="scripted"}} {float(size)}' in figures
    assert 'sluice_adapter_requests_total{adapter="poet",model_name="scripted"} 2.0' in figures
    await unload(client, "poet")
    assert "poet" not in (await client.get("/metrics")).text


def test_adapters_of_the_settings_are_there_from_the_start(tmp_path: Path, home: Path) -> None:
    config = config_for(tmp_path, adapters=f"poet={home / 'poet'}, b={home / 'clerk'}")
    assert [loan.adapter.name for loan in build_default(config).engine.adapters] == ["b", "poet"]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"adapters": "dora={home}/dora"}, "adapters: adapter 'dora': .*use_dora is set"),
        ({"adapters": "a={home}/poet,a={home}/clerk"}, "adapters: adapter 'a': one of that name"),
        ({"adapters": "a={home}/alpha"}, "adapters: adapter 'a': .*/adapter_config.json: lora_alpha is 10+"),
        ({"adapters": "a={home}/flag"}, "adapters: adapter 'a': .*/adapter_config.json: rank_pattern holds"),
        ({"adapters": "a={home}/poet", "max_adapters": 0}, "0 are loaded, which is the most"),
    ],
)
def test_a_bad_adapter_of_the_settings_stops_the_start(
    tmp_path: Path, home: Path, settings: dict[str, Any], fault: str
) -> None:
    given = {name: str(value).format(home=home) for name, value in settings.items()}
    with pytest.raises(ConfigError, match=fault):
        build_default(config_for(tmp_path, **given))


async def test_a_real_model_says_with_an_adapter_what_the_merged_model_says(tmp_path: Path) -> None:
    tokenizer = outer(byte_level(), CHATML, eos_token="<|im_end|>", bos_token="<|im_start|>")
    base = save_tiny("llama", tmp_path / "tiny", vocab_size=len(tokenizer))
    merged = save_merged(base, save_adapter(base, tmp_path / "adapters" / "poet", 3), tmp_path / "merged")
    said = {}
    for folder, name in ((base, "tiny:poet"), (base, "tiny"), (merged, "merged")):
        tokenizer.save_pretrained(folder)
        state = tmp_path / "state"
        config = config_for(state, engine="torch", model=folder, dtype="float32", kv_memory_mib=16)
        engine = build_default(config).engine
        async with (
            serving(engine, adapter_dirs=tmp_path / "adapters") as served,
            client_of(served) as client,
        ):
            if ":" in name:
                assert (await load(client, "poet", "poet")).status_code == 200
            for dialect in ("socket", "completion"):
                asked = {limit_field(dialect): 16, "temperature": 0, "ignore_eos": True}
                said[name, dialect] = (await take_turn(served, dialect, "hello", model=name, **asked)).text
    for dialect in ("socket", "completion"):
        assert said["tiny:poet", dialect] == said["merged", dialect] != said["tiny", dialect]
