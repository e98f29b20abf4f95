"""What a request becomes: sampling, a response, the engine's request, a record (pure; times and ids are arguments)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec import UNSET

from app.ask import Ask
from app.config import Config
from app.context import Prompt, packed_tools, stored_messages
from app.model_name import Named
from app.store.record import StoredResponse, pack_ids
from engine.interface import ModelInfo
from engine.request import ChatMessage, EngineRequest, Sampling
from protocol.codec import encode
from protocol.requests.create import CreateResponse
from protocol.response import Response, ServedTier, TextConfig

T = TypeVar("T", int, float)


def sampling_of(create: CreateResponse, defaults: Sampling) -> Sampling:
    """The request's sampling over the model's defaults."""
    return Sampling(
        temperature=_or(create.temperature, defaults.temperature),
        top_p=_or(create.top_p, defaults.top_p),
        top_k=_or(create.top_k, defaults.top_k),
        min_p=_or(create.min_p, defaults.min_p),
        seed=create.seed,
        max_tokens=create.max_output_tokens,
        stop=create.stop,
        ignore_eos=create.ignore_eos,
        presence_penalty=_or(create.presence_penalty, defaults.presence_penalty),
        frequency_penalty=_or(create.frequency_penalty, defaults.frequency_penalty),
        repetition_penalty=_or(create.repetition_penalty, defaults.repetition_penalty),
        logit_bias=create.logit_bias,
        min_tokens=create.min_tokens,
        logprobs=create.logprobs,
    )


def tier_of(ask: Ask) -> ServedTier:
    """Which queue the request waits in. Whoever opens a page has its short-lived key: with that none goes first."""
    asked = ask.create.service_tier
    return "default" if asked == "auto" or (asked == "priority" and ask.principal.ephemeral) else asked


def first_response(ask: Ask, prompt: Prompt, model: ModelInfo, response_id: str, now: int) -> Response:
    """The response as its first event shows it. now: unix seconds."""
    create = ask.create
    sampling = sampling_of(create, model.defaults)
    return Response(
        id=response_id,
        created_at=now,
        status="in_progress",
        model=model.id,
        previous_response_id=create.previous_response_id,
        instructions=prompt.instructions,
        tools=create.offer.tools,
        tool_choice=create.offer.choice,
        parallel_tool_calls=create.offer.parallel,
        truncation=create.truncation,
        text=_text(create),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        top_logprobs=create.logprobs or 0,
        max_output_tokens=create.max_output_tokens,
        store=create.store,
        metadata=create.metadata,
        service_tier=tier_of(ask),
        safety_identifier=create.safety_identifier,
        prompt_cache_key=create.prompt_cache_key,
        truncated_messages=prompt.dropped or UNSET,
    )


def engine_request(
    response_id: str, ask: Ask, prompt: Prompt, model: Named, grammar: object | None, config: Config
) -> EngineRequest:
    return EngineRequest(
        id=response_id,
        prompt_ids=prompt.ids,
        source=prompt.source,
        sampling=sampling_of(ask.create, model.info.defaults),
        salt=ask.principal.tenant,
        session=(prompt.root or response_id) if ask.keep else ask.create.prompt_cache_key or "",
        service_tier=tier_of(ask),
        prefill_only=not ask.create.generate,
        first_token_timeout_s=config.first_token_timeout_s,
        total_timeout_s=config.total_timeout_s,
        grammar=grammar,
        adapter=model.adapter,
    )


def record_of(
    response: Response,
    text: str,
    reply: Sequence[int],
    ask: Ask,
    prompt: Prompt,
    new: tuple[ChatMessage, ...],
    tokenizer: str,
) -> StoredResponse:
    """What is kept of a response. text, reply: what was released, and its token ids, as `tokenizer` makes them."""
    ids = None
    if prompt.base is not None and text:
        ids = pack_ids([*prompt.ids[prompt.base :], *reply])
    return StoredResponse(
        id=response.id,
        created_at=response.created_at,
        model=response.model,
        response=encode(response),
        parent_id=ask.create.previous_response_id,
        instructions=prompt.instructions,
        tools=packed_tools(prompt.tools),
        input=stored_messages(new),
        output_text=text,
        context_ids=ids,
        tokenizer="" if ids is None else tokenizer,
    )


def _text(create: CreateResponse) -> TextConfig:
    """The format as the response shows it."""
    asked = create.format
    return TextConfig() if asked is None or asked.shown is None else TextConfig(asked.shown)


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
