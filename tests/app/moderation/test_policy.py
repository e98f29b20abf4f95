"""The policy file: every bad line names the file, the rule and the field, and never the words."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.moderation import PolicyError, compile_policy, load_policy
from app.moderation.policy import parse_policy
from protocol.moderation import CATEGORIES

HEAD = 'version = "1"\n[[rule]]\n'
GOOD = HEAD + 'category = "hate"\naction = "block"\nterms = ["slur"]\n'


def test_a_file_replaces_the_shipped_policy(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(GOOD)
    policy = load_policy(file)
    assert policy.version == "1"
    assert [(rule.category, rule.action, rule.terms) for rule in policy.rules] == [
        ("hate", "block", ("slur",))
    ]
    assert policy.rules[0].applies_to == ("output", "input")
    assert policy.at_hold_cap == "block"


def test_the_example_of_the_documentation_is_a_policy(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "moderation.md").read_text()
    file = tmp_path / "policy.toml"
    file.write_text(page.split("```toml\n")[1].split("```")[0])
    assert compile_policy(load_policy(file)).version


def test_the_shipped_policy_is_there() -> None:
    assert {rule.category for rule in load_policy().rules} == {"secret", "pii"}


def test_the_digest_tells_files_of_one_version_apart() -> None:
    one, other = parse_policy(GOOD.encode(), "a"), parse_policy(GOOD.replace("slur", "slurs").encode(), "a")
    assert one.version == other.version
    assert one.digest != other.digest
    assert one.digest == parse_policy(GOOD.encode(), "b").digest


@pytest.mark.parametrize("category", [*CATEGORIES, "pii", "secret", "custom/my-shop/x_1"])
def test_known_categories(category: str) -> None:
    assert parse_policy(GOOD.replace("hate", category).encode(), "p").rules[0].category == category


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (b"\xff", "p.toml: is not UTF-8"),
        ("version = 1\n=", "p.toml: is no TOML (line 2, column 1)"),
        ("version = {", "p.toml: is no TOML ("),
        ("", "p.toml: version must be a string"),
        ("version = 1", "p.toml: version must be a string"),
        ('version = ""', "p.toml: version must have 1 to 64 characters"),
        ('version = "1"\nmode = "async"', "p.toml: mode is not known here"),
        ('version = "1"\n"my slur" = 1', "p.toml: a field is not known here"),
        ('version = "1"\nat_hold_cap = "maybe"', "p.toml: at_hold_cap must be one of block, release"),
        ('version = "1"\nrule = 3', "p.toml: rule must be given as [[rule]]"),
        ('version = "1"\nrule = [1]', "p.toml: rule must be given as [[rule]]"),
        (GOOD + "color = 1", "p.toml: rule 1: color is not known here"),
        (GOOD.replace("hate", "rude"), "p.toml: rule 1: category must be one of OpenAI's 13"),
        (GOOD.replace("hate", "custom/"), "p.toml: rule 1: category must be one of OpenAI's 13"),
        (GOOD.replace('"hate"', "1"), "p.toml: rule 1: category must be a string"),
        (
            GOOD.replace("block", "delete"),
            "p.toml: rule 1: action must be one of block, redact, annotate, flag",
        ),
        (GOOD.replace('"block"', "[]"), "p.toml: rule 1: action must be one of"),
        (HEAD + 'category = "hate"\nterms = ["slur"]', "p.toml: rule 1: action must be one of"),
        (GOOD + 'applies_to = "output"', "p.toml: rule 1: applies_to must be a list of strings"),
        (GOOD + "applies_to = []", 'p.toml: rule 1: applies_to must be a list of "output" and "input"'),
        (GOOD + 'applies_to = ["all"]', 'p.toml: rule 1: applies_to must be a list of "output" and "input"'),
        (GOOD.replace('["slur"]', "[]"), "p.toml: rule 1: terms or patterns must name something to look for"),
        (GOOD.replace('["slur"]', '"slur"'), "p.toml: rule 1: terms must be a list of strings"),
        (GOOD.replace('["slur"]', "[1]"), "p.toml: rule 1: terms must be a list of strings"),
        (GOOD.replace('["slur"]', '["ok", "\\u200b"]'), "p.toml: rule 1: terms[1] must have 1 to 200"),
        (GOOD.replace("slur", "s" * 201), "p.toml: rule 1: terms[0] must have 1 to 200"),
        (GOOD + "substring = 1", "p.toml: rule 1: substring must be true or false"),
        (GOOD + "max_width = true", "p.toml: rule 1: max_width must be a number from 1 to 65536"),
        (GOOD + "max_width = 0", "p.toml: rule 1: max_width must be a number from 1 to 65536"),
        (GOOD + "max_width = 65537", "p.toml: rule 1: max_width must be a number from 1 to 65536"),
        (GOOD + 'verify = "magic"', "p.toml: rule 1: verify must be one of luhn, iban, mixed"),
        (GOOD + 'verify = "luhn"', "p.toml: rule 1: verify needs patterns"),
        (GOOD + "patterns = ['ok', 'slur(']", "p.toml: rule 1: patterns[1] is no regular expression"),
        (
            GOOD + "patterns = ['slur+']",
            "p.toml: rule 1: patterns[0] matches texts of any length: declare max_width",
        ),
        (
            GOOD + "patterns = ['s{300}']",
            "p.toml: rule 1: patterns[0] is wider than 256 (up to 300): declare",
        ),
        (
            GOOD + "patterns = ['s+']\nverify = 'luhn'\nmax_width = 300",
            "p.toml: rule 1: patterns[0] may be at most 256 wide to be verified",
        ),
        (
            GOOD + GOOD.removeprefix('version = "1"\n').replace("hate", "rude"),
            "p.toml: rule 2: category must be",
        ),
    ],
)
def test_a_bad_line_names_file_rule_and_field(source: str | bytes, complaint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(source if isinstance(source, bytes) else source.encode(), "p.toml")
    assert str(caught.value).startswith(complaint)
    assert "slur" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("version = 1", "p.toml: version must be a string, not 1"),
        ("", "p.toml: version must be a string, but is missing"),
        ("version = 2026-11-22", "p.toml: version must be a string, not a date or time"),
        (f'version = "{"x" * 65}"', "p.toml: version must have 1 to 64 characters, not 65"),
        (
            GOOD.replace("hate", "rude"),
            'p.toml: rule 1: category must be one of OpenAI\'s 13, pii, secret or custom/<name>, not "rude"',
        ),
        (
            GOOD.replace("block", "delete"),
            'p.toml: rule 1: action must be one of block, redact, annotate, flag, not "delete"',
        ),
        (
            HEAD + 'category = "hate"\nterms = ["slur"]',
            "p.toml: rule 1: action must be one of block, redact, annotate, flag, but is missing",
        ),
        (
            GOOD.replace("block", "b" * 100),
            f'p.toml: rule 1: action must be one of block, redact, annotate, flag, not "{"b" * 64}…"',
        ),
        (
            GOOD + 'applies_to = ["input", "all"]',
            'p.toml: rule 1: applies_to must be a list of "output" and "input", each once, not "all"',
        ),
        (
            GOOD + "applies_to = []",
            'p.toml: rule 1: applies_to must be a list of "output" and "input", each once, not an empty list',
        ),
        (
            GOOD + 'applies_to = ["input", "input"]',
            'p.toml: rule 1: applies_to must be a list of "output" and "input", each once, not a list',
        ),
        (GOOD + "substring = {}", "p.toml: rule 1: substring must be true or false, not a table"),
        (GOOD + "max_width = false", "p.toml: rule 1: max_width must be a number from 1 to 65536, not false"),
        (GOOD + 'verify = "mod97"', 'p.toml: rule 1: verify must be one of luhn, iban, mixed, not "mod97"'),
        (
            GOOD.replace("slur", "s" * 201),
            "p.toml: rule 1: terms[0] must have 1 to 200 visible characters, not 201",
        ),
        (
            GOOD.replace('["slur"]', '["slur", 7]'),
            "p.toml: rule 1: terms must be a list of strings, not one whose [1] is something else",
        ),
        (
            GOOD.replace('["slur"]', '"slur"'),
            "p.toml: rule 1: terms must be a list of strings, not a string by itself",
        ),
        (GOOD.replace('["slur"]', "7"), "p.toml: rule 1: terms must be a list of strings, not 7"),
        (
            GOOD + "patterns = ['s{300}']",
            "p.toml: rule 1: patterns[0] is wider than 256 (up to 300): declare max_width",
        ),
        (GOOD + "term = []", "p.toml: rule 1: term is not known here: did you mean terms?"),
        (GOOD + "x = 1", "p.toml: rule 1: x is not known here; known are category, action, applies_to"),
    ],
)
def test_a_bad_value_is_shown_unless_it_may_be_one_of_the_policys_words(source: str, complaint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(source.encode(), "p.toml")
    assert str(caught.value).startswith(complaint)
    assert "slur" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.toml: cannot be read \(No such file or directory\)"):
        load_policy(tmp_path / "none.toml")
    with pytest.raises(PolicyError, match=r"cannot be read"):
        load_policy(tmp_path)


def test_a_wide_pattern_is_taken_once_its_width_is_declared() -> None:
    source = GOOD + "max_width = 400\npatterns = ['s{300}', 'x+']"
    assert parse_policy(source.encode(), "p").rules[0].max_width == 400


def test_a_pattern_that_is_dear_to_follow_is_refused_with_a_way_out() -> None:
    dear = GOOD + "max_width = 2000\npatterns = ['(?:[ab]{1,60}a){1,30}']"
    with pytest.raises(
        PolicyError, match=r"rule 1: patterns\[0\] may stand in 1000 .*: nest fewer counted repeats"
    ):
        parse_policy(dear.encode(), "p.toml")
    decided = dear.replace(
        "(?:[ab]{1,60}a){1,30}", "(?:[ab]{1,60}-){1,30}"
    )  # where each repeat ends is plain
    assert parse_policy(decided.encode(), "p.toml").rules[0].max_width == 2000
    endless = dear.replace("(?:[ab]{1,60}a){1,30}", "x{1001}")
    assert parse_policy(endless.encode(), "p.toml").rules[0].max_width == 2000


def test_patterns_that_are_too_large_together_are_refused_at_the_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.moderation.policy.MOST_STATES", 10)
    source = GOOD + "patterns = ['abcdef']\n" + GOOD.removeprefix('version = "1"\n') + "patterns = ['ghijkl']"
    with pytest.raises(
        PolicyError, match=r"rule 2: patterns make the policy too large \(more than 10 states"
    ):
        parse_policy(source.encode(), "p.toml")
