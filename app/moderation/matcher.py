"""A policy made ready to run: one matcher for each direction of text, shared by all its gates."""

from __future__ import annotations

from app.moderation.automaton import Automaton, Term
from app.moderation.charsets import CharSets
from app.moderation.crowds import Crowds
from app.moderation.fold import FoldTable, fold_text
from app.moderation.machine import CharClass, Classes, Kinds, Machine, Point, Span
from app.moderation.policy import TIERS, Direction, Policy, Rule
from app.moderation.prefilter import Trigger
from app.moderation.program import Look, Program, either
from app.moderation.syntax import parse
from app.moderation.verify import LASTING, VERIFIERS


class Matcher:
    """Finds the rules of one direction. What it memorises about characters is bounded and never a text."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self.tiers = tuple(TIERS[rule.action] for rule in rules)
        self.fold = FoldTable()
        sets = CharSets()
        programs = [
            (program, _span(rule, number))
            for number, rule in enumerate(rules)
            for program in _programs(rule, sets)
        ]
        self.classes = Classes(sets, _lookbehinds([program for program, _span in programs]))
        self.kinds = Kinds(self.fold, self.classes)
        self.machines = [Machine(program, self.classes, span) for program, span in programs]
        terms = _terms(rules, self.tiers)
        self.automaton = Automaton(terms, tiers=len(set(TIERS.values())))
        self._inside = {term.tier for term in terms if not term.whole}  # tiers that may begin inside a word
        self._edge = {term.tier for term in terms}
        self._begins: dict[tuple[CharClass, CharClass], tuple[tuple[Machine, Point], ...]] = {}
        self.crowds = Crowds(self.begins)
        self._may_begin: dict[tuple[int, CharClass], bool] = {}
        self.trigger = Trigger(self) if rules else None

    def begins(self, behind: CharClass, ahead: CharClass) -> tuple[tuple[Machine, Point], ...]:
        """The pattern runs that begin with a character of class `ahead` after one of class `behind`."""
        behind = self.classes.seen[behind]
        known = self._begins.get((behind, ahead))
        if known is None:
            runs = ((machine, machine.begin(behind, ahead)) for machine in self.machines)
            known = tuple((machine, point) for machine, point in runs if point is not None)
            self._begins[behind, ahead] = known
        return known

    def may_begin(self, tier: int, behind: CharClass) -> bool:
        """Whether some next character may begin a match of that tier."""
        known = self._may_begin.get((tier, behind))
        if known is None:
            terms = self._inside if behind.word else self._edge
            machines = (machine for machine in self.machines if machine.tier == tier)
            known = tier in terms or any(machine.may_begin(behind) for machine in machines)
            self._may_begin[tier, behind] = known
        return known

    def __repr__(self) -> str:
        return f"<Matcher {len(self.rules)} rules>"


class CompiledPolicy:
    """A policy with its matchers; immutable to its users, to be made once and shared."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.version = policy.version
        self.digest = policy.digest
        matchers: dict[tuple[Rule, ...], Matcher] = {}
        for rules in (policy.rules, self._rules("output"), self._rules("input")):
            if rules not in matchers:
                matchers[rules] = Matcher(rules)
        self.every = matchers[policy.rules]  # for questions about a text that is neither
        self.output = matchers[self._rules("output")]
        self.input = matchers[self._rules("input")]

    def matcher(self, direction: Direction) -> Matcher:
        return self.output if direction == "output" else self.input

    def __repr__(self) -> str:
        return f"<CompiledPolicy {self.version} {self.digest} {len(self.policy.rules)} rules>"

    def _rules(self, direction: Direction) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.policy.rules if direction in rule.applies_to)


def compile_policy(policy: Policy) -> CompiledPolicy:
    return CompiledPolicy(policy)


def _terms(rules: tuple[Rule, ...], tiers: tuple[int, ...]) -> list[Term]:
    # A few look-alikes fold by case (Greek capital upsilon to y, small to u), so each term comes in its cases.
    found: dict[Term, None] = {}
    for number, rule in enumerate(rules):
        for term in rule.terms:
            for cased in (term, term.lower(), term.upper(), term.title()):
                text = fold_text(cased)
                found[Term(text, number, tiers[number], whole=not rule.substring)] = None
    return list(found)


def _programs(rule: Rule, sets: CharSets) -> list[Program]:
    """A rule's patterns followed as one, save those whose runs can wait in a line only while by themselves."""
    programs = [parse(pattern, sets) for pattern in rule.patterns]
    counting = [program for program in programs if program.counters]
    others = [program for program in programs if not program.counters]
    return [*counting, either(others)] if others else counting


def _lookbehinds(programs: list[Program]) -> set[int]:
    """The numbers of the character sets at which they look behind."""
    states = (state for program in programs for state in program.states)
    return {s.chars for s in states if isinstance(s, Look) and s.behind and s.chars is not None}


def _span(rule: Rule, number: int) -> Span:
    verify = None if rule.verify is None else VERIFIERS[rule.verify]
    merges = rule.verify is None or rule.verify in LASTING
    return Span(number, TIERS[rule.action], verify, merges, rule.max_width)
