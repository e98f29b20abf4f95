"""What a character costs is bounded, whatever text comes: counted in lines of Python run, not in time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest

import app.moderation
from app.moderation import CompiledPolicy, Gate, compile_policy, load_policy
from app.moderation.verdict import find
from tests.app.moderation.running import policy

_PACKAGE = str(Path(app.moderation.__file__).parent)
POLICY = compile_policy(load_policy())
LENGTH = 3_000

# Lines a character, all patterns of the shipped policy together. When each pattern's matches were followed by
# themselves, `sk-` took 149; when each place was where one may begin, 1,120.
MOST_LINES = 80

UNITS = [
    "sk-",
    "-sk-",
    "sk-a1-",
    "DE89 ",
    "DE89",
    "de89 370400 ",
    "4111 ",
    "4111-",
    "4111 1111 1111 1112 ",
    "eyj",
    "-eyj",
    "-eyjaaaaaaaaaa.eyjaaaa.",
    "-----begin ",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-",
    "xoxb-",
    "-glpat-",
    "aiza-",
    "-pypi-ageichlwas5vcmc",
    "sluice_live_",
    "akia ",
    "ghp_",
    "a\u200b",
    "фы ",
    "1 ",
    "s s-",
    "-eyjaaaaaaaaaa.eyjaaaa ",
    "BE68 ",
    "NO93 8601 1117 947 ",
    "ѕk-",
    "4\u200b1\u200b1\u200b1\u200b ",
    "-akia0000000000000000",
    "xoxbxoxb-xoxb-",
    "4111111111111111 ",
    "-----begin private key-----\n" + ("qujd" * 16 + "\n") * 8,
    "-----begin private key-----" + "a-a aa b" * 20,
]

ALPHABETS = {
    "sk": "sk-sk-1 ",
    "iban": "de89de89 fr14",
    "cards": "4111 5-37",
    "jwt": "-eyj.eyj",
    "pem": "-begin private key\n",
    "slack": "xoxb-xoxp-1",
    "all": "sk-eyjxob4189de _.",
}


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of the package were run."""
    count = 0

    def inside(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return inside

    def on_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return inside if frame.f_code.co_filename.startswith(_PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def text_of(unit: str) -> str:
    return (unit * LENGTH)[:LENGTH]


def random_text(alphabet: str) -> str:
    random = Random(alphabet)
    pieces = [alphabet[place : place + size] for place in range(len(alphabet)) for size in (1, 3, 4)]
    return "".join(random.choice(pieces) for _ in range(LENGTH))[:LENGTH]


TEXTS = [*map(text_of, UNITS), *map(random_text, ALPHABETS.values())]


def find_all(compiled: CompiledPolicy, text: str) -> None:
    find(compiled.every, text)


def pushed_at_once(compiled: CompiledPolicy, text: str) -> None:
    Gate(compiled).push(text)


def pushed(compiled: CompiledPolicy, text: str) -> None:
    gate = Gate(compiled)
    for start in range(0, len(text), 4):
        gate.push(text[start : start + 4])
    gate.finish()


@pytest.mark.parametrize(
    "text", TEXTS, ids=[*(unit[:40] for unit in UNITS), *(f"random {name}" for name in ALPHABETS)]
)
def test_no_text_makes_a_character_dear(text: str) -> None:
    find_all(POLICY, text)  # states and crowds are found once, then known
    for work in (find_all, pushed, pushed_at_once):
        assert lines_run(lambda work=work: work(POLICY, text)) <= MOST_LINES * len(text)  # type: ignore[misc]


@pytest.mark.parametrize(
    "pattern", [r"(?:a|b-){20,60}!", r"[ab-]{20,250}!", r"(?:[ab]|-){3,90}[ab-]{20,60}!"]
)
def test_a_pattern_of_ones_own_is_bounded_too(pattern: str) -> None:
    own = policy("[[rule]]", 'category = "pii"', 'action = "redact"', f"patterns = ['{pattern}']")
    random = Random(pattern)
    for text in ("ab-" * 1_000, "a" * 3_000, "".join(random.choice("aab--") for _ in range(3_000))):
        find_all(own, text)
        assert lines_run(lambda text=text: find_all(own, text)) <= MOST_LINES * len(text)  # type: ignore[misc]


def test_a_row_of_one_character_is_hardly_walked_through() -> None:
    row = "-" * LENGTH
    pushed_at_once(POLICY, row)
    assert lines_run(lambda: pushed_at_once(POLICY, row)) <= 2 * LENGTH


def test_cost_does_not_grow_with_the_texts_length() -> None:
    few, many = (lines_run(lambda text=text: find_all(POLICY, text)) for text in ("sk-" * 500, "sk-" * 2_000))  # type: ignore[misc]
    assert many <= 4.1 * few


def test_many_notes_in_one_delta_take_time_in_proportion() -> None:
    flag = policy('[[rule]]\ncategory = "hate"\naction = "annotate"\nterms = ["x"]')
    few, many = (lines_run(lambda text=text: Gate(flag).push(text)) for text in ("x " * 1_500, "x " * 6_000))  # type: ignore[misc]
    assert many <= 4.1 * few
