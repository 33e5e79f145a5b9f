"""The least costly plan that is as fast as asked, by measurement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.plan import Frontier, FrontierPoint
from depthopt.errors import InfeasibleBudget, UsageError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.latency.measure import Effort
from depthopt.latency.pick import least_costly, pick_measured
from depthopt.latency.search import NEAR, SAME
from depthopt.runtimes.registry import get_runtime
from tests.networks import Residual

KEPT = Candidate(0, 1, "keep", ())
GONE = Candidate(0, 1, "drop", ())
QUICK = Effort(seconds=0.05, tolerance=1.0, min_rounds=3, warmup_s=0.0, burst_ms=0.1)


def frontier_of(latencies_ms):
    """Plans of these predicted latencies, fastest first; only the last changes nothing."""
    last = len(latencies_ms) - 1
    points = tuple(
        FrontierPoint(ms, float(last - i), (int(i < last),)) for i, ms in enumerate(latencies_ms)
    )
    return Frontier("net", (3, 8, 8), latencies_ms[-1], (KEPT, GONE), points)


@st.composite
def frontiers(draw):
    """A frontier, and how much faster than predicted each of its plans is when measured."""
    steps = draw(st.lists(st.floats(0.001, 0.5), min_size=1, max_size=60))
    latencies = [1.0]
    for step in steps:
        latencies.append(latencies[-1] * (1 + step))
    lag = draw(st.floats(-0.3, 0.9))
    return frontier_of(latencies), lag


@given(frontiers(), st.floats(1.0, 8.0))
def test_the_pick_keeps_the_budget_and_no_much_milder_plan_does(drawn, asked):
    frontier, lag = drawn
    calls = []

    def measured(plan):
        calls.append(plan.latency_ms)
        return plan.speedup ** (1 + lag)

    true = [plan_speedup(frontier, i) ** (1 + lag) for i in range(len(frontier.points))]
    good = [i for i, speedup in enumerate(true) if speedup >= asked]
    if not good:
        with pytest.raises(InfeasibleBudget, match=f"{true[0]:.2f} times as fast"):
            least_costly(frontier, asked, measured)
        return
    found = least_costly(frontier, asked, measured)
    assert found.speedup >= asked
    best = frontier.points[good[-1]].latency_ms
    assert found.speedup <= asked * NEAR or best <= found.plan.latency_ms * SAME
    assert len(calls) == len(set(calls)), "no plan is timed twice"
    assert found.timed <= 3 * len(frontier.points).bit_length()


def plan_speedup(frontier, index):
    return frontier.plan(index).speedup


def test_a_table_that_is_right_needs_few_measurements():
    frontier = frontier_of([1.0 + i / 100 for i in range(201)])
    found = least_costly(frontier, 2.0, lambda plan: plan.speedup)
    assert found.timed <= 2
    assert found.plan == frontier.pick(speedup=2.0)


def test_a_network_that_is_faster_than_predicted_is_left_milder():
    frontier = frontier_of([1.0 + i / 100 for i in range(201)])
    found = least_costly(frontier, 2.0, lambda plan: plan.speedup**1.5)
    assert 2.0 <= found.speedup <= 2.0 * NEAR
    assert found.plan.speedup == pytest.approx(2 ** (1 / 1.5), rel=0.03)


def test_the_original_itself_is_not_timed():
    timed = []

    def timer(plan):
        timed.append(plan)
        return plan.speedup

    found = least_costly(frontier_of([1.0, 2.0]), 0.9, timer)
    assert found.speedup == 1.0
    assert not found.plan.replaced
    assert all(plan.replaced for plan in timed)


@pytest.mark.parametrize("wish", [{}, {"speedup": 2.0, "budget_ms": 3.0}])
def test_exactly_one_budget_is_taken(wish):
    with pytest.raises(UsageError, match="exactly one"):
        pick(**wish)


@pytest.mark.parametrize("wish", [{"speedup": -1.0}, {"budget_ms": 0.0}, {"speedup": 0.0}])
def test_a_budget_is_a_positive_number(wish):
    with pytest.raises(UsageError, match="positive"):
        pick(**wish)


MODEL = Residual()
CHAIN = extract(MODEL, (2, 8, 8), name="Residual")


def pick(**wish):
    """From all blocks as they are, and one of them dropped, on a real runtime."""
    kept = kept_blocks(CHAIN)
    (drop, *_) = candidates(CHAIN, kinds=("drop",))[len(kept) :]
    listed = (*kept, drop)
    outside = [i for i in range(len(kept)) if not drop.start <= i < drop.end]
    gone = tuple(sorted([*outside, len(kept)], key=lambda i: listed[i].start))
    points = (FrontierPoint(1.0, 1.0, gone), FrontierPoint(2.0, 0.0, tuple(range(len(kept)))))
    frontier = Frontier("Residual", (2, 8, 8), 2.0, listed, points)
    runtime = get_runtime("onnxruntime")
    return pick_measured(MODEL, CHAIN, frontier, runtime=runtime, effort=QUICK, **wish)


@pytest.mark.timed
def test_a_real_network_is_timed_on_the_runtime():
    found = pick(speedup=0.01)
    assert found.speedup >= 0.01
    assert found.timed >= 1
    same = pick(budget_ms=200.0)
    assert same.plan == found.plan


@pytest.mark.timed
def test_a_budget_that_no_network_keeps_is_refused():
    with pytest.raises(InfeasibleBudget, match=r"1000\.00 was asked for"):
        pick(speedup=1000.0)
