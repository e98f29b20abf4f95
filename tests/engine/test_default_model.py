"""The model that everybody meets first, against transformers, whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.attention import StepAttention
from engine.config import EngineSettings
from engine.models import load_model
from engine.paged_cache import PagedCache
from engine.request import ChatMessage, EngineRequest, FinishReason, Sampling
from engine.runner import TorchRunner
from engine.span import Span
from engine.tokenizer import HFTokenizer
from engine.torch_engine import build_torch_engine
from tests.engine.contract import Heard
from tests.engine.driving import Run, drive
from tests.needs import find_default_model

pytestmark = [pytest.mark.anyio, pytest.mark.model]

QUESTIONS = (
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "List three uses of a brick, each in a short sentence, and say which you like best and why.",
)
COUNT = 20
TEXT = (Path(__file__).parents[2] / "LICENSE").read_text()[:1500]


@pytest.fixture(scope="module")
def folder() -> Path:
    found = find_default_model()
    assert found is not None
    return Path(found)


@pytest.fixture(scope="module")
def prompts(folder: Path) -> list[list[int]]:
    tokenizer = HFTokenizer(AutoTokenizer.from_pretrained(folder))
    return [tokenizer.encode_chat([ChatMessage("user", question)]) for question in QUESTIONS]


@pytest.fixture(scope="module")
def expected(folder: Path, prompts: list[list[int]]) -> list[list[int]]:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    replies = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=COUNT,
                do_sample=False,
                temperature=None,
                top_p=None,
                eos_token_id=None,
                pad_token_id=2,
            )
        replies.append(out[0, len(prompt) :].tolist())
    return replies


@pytest.fixture(scope="module")
def runner(folder: Path) -> TorchRunner:
    settings = EngineSettings(dtype="float32", kv_bytes=256 << 20)
    return TorchRunner(load_model(folder, settings), settings)


def test_greedy_replies_are_those_of_generate(
    runner: TorchRunner, prompts: list[list[int]], expected: list[list[int]]
) -> None:
    for prompt, reply in zip(prompts, expected, strict=True):
        assert drive(runner, [Run(prompt, list(range(16)), 0, 256, COUNT)]) == [reply]


def test_so_are_they_in_a_mixed_batch_with_staggered_arrivals(
    runner: TorchRunner, prompts: list[list[int]], expected: list[list[int]]
) -> None:
    scattered = [list(range(200 + index, 0, -13)) for index in range(len(prompts))]
    runs = [
        Run(prompt, scattered[index], 4 * index, 11 + index, COUNT) for index, prompt in enumerate(prompts)
    ]
    assert drive(runner, runs) == expected


def likeliest(folder: Path, settings: EngineSettings, step: int) -> torch.Tensor:
    """The likeliest token after each of a text's, computed in steps of so many."""
    loaded = load_model(folder, settings)
    ids = HFTokenizer(AutoTokenizer.from_pretrained(folder)).encode(TEXT)
    pages = list(range(-(-len(ids) // 16)))
    cache = PagedCache(loaded.model.shapes, len(pages), 16, loaded.dtype, loaded.device, loaded.kernels)
    cache.clear(torch.tensor(pages))
    tokens = []
    for start in range(0, len(ids), step):
        part = torch.tensor(ids[start : start + step])
        places = torch.arange(start, start + len(part))
        attention = StepAttention(cache, [Span(0, len(part), start, pages)], places)
        attention.decoding = step % 64  # as a batch of eight streams
        with torch.inference_mode():
            logits = loaded.model.forward(part, places, attention, torch.arange(len(part)))
        tokens.append(logits.argmax(-1))
    return torch.cat(tokens)


@pytest.mark.native
@pytest.mark.parametrize("step", [8, 64])
def test_the_blocks_of_its_file_say_what_float32_says(step: int, folder: Path, native_dir: Path) -> None:
    exact = likeliest(folder, EngineSettings(dtype="float32"), 64)
    same = likeliest(folder, EngineSettings(native_dir=native_dir), step) == exact
    assert 0.9 < float(same.float().mean()) < 1  # bfloat16: 0.98


@pytest.mark.parametrize("compiled", [True, False])
async def test_it_knows_the_capital_of_france(compiled: bool, folder: Path, native_dir: Path) -> None:
    settings = EngineSettings(kv_bytes=64 << 20, native_dir=native_dir if compiled else None)
    engine = build_torch_engine(folder, settings)
    assert engine.model.context_tokens > 2000
    assert engine.model.defaults == Sampling(temperature=0.0)
    messages = (ChatMessage("user", QUESTIONS[0]),)
    heard = Heard()
    engine.start(asyncio.get_running_loop())
    try:
        ids = engine.tokenizer.encode_chat(messages)
        engine.submit(EngineRequest("resp_1", ids, messages, Sampling(temperature=0)), heard)
        await heard.end()
    finally:
        await engine.close()
    assert "Paris" in heard.text
    assert heard.finished.reason is FinishReason.STOP


@pytest.mark.native
async def test_it_knows_as_much_whatever_of_the_question_was_cached(folder: Path, native_dir: Path) -> None:
    """The second time all but its last token is found, the first time only how every chat begins."""
    engine = build_torch_engine(folder, EngineSettings(kv_bytes=64 << 20, native_dir=native_dir))
    engine.start(asyncio.get_running_loop())
    sampling = Sampling(temperature=0, max_tokens=COUNT)
    cached = []
    try:
        for country, capital in [("Germany", ""), ("France", "Paris"), ("France", "Paris")]:
            messages = (ChatMessage("user", f"What is the capital of {country}?"),)
            request_id, heard = f"resp_{len(cached)}", Heard()
            ids = engine.tokenizer.encode_chat(messages)
            engine.submit(EngineRequest(request_id, ids, messages, sampling), heard)
            cached.append((await heard.end()).usage.cached)
            engine.commit(request_id, [])
            assert capital in heard.text
    finally:
        await engine.close()
    assert 0 == cached[0] < cached[1] < cached[2]
