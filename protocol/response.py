"""The response object: every field of the standard, null where nothing applies."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from protocol.formats import ReplyFormat, TextFormat
from protocol.items import OutputItem
from protocol.tools import FunctionTool, ToolChoice

Status: TypeAlias = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


ServedTier: TypeAlias = Literal["default", "flex", "priority"]
"""Which queue a response waited in; what asked for `auto` is shown as what it got."""


class InputTokensDetails(Struct, frozen=True):
    """`cache_write_tokens` is for servers that charge for them; the SDK's type requires the field."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(Struct, frozen=True):
    reasoning_tokens: int = 0


class ResponseUsage(Struct, frozen=True):
    """Tokens as the engine counted them."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, input_tokens: int, cached_tokens: int, output_tokens: int) -> ResponseUsage:
        return cls(
            input_tokens,
            InputTokensDetails(cached_tokens),
            output_tokens,
            OutputTokensDetails(),
            input_tokens + output_tokens,
        )


class ResponseError(Struct, frozen=True):
    code: str
    message: str


class IncompleteDetails(Struct, frozen=True, kw_only=True):
    """Why a response ended early. A cut names its category and policy, never the text that matched."""

    reason: Literal["max_output_tokens", "content_filter", "steered"]
    category: str | UnsetType = UNSET
    policy_version: str | UnsetType = UNSET


class TextConfig(Struct, frozen=True):
    format: ReplyFormat = TextFormat()


class Reasoning(Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None


class Response(Struct, frozen=True, kw_only=True):
    """One reply, in any of its states. Times are unix seconds."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    incomplete_details: IncompleteDetails | None = None
    model: str
    previous_response_id: str | None = None
    instructions: str | None = None
    output: tuple[OutputItem, ...] = ()
    error: ResponseError | None = None
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: ToolChoice = "auto"
    truncation: Literal["auto", "disabled"] = "disabled"
    parallel_tool_calls: bool = True
    text: TextConfig = TextConfig()
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    top_logprobs: int = 0
    temperature: float = 1.0
    reasoning: Reasoning | None = None
    usage: ResponseUsage | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    store: bool = True
    background: bool = False
    service_tier: ServedTier = "default"
    metadata: dict[str, str] = {}
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    truncated_messages: int | UnsetType = UNSET  # ours: how many old messages `truncation: "auto"` left out
