"""Penalties, bias and least lengths through the whole engine, with transformers' `generate` as the oracle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList

from engine.config import EngineSettings
from engine.interface import ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.models import load_model
from engine.request import EngineError, EngineRequest, FinishReason, Sampling
from engine.runner import TorchRunner
from tests.engine.contract import Heard
from tests.engine.paged_runner import EOS, VOCABULARY
from tests.engine.tiny_models import save_tiny
from tests.engine.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.anyio

PROMPT = [5, 9, 40, 9, 61, 33, 5]
COUNT = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("shaped"), vocab_size=VOCABULARY)


@asynccontextmanager
async def serving(folder: Path, pages: int = 512, max_running: int = 8) -> AsyncIterator[StepEngine]:
    settings = EngineSettings(
        dtype="float32", page_tokens=4, kv_bytes=pages * 4 * 3 * 2 * 2 * 8 * 4, max_running=max_running
    )
    loaded = load_model(folder, settings)
    runner = TorchRunner(loaded, settings)
    limits = Limits(
        runner.context_tokens, max_running=max_running, step_tokens=16, vocabulary=loaded.model.vocab
    )
    engine = StepEngine(ModelInfo("toy", 0, runner.context_tokens), ToyTokenizer(), runner, limits, {EOS})
    engine.start(asyncio.get_running_loop())
    try:
        yield engine
    finally:
        await engine.close()


def ask(engine: StepEngine, id: str, sampling: Sampling, prompt: list[int] = PROMPT) -> Heard:
    heard = Heard()
    engine.submit(EngineRequest(id, tuple(prompt), "", sampling), heard)
    return heard


class Counted(LogitsProcessor):
    """OpenAI's presence and frequency penalties."""

    def __init__(self, presence: float, frequency: float, prompt: int) -> None:
        self._presence, self._frequency, self._prompt = presence, frequency, prompt

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        counts = torch.bincount(input_ids[0, self._prompt :], minlength=scores.shape[1])
        return scores - self._frequency * counts - self._presence * (counts > 0)


def generated(folder: Path, sampling: Sampling) -> list[int]:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([PROMPT])
    options: dict[str, Any] = {}
    if sampling.repetition_penalty != 1:
        options["repetition_penalty"] = sampling.repetition_penalty
    if sampling.logit_bias:
        options["sequence_bias"] = [[[token], bias] for token, bias in sampling.logit_bias]
    if sampling.min_tokens:
        options["min_new_tokens"] = sampling.min_tokens
    counted = Counted(sampling.presence_penalty, sampling.frequency_penalty, len(PROMPT))
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=sampling.max_tokens,
            do_sample=False,
            eos_token_id=None if sampling.ignore_eos else EOS,
            pad_token_id=0,
            logits_processor=LogitsProcessorList([counted]),
            **options,
        )
    return out[0, len(PROMPT) :].tolist()


GREEDY = [
    Sampling(temperature=0, max_tokens=COUNT, ignore_eos=True, repetition_penalty=1.3),
    Sampling(temperature=0, max_tokens=COUNT, ignore_eos=True, presence_penalty=1.5),
    Sampling(temperature=0, max_tokens=COUNT, ignore_eos=True, frequency_penalty=0.7),
    Sampling(temperature=0, max_tokens=COUNT, ignore_eos=True, logit_bias=((11, 2.5), (30, -100.0))),
    # The bias makes it end at once, were it not for the least length.
    Sampling(temperature=0, max_tokens=COUNT, min_tokens=9, logit_bias=((EOS, 100.0),)),
    Sampling(
        temperature=0,
        max_tokens=COUNT,
        ignore_eos=True,
        repetition_penalty=1.1,
        presence_penalty=0.4,
        frequency_penalty=0.2,
        logit_bias=((50, 1.0),),
    ),
]


async def test_a_mixed_batch_says_row_for_row_what_generate_says(folder: Path) -> None:
    plain = Sampling(temperature=0, max_tokens=COUNT, ignore_eos=True)
    async with serving(folder) as engine:
        heard = [ask(engine, f"r{n}", sampling) for n, sampling in enumerate([*GREEDY, plain])]
        for one in heard:
            await one.end()
    texts = [one.ids for one in heard]
    assert texts == [generated(folder, sampling) for sampling in [*GREEDY, plain]]
    assert len(set(map(tuple, texts))) == len(texts), "every one of them changed the text"
    assert len(texts[4]) == 10
    assert texts[4][-1] == EOS


async def test_the_same_seed_gives_the_same_text_alone_beside_others_and_after_a_preemption(
    folder: Path,
) -> None:
    asked = [
        Sampling(
            temperature=1.0,
            top_p=0.95,
            seed=n,
            max_tokens=60,
            ignore_eos=True,
            presence_penalty=0.5,
            frequency_penalty=0.1 * n,
            repetition_penalty=1.2,
            logit_bias=((n, 3.0),),
        )
        for n in range(1, 5)
    ]
    async with serving(folder) as engine:
        alone = []
        for n, sampling in enumerate(asked):
            one = ask(engine, f"alone{n}", sampling)
            await one.end()
            alone.append(one.ids)
    async with serving(folder, pages=36) as engine:  # not enough for four: the youngest give way
        together = [ask(engine, f"r{n}", sampling) for n, sampling in enumerate(asked)]
        for one in together:
            await one.end()
    assert [one.ids for one in together] == alone


async def test_a_bias_for_a_token_that_is_not_in_the_vocabulary_is_refused_by_name(folder: Path) -> None:
    async with serving(folder) as engine:
        for token in (VOCABULARY, 1 << 40):
            with pytest.raises(EngineError, match=f"token {token}.*0 to {VOCABULARY - 1}") as refused:
                ask(engine, "bad", Sampling(logit_bias=((3, 1.0), (token, 1.0))))
            assert (refused.value.code, refused.value.param) == ("invalid_value", "logit_bias")
        last = ask(engine, "good", Sampling(logit_bias=((VOCABULARY - 1, 100.0),), max_tokens=3))
        assert (await last.end()).reason is FinishReason.LENGTH
        assert last.ids == [VOCABULARY - 1] * 3
