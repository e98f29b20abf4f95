from __future__ import annotations

import pytest

from loadtest.lag import buckets_of, lag_buckets, lag_p99_s
from tests.app.serving import serving
from tests.loadtest.peer import answering, over_http, over_socket

pytestmark = pytest.mark.anyio
INF = float("inf")


async def test_our_server_tells_its_lag_by_either_way_in() -> None:
    async with serving() as served:
        for target in (over_socket(served), over_http(served)):
            assert {0.005, INF} <= (await lag_buckets(target)).keys()


async def test_a_server_that_tells_none_has_none() -> None:
    async with answering([b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", b""]) as target:
        assert await lag_buckets(target) == {}
        assert await lag_buckets(target) == {}
    assert await lag_buckets(target) == {}


def test_the_bound_is_the_least_that_99_of_100_timers_kept() -> None:
    before = {0.001: 5.0, 0.005: 10.0, INF: 10.0}
    assert lag_p99_s(before, {0.001: 103.0, 0.005: 109.0, INF: 110.0}) == 0.005
    assert lag_p99_s(before, {0.001: 104.0, 0.005: 109.0, INF: 110.0}) == 0.001


def test_no_timer_or_none_within_a_bound_is_no_figure() -> None:
    counts = {0.001: 5.0, INF: 10.0}
    assert lag_p99_s(counts, counts) is None
    assert lag_p99_s({}, {}) is None
    assert lag_p99_s({}, counts) is None


def test_other_metrics_are_passed_over() -> None:
    text = (
        'other_bucket{le="1"} 4.0\nsluice_event_loop_lag_seconds_bucket{le="0.005"} 3.0\n'
        'sluice_event_loop_lag_seconds_bucket{le="+Inf"} 4.0\nsluice_event_loop_lag_seconds_count 4.0\n'
    )
    assert buckets_of(text) == {0.005: 3.0, INF: 4.0}
