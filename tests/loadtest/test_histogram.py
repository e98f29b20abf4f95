from __future__ import annotations

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.histogram import Histogram

times = st.lists(st.floats(min_value=1e-6, max_value=3600, allow_nan=False), min_size=1, max_size=100)


@given(times, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_that_of_a_plain_sort_to_a_tenth_of_a_percent(
    values: list[float], share: float
) -> None:
    rank = max(1, math.floor(share * len(values) + 0.5))
    assert Histogram(values).percentile(share) == pytest.approx(sorted(values)[rank - 1], rel=1e-3, abs=1e-6)


@given(times, times)
def test_histograms_add_up(some: list[float], others: list[float]) -> None:
    added = Histogram(some)
    added.add(Histogram(others))
    assert added.spread() == Histogram([*some, *others]).spread()
    assert len(added) == len(some) + len(others)


def test_what_is_longer_than_an_hour_counts_as_an_hour() -> None:
    assert Histogram([7200.0]).percentile(1.0) == pytest.approx(3600.0, rel=1e-3)


def test_nothing_has_no_percentile() -> None:
    assert Histogram().spread() is None
    with pytest.raises(ValueError, match="no values"):
        Histogram().percentile(0.5)


def test_it_is_written_in_the_format_of_all_hdr_histograms() -> None:
    assert base64.b64decode(Histogram([0.5]).encoded())[:3] == bytes.fromhex(
        "1c8493"
    )  # version 2, compressed
