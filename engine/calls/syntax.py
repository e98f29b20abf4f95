"""How a family of models writes its calls: for the parser, for the history and for the mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.calls.arguments import ArgumentsReader
from engine.calls.pattern import Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSyntax(ABC):
    """The calls of a reply stand together between `opener` and `closer`, with `between` from one to the next."""

    opener: str = ""
    between: str = "\n"
    closer: str = ""
    spoken: tuple[str, ...] = ()
    """What some tokenizers count among the control tokens, though a reply consists of it."""
    as_calls: bool = False
    """Templates get the replies that call as calls, for they treat them in another way than text."""
    id_form: str = ""
    """A regular expression for the ids that the model gives its calls."""

    @property
    @abstractmethod
    def trigger(self) -> str:
        """What text that a model writes has only where a call begins."""

    @property
    def bare(self) -> str:
        """The member of a call's object that has the arguments, where a reply that calls is nothing but the object."""
        return ""

    @property
    def behind_text(self) -> str:
        """What is between a reply's text and its calls."""
        return "" if self.as_calls else "\n"

    @abstractmethod
    def called(self, name: str, arguments: str, call_id: str = "") -> str:
        """One of a reply's calls as the model would have written it; the arguments are JSON."""

    def reply(self, calls: Sequence[str]) -> str:
        return self.opener + self.between.join(calls) + self.closer

    def written(self, name: str, arguments: str, call_id: str = "") -> str:
        """A reply of one call."""
        return self.reply([self.called(name, arguments, call_id)])

    @abstractmethod
    def heads(self) -> tuple[Pattern, ...]:
        """What stands before the arguments of a call, white space in front of it included."""

    def next_heads(self) -> tuple[Pattern, ...]:
        """The same for a call between `opener` and `closer` that is not the first."""
        return ()

    @abstractmethod
    def tails(self) -> tuple[Pattern, ...]:
        """What may stand behind the arguments, the longer first; none where nothing does."""

    @abstractmethod
    def reader(self, schema: Mapping[str, Any]) -> Callable[[], ArgumentsReader]:
        """What makes a reader for the arguments of one call, for all calls of the function whose schema it is."""

    @abstractmethod
    def rules(self, index: int, name: str, schema: Mapping[str, Any], said: str) -> list[str]:
        """The rule `call_{index}` of a grammar and what it is made of, without what was `said` of the call before.
        Raises SchemaError."""

    def evidence(self, name: str, arguments: str, call_id: str) -> str:
        """What a template that writes calls so shows of a reply with one."""
        return self.opener + self.called(name, arguments, call_id)


class SchemaError(ValueError):
    """No mask of this syntax can hold a call to the schema; the text says why."""
