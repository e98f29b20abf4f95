"""A character a token: the smallest tokenizer that a StepEngine can speak with."""

from __future__ import annotations

from collections.abc import Sequence

from engine.calls.hermes import HERMES
from engine.calls.syntax import CallSyntax
from engine.detokenize import ByteStream, TextStream, TokenTexts
from engine.request import ChatMessage, Tool
from tests.engine.paged_runner import EOS, VOCABULARY


class ToyTokenizer:
    def encode(self, text: str) -> list[int]:
        return [1 + ord(char) % (VOCABULARY - 1) for char in text]

    @property
    def fingerprint(self) -> str:
        return "toy"

    @property
    def call_syntax(self) -> CallSyntax:
        return HERMES

    def encode_chat(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> list[int]:
        return self.encode("".join(f"{message.role}:{message.content}\n" for message in messages))

    def extend_chat(
        self,
        context_ids: Sequence[int],
        history: Sequence[ChatMessage],
        new: Sequence[ChatMessage],
        tools: Sequence[Tool] = (),
    ) -> list[int]:
        return [*context_ids, *self.encode("\n"), *self.encode_chat(new)]

    def reply_ids(self, text: str, generated: Sequence[int]) -> list[int]:
        return self.encode(text)

    def stream(self) -> TextStream:
        return ByteStream(TokenTexts(lambda token: b"" if token == EOS else bytes([31 + token])))

    def named(self, token: int) -> tuple[str, bytes]:
        data = b"" if token == EOS else bytes([31 + token])
        return data.decode() or "<end>", data
