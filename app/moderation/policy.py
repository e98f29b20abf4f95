"""The policy file: rules of what to look for and what to do about it, read from TOML and checked.

Neither errors nor reprs repeat a term or a pattern: they name the file, the rule and the field. Values of other
fields are shown.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from app.moderation.charsets import CharSets
from app.moderation.fold import fold_text
from app.moderation.machine import most_places
from app.moderation.syntax import parse
from app.moderation.verify import VERIFIERS
from protocol.moderation import CATEGORIES

Action = Literal["block", "redact", "annotate", "flag"]

# What a match of a rule needs held back. Text that will be shown anyway need not wait.
BLOCK, REDACT, SHOW = range(3)
TIERS: Final[dict[Action, int]] = {"block": BLOCK, "redact": REDACT, "annotate": SHOW, "flag": SHOW}

Direction = Literal["output", "input"]
AtCap = Literal["block", "release"]

OWN_CATEGORIES: Final = ("pii", "secret")

MOST_PLACES: Final = 1_000  # states of a pattern in which one match may stand; each costs half a microsecond
MOST_STATES: Final = 100_000  # of a policy's patterns together; each takes about 200 bytes
HOLD_CAP: Final = 256  # raw characters held for an undecided match before `at_hold_cap` decides
MAX_TERM: Final = 200  # folded characters; beyond it the hold's cap would decide, not the term
MAX_WIDTH: Final = 65_536  # folded characters of a pattern that is unbounded by itself
DEFAULT_POLICY: Final = Path(__file__).with_name("default_policy.toml")

_SHOWN: Final = 64  # characters of a value in an error

_CUSTOM = re.compile(r"custom/[a-z0-9][a-z0-9_/-]{0,62}")


class PolicyError(ValueError):
    """A policy that cannot be used; the message names file, rule and field."""


@dataclass(frozen=True, slots=True)
class Rule:
    category: str
    action: Action
    applies_to: tuple[Direction, ...]
    terms: tuple[str, ...] = field(default=(), repr=False)
    patterns: tuple[str, ...] = field(default=(), repr=False)
    substring: bool = False
    verify: str | None = None
    max_width: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """`digest` tells two policies of the same version apart: 16 hexadecimal digits over the file's bytes."""

    version: str
    rules: tuple[Rule, ...]
    digest: str
    at_hold_cap: AtCap = "block"


def load_policy(path: Path | None = None) -> Policy:
    """The policy in the file, or the shipped one. Raises PolicyError."""
    path = DEFAULT_POLICY if path is None else path
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_policy(source, str(path))


def parse_policy(source: bytes, name: str) -> Policy:
    """The policy in a file's bytes; `name` stands for the file in errors."""
    try:
        document = tomllib.loads(source.decode())
    except UnicodeDecodeError:
        raise PolicyError(f"{name}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
        raise PolicyError(f"{name}: is no TOML ({where[1] if where else 'unreadable'})") from None
    table = _Table(document, name)
    table.only("version", "at_hold_cap", "rule")
    version = table.text("version")
    if not 0 < len(version) <= 64:
        raise table.wrong("version", f"must have 1 to 64 characters, not {len(version)}")
    rules = document.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise table.wrong("rule", "must be given as [[rule]]")
    return Policy(
        version=version,
        rules=_rules(rules, name),
        digest=hashlib.sha256(source).hexdigest()[:16],
        at_hold_cap=table.one_of("at_hold_cap", get_args(AtCap), "block"),
    )


def _rules(documents: list[dict[str, Any]], name: str) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    states = 0
    for number, document in enumerate(documents, start=1):
        table = _Table(document, f"{name}: rule {number}")
        rules.append(_rule(table))
        states += _check_patterns(table, rules[-1])
        if states > MOST_STATES:
            raise table.wrong(
                "patterns",
                f"make the policy too large (more than {MOST_STATES} states in all): leave some out",
            )
    return tuple(rules)


def _rule(table: _Table) -> Rule:
    table.only("category", "action", "applies_to", "terms", "patterns", "substring", "verify", "max_width")
    rule = Rule(
        category=_category(table),
        action=table.one_of("action", get_args(Action)),
        applies_to=_applies_to(table),
        terms=_terms(table),
        patterns=table.texts("patterns"),
        substring=table.flag("substring"),
        verify=table.one_of("verify", tuple(VERIFIERS), None),
        max_width=table.count("max_width", MAX_WIDTH),
    )
    if not rule.terms and not rule.patterns:
        raise table.wrong("terms", "or patterns must name something to look for")
    if rule.verify and not rule.patterns:
        raise table.wrong("verify", "needs patterns")
    return rule


def _category(table: _Table) -> str:
    category = table.text("category")
    if category in CATEGORIES or category in OWN_CATEGORIES or _CUSTOM.fullmatch(category):
        return category
    raise table.refused("category", "one of OpenAI's 13, pii, secret or custom/<name>", category)


def _applies_to(table: _Table) -> tuple[Direction, ...]:
    given = table.texts("applies_to", ("output", "input"))
    directions: tuple[Direction, ...] = tuple(d for d in get_args(Direction) if d in given)
    if not given or len(directions) != len(given):
        unknown = next((value for value in given if value not in get_args(Direction)), [*given])
        raise table.refused("applies_to", 'a list of "output" and "input", each once', unknown)
    return directions


def _terms(table: _Table) -> tuple[str, ...]:
    terms = table.texts("terms")
    for index, term in enumerate(terms):
        length = len(fold_text(term))
        if not 0 < length <= MAX_TERM:
            raise table.wrong(
                f"terms[{index}]", f"must have 1 to {MAX_TERM} visible characters, not {length}"
            )
    return terms


def _check_patterns(table: _Table, rule: Rule) -> int:
    """Returns how many states the patterns have."""
    states = 0
    for index, pattern in enumerate(rule.patterns):
        sets = CharSets()
        try:
            program = parse(pattern, sets)
        except ValueError as error:
            raise table.wrong(f"patterns[{index}]", str(error)) from None
        states += len(program.states)
        if len(program.states) > MOST_PLACES and most_places(program, sets, MOST_PLACES) >= MOST_PLACES:
            raise table.wrong(
                f"patterns[{index}]",
                f"may stand in {MOST_PLACES} of its states at once, which would be slow to follow: nest fewer "
                "counted repeats, or let each end with a character that the next cannot begin with",
            )
        widest = program.widest
        if widest is None and rule.max_width is None:
            raise table.wrong(f"patterns[{index}]", "matches texts of any length: declare max_width")
        if rule.verify and (rule.max_width or widest or 0) > HOLD_CAP:
            raise table.wrong(f"patterns[{index}]", f"may be at most {HOLD_CAP} wide to be verified")
        if widest is not None and widest > HOLD_CAP and rule.max_width is None:
            raise table.wrong(
                f"patterns[{index}]", f"is wider than {HOLD_CAP} (up to {widest}): declare max_width"
            )
    return states


class _Table:
    """A TOML table whose fields are read by type; `name` begins every complaint."""

    def __init__(self, fields: dict[str, Any], name: str) -> None:
        self._fields = fields
        self._name = name

    def wrong(self, field: str, why: str) -> PolicyError:
        return PolicyError(f"{self._name}: {field} {why}")

    def refused(self, field: str, wanted: str, value: Any) -> PolicyError:
        is_ = "but is missing" if value is None else f"not {_shown(value)}"
        return self.wrong(field, f"must be {wanted}, {is_}")

    def only(self, *known: str) -> None:
        for field_ in self._fields:
            if field_ not in known:
                near = difflib.get_close_matches(field_, known, 1)
                hint = f": did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
                raise self.wrong(field_ if field_.isidentifier() else "a field", f"is not known here{hint}")

    def text(self, field: str) -> str:
        value = self._fields.get(field)
        if not isinstance(value, str):
            raise self.refused(field, "a string", value)
        return value

    def texts(self, field: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        value = self._fields.get(field, default)
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            # A word of the policy may stand here, so only its place is said.
            raise self.wrong(field, f"must be a list of strings, not {_kind(value)}")
        return tuple(value)

    def flag(self, field: str) -> bool:
        value = self._fields.get(field, False)
        if not isinstance(value, bool):
            raise self.refused(field, "true or false", value)
        return value

    def count(self, field: str, most: int) -> int | None:
        value = self._fields.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
            raise self.refused(field, f"a number from 1 to {most}", value)
        return value

    def one_of(self, field: str, allowed: tuple[str, ...], *default: str | None) -> Any:
        value = self._fields.get(field, *default) if default else self._fields.get(field)
        if value not in allowed and (not default or value is not default[0]):
            raise self.refused(field, f"one of {', '.join(allowed)}", value)
        return value


def _kind(value: Any) -> str:
    match value:
        case str():
            return "a string by itself"
        case list():
            place = next(place for place, item in enumerate(value) if not isinstance(item, str))
            return f"one whose [{place}] is something else"
        case _:
            return _shown(value)


def _shown(value: Any) -> str:
    """A value as its file writes it, shortened; of a list or a table only that it is one."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"' if len(value) <= _SHOWN else f'"{value[:_SHOWN]}…"'
        case int() | float():
            return str(value)[:_SHOWN]
        case list():
            return "a list" if value else "an empty list"
        case _:
            return "a table" if isinstance(value, dict) else "a date or time"
