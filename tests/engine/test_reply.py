"""Sampled ids become deltas, and every id is handed on once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.detokenize import ByteStream
from engine.reply import Reply
from engine.request import Delta, FinishReason, Sampling

EOS = 3


def reply(max_output: int = 100, **sampling: object) -> Reply:
    stream = ByteStream(lambda token: b"" if token == EOS else bytes([token]))
    return Reply(stream, Sampling(**sampling), max_output, {EOS})  # type: ignore[arg-type]


def test_a_delta_carries_the_tokens_that_were_held_before_it() -> None:
    said = reply()
    assert [said.push(byte) for byte in "é!".encode()] == [
        None,
        Delta("é", (0xC3, 0xA9)),
        Delta("!", (0x21,)),
    ]


def test_the_end_of_turn_is_no_text_and_gives_out_what_was_held() -> None:
    said = reply(stop=("stop",))
    assert said.push(ord("s")) is None
    assert said.push(EOS) == Delta("s", (ord("s"),))
    assert (said.reason, said.unsent(2)) == (FinishReason.STOP, (EOS,))


def test_an_end_of_turn_that_is_ignored_is_a_token_like_any_other() -> None:
    said = reply(ignore_eos=True)
    assert said.push(EOS) is None
    assert said.push(ord("a")) == Delta("a", (EOS, ord("a")))
    assert said.reason is None


def test_the_last_token_gives_out_everything() -> None:
    said = reply(max_output=2, stop=("ab",))
    assert said.push(ord("a")) is None
    assert said.push(0xF0) == Delta("a\ufffd", (ord("a"), 0xF0))
    assert said.reason is FinishReason.LENGTH


def test_a_stop_string_ends_it_even_with_the_last_token() -> None:
    said = reply(max_output=3, stop=("bc",))
    assert [said.push(ord(char)) for char in "abc"] == [Delta("a", (97,)), None, None]
    assert (said.reason, said.unsent(3)) == (FinishReason.STOP, (98, 99))


def test_a_stop_string_that_the_flush_completes_counts() -> None:
    said = reply(max_output=1, stop=("\ufffd",))
    assert said.push(0xF0) is None
    assert said.reason is FinishReason.STOP


@given(
    st.lists(st.integers(0, 255), max_size=40),
    st.integers(1, 40),
    st.lists(st.text("ab", min_size=1), max_size=2),
)
def test_every_token_is_handed_on_once(tokens: list[int], max_output: int, stops: list[str]) -> None:
    said = reply(max_output, stop=tuple(stops))
    taken: list[int] = []
    given_out: list[int] = []
    for token in tokens:
        if said.reason is not None:
            break
        taken.append(token)
        if delta := said.push(token):
            assert delta.text
            given_out += delta.token_ids
    assert [*given_out, *said.unsent(len(taken))] == taken
    assert len(taken) <= max_output
