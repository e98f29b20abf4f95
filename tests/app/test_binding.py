"""The address that is listened on: what is wrong with it, and what a person is told to open."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app.binding import BindingFaults, address_here, binding_faults, is_every_address
from tests.app.test_config import load


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "app.localhost"])
def test_loopback_has_no_faults(tmp_path: Path, host: str) -> None:
    for has_keys in (True, False):
        assert binding_faults(load(tmp_path, "--host", host), has_keys) == BindingFaults(None, ())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "chat.example", "localhost.example"])
def test_beyond_loopback_keys_are_needed_and_tls_is_advised(tmp_path: Path, host: str) -> None:
    open_config = load(tmp_path, "--host", host)
    refusal, warnings = binding_faults(open_config, has_keys=False)
    assert refusal is not None
    assert host in refusal
    assert "sluice keys create" in refusal
    assert warnings == ()
    refusal, warnings = binding_faults(open_config, has_keys=True)
    assert refusal is None
    assert ["TLS" in warning for warning in warnings] == [True]
    with_tls = dataclasses.replace(open_config, ssl_certfile=Path("c"), ssl_keyfile=Path("k"))
    assert binding_faults(with_tls, has_keys=True) == BindingFaults(None, ())
    assert binding_faults(with_tls, has_keys=False).refusal is not None


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("192.0.2.1", "http://192.0.2.1:9000"),
        ("::1", "http://[::1]:9000"),
        ("2001:db8::1", "http://[2001:db8::1]:9000"),
        ("chat.example", "http://chat.example:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://[::1]:9000"),
        ("0:0:0:0:0:0:0:0", "http://[::1]:9000"),
    ],
)
def test_the_address_shown_is_one_that_opens(tmp_path: Path, host: str, address: str) -> None:
    config = load(tmp_path, "--host", host)
    assert address_here(config, 9000) == address
    assert is_every_address(host) is (host in ("0.0.0.0", "::", "0:0:0:0:0:0:0:0"))
    with_tls = dataclasses.replace(config, ssl_certfile=Path("c"), ssl_keyfile=Path("k"))
    assert address_here(with_tls, 9000) == address.replace("http://", "https://")
