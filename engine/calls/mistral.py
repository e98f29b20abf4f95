"""Calls as Mistral's models write them: a list of objects, or each function's name with its arguments.

`[TOOL_CALLS] [{"name": …, "arguments": …}, …]`; since the tokenizers of version 11 `[TOOL_CALLS]name[ARGS]{…}`, where
version 11 itself has an id between the two. Facts from mistral-common's tokenizers and the models' published templates.
"""

from __future__ import annotations

from typing import Final

from engine.calls.named import NamedSyntax
from engine.calls.objects import ObjectSyntax

_CALLS: Final = "[TOOL_CALLS]"
_LIST_ID: Final = r'"id"\s*:\s*"([A-Za-z0-9]{9})"\s*\}'


def _list(opener: str) -> ObjectSyntax:
    return ObjectSyntax(
        "",
        "arguments",
        "",
        opener=opener,
        between=", ",
        closer="]",
        spoken=(_CALLS,),
        as_calls=True,
        id_form=_LIST_ID,
    )


LIST: Final = _list(f"{_CALLS} [")
TIGHT_LIST: Final = _list(f"{_CALLS}[")
NAMED: Final = NamedSyntax(_CALLS, "[ARGS]", between="", spoken=(_CALLS, "[ARGS]"), as_calls=True)
NAMED_WITH_ID: Final = NamedSyntax(
    _CALLS,
    "[ARGS]",
    id_mark="[CALL_ID]",
    between="",
    spoken=(_CALLS, "[CALL_ID]", "[ARGS]"),
    as_calls=True,
    id_form=r"\[CALL_ID\]\s*([A-Za-z0-9]{9})\s*\[ARGS\]",
)
MISTRAL: Final = (LIST, TIGHT_LIST, NAMED, NAMED_WITH_ID)
