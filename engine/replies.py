"""Which kind of reply a request gets."""

from __future__ import annotations

from typing import Protocol

from engine.detokenize import TextStream
from engine.grammar import Grammar
from engine.interface import ChatTokenizer
from engine.reply import Reply, ShapedReply
from engine.request import EngineRequest
from engine.scored_reply import ScoredReply
from engine.shaping import shaping_of


class StreamingTokenizer(ChatTokenizer, Protocol):
    def stream(self) -> TextStream:
        """A fresh stream for one reply."""
        ...

    def named(self, token: int) -> tuple[str, bytes]:
        """What a token is called, and its text as bytes: none for a special token."""
        ...


class Replies:
    """Begins the replies of one model."""

    def __init__(self, tokenizer: StreamingTokenizer, eos_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._eos_ids = eos_ids

    def begin(self, request: EngineRequest, max_output: int) -> Reply:
        """A fresh reply, with as much to it as its request asks for."""
        stream, sampling, eos_ids = self._tokenizer.stream(), request.sampling, self._eos_ids
        grammar = request.grammar.follow() if isinstance(request.grammar, Grammar) else None
        shaping = shaping_of(sampling, request.prompt_ids, eos_ids, grammar)
        if shaping is None:
            return Reply(stream, sampling, max_output, eos_ids)
        if shaping.scores is None:
            return ShapedReply(stream, sampling, max_output, eos_ids, shaping)
        named = self._tokenizer.named
        return ScoredReply(stream, sampling, max_output, eos_ids, shaping, shaping.scores, named)
