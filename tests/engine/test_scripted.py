"""The scripted engine says exactly what it was told, and fails exactly as it was told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.playback import AHEAD, Fault, echoed_text
from engine.request import (
    ChatMessage,
    EngineError,
    EngineRequest,
    Finished,
    FinishReason,
    Queued,
    Sampling,
    Started,
)
from engine.scripted import ScriptedEngine
from engine.scripted_tokenizer import END_OF_TURN, FIRST_TEXT_ID, ScriptedTokenizer, text_id, words
from engine.sequence import Phase
from engine.wheel import SLOT_S
from tests.engine.contract import Heard

pytestmark = pytest.mark.anyio

ODD_TEXTS = [
    "",
    " ",
    "word",
    "trailing space ",
    "  two  leading",
    "line\nbreak\n\n",
    "nul\x00inside \x00",
    "zero\u200bwidth \u200d joiners\u2060",
    "👩‍👩‍👧 family 🌍🏳️‍🌈",
    "e\u0301 combining",
    "\ufeffbom",
    "x" * 5_000,
    "\t\r\n",
]


@asynccontextmanager
async def serving(*args: Any, **kwargs: Any) -> AsyncIterator[ScriptedEngine]:
    engine = ScriptedEngine(*args, **kwargs)
    engine.start(asyncio.get_running_loop())
    try:
        yield engine
    finally:
        await engine.close()
    assert engine.stats().pages_used == 0


PLAIN = Sampling()


def ask(
    engine: ScriptedEngine, text: str, sampling: Sampling = PLAIN, *, id: str = "a", **more: Any
) -> Heard:
    messages = (ChatMessage("system", "be nice"), ChatMessage("user", text))
    request = EngineRequest(id, engine.tokenizer.encode_chat(messages), messages, sampling)
    heard = Heard()
    engine.submit(replace(request, **more), heard)
    return heard


@pytest.mark.parametrize("text", ODD_TEXTS)
async def test_the_message_comes_back_exactly(text: str) -> None:
    async with serving() as engine:
        heard = ask(engine, text)
        finished = await heard.end()
        assert heard.text == text
        assert finished.reason is FinishReason.STOP
        said = engine.tokenizer.encode(text) or [END_OF_TURN]
        assert finished.usage.output == len(said)
        assert heard.ids == said


@settings(max_examples=200)
@given(st.text(st.characters(codec="utf-8")))
def test_a_token_is_at_most_one_word_with_its_spacing(text: str) -> None:
    pieces = words(text)
    assert "".join(pieces) == text
    assert all(len(piece.split()) <= 1 for piece in pieces)
    assert all(piece.split() for piece in pieces[:-1])


async def test_what_is_echoed() -> None:
    assert echoed_text("a prompt") == "a prompt"
    assert echoed_text(()) == ""
    said = tuple(ChatMessage(role, role + "!") for role in ("user", "system", "assistant"))
    assert echoed_text(said) == "user!"
    assert echoed_text(said[1:]) == "assistant!"
    async with serving() as engine:
        heard = Heard()
        engine.submit(EngineRequest("a", engine.tokenizer.encode("one two "), "one two ", Sampling()), heard)
        await heard.end()
        assert heard.text == "one two "


async def test_each_delta_is_one_token() -> None:
    async with serving() as engine:
        heard = ask(engine, "one two three")
        await heard.end()
        assert heard.deltas == ["one", " two", " three"]


async def test_input_counts_the_whole_history() -> None:
    history = tuple(ChatMessage(role, "some words here") for role in ("user", "assistant", "user"))
    async with serving() as engine:
        ids = engine.tokenizer.encode_chat(history)
        heard = Heard()
        engine.submit(EngineRequest("a", ids, history, Sampling()), heard)
        assert (await heard.end()).usage.input == len(ids) == 3 * 5 + 1


async def test_more_than_256_speak_at_once() -> None:
    async with serving() as engine:
        asked = [ask(engine, f"number {n} speaks here", id=f"r{n}") for n in range(300)]
        first_ends: list[int] = []
        for n, heard in enumerate(asked):
            await heard.until(lambda heard: heard.deltas)
            if heard.ended:
                first_ends.append(n)
            assert heard.outputs[0] == Started(0)
        assert engine.stats().running + len(first_ends) == 300
        for n, heard in enumerate(asked):
            await heard.end()
            assert heard.text == f"number {n} speaks here"


async def test_a_long_reply_is_worked_out_in_parts() -> None:
    text = "word " * (3 * AHEAD) + "end"
    async with serving() as engine:
        heard = ask(engine, text)
        assert (await heard.end()).usage.output == 3 * AHEAD + 1
        assert heard.text == text


async def test_ignoring_the_end_says_it_again() -> None:
    async with serving() as engine:
        heard = ask(engine, "one two", Sampling(ignore_eos=True, max_tokens=8))
        await heard.end()
        heard.in_order()
        assert heard.text == "one two" * 4
        silent = ask(engine, "", Sampling(ignore_eos=True, max_tokens=600))
        assert (await silent.end()).usage.output == 600
        assert silent.ids == [END_OF_TURN] * 600


@pytest.mark.parametrize("tokens_per_s", [0.0, 5_000.0])
async def test_a_stop_string_across_tokens_is_cut(tokens_per_s: float) -> None:
    async with serving(tokens_per_s) as engine:
        heard = ask(engine, "one two three four", Sampling(stop=("o three", "four")))
        finished = await heard.end()
        heard.in_order()
        assert heard.text == "one tw"
        assert finished.reason is FinishReason.STOP
        assert finished.usage.output == 3
        assert finished.token_ids == tuple(map(text_id, ("one", " two", " three")))
        long = ask(engine, "word " * (AHEAD + 10) + "end", Sampling(stop=("never",)), id="long")
        assert (await long.end()).usage.output == AHEAD + 11
        held = ask(engine, "one two th", Sampling(stop=("three",)))
        await held.end()
        held.in_order()
        assert held.text == "one two th"


async def test_a_cancel_reports_the_tokens_that_were_held() -> None:
    async with serving(faults=lambda request: Fault(after_tokens=3)) as engine:
        heard = ask(engine, "one two three four", Sampling(stop=(" two three four",)))
        while engine.stats().generated_tokens < 3:
            await asyncio.sleep(0)
        engine.cancel("a")
        finished = await heard.end()
        assert finished.token_ids == tuple(map(text_id, ("one", " two", " three")))
        assert finished.usage.output == 3


async def test_the_gaps_of_a_page_count_as_their_mean() -> None:
    async with serving(tokens_per_s=500) as engine:
        heard = ask(engine, "word " * 100)
        await heard.until(lambda heard: len(heard.deltas) == 90)
        engine.cancel("a")
        assert 90 <= (await heard.end()).usage.output < 100
        spreads = engine.stats().spreads
        gap, decode, mean = spreads["gap"], spreads["decode"], spreads["mean_gap"]
        counted = sum(gap.counts)
        assert 25 < counted < 90, "up to where a page's leave ended"
        assert gap.sum == pytest.approx(decode.sum)
        assert mean.sum == pytest.approx(decode.sum / counted)
        assert spreads["step_tokens"].sum == engine.stats().generated_tokens


async def test_any_split_can_be_asked_for() -> None:
    async with serving(split=list) as engine:
        heard = ask(engine, "a b👍")
        await heard.end()
        assert heard.deltas == ["a", " ", "b", "👍"]
    async with serving(split=lambda text: [text[:3], "", text[3:]]) as engine:
        heard = ask(engine, "abcdef")
        await heard.end()
        assert heard.deltas == ["abc", "def"]


async def test_a_fault_refuses_fails_or_stalls_one_request() -> None:
    faults = {
        "refused": Fault(refuse=EngineError("queue_full", "no")),
        "nan": Fault(after_tokens=2, error=FloatingPointError("nan")),
        "named": Fault(error=EngineError("upstream_error", "gone")),
        "stalled": Fault(after_tokens=1),
        "late": Fault(),
    }
    async with serving(faults=lambda request: faults.get(request.id)) as engine:
        with pytest.raises(EngineError) as refused:
            ask(engine, "x", id="refused")
        assert refused.value.code == "queue_full"
        nan, named = ask(engine, "a b c d", id="nan"), ask(engine, "a b", id="named")
        stalled, fine = ask(engine, "a b c", id="stalled"), ask(engine, "a b c", id="fine")
        late = ask(engine, "a", id="late", first_token_timeout_s=0.02)
        finished = await nan.end()
        assert finished.error is not None
        assert (finished.error.code, nan.text, finished.usage.output) == ("model_error", "a b", 2)
        finished = await named.end()
        assert finished.error is not None
        assert (finished.error.code, named.text) == ("upstream_error", "")
        assert (await fine.end()).reason is FinishReason.STOP
        finished = await late.end()
        assert finished.error is not None
        assert finished.error.code == "first_token_timeout"
        assert not stalled.ended
        assert stalled.text == "a"
        engine.cancel("stalled")
        assert (await stalled.end()).reason is FinishReason.CANCELLED


async def test_who_waits_behind_a_stalled_one_gets_its_turn_when_that_ends() -> None:
    faults = {"first": Fault(after_tokens=1)}
    async with serving(max_running=1, faults=lambda request: faults.get(request.id)) as engine:
        first, second = ask(engine, "a b", id="first"), ask(engine, "c d", id="second")
        await first.until(lambda heard: heard.deltas)
        assert second.outputs == [Queued(0)]
        engine.cancel("first")
        await second.end()
        assert second.text == "c d"


@pytest.mark.parametrize("tokens_per_s", [0.0, 3_000.0])
async def test_preempted_scripts_go_on_where_they_were(tokens_per_s: float) -> None:
    text = " ".join(map(str, range(60)))
    async with serving(
        tokens_per_s, page_tokens=4, pages_total=40, context_tokens=160, max_running=4
    ) as engine:
        asked = [ask(engine, f"{n} {text}", id=f"r{n}") for n in range(4)]
        for n, heard in enumerate(asked):
            finished = await heard.end()
            heard.in_order()
            assert heard.text == f"{n} {text}"
            assert finished.usage.output == 61


async def test_a_preempted_script_that_is_back_before_its_time_does_not_speak_twice_as_fast() -> None:
    text = "one two three four five six seven eight"
    doubled: list[object] = []
    returned: list[str] = []

    def look(output: object) -> None:
        on_wheel = [playback for slot in engine._wheel._slots.values() for playback in slot]
        doubled.extend(on_wheel if len(on_wheel) > len(set(on_wheel)) else [])
        young = engine._scheduler._live.get("young")
        if young is not None and young.started and young.phase is Phase.WAITING:
            returned.append("young")
            engine.cancel("old")  # so that it gets its pages back at once, long before its next token is due

    async with serving(10.0, page_tokens=1, pages_total=31, context_tokens=24) as engine:
        old, other, young = Heard(look), Heard(look), Heard(look)
        for id, heard in (("old", old), ("other", other)):
            engine.submit(EngineRequest(id, engine.tokenizer.encode(text), text, PLAIN, salt=id), heard)
        slot = int(asyncio.get_running_loop().time() / SLOT_S) + 1
        while int(asyncio.get_running_loop().time() / SLOT_S) <= slot:  # due later than the others
            await asyncio.sleep(0)
        engine.submit(EngineRequest("young", engine.tokenizer.encode(text), text, PLAIN), young)
        for heard in (old, other, young):
            await heard.end()
        assert returned
        assert not doubled
        assert young.text == text


async def test_a_rate_must_be_a_number() -> None:
    for rate in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="tokens_per_s"):
            ScriptedEngine(rate)


async def test_a_context_larger_than_the_usual_pool_is_served() -> None:
    async with serving(context_tokens=5_000_000) as engine:
        assert engine.model.context_tokens == 5_000_000
        assert engine.stats().pages_total * 64 >= 5_000_000


async def test_a_consumer_that_raises_at_its_deltas_hears_its_end(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[Finished] = []

    def deliver(output: object) -> None:
        if isinstance(output, Finished):
            ended.append(output)
        raise RuntimeError("a consumer's fault")

    async with serving() as engine:
        engine.submit(EngineRequest("bad", engine.tokenizer.encode("a b c"), "a b c", Sampling()), deliver)
        good = ask(engine, "a b c", id="good")
        await good.end()
        await asyncio.sleep(0)
    assert [finished.usage.output for finished in ended] == [3]
    assert "deliver_failed id=bad" in caplog.text


def test_ids_are_the_same_in_every_process() -> None:
    code = "from engine.scripted_tokenizer import ScriptedTokenizer as T; print(T().encode('one two  three'))"
    ids = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("1", "2")
    ]
    assert ids[0] == ids[1] == f"{ScriptedTokenizer().encode('one two  three')}\n"
    assert text_id("\ud800") >= FIRST_TEXT_ID


def test_no_torch_is_needed() -> None:
    code = "import sys, engine.scripted; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@settings(max_examples=100)
@given(st.lists(st.text(max_size=20), min_size=3, max_size=7).filter(lambda contents: len(contents) % 2))
def test_a_follow_up_begins_with_its_parents_tokens(contents: list[str]) -> None:
    tokenizer = ScriptedTokenizer()
    messages = [ChatMessage("assistant" if n % 2 else "user", text) for n, text in enumerate(contents)]
    context = tokenizer.encode_chat(messages[:-2])
    context += tokenizer.reply_ids(messages[-2].content, ())
    extended = tokenizer.extend_chat(context, messages[:-1], messages[-1:])
    assert extended[: len(context)] == context
    assert extended == tokenizer.encode_chat(messages)
    assert all(0 < id < 1 << 31 for id in extended)
