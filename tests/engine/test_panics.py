"""A library's panic is an exception like others: a request's, and not the end of the process."""

from __future__ import annotations

import pytest
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split

from engine.aside import aside
from engine.encoding import ids_of
from engine.panics import LibraryPanic, panics_raised
from engine.request import EngineError

TOO_LONG = "a" * 100 + "b" * 40


@pytest.fixture
def backtracking() -> Tokenizer:
    tokenizer = Tokenizer(BPE({"a": 0, "b": 1}, []))
    tokenizer.pre_tokenizer = Split(Regex("(a|aa|a)+(b|bb)+$c"), "isolated")
    return tokenizer


def test_a_tokenizer_that_gives_up_refuses_the_text(backtracking: Tokenizer) -> None:
    assert ids_of(backtracking, "ab") == [0, 1]
    with pytest.raises(EngineError, match="cannot read the text") as refused:
        ids_of(backtracking, TOO_LONG)
    assert refused.value.code == "model_error"


def test_a_panic_aside_is_an_exception(backtracking: Tokenizer) -> None:
    with pytest.raises(LibraryPanic):
        aside("test", lambda: backtracking.encode(TOO_LONG)).result(30)


def test_all_else_stays_what_it_is() -> None:
    for fault in (KeyboardInterrupt, ValueError):
        with pytest.raises(fault), panics_raised():
            raise fault
