"""The one interface behind which every engine stands; `tests/engine/contract.py` is its suite."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.adapters.store import AdapterStore
from engine.calls.syntax import CallSyntax
from engine.request import ChatMessage, Deliver, Draft, EngineRequest, OutputFormat, Sampling, Tool


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What clients may know of the served model."""

    id: str
    created_at: int  # unix seconds
    context_tokens: int  # prompt and output together
    defaults: Sampling = field(default_factory=Sampling)  # from the model's generation config


@dataclass(frozen=True, slots=True)
class Spread:
    """How often a value was at most each of the `bounds`, which rise, and above the one before; last, above all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float  # of the values


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot for metrics. Counters never fall."""

    running: int = 0
    waiting: int = 0
    pages_total: int = 0
    pages_used: int = 0  # held by running sequences
    pages_cached: int = 0  # free to take, but still useful
    pages_pinned: int = 0  # those of them that are kept for a session or a warm-up
    evictions: int = 0  # pages whose content was given up for another
    host_pages_total: int = 0  # room in the host's memory for what has to leave the device
    host_pages_used: int = 0
    host_pages_out: int = 0  # pages that left for there, and those that came back
    host_pages_back: int = 0
    page_bytes: int = 0  # of one that moves; 0 where none does
    preemptions: int = 0  # sequences that gave up their pages, to be computed again
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    guessed_rows: int = (
        0  # how often tokens of a reply were guessed, how many, and how many of them were right
    )
    guessed_tokens: int = 0
    accepted_tokens: int = 0
    finished: dict[str, int] = field(default_factory=dict)  # by FinishReason value
    spreads: dict[str, Spread] = field(default_factory=dict)  # as `Times.spreads` names them

    @property
    def hit_rate(self) -> float:
        """The share of all prompt tokens that were in the cache."""
        return self.cached_prompt_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


class ChatTokenizer(Protocol):
    """Text to token ids and back. Thread-safe; long inputs are encoded off the event loop by the caller."""

    def encode(self, text: str) -> list[int]:
        """Ids of a plain prompt (`/v1/completions`), with a beginning-of-text token where the model wants one."""
        ...

    @property
    def fingerprint(self) -> str:
        """The same, in any process, for tokenizers whose ids and chat template are the same; else another."""
        ...

    @property
    def call_syntax(self) -> CallSyntax:
        """How the model is asked to write its calls, and does."""
        ...

    def encode_chat(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> list[int]:
        """Ids of the rendered conversation with the tools on offer, ending where the assistant's reply begins."""
        ...

    def extend_chat(
        self,
        context_ids: Sequence[int],
        history: Sequence[ChatMessage],
        new: Sequence[ChatMessage],
        tools: Sequence[Tool] = (),
    ) -> list[int]:
        """Ids of `history + new` that begin with `context_ids` wherever the template allows it (prefix-stable).

        `context_ids` are the parent's prompt and reply ids, ending at the last token of the reply's text (no
        end-of-turn token); `history` is the same conversation as messages, its last one the assistant's reply. The
        parent had the same tools.
        Falls back to `encode_chat(history + new)` if the template does not render the reply verbatim.
        """
        ...

    def reply_ids(self, text: str, generated: Sequence[int]) -> list[int]:
        """Ids whose decoding is exactly `text`, the released reply: as `generated` as far as that fits, else anew."""
        ...


class Engine(Protocol):
    """Generates sequences. All methods but `compile` are called on the event loop's thread."""

    @property
    def model(self) -> ModelInfo: ...

    @property
    def tokenizer(self) -> ChatTokenizer: ...

    @property
    def adapters(self) -> AdapterStore:
        """Those that requests may name, and where others are loaded."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a request submitted now would be served. False while the model hangs: it is queued then."""
        ...

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to serve; outputs are delivered on `loop`, one hop a step."""
        ...

    def kept(self, format: OutputFormat, salt: str = "") -> object | None:
        """What `compile` made of the same format for the same salt, if it is still there. Quick."""
        ...

    def compile(self, format: OutputFormat, salt: str = "") -> object:
        """The grammar of a format, for `EngineRequest.grammar`. Thread-safe, for it may take a second.

        Raises EngineError, `param` that of the format, if it is no such format or is not supported.
        """
        ...

    def submit(self, request: EngineRequest, deliver: Deliver) -> None:
        """Queue a request. `deliver` gets its outputs, `Finished` last, never before this call has returned.

        Raises EngineError: `context_length_exceeded`, `server_is_overloaded` past the admission bound, `draining`.
        """
        ...

    def cancel(self, request_id: str) -> None:
        """Ask for an end within two steps, in queue, prefill or decode; `Finished(CANCELLED)` acknowledges it.
        Cancels and time limits are seen to, within seconds, while a step hangs too.

        An unknown or finished id is ignored.
        """
        ...

    def commit(self, request_id: str, released: Sequence[int]) -> None:
        """Say which ids of an ended reply were released (`ChatTokenizer.reply_ids` of the released text).

        A later prompt of the same salt that begins with the request's prompt and these ids need not compute them
        again. Of a reply that is not committed nothing is found. Call it after `Finished`; an unknown id, or one
        that ended long ago, is ignored.
        """
        ...

    def prefill(self, draft: Draft) -> None:
        """Compute the pages of a prompt that is still being typed, in the time that nobody else needs.

        Its newer version takes its place and keeps the pages of what both begin with. It ends with the request that
        names it, with `forget`, or when its pages have been kept for their time; it makes room for any request, and
        delivers nothing. A hint: an engine that has too many of them drops some. Raises EngineError as `submit` does.
        """
        ...

    def forget(self, draft_id: str, salt: str = "") -> None:
        """Nobody types this draft any more. An unknown id is ignored."""
        ...

    def stats(self) -> EngineStats: ...

    async def drain(self, timeout_s: float) -> None:
        """Refuse new requests, let the running ones finish, cancel what is left at the timeout."""
        ...

    async def close(self) -> None:
        """Cancel everything, deliver what is owed, end the engine's thread. Idempotent.

        Takes seconds at most: a thread that hangs is left behind.
        """
        ...
