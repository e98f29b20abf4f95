"""Functions after the input gate."""

from __future__ import annotations

import pytest

from app.offered import engine_tool, offered_json, read_offered
from engine.request import Tool
from protocol.requests.tools import Offer
from protocol.tools import FunctionTool

TOOL = FunctionTool(name="f", description="d", parameters={"type": "object", "required": ["a"]}, strict=True)


def test_what_is_judged_is_what_is_told() -> None:
    assert read_offered(offered_json(Offer((TOOL,)))) == (TOOL,)
    assert offered_json(Offer((TOOL,), "none")) == offered_json(Offer()) == ""


def test_what_is_no_longer_a_function_is_no_value() -> None:
    with pytest.raises(ValueError, match="Expected"):
        read_offered(offered_json(Offer((TOOL,))).replace('"d"', "[redacted]"))


def test_function_without_parameters_takes_an_object() -> None:
    assert engine_tool(FunctionTool(name="f")) == Tool("f", "", {"type": "object", "properties": {}})
    assert engine_tool(TOOL).parameters == {"type": "object", "properties": {}, "required": ["a"]}
