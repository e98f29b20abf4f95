"""Encoding in a batch of one: the same ids, and the other threads go on."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from engine.encoding import ids_of
from tests.engine import tiny_tokenizers as tiny

KINDS = {
    "byte level": tiny.byte_level(),
    "byte fallback": tiny.byte_fallback(),
    "first space dropped": tiny.first_space_dropped(),
}
PARTS = st.sampled_from(
    ["<|im_end|>", "<bos>", "</s>", "<end_of_turn>", "\n", "  ", "\0", "👩‍👩‍👧", "\U00010000"]
)


@pytest.mark.parametrize("tokenizer", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("special", [False, True])
@settings(max_examples=100, deadline=None)
@given(parts=st.lists(PARTS | st.text(max_size=20), max_size=8))
def test_any_text_gives_the_ids_that_encode_gives(
    tokenizer: Tokenizer, special: bool, parts: list[str]
) -> None:
    text = "".join(parts)
    expected = tokenizer.encode(text, add_special_tokens=special).ids
    assert ids_of(tokenizer, text, special=special) == expected


def test_a_lone_surrogate_is_an_error_and_not_other_text() -> None:
    for tokenizer in KINDS.values():
        with pytest.raises(TypeError):
            ids_of(tokenizer, "a\ud800b")


def test_other_threads_run_while_a_long_text_is_encoded() -> None:
    text = "one two three four " * 50_000
    turns = 0

    def turns_meanwhile() -> int:
        before = turns
        ids_of(KINDS["byte level"], text)
        return turns - before

    with ThreadPoolExecutor(1) as pool:
        encoding = pool.submit(turns_meanwhile)
        while not encoding.done():
            time.sleep(0.001)
            turns += 1
    assert encoding.result() >= 10  # 2 if the GIL is held
