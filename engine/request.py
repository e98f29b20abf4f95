"""What goes into an engine and what comes out: the only types that cross its border.

Everything here is plain data. Time, seeds and ids are arguments; nothing knows sockets, sessions or Redis.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from engine.adapters.adapter import Adapter


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation.

    An assistant's message with a `call` is a call of that function and its content the arguments' JSON; a tool's
    message is what the call of the same `call_id` gave. Text of a reply may hold calls too, as the model wrote them.
    """

    role: str  # "system" | "user" | "assistant" | "tool"
    content: str
    call: str = ""
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is the JSON schema of its arguments, an object's."""

    name: str
    description: str
    parameters: dict[str, Any]

    @property
    def shape(self) -> dict[str, Any]:
        """As chat templates take it."""
        about = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": about}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. `temperature` 0 is greedy; `top_k` 0, `top_p` 1 and `min_p` 0 are off.

    Presence and frequency penalties count the generated tokens, as OpenAI has them; the repetition penalty divides
    (or, below 0, multiplies) the logits of the prompt's tokens too, as transformers does. `logit_bias` has pairs of a
    token's id and what is added to its logit. No end-of-turn token comes before `min_tokens`; stop strings may.
    With `logprobs` every token's log probability comes along, and those of so many of the likeliest (0: of none).
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None  # None: the engine draws one
    max_tokens: int | None = None  # None: up to the context's end
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    logprobs: int | None = None


ServiceTier: TypeAlias = Literal["auto", "default", "flex", "priority"]


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What a reply must be: JSON of a schema, given as JSON, the whole match of a regular expression, or what a grammar
    of llguidance's describes (`engine.calls.grammar`); `source` tells that from any other."""

    kind: Literal["json_schema", "regex", "lark"]
    source: str
    param: str  # what the client calls it, for the errors about it
    schemas: tuple[Mapping[str, Any], ...] = ()  # all that a grammar contains
    text: OutputFormat | None = None  # what a grammar's rule `text` stands for
    lark: Callable[[], str] | None = (
        None  # makes the grammar, which takes long; raises EngineError `invalid_value`
    )


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One sequence to generate.

    `source` is what `prompt_ids` were made from: the conversation, or the plain prompt. Engines that read tokens
    ignore it; engines that read text (scripted, upstream) use it.
    `salt` separates tenants in every cache: pages are shared only between requests of the same salt.
    `session` names the conversation within its salt, "" none: what was committed of its last turn is kept for a
    while, whatever else needs the memory less.
    Tenants get shares by `weight`. Within the same wait "priority" goes before "default" ("auto" is that) and "flex"
    behind it.
    `prefill_only` computes the context's pages, keeps them for a follow-up and generates nothing.
    `grammar` is what `Engine.compile` of the same engine made of a format.
    `draft` is the id of the draft that this request sends: it ends, its pages serve the request.
    `adapter` is one that the same engine loaded.
    """

    id: str
    prompt_ids: Sequence[int]
    source: tuple[ChatMessage, ...] | str
    sampling: Sampling
    salt: str = ""
    session: str = ""
    weight: float = 1.0
    service_tier: ServiceTier = "default"
    prefill_only: bool = False
    draft: str | None = None
    first_token_timeout_s: float | None = None
    total_timeout_s: float | None = None
    grammar: object | None = None
    adapter: Adapter | None = None

    @property
    def cache_salt(self) -> str:
        """Pages are shared only between requests of the same one."""
        return cache_salt(self.salt, self.adapter)


@dataclass(frozen=True, slots=True)
class Draft:
    """A prompt that is still being typed, as far as it is. Drafts of the same id and salt are versions of one."""

    id: str
    prompt_ids: Sequence[int]
    salt: str = ""
    adapter: Adapter | None = None


def cache_salt(salt: str, adapter: Adapter | None) -> str:
    """A tenant's own for every adapter, by its content: one of the same name that is loaded later may be another.

    `salt` has no line break.
    """
    return salt if adapter is None else f"{salt}\n{adapter.identity}"


class FinishReason(enum.StrEnum):
    STOP = "stop"  # the model ended its turn, or a stop string matched
    LENGTH = "length"  # max_tokens, or the context is full
    CANCELLED = "cancelled"
    FAILED = "failed"  # `error` says why


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counted them. `output` includes a final end-of-turn token that was sampled."""

    input: int = 0
    cached: int = 0
    output: int = 0


class EngineError(Exception):
    """A request the engine refuses or gives up. `code` is one of the wire's error codes (protocol.codes), `param` the
    field of `Sampling` that is at fault."""

    def __init__(
        self, code: str, message: str, *, retry_after_s: float | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.param = param


class Queued(NamedTuple):
    """The request waits for room; `position` 0 is the head. Sent at most once, and only if it does wait."""

    position: int


class Started(NamedTuple):
    """The request has its first pages and is being prefilled."""

    cached_tokens: int


class Candidate(NamedTuple):
    """A token that came, or might have come. A special token has a name but no bytes."""

    token: str
    bytes: bytes
    logprob: float  # as the model has it, before temperature, penalties, bias and format


class Score(NamedTuple):
    """`end` is how many characters the reply has up to the end of this token's text, stop strings counted in."""

    chosen: Candidate
    top: tuple[Candidate, ...]
    end: int


class Scored(str):
    """A delta of a request that asked for log probabilities, with the scores of tokens whose place is known now.

    Their text may come with later deltas, or never: a stop string's does not.
    """

    __slots__ = ("scores",)
    scores: tuple[Score, ...]

    def __new__(cls, text: str, scores: tuple[Score, ...]) -> Scored:
        self = super().__new__(cls, text)
        self.scores = scores
        return self


class Finished(NamedTuple):
    """The last output of every request, sent exactly once, after its pages are free (or, if a step hangs, while
    nobody else can get them).

    `token_ids` are all tokens that were sampled, in order, those without text (an end-of-turn token, a stop
    string) too.
    """

    reason: FinishReason
    usage: Usage
    token_ids: tuple[int, ...] = ()
    error: EngineError | None = None


Output: TypeAlias = Queued | Started | str | Finished
"""A `str` is a delta: new text, never empty. It trails the tokens while a UTF-8 sequence or a stop string is undecided.
It is the one output of every token, so it is bare (`Scored` where scores were asked for), and the ids come once, at the
end."""

Deliver: TypeAlias = Callable[[Output], None]
"""Called on the event loop's thread, never after `Finished`, never concurrently. Must not block and must not raise."""
