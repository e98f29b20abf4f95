from __future__ import annotations

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.http11 import Response

from loadtest.faults import NotHttp, StreamCut, http_fault, name_error
from loadtest.turn import Turn
from protocol.client import ContractBroken


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (TimeoutError(), "timeout"),
        (ConnectionRefusedError("no"), "refused"),
        (ContractBroken("a gap"), "contract_broken"),
        (StreamCut("cut"), "stream_cut"),
        (ConnectionClosedError(None, None), "stream_cut"),
        (ConnectionResetError(), "stream_cut"),
        (BrokenPipeError(), "stream_cut"),
        (NotHttp("what"), "not_http"),
        (InvalidMessage("did not receive a valid HTTP response"), "not_http"),
        (OSError("no such host"), "unreachable"),
        (InvalidStatus(Response(401, "Unauthorized", Headers(), b"")), "unauthorized"),
        (InvalidStatus(Response(503, "Away", Headers())), "overloaded"),
    ],
)
def test_what_a_server_does_wrong_has_a_name(error: Exception, name: str) -> None:
    turn = Turn(0.0)
    name_error(turn, error)
    assert turn.fault == name


def test_a_bug_of_ours_is_no_fault_of_a_server() -> None:
    with pytest.raises(ZeroDivisionError):
        name_error(Turn(0.0), ZeroDivisionError())


@pytest.mark.parametrize(
    ("status", "body", "name"),
    [
        (401, b'{"error":{"code":"invalid_api_key","message":"no"}}', "unauthorized"),
        (404, b'{"error":{"code":"model_not_found","message":"no m"}}', "model_not_found"),
        (404, b'{"error":{"code":404,"message":"The model m does not exist"}}', "model_not_found"),
        (404, b'{"detail":"Not Found"}', "not_found"),
        (422, b'{"detail":"Unexpected fields"}', "request_refused"),
        (400, b'{"error":"no such thing"}', "http_400"),
        (500, b"<html>", "http_500"),
        (503, b"[1]", "overloaded"),
    ],
)
def test_an_answer_that_is_no_success_has_a_name(status: int, body: bytes, name: str) -> None:
    assert http_fault(status, body)[0] == name


def test_what_the_server_said_is_kept_beside_the_name() -> None:
    assert http_fault(400, b'{"error":{"message":"pinned to another"}}') == ("http_400", "pinned to another")
    assert http_fault(422, b'{"detail":"Unexpected"}')[1] == '{"detail":"Unexpected"}'


def test_the_first_fault_counts_and_its_detail_is_short() -> None:
    turn = Turn(0.0)
    turn.fail("one", "a\n  b" + "c" * 500)
    turn.fail("two")
    assert turn.fault == "one"
    assert turn.detail.startswith("a b")
    assert len(turn.detail) == 200
