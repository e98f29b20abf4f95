from __future__ import annotations

import pytest

from loadtest.target import Target, TargetError, is_loopback, parse_target


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "[::1]"])
def test_this_machine_is_loaded_without_asking(host: str) -> None:
    target = parse_target(f"ws://{host}:8000/v1/responses", "key")
    assert target.url == f"ws://{host}:8000/v1/responses"


@pytest.mark.parametrize("host", ["10.0.0.1", "example.com", "[2001:db8::1]", "0.0.0.0", "localhost.example"])
def test_another_machine_is_refused_and_the_way_out_named(host: str) -> None:
    with pytest.raises(TargetError, match=r"is not this machine.*--allow-remote"):
        parse_target(f"ws://{host}:8000/v1/responses", "key")


def test_another_machine_is_loaded_with_leave() -> None:
    target = parse_target("wss://example.com", "key", allow_remote=True)
    assert target == Target("wss", "example.com", 443, "/v1/responses", "key")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "127.0.0.1:8000", "ws://", "ws://127.0.0.1:port"])
def test_what_is_no_socket_address_is_refused(url: str) -> None:
    with pytest.raises(TargetError, match=r"no .*address"):
        parse_target(url, "key")


def test_a_name_is_loopback_by_its_form_alone() -> None:
    assert not is_loopback("localhost.localdomain")
    assert is_loopback("::1")
