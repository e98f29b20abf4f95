"""Which engine serves, by the configuration; and a turn through the whole server from real tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.engines import Share, build_default, default_source, memory_budget
from app.settings import ConfigError
from engine.available import Memory
from engine.fetch import DEFAULT_MODEL
from engine.interface import Engine, EngineStats
from tests.app.dialects import DIALECTS, client_of, limit_field, take_turn
from tests.app.serving import config_for, serving
from tests.engine.tiny_models import save_tiny
from tests.engine.tiny_tokenizers import CHATML, byte_level, outer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights: what it says means nothing, but it says it."""
    tokenizer = outer(byte_level(), CHATML, eos_token="<|im_end|>", bos_token="<|im_start|>")
    folder = save_tiny("llama", tmp_path_factory.mktemp("models") / "tiny.v1", vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def engine(model: Path, tmp_path: Path) -> Engine:
    return build_default(
        config_for(tmp_path, engine="torch", model=model, dtype="float32", kv_memory_mib=16)
    ).engine


def test_a_model_of_the_operators_own_is_called_as_its_folder(engine: Engine) -> None:
    assert engine.model.id == "tiny.v1"


def test_a_model_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    config = config_for(tmp_path, engine="torch", model=tmp_path)
    with pytest.raises(ConfigError, match=r"\.safetensors"):
        build_default(config)


def test_memory_that_runs_out_while_a_model_is_loaded_is_told_with_its_plan(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("engine.torch_engine.runner_for", no_room)
    with pytest.raises(ConfigError, match=r"memory ran out while tiny.v1 was loaded.*lower kv_memory_mib"):
        build_default(config_for(tmp_path, engine="torch", model=model, dtype="float32", kv_memory_mib=16))


def test_the_scripted_engine_has_the_configured_bounds(tmp_path: Path) -> None:
    engine = build_default(config_for(tmp_path, scripted_max_running=7)).engine
    assert engine.model.id == "scripted"
    assert engine.model.created_at > 0


def test_the_default_models_source_is_what_a_further_ones_would_be(model: Path, tmp_path: Path) -> None:
    assert default_source(config_for(tmp_path, engine="torch")) == DEFAULT_MODEL
    assert default_source(config_for(tmp_path, engine="torch", model=model)) == str(model)
    assert default_source(config_for(tmp_path)) == "scripted"


def test_pages_that_nobody_has_written_yet_are_promised_to_the_model_that_was_loaded_first(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(tmp_path, engine="torch", model=model, dtype="float32", kv_memory_mib=16)
    built = build_default(config)
    plan = built.plan
    assert plan is not None
    assert built.share == Share(plan.total, plan.needs.work + plan.kv_bytes)
    used = EngineStats(pages_total=plan.pages, pages_used=plan.pages // 2, pages_cached=plan.pages // 4)
    monkeypatch.setattr(built.engine, "stats", lambda: used)
    half = built.share
    assert half.bytes == plan.total
    assert half.free == pytest.approx(plan.needs.work + plan.kv_bytes / 4, abs=plan.kv_bytes / plan.pages)


def test_the_budget_keeps_what_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.available.memory_of", lambda device: Memory(1000, 500, "this machine"))
    config = config_for(tmp_path)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    planned = {"a": Share(300, 120), "b": Share(100, 40)}
    assert memory_budget(config, cpu, {}).left == 500
    assert memory_budget(config, cpu, planned).left == 500 - 160
    assert memory_budget(config, gpu, planned).left == 500, "a GPU's are taken when the model is loaded"
    assert memory_budget(config, cpu, {"a": Share(900, 40)}).left == 1000 - 900
    assert memory_budget(config, cpu, planned).planned == {"a": 300, "b": 100}
    fixed = config_for(tmp_path, memory_bytes=1 << 30)
    assert memory_budget(fixed, cpu, planned).left == (1 << 30) - 400


@pytest.mark.anyio
async def test_the_same_seed_says_the_same_in_every_dialect(engine: Engine) -> None:
    async with serving(engine) as served:
        said = set()
        for dialect in DIALECTS:
            asked = {limit_field(dialect): 12, "seed": 5, "ignore_eos": True}
            outcome = await take_turn(served, dialect, "hello there", **asked)
            assert outcome.end == "length"
            if not dialect.startswith("completion"):  # those have no chat template around the prompt
                said.add(outcome.text)
        assert len(said) == 1
        stats = served.service.hub.engine.stats()
        assert (stats.running, stats.waiting, stats.pages_used) == (0, 0, 0)


@pytest.mark.anyio
async def test_what_the_logits_are_changed_by_reaches_the_engine_from_every_dialect(engine: Engine) -> None:
    async with serving(engine) as served:
        for dialect in DIALECTS:
            asked = {limit_field(dialect): 4, "ignore_eos": True}
            forced = await take_turn(served, dialect, "hello there", **asked, logit_bias={"40": 100})
            assert len(set(forced.text)) == 1, dialect
            other = await take_turn(
                served, dialect, "hello there", **asked, logit_bias={"40": 100}, frequency_penalty=2
            )
            assert other.text == forced.text, "two a token do not outweigh a hundred"


@pytest.mark.anyio
async def test_a_bias_outside_the_vocabulary_is_refused_by_name_and_penalties_are_shown(
    engine: Engine,
) -> None:
    async with serving(engine) as served, client_of(served) as client:
        body = {"input": "hi", "logit_bias": {"99999": 1}}
        answer = await client.post("/v1/responses", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "logit_bias"
        body = {"input": "hi", "max_output_tokens": 2, "presence_penalty": -0.5, "frequency_penalty": 1}
        response = (await client.post("/v1/responses", json=body)).json()
        assert (response["presence_penalty"], response["frequency_penalty"]) == (-0.5, 1.0)
