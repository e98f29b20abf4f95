"""Neither what was matched nor what is looked for can be read off any object or error."""

from __future__ import annotations

from app.moderation import Gate, check_input
from app.moderation.automaton import Term
from app.moderation.scanner import Scanner
from tests.app.moderation.running import policy

WORD, NUMBER = "xyzzy", "987-65-4321"
POLICY = policy(
    f'[[rule]]\ncategory = "custom/a"\naction = "block"\nterms = ["{WORD} end"]',
    "[[rule]]\ncategory = 'pii'\naction = 'redact'\npatterns = ['9\\d\\d-6\\d-4321']",
    f'[[rule]]\ncategory = "hate"\naction = "annotate"\nterms = ["{WORD}"]',
)


def test_objects_show_no_words() -> None:
    matcher = POLICY.output
    gate = Gate(POLICY)
    steps = [gate.push(f"see {NUMBER} and {WORD} e"), gate.push("nd!")]
    scanner = Scanner(matcher)
    for char in f"{NUMBER} {WORD}":
        scanner.take(char)
    things: list[object] = [
        *(POLICY, POLICY.policy, *POLICY.policy.rules, matcher, matcher.automaton, matcher.trigger),
        *(matcher.fold, matcher.classes, *matcher.machines, *matcher.machines[0]._points.values()),
        *(gate, *steps, gate.cut, gate.summary(), scanner, check_input(POLICY, f"{NUMBER} {WORD}")),
        Term(WORD, 0, 0, True),
    ]
    assert gate.cut is not None
    for thing in things:
        for shown in (repr(thing), str(thing)):
            assert WORD not in shown, type(thing)
            assert NUMBER not in shown, type(thing)
            assert "4321" not in shown, type(thing)


def test_nothing_withheld_stays_in_a_gate_after_the_cut() -> None:
    gate = Gate(POLICY)
    assert gate.push(f"a {WORD} end, and {NUMBER}").cut is not None
    gate.push(f"{WORD} again")
    parts = [*(getattr(gate, name) for name in Gate.__slots__), gate._release._buffer]
    assert not any(WORD in part for part in parts if isinstance(part, str))
    assert not gate._release._spans
