"""Calls as DeepSeek V3.1 writes them, all of a reply between marks:
`<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜>`."""

from __future__ import annotations

from typing import Final

from engine.calls.named import NamedSyntax

_OPENER: Final = "<｜tool▁calls▁begin｜>"
_BEFORE: Final = "<｜tool▁call▁begin｜>"
_MIDDLE: Final = "<｜tool▁sep｜>"
_BEHIND: Final = "<｜tool▁call▁end｜>"
_CLOSER: Final = "<｜tool▁calls▁end｜>"

DEEPSEEK: Final = NamedSyntax(
    _BEFORE,
    _MIDDLE,
    _BEHIND,
    opener=_OPENER,
    between="",
    closer=_CLOSER,
    spoken=(_OPENER, _BEFORE, _MIDDLE, _BEHIND, _CLOSER),
    as_calls=True,
)
