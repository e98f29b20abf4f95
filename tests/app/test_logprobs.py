"""Log probabilities through the whole server, from real tensors to the SDK's types, and never past the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from app.engines import build_default
from tests.app.dialects import DIALECTS, limit_field, take_turn
from tests.app.serving import Served, config_for, serving
from tests.engine.tiny_models import save_tiny
from tests.engine.tiny_tokenizers import CHATML, byte_level, outer

pytestmark = pytest.mark.anyio

MODEL = "scored"
SAMPLING = {"seed": 5, "structured_outputs": {"regex": "a[a-c]{5}b[a-c]{5}"}}
INCLUDE: Any = ["message.output_text.logprobs"]
RULE = """version = "t"
[[rule]]
category = "secret"
action = "{action}"
terms = ["b"]
substring = true
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = outer(byte_level(), CHATML, eos_token="<|im_end|>", bos_token="<|im_start|>")
    folder = save_tiny("llama", tmp_path_factory.mktemp("models") / MODEL, vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    return folder


@asynccontextmanager
async def serving_model(model: Path, folder: Path, action: str | None = None) -> AsyncIterator[Served]:
    """With the usual policy, or one whose one rule treats the letter b so."""
    config = config_for(folder, engine="torch", model=model, dtype="float32", kv_memory_mib=16)
    settings: dict[str, Any] = {}
    if action is not None:
        settings["policy"] = folder / "policy.toml"
        settings["policy"].write_text(RULE.format(action=action))
    async with serving(build_default(config).engine, **settings) as served:
        yield served


def asked(dialect: str) -> dict[str, Any]:
    match dialect.removesuffix("-stream"):
        case "chat":
            return {"logprobs": True, "top_logprobs": 3}
        case "completion":
            return {"logprobs": 3}
        case _:
            return {"include": INCLUDE, "top_logprobs": 3}


@pytest.mark.parametrize("action", [None, "redact", "block"])
async def test_they_come_in_every_dialect_and_never_past_the_gate(
    model: Path, tmp_path: Path, action: str | None
) -> None:
    async with serving_model(model, tmp_path, action) as served:
        for dialect in DIALECTS:
            most = {limit_field(dialect): 40}
            outcome = await take_turn(served, dialect, "hi", **SAMPLING, **most, **asked(dialect))
            told = tokens_in(outcome.items)
            assert told, dialect
            if action is None:
                assert len(outcome.text) == 12
            else:
                assert outcome.text.replace("[redacted]", "").strip("ac") == ""
                assert not any("b" in token for token in told)


def tokens_in(node: Any) -> list[str]:
    """Every token that is named anywhere."""
    found: list[str] = []
    if isinstance(node, dict):
        if isinstance(node.get("token"), str):
            found.append(node["token"])
        if isinstance(node.get("tokens"), list):
            found += node["tokens"]
            found += [token for top in node["top_logprobs"] for token in top]
        for part in node.values():
            found += tokens_in(part)
    elif isinstance(node, list):
        for part in node:
            found += tokens_in(part)
    return found


async def test_the_sdk_reads_them(model: Path, tmp_path: Path) -> None:
    async with (
        serving_model(model, tmp_path) as served,
        AsyncOpenAI(base_url=served.http + "/v1", api_key=served.key, max_retries=0) as client,
    ):
        response = await client.responses.create(
            model=MODEL, input="hi", include=INCLUDE, top_logprobs=2, extra_body=SAMPLING
        )
        part = response.output[0].content[0]  # type: ignore[union-attr]
        logprobs = part.logprobs  # type: ignore[union-attr]
        assert logprobs is not None
        assert b"".join(bytes(one.bytes) for one in logprobs) == response.output_text.encode()
        assert all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in logprobs)
        assert response.top_logprobs == 2
        chat = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "hi"}],
            logprobs=True,
            top_logprobs=2,
            extra_body=SAMPLING,
        )
        choice = chat.choices[0]
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert "".join(one.token for one in choice.logprobs.content) == choice.message.content
        plain = await client.completions.create(model=MODEL, prompt="hi", logprobs=2, extra_body=SAMPLING)
        told = plain.choices[0].logprobs
        assert told is not None
        assert "".join(told.tokens or ()) == plain.choices[0].text
        assert (told.text_offset or [])[0] == 0


async def test_an_engine_that_cannot_refuses_by_name() -> None:
    async with serving() as server:
        for dialect in DIALECTS:
            outcome = await take_turn(server, dialect, "hi", **asked(dialect))
            assert (outcome.end, outcome.code) == ("refused", "unsupported_parameter")
            named = "logprobs" if dialect.startswith(("chat", "completion")) else "include"
            assert outcome.error["param"] == named
            assert f"'{named}'" in outcome.error["message"]
