from __future__ import annotations

from loadtest.compare import Ratio, all_ratios, medians
from loadtest.outcome import Outcome
from loadtest.rounds import Case


def case(label: str, *values: float, plan: str = "1 stream", name: str = "tokens/s") -> Case:
    outcomes = {
        round_: Outcome({name: value}, 1, {"usage": 1}, 0, {}, {}) for round_, value in enumerate(values, 1)
    }
    return Case(plan, label, outcomes)


def test_a_median_is_that_of_the_rounds_that_have_the_measure() -> None:
    of = case("a", 1.0, 5.0, 3.0)
    of.outcomes[0] = Outcome({}, 1, {}, 0, {"refused": 1}, {})
    assert medians(of) == {"tokens/s": 3.0}


def test_ratios_are_taken_within_a_round() -> None:
    noisy = [case("ours", 10.0, 20.0, 90.0), case("theirs", 5.0, 20.0, 30.0)]
    assert all_ratios(noisy) == [Ratio("1 stream", "tokens/s", "ours", "theirs", 2.0, 1.0, 3.0)]


def test_a_round_that_one_of_them_lacks_is_left_out() -> None:
    ours, theirs = case("ours", 10.0, 20.0), case("theirs", 5.0, 5.0)
    del theirs.outcomes[2]
    (one,) = all_ratios([ours, theirs])
    assert (one.median, one.lowest, one.highest) == (2.0, 2.0, 2.0)


def test_what_one_of_them_does_not_tell_has_no_ratio() -> None:
    assert all_ratios([case("ours", 1.0, name="lag"), case("theirs", 2.0)]) == []
    assert all_ratios([case("ours", 1.0), case("theirs", 0.0)]) == []
    assert all_ratios([case("ours", 1.0)]) == []


def test_the_first_is_set_beside_every_other_in_each_plan() -> None:
    cases = [case(label, 2.0, plan=plan) for plan in ("1 stream", "8 streams") for label in ("a", "b", "c")]
    found = [(one.plan, one.ours, one.theirs) for one in all_ratios(cases)]
    assert found == [(plan, "a", other) for plan in ("1 stream", "8 streams") for other in ("b", "c")]
