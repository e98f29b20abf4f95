"""What a parser says of a body it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.codes import ProtocolError


def refusal(parse: Callable[[], Any]) -> tuple[str, str | None]:
    """`(code, param)` of the error that `parse` raises."""
    with pytest.raises(ProtocolError) as refused:
        parse()
    assert refused.value.param is None or refused.value.param in refused.value.message
    return refused.value.code, refused.value.param
