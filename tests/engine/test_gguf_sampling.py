"""What a GGUF file says about sampling, and what counts where it says nothing of use."""

from __future__ import annotations

import math

import pytest

from engine.gguf_sampling import gguf_sampling

USUAL = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}


def test_without_a_word_of_the_file_it_is_as_llama_cpp_has_it() -> None:
    assert gguf_sampling(lambda key: None) == USUAL


def test_each_of_the_files_words_counts_for_itself() -> None:
    said = {
        "general.sampling.top_k": 20,
        "general.sampling.temp": 0.0,
        "general.sampling.penalty_repeat": 1.1,
    }
    assert gguf_sampling(said.get) == USUAL | {"top_k": 20, "temperature": 0.0, "repetition_penalty": 1.1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, "0.5", True, [0.5], None])
@pytest.mark.parametrize("name", ["temp", "top_p", "penalty_repeat"])
def test_what_no_sampler_could_take_counts_as_nothing(name: str, value: object) -> None:
    assert gguf_sampling({f"general.sampling.{name}": value}.get) == USUAL


@pytest.mark.parametrize("name", ["top_p", "min_p"])
def test_a_share_above_one_is_none(name: str) -> None:
    assert gguf_sampling({f"general.sampling.{name}": 1.5}.get) == USUAL


def test_a_penalty_that_would_divide_by_nothing_is_none() -> None:
    assert gguf_sampling({"general.sampling.penalty_repeat": 0.0}.get) == USUAL
