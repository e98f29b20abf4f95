"""Formats compiled for one vocabulary: which tokens may come next, by llguidance's masks.

The library is loaded with the first format that is asked for. What it says of a fault may quote the reply, so only its
words about the format itself are passed on.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from engine.json_rule import json_rule
from engine.keeping import Keeping
from engine.panics import LibraryPanic, panics_raised
from engine.request import EngineError, OutputFormat
from engine.schema_bounds import excess

KEPT: Final = 32
"""Compiled formats kept for the next request: 100 kB of schema take 78 ms to compile, a copy 20 us."""
KEPT_BYTES: Final = 256 << 10
"""Of the sources of those: 32 of 7 kB, of bounded integers, took 92 MiB, and 32 with all of MAX_MULTIPLES 76 MiB."""
MAX_LEXER_STATES: Final = 16_384
"""Of one reply's automaton; a state takes 1 to 2 kB, so a hostile format cannot fill the memory."""
_MAX_SHOWN_CHARS: Final = 300


_OPTIONS: Final = (
    '%llguidance {"no_forcing": true}'  # the model chooses how a text that is certain is cut into tokens
)
_PLACE: Final = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")
_REST: Final = re.compile(r"\n *\d+ \| |\n<state>| Enable 'coerce_one_of'")


class Grammar:
    """A compiled format. `follow` begins a reply of it."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher = matcher
        self._size = size

    def follow(self) -> GrammarState:
        return GrammarState(self._matcher.deep_copy(), self._size)


class GrammarState:
    """How far one reply has come in its format."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher = matcher
        self._size = size

    @property
    def complete(self) -> bool:
        """Whether nothing but the end may follow."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def follow(self, token: int) -> None:
        """`token` was generated."""
        self._matcher.consume_token(token)

    def allowed(self) -> Tensor:
        """Which tokens may come next, bool [V]. Raises EngineError where the format is too much for the limits."""
        with panics_raised():
            mask = self._matcher.compute_bitmask()
        bits = np.unpackbits(np.frombuffer(mask, np.uint8), count=self._size, bitorder="little")
        allowed = torch.from_numpy(bits.view(np.bool_))
        if self._matcher.is_error() or not bits.any():
            raise EngineError(  # the request's fault: asked again it would end like this again
                "invalid_value",
                "The reply cannot be continued in its format: the format is too complex, or this model's vocabulary "
                "lacks what comes next. Simplify the format.",
            )
        return allowed


class GrammarCompiler:
    """Thread-safe. `tokens` gives every token's bytes, none for those that are no text; it is called once."""

    def __init__(self, tokens: Callable[[], Sequence[bytes]], eos_ids: Set[int]) -> None:
        self._tokens = tokens
        self._eos_ids = sorted(eos_ids)
        self._vocabulary: Any = None
        self._size = 0
        self._kept: Keeping[tuple[str, ...], Grammar] = Keeping(KEPT, KEPT_BYTES)
        self._keeping = threading.Lock()  # held for a moment: the event loop waits for it
        self._preparing = threading.Lock()  # held for a second, once

    def kept(self, format: OutputFormat, salt: str) -> Grammar | None:
        """What was compiled of this format for this salt, if it is still there."""
        with self._keeping:
            return self._kept.get(salt, _key(format))

    def compile(self, format: OutputFormat, salt: str) -> Grammar:
        """May take a second. Raises EngineError `invalid_value` for a format that is none, or is not supported."""
        if known := self.kept(format, salt):
            return known
        with self._preparing:
            if self._vocabulary is None:
                self._prepare()
        grammar = self._compile(format)
        with self._keeping:
            self._kept.put(salt, _key(format), grammar, sum(len(part.encode()) for part in _key(format)))
        return grammar

    def _prepare(self) -> None:
        from llguidance import LLTokenizer

        tokens = self._tokens()
        self._size = len(tokens)
        vocabulary: Any = _Vocabulary(tokens, self._eos_ids[0])
        self._vocabulary = LLTokenizer(vocabulary, n_vocab=len(tokens), eos_token=self._eos_ids)

    def _compile(self, format: OutputFormat) -> Grammar:
        from llguidance import LLMatcher, LLParserLimits

        if fault := excess(_schemas(format)):
            raise _refused(format, fault)
        limits = LLParserLimits(max_lexer_states=MAX_LEXER_STATES, verbose_errors=False)
        source = LLMatcher.grammar_from_lark(f"{_OPTIONS}\n{_lark(format)}")
        try:
            with panics_raised():
                matcher = LLMatcher(self._vocabulary, source, log_level=0, limits=limits)
        except LibraryPanic as panic:
            raise _refused(format, "it cannot be compiled") from panic
        if matcher.is_error():
            raise _refused(format, _reason(matcher.get_error()))
        grammar = Grammar(matcher, self._size)
        try:
            grammar.follow().allowed()
        except EngineError as error:
            fault = "no reply can be of it, or it is too complex to begin. Ask for less"
            raise _refused(format, fault) from error
        return grammar


def compiler_for(
    token_bytes: Callable[[int], bytes] | None, size: int, eos_ids: Set[int]
) -> GrammarCompiler | None:
    """For a model with so many logits; None where no mask can be made."""
    if token_bytes is None or not eos_ids:
        return None
    return GrammarCompiler(lambda: [token_bytes(token) for token in range(size)], eos_ids)


class _Vocabulary:
    """What llguidance wants to know of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None
    special_token_ids: tuple[int, ...] = ()

    def __init__(self, tokens: Sequence[bytes], eos_token_id: int) -> None:
        self.tokens = tokens
        self.eos_token_id = eos_token_id


def _regex(pattern: str) -> str:
    from llguidance import regex_to_lark

    return f"/{regex_to_lark(pattern, use_ascii='d')}/"


def _key(format: OutputFormat) -> tuple[str, ...]:
    """What makes a format what it is; its `param` does not."""
    return (format.kind, format.source, *(_key(format.text) if format.text else ()))


def _schemas(format: OutputFormat) -> Sequence[Mapping[str, Any]]:
    own = (json.loads(format.source),) if format.kind == "json_schema" else format.schemas
    return (*own, *(_schemas(format.text) if format.text else ()))


def _refused(format: OutputFormat, fault: str) -> EngineError:
    return EngineError("invalid_value", f"Invalid value for '{format.param}': {fault}.", param=format.param)


def _lark(format: OutputFormat) -> str:
    match format.kind:
        case "regex":
            return f"start: {_regex(format.source)}"
        case "json_schema":
            return f"start: {json_rule(json.loads(format.source))}"
        case "lark":
            assert format.lark is not None
            text = f"\n{_lark(format.text).replace('start:', 'text:', 1)}" if format.text is not None else ""
            return format.lark() + text


def _reason(error: str) -> str:
    """What it says of the format, on one line, without the source and the insides that follow."""
    lines = [line.strip() for line in _REST.split(error, maxsplit=1)[0].splitlines()]
    return _PLACE.sub("", " ".join(line for line in lines if line))[:_MAX_SHOWN_CHARS].rstrip(".")
