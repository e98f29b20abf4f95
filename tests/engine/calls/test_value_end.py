"""Ends of values before a tag, found wherever the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.calls.value_end import ValueEnd


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("1</p>2", 5),
        ('"</p>"</p>', 10),
        ('"\\"</p>"</p>', 12),
        ('"\\\\"</p>', 8),
        ('"open\n</p>', 10),
        ('"open\\\n</p>', 11),
        ("a < b </</p>", 12),
        ('"</p>', None),
        ('"\\', None),
        ("</p", None),
        ("", None),
    ],
)
def test_first_tag_that_is_in_no_string(text: str, end: int | None) -> None:
    assert ValueEnd("</p>").find(text) == end


@given(st.lists(st.sampled_from(["</p>", '"', "\\", "\n", "<", "x", "</"]), max_size=12), st.data())
def test_any_cut_of_a_value_has_the_same_end(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    value = ValueEnd("</p>")
    for cut in sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=5)) | {len(text)}):
        if (end := value.find(text[:cut])) is not None:
            break
    assert end == ValueEnd("</p>").find(text)
