"""A transformers tokenizer and its chat template, as the engine uses them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from typing import Any

from tokenizers import Tokenizer

from engine.calls.syntax import CallSyntax
from engine.chat_template import LONE_SURROGATE, ChatTemplate
from engine.control_tokens import ControlTokens, spoken_by, unused_char
from engine.detokenize import TextStream
from engine.encoding import ids_of
from engine.request import ChatMessage, EngineError, Tool
from engine.vocabulary import TokenBytes, streams_of, token_bytes_of


class HFTokenizer:
    """A ChatTokenizer over a fast tokenizer of transformers. Thread-safe: it only reads after construction."""

    def __init__(self, tokenizer: Any, template: ChatTemplate | None = None) -> None:
        """template: the tokenizer's own, if it has been tried out already."""
        self._template = template or ChatTemplate(tokenizer)
        self._inner = spoken_by(tokenizer.backend_tokenizer, self._template.call_syntax.spoken)
        self._inner.no_truncation()
        self._inner.no_padding()
        self._control = ControlTokens(self._inner, self._template.text)
        self._token_bytes = token_bytes_of(self._inner, self._control.special_ids)
        self._stream = streams_of(self._inner, self._token_bytes)
        self._anchor = _anchor_of(self._inner)

    def prepare(self) -> None:
        """Do now what is slow the first time."""
        self._control.prepare()
        _ = self.fingerprint

    @cached_property
    def fingerprint(self) -> str:
        """Of what the ids come from: the tokenizer's own file, as it would be written, and the template."""
        return sha256(f"{self._inner.to_str()}\n{self._template.text}".encode()).hexdigest()[:32]

    @property
    def text_tokens(self) -> int:
        """How many tokens text without control tokens may have; others may have been added behind them."""
        return int(self._inner.get_vocab_size(with_added_tokens=False))

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
        if LONE_SURROGATE.search(text):
            raise EngineError("invalid_value", "The prompt contains a lone surrogate.")
        return ids_of(self._inner, text, special=True)

    @property
    def call_syntax(self) -> CallSyntax:
        return self._template.call_syntax

    def encode_chat(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> list[int]:
        template = self._template
        told = template.in_turns(template.told(messages, tools))
        marked, shapes, mark = self._mark(told, template.offered(tools))
        return self._encode(template.render(marked, shapes), mark)

    def extend_chat(
        self,
        context_ids: Sequence[int],
        history: Sequence[ChatMessage],
        new: Sequence[ChatMessage],
        tools: Sequence[Tool] = (),
    ) -> list[int]:
        template = self._template
        past = template.told(history, tools)
        told = template.in_turns([*past, *template.told(new)])
        reply = next((index for index, message in enumerate(told) if message is past[-1]), None)
        marked, shapes, mark = self._mark(told, template.offered(tools))
        suffix = None if reply is None else template.behind_reply(marked, shapes, reply)
        if suffix is None:
            return self.encode_chat([*history, *new], tools)
        return [*context_ids, *self._encode_behind(suffix, mark)]

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
        mark = unused_char([self._template.text, tools, *(message.content for message in messages)])
        marked = [replace(m, content=control.mark(m.content, m.role, mark)) for m in messages]
        return marked, control.mark(tools, "system", mark), mark

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


def _anchor_of(tokenizer: Tokenizer) -> tuple[str, int | None]:
    """A special token that leaves the text behind it alone."""
    for id, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        if token.special and not token.rstrip and token.content:
            return str(token.content), int(id)
    return "", None
