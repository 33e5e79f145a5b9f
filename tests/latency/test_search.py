"""The least costly network that is as fast as asked, among many that are slow to measure."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthopt.latency.search import NEAR, SAME, least_costly_index, most_measured


@given(
    st.lists(st.floats(0.001, 0.5), max_size=60),
    st.floats(0.5, 2.0),
    st.floats(0.3, 3.0),
    st.floats(0.5, 8.0),
)
def test_the_index_is_fast_enough_and_no_much_milder_one_is(steps, bend, ratio, asked):
    """Whatever the predictions are off by: measured speed-ups only have to rise with them."""
    predicted = [1.0]
    for step in steps:
        predicted.append(predicted[-1] * (1 + step))
    true = [ratio * speedup**bend for speedup in predicted]
    known = {}
    index = least_costly_index(predicted, lambda i: true[i], asked, known=known)
    enough = [i for i, speedup in enumerate(true) if speedup >= asked]
    assert len(known) <= most_measured(len(predicted))
    if not enough:
        assert index is None
        assert known[len(true) - 1] == true[-1]
        return
    assert true[index] >= asked
    assert true[index] <= asked * NEAR or predicted[index] <= predicted[enough[0]] * SAME


def test_no_network_is_no_answer():
    assert least_costly_index([], math.sqrt, 2.0, known={}) is None


def test_what_was_measured_before_is_not_measured_again():
    """Nor is what lies outside of it."""
    predicted = [1 + i / 50 for i in range(100)]
    known, measured = {20: 1.2, 60: 1.6, 90: 1.9}, []

    def measure(index):
        measured.append(index)
        return 1 + index / 100

    index = least_costly_index(predicted, measure, 1.5, known=known)
    assert index in (50, 51, 52, 53)
    assert all(20 < i < 60 for i in measured)
    assert known.keys() == {20, 60, 90, *measured}
    again = len(measured)
    assert least_costly_index(predicted, measure, 1.5, known=known) == index
    assert len(measured) == again


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.4])
def test_measurements_lead_to_the_index_where_predictions_are_off_by_a_factor(ratio):
    """One tells by how much; a thousand networks take no more than three."""
    predicted, measured = [1 + i / 500 for i in range(1000)], []

    def measure(index):
        measured.append(index)
        return ratio * predicted[index]

    index = least_costly_index(predicted, measure, 2.0, known={})
    assert 2.0 <= ratio * predicted[index] <= 2.0 * NEAR
    assert len(measured) <= 3
