"""Footprints: the regression against a law that is known, and which plans are timed."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from depthopt.core.candidate import kept_blocks
from depthopt.errors import ModelError, TableError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import candidate_ms, latency_keys, network_ms, parameters_read
from depthopt.latency import footprint
from depthopt.latency.footprint import Sample, fitted, isotonic, with_footprints
from depthopt.tables.latency import (
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
    NetworkLatency,
)
from tests.networks import Residual

MODEL = Residual()
CHAIN = extract(MODEL, (2, 8, 8), name="Residual")
FOUND = candidates(CHAIN, kinds=("drop", "fit"), kernel_sizes=(1, 3))
KEPT = kept_blocks(CHAIN)
CONDITIONS = MeasurementConditions("cpu", "none", "1", 1, "float32", 1, ballast_mib=4.0)

values = st.lists(st.floats(-3, 3), min_size=1, max_size=12)


@given(values, st.integers(0, 10**6))
def test_isotonic_regression_equals_scikit_learns(numbers, seed):
    weights = np.random.default_rng(seed).uniform(0.1, 5.0, len(numbers))
    theirs = IsotonicRegression().fit(np.arange(len(numbers)), numbers, weights)
    assert isotonic(np.array(numbers), weights) == pytest.approx(
        theirs.predict(np.arange(len(numbers))), abs=1e-6
    )


def law(fixed_ms, bend, steep):
    """The factor rises with the weights read from ``bend`` on."""

    def latency_ms(entries_ms, parameters):
        factor = 0.9 + steep * max(0.0, parameters / 1e6 - bend) ** 2
        return factor * (fixed_ms + entries_ms)

    return latency_ms


def samples(draw, latency_ms, count, noise=0.0):
    """The original, of 4 million parameters, and networks that are faster and read less."""
    original = Sample(1.0, 4_000_000, latency_ms(1.0, 4_000_000))
    found = []
    for share in np.linspace(0.04, 1.0, count):
        entries, read = float(draw.uniform(0.05, 0.9)), int(share * 4_000_000)
        measured = latency_ms(entries, read) * np.exp(noise * draw.normal())
        found.append(Sample(entries, read, measured))
    fastest = replace(found[0], entries_ms=0.05, latency_ms=latency_ms(0.05, 160_000))
    return original, [fastest, *found[1:]]


def predicted(found, entries_ms, parameters):
    fixed_ms, footprints = found
    summary = LatencySummary(1.0, 1.0, 1.0, 1)
    factor = NetworkLatency(summary, fixed_ms, footprints=footprints).factor(parameters)
    return factor * (fixed_ms + entries_ms)


@pytest.mark.parametrize(("fixed_ms", "bend", "steep"), [(0.05, 1.0, 0.05), (0.2, 0.0, 0.0)])
def test_a_known_law_is_found(fixed_ms, bend, steep):
    latency_ms = law(fixed_ms, bend, steep)
    for seed in range(5):
        draw = np.random.default_rng(seed)
        found = fitted(*samples(draw, latency_ms, 12, noise=0.01))
        _, others = samples(draw, latency_ms, 30)
        errors = [predicted(found, s.entries_ms, s.parameters) / s.latency_ms - 1 for s in others]
        assert np.median(np.abs(errors)) < 0.03
        assert np.abs(errors).max() < 0.08


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6))
def test_the_original_is_met_exactly_and_footprints_rise(seed, plans):
    draw = np.random.default_rng(seed)
    original = Sample(float(draw.uniform(0.1, 2)), int(draw.integers(1, 50)), 1.0)
    others = [
        Sample(float(draw.uniform(0.0, 2)), int(draw.integers(0, 60)), float(draw.uniform(0.1, 2)))
        for _ in range(plans)
    ]
    found = fitted(original, others)
    assert predicted(found, original.entries_ms, original.parameters) == pytest.approx(1.0)
    assert found[0] >= 0
    assert 1 <= len(found[1]) <= 10
    NetworkLatency(LatencySummary(1.0, 1.0, 1.0, 1), 0.0, footprints=found[1])


def table(seed=0):
    draw = np.random.default_rng(seed)
    keys = sorted({key for c in FOUND for key in latency_keys(CHAIN, c)}, key=str)
    entries = {
        key: LatencySummary(ms, ms, ms, 5)
        for key, ms in zip(keys, draw.uniform(0.1, 2.0, len(keys)).tolist(), strict=True)
    }
    flat = LatencyTable(CONDITIONS, entries)
    total = 0.5 + sum(candidate_ms(CHAIN, block, flat) for block in KEPT)
    network = NetworkLatency(LatencySummary(total, total, total, 5), 0.5)
    return replace(flat, networks={NetworkKey.of(CHAIN): network})


def timed(monkeypatch, speedup):
    """What ``with_footprints`` times, by a function of a plan."""
    plans = []

    @contextmanager
    def plan_timer(*_args, **_options):
        def timer(plan):
            plans.append(plan)
            return speedup(plan)

        yield timer

    monkeypatch.setattr(footprint, "plan_timer", plan_timer)
    return plans


def true_speedup(flat):
    """Of networks that take 1.2 times their sum where they read more than half of the weights."""
    most = sum(parameters_read(CHAIN, block) for block in KEPT)

    def ms(choices):
        read = sum(parameters_read(CHAIN, choice) for choice in choices)
        own = sum(candidate_ms(CHAIN, choice, flat) for choice in choices)
        return (1.2 if read > most / 2 else 1.0) * (0.3 + own)

    return lambda plan: ms(KEPT) / ms(plan.choices)


def test_plans_from_the_fewest_weights_to_the_most_are_timed_and_predicted(monkeypatch):
    flat = table()
    speedup, said = true_speedup(flat), []
    plans = timed(monkeypatch, speedup)
    found = with_footprints(
        MODEL, CHAIN, FOUND, flat, runtime=None, progress=lambda *done: said.append(done)
    )
    assert found.entries == flat.entries
    network = found.network(CHAIN)
    assert network.parameters == sum(parameters_read(CHAIN, block) for block in KEPT)
    assert network_ms(CHAIN, KEPT, found) == pytest.approx(network.total.median_ms, rel=1e-4)
    assert len(plans) == len(set(plans)) <= 8
    read = [sum(parameters_read(CHAIN, c) for c in plan.choices) for plan in plans[1:]]
    assert read == sorted(read)
    assert read[0] < read[-1] / 2
    errors = [
        network.total.median_ms / network_ms(CHAIN, p.choices, found) / speedup(p) - 1
        for p in plans
    ]
    assert np.median(np.abs(errors)) < 0.05
    assert said[-1] == (len(plans), len(plans), "plans timed")
    assert with_footprints(MODEL, CHAIN, FOUND, flat, runtime=None) == found, "the same each time"


def test_a_plan_that_cannot_be_run_is_left_out_and_said(monkeypatch, caplog):
    flat = table()
    speedup = true_speedup(flat)

    def some(plan):
        if plan == plans[0]:
            raise ModelError("the runtime has no such operator")
        return speedup(plan)

    plans = timed(monkeypatch, some)
    found = with_footprints(MODEL, CHAIN, FOUND, flat, runtime=None)
    assert found.network(CHAIN).footprints
    assert "left out of the footprints: the runtime has no such operator" in caplog.text


def test_plans_that_are_not_as_predicted_are_warned_of(monkeypatch, caplog):
    draw = np.random.default_rng(0)
    timed(monkeypatch, lambda _plan: float(draw.uniform(0.5, 9.0)))
    with_footprints(MODEL, CHAIN, FOUND, table(), runtime=None)
    assert "more or less than predicted, in the median of" in caplog.text


def test_a_network_without_candidates_is_its_own_sum(monkeypatch):
    plans = timed(monkeypatch, lambda _plan: 1.0)
    found = with_footprints(MODEL, CHAIN, KEPT, table(), runtime=None)
    assert plans == []
    network = found.network(CHAIN)
    assert len(network.footprints) == 1
    assert network_ms(CHAIN, KEPT, found) == pytest.approx(network.total.median_ms)


def test_a_table_without_the_network_is_refused():
    with pytest.raises(TableError, match="holds no network Residual"):
        with_footprints(MODEL, CHAIN, FOUND, replace(table(), networks={}), runtime=None)


def test_entries_too_quick_for_the_clock_spoil_nothing():
    original = Sample(1.0, 100, 2.0)
    fixed_ms, footprints = fitted(original, [Sample(0.0, 10, 0.5), Sample(0.0, 0, 0.4)])
    assert fixed_ms > 0
    assert all(np.isfinite(each.factor) for each in footprints)
    assert fitted(Sample(0.0, 100, 2.0), [])[0] == 0.0
