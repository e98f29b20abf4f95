"""The parameters that every dialect shares: how tokens are chosen, where they stop, and labels."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias, TypedDict

from msgspec import Struct

from protocol.limits import MAX_INT32, Limits
from protocol.requests.fields import Fields, invalid, nested
from protocol.requests.format import AskedFormat, read_regex

_MIN_INT64: Final = -(2**63)
MAX_TOP: Final = 20  # of the likeliest tokens, as OpenAI has it
MAX_BIAS: Final = 100.0  # like the next, as OpenAI has it
MAX_PENALTY: Final = 2.0
# Of the repetition penalty, a factor: further from 1 no model's text makes sense.
LEAST_FACTOR: Final = 0.01
MOST_FACTOR: Final = 100.0
TOKEN_ID: Final = "(0|[1-9][0-9]{0,9})"
_TOKEN_ID: Final = re.compile(TOKEN_ID)


AskedTier: TypeAlias = Literal["auto", "default", "flex", "priority"]


class Sampled(Struct, frozen=True, kw_only=True):
    """None leaves the choice to the model; `max_output_tokens` None means up to the context's end.

    `logprobs` is how many of the likeliest tokens to tell beside each one that came, None to tell no log probabilities.
    """

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    format: AskedFormat | None = None
    logprobs: int | None = None
    max_output_tokens: int | None = None
    safety_identifier: str | None = None
    service_tier: AskedTier = "auto"


class SampledFields(TypedDict):
    model: str | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    stop: tuple[str, ...]
    ignore_eos: bool
    presence_penalty: float | None
    frequency_penalty: float | None
    repetition_penalty: float | None
    logit_bias: tuple[tuple[int, float], ...]
    min_tokens: int
    format: AskedFormat | None
    logprobs: int | None
    max_output_tokens: int | None
    safety_identifier: str | None
    service_tier: AskedTier


def read_sampled(
    fields: Fields,
    limits: Limits,
    *max_tokens: str,
    format: AskedFormat | None = None,
    logprobs: int | None = None,
) -> SampledFields:
    """All of `Sampled`; `max_tokens` are the dialect's names of the token limit, `format` and `logprobs` what its
    own fields say."""
    most = _read_max_tokens(fields, limits, *max_tokens)
    ignore_eos = fields.flag("ignore_eos") or False
    asked = _one_format(format, read_regex(fields, limits))
    if asked is not None and ignore_eos:
        raise invalid(fields.path("ignore_eos"), f"false, for '{asked.param}' says where the reply ends")
    user = fields.text("user", limits.max_label_chars)
    return {
        "model": fields.text("model", limits.max_label_chars),
        "temperature": fields.number("temperature", 0, 2),
        "top_p": fields.number("top_p", 0, 1),
        "top_k": fields.integer("top_k", 0, MAX_INT32),
        "min_p": fields.number("min_p", 0, 1),
        "seed": fields.integer("seed", _MIN_INT64),
        "stop": _read_stop(fields, limits),
        "ignore_eos": ignore_eos,
        "presence_penalty": fields.number("presence_penalty", -MAX_PENALTY, MAX_PENALTY),
        "frequency_penalty": fields.number("frequency_penalty", -MAX_PENALTY, MAX_PENALTY),
        "repetition_penalty": fields.number("repetition_penalty", LEAST_FACTOR, MOST_FACTOR),
        "logit_bias": _read_logit_bias(fields, limits),
        "min_tokens": fields.integer("min_tokens", 0, most or limits.max_output_tokens) or 0,
        "format": asked,
        "logprobs": logprobs,
        "max_output_tokens": most,
        # `user` is the older name of the same thing.
        "safety_identifier": fields.text("safety_identifier", limits.max_label_chars) or user,
        "service_tier": fields.choice("service_tier", "auto", "default", "flex", "priority") or "auto",
    }


def read_top_logprobs(fields: Fields, switch: str, on: bool) -> int | None:
    """`top_logprobs`, which says nothing unless `switch` is there. None where no log probabilities are asked for."""
    top = fields.integer("top_logprobs", 0, MAX_TOP)
    if top and not on:
        raise invalid(fields.path("top_logprobs"), f"0 without {switch}")
    return (top or 0) if on else None


def _one_format(format: AskedFormat | None, regex: AskedFormat | None) -> AskedFormat | None:
    if format is not None and regex is not None:
        raise invalid(regex.param, f"nothing beside '{format.param}'")
    return format or regex


def _read_max_tokens(fields: Fields, limits: Limits, *names: str) -> int | None:
    """The token limit under any of its names; two that differ are refused."""
    found: int | None = None
    for name in names:
        value = fields.integer(name, 1, limits.max_output_tokens)
        if value is None:
            continue
        if found is not None and value != found:
            raise invalid(fields.path(name), f"the same as '{names[0]}'")
        found = value
    return found


def _read_logit_bias(fields: Fields, limits: Limits) -> tuple[tuple[int, float], ...]:
    """Pairs of a token's id and its bias, by the ids: the order in which they came means nothing."""
    value = fields.take("logit_bias")
    path = fields.path("logit_bias")
    if value is None:
        return ()
    if not isinstance(value, dict) or len(value) > limits.max_logit_bias:
        raise invalid(path, f"an object of at most {limits.max_logit_bias} token ids, each with its bias")
    if not all(_TOKEN_ID.fullmatch(token) for token in value):
        raise invalid(path, "token ids, as decimal numbers, for its keys")
    biases = nested(value, path)
    pairs = ((int(token), biases.number(token, -MAX_BIAS, MAX_BIAS)) for token in value)
    return tuple(sorted((token, bias) for token, bias in pairs if bias is not None))


def _read_stop(fields: Fields, limits: Limits) -> tuple[str, ...]:
    value = fields.take("stop")
    path = fields.path("stop")
    if value is None:
        return ()
    if isinstance(value, str):
        return (_stop_string(value, path, limits),)
    if not isinstance(value, list) or len(value) > limits.max_stop:
        raise invalid(path, f"a string or an array of at most {limits.max_stop} strings")
    return tuple(_stop_string(text, f"{path}[{index}]", limits) for index, text in enumerate(value))


def _stop_string(value: object, path: str, limits: Limits) -> str:
    if isinstance(value, str) and 1 <= len(value) <= limits.max_stop_chars:
        return value
    raise invalid(path, f"a string of 1 to {limits.max_stop_chars} characters")


def read_metadata(fields: Fields, limits: Limits) -> dict[str, str]:
    value = fields.take("metadata")
    path = fields.path("metadata")
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > limits.max_metadata_pairs:
        raise invalid(path, f"an object of at most {limits.max_metadata_pairs} strings")
    for key, text in value.items():
        if len(key) > limits.max_metadata_key_chars:
            raise invalid(path, f"keys of at most {limits.max_metadata_key_chars} characters")
        if not isinstance(text, str) or len(text) > limits.max_metadata_value_chars:
            raise invalid(
                f"{path}.{key}", f"a string of at most {limits.max_metadata_value_chars} characters"
            )
    return value
