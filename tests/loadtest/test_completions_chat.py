"""What peers answer, byte by byte."""

from __future__ import annotations

import math

import msgspec
import pytest

from loadtest.completions_chat import completion_body
from loadtest.play import play
from loadtest.target import EndBy, Target
from loadtest.turn import Ask, Turn
from loadtest.workload import Script
from tests.loadtest.peer import OK, answering, chunk

pytestmark = pytest.mark.anyio
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,'
    b'"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
)
DONE = b"data: [DONE]\n\n"


async def asked(answer: bytes) -> Turn:
    async with answering([answer]) as target:
        (part,) = await play(target, [Script(("a",), Ask(2))], math.inf)
    return part.turns[0]


async def test_usage_counts_tokens_and_a_delta_may_be_several() -> None:
    turn = await asked(
        OK + chunk("") + chunk("one two") + chunk("three") + chunk(end="length") + USAGE + DONE
    )
    assert turn.fault is None
    assert (turn.output_tokens, turn.counted_by, len(turn.delta_at)) == (5, "usage", 2)
    assert (turn.input_tokens, turn.cached_tokens) == (9, 4)


async def test_deltas_count_tokens_where_there_is_no_usage_and_the_end_needs_no_mark() -> None:
    turn = await asked(OK + chunk("one") + chunk(" two", end="stop"))
    assert (turn.fault, turn.output_tokens, turn.counted_by) == (None, 2, "deltas")


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (OK + chunk("one"), "stream_cut"),
        (OK + chunk("one") + DONE, "stream_cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + chunk("one"), "stream_cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "stream_cut"),
        (b"", "stream_cut"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not_http"),
        (OK + b"data: {not json\n\n", "not_http"),
        (OK + b"<html>hello</html>", "not_http"),
        (OK + chunk("one") + b'data: {"error":"worker died"}\n\n', "error"),
        (OK + chunk("one") + b'data: {"error":{"code":"boom","message":"x"}}\n\n', "boom"),
        (OK + chunk("one") + chunk(end="content_filter") + DONE, "content_filter"),
        (OK + chunk(end="stop") + DONE, "no_text"),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 39\r\n\r\n"
            + b'{"error":{"message":"no model called"}}',
            "model_not_found",
        ),
        (b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n" + b"x" * (1 << 21), "http_500"),
    ],
)
async def test_what_is_no_whole_answer_is_a_fault_by_name(answer: bytes, fault: str) -> None:
    assert (await asked(answer)).fault == fault


async def test_history_is_sent_again_without_the_turn_that_failed() -> None:
    seen: list[bytes] = []
    answers = [
        OK + chunk("Hi", end="stop"),
        b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n",
        OK + chunk("Yes", end="stop"),
    ]
    async with answering(answers, seen) as target:
        await play(target, [Script(("a", "b", "c"), Ask(2))], math.inf)
    said = [
        [message["content"] for message in msgspec.json.decode(request.partition(b"\r\n\r\n")[2])["messages"]]
        for request in seen
    ]
    assert said == [["a"], ["a", "Hi", "b"], ["a", "Hi", "c"]]


@pytest.mark.parametrize(
    ("end_by", "field"),
    [("ignore_eos", "ignore_eos"), ("generation_config", "generation_config"), ("nothing", None)],
)
async def test_each_server_is_asked_in_its_own_words_for_answers_of_one_length(
    end_by: EndBy, field: str | None
) -> None:
    target = Target("http", "127.0.0.1", 1, "/v1", "", "peer", "m", end_by)
    plain = completion_body(target, [], Ask(7, ignore_eos=False))
    assert (plain["max_tokens"], plain["model"], plain["stream_options"]) == (7, "m", {"include_usage": True})
    assert completion_body(target, [], Ask(7)).keys() - plain.keys() == ({field} if field else set())
