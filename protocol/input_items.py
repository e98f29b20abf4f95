"""The input of a stored response as items, and pages of them (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from msgspec import Struct

from protocol.codes import ProtocolError
from protocol.items import OutputText
from protocol.requests.message import Message, SaidRole
from protocol.requests.query import ItemPage
from protocol.tools import FunctionCall, FunctionCallOutput


class InputTextContent(Struct, frozen=True, tag_field="type", tag="input_text", kw_only=True):
    """Text of a client's."""

    text: str


class InputItem(Struct, frozen=True, tag_field="type", tag="message", kw_only=True):
    """A message of the input as the gate left it and the model saw it; an assistant's is text of a reply."""

    id: str
    role: SaidRole
    status: Literal["completed"] = "completed"
    content: tuple[InputTextContent | OutputText, ...]


AnyInputItem: TypeAlias = InputItem | FunctionCall | FunctionCallOutput


class InputItemList(Struct, frozen=True, kw_only=True):
    """A page of items; `has_more` says that others follow in this order."""

    object: Literal["list"] = "list"
    data: tuple[AnyInputItem, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


def input_items(response_id: str, messages: Iterable[Message]) -> list[AnyInputItem]:
    """The input of a response as items in their order. The ids follow from the response's."""
    stem = response_id.removeprefix("resp_")
    return [_item(message, f"{stem}_{index}") for index, message in enumerate(messages)]


def _item(message: Message, stem: str) -> AnyInputItem:
    if message.call:
        return FunctionCall(
            id=f"fc_{stem}",
            call_id=message.call_id,
            name=message.call,
            arguments=message.content,
            status="completed",
        )
    if message.role == "tool":
        return FunctionCallOutput(id=f"fco_{stem}", call_id=message.call_id, output=message.content)
    text = message.content
    part = OutputText(text=text) if message.role == "assistant" else InputTextContent(text=text)
    return InputItem(id=f"msg_{stem}", role=message.role, content=(part,))


def page_of(items: list[AnyInputItem], page: ItemPage) -> InputItemList:
    """Raises ProtocolError where `after` is none of the items."""
    ordered = items if page.order == "asc" else items[::-1]
    start = 0
    if page.after is not None:
        start = 1 + next((index for index, item in enumerate(ordered) if item.id == page.after), -1)
        if start == 0:
            raise ProtocolError(
                "invalid_value",
                "`after` is no item of this response's input. List it without `after` for the ids.",
                param="after",
            )
    data = tuple(ordered[start : start + page.limit])
    return InputItemList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=start + len(data) < len(ordered),
    )
