"""Random plans against a table."""

from dataclasses import replace

import pytest
import torch

from depthopt.core.operators import Identity
from depthopt.errors import TableError, UsageError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.latency.measure import Effort
from depthopt.latency.validate import random_plan, validate
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import LatencySummary, LatencyTable, NetworkKey, NetworkLatency
from tests.networks import Residual

MODEL = Residual()
CHAIN = extract(MODEL, (2, 8, 8), name="Residual")
FOUND = candidates(CHAIN, kinds=("drop", "fit", "merge"))
RUNTIME = get_runtime("onnxruntime")
QUICK = Effort(seconds=0.05, tolerance=1.0, min_rounds=3, warmup_s=0.0, burst_ms=0.1)


def height(operator):
    return 0.5 if isinstance(operator, Identity) else float(operator.kernel_size[0])


def table(**changes):
    """Every convolution takes as many milliseconds as its kernel is high."""
    keys = {key for candidate in FOUND for key in latency_keys(CHAIN, candidate)}
    times = {key: height(key.operator) for key in keys}
    entries = {key: LatencySummary(ms, ms, ms, 9) for key, ms in times.items()}
    total = LatencySummary(20.0, 20.0, 20.0, 9)
    networks = {NetworkKey.of(CHAIN): NetworkLatency(total, 2.0, 0.97)}
    return LatencyTable(replace(RUNTIME.conditions(1), **changes), entries, networks)


def test_a_prediction_is_the_sum_of_the_entries_and_the_fixed_part():
    progress = []
    found = validate(
        MODEL,
        CHAIN,
        FOUND,
        table(),
        runtime=RUNTIME,
        plans=2,
        effort=QUICK,
        progress=lambda *done: progress.append(done),
    )
    for timing in found.timings:
        assert set(timing.replaced) <= set(FOUND)
        touched = {i for c in timing.replaced for i in range(c.start, c.end)}
        kept = [c for c in FOUND if c.kind == "keep" and c.start not in touched]
        predicted = 2.0 + sum(candidate_ms(CHAIN, c, table()) for c in (*kept, *timing.replaced))
        assert timing.predicted_ms == pytest.approx(predicted)
        assert timing.predicted_speedup == pytest.approx(20.0 / predicted)
        assert timing.measured_speedup > 0
        assert timing.error == pytest.approx(20.0 / predicted / timing.measured_speedup - 1)
    assert found.network == NetworkKey.of(CHAIN)
    assert found.blocks_share == 0.97
    assert progress == [(done, 2, "plans timed") for done in (0, 1, 2)]


def test_plans_are_legal_differ_and_come_from_the_seed():
    plans = [random_plan(CHAIN, FOUND, seed=seed) for seed in range(20)]
    assert plans == [random_plan(CHAIN, FOUND, seed=seed) for seed in range(20)]
    assert len({plan.choices for plan in plans}) > 5
    for plan in plans:
        ends = [0, *(choice.end for choice in plan.choices)]
        assert [choice.start for choice in plan.choices] == ends[:-1]
        assert ends[-1] == len(CHAIN.blocks)


def test_the_model_is_left_as_it_was():
    before = {key: value.clone() for key, value in MODEL.state_dict().items()}
    validate(MODEL, CHAIN, FOUND, table(), runtime=RUNTIME, plans=1, effort=QUICK)
    assert all(torch.equal(before[key], value) for key, value in MODEL.state_dict().items())


def test_a_table_of_another_device_is_refused():
    with pytest.raises(TableError, match="'abacus' against"):
        validate(MODEL, CHAIN, FOUND, table(device="abacus"), runtime=RUNTIME)


def test_no_plans_validate_nothing():
    with pytest.raises(UsageError, match="0 plans"):
        validate(MODEL, CHAIN, FOUND, table(), runtime=RUNTIME, plans=0)
