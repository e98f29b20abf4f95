"""How a response ended, in the words of the older dialects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from protocol.codes import ERRORS, ProtocolError
from protocol.items import OutputMessage
from protocol.logprobs import TokenLogprob
from protocol.response import Response
from protocol.tools import FunctionCall

FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "tool_calls"]


def output_text(response: Response) -> str:
    """The released text of all output."""
    return "".join(part.text for message in _messages(response) for part in message.content)


def _messages(response: Response) -> Iterator[OutputMessage]:
    return (item for item in response.output if isinstance(item, OutputMessage))


def calls(response: Response) -> tuple[FunctionCall, ...]:
    return tuple(item for item in response.output if isinstance(item, FunctionCall))


def output_logprobs(response: Response) -> tuple[TokenLogprob, ...]:
    """The scores of all its tokens."""
    return tuple(
        score for message in _messages(response) for part in message.content for score in part.logprobs
    )


def finish_reason(response: Response) -> FinishReason:
    """Why a response that was not broken off ended.

    These dialects have no word for a cancel or a redirection by the client: it has what it wanted, so it is "stop".
    """
    details = response.incomplete_details
    match details.reason if details is not None else None:
        case "max_output_tokens":
            return "length"
        case "content_filter":
            return "content_filter"
        case _:
            return "tool_calls" if calls(response) else "stop"


def failure(response: Response) -> ProtocolError | None:
    """The error of a failed response, None where it did not fail."""
    if response.status != "failed":
        return None
    if response.error is None:
        return ProtocolError("internal_error", "The response failed.")
    code = response.error.code if response.error.code in ERRORS else "internal_error"
    return ProtocolError(code, response.error.message)


def broken_off(response: Response) -> ProtocolError | None:
    """The error of a response that failed or that the server ended, None for any other end.

    Nothing of it is kept in these dialects, and none of their reasons tells a client that the text is not whole.
    """
    if response.status == "cancelled" and response.error is not None:
        code = response.error.code
        return ProtocolError(code, "The server ended the reply before it was whole. Send the request again.")
    return failure(response)
