"""Token counts as chat completions and completions name them."""

from __future__ import annotations

from msgspec import Struct

from protocol.response import ResponseUsage


class PromptTokensDetails(Struct, frozen=True):
    cached_tokens: int = 0


class CompletionTokensDetails(Struct, frozen=True):
    reasoning_tokens: int = 0


class CompletionUsage(Struct, frozen=True, kw_only=True):
    """The same counts as `ResponseUsage`, by their older names."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails

    @classmethod
    def of(cls, usage: ResponseUsage) -> CompletionUsage:
        return cls(
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            total_tokens=usage.total_tokens,
            prompt_tokens_details=PromptTokensDetails(usage.input_tokens_details.cached_tokens),
            completion_tokens_details=CompletionTokensDetails(usage.output_tokens_details.reasoning_tokens),
        )
