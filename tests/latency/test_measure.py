"""Timing in turn, with a clock that only the timed calls move."""

import itertools
import logging

import pytest

from depthopt.errors import UsageError
from depthopt.latency.measure import (
    Effort,
    relative_error,
    sample_in_turn,
    summarise,
    time_in_turn,
)


class Machine:
    """A clock, and calls that take the times they are told and note their order."""

    def __init__(self):
        self.now = 0.0
        self.order = []

    def clock(self):
        return self.now

    def call(self, name, *durations_ms):
        pattern = itertools.cycle(durations_ms)

        def run():
            self.order.append(name)
            self.now += next(pattern) / 1e3

        return run


def test_gives_each_calls_own_time_in_milliseconds():
    machine = Machine()
    calls = {"a": machine.call("a", 0.25), "b": machine.call("b", 30.0)}
    found = time_in_turn(calls, clock=machine.clock)
    assert found["a"].median_ms == pytest.approx(0.25)
    assert found["b"].median_ms == pytest.approx(30.0)
    assert found["a"].count == found["b"].count == Effort().min_rounds


def test_runs_in_turn_in_bursts_after_half_as_many_untimed_calls():
    machine = Machine()
    calls = {"a": machine.call("a", 0.25), "b": machine.call("b", 3.0)}
    effort = Effort(burst_ms=1.0, warmup_s=0.0, min_rounds=2, max_rounds=2)
    time_in_turn(calls, effort=effort, clock=machine.clock)
    assert "".join(machine.order) == "ab" + 2 * ("aa" + "aaaa" + "b")


def test_what_runs_before_a_call_is_not_timed():
    machine = Machine()
    samples = sample_in_turn(
        {"a": machine.call("a", 0.5), "b": machine.call("b", 0.5)},
        effort=Effort(burst_ms=1.0, warmup_s=0.0, min_rounds=1, max_rounds=1),
        before={"a": machine.call("-", 70.0)},
        clock=machine.clock,
    )
    assert samples == {"a": [pytest.approx(0.5)], "b": [pytest.approx(0.5)]}
    assert "".join(machine.order) == "-ab" + "-a" + "-a-a" + "bbb"


def test_caches_are_warmed_by_as_many_untimed_calls_as_wanted():
    machine = Machine()
    calls = {"a": machine.call("a", 0.5), "b": machine.call("b", 3.0)}
    effort = Effort(burst_ms=1.0, warmup_s=0.0, min_rounds=1, max_rounds=1, warming=3)
    sample_in_turn(calls, effort=effort, before={"a": machine.call("-", 70.0)}, clock=machine.clock)
    assert "".join(machine.order) == "-ab" + 3 * "-a" + "-a-a" + "bb" + "b", "twice those timed"


def test_drift_of_the_machine_cancels_in_the_ratio():
    machine = Machine()
    drift = [1.0 + 0.01 * i for i in range(200)]
    calls = {
        "a": machine.call("a", *(3 * d for d in drift)),
        "b": machine.call("b", *(6 * d for d in drift)),
    }
    found = time_in_turn(
        calls, effort=Effort(warmup_s=0.0, max_rounds=199, burst_ms=2.0), clock=machine.clock
    )
    assert found["b"].median_ms / found["a"].median_ms == pytest.approx(2.0, rel=1e-9)


def test_outliers_stay_in_the_count_and_move_the_median_little():
    machine = Machine()
    effort = Effort(min_rounds=50, max_rounds=50, warmup_s=0.0, burst_ms=2.0)
    call = machine.call("a", 3.0, 3.0, 3.0, 3.0, 300.0)
    found = time_in_turn({"a": call}, effort=effort, clock=machine.clock)["a"]
    assert (found.median_ms, found.count) == (pytest.approx(3.0), 50)


def test_goes_on_until_the_median_is_known_and_no_longer():
    noise = (9.0, 11.0, 10.0, 9.5, 10.5, 10.1, 9.9)
    counts = {}
    for tolerance in (0.05, 0.01):
        machine = Machine()
        effort = Effort(tolerance=tolerance, warmup_s=0.0, seconds=1e6, burst_ms=2.0)
        call = machine.call("a", *noise)
        counts[tolerance] = time_in_turn({"a": call}, effort=effort, clock=machine.clock)["a"].count
    assert counts[0.05] < counts[0.01] < Effort().max_rounds


def test_stops_at_the_cap_and_says_that_the_machine_is_noisy(caplog):
    machine = Machine()
    effort = Effort(seconds=0.5, warmup_s=0.1, tolerance=1e-6, burst_ms=2.0)
    call = machine.call("original", 9.0, 11.0, 10.0)
    with caplog.at_level(logging.WARNING):
        found = time_in_turn({"original": call}, effort=effort, clock=machine.clock)["original"]
    assert machine.now == pytest.approx(0.5, abs=0.02)
    assert found.q1_ms < found.q3_ms
    assert "original" in caplog.text
    assert "noisy" in caplog.text


def test_summary_holds_the_quartiles():
    summary = summarise([1.0, 2.0, 3.0, 4.0, 100.0], 0.01)
    assert (summary.q1_ms, summary.median_ms, summary.q3_ms, summary.count) == (2.0, 3.0, 4.0, 5)


def test_summary_says_whether_the_samples_suffice():
    assert summarise([1.0] * 9, 0.01).settled is True
    assert summarise([1.0, 1.5, 2.0] * 3, 0.01).settled is False
    assert summarise([1.0, 1.5, 2.0] * 3, 0.9).settled is True


def test_relative_error_shrinks_with_the_count_and_never_divides_by_zero():
    few, many = [1.0, 1.1, 0.9] * 5, [1.0, 1.1, 0.9] * 500
    assert relative_error(many) <= relative_error(few)
    assert relative_error([0.0, 0.0]) == float("inf")


def test_refuses_an_effort_that_measures_nothing():
    with pytest.raises(UsageError, match="positive"):
        Effort(seconds=0)
