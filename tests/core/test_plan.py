from dataclasses import replace

import pytest

from depthopt.core.candidate import Candidate
from depthopt.core.operators import Convolution
from depthopt.core.plan import Frontier, FrontierPoint
from depthopt.errors import InfeasibleBudget, UsageError

KEPT = Convolution(4, 4, (3, 3), padding=(1, 1, 1, 1))
FRONTIER = Frontier(
    "net",
    (3, 8, 8),
    10.0,
    (
        Candidate(0, 1, "keep", (KEPT,)),
        Candidate(0, 1, "fit", (Convolution(4, 4, (1, 1)),)),
    ),
    (FrontierPoint(4.0, 0.5, (1,)), FrontierPoint(10.0, 0.0, (0,))),
)


def test_a_budget_buys_the_least_cost_within_it() -> None:
    assert FRONTIER.pick(budget_ms=10.0).cost == 0.0
    assert FRONTIER.pick(budget_ms=9.99).cost == 0.5
    assert FRONTIER.pick(speedup=2.5).latency_ms == 4.0
    assert FRONTIER.pick(cost=0.6).latency_ms == 4.0
    assert FRONTIER.pick(cost=0.1).latency_ms == 10.0


def test_the_original_s_own_latency_buys_the_original() -> None:
    """Though the sum of its blocks' latencies lies above it, by rounding."""
    above = replace(FRONTIER, points=(FRONTIER.points[0], FrontierPoint(10.00001, 0.0, (0,))))
    assert above.pick(speedup=1.0).replaced == above.pick(budget_ms=10.0).replaced == ()
    assert above.pick(speedup=1.001).replaced != ()


def test_a_budget_below_the_fastest_plan_names_it() -> None:
    with pytest.raises(InfeasibleBudget, match=r"3 ms is below the fastest plan, 4 ms \(2.50x\)"):
        FRONTIER.pick(budget_ms=3.0)
    with pytest.raises(InfeasibleBudget):
        FRONTIER.pick(speedup=2.6)


@pytest.mark.parametrize(
    "wish", [{}, {"budget_ms": 1.0, "cost": 1.0}, {"speedup": 0.0}, {"budget_ms": float("nan")}]
)
def test_a_pick_wants_one_sound_wish(wish: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        FRONTIER.pick(**wish)


def test_a_plan_lists_what_it_replaces() -> None:
    assert [c.kind for c in FRONTIER.plan(0).replaced] == ["fit"]
    assert FRONTIER.plan(1).replaced == ()
    assert FRONTIER.plan(0).speedup == 2.5


def test_a_frontier_without_plans_or_of_other_candidates_is_refused() -> None:
    with pytest.raises(ValueError, match="a frontier has no plan"):
        replace(FRONTIER, points=())
    for choices in ((2,), (-1,), ()):
        with pytest.raises(ValueError, match="are not among the 2 candidates"):
            replace(FRONTIER, points=(FrontierPoint(4.0, 0.5, choices),))
