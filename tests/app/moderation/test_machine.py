"""What a policy memorises is bounded, and what it does not remember it works out again."""

from __future__ import annotations

import pytest

from app.moderation import check_input
from app.moderation.matcher import CompiledPolicy
from tests.app.moderation.running import policy, run

RULE = "[[rule]]\ncategory = 'pii'\naction = 'redact'\npatterns = ['\\b[a-d]{2,9}[^x]\\d\\b']"
TEXTS = ("abcd é1 abc-2", "bad世3", "aaaa4 b5 ddддd6")


def redacted(compiled: CompiledPolicy) -> list[str]:
    return [run(compiled, list(text)).released for text in TEXTS]


def test_results_do_not_depend_on_the_memo(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = redacted(policy(RULE))
    assert expected[0] == "abcd é1 [redacted]"
    monkeypatch.setattr("app.moderation.machine._MEMO_LIMIT", 2)
    assert redacted(policy(RULE)) == expected


def test_memos_stay_within_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.moderation.machine._MEMO_LIMIT", 50)
    monkeypatch.setattr("app.moderation.fold._MEMO_LIMIT", 50)
    compiled = policy(RULE)
    check_input(compiled, "".join(map(chr, range(0x3400, 0x3800))) + " ".join(TEXTS))
    assert len(compiled.input.classes) == 50
    assert len(compiled.input.fold) == 50
    assert len(compiled.input.machines[0]._points) <= 50


def test_characters_that_nothing_tells_apart_share_a_class() -> None:
    classes = policy(RULE).input.classes
    assert classes["世"] == classes["界"]
    assert classes["a"] == classes["d"] != classes["e"]
    assert classes["-"] != classes["e"]
