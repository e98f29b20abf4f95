"""Where load may go: this machine, unless its user says otherwise."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

PATH: Final = "/v1/responses"
_PORTS: Final = {"ws": 80, "wss": 443}


class TargetError(Exception):
    """An address that load must not or cannot go to; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server's socket address and a key to it."""

    scheme: str
    host: str
    port: int
    path: str
    key: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self._netloc}{self.path}"

    @property
    def _netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_target(url: str, key: str, *, allow_remote: bool = False) -> Target:
    """The target of `ws://HOST:PORT[/path]`. Raises TargetError for another machine, unless it is allowed."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TargetError(f"{url!r} is no address: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise TargetError(f"{url!r} is no WebSocket address; write ws://127.0.0.1:8000{PATH}")
    if not allow_remote and not is_loopback(parts.hostname):
        raise TargetError(
            f"{parts.hostname} is not this machine. A load test of another machine needs its owner's leave; "
            "with it, add --allow-remote"
        )
    return Target(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], parts.path or PATH, key)


def is_loopback(host: str) -> bool:
    """Whether the host is an address of this machine's loopback, or the name that stands for it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
