from __future__ import annotations

import pytest

from loadtest.target import Target, TargetError, is_loopback, parse_target, told_apart


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "[::1]"])
def test_this_machine_is_loaded_without_asking(host: str) -> None:
    target = parse_target(f"ws://{host}:8000/v1/responses", "key")
    assert target.url == f"ws://{host}:8000/v1/responses"
    assert not target.over_http


@pytest.mark.parametrize("host", ["10.0.0.1", "example.com", "[2001:db8::1]", "0.0.0.0", "localhost.example"])
@pytest.mark.parametrize("scheme", ["ws", "http", "https"])
def test_another_machine_is_refused_and_the_way_out_named(host: str, scheme: str) -> None:
    with pytest.raises(TargetError, match=r"is not this machine.*--allow-remote"):
        parse_target(f"{scheme}://{host}:8000/v1", "key")


def test_another_machine_is_loaded_with_leave() -> None:
    target = parse_target("wss://example.com", "key", allow_remote=True)
    assert target == Target("wss", "example.com", 443, "/v1/responses", "key")
    assert target.encrypted


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1:8000", "127.0.0.1:8000", "ws://", "ws://127.0.0.1:port", "http://127.0.0.1/v1\r\nX: y"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(TargetError, match=r"is no address"):
        parse_target(url, "key")


def test_a_name_is_loopback_by_its_form_alone() -> None:
    assert not is_loopback("localhost.localdomain")
    assert is_loopback("::1")


def test_a_peer_is_named_and_asked_as_its_address_says() -> None:
    target = parse_target("llama.cpp=http://127.0.0.1:8081/v1/?model=a%2Fb&end_by=nothing", "")
    assert target == Target("http", "127.0.0.1", 8081, "/v1", "", "llama.cpp", "a/b", "nothing")
    assert target.over_http


def test_a_peer_without_a_name_has_its_place_for_one() -> None:
    assert parse_target("http://127.0.0.1:8081", "") == Target(
        "http", "127.0.0.1", 8081, "/v1", "", "127.0.0.1:8081"
    )


def test_our_socket_needs_a_key_and_a_peer_does_not() -> None:
    with pytest.raises(TargetError, match="a key is needed"):
        parse_target("ws://127.0.0.1:1/v1/responses", "")
    assert parse_target("http://127.0.0.1:1/v1", "").key == ""


@pytest.mark.parametrize(
    ("query", "said"),
    [("end_by=magic", "end_by is one of ignore_eos"), ("modell=x&mode=y", "not mode, modell")],
)
def test_an_unknown_way_of_asking_is_refused(query: str, said: str) -> None:
    with pytest.raises(TargetError, match=said):
        parse_target(f"http://127.0.0.1:1/v1?{query}", "")


def test_servers_of_one_name_are_told_apart() -> None:
    one = parse_target("ws://127.0.0.1:1", "key")
    assert [target.label for target in told_apart([one, one, one])] == ["sluice", "sluice (2)", "sluice (3)"]
