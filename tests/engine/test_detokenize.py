"""Text as it comes is the text that a full decode gives, cut nowhere but where it is undecided."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from engine.detokenize import ByteStream, StopStrings, TextStream, TokenTexts, WindowStream
from engine.vocabulary import streams_of, token_bytes_of
from tests.engine import tiny_tokenizers

BYTE_TOKEN = re.compile(r"<0x(..)>")


def special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    return frozenset(id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special)


def stream_of(tokenizer: Tokenizer) -> TextStream:
    return streams_of(tokenizer, token_bytes_of(tokenizer, special_ids(tokenizer)))()


def streamed(stream: TextStream, ids: list[int]) -> str:
    return "".join(map(stream.push, ids)) + stream.flush()


def ids_of(tokenizer: Tokenizer) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=60)


def byte_runs_are_text(tokenizer: Tokenizer, ids: list[int]) -> bool:
    """Whether each run of byte tokens is whole characters; `tokenizers` gives up on the whole run if it is not."""
    run = b""
    special = special_ids(tokenizer)
    for token in [*(tokenizer.id_to_token(id) for id in ids if id not in special), "end"]:
        if byte := BYTE_TOKEN.fullmatch(token):
            run += bytes.fromhex(byte[1])
            continue
        try:
            run.decode()
        except UnicodeDecodeError:
            return False
        run = b""
    return True


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_byte_level_tokens_join_to_the_full_decode(data: st.DataObject) -> None:
    tokenizer = tiny_tokenizers.byte_level()
    ids = data.draw(ids_of(tokenizer))
    stream = stream_of(tokenizer)
    assert isinstance(stream, ByteStream)
    assert streamed(stream, ids) == tokenizer.decode(ids, skip_special_tokens=True)


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from([tiny_tokenizers.byte_fallback, tiny_tokenizers.first_space_dropped]))
def test_byte_fallback_tokens_join_to_the_full_decode(data: st.DataObject, make: object) -> None:
    tokenizer = make()  # type: ignore[operator]
    text_ids = st.integers(262, tokenizer.get_vocab_size() - 1) | st.integers(0, 5)
    byte_text = st.text(min_size=1, max_size=3).map(
        lambda text: [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in text.encode()]
    )
    chunks = data.draw(st.lists(text_ids.map(lambda id: [id]) | byte_text, max_size=30))
    ids = [id for chunk in chunks for id in chunk]
    assert byte_runs_are_text(tokenizer, ids)
    stream = stream_of(tokenizer)
    assert isinstance(stream, ByteStream)
    assert streamed(stream, ids) == tokenizer.decode(ids, skip_special_tokens=True)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_broken_byte_runs_keep_their_whole_characters(data: st.DataObject) -> None:
    tokenizer = tiny_tokenizers.byte_fallback()
    ids = data.draw(ids_of(tokenizer))
    raw = b""
    for id in ids:
        token = tokenizer.id_to_token(id)
        byte = BYTE_TOKEN.fullmatch(token)
        if id not in special_ids(tokenizer):
            raw += bytes.fromhex(byte[1]) if byte else token.replace("▁", " ").encode()
    stream = stream_of(tokenizer)
    assert streamed(stream, ids) == raw.decode(errors="replace")
    if byte_runs_are_text(tokenizer, ids):
        assert streamed(stream_of(tokenizer), ids) == tokenizer.decode(ids)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_tokens_that_depend_on_their_neighbours_join_to_the_full_decode(data: st.DataObject) -> None:
    tokenizer = tiny_tokenizers.word_pieces()
    ids = data.draw(ids_of(tokenizer))
    stream = stream_of(tokenizer)
    assert isinstance(stream, WindowStream)
    assert streamed(stream, ids) == tokenizer.decode(ids, skip_special_tokens=True)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["byte_level", "byte_fallback", "first_space_dropped"]))
def test_an_encoded_text_comes_back_character_by_character(text: str, kind: str) -> None:
    tokenizer = getattr(tiny_tokenizers, kind)()
    ids = tokenizer.encode(text).ids
    stream = stream_of(tokenizer)
    said = ""
    whole = tokenizer.decode(ids)
    for token in ids:
        said += stream.push(token)
        assert whole.startswith(said)
    assert said + stream.flush() == whole


def test_only_an_incomplete_character_is_held() -> None:
    stream = ByteStream(TokenTexts(lambda token: bytes([token])))
    spoken = [stream.push(byte) for byte in "a🌍b".encode()]
    assert spoken == ["a", "", "", "", "🌍", "b"]
    assert not stream.holding
    assert (stream.push(0xF0), stream.holding, stream.flush()) == ("", True, "\ufffd")


def test_a_window_holds_an_incomplete_character_but_not_for_ever() -> None:
    stream = WindowStream(lambda ids: bytes(ids).decode(errors="replace"))
    spoken = [stream.push(byte) for byte in "a🌍".encode()]
    assert spoken == ["a", "", "", "", "🌍"]
    assert not stream.holding
    broken = [stream.push(0xFF) for _ in range(WindowStream.WINDOW)]
    assert broken[:-1] == [""] * (WindowStream.WINDOW - 1)
    assert set(broken[-1]) == {"\ufffd"}
    assert WindowStream(lambda ids: "").flush() == ""


def test_a_token_beyond_the_vocabulary_says_nothing() -> None:
    tokenizer = tiny_tokenizers.byte_level()
    stream = stream_of(tokenizer)
    assert streamed(stream, [10**6]) == ""


def test_a_decoder_of_another_kind_is_read_through_a_window() -> None:
    bare = Tokenizer.from_str(tiny_tokenizers.byte_fallback().to_str())
    for decoder in (
        None,
        tiny_tokenizers.decoders.Metaspace(),
        tiny_tokenizers.decoders.Sequence(
            [tiny_tokenizers.decoders.Fuse(), tiny_tokenizers.decoders.Strip("x", 2, 0)]
        ),
    ):
        bare.decoder = decoder
        assert isinstance(streams_of(bare, token_bytes_of(bare, frozenset()))(), WindowStream)


def reference_cut(text: str, stops: list[str]) -> str:
    """Character by character: the text before the first stop string that completes; of two, the longer."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


STOPS = st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=4)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.text("abc", max_size=4), max_size=12), STOPS)
def test_stop_strings_cut_alike_however_the_text_is_split(pieces: list[str], stops: list[str]) -> None:
    cutter = StopStrings(stops)
    shown = "".join(map(cutter.push, pieces))
    expected = reference_cut("".join(pieces), stops)
    assert cutter.matched == (expected != "".join(pieces))
    assert shown + cutter.flush() == expected


@settings(max_examples=500, deadline=None)
@given(st.text("abc", max_size=24), STOPS)
def test_no_more_is_held_than_could_begin_a_stop_string(text: str, stops: list[str]) -> None:
    cutter = StopStrings(stops)
    shown = ""
    for count, char in enumerate(text, start=1):
        shown += cutter.push(char)
        if cutter.matched:
            return
        held = text[:count].removeprefix(shown)
        assert shown + held == text[:count]
        assert held == max(
            (
                text[:count][-n:]
                for stop in stops
                for n in range(1, len(stop))
                if text[:count].endswith(stop[:n])
            ),
            key=len,
            default="",
        )


def test_without_stop_strings_everything_passes() -> None:
    cutter = StopStrings(["", ""])
    assert cutter.push("anything") == "anything"
    assert cutter.flush() == ""


def test_nothing_comes_after_a_stop_string() -> None:
    cutter = StopStrings(["END"])
    assert [cutter.push(text) for text in ("one E", "ND two", "three")] == ["one ", "", ""]
    assert (cutter.matched, cutter.flush()) == (True, "")


@pytest.mark.parametrize("stops", [["a" * 400 + "b"], ["ab" * 300, "ba" * 300]])
def test_long_repetitive_stop_strings_cost_no_more_per_character(stops: list[str]) -> None:
    cutter = StopStrings(stops)
    text = "a" * 20_000
    shown = "".join(map(cutter.push, text))
    assert shown + cutter.flush() == text
