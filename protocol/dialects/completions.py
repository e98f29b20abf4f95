"""Completions of a plain prompt: a response's events as chunks, or the whole of it as one answer."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from protocol.codec import encode
from protocol.dialects.outcome import FinishReason, finish_reason, output_logprobs, output_text
from protocol.dialects.stream import CompletionStream
from protocol.events import OutputTextDelta
from protocol.logprobs import TokenLogprob
from protocol.response import IncompleteDetails, Response, ServedTier
from protocol.usage import CompletionUsage


class CompletionLogprobs(Struct, frozen=True):
    """Of each token: its text, log probability, likeliest others (of some with one text the likeliest) and place."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float, ...]
    top_logprobs: tuple[dict[str, float], ...]
    text_offset: tuple[int, ...]


class CompletionChoice(Struct, frozen=True, kw_only=True):
    """`incomplete_details` is ours: what a cut was for, as the response itself says it."""

    text: str
    index: Literal[0] = 0
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None
    incomplete_details: IncompleteDetails | UnsetType = UNSET


class Completion(Struct, frozen=True, kw_only=True):
    """An answer, or a chunk of one. A stream has `usage` when asked for, filled only in its last chunk; `service_tier`
    only where the reply ends."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: tuple[CompletionChoice, ...]
    usage: CompletionUsage | UnsetType | None = UNSET
    service_tier: ServedTier | UnsetType = UNSET


class TextStream(CompletionStream[CompletionChoice]):
    """A response's events as chunks of a completion: text, the reason of its end, usage if asked, [DONE]."""

    chunk = Completion

    def __init__(self, completion_id: str, created: int, model: str, include_usage: bool) -> None:
        super().__init__(completion_id, created, model, include_usage)
        self._places = _Places()

    def _delta(self, text: str) -> CompletionChoice:
        return CompletionChoice(text=text)

    def _scored(self, delta: OutputTextDelta) -> CompletionChoice:
        return CompletionChoice(text=delta.delta, logprobs=_logprobs(delta.logprobs, self._places))

    def _ending(self, response: Response) -> CompletionChoice:
        return _ending(response, "")


def text_completion(response: Response, completion_id: str, *, scored: bool = False) -> bytes:
    """The whole answer of a response that has ended and did not fail; `scored`: log probabilities were asked for."""
    logprobs = _logprobs(output_logprobs(response), _Places()) if scored else None
    return encode(
        Completion(
            id=completion_id,
            created=response.created_at,
            model=response.model,
            choices=(_ending(response, output_text(response), logprobs),),
            usage=UNSET if response.usage is None else CompletionUsage.of(response.usage),
            service_tier=response.service_tier,
        )
    )


def _ending(response: Response, text: str, logprobs: CompletionLogprobs | None = None) -> CompletionChoice:
    return CompletionChoice(
        text=text,
        logprobs=logprobs,
        finish_reason=finish_reason(response),
        incomplete_details=response.incomplete_details or UNSET,
    )


class _Places:
    """Where tokens begin in their joined text; one that goes on with a character begins where that does."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def next(self, token: TokenLogprob) -> int:
        """The place of the token that follows those before."""
        place = self._characters
        self._characters += len(self._decoder.decode(bytes(token.bytes)))
        return place


def _logprobs(scores: Sequence[TokenLogprob], places: _Places) -> CompletionLogprobs:
    return CompletionLogprobs(
        tokens=tuple(score.token for score in scores),
        token_logprobs=tuple(score.logprob for score in scores),
        # The likeliest last, for of one text the last entry counts.
        top_logprobs=tuple(
            {top.token: top.logprob for top in reversed(score.top_logprobs)} for score in scores
        ),
        text_offset=tuple(places.next(score) for score in scores),
    )
