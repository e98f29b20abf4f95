"""From a request and its lineage to the prompt: which messages, which token ids, what is left out (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from app.store.record import StoredMessage, StoredResponse, context_ids
from engine.interface import ChatTokenizer
from engine.request import ChatMessage, Tool
from protocol.codec import encode as encode_json
from protocol.codes import ProtocolError

PER_MESSAGE: Final = 16
"""What a message costs beside its content, in characters: an empty one is rendered and judged too."""


class _Item(msgspec.Struct):
    call_id: str = ""


class _Response(msgspec.Struct):
    """What of a response's JSON says which calls it made."""

    output: tuple[_Item, ...] = ()


_RESPONSES: Final = msgspec.json.Decoder(_Response)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the model is to see. `history` is what came before this turn, `new` is this turn's own.

    `stable_ids` are the parent's context as token ids where this turn continues it word for word; the prompt
    then begins with exactly these ids, so that cached pages are met (prefix-stable). None: encode everything
    anew.
    """

    history: tuple[ChatMessage, ...]
    new: tuple[ChatMessage, ...]
    stable_ids: list[int] | None = None
    tools: tuple[Tool, ...] = ()

    @property
    def characters(self) -> int:
        talk = sum(len(message.content) + PER_MESSAGE for message in self.history + self.new)
        return talk + len(packed_tools(self.tools))


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, what they came from, how many leading ids are the parent's, how many messages were dropped."""

    ids: list[int]
    source: tuple[ChatMessage, ...] | str
    base: int | None  # None: the prompt does not begin with the parent's ids
    dropped: int = 0
    instructions: str | None = None  # as the input gate left them
    tools: tuple[Tool, ...] = ()  # as the input gate left them
    root: str | None = None  # the id of the conversation's first response, None if this is it


def conversation(
    records: Sequence[StoredResponse],
    instructions: str | None,
    new: Sequence[ChatMessage],
    tools: tuple[Tool, ...] = (),
    tokenizer: str = "",
) -> Conversation:
    """The conversation along a lineage (root first), with this turn's instructions in front.

    Instructions and functions are not inherited: a turn that brings others than its parent's begins with other tokens.
    So does one for another `tokenizer` than the parent's, named by its fingerprint: of a model's name that is not
    certain, for another folder may be served under it by now.
    """
    history: list[ChatMessage] = []
    for record in records:
        history += [ChatMessage(m.role, m.content, m.call, m.call_id) for m in record.input]
        if record.output_text:
            history.append(ChatMessage("assistant", record.output_text))
    if not records:
        return Conversation((), _with_instructions(instructions, new), [], tools)
    stable = None
    last = records[-1]
    same = last.instructions == instructions and last.tools == packed_tools(tools)
    if same and last.output_text and last.tokenizer == tokenizer:
        stable = context_ids(records)
    return Conversation(_with_instructions(instructions, history), tuple(new), stable, tools)


def unknown_call(records: Sequence[StoredResponse], new: Sequence[ChatMessage]) -> str | None:
    """The id that an output among `new` names as its call's, if no such call stands before it."""
    if all(message.role != "tool" for message in new):
        return None
    made = {message.call_id for record in records for message in record.input if message.call}
    made.update(item.call_id for record in records for item in _RESPONSES.decode(record.response).output)
    for message in new:
        if message.call:
            made.add(message.call_id)
        elif message.role == "tool" and message.call_id not in made:
            return message.call_id
    return None


def encode(talk: Conversation, tokenizer: ChatTokenizer) -> Prompt:
    """Token ids of a conversation; CPU-bound in its length."""
    messages = talk.history + talk.new
    if not talk.history:
        return Prompt(tokenizer.encode_chat(messages, talk.tools), messages, 0)
    if talk.stable_ids is not None:
        ids = tokenizer.extend_chat(talk.stable_ids, talk.history, talk.new, talk.tools)
        base = len(talk.stable_ids)
        if ids[:base] == talk.stable_ids:
            return Prompt(ids, messages, base)
        return Prompt(ids, messages, None)
    return Prompt(tokenizer.encode_chat(messages, talk.tools), messages, None)


def truncate(talk: Conversation, tokenizer: ChatTokenizer, room: int) -> Prompt:
    """Drop the oldest turns until `room` tokens hold the rest; leading system messages and the last message stay.

    Raises ProtocolError if even those do not fit.
    """
    messages = talk.history + talk.new
    head = 0
    while head < len(messages) - 1 and messages[head].role == "system":
        head += 1
    # neither a reply nor what its calls gave opens what is left: cut in front of user messages only, and at the very
    # last message
    cuts = [i for i in range(head + 1, len(messages)) if messages[i].role not in ("assistant", "tool")]
    low, high = 0, len(cuts)
    fitting: Prompt | None = None
    while low < high:  # fewer messages never need more tokens
        middle = (low + high) // 2
        kept = messages[:head] + messages[cuts[middle] :]
        ids = tokenizer.encode_chat(kept, talk.tools)
        if len(ids) <= room:
            fitting = Prompt(ids, kept, None, dropped=cuts[middle] - head)
            high = middle
        else:
            low = middle + 1
    if fitting is None:
        least = len(tokenizer.encode_chat(messages[:head] + messages[-1:], talk.tools))
        raise ProtocolError(
            "context_length_exceeded",
            f"The instructions and the last message alone have {least} tokens; {room} fit. Shorten them.",
            param="input",
        )
    return fitting


def packed_tools(tools: Sequence[Tool]) -> bytes:
    """b"" for none; equal for equal ones."""
    return encode_json(tools) if tools else b""


def stored_messages(new: Sequence[ChatMessage]) -> tuple[StoredMessage, ...]:
    return tuple(StoredMessage(m.role, m.content, m.call, m.call_id) for m in new)


def _with_instructions(instructions: str | None, messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Instructions and leading system messages as one system message: most templates take one, at the front."""
    parts = [instructions] if instructions else []
    rest = list(messages)
    while rest and rest[0].role == "system":
        parts.append(rest.pop(0).content)
    return (*([ChatMessage("system", "\n\n".join(parts))] if parts else []), *rest)
