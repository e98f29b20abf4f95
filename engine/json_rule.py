"""A JSON schema as a rule of llguidance's grammars."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

WHITESPACE: Final = r"\n[ \t]{0,32}|[ \t]{1,4}"
"""Between JSON's tokens: enough to indent, too little for a weak model to lose itself in."""


def json_rule(schema: Mapping[str, Any]) -> str:
    # Last, so that a schema's own options cannot loosen what is promised.
    strict = {"lenient": False, "coerce_one_of": False, "whitespace_pattern": WHITESPACE}
    return "%json " + json.dumps({**schema, "x-guidance": strict})
