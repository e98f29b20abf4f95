"""Sampled ids become text, until something ends it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.detokenize import ByteStream, TokenTexts
from engine.reply import Reply
from engine.request import FinishReason, Sampling

EOS = 3


def reply(max_output: int = 100, **sampling: object) -> Reply:
    stream = ByteStream(TokenTexts(lambda token: b"" if token == EOS else bytes([token])))
    return Reply(stream, Sampling(**sampling), max_output, {EOS})  # type: ignore[arg-type]


def test_the_bytes_of_a_character_are_held_until_it_is_whole() -> None:
    said = reply()
    assert [said.push(byte) for byte in "é!".encode()] == ["", "é", "!"]


def test_the_end_of_turn_is_no_text_and_gives_out_what_was_held() -> None:
    said = reply(stop=("stop",))
    assert said.push(ord("s")) == ""
    assert said.push(EOS) == "s"
    assert said.reason is FinishReason.STOP


def test_an_end_of_turn_that_is_ignored_is_a_token_like_any_other() -> None:
    said = reply(ignore_eos=True)
    assert said.push(EOS) == ""
    assert said.push(ord("a")) == "a"
    assert said.reason is None


def test_the_last_token_gives_out_everything() -> None:
    said = reply(max_output=2, stop=("ab",))
    assert said.push(ord("a")) == ""
    assert said.push(0xF0) == "a\ufffd"
    assert said.reason is FinishReason.LENGTH


def test_a_stop_string_ends_it_even_with_the_last_token() -> None:
    said = reply(max_output=3, stop=("bc",))
    assert [said.push(ord(char)) for char in "abc"] == ["a", "", ""]
    assert said.reason is FinishReason.STOP


def test_a_stop_string_that_the_flush_completes_counts() -> None:
    said = reply(max_output=1, stop=("\ufffd",))
    assert said.push(0xF0) == ""
    assert said.reason is FinishReason.STOP


@given(
    st.lists(st.integers(0, 255), max_size=40),
    st.integers(1, 40),
    st.lists(st.text("ab", min_size=1), max_size=2),
)
def test_it_says_what_its_tokens_say_up_to_the_first_stop(
    tokens: list[int], max_output: int, stops: list[str]
) -> None:
    said = reply(max_output, stop=tuple(stops))
    texts: list[str] = []
    for token in tokens:
        if said.reason is not None:
            break
        texts.append(said.push(token))
    assert len(texts) <= max_output
    taken = tokens[: len(texts)]
    ended = taken[-1:] == [EOS]
    whole = bytes(taken[:-1] if ended else taken).decode(errors="replace")
    first = min((place for stop in stops if (place := whole.find(stop)) >= 0), default=len(whole))
    if said.reason is None:
        assert whole.startswith("".join(texts))
    else:
        assert "".join(texts) == whole[:first]
