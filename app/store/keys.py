"""The records of API keys in Redis: one hash, so that a key and its revocation are read in one command."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from app.store.client import Store

_HASH: Final = "sluice:{keys}"
_FIRST: Final = "first"  # a field: some key has been made, so the first start is over
_PEPPER: Final = "pepper"  # a field: the fingerprint of the pepper that the digests were made with

_ADD_FIRST: Final = """
if redis.call('HSETNX', KEYS[1], 'first', ARGV[1]) == 0 then return 0 end
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
"""

_REVOKE: Final = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSETNX', KEYS[1], ARGV[1] .. ':revoked', ARGV[2])
return 1
"""


class KeyRecord(msgspec.Struct, frozen=True):
    """A key as it is kept: never the key itself."""

    id: str
    name: str
    tenant: str
    role: str
    digest: bytes
    created_at: int  # unix seconds
    expires_at: int | None = None


class FoundKey(NamedTuple):
    record: KeyRecord
    revoked_at: int | None


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(KeyRecord)


class KeyRecords:
    """All keys of all tenants. Every method raises StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, key_id: str) -> FoundKey | None:
        command = self._store.command("HMGET", _HASH, key_id, f"{key_id}:revoked")
        data, revoked = await self._store.call(command)
        return None if data is None else _found(data, revoked)

    async def add(self, record: KeyRecord) -> bool:
        """False if the id is taken."""
        encoded = _ENCODER.encode(record)
        added = await self._store.call(self._store.command("HSETNX", _HASH, record.id, encoded))
        await self._store.call(self._store.command("HSETNX", _HASH, _FIRST, record.id))
        return bool(added)

    async def add_first(self, record: KeyRecord) -> bool:
        """Add the key if none was ever made; of several servers that start at once one gets true."""
        script = self._store.eval(_ADD_FIRST, [_HASH], record.id, _ENCODER.encode(record))
        return bool(await self._store.call(script))

    async def revoke(self, key_id: str, now: int) -> bool:
        """Whether there is such a key. A second revocation keeps the first one's time."""
        return bool(await self._store.call(self._store.eval(_REVOKE, [_HASH], key_id, now)))

    async def all(self) -> list[FoundKey]:
        """Every key ever made, oldest first."""
        fields: dict[bytes, bytes] = await self._store.call(self._store.command("HGETALL", _HASH))
        found = [
            _found(data, fields.get(name + b":revoked"))
            for name, data in fields.items()
            if b":" not in name and name not in (_FIRST.encode(), _PEPPER.encode())
        ]
        return sorted(found, key=lambda key: (key.record.created_at, key.record.id))

    async def claim_pepper(self, fingerprint: str) -> bool:
        """Whether the stored digests were made with this fingerprint's pepper; the first to ask decides."""
        await self._store.call(self._store.command("HSETNX", _HASH, _PEPPER, fingerprint))
        claimed: bytes = await self._store.call(self._store.command("HGET", _HASH, _PEPPER))
        return claimed == fingerprint.encode()


def _found(data: bytes, revoked: bytes | None) -> FoundKey:
    return FoundKey(_DECODER.decode(data), None if revoked is None else int(revoked))
