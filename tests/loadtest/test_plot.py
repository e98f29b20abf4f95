"""The plots' scales."""

from __future__ import annotations

import math

import pytest

from loadtest.plot import scale_marks


@pytest.mark.parametrize("power", range(-3, 6))
def test_marks_lie_around_values_that_differ_from_a_power_of_ten_in_their_last_digit(power: int) -> None:
    exact = float(f"1e{power}")
    for value in (exact, math.nextafter(exact, 0.0), math.nextafter(exact, math.inf)):
        marks = scale_marks([value])
        assert marks[0] <= value <= marks[-1]
        assert marks[0] < marks[-1]
