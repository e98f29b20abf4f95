"""How a command finds the server that runs on a state folder: a file there, readable by its owner alone."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import ssl
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

_TIMEOUT_S: Final = 10.0
_FILE: Final = "server.json"
_STRANGERS_KEY: Final = 401  # what any other server says to the key


class NoServer(Exception):
    """No server can be asked; the message says why and what to do."""


class Refused(Exception):
    """What the server said to a command."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """`key` is accepted by this server alone and ends with it."""

    address: str
    key: str
    certificate: str | None = None

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that it answers. Raises Refused, NoServer."""
        parts = urlsplit(self.address)
        assert parts.hostname is not None
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=_TIMEOUT_S, context=self._context()
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)
        try:
            headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
            connection.request(method, quote(path), None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NoServer(
                f"the server at {self.address} does not answer ({error}): it is ending, or was killed; start it again"
            ) from error
        finally:
            connection.close()
        return self._content(answer.status, text)

    def _content(self, status: int, text: bytes) -> Any:
        with suppress(ValueError, LookupError, TypeError):
            content = json.loads(text)
            if status < 400:
                return content
            if status != _STRANGERS_KEY:
                raise Refused(content["error"]["message"])
        raise NoServer(
            f"what answers at {self.address} is not the server that left word in the state folder, which was killed: "
            "start it again, or name the folder of the one that runs with --state-dir"
        )

    def _context(self) -> ssl.SSLContext:
        """Its own certificate is trusted, whatever name it has: the state folder says that this is the server."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.check_hostname = False
        context.verify_flags |= (
            ssl.VERIFY_X509_PARTIAL_CHAIN
        )  # the authority that issued it may be nobody's here
        return context


def new_key() -> str:
    return secrets.token_urlsafe(32)


def announce(state_dir: Path, server: RunningServer) -> None:
    """Leave word of a server that listens."""
    path = state_dir / _FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{_FILE}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(server), file)
    draft.replace(path)


def withdraw(state_dir: Path, key: str) -> None:
    """Take back the word of the server with that key; another may have left its own meanwhile."""
    found = find_server(state_dir)
    if found is not None and found.key == key:
        (state_dir / _FILE).unlink(missing_ok=True)


def find_server(state_dir: Path) -> RunningServer | None:
    """The server that left word, whether or not it still runs; None if there is none."""
    with suppress(OSError, ValueError, TypeError):
        return RunningServer(**json.loads((state_dir / _FILE).read_text()))
    return None
