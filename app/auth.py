"""From a presented key to a principal, with Redis there or away."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from app.keys import (
    ENTROPY_BYTES,
    EPHEMERAL_PREFIX,
    NONCE_BYTES,
    digest,
    id_of,
    make_ephemeral,
    make_key,
    parse_ephemeral,
    parse_key,
)
from app.principal import EPHEMERAL_SCOPES, OPERATOR_SCOPES, ROLES, SCOPES, Principal, check_tenant
from app.settings import ConfigError
from app.store.client import StoreUnavailable
from app.store.keys import FoundKey, KeyRecord, KeyRecords
from protocol.codes import ProtocolError

log = logging.getLogger(__name__)

FRESH_S = 0.5  # how long a verified key is not asked for again: a revocation works everywhere within a second
STALE_S = (
    300.0  # how long a key last seen valid is accepted while Redis is away: a restart or failover, with room
)
MAX_KNOWN = 4096  # keys kept in memory, 1 KiB each
EPHEMERAL_TTL_S = (10, 7200)  # as the hosted API has it
DEFAULT_TENANT = "default"


class PepperMismatch(ConfigError):
    """The stored keys were made with another pepper: none of them would be accepted."""

    def __init__(self) -> None:
        super().__init__(
            "the keys in this store were made with another pepper, so none of them would be accepted; set "
            "SLUICE_KEY_PEPPER, or put back the file key-pepper of the state folder that made them"
        )


class NewKey(NamedTuple):
    value: str  # shown once, kept nowhere
    record: KeyRecord


class EphemeralKey(NamedTuple):
    value: str
    expires_at: int  # unix seconds


@dataclass(slots=True)
class _Known:
    found: FoundKey
    seen_at: float  # when Redis last said so
    asked_at: float  # when Redis was last asked, reached or not


class Authenticator:
    """Verifies keys, makes and revokes them. `now` is unix time, `clock` only ever rises.

    operator_key: of this process alone, for the commands of who may read its state folder.
    """

    def __init__(
        self,
        records: KeyRecords,
        pepper: bytes,
        *,
        bootstrap_key: str | None = None,
        operator_key: str | None = None,
        ephemeral_ttl_s: int = 60,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._pepper = pepper
        self._ephemeral_ttl_s = ephemeral_ttl_s
        self._now = now
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._bootstrap: Principal | None = None
        self._bootstrap_digest = b""
        self._operator: Principal | None = None
        self._operator_digest = b""
        if operator_key is not None:
            self._operator = Principal(id_of(pepper, operator_key), DEFAULT_TENANT, OPERATOR_SCOPES)
            self._operator_digest = digest(pepper, operator_key)
        if bootstrap_key is not None:
            self._bootstrap = Principal(id_of(pepper, bootstrap_key), DEFAULT_TENANT, ROLES["admin"])
            self._bootstrap_digest = digest(pepper, bootstrap_key)

    async def prepare(self) -> str | None:
        """Once at the start. Without a bootstrap key the very first start gets an admin key, to show once.

        Raises PepperMismatch, and StoreUnavailable where there is no bootstrap key to begin with.
        """
        try:
            await self._claim_pepper()
        except StoreUnavailable as error:
            if self._bootstrap is None:
                raise
            log.warning("the pepper could not be compared with the store's reason=%r", error.reason)
        if self._bootstrap is not None:
            return None
        key = self._new_key("first", DEFAULT_TENANT, "admin", None)
        return key.value if await self._records.add_first(key.record) else None

    async def has_keys(self) -> bool:
        """Whether any key would be accepted. Raises StoreUnavailable."""
        if self._bootstrap is not None:
            return True
        now = self._now()
        return any(
            key.revoked_at is None and (key.record.expires_at is None or now < key.record.expires_at)
            for key in await self._records.all()
        )

    async def authenticate(self, presented: str) -> Principal:
        """Who presents this key. The bootstrap key and, for some minutes, known keys need no Redis.

        Raises ProtocolError `invalid_api_key`, `expired_api_key`, `revoked_api_key`, and StoreUnavailable.
        """
        presented_digest = digest(self._pepper, presented)
        if self._bootstrap is not None and hmac.compare_digest(presented_digest, self._bootstrap_digest):
            return self._bootstrap
        if self._operator is not None and hmac.compare_digest(presented_digest, self._operator_digest):
            return self._operator
        if presented.startswith(EPHEMERAL_PREFIX):
            return await self._authenticate_ephemeral(presented)
        parts = parse_key(presented)
        found = await self._look_up(parts.id) if parts else None
        if found is None or not hmac.compare_digest(presented_digest, found.record.digest):
            raise _invalid()
        self._check(found)
        record = found.record
        return Principal(record.id, record.tenant, ROLES[record.role], expires_at=record.expires_at)

    async def recheck(self, principal: Principal) -> None:
        """See that a principal's key still counts, on a socket that stays open. Raises as `authenticate`."""
        self._check_expiry(principal.expires_at)
        if self._bootstrap is not None and principal.key_id == self._bootstrap.key_id:
            return
        found = await self._look_up(principal.key_id)
        if found is None:
            raise _invalid()
        self._check(found)

    async def create_key(
        self,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        role: str = "developer",
        expires_at: int | None = None,
    ) -> NewKey:
        """A new key; its value is in this answer and nowhere else.

        Raises PepperMismatch, StoreUnavailable, ValueError for a role or tenant that cannot be.
        """
        if role not in ROLES:
            raise ValueError(f"{role!r} is not a role; the roles are {', '.join(ROLES)}")
        check_tenant(tenant)
        await self._claim_pepper()
        key = self._new_key(name, tenant, role, expires_at)
        if not await self._records.add(key.record):
            return await self.create_key(name, tenant=tenant, role=role, expires_at=expires_at)
        log.info("key created id=%s tenant=%s role=%s", key.record.id, tenant, role)
        return key

    async def list_keys(self) -> list[FoundKey]:
        """Every key ever made, oldest first, revoked ones included. Raises StoreUnavailable."""
        return await self._records.all()

    async def revoke_key(self, key_id: str) -> bool:
        """Whether there is such a key. From now on it is refused here, within a second everywhere, with the
        ephemeral keys it made. Raises StoreUnavailable."""
        revoked = await self._records.revoke(key_id, int(self._now()))
        self._known.pop(key_id, None)
        if revoked:
            log.info("key revoked id=%s", key_id)
        return revoked

    def mint_ephemeral(self, principal: Principal, ttl_s: int | None = None) -> EphemeralKey:
        """A short-lived key for a browser. Raises ProtocolError `insufficient_scope`, `invalid_value`."""
        if principal.ephemeral:
            raise ProtocolError("insufficient_scope", "An ephemeral key cannot make another.")
        shortest, longest = EPHEMERAL_TTL_S
        ttl_s = self._ephemeral_ttl_s if ttl_s is None else ttl_s
        if not shortest <= ttl_s <= longest:
            raise ProtocolError(
                "invalid_value",
                f"An ephemeral key lives {shortest} to {longest} seconds.",
                param="expires_after",
            )
        expires_at = int(self._now()) + ttl_s
        if principal.expires_at is not None:
            expires_at = min(expires_at, principal.expires_at)
        entropy = secrets.token_bytes(NONCE_BYTES)
        return EphemeralKey(make_ephemeral(self._pepper, principal.key_id, expires_at, entropy), expires_at)

    async def playground_key(self) -> str | None:
        """An ephemeral key of the longest life from any admin key that counts, for the operator's own browser.

        None if there is no such key. Raises StoreUnavailable.
        """
        if self._bootstrap is not None:
            return self.mint_ephemeral(self._bootstrap, EPHEMERAL_TTL_S[1]).value
        for found in await self._records.all():
            if found.record.role != "admin":
                continue
            try:
                self._check(found)
            except ProtocolError:
                continue
            maker = Principal(
                found.record.id, found.record.tenant, SCOPES, expires_at=found.record.expires_at
            )
            return self.mint_ephemeral(maker, EPHEMERAL_TTL_S[1]).value
        return None

    async def _authenticate_ephemeral(self, presented: str) -> Principal:
        parts = parse_ephemeral(self._pepper, presented)
        if parts is None:
            raise _invalid()
        self._check_expiry(parts.expires_at)
        tenant, scopes = DEFAULT_TENANT, EPHEMERAL_SCOPES
        if self._bootstrap is None or parts.key_id != self._bootstrap.key_id:
            maker = await self._look_up(parts.key_id)
            if maker is None:
                raise _invalid()
            self._check(maker)
            tenant, scopes = maker.record.tenant, scopes & ROLES[maker.record.role]
        return Principal(parts.key_id, tenant, scopes, ephemeral=True, expires_at=parts.expires_at)

    async def _look_up(self, key_id: str) -> FoundKey | None:
        """The key's record: from memory while fresh, from Redis, or from memory while Redis is away."""
        known = self._known.get(key_id)
        asked_at = self._clock()
        if known is not None and asked_at - known.asked_at < FRESH_S:
            return known.found
        try:
            found = await self._records.find(key_id)
        except StoreUnavailable:
            if known is None or asked_at - known.seen_at > STALE_S:
                raise
            known.asked_at = self._clock()
            return known.found
        if found is None:
            self._known.pop(key_id, None)
            return None
        self._remember(key_id, _Known(found, asked_at, asked_at))
        return found

    def _remember(self, key_id: str, known: _Known) -> None:
        self._known[key_id] = known
        self._known.move_to_end(key_id)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _check(self, found: FoundKey) -> None:
        if found.revoked_at is not None:
            raise ProtocolError("revoked_api_key", "This API key has been revoked.")
        self._check_expiry(found.record.expires_at)

    def _check_expiry(self, expires_at: int | None) -> None:
        if expires_at is not None and self._now() >= expires_at:
            raise ProtocolError("expired_api_key", "This API key has expired.")

    async def _claim_pepper(self) -> None:
        if not await self._records.claim_pepper(digest(self._pepper, "fingerprint").hex()):
            raise PepperMismatch

    def _new_key(self, name: str, tenant: str, role: str, expires_at: int | None) -> NewKey:
        value = make_key(secrets.token_bytes(ENTROPY_BYTES))
        parts = parse_key(value)
        assert parts is not None
        hashed = digest(self._pepper, value)
        return NewKey(value, KeyRecord(parts.id, name, tenant, role, hashed, int(self._now()), expires_at))

    def __repr__(self) -> str:
        return f"<Authenticator known={len(self._known)} bootstrap={self._bootstrap is not None}>"


def _invalid() -> ProtocolError:
    return ProtocolError("invalid_api_key", "This API key is not valid.")
