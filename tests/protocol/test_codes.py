"""The table of errors."""

from __future__ import annotations

import pytest

from protocol.codes import ProtocolError


def test_an_error_knows_its_status_and_type() -> None:
    error = ProtocolError("draining", "Later.", retry_after_s=2.0)
    assert error.info == (503, "service_unavailable_error", True)
    assert str(error) == "Later."
    assert repr(error) == "<ProtocolError draining param=None>"


def test_a_code_outside_the_table_is_our_bug() -> None:
    with pytest.raises(AssertionError):
        ProtocolError("nonsense", "")
