"""The address that is listened on (pure): whether it may be, and how this machine itself opens it."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from app.config import Config


class BindingFaults(NamedTuple):
    refusal: str | None  # why the server must not listen
    warnings: tuple[str, ...]


def binding_faults(config: Config, has_keys: bool) -> BindingFaults:
    """What is wrong with listening on this address: beyond loopback keys are needed, and TLS is advised."""
    if _is_loopback(config.host):
        return BindingFaults(None, ())
    if not has_keys:
        return BindingFaults(
            f"{config.host} is beyond loopback and there are no keys; make one with `sluice keys create`, "
            "set SLUICE_BOOTSTRAP_KEY, or listen on 127.0.0.1",
            (),
        )
    if config.tls:
        return BindingFaults(None, ())
    return BindingFaults(
        None,
        (
            f"{config.host} is beyond loopback without TLS: keys and text cross the network readable; give "
            "--ssl-certfile and --ssl-keyfile, or put a proxy with TLS in front",
        ),
    )


def address_here(config: Config, port: int) -> str:
    """Where this machine opens the server: 0.0.0.0 and :: stand for all its addresses and are none themselves."""
    host = config.host
    if is_every_address(host):
        host = "::1" if ":" in host else "127.0.0.1"
    scheme = "https" if config.tls else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def is_every_address(host: str) -> bool:
    ip = _ip(host)
    return ip is not None and ip.is_unspecified


def _is_loopback(host: str) -> bool:
    ip = _ip(host)
    return ip.is_loopback if ip is not None else host == "localhost" or host.endswith(".localhost")


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
