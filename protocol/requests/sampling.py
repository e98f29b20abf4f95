"""The parameters that every dialect shares: how tokens are chosen, where they stop, and labels."""

from __future__ import annotations

from typing import Final, TypedDict

from msgspec import Struct

from protocol.limits import Limits
from protocol.requests.fields import Fields, Off, invalid

MAX_INT32: Final = 2**31 - 1
_MIN_INT64: Final = -(2**63)
SAMPLED_OFF: Final[Off] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
}


class Sampled(Struct, frozen=True, kw_only=True):
    """None leaves the choice to the model; `max_output_tokens` None means up to the context's end."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    max_output_tokens: int | None = None
    safety_identifier: str | None = None


class SampledFields(TypedDict):
    model: str | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    stop: tuple[str, ...]
    ignore_eos: bool
    safety_identifier: str | None


def read_sampled(fields: Fields, limits: Limits) -> SampledFields:
    """All of `Sampled` but the token limit, whose name differs between the dialects."""
    user = fields.text("user", limits.max_label_chars)
    return {
        "model": fields.label("model", limits.max_label_chars),
        "temperature": fields.number("temperature", 0, 2),
        "top_p": fields.number("top_p", 0, 1),
        "top_k": fields.integer("top_k", 0, MAX_INT32),
        "min_p": fields.number("min_p", 0, 1),
        "seed": fields.integer("seed", _MIN_INT64),
        "stop": _read_stop(fields, limits),
        "ignore_eos": fields.flag("ignore_eos") or False,
        # `user` is the older name of the same thing.
        "safety_identifier": fields.text("safety_identifier", limits.max_label_chars) or user,
    }


def read_max_tokens(fields: Fields, *names: str) -> int | None:
    """The token limit under any of its names; two that differ are refused."""
    found: int | None = None
    for name in names:
        value = fields.integer(name, 1, MAX_INT32)
        if value is None:
            continue
        if found is not None and value != found:
            raise invalid(fields.path(name), f"the same as '{names[0]}'")
        found = value
    return found


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
