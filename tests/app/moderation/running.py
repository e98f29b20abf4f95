"""Policies written in tests, and gates run to their end."""

from __future__ import annotations

import json
from typing import NamedTuple

from app.moderation import CompiledPolicy, Cut, Gate, Summary, compile_policy
from app.moderation.policy import parse_policy
from tests.app.moderation.oracle import OracleRule


class Ran(NamedTuple):
    released: str
    cut: Cut | None
    notes: list[tuple[int, int, str]]
    summary: Summary


def policy(*lines: str) -> CompiledPolicy:
    """A policy of version `t`, from the lines after that."""
    return compile_policy(parse_policy("\n".join(['version = "t"', *lines]).encode(), "test.toml"))


def compiled(rules: list[OracleRule]) -> CompiledPolicy:
    lines: list[str] = []
    for rule in rules:
        lines += ["[[rule]]", f'category = "{rule.category}"', f'action = "{rule.action}"']
        lines += [f"terms = {json.dumps(rule.terms)}", f"patterns = {json.dumps(rule.patterns)}"]
        lines += [f"substring = {json.dumps(rule.substring)}"]
    return policy(*lines)


def run(policy: CompiledPolicy, deltas: list[str] | str) -> Ran:
    gate = Gate(policy)
    steps = [*map(gate.push, deltas), gate.finish()]
    cuts = [step.cut for step in steps if step.cut]
    assert len(cuts) <= 1
    assert cuts == ([gate.cut] if gate.cut else [])
    notes = [(note.start, note.end, note.category) for step in steps for note in step.annotations]
    return Ran("".join(step.released for step in steps), gate.cut, notes, gate.summary())
