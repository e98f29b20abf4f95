from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.figures import Spread, median, median_spread, percentile, ratio

seconds = st.floats(min_value=0, max_value=1e6, allow_nan=False)
several = st.lists(seconds, min_size=1, max_size=200)


@given(several, st.floats(min_value=0, max_value=1))
def test_a_percentile_is_the_one_numpy_computes(values: list[float], share: float) -> None:
    assert percentile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-9)


@given(several, st.floats(min_value=0, max_value=1), st.floats(min_value=0, max_value=1))
def test_a_percentile_lies_within_the_values_and_rises_with_its_share(
    values: list[float], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert min(values) <= percentile(values, low) <= percentile(values, high) <= max(values)


@given(several, st.randoms())
def test_the_order_of_values_does_not_matter(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Spread.of(shuffled) == Spread.of(values)


@given(several)
def test_the_median_is_the_one_of_the_standard_library(values: list[float]) -> None:
    assert median(values) == pytest.approx(statistics.median(values), rel=1e-12)


@given(several)
def test_a_spread_holds_the_count_the_end_and_the_percentiles(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread is not None
    assert (spread.count, spread.max) == (len(values), max(values))
    assert spread.p50 == percentile(values, 0.5)
    assert spread.p90 == percentile(values, 0.9)
    assert spread.p99 == percentile(values, 0.99)


@given(st.lists(several, min_size=1, max_size=7))
def test_the_median_of_spreads_takes_each_figure_by_itself(runs: list[list[float]]) -> None:
    spreads = [spread for run in runs if (spread := Spread.of(run)) is not None]
    middle = median_spread(spreads)
    assert middle is not None
    assert middle.count == sum(len(run) for run in runs)
    assert middle.p99 == median(percentile(run, 0.99) for run in runs)
    assert middle.max == median(max(run) for run in runs)


def test_what_was_not_measured_stays_empty() -> None:
    assert Spread.of([]) is None
    assert median_spread([]) is None
    assert ratio(3.0, 0.0) is None


def test_a_ratio_is_ours_of_theirs() -> None:
    assert ratio(3.0, 4.0) == 0.75


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        percentile([1.0], share)


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
