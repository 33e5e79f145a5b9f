"""A metric: which way is better, and how it is written."""

import pytest

from depthopt.core.metric import Metric

ACCURACY = Metric("accuracy", "%", scale=100)
ERROR = Metric("mean squared error", higher_is_better=False)


@pytest.mark.parametrize(("metric", "better", "worse"), [(ACCURACY, 90, 80), (ERROR, 0.1, 0.2)])
def test_a_gain_is_positive_where_it_is_better(metric: Metric, better: float, worse: float) -> None:
    assert metric.gain(worse, better) > 0 > metric.gain(better, worse)
    assert metric.reached(better, worse)
    assert metric.reached(better, better)
    assert not metric.reached(worse, better)


def test_figures_bear_their_unit_if_there_is_one() -> None:
    assert (ACCURACY.label, ERROR.label) == ("accuracy, %", "mean squared error")
    assert (ACCURACY.text(98), ERROR.text(0.00123456)) == ("98.00 %", "0.001235")
    assert (ACCURACY.figure(97.25, 1), ERROR.figure(12.0)) == ("97.2", "12")


def test_the_noise_of_a_share_falls_with_the_number_of_examples() -> None:
    assert ACCURACY.noise(50, 100) == pytest.approx(5)
    assert ACCURACY.noise(50, 400) == pytest.approx(2.5)
    assert ACCURACY.noise(100, 9) == 0
    assert ERROR.noise(0.5, 100) == 0
