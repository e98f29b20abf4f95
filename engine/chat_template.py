"""A model's chat template, given conversations as it takes them."""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from jinja2.environment import Template

from engine.alternating import alternating
from engine.calls.described import short_id, with_tools, written_out
from engine.calls.hermes import HERMES
from engine.calls.history import calls_in, span_of
from engine.calls.syntax import CallSyntax
from engine.calls.template import called, template_syntax
from engine.control_tokens import unused_char
from engine.request import ChatMessage, EngineError, Tool
from engine.template_budget import weight
from engine.template_environment import BoundedEnvironment

PLAIN_TEMPLATE: Final = (
    "{% for message in messages %}{{ message.role | capitalize }}:\n{{ message.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
"""For models without a chat template (base models): each message under its role's name. Such a model does not
know where its turn ends; a stop string such as "\\n\\nUser:" tells it."""

LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class ChatTemplate:
    """Over a tokenizer of transformers, tried out when it is made. Thread-safe: it only reads after that.

    own_syntax: how the template writes calls; None if it must be told of tools in words.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.text = _template_of(tokenizer)
        self._environment = BoundedEnvironment()
        self._secret = secrets.token_hex(8)  # nobody can write what stands for a reply
        self.own_syntax = template_syntax(self._apply)
        # Who may speak first: some templates refuse a system message.
        self._first_role = "system" if self._takes("system", "user") else "user"
        # Whether it refuses conversations in which user and assistant do not take turns.
        self._alternates = self._takes("user") and not self._takes("user", "user")

    @cached_property
    def _compiled(self) -> Template:
        return self._environment.from_string(self.text)

    @property
    def call_syntax(self) -> CallSyntax:
        return self.own_syntax or HERMES

    def _takes(self, *roles: str) -> bool:
        try:
            self.render([ChatMessage(role, "probe") for role in roles])
        except EngineError:
            return False
        return True

    def told(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> Sequence[ChatMessage]:
        """The messages as the template takes them: calls are text, and so are tools where it knows none. A message
        keeps a `call` where the template is to be shown that its text has some."""
        syntax = self.own_syntax
        if not tools and not any(message.call or message.role == "tool" for message in messages):
            return self._shown(messages)
        if syntax is None:
            return with_tools(messages, tools, HERMES, self._first_role)
        return self._shown(written_out(messages, syntax, tool_role=True))

    def in_turns(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        """Told messages, as a template that wants them in turns takes them."""
        return alternating(messages) if self._alternates else messages

    def _shown(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        """Replies whose text has calls, named as such where the template is to know."""
        syntax = self.own_syntax
        return messages if syntax is None or not syntax.as_calls else calls_in(syntax, messages)

    def offered(self, tools: Sequence[Tool]) -> str:
        """The tools for the template, as JSON; "" where there are none or it knows none."""
        if not tools or self.own_syntax is None:
            return ""
        return json.dumps([tool.shape for tool in tools], ensure_ascii=False)

    def render(self, messages: Sequence[ChatMessage], tools: str = "") -> str:
        """Of told messages. Raises EngineError: the template refuses them."""
        if any(LONE_SURROGATE.search(message.content) for message in messages):
            raise EngineError("invalid_value", "A message contains a lone surrogate.")
        stand_ins: dict[str, str] = {}
        conversation = list(self._conversation(messages, stand_ins))
        rendered = self._apply(conversation, json.loads(tools) if tools else [])
        for name, text in stand_ins.items():
            start, end = span_of(self.call_syntax, rendered, name)
            rendered = rendered[:start] + text + rendered[end:]
        return rendered

    def _conversation(
        self, messages: Sequence[ChatMessage], stand_ins: dict[str, str]
    ) -> Iterable[dict[str, Any]]:
        """As templates take them. A reply that calls is shown as one call of a function that stands in for its text."""
        ids: list[str] = []  # which the model gave the calls that are answered
        for index, message in enumerate(messages):
            if message.call:
                ids = message.call_id.split()
                name = f"reply-{index}-{self._secret}"
                stand_ins[name] = message.content
                yield called(name, {}, ids[0] if ids else short_id(name))
            elif message.role == "tool":
                id = ids.pop(0) if ids else short_id(message.call_id)
                yield {"role": "tool", "content": message.content, "tool_call_id": id}
            else:
                yield {"role": message.role, "content": message.content}

    def _apply(self, conversation: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
        try:
            return self._environment.rendered(
                self._compiled,
                given=weight([conversation, tools], sys.maxsize),
                messages=conversation,
                tools=tools or None,
                documents=None,
                add_generation_prompt=True,
                **self._tokenizer.special_tokens_map,
            )
        except Exception as error:  # templates raise what they like
            raise EngineError(
                "invalid_value", f"The model's chat template refuses this conversation: {error}"
            ) from error

    def behind_reply(self, messages: Sequence[ChatMessage], tools: str, at: int) -> str | None:
        """What it writes behind the reply at that index; None if it changes the reply or what leads to it."""
        reply = messages[at]
        hole = unused_char([self.text, tools, *(message.content for message in messages)])
        holed = replace(reply, content=hole)
        try:
            before, found, behind = self.render(
                [*messages[:at], holed, *messages[at + 1 :]], tools
            ).partition(hole)
            if not found or hole in behind or self.render(messages[:at], tools) != before:
                return None
            return behind if self.render(messages, tools) == before + reply.content + behind else None
        except EngineError:
            return None


def _template_of(tokenizer: Any) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError:  # it has none
        bos = tokenizer.bos_token
        wanted = bos is not None and tokenizer.backend_tokenizer.encode("a").tokens[0] == bos
        return "{{ bos_token }}" + PLAIN_TEMPLATE if wanted else PLAIN_TEMPLATE
