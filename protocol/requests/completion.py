"""`POST /v1/completions`: a plain prompt, no chat template."""

from __future__ import annotations

from typing import Any, Final

from protocol.limits import Limits
from protocol.requests.chat import read_include_usage
from protocol.requests.fields import Fields, Off, invalid, unsupported
from protocol.requests.sampling import Sampled, read_sampled

MAX_COMPLETION_TOP: Final = 5  # as OpenAI has it
COMPLETION_OFF: Final[Off] = {
    "best_of": (1,),
    "echo": (False,),
    "n": (1,),
    "suffix": ("",),
}


class CompletionRequest(Sampled, frozen=True, kw_only=True):
    """One completion, asked for. Without `max_tokens` the reply may go on to the context's end."""

    prompt: str
    stream: bool = False
    include_usage: bool = False


def parse_completion(body: dict[str, Any], limits: Limits) -> CompletionRequest:
    """Check the body of POST /v1/completions. Raises ProtocolError, `param` naming the field."""
    fields = Fields(body)
    completion = CompletionRequest(
        prompt=_read_prompt(fields),
        stream=fields.flag("stream") or False,
        include_usage=read_include_usage(fields),
        **read_sampled(
            fields, limits, "max_tokens", logprobs=fields.integer("logprobs", 0, MAX_COMPLETION_TOP)
        ),
    )
    fields.off(COMPLETION_OFF)
    fields.finish()
    return completion


def _read_prompt(fields: Fields) -> str:
    value = fields.required("prompt")
    path = fields.path("prompt")
    if isinstance(value, list):
        if any(not isinstance(prompt, str) for prompt in value):
            raise unsupported(path, "as token ids is not supported")
        if len(value) > 1:
            raise unsupported(path, "with more than one prompt is not supported")
        value = value[0] if value else ""
    if not isinstance(value, str) or not value:
        raise invalid(path, "a string that is not empty")
    return value
