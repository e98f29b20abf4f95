"""Log probabilities of a reply's tokens: the model's own, each at its place in the text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from engine.config import EngineSettings
from engine.detokenize import ByteStream, TokenTexts, WindowStream
from engine.loop import StepEngine
from engine.request import EngineError, EngineRequest, FinishReason, OutputFormat, Sampling, Score, Scored
from engine.scored_reply import ScoredReply
from engine.scripted import ScriptedEngine
from engine.shaping import shaping_of
from engine.tokenizer import HFTokenizer
from engine.torch_engine import build_torch_engine
from tests.engine.contract import Heard
from tests.engine.tiny_models import save_tiny
from tests.engine.tiny_tokenizers import CHATML, byte_level, outer

pytestmark = pytest.mark.anyio

END = 256
LOGITS = torch.randn(257, generator=torch.Generator().manual_seed(5))


def data_of(token: int) -> bytes:
    return b"" if token == END else bytes([token])


def reply(
    stop: tuple[str, ...] = (), max_output: int = 10_000, top: int = 2, window: bool = False
) -> ScoredReply:
    sampling = Sampling(logprobs=top, stop=stop)
    shaping = shaping_of(sampling, [1], {END})
    assert shaping is not None
    assert shaping.scores is not None
    shaping.apply(LOGITS.clone())
    stream = (
        WindowStream(lambda ids: b"".join(map(data_of, ids)).decode(errors="replace"))
        if window
        else ByteStream(TokenTexts(data_of))
    )
    return ScoredReply(
        stream,
        sampling,
        max_output,
        {END},
        shaping,
        shaping.scores,
        lambda token: (chr(token), data_of(token)),
    )


def said(made: ScoredReply, tokens: list[int]) -> tuple[str, list[Score]]:
    text, scores = "", []
    for token in tokens:
        delta = made.push(token)
        if delta:
            assert isinstance(delta, Scored)
            text += delta
            scores += delta.scores
        if made.reason is not None:
            break
    return text, scores


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.sampled_from([(), ("a",), ("ab", "ba")]))
def test_every_token_of_the_text_is_scored_at_its_place(text: str, stop: tuple[str, ...]) -> None:
    tokens = [*text.encode(errors="replace"), END]
    shown, scores = said(reply(stop), tokens)
    whole = bytes(tokens[:-1]).decode()
    assert whole.startswith(shown)
    ends = [len(bytes(tokens[: n + 1]).decode(errors="ignore")) for n in range(len(tokens) - 1)]
    for n, score in enumerate(scores):
        assert score.chosen.bytes == bytes([tokens[n]])
        # The bytes of one character all end with it.
        complete = bytes(tokens[: n + 1]).decode(errors="ignore").encode() == bytes(tokens[: n + 1])
        assert score.end == (ends[n] if complete else ends[n] + 1)
    if not stop and shown:
        assert b"".join(score.chosen.bytes for score in scores) == shown.encode()


def test_a_token_waits_for_the_rest_of_its_character() -> None:
    for window in (False, True):
        made = reply(window=window)
        first, second = "é".encode()
        assert made.push(first) == ""
        delta = made.push(second)
        assert isinstance(delta, Scored)
        assert [(score.chosen.bytes, score.end) for score in delta.scores] == [
            (bytes([first]), 1),
            (bytes([second]), 1),
        ]


def test_a_stop_string_held_back_and_found_has_no_place_in_the_text() -> None:
    made = reply(stop=("stop",))
    text, scores = said(made, list(b"a stop"))
    assert (text, made.reason) == ("a ", FinishReason.STOP)
    assert [score.end for score in scores if score.end <= len(text)] == [1, 2]


def test_the_end_is_no_token_of_the_text_and_the_likeliest_come_first() -> None:
    text, scores = said(reply(top=3), [*b"hi", END])
    assert text == "hi"
    assert len(scores) == 2
    expected = torch.log_softmax(LOGITS, -1)
    for token, score in zip(b"hi", scores, strict=True):
        assert score.chosen.logprob == pytest.approx(float(expected[token]))
        assert [one.logprob for one in score.top] == pytest.approx(expected.topk(3).values.tolist())
        assert [one.token for one in score.top] == [chr(n) for n in expected.topk(3).indices.tolist()]


def test_no_alternatives_where_none_are_asked_for() -> None:
    _, scores = said(reply(top=0), [*b"a", END])
    assert scores[0].top == ()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = outer(byte_level(), CHATML, eos_token="<|im_end|>", bos_token="<|im_start|>")
    folder = save_tiny("llama", tmp_path_factory.mktemp("scored"), vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[StepEngine]:
    engine = build_torch_engine(folder, EngineSettings(dtype="float32"))
    engine.start(asyncio.get_running_loop())
    yield engine
    await engine.close()


def ask(engine: StepEngine, id: str, sampling: Sampling, **more: Any) -> Heard:
    heard = Heard()
    prompt = tuple(engine.tokenizer.encode("The capital"))
    engine.submit(EngineRequest(id, prompt, "", sampling, **more), heard)
    return heard


def scores_of(heard: Heard) -> list[Score]:
    return [score for delta in heard.deltas if isinstance(delta, Scored) for score in delta.scores]


async def test_log_probabilities_are_the_models_own_whatever_was_asked_of_the_sampling(
    folder: Path, engine: StepEngine
) -> None:
    regex = engine.compile(OutputFormat("regex", "[a-z ]{20}", "regex"))
    asked = [
        (Sampling(temperature=0, max_tokens=12, logprobs=5, ignore_eos=True), {}),
        (
            Sampling(
                temperature=1.5,
                top_p=0.8,
                seed=3,
                max_tokens=12,
                logprobs=0,
                ignore_eos=True,
                repetition_penalty=1.5,
                logit_bias=((40, 8.0),),
            ),
            {},
        ),
        (Sampling(temperature=1.0, seed=2, max_tokens=12, logprobs=2), {"grammar": regex}),
    ]
    heard = [ask(engine, f"r{n}", sampling, **more) for n, (sampling, more) in enumerate(asked)]
    plain = ask(engine, "plain", Sampling(temperature=0, max_tokens=12, ignore_eos=True))
    for one in (*heard, plain):
        await one.end()
    assert all(type(delta) is str for delta in plain.deltas), "who does not ask pays nothing"
    assert plain.ids == heard[0].ids
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = engine.tokenizer.encode("The capital")
    for one, (sampling, _) in zip(heard, asked, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + one.ids])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits.float(), -1)
        for n, score in enumerate(scores_of(one)):
            assert score.chosen.logprob == pytest.approx(float(expected[n, one.ids[n]]), abs=1e-3)
            top = expected[n].topk(sampling.logprobs or 0)
            assert [c.logprob for c in score.top] == pytest.approx(top.values.tolist(), abs=1e-3)
            assert [c.token for c in score.top] == [
                engine.tokenizer.named(i)[0] for i in top.indices.tolist()
            ]


def test_tokens_have_the_names_that_clients_know() -> None:
    tokenizer = HFTokenizer(outer(byte_level(), CHATML, eos_token="<|im_end|>"))
    (end,) = tokenizer.encode("<|im_end|>")
    assert tokenizer.named(end) == ("<|im_end|>", b"")
    text = " naïve 東"
    named = [tokenizer.named(token) for token in tokenizer.encode(text)]
    assert b"".join(data for _, data in named) == text.encode()
    assert all(name == data.decode(errors="replace") for name, data in named)


def test_the_scripted_engine_refuses_by_name() -> None:
    engine = ScriptedEngine()
    loop = asyncio.new_event_loop()
    engine.start(loop)
    with pytest.raises(EngineError) as refused:
        engine.submit(EngineRequest("r", [1], "hi", Sampling(logprobs=0)), Heard())
    loop.close()
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "logprobs")
