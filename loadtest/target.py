"""Where load may go: this machine, unless its user says otherwise."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args
from urllib.parse import parse_qsl, urlsplit

PATH: Final = "/v1/responses"
HTTP_PATH: Final = "/v1"
_PORTS: Final = {"ws": 80, "wss": 443, "http": 80, "https": 443}
_LABELLED: Final = re.compile(r"([\w. -]+)=(\w+://.*)")
_BREAKS: Final = re.compile(r"[\x00-\x20\x7f]")

EndBy = Literal["ignore_eos", "generation_config", "nothing"]
"""What keeps answers from ending early: `ignore_eos` (ours, vLLM, llama.cpp) is refused by `transformers serve`."""


class TargetError(Exception):
    """An address that load must not or cannot go to; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server's address and a key to it: our WebSocket, or the base of an OpenAI-compatible API over HTTP."""

    scheme: str
    host: str
    port: int
    path: str
    key: str
    label: str = "sluice"
    model: str = ""  # empty: the first that the server names
    end_by: EndBy = "ignore_eos"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.path}"

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def over_http(self) -> bool:
        return self.scheme in ("http", "https")

    @property
    def encrypted(self) -> bool:
        return self.scheme in ("wss", "https")


def parse_target(text: str, key: str, *, allow_remote: bool = False) -> Target:
    """The target of `[LABEL=]ws://HOST:PORT[/path]` or `[LABEL=]http://HOST:PORT[/v1][?model=NAME&end_by=WAY]`.

    Raises TargetError for what is no address, and for another machine unless it is allowed.
    """
    labelled = _LABELLED.fullmatch(text)
    label, url = labelled.groups() if labelled else ("", text)
    if _BREAKS.search(url):
        raise TargetError(f"{url!r} is no address: it has blanks or line ends in it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TargetError(f"{url!r} is no address: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise TargetError(
            f"{url!r} is no address of a server; write ws://127.0.0.1:8000{PATH} for the WebSocket, "
            f"http://127.0.0.1:8000{HTTP_PATH} for an OpenAI-compatible API"
        )
    if not allow_remote and not is_loopback(parts.hostname):
        raise TargetError(
            f"{parts.hostname} is not this machine. A load test of another machine needs its owner's leave; "
            "with it, add --allow-remote"
        )
    over_http = parts.scheme in ("http", "https")
    if not over_http and not key:
        raise TargetError(f"a key is needed for {url}: give --key, or SLUICE_KEY in the environment")
    model, end_by = _options(parts.query)
    return Target(
        parts.scheme,
        parts.hostname,
        port or _PORTS[parts.scheme],
        (parts.path.rstrip("/") or HTTP_PATH) if over_http else (parts.path or PATH),
        key,
        label or (parts.netloc if over_http else "sluice"),
        model,
        end_by,
    )


def _options(query: str) -> tuple[str, EndBy]:
    options = dict(parse_qsl(query))
    model = options.pop("model", "")
    end_by = options.pop("end_by", "ignore_eos")
    if options:
        raise TargetError(f"an address takes model and end_by, not {', '.join(sorted(options))}")
    for way in get_args(EndBy):
        if way == end_by:
            return model, way
    raise TargetError(f"end_by is one of {', '.join(get_args(EndBy))}, not {end_by!r}")


def is_loopback(host: str) -> bool:
    """Whether the host is an address of this machine's loopback, or the name that stands for it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def told_apart(targets: Sequence[Target]) -> list[Target]:
    """The targets, each with a label of its own."""
    seen: Counter[str] = Counter()
    apart = []
    for target in targets:
        seen[target.label] += 1
        count = seen[target.label]
        apart.append(target if count == 1 else replace(target, label=f"{target.label} ({count})"))
    return apart
