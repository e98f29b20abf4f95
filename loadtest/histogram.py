"""Times in an HDR histogram: any number of them in little room, each right to a tenth of a percent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hdrh.histogram import HdrHistogram

from loadtest.figures import Spread

_UNIT_S: Final = 1e-6
_HIGHEST: Final = 3600 * 1_000_000  # an hour; what is longer counts as an hour
_DIGITS: Final = 3


class Histogram:
    """Seconds, kept as whole microseconds with three significant digits."""

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._counts = HdrHistogram(1, _HIGHEST, _DIGITS)
        for value in seconds:
            self.record(value)

    def record(self, seconds: float) -> None:
        self._counts.record_value(min(_HIGHEST, max(1, round(seconds / _UNIT_S))))

    def add(self, other: Histogram) -> None:
        self._counts.add(other._counts)

    def __len__(self) -> int:
        return int(self._counts.get_total_count())

    def percentile(self, share: float) -> float:
        """The seconds that `share` (0 to 1) of the values do not exceed. Raises ValueError for none."""
        if not len(self):
            raise ValueError("a percentile of no values")
        return float(self._counts.get_value_at_percentile(share * 100)) * _UNIT_S

    def spread(self) -> Spread | None:
        """None of no values: a figure that was not measured stays empty."""
        if not len(self):
            return None
        return Spread(
            len(self), self.percentile(0.5), self.percentile(0.9), self.percentile(0.99), self.percentile(1)
        )

    def encoded(self) -> str:
        """Base64 in the format that all HDR histograms share; the unit is the microsecond."""
        encoded: bytes = self._counts.encode()
        return encoded.decode()
