"""The papers' objectives, worked out by hand for three blocks, in points and in fractions."""

import math
from dataclasses import replace

import pytest

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.operators import Activation, Convolution
from depthopt.frontier.solve import solve
from depthopt.kinds.latency_keys import latency_keys
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import LatencySummary, LatencyTable, NetworkKey, NetworkLatency
from tests.chains import chain_of
from tests.frontier.tables import CONDITIONS

RELU = Activation("relu")
CHAIN = chain_of(["relu", "relu", "relu"])
KEEPS = kept_blocks(CHAIN)


def merge(start: int, end: int) -> Candidate:
    size = 2 * (end - start) + 1
    convolution = Convolution(4, 4, (size, size), padding=(end - start,) * 4)
    detail = ",".join(map(str, range(start, end)))
    return Candidate(start, end, "merge", (convolution,), RELU, detail)


FIRST, LAST, WHOLE = merge(0, 2), merge(1, 3), merge(0, 3)
CANDIDATES = [*KEEPS, FIRST, LAST, WHOLE]
MS = {3: 2.0, 5: 2.5, 7: 3.5}
"""By kernel: a block 2 ms, two merged 2.5 and three 3.5; all kept take 6, and half a millisecond
is fixed."""

POINTS = {KEEPS[0]: -1.0, KEEPS[1]: -2.0, KEEPS[2]: -3.0, FIRST: -10.0, LAST: -5.0, WHOLE: -30.0}
"""Changes of the accuracy in points, kept layers initialised again."""


def latency() -> LatencyTable:
    entries = {}
    for candidate in CANDIDATES:
        (key,) = latency_keys(CHAIN, candidate)
        ms = MS[key.operator.kernel_size[0]]
        entries[key] = LatencySummary(ms, ms, ms, 9)
    total = LatencySummary(6.5, 6.5, 6.5, 9)
    return LatencyTable(CONDITIONS, entries, {NetworkKey.of(CHAIN): NetworkLatency(total, 0.5)})


def importance(unit: str) -> ImportanceTable:
    entries = {
        c: Importance(0.0, metric_change=change if unit == "points" else change / 100)
        for c, change in POINTS.items()
    }
    return ImportanceTable("net", "finetune", 50, entries, unit=unit)


def plans(unit: str, **options) -> dict[float, tuple[tuple[str, ...], float]]:
    """What runs, and what it costs, by latency."""
    found = solve(CHAIN, CANDIDATES, latency(), importance(unit), **options)
    return {
        p.latency_ms: (tuple(CANDIDATES[k].key.split(" ")[1] for k in p.choices), p.cost)
        for p in found.points
    }


@pytest.mark.parametrize("unit", ["points", "fraction"])
def test_layer_merges_sum_of_exponentials(unit: str) -> None:
    """Of 4.5 ms: e^-0.01 + e^-0.05 = 1.941 beats e^-0.10 + e^-0.03 = 1.875; all kept make 2.941."""
    found = plans(unit, objective="exp_metric")
    kept = math.exp(-0.01) + math.exp(-0.02) + math.exp(-0.03)
    better = math.exp(-0.01) + math.exp(-0.05)
    assert found == {
        4.0: (("0:3",), pytest.approx(3 - math.exp(-0.3))),
        5.0: (("0:1", "1:3"), pytest.approx(3 - better)),
        6.5: (("0:1", "1:2", "2:3"), pytest.approx(3 - kept)),
    }
    assert (round(kept, 3), round(better, 3)) == (2.941, 1.941)


@pytest.mark.parametrize("unit", ["points", "fraction"])
def test_the_2023_methods_sum_less_alpha_times_the_mean_of_single_layers(unit: str) -> None:
    """The mean is -2 points, so that each part of a plan is worth 1.6 * 2 = 3.2 points more:
    -6 + 3 * 3.2 = 3.6 of all kept, -6 + 2 * 3.2 = 0.4 of two, -30 + 3.2 = -26.8 of one."""
    found = plans(unit, objective="metric", alpha=1.6)
    assert found == {
        4.0: (("0:3",), pytest.approx((9.6 + 26.8) / 100)),
        5.0: (("0:1", "1:3"), pytest.approx((9.6 - 0.4) / 100)),
        6.5: (("0:1", "1:2", "2:3"), pytest.approx((9.6 - 3.6) / 100)),
    }


def test_alpha_can_turn_the_choice() -> None:
    """Without it two merged blocks that lose less than the two kept are better than these."""
    good = importance("points")
    entries = {**good.entries, LAST: Importance(0.0, metric_change=-4.0)}
    for alpha, best in ((0.0, ("0:1", "1:3")), (1.6, ("0:1", "1:2", "2:3"))):
        found = solve(CHAIN, CANDIDATES, latency(), replace(good, entries=entries),
                      objective="metric", alpha=alpha)  # fmt: skip
        chosen = min(found.points, key=lambda p: p.cost).choices
        assert tuple(CANDIDATES[k].key.split(" ")[1] for k in chosen) == best
