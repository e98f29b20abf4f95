"""Planted terms in every disguise, in random text, in random splits: nothing of them is released.

`--fuzz-cases` says how many cases the long run takes.
"""

from __future__ import annotations

from random import Random

import pytest

from app.moderation import Gate
from tests.app.moderation.oracle import TWINS, OracleRule, matches_by_beginning, most_held, outcome
from tests.app.moderation.running import compiled

SHARDS = 8  # so that several processes share the long run
SMALL_RUN = 2_000

RULES = [
    OracleRule("block", "custom/phrase", terms=("forbidden phrase", "attack plan", "napalm")),
    OracleRule("redact", "custom/name", terms=("secret plan", "plan b", "zorro")),
    OracleRule("redact", "custom/part", terms=("xylo", "lophon"), substring=True),
    OracleRule("block", "custom/part", terms=("kaboom",), substring=True),
    OracleRule("redact", "pii", patterns=(r"\b\d{3}-\d{2}-\d{4}\b",)),
    OracleRule("flag", "violence", terms=("attack",)),
]
POLICY = compiled(RULES)

# Words that begin, end or surround the terms without being them.
BENIGN = [
    *("a", "the", "plan", "planet", "forbid", "forbidden", "phrases", "attacks", "napal", "an", "secrets"),
    *("zorros", "xyl", "phone", "kaboo", "boom", "123-45", "123-45-67890", "12", "2026", "état", "naïve"),
    *(
        "Здравствуй",
        "世界",
        "don’t",
        "co-op",
        "f",
        "n",
        "s",
        "x",
        "z",
        "é",
        "e\u0301",
        "👩\u200d👧",
        "1\u20e3",
    ),
]
GAPS = (" ", " ", " ", " ", "  ", "\n", ", ", ". ", "-", "\u00a0", "\u3000", "")
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u0301\u0336\u034f\ufe0f\u20dd"
LOOKALIKES: dict[str, str] = {}
for _twin, _plain in TWINS.items():
    LOOKALIKES[_plain] = LOOKALIKES.get(_plain, "") + _twin


def disguise(random: Random, term: str) -> str:
    """The term with each character written in some other way, invisible ones before, between and after."""
    strength = random.choice((0.0, 0.2, 0.6, 1.0))
    parts = [_invisible(random, strength)]
    for char in term:
        parts += [_disguise_char(random, char, strength), _invisible(random, strength)]
    return "".join(parts)


def _disguise_char(random: Random, char: str, strength: float) -> str:
    if random.random() >= strength:
        return char
    if char == " ":
        return random.choice((" ", "  ", "\n", "\u00a0", "\u3000"))
    ways = [char.upper(), chr(ord(char) + 0xFEE0)]
    if char in LOOKALIKES:
        ways += [random.choice(LOOKALIKES[char])] * 2
    if char.isalpha():
        ways.append(chr(0x1D41A + ord(char) - ord("a")))
    return random.choice(ways)


def _invisible(random: Random, strength: float) -> str:
    if random.random() >= strength / 2:
        return ""
    return "".join(random.choice(INVISIBLE) for _ in range(random.randint(1, 3)))


def make_case(random: Random) -> tuple[str, list[str]]:
    """A text, and the disguised terms that stand in it as words of their own, with what surrounds them."""
    planted: list[str] = []
    pieces: list[str] = []
    terms = [term for rule in RULES if rule.hard for term in rule.terms] + ["123-45-6789"]
    for _ in range(random.randint(1, 12)):
        if random.random() < 0.15:
            planted.append(f" {disguise(random, random.choice(terms))}{random.choice(' !,')}")
            pieces.append(planted[-1])
        elif random.random() < 0.1:
            pieces.append(disguise(random, random.choice(terms))[: random.randint(1, 12)])
        else:
            pieces += [random.choice(BENIGN), random.choice(GAPS)]
    return "".join(pieces), planted


def split(random: Random, text: str) -> list[str]:
    longest = random.choice((1, 3, 8, 40))
    deltas: list[str] = []
    while text:
        size = random.randint(1, longest)
        deltas.append(text[:size])
        text = text[size:]
    return deltas


def check_case(seed: str) -> tuple[bool, int]:
    random = Random(seed)
    text, planted = make_case(random)
    expected = outcome(text, RULES, matches_by_beginning)
    gate = Gate(POLICY)
    deltas = split(random, text)
    looked_at = random.randrange(len(deltas))
    released, taken = "", 0
    for number, delta in enumerate(deltas):
        step = gate.push(delta)
        released += step.released
        taken += len(delta)
        assert expected.released.startswith(released), seed
        if number == looked_at:
            assert gate.held <= (0 if gate.cut else most_held(text[:taken], RULES, matches_by_beginning)), (
                seed
            )
    released += gate.finish().released
    assert released == expected.released, seed
    assert (gate.cut.category if gate.cut else None) == expected.cut, seed
    assert not any(secret in released for secret in planted), seed
    return gate.cut is not None, len(planted)


def run_cases(count: int, seed: str) -> None:
    cuts = terms = 0
    for number in range(count):
        cut, planted = check_case(f"{seed}:{number}")
        cuts += cut
        terms += planted
    # The run is worth something only if it met what it looks for.
    assert cuts > count / 10
    assert terms > count / 2


def test_disguised_terms_do_not_leak_in_a_small_run() -> None:
    run_cases(SMALL_RUN, "small")


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_disguised_terms_do_not_leak_in_a_long_run(shard: int, fuzz_cases: int) -> None:
    run_cases(-(-fuzz_cases // SHARDS), f"shard {shard}")
