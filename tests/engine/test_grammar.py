"""Formats: what compiles, what is refused and how, and replies that are always of their format."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator

from engine import grammar
from engine.config import EngineSettings
from engine.grammar import KEPT, KEPT_BYTES, GrammarCompiler, compiler_for
from engine.loop import StepEngine
from engine.request import EngineError, EngineRequest, FinishReason, OutputFormat, Sampling
from engine.sampler import Choice, sample
from engine.scripted import ScriptedEngine
from engine.shaping import shaping_of
from engine.torch_engine import build_torch_engine
from tests.engine.contract import Heard
from tests.engine.schemas import random_root
from tests.engine.tiny_chat import save_tiny_chat

pytestmark = pytest.mark.anyio

SIZE = 300  # logits; more than the bytes that are tokens here
END, OTHER_END = 256, 257


@cache
def compiler() -> GrammarCompiler:
    tokens = [bytes([value]) for value in range(256)] + [b""] * (SIZE - 256)
    made = compiler_for(lambda token: tokens[token], SIZE, {END, OTHER_END})
    assert made is not None
    return made


def schema(content: Any) -> OutputFormat:
    return OutputFormat("json_schema", json.dumps(content), "text.format.schema")


def regex(pattern: str) -> OutputFormat:
    return OutputFormat("regex", pattern, "structured_outputs.regex")


def may_follow(format: OutputFormat, text: str) -> set[int]:
    state = compiler().compile(format, "salt").follow()
    for byte in text.encode():
        assert bool(state.allowed()[byte]), f"{text!r} is not of the format at {chr(byte)!r}"
        state.follow(byte)
    return set(state.allowed().nonzero().flatten().tolist())


def test_the_end_may_come_only_where_the_format_accepts() -> None:
    numbers = regex("[0-9]{2,3}")
    digits = set(b"0123456789")
    assert may_follow(numbers, "1") == digits
    assert may_follow(numbers, "12") == digits | {END, OTHER_END}
    assert may_follow(numbers, "123") == {END, OTHER_END}


def test_json_ends_with_its_last_bracket() -> None:
    state = compiler().compile(schema({"type": "object"}), "salt").follow()
    for byte in b'{"a": [1, {}]}':
        assert not state.complete
        state.follow(byte)
    assert state.complete


def test_whitespace_is_enough_to_indent_and_has_an_end() -> None:
    pair = schema({"type": "array", "items": {"type": "integer"}})
    assert ord("1") in may_follow(pair, "[\n" + " " * 32)
    assert ord(" ") not in may_follow(pair, "[\n" + " " * 32)
    assert ord(" ") not in may_follow(pair, "[1, " + " " * 3)
    assert not may_follow(pair, "") & set(b" \n\t")


@pytest.mark.parametrize(
    ("format", "words"),
    [
        (schema({"type": "strin"}), "Invalid type: strin"),
        (schema({"not": {"type": "string"}}), "not"),
        (schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (schema({"$ref": "#/$defs/nowhere"}), "nowhere"),
        (schema({"$ref": "https://example.com/schema.json"}), "example.com"),
        (schema({"type": "integer", "minimum": 5, "maximum": 3}), "Unsatisfiable"),
        (schema({"type": "string", "format": "colour"}), "colour"),
        (
            schema({"oneOf": [{"type": "string"}, {"maxLength": 3}], "x-guidance": {"coerce_one_of": True}}),
            "oneOf",
        ),
        (schema({"not": {}, "x-guidance": {"lenient": True}}), "not"),
        (schema({"type": "string", "pattern": "(?=a)b"}), "look-around"),
        (schema({"type": "integer", "multipleOf": 99_999_989}), "multipleOf"),
        (schema({"type": "string", "allOf": [{"pattern": f"^a{{{i}}}"} for i in range(20)]}), "patterns"),
        (schema({"$ref": "#"}), "no reply can be of it"),
        (regex("[a&&b]"), "no reply can be of it"),
        (regex(r"[^\x00-\U0010ffff]"), "no reply can be of it"),
        (regex("["), "unclosed"),
        (regex(r"a\b"), "lookaround"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_format_that_cannot_be_is_refused_in_words_by_name(format: OutputFormat, words: str) -> None:
    with pytest.raises(EngineError) as refused:
        compiler().compile(format, "salt")
    error = refused.value
    assert (error.code, error.param) == ("invalid_value", format.param)
    assert error.message.startswith(f"Invalid value for '{format.param}': ")
    assert words in error.message
    assert len(error.message) < 400
    assert not re.search(r"\n|guidance|forcing|coerce|\d \|", error.message)


def test_the_same_format_is_compiled_once_while_it_is_kept() -> None:
    first = compiler().compile(regex("a+"), "salt")
    assert compiler().compile(regex("a+"), "salt") is first
    for count in range(1, KEPT):
        compiler().compile(regex(f"b{{{count}}}"), "salt")
        assert compiler().compile(regex("a+"), "salt") is first
    for count in range(1, KEPT + 1):
        compiler().compile(regex(f"c{{{count}}}"), "salt")
    assert compiler().compile(regex("a+"), "salt") is not first


def test_formats_are_kept_while_their_sources_together_are_small() -> None:
    fresh = compiler_for(lambda token: bytes([token]), 256, {0})
    assert fresh is not None
    half = KEPT_BYTES // 2 - len("json_schema")
    first = fresh.compile(described("1", half), "salt")
    assert fresh.compile(described("2", half), "salt") is not first
    assert fresh.compile(described("1", half), "salt") is first
    fresh.compile(described("3", half), "salt")
    assert fresh.compile(described("1", half), "salt") is first
    huge = fresh.compile(described("4", KEPT_BYTES + 1), "salt")
    assert fresh.compile(described("4", KEPT_BYTES + 1), "salt") is not huge
    small = fresh.compile(regex("a+"), "salt")
    assert fresh.compile(regex("a+"), "salt") is small


def test_a_format_is_kept_for_the_tenant_that_asked_for_it() -> None:
    one = regex("xa+")
    assert compiler().kept(one, "a") is None
    made = compiler().compile(one, "a")
    assert compiler().kept(one, "a") is made
    assert compiler().kept(one, "b") is None
    assert compiler().compile(one, "b") is not made


def described(by: str, size: int) -> OutputFormat:
    """A source of so many bytes, in which only the description differs."""
    frame = schema({"type": "integer", "description": ""}).source
    return OutputFormat(
        "json_schema", frame.replace('""', f'"{by * (size - len(frame))}"'), "text.format.schema"
    )


def test_replies_of_one_format_do_not_share_their_place() -> None:
    either = compiler().compile(regex("ab|cd"), "salt")
    first, second = either.follow(), either.follow()
    first.follow(ord("a"))
    assert bool(second.allowed()[ord("c")])
    assert not bool(first.allowed()[ord("c")])


def test_many_threads_may_compile_at_once() -> None:
    fresh = compiler_for(lambda token: bytes([token]), 256, {0})
    assert fresh is not None
    found: list[bool] = []

    def work(seed: int) -> None:
        for count in range(20):
            state = fresh.compile(regex(f"x{{{1 + (seed + count) % 7}}}"), "salt").follow()
            found.append(bool(state.allowed()[ord("x")]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 80


def test_no_masks_for_a_model_without_bytes_or_without_an_end() -> None:
    assert compiler_for(None, 10, {1}) is None
    assert compiler_for(lambda token: b"", 10, frozenset()) is None


def drawn(pattern: str, so_far: bytes, sampling: Sampling, logits: torch.Tensor) -> int | Exception:
    shaping = shaping_of(sampling, [1], {END, OTHER_END}, compiler().compile(regex(pattern), "salt").follow())
    assert shaping is not None
    for token in so_far:
        shaping.follow(token)
    (result,) = sample(logits[None].clone(), [Choice(sampling, 1, len(so_far), shaping)])
    return result


def test_a_format_goes_before_a_bias_and_lets_a_reply_end_early_only_if_it_must() -> None:
    logits = torch.zeros(SIZE)
    logits[ord("z")], logits[END] = 50, 40
    greedy = Sampling(temperature=0)
    assert drawn("a+", b"", greedy, logits) == ord("a")
    assert drawn("a+", b"a", greedy, logits) == END
    assert drawn("a+", b"a", Sampling(temperature=0, min_tokens=5), logits) == ord("a")
    assert drawn("a", b"a", Sampling(temperature=0, min_tokens=5), logits) == END
    assert drawn("a+", b"", Sampling(temperature=0, logit_bias=((ord("a"), -100.0),)), logits) == ord("a")


def test_a_row_whose_format_grew_too_much_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "MAX_LEXER_STATES", 24)
    logits = torch.zeros(2, SIZE)
    logits[:, ord("a")] = 5
    heavy = compiler().compile(regex("(a|b)*a(a|b){11}"), "salt").follow()
    plain = Sampling(temperature=0)
    shaping = shaping_of(plain, [1], {END}, heavy)
    for step in range(20):
        failed, sound = sample(logits.clone(), [Choice(plain, 1, step, shaping), Choice(plain, 1, step)])
        assert sound == ord("a")
        if isinstance(failed, EngineError):
            break
        assert shaping is not None
        shaping.follow(ord("a"))
    assert isinstance(failed, EngineError)
    assert failed.code == "invalid_value"
    assert "format" in failed.message
    assert "grammar>" not in failed.message


def test_a_vocabulary_that_lacks_what_comes_next_is_said() -> None:
    few = compiler_for(lambda token: b"ab"[token : token + 1], 4, {3})
    assert few is not None
    state = few.compile(regex("a東"), "salt").follow()
    state.follow(0)
    with pytest.raises(EngineError, match="lacks what comes next"):
        state.allowed()


def test_the_scripted_engine_refuses_formats_by_name() -> None:
    with pytest.raises(EngineError) as refused:
        ScriptedEngine().compile(regex("a"))
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "structured_outputs.regex")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_chat(tmp_path_factory.mktemp("formats"), padding=7)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[StepEngine]:
    engine = build_torch_engine(folder, EngineSettings(dtype="float32", max_running=64, kv_bytes=64 << 20))
    engine.start(asyncio.get_running_loop())
    try:
        yield engine
    finally:
        await engine.close()


def ask(engine: StepEngine, id: str, format: OutputFormat, **sampling: Any) -> Heard:
    heard = Heard()
    prompt = tuple(engine.tokenizer.encode("Say it as JSON: "))
    asked = Sampling(**{"max_tokens": 300, "seed": 7} | sampling)
    engine.submit(EngineRequest(id, prompt, "", asked, grammar=engine.compile(format)), heard)
    return heard


async def test_random_schemas_are_satisfied_by_every_reply_that_ended(folder: Path) -> None:
    draw = random.Random(20_260)
    schemas = [random_root(draw) for _ in range(100)]
    ended = 0
    async with serving(folder) as engine:
        heard = [ask(engine, f"r{n}", schema(one), seed=n) for n, one in enumerate(schemas)]
        for one, reply in zip(schemas, heard, strict=True):
            finished = await reply.end()
            assert finished.error is None
            if finished.reason is FinishReason.STOP:
                Draft202012Validator(one).validate(json.loads(reply.text))
                ended += 1
    assert ended > 80, "most come to their end within the limit"


async def test_a_reply_of_a_format_ends_without_a_token_for_the_end(folder: Path) -> None:
    async with serving(folder) as engine:
        heard = ask(engine, "r", regex("(ja|nein), bitte[.]"))
        finished = await heard.end()
        assert finished.reason is FinishReason.STOP
        assert re.fullmatch("(ja|nein), bitte[.]", heard.text)
        assert engine.tokenizer.decode(heard.ids) == heard.text
        exact = ask(engine, "exact", regex("[.]{5}"), max_tokens=5)
        assert (await exact.end()).reason is FinishReason.STOP, "whole at the limit is whole"
        cut = ask(engine, "cut", regex("(xy){50}"), max_tokens=3)
        assert (await cut.end()).reason is FinishReason.LENGTH
        assert ("xy" * 50).startswith(cut.text)


async def test_a_format_changes_nothing_for_those_beside_it(folder: Path) -> None:
    async with serving(folder) as engine:

        def plain(id: str) -> Heard:
            heard = Heard()
            sampling = Sampling(temperature=1.0, seed=3, max_tokens=60, ignore_eos=True)
            engine.submit(EngineRequest(id, tuple(engine.tokenizer.encode("Hello")), "", sampling), heard)
            return heard

        alone = plain("alone")
        await alone.end()
        beside = plain("beside")
        formatted = [ask(engine, f"f{n}", regex("[a-z ]{10,40}"), seed=n) for n in range(4)]
        again = ask(engine, "again", regex("[a-z ]{10,40}"), seed=0)
        for heard in (beside, *formatted, again):
            await heard.end()
        assert beside.ids == alone.ids
        assert again.ids == formatted[0].ids


async def test_a_stop_string_ends_a_reply_of_a_format_too(folder: Path) -> None:
    async with serving(folder) as engine:
        heard = ask(engine, "r", regex("a{3}b{3}"), stop=("bb",))
        assert (await heard.end()).reason is FinishReason.STOP
        assert heard.text == "aaa"
