"""Roles, scopes and tenants' names."""

from __future__ import annotations

import pytest

from app.principal import EPHEMERAL_SCOPES, ROLES, SCOPES, Principal, check_tenant
from protocol.codes import ProtocolError


def test_roles_only_ever_add_scopes() -> None:
    assert ROLES["read-only"] < ROLES["developer"] < ROLES["admin"] == SCOPES
    assert ROLES["developer"] >= EPHEMERAL_SCOPES


def test_a_page_in_a_browser_can_neither_make_keys_nor_delete() -> None:
    assert EPHEMERAL_SCOPES.isdisjoint({"admin", "keys:write", "data:delete", "usage:read"})


def test_a_missing_scope_is_named() -> None:
    reader = Principal("id", "tenant", ROLES["read-only"])
    reader.require("responses:read")
    with pytest.raises(ProtocolError, match="responses:write") as caught:
        reader.require("responses:write")
    assert caught.value.code == "insufficient_scope"


@pytest.mark.parametrize("tenant", ["default", "A-b_9", "x" * 64])
def test_names_that_a_tenant_can_have(tenant: str) -> None:
    check_tenant(tenant)


@pytest.mark.parametrize("tenant", ["", "x" * 65, "a:b", "{a}", "a b", "a\n", "é"])
def test_names_that_a_tenant_cannot_have(tenant: str) -> None:
    with pytest.raises(ValueError, match="not a tenant's name"):
        check_tenant(tenant)
