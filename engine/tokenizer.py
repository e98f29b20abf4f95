"""A transformers tokenizer and its chat template, as the engine uses them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

from tokenizers import Tokenizer

from engine.calls.described import with_tools, written_out
from engine.calls.hermes import HERMES
from engine.calls.syntax import CallSyntax
from engine.calls.template import template_syntax
from engine.control_tokens import ControlTokens, unused_char
from engine.detokenize import TextStream
from engine.encoding import ids_of
from engine.request import ChatMessage, EngineError, Tool
from engine.vocabulary import TokenBytes, streams_of, token_bytes_of

PLAIN_TEMPLATE: Final = (
    "{% for message in messages %}{{ message.role | capitalize }}:\n{{ message.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
"""For models without a chat template (base models): each message under its role's name. Such a model does not
know where its turn ends; a stop string such as "\\n\\nUser:" tells it."""


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class HFTokenizer:
    """A ChatTokenizer over a fast tokenizer of transformers. Thread-safe: it only reads after construction."""

    def __init__(self, tokenizer: Any) -> None:
        self._outer = tokenizer
        self._inner: Tokenizer = tokenizer.backend_tokenizer
        self._inner.no_truncation()
        self._inner.no_padding()
        self._template = _template_of(tokenizer)
        self._control = ControlTokens(self._inner, self._template)
        self._token_bytes = token_bytes_of(self._inner, self._control.special_ids)
        self._stream = streams_of(self._inner, self._token_bytes)
        self._anchor = _anchor_of(self._inner)

    def prepare(self) -> None:
        """Do now what is slow the first time."""
        self._control.prepare()
        _ = self.call_syntax, self.fingerprint

    @cached_property
    def fingerprint(self) -> str:
        """Of what the ids come from: the tokenizer's own file, as it would be written, and the template."""
        return sha256(f"{self._inner.to_str()}\n{self._template}".encode()).hexdigest()[:32]

    @property
    def token_bytes(self) -> TokenBytes | None:
        """A token's text as bytes; None for a tokenizer in which it depends on the neighbours."""
        return self._token_bytes

    def stream(self) -> TextStream:
        """A fresh stream for one reply's text."""
        return self._stream()

    def named(self, token: int) -> tuple[str, bytes]:
        """What a token is called, and its text as bytes: none for a special token, or one that stands for nothing."""
        if token in self._control.special_ids:
            return str(self._inner.id_to_token(token)), b""
        if self._token_bytes is not None:
            data = self._token_bytes(token)
        else:
            data = str(self._inner.decode([token])).encode()
        return data.decode(errors="replace"), data

    def decode(self, ids: Sequence[int]) -> str:
        """The whole text of a reply's ids."""
        stream = self._stream()
        return "".join(map(stream.push, ids)) + stream.flush()

    def encode(self, text: str) -> list[int]:
        if _LONE_SURROGATE.search(text):
            raise EngineError("invalid_value", "The prompt contains a lone surrogate.")
        return ids_of(self._inner, text, special=True)

    @cached_property
    def _own_syntax(self) -> CallSyntax | None:
        """Of the chat template; None if it must be told of tools in words."""
        return template_syntax(self._render_raw)

    @cached_property
    def _first_role(self) -> str:
        """Who may speak first: some templates refuse a system message."""
        try:
            self._render([ChatMessage("system", "a"), ChatMessage("user", "b")])
        except EngineError:
            return "user"
        return "system"

    @property
    def call_syntax(self) -> CallSyntax:
        return self._own_syntax or HERMES

    def encode_chat(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> list[int]:
        marked, shapes, mark = self._mark(self._told(messages, tools), self._offered(tools))
        return self._encode(self._render(marked, shapes), mark)

    def extend_chat(
        self,
        context_ids: Sequence[int],
        history: Sequence[ChatMessage],
        new: Sequence[ChatMessage],
        tools: Sequence[Tool] = (),
    ) -> list[int]:
        past = self._told(history, tools)
        marked, shapes, mark = self._mark([*past, *self._told(new)], self._offered(tools))
        suffix = self._behind_reply(marked, shapes, len(past) - 1)
        if suffix is None:
            return self.encode_chat([*history, *new], tools)
        return [*context_ids, *self._encode_behind(suffix, mark)]

    def _told(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> Sequence[ChatMessage]:
        """The messages as the template takes them: calls are text, and so are tools where it knows none."""
        if not tools and not any(message.call or message.role == "tool" for message in messages):
            return messages
        if self._own_syntax is None:
            return with_tools(messages, tools, HERMES, self._first_role)
        return written_out(messages, self._own_syntax, tool_role=True)

    def _offered(self, tools: Sequence[Tool]) -> str:
        """The tools for the template, as JSON; "" where there are none or it knows none."""
        if not tools or self._own_syntax is None:
            return ""
        return json.dumps([tool.shape for tool in tools], ensure_ascii=False)

    def reply_ids(self, text: str, generated: Sequence[int]) -> list[int]:
        kept, rest = self._fitting(text, generated)
        if not rest:
            return kept
        for ids in ([*kept, *self._encode_reply(rest)], self._encode_reply(text)):
            if self.decode(ids) == text:
                return ids
        return ids

    def _fitting(self, text: str, generated: Sequence[int]) -> tuple[list[int], str]:
        """The longest part of `generated` with whose text `text` begins, and what `text` has behind that."""
        stream = self._stream()
        said = fitting = fitted = 0  # characters, ids, characters of those ids
        for count, token in enumerate(generated, start=1):
            if fitted == len(text):
                break
            piece = stream.push(token)
            if not text.startswith(piece, said):
                break
            said += len(piece)
            if not stream.holding:
                fitting, fitted = count, said
        return list(generated[:fitting]), text[fitted:]

    def _mark(
        self, messages: Sequence[ChatMessage], tools: str = ""
    ) -> tuple[Sequence[ChatMessage], str, str | None]:
        """Mark what looks like a control token in the contents and the tools' JSON; no mark if nothing does."""
        control = self._control
        if not control.in_text(tools, "system") and not any(
            control.in_text(message.content, message.role) for message in messages
        ):
            return messages, tools, None
        mark = unused_char([self._template, tools, *(message.content for message in messages)])
        marked = [replace(m, content=control.mark(m.content, m.role, mark)) for m in messages]
        return marked, control.mark(tools, "system", mark), mark

    def _render(self, messages: Sequence[ChatMessage], tools: str = "") -> str:
        if any(_LONE_SURROGATE.search(message.content) for message in messages):
            raise EngineError("invalid_value", "A message contains a lone surrogate.")
        conversation = [{"role": message.role, "content": message.content} for message in messages]
        return self._render_raw(conversation, json.loads(tools) if tools else [])

    def _render_raw(self, conversation: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
        try:
            return str(
                self._outer.apply_chat_template(
                    conversation,
                    tools=tools or None,
                    chat_template=self._template,
                    tokenize=False,
                    add_generation_prompt=True,
                )
            )
        except Exception as error:  # templates raise what they like
            raise EngineError(
                "invalid_value", f"The model's chat template refuses this conversation: {error}"
            ) from error

    def _behind_reply(self, messages: Sequence[ChatMessage], tools: str, at: int) -> str | None:
        """What the template writes behind the reply at that index; None if it changes the reply or what leads to it."""
        reply = messages[at]
        hole = unused_char([self._template, tools, *(message.content for message in messages)])
        try:
            before, found, behind = self._render(
                [*messages[:at], replace(reply, content=hole), *messages[at + 1 :]], tools
            ).partition(hole)
            if not found or hole in behind or self._render(messages[:at], tools) != before:
                return None
            return behind if self._render(messages, tools) == before + reply.content + behind else None
        except EngineError:
            return None

    def _encode(self, rendered: str, mark: str | None) -> list[int]:
        if mark is not None:
            return self._control.encode(rendered, mark)
        return ids_of(self._inner, rendered)

    def _encode_behind(self, text: str, mark: str | None) -> list[int]:
        """Ids of a text that something stands before: some tokenizers begin their first word with a space."""
        anchor, anchor_id = self._anchor
        ids = self._encode(anchor + text, mark)
        return ids[1:] if ids[:1] == [anchor_id] else self._encode(text, mark)

    def _encode_reply(self, text: str) -> list[int]:
        [message], _, mark = self._mark([ChatMessage("assistant", text)])
        return self._encode_behind(message.content, mark)


def _template_of(tokenizer: Any) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError:  # it has none
        bos = tokenizer.bos_token
        wanted = bos is not None and tokenizer.backend_tokenizer.encode("a").tokens[0] == bos
        return "{{ bos_token }}" + PLAIN_TEMPLATE if wanted else PLAIN_TEMPLATE


def _anchor_of(tokenizer: Tokenizer) -> tuple[str, int | None]:
    """A special token that leaves the text behind it alone."""
    for id, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        if token.special and not token.rstrip and token.content:
            return str(token.content), int(id)
    return "", None
