"""Keeps what people write from being read as control tokens such as `<|im_end|>`.

The tokens' literal strings in a message's content get a mark inside, so that the rendered conversation still
tells the template's own from them. It is then encoded by a copy of the tokenizer in which the control tokens
have names that nobody can know: the template's are renamed, the marks go, and the rest is plain text.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Collection, Iterable, Sequence

from tokenizers import Tokenizer

from engine.encoding import ids_of
from engine.request import EngineError

_MARKS = range(0xF0000, 0x110000)  # the private use planes


def unused_char(texts: Sequence[str]) -> str:
    """A character that stands in none of the texts."""
    for char in map(chr, _MARKS):
        if not any(char in text for text in texts):
            return char
    raise EngineError("invalid_value", "The conversation uses every private character that there is.")


class ControlTokens:
    """The tokens that structure a conversation. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        added = tokenizer.get_added_tokens_decoder()
        self.special_ids = frozenset(id for id, token in added.items() if token.special)
        special = {token.content for token in added.values() if token.special and token.content}
        # Some models' turn markers are not flagged as special; a reply may contain others, such as <think>.
        named = {token.content for token in added.values() if token.content and token.content in template}
        self._special = _any_of(special)
        self._all = _any_of(special | named)
        self._normalized = any(token.special and token.normalized for token in added.values())
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._renaming: Renaming | None = None

    def in_text(self, text: str, role: str) -> bool:
        """Whether a text of this role could be read as a control token."""
        # A token that is looked for in normalized text may hide in another spelling.
        pattern = self._pattern(role)
        return self._normalized or (pattern is not None and pattern.search(text) is not None)

    def mark(self, text: str, role: str, mark: str) -> str:
        """The text with `mark` inside (or behind, if it is a single character) each control token's literal."""
        pattern = self._pattern(role)
        if pattern is None:
            return text
        unmarked = re.compile(f"(?:{pattern.pattern})(?!{mark})")
        while unmarked.search(text):  # again, for literals that overlap
            text = unmarked.sub(lambda found: found[0][:1] + mark + found[0][1:], text)
        return text

    def encode(self, text: str, mark: str) -> list[int]:
        """Ids of a rendered text in which only unmarked literals are control tokens."""
        return self.prepare().encode(text, mark)

    def prepare(self) -> Renaming:
        """Make the copy now, half a second that the first text with a control token would else wait for."""
        with self._lock:
            if self._renaming is None:
                self._renaming = Renaming(self._tokenizer)
        return self._renaming

    def _pattern(self, role: str) -> re.Pattern[str] | None:
        return self._special if role == "assistant" else self._all


class Renaming:
    """A copy of a tokenizer whose added tokens have secret names."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        spec = json.loads(tokenizer.to_str())
        spec["post_processor"] = spec["truncation"] = spec["padding"] = None
        self._names: dict[str, str] = {}
        ids: dict[str, int] = {}
        for token in spec["added_tokens"]:
            name = self._names[token["content"]] = secrets.token_hex(16)
            ids[name] = token["id"]
            token |= {"content": name, "special": True, "normalized": False}
        self._tokenizer = Tokenizer.from_str(json.dumps(spec))
        self._ids = {self._tokenizer.token_to_id(name): id for name, id in ids.items()}
        self._literals = _any_of(self._names)

    def encode(self, text: str, mark: str) -> list[int]:
        if self._literals is not None:
            unmarked = re.compile(f"(?:{self._literals.pattern})(?!{mark})")
            text = unmarked.sub(lambda found: self._names[found[0]], text)
        return [self._ids.get(id, id) for id in ids_of(self._tokenizer, text.replace(mark, ""))]


def _any_of(literals: Iterable[str]) -> re.Pattern[str] | None:
    longest_first = sorted(literals, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def spoken_by(tokenizer: Tokenizer, spoken: Collection[str]) -> Tokenizer:
    """The tokenizer, in which these literals, of which a reply may consist, are text where it has them as control
    tokens. They are none in a message that is not the assistant's, nonetheless, where the template has them."""
    added = tokenizer.get_added_tokens_decoder().values()
    if not any(token.special and token.content in spoken for token in added):
        return tokenizer
    spec = json.loads(tokenizer.to_str())
    for token in spec["added_tokens"]:
        token["special"] = token["special"] and token["content"] not in spoken
    return Tokenizer.from_str(json.dumps(spec))
