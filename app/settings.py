"""How settings are read: flag, environment variable, line of `sluice.toml`, default; the first found counts.

Nothing here knows which settings there are: a frozen dataclass whose fields come from `setting(...)` is the
table.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

PREFIX = "SLUICE_"


class ConfigError(Exception):
    """A setting that stops the start. The message names it and the way out, and never repeats a secret."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must satisfy, and what the help says of it."""

    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    exists: bool = False  # a path that must be there, or folders that must
    folders: bool = False  # texts that are folders, perhaps with NAME= in front
    sources: bool = False  # texts that are ID=PATH, or ID=NAME where no such path is
    secret: bool = False
    check: Callable[[str], str | None] | None = None  # the fault of a text, or of each of several, or None


@dataclass(frozen=True, slots=True)
class Setting:
    name: str  # as in Python and in the file: max_body_bytes
    kind: type  # str, int, float, Path or tuple (of texts)
    optional: bool
    default: object
    rule: Rule

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


class Given(NamedTuple):
    value: object
    where: str  # how its writer would name the place
    base: Path  # what a relative path is relative to


def setting(default: Any, help: str, **rule: Any) -> Any:
    """A dataclass field that is a setting; `rule` are fields of `Rule`."""
    made = Rule(help=help, **rule)
    return dataclasses.field(default=default, repr=not made.secret, metadata={"rule": made})


def settings_of(table: type) -> dict[str, Setting]:
    """The settings of a dataclass by name, in the order they are written."""
    hints = typing.get_type_hints(table)
    found: dict[str, Setting] = {}
    for field in dataclasses.fields(table):
        kind, optional = _kind(hints[field.name])
        found[field.name] = Setting(field.name, kind, optional, field.default, field.metadata["rule"])
    return found


def from_argv(
    settings: Mapping[str, Setting],
    argv: Sequence[str],
    base: Path,
    command: str = "serve",
    own: Sequence[str] = (),
) -> dict[str, Given]:
    """`--name value` and `--name=value`. own: the command's flags besides the settings, which are not to be here."""
    flags = {one.flag: one for one in settings.values()}
    given: dict[str, Given] = {}
    rest = iter(argv)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag not in flags:
            if flag in own:
                raise ConfigError(f"{flag} needs a value; write {flag}=VALUE")
            noun = "flag" if word.startswith("-") else "argument"
            raise ConfigError(_unknown(noun, flag, [*flags, *own], command))
        name = flags[flag].name
        if name in given:
            raise ConfigError(f"{flag} is given twice; give it once")
        if not equals:
            following = next(rest, None)
            if following is None or following in flags:
                raise ConfigError(f"{flag} needs a value; write {flag}=VALUE")
            value = following
        given[name] = Given(value, flag, base)
    return given


def from_env(settings: Mapping[str, Setting], env: Mapping[str, str], base: Path) -> dict[str, Given]:
    """Every `SLUICE_…` variable. An empty one counts as absent, as container files leave them."""
    variables = {one.variable: one for one in settings.values()}
    given: dict[str, Given] = {}
    for variable, value in env.items():
        if not variable.startswith(PREFIX):
            continue
        if variable not in variables:
            raise ConfigError(_unknown("environment variable", variable, variables))
        if value != "":
            given[variables[variable].name] = Given(value, variable, base)
    return given


def from_toml(settings: Mapping[str, Setting], path: Path) -> dict[str, Given]:
    """The lines of a settings file; relative paths in it are relative to its folder."""
    try:
        lines = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    given: dict[str, Given] = {}
    for line, value in lines.items():
        if line not in settings:
            raise ConfigError(_unknown(f"line of {path}:", line, settings))
        given[line] = Given(value, f"{line} in {path}", path.parent)
    return given


def parse(one: Setting, given: Given, home: Path | None) -> object:
    """The value in its own type; ConfigError says what would be right."""
    try:
        value = _typed(one, given, home)
    except ValueError as error:
        shown = "the value" if one.rule.secret else repr(given.value)
        raise ConfigError(f"{given.where}: {shown} {error}; {_way_out(one)}") from None
    paths = [Path(text) for text in value] if isinstance(value, tuple) else [value]
    for path in paths:
        if one.rule.exists and isinstance(path, Path) and not _is_there(path):
            raise ConfigError(f"{given.where}: {path} does not exist; {_way_out(one)}")
    return value


def help_lines(settings: Iterable[Setting]) -> str:
    """The table as text, a setting a paragraph."""
    shown = []
    for one in settings:
        value = "|".join(one.rule.choices) or {int: "N", float: "N", tuple: "A,B", Path: "PATH"}.get(
            one.kind, "TEXT"
        )
        default = "none" if one.default in (None, ()) else one.default
        shown.append(f"  {one.flag} {value}\n      {one.rule.help} (default: {default})")
    return "\n".join(shown)


def _kind(hint: Any) -> tuple[type, bool]:
    if isinstance(hint, types.UnionType):
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        assert len(inner) == 1, hint
        return _kind(inner[0])[0], True
    kind = typing.get_origin(hint) or hint
    assert kind in (str, int, float, Path, tuple), hint
    return kind, False


def _typed(one: Setting, given: Given, home: Path | None) -> object:
    value = given.value
    if one.kind is tuple:
        texts = _texts(value)
        for text in texts:
            if one.rule.check and (fault := one.rule.check(text)):
                raise ValueError(fault)
        if one.rule.sources:
            return tuple(_sourced(text, given.base, home) for text in texts)
        return tuple(_placed(text, given.base, home) for text in texts) if one.rule.folders else texts
    if one.kind in (int, float):
        return _number(one, value)
    if not isinstance(value, str) or not value:
        raise ValueError("is not a text")
    if one.rule.choices and value not in one.rule.choices:
        raise ValueError(f"is not one of {', '.join(one.rule.choices)}")
    if one.rule.check and (fault := one.rule.check(value)):
        raise ValueError(fault)
    return _path(value, given.base, home) if one.kind is Path else value


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list) or not all(isinstance(part, str) and part for part in value):
        raise ValueError("is not a list of texts")
    return tuple(value)


def _placed(text: str, base: Path, home: Path | None) -> str:
    name, equals, folder = text.partition("=")
    if not equals or "/" in name.rpartition(":")[2] or name.startswith("/"):  # the sign is the folder's own
        return str(_path(text, base, home))
    return f"{name}={_path(folder, base, home)}"


def _sourced(text: str, base: Path, home: Path | None) -> str:
    name, _, source = text.partition("=")
    path = _path(source, base, home)
    return f"{name}={path}" if source and _is_there(path) else text


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a folder that is closed to us
        return False


def _number(one: Setting, value: object) -> int | float:
    low, high = one.rule.low, one.rule.high
    noun = "a whole number" if one.kind is int else "a number"
    if low is not None and high is not None:
        noun += f" from {low:.10g} to {high:.10g}"
    elif low is not None:
        noun += f", {low:.10g} or more"
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        number = int(value) if one.kind is int and not isinstance(value, float) else float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"is not {noun}") from None
    wrong_kind = one.kind is int and not isinstance(number, int)
    if (
        wrong_kind
        or not math.isfinite(number)
        or (low is not None and number < low)
        or (high is not None and number > high)
    ):
        raise ValueError(f"is not {noun}")
    return number


def _path(text: str, base: Path, home: Path | None) -> Path:
    if text == "~" or text.startswith("~/"):
        if home is None:
            raise ValueError("begins with ~, but HOME is not set")
        return home / text[2:]
    return base / text


def _way_out(one: Setting) -> str:
    if one.default in (None, ()):
        return "change it, or leave it out"
    return f"change it, or leave it out for the default ({one.default})"


def _unknown(noun: str, name: str, known: Iterable[str], command: str = "serve") -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}? " if near else ""
    lists = "lists every setting" if command == "serve" else "says what it takes"
    return f"unknown {noun} {name}; {hint}`sluice {command} --help` {lists}"
