"""Who may come in: keys, ephemeral keys, revocation and expiry, with Redis there and away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app import auth
from app.auth import FRESH_S, STALE_S, Authenticator, PepperMismatch
from app.keys import make_key
from app.principal import EPHEMERAL_SCOPES, ROLES, SCOPES, Principal
from app.store.client import Store, StoreUnavailable
from app.store.keys import KeyRecords
from app.store.valkey import EmbeddedValkey
from protocol.codes import ProtocolError

pytestmark = pytest.mark.anyio

PEPPER = b"pepper"
BOOTSTRAP = "a bootstrap key of 24 or more"


@dataclass
class Clock:
    """A time that moves only when told to."""

    time: float = 1_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    async with EmbeddedValkey(tmp_path) as embedded:
        yield embedded


@pytest.fixture
async def store(server: EmbeddedValkey) -> AsyncIterator[Store]:
    opened = Store(server.url)
    yield opened
    await opened.close()


def server_of(store: Store, clock: Clock, bootstrap_key: str | None = None) -> Authenticator:
    records = KeyRecords(store)
    return Authenticator(records, PEPPER, bootstrap_key=bootstrap_key, now=clock, clock=clock)


@pytest.fixture
def door(store: Store, clock: Clock) -> Authenticator:
    return server_of(store, clock)


async def refusal(door: Authenticator, presented: str) -> str:
    with pytest.raises(ProtocolError) as caught:
        await door.authenticate(presented)
    assert presented not in caught.value.message or not presented
    return caught.value.code


async def test_a_key_is_its_holder(door: Authenticator) -> None:
    key = await door.create_key("mine", tenant="acme", role="read-only", expires_at=2_000_000)
    principal = await door.authenticate(key.value)
    assert principal == Principal(key.record.id, "acme", ROLES["read-only"], False, 2_000_000)


async def test_a_key_is_kept_nowhere(door: Authenticator, store: Store) -> None:
    key = await door.create_key("mine")
    secret = key.value.rpartition("_")[2].encode()
    for name in await store.call(store.command("KEYS", "*")):
        assert secret not in await store.call(store.command("DUMP", name))
    assert key.value not in repr(await door.list_keys())


@pytest.mark.parametrize("presented", ["", "x", "ek_", "sluice_live_", "\ud800", "Ünïcode" * 4])
async def test_what_is_no_key_is_refused(door: Authenticator, presented: str) -> None:
    assert await refusal(door, presented) == "invalid_api_key"


async def test_a_well_formed_key_that_nobody_made_is_refused(door: Authenticator) -> None:
    assert await refusal(door, make_key(bytes(48))) == "invalid_api_key"


async def test_a_known_id_with_another_secret_is_refused(door: Authenticator) -> None:
    entropy = bytes(range(100, 148))
    forged = make_key(entropy[:8] + bytes(40))
    key = await made_of(door, entropy)
    assert forged[:20] == key[:20]
    await door.authenticate(key)
    assert await refusal(door, forged) == "invalid_api_key"


async def made_of(door: Authenticator, entropy: bytes) -> str:
    """A key of known entropy, made as any other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_bytes", lambda count: entropy[:count])
        return (await door.create_key("known")).value


async def test_an_id_that_is_taken_is_drawn_again(door: Authenticator) -> None:
    first = await made_of(door, bytes(48))
    draws = iter([bytes(48), bytes(range(48))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_bytes", lambda count: next(draws))
        second = await door.create_key("second")
    assert second.value == make_key(bytes(range(48)))
    assert (await door.authenticate(first)).key_id == "00000000"


async def test_an_expired_key_says_so(door: Authenticator, clock: Clock) -> None:
    key = await door.create_key("short", expires_at=1_000_010)
    principal = await door.authenticate(key.value)
    clock.time = 1_000_009.9
    await door.authenticate(key.value)
    clock.time = 1_000_010
    assert await refusal(door, key.value) == "expired_api_key"
    with pytest.raises(ProtocolError, match="expired"):
        await door.recheck(principal)


async def test_a_revoked_key_is_refused_here_at_once(door: Authenticator) -> None:
    key = await door.create_key("mine")
    principal = await door.authenticate(key.value)
    await door.recheck(principal)
    assert await door.revoke_key(key.record.id)
    assert await refusal(door, key.value) == "revoked_api_key"
    with pytest.raises(ProtocolError, match="revoked"):
        await door.recheck(principal)
    assert not await door.revoke_key("no such")


async def test_a_revoked_key_is_refused_by_other_servers_within_a_second(
    door: Authenticator, store: Store, clock: Clock
) -> None:
    other = server_of(store, clock)
    key = await door.create_key("mine")
    principal = await other.authenticate(key.value)
    await door.revoke_key(key.record.id)
    clock.time += FRESH_S
    assert FRESH_S < 1
    assert await refusal(other, key.value) == "revoked_api_key"
    with pytest.raises(ProtocolError, match="revoked"):
        await other.recheck(principal)


async def test_a_fresh_key_costs_the_store_nothing(
    door: Authenticator, server: EmbeddedValkey, clock: Clock
) -> None:
    key = await door.create_key("mine")
    await door.authenticate(key.value)
    await server.stop()
    clock.time += FRESH_S / 2
    await door.authenticate(key.value)


async def test_known_keys_are_accepted_for_a_while_without_redis(
    door: Authenticator, server: EmbeddedValkey, clock: Clock
) -> None:
    known = await door.create_key("known")
    unknown = await door.create_key("not seen here before")
    revoked = await door.create_key("revoked")
    for key in (known, revoked):
        await door.authenticate(key.value)
    await door.revoke_key(revoked.record.id)
    await server.stop()
    clock.time += FRESH_S
    assert (await door.authenticate(known.value)).key_id == known.record.id
    assert await refusal(door, unknown.value) == "store_unavailable"
    assert await refusal(door, revoked.value) == "store_unavailable"  # never taken from an older memory
    clock.time = 1_000_000 + STALE_S
    await door.authenticate(known.value)
    clock.time += 1
    assert await refusal(door, known.value) == "store_unavailable"
    await server.start()
    await door.authenticate(known.value)


async def test_a_key_removed_from_the_store_is_forgotten(
    door: Authenticator, store: Store, clock: Clock
) -> None:
    key = await door.create_key("mine")
    principal = await door.authenticate(key.value)
    await store.call(store.command("FLUSHALL"))
    clock.time += FRESH_S
    assert await refusal(door, key.value) == "invalid_api_key"
    with pytest.raises(ProtocolError, match="not valid"):
        await door.recheck(principal)
    assert "known=0" in repr(door)


async def test_the_keys_in_memory_are_bounded(
    door: Authenticator, server: EmbeddedValkey, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "MAX_KNOWN", 2)
    created = [await door.create_key(str(number)) for number in range(3)]
    for key in created:
        await door.authenticate(key.value)
    assert repr(door) == "<Authenticator known=2 bootstrap=False>"
    await server.stop()
    assert await refusal(door, created[0].value) == "store_unavailable"
    await door.authenticate(created[2].value)


async def test_a_bootstrap_key_needs_no_store(server: EmbeddedValkey, store: Store, clock: Clock) -> None:
    door = server_of(store, clock, BOOTSTRAP)
    assert await door.prepare() is None
    await server.stop()
    principal = await door.authenticate(BOOTSTRAP)
    assert (principal.tenant, principal.scopes, principal.expires_at) == ("default", SCOPES, None)
    await door.recheck(principal)
    assert await door.has_keys()
    ephemeral = door.mint_ephemeral(principal)
    assert (await door.authenticate(ephemeral.value)).key_id == principal.key_id
    assert await refusal(door, BOOTSTRAP + "!") == "invalid_api_key"


async def test_ephemeral_keys_end_with_the_bootstrap_key_that_made_them(store: Store, clock: Clock) -> None:
    door = server_of(store, clock, BOOTSTRAP)
    ephemeral = door.mint_ephemeral(await door.authenticate(BOOTSTRAP))
    for changed in (server_of(store, clock, BOOTSTRAP + " changed"), server_of(store, clock)):
        assert await refusal(changed, ephemeral.value) == "invalid_api_key"


async def test_an_ephemeral_key_can_do_less_and_not_for_long(door: Authenticator, clock: Clock) -> None:
    key = await door.create_key("page", tenant="acme", role="admin")
    value, expires_at = door.mint_ephemeral(await door.authenticate(key.value), 10)
    assert expires_at == 1_000_010
    principal = await door.authenticate(value)
    assert principal == Principal(key.record.id, "acme", EPHEMERAL_SCOPES, True, 1_000_010)
    with pytest.raises(ProtocolError, match="cannot make another") as caught:
        door.mint_ephemeral(principal)
    assert caught.value.code == "insufficient_scope"
    clock.time = 1_000_010
    assert await refusal(door, value) == "expired_api_key"
    with pytest.raises(ProtocolError, match="expired"):
        await door.recheck(principal)


async def test_an_ephemeral_key_works_on_every_server_of_the_same_pepper(
    door: Authenticator, store: Store, clock: Clock
) -> None:
    key = await door.create_key("page")
    ephemeral = door.mint_ephemeral(await door.authenticate(key.value))
    assert (await server_of(store, clock).authenticate(ephemeral.value)).ephemeral
    other = Authenticator(KeyRecords(store), b"other pepper", now=clock, clock=clock)
    assert await refusal(other, ephemeral.value) == "invalid_api_key"


async def test_an_ephemeral_key_has_no_scope_that_its_maker_lacks(door: Authenticator) -> None:
    key = await door.create_key("reader", role="read-only")
    ephemeral = door.mint_ephemeral(await door.authenticate(key.value))
    assert (await door.authenticate(ephemeral.value)).scopes == {"responses:read", "models:read"}


async def test_an_ephemeral_key_is_revoked_with_its_maker(door: Authenticator) -> None:
    key = await door.create_key("page")
    ephemeral = door.mint_ephemeral(await door.authenticate(key.value))
    principal = await door.authenticate(ephemeral.value)
    await door.revoke_key(key.record.id)
    assert await refusal(door, ephemeral.value) == "revoked_api_key"
    with pytest.raises(ProtocolError, match="revoked"):
        await door.recheck(principal)


async def test_an_ephemeral_key_ends_no_later_than_its_maker(door: Authenticator) -> None:
    key = await door.create_key("short", expires_at=1_000_020)
    assert door.mint_ephemeral(await door.authenticate(key.value), 7200).expires_at == 1_000_020


@pytest.mark.parametrize(
    ("ttl_s", "allowed"), [(9, False), (10, True), (7200, True), (7201, False), (-1, False)]
)
async def test_the_bounds_of_an_ephemeral_keys_life(door: Authenticator, ttl_s: int, allowed: bool) -> None:
    principal = Principal("id", "default", SCOPES)
    if allowed:
        assert door.mint_ephemeral(principal, ttl_s).expires_at == 1_000_000 + ttl_s
    else:
        with pytest.raises(ProtocolError, match="10 to 7200 seconds") as caught:
            door.mint_ephemeral(principal, ttl_s)
        assert (caught.value.code, caught.value.param) == ("invalid_value", "expires_after")


async def test_the_first_start_makes_one_admin_key_and_no_later_one_does(store: Store, clock: Clock) -> None:
    assert not await server_of(store, clock).has_keys()
    keys = await asyncio.gather(*(server_of(store, clock).prepare() for _ in range(5)))
    (made,) = [key for key in keys if key is not None]
    later = server_of(store, clock)
    assert await later.prepare() is None
    assert (await later.authenticate(made)).scopes == SCOPES
    assert await later.has_keys()


async def test_a_revoked_or_expired_key_is_no_key_to_listen_with(door: Authenticator, clock: Clock) -> None:
    revoked = await door.create_key("revoked")
    await door.revoke_key(revoked.record.id)
    assert not await door.has_keys()
    await door.create_key("short", expires_at=1_000_010)
    assert await door.has_keys()
    clock.time = 1_000_010
    assert not await door.has_keys()


async def test_a_pepper_that_was_lost_stops_the_start(store: Store, clock: Clock) -> None:
    await server_of(store, clock).prepare()
    with pytest.raises(PepperMismatch, match="SLUICE_KEY_PEPPER"):
        await Authenticator(KeyRecords(store), b"other", now=clock, clock=clock).prepare()


async def test_a_key_is_not_made_with_another_pepper(store: Store, clock: Clock) -> None:
    await server_of(store, clock).create_key("first")
    other = Authenticator(KeyRecords(store), b"other", now=clock, clock=clock)
    with pytest.raises(PepperMismatch):
        await other.create_key("would never be accepted")
    assert [key.record.name for key in await other.list_keys()] == ["first"]


async def test_the_operators_browser_gets_a_key_from_an_admin_key_that_counts(
    door: Authenticator, clock: Clock
) -> None:
    assert await door.playground_key() is None
    await door.create_key("no admin")
    revoked = await door.create_key("revoked", role="admin")
    await door.revoke_key(revoked.record.id)
    assert await door.playground_key() is None
    admin = await door.create_key("admin", role="admin", tenant="acme")
    value = await door.playground_key()
    assert value is not None
    principal = await door.authenticate(value)
    assert (principal.key_id, principal.tenant, principal.ephemeral) == (admin.record.id, "acme", True)
    assert principal.expires_at == clock() + 7200


async def test_a_start_with_the_store_away_says_so(server: EmbeddedValkey, door: Authenticator) -> None:
    await server.stop()
    with pytest.raises(StoreUnavailable):
        await door.prepare()


async def test_a_server_with_a_bootstrap_key_starts_with_the_store_away(
    server: EmbeddedValkey, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await server.stop()
    door = server_of(store, clock, BOOTSTRAP)
    assert await door.prepare() is None
    assert "the pepper could not be compared" in caplog.text
    await door.authenticate(BOOTSTRAP)


async def test_a_role_or_tenant_that_cannot_be_is_refused(door: Authenticator) -> None:
    with pytest.raises(ValueError, match="'boss' is not a role; the roles are admin, developer, read-only"):
        await door.create_key("x", role="boss")
    with pytest.raises(ValueError, match="not a tenant's name"):
        await door.create_key("x", tenant="a:b")
    assert await door.list_keys() == []
