from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.model_name import split_name

NAMES = st.text("ab:.", min_size=1, max_size=6)


@given(NAMES, st.text("ab.", min_size=1, max_size=3))
def test_a_model_of_any_name_and_an_adapter_without_colons_are_told_apart(model: str, adapter: str) -> None:
    assert split_name(model, {model}) == (model, None)
    assert split_name(f"{model}:{adapter}", {model}) == (model, adapter)


@given(NAMES)
def test_what_no_model_is_called_is_split_or_stays_whole(name: str) -> None:
    model, adapter = split_name(name, ())
    assert name == (model if adapter is None else f"{model}:{adapter}")
    assert adapter is None or ":" not in adapter


def test_a_model_whose_own_name_looks_like_an_adapters_is_the_model() -> None:
    assert split_name("llama:8b", {"llama", "llama:8b"}) == ("llama:8b", None)
