"""API keys as text: their forms, their checksums, their digests. Entropy and time are arguments.

A kept key is `sluice_live_<id><_><secret><crc32>`, an ephemeral one `ek_<id>_<expiry>_<nonce>_<mac>`. The
ephemeral key is not stored: it names the key that made it, says when it ends, and its MAC shows that we said
so.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import zlib
from pathlib import Path
from typing import Final, NamedTuple

PREFIX: Final = "sluice_live_"
EPHEMERAL_PREFIX: Final = "ek_"
ID_CHARS: Final = 8
_CHECKSUM_CHARS: Final = 6  # 62 ** 6 > 2 ** 32
NONCE_BYTES: Final = 12
ENTROPY_BYTES: Final = (
    48  # what `make_key` takes: 48 characters chosen, less than 0.1 bit lost to the modulus each
)
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY: Final = re.compile(rf"{PREFIX}([0-9A-Za-z]{{8}})_([0-9A-Za-z]{{40}})([0-9A-Za-z]{{6}})")
_EPHEMERAL: Final = re.compile(r"ek_([0-9A-Za-z]{8})_([0-9]{1,12})_([0-9A-Za-z]{12})_([0-9a-f]{64})")


class KeyParts(NamedTuple):
    id: str
    secret: str


class EphemeralParts(NamedTuple):
    key_id: str  # of the key that made it
    expires_at: int  # unix seconds


def make_key(entropy: bytes) -> str:
    """A new key out of `ENTROPY_BYTES` random bytes."""
    assert len(entropy) == ENTROPY_BYTES
    chars = _letters(entropy)
    body = f"{PREFIX}{chars[:ID_CHARS]}_{chars[ID_CHARS:]}"
    return body + _checksum(body)


def parse_key(text: str) -> KeyParts | None:
    """Its parts, or None if it is no key or was mistyped. Says nothing about whether the key is known."""
    match = _KEY.fullmatch(text)
    if match is None or _checksum(text[:-_CHECKSUM_CHARS]) != match[3]:
        return None
    return KeyParts(match[1], match[2])


def digest(pepper: bytes, text: str) -> bytes:
    """HMAC-SHA-256. 238 random bits need no slow hash; the pepper makes a stolen store useless alone."""
    # surrogatepass: any text that is presented has a digest, and none of them is a key's
    return hmac.digest(pepper, text.encode("utf-8", "surrogatepass"), hashlib.sha256)


def id_of(pepper: bytes, text: str) -> str:
    """An id for a key that has none of its own, the bootstrap key; it tells nothing about the key."""
    return _letters(digest(pepper, "id:" + text))[:ID_CHARS]


def make_ephemeral(pepper: bytes, key_id: str, expires_at: int, entropy: bytes) -> str:
    """An ephemeral key of `key_id`; `entropy` is 12 random bytes."""
    assert len(entropy) == NONCE_BYTES
    body = f"{EPHEMERAL_PREFIX}{key_id}_{expires_at}_{_letters(entropy)}"
    return f"{body}_{digest(pepper, body).hex()}"


def parse_ephemeral(pepper: bytes, text: str) -> EphemeralParts | None:
    """Its parts, or None if we did not make it. Its end may have passed."""
    match = _EPHEMERAL.fullmatch(text)
    if match is None:
        return None
    body = text[: match.start(4) - 1]
    if not hmac.compare_digest(digest(pepper, body).hex(), match[4]):
        return None
    return EphemeralParts(match[1], int(match[2]))


def load_pepper(state_dir: Path, given: str | None) -> bytes:
    """The secret that keys are hashed with: the setting, or the state folder's file, made when missing."""
    if given is not None:
        return given.encode()
    path = state_dir / "key-pepper"
    if not path.exists():
        _create_privately(path, secrets.token_hex(32))
    os.chmod(path, 0o600)  # a restored backup may have opened it
    return path.read_bytes().strip()


def _create_privately(path: Path, text: str) -> None:
    """Write a new file whole, readable by its owner only; where another process was first, its file stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, it fails where the path exists
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _letters(entropy: bytes) -> str:
    return "".join(_ALPHABET[byte % 62] for byte in entropy)


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    chars = []
    for _ in range(_CHECKSUM_CHARS):
        number, place = divmod(number, 62)
        chars.append(_ALPHABET[place])
    return "".join(reversed(chars))
