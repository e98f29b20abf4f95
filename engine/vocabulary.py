"""What a tokenizer's ids say: bytes where every token has its own, a window of ids decoded anew elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from tokenizers import Tokenizer

from engine.detokenize import ByteStream, TextStream, TokenTexts, WindowStream

TokenBytes: TypeAlias = Callable[[int], bytes]


def streams_of(tokenizer: Tokenizer, token_bytes: TokenBytes | None) -> Callable[[], TextStream]:
    """A maker of fresh streams for this tokenizer's replies; `token_bytes` is that of `token_bytes_of`."""
    if token_bytes is None:
        return lambda: WindowStream(lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)))
    drops = any(step["type"] == "Strip" for step in _decoder_steps(tokenizer))
    texts = TokenTexts(token_bytes)
    return lambda: ByteStream(texts, drops_first_space=drops)


def token_bytes_of(tokenizer: Tokenizer, special_ids: frozenset[int]) -> TokenBytes | None:
    """Each token's text, wherever it stands; None if that depends on its neighbours. Special tokens are no text."""
    steps = _decoder_steps(tokenizer)
    token_text: Callable[[str], bytes]
    if [step["type"] for step in steps] == ["ByteLevel"]:
        token_text = _byte_level()
    elif _joins_plainly(steps):
        token_text = _plain(steps)
    else:
        return None
    known: dict[int, bytes] = dict.fromkeys(special_ids, b"")

    def token_bytes(token: int) -> bytes:
        if (found := known.get(token)) is None:
            # An id beyond the vocabulary (padding rows of an output matrix) is no text either.
            found = known[token] = token_text(tokenizer.id_to_token(token) or "")
        return found

    return token_bytes


def _decoder_steps(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    if tokenizer.decoder is None:
        return [{"type": "None"}]
    decoder = json.loads(tokenizer.decoder.__getstate__())
    return list(decoder["decoders"]) if decoder["type"] == "Sequence" else [decoder]


def _joins_plainly(steps: list[dict[str, Any]]) -> bool:
    """Whether a decoder only replaces within tokens, reads byte tokens, joins, and drops one space at the start."""
    types = [step["type"] for step in steps]
    if "Fuse" not in types:
        return False
    before, after = steps[: types.index("Fuse")], steps[types.index("Fuse") + 1 :]
    return all(
        step["type"] == "ByteFallback" or (step["type"] == "Replace" and "String" in step["pattern"])
        for step in before
    ) and all(
        step["type"] == "Strip" and (step["content"], step["start"], step["stop"]) == (" ", 1, 0)
        for step in after
    )


def _plain(steps: list[dict[str, Any]]) -> Callable[[str], bytes]:
    replaced = [(step["pattern"]["String"], step["content"]) for step in steps if step["type"] == "Replace"]
    byte_tokens = any(step["type"] == "ByteFallback" for step in steps)
    bytes_of = {f"<0x{value:02X}>": bytes([value]) for value in range(256)} if byte_tokens else {}

    def token_text(token: str) -> bytes:
        if (value := bytes_of.get(token)) is not None:
            return value
        for pattern, content in replaced:
            token = token.replace(pattern, content)
        return token.encode()

    return token_text


def _byte_level() -> Callable[[str], bytes]:
    """Byte-level vocabularies write each byte as one printable character: itself, or one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [value for value in range(256) if value not in set(printable)]
    byte_of = {chr(value): value for value in printable}
    byte_of |= {chr(0x100 + n): value for n, value in enumerate(hidden)}

    def token_text(token: str) -> bytes:
        try:
            return bytes([byte_of[char] for char in token])
        except KeyError:  # an added token with other characters stands for itself
            return token.encode()

    return token_text
