"""The bootstrap's intervals, and the verdicts on them."""

import math

import numpy as np
import pytest

from depthopt.check.statistics import Change, change_by_yardsticks, change_of
from depthopt.check.verdict import Verdict, confirmed, judge

QUIET = Change(0.0, -0.005, 0.005)


def test_a_change_is_the_median_of_the_ratios():
    log_ratios = np.log(np.array([[1.1, 1.08], [1.12, 1.1], [1.1, 3.0]]))
    change = change_of(log_ratios)
    assert change.estimate == pytest.approx(0.1)
    assert change.low <= change.estimate <= change.high
    assert change == change_of(log_ratios)


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_an_interval_covers_the_truth_where_sessions_differ(spread):
    """Pairs of a session share its offset: ten of them are no ten witnesses."""
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        offsets = generator.normal(0, spread, size=(8, 1))
        ratios = math.log(1.05) + offsets + generator.normal(0, 0.01, size=(8, 6))
        change = change_of(ratios, seed=trial)
        covered += change.low <= 0.05 <= change.high
    assert covered >= 52


def shares(generator, drift, rounds=6):
    """Of 8 yardsticks, each with an offset of its own, in rounds that share theirs."""
    own = np.linspace(-1, 1, 8)[:, None]
    common = generator.normal(drift, 0.02, size=(1, rounds))
    return own + common + generator.normal(0, 0.005, size=(8, rounds))


def test_a_change_by_yardsticks_is_that_of_the_network():
    generator = np.random.default_rng(0)
    change = change_by_yardsticks(shares(generator, 0.0), shares(generator, -math.log(1.3)))
    assert change.estimate == pytest.approx(0.3, abs=0.05)
    assert change.low < change.estimate < change.high


@pytest.mark.parametrize("rounds", [1, 6])
def test_an_interval_by_yardsticks_covers_the_truth_where_rounds_differ(rounds):
    """48 shares of six rounds are six witnesses: taken for 48, they cover 22 times in 60."""
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        before = shares(generator, 0.0) if rounds > 1 else np.linspace(-1, 1, 8)[:, None]
        change = change_by_yardsticks(before, shares(generator, 0.0), seed=trial)
        covered += change.low <= 0 <= change.high
    assert covered >= 48


@pytest.mark.parametrize(
    ("change", "control", "outcome", "reason"),
    [
        (Change(0.08, 0.07, 0.09), QUIET, "regression", "slower by +8.0% (+7.0% to +9.0%)"),
        (Change(0.01, -0.01, 0.02), QUIET, "pass", "not slower"),
        (Change(-0.2, -0.21, -0.19), QUIET, "pass", "faster"),
        (Change(0.06, 0.04, 0.08), QUIET, "inconclusive", "lies within the interval"),
        (Change(0.01, -0.01, 0.02), Change(0.0, -0.09, 0.09), "inconclusive", "itself"),
        (Change(0.08, 0.07, 0.09), Change(0.0, -0.1, 0.1), "inconclusive", "itself"),
        (Change(0.30, 0.25, 0.35), Change(0.0, -0.1, 0.1), "regression", "slower"),
    ],
)
def test_a_verdict_needs_the_interval_and_the_noise_floor(change, control, outcome, reason):
    verdict = judge(change, control, 0.05)
    assert verdict.outcome == outcome
    assert reason in verdict.reason


def test_what_is_inconclusive_says_what_would_settle_it():
    for change, control in [
        (Change(0.06, 0.04, 0.08), QUIET),
        (Change(0.0, 0.0, 0.0), Change(0.0, -0.3, 0.3)),
    ]:
        assert "--seconds" in judge(change, control, 0.05).reason


def test_a_suspicion_is_called_only_if_a_second_measurement_agrees():
    both = Verdict("regression", "slower")
    beyond, short = Change(0.07, 0.04, 0.1), Change(0.045, 0.03, 0.06)
    unsure, passed = Verdict("inconclusive", "wide"), Verdict("pass", "fine")
    assert confirmed(beyond, unsure, both, 0.05) is both
    assert confirmed(short, unsure, both, 0.05).outcome == "inconclusive"
    assert confirmed(beyond, passed, both, 0.05).outcome == "inconclusive"
    assert confirmed(short, passed, passed, 0.05) is passed
