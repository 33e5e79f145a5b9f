import itertools
import math

import numpy as np
import pytest

from depthopt.errors import TableError, UsageError
from depthopt.solver import stages
from depthopt.solver.options import Options, Solution
from depthopt.solver.stages import Bucketed, Epsilon, Exact, solve_options
from tests.solver import reference
from tests.solver.solutions import choices_of
from tests.solver.tables import realistic, rows, whole_numbers


@pytest.fixture(params=["one sweep", "two phases"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chains take one sweep; here the two phases solve them as well."""
    if request.param == "two phases":
        monkeypatch.setattr(stages, "DIRECT_LABELS", 0)


def as_points(solution: Solution) -> list[reference.Point]:
    return [
        (latency, cost, tuple(choices_of(solution, i).tolist()))
        for i, (latency, cost) in enumerate(
            zip(solution.latency_ms.tolist(), solution.cost.tolist(), strict=True)
        )
    ]


def least_cost(solution: Solution, budget: float) -> float:
    within = np.flatnonzero(solution.latency_ms <= budget)
    return float(solution.cost[within[-1]]) if within.size else math.inf


def check_plans(options: Options, solution: Solution, fixed_ms: float = 0.0) -> None:
    """Every point is a run of options, no slower and no dearer than it says."""
    assert (np.diff(solution.latency_ms) > 0).all()
    assert (np.diff(solution.cost) < 0).all()
    for i in range(len(solution)):
        run = choices_of(solution, i)
        assert options.start[run[0]] == 0
        assert options.end[run[-1]] == options.nodes - 1
        assert (options.start[run[1:]] == options.end[run[:-1]]).all()
        slack = math.fsum([solution.latency_ms[i], -fixed_ms, *-options.latency_ms[run]])
        assert 0 <= slack < 1e-9
        assert solution.cost[i] == pytest.approx(options.cost[run].sum(), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_frontier_equals_brute_force_with_ties(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(50):
        options = whole_numbers(random, int(random.integers(1, 8)), int(random.integers(0, 16)))
        expected = reference.brute_force(options.nodes, rows(options))
        assert as_points(solve_options(options)) == expected


def test_sums_in_another_order_tie() -> None:
    # As floats 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ; the dearer order must not stay.
    solution = solve_options(
        Options.of(
            4,
            start=np.repeat([0, 1, 2], 3),
            end=np.repeat([1, 2, 3], 3),
            latency_ms=[0.1, 0.2, 0.3] * 3,
            cost=[9.0, 4.0, 1.0, 9.25, 4.5, 1.75, 9.125, 4.25, 1.125],
        )
    )
    assert solution.latency_ms == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


@pytest.mark.parametrize("seed", range(5))
def test_optimum_equals_integer_programme(seed: int) -> None:
    random = np.random.default_rng(seed)
    options = realistic(random, 52, 400)
    solution = solve_options(options)
    check_plans(options, solution)
    for budget in random.uniform(solution.latency_ms[0], solution.latency_ms[-1], 2):
        expected = reference.integer_programme(options.nodes, rows(options), float(budget))
        assert least_cost(solution, budget) == pytest.approx(expected, abs=1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(50))
def test_optimum_equals_integer_programme_at_ten_budgets(seed: int) -> None:
    random = np.random.default_rng(1000 + seed)
    options = realistic(random, 52, 400, longest=int(random.integers(3, 10)))
    solution = solve_options(options)
    for budget in random.uniform(solution.latency_ms[0], solution.latency_ms[-1], 10):
        expected = reference.integer_programme(options.nodes, rows(options), float(budget))
        assert least_cost(solution, budget) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_equals_layer_merge_recursion(seed: int) -> None:
    random = np.random.default_rng(seed)
    blocks = 10
    keys = [
        (i, j, size)
        for i, j in itertools.combinations(range(blocks + 1), 2)
        for size in (1, 3, 5)
        if j - i == 1 or random.random() < 0.3
    ]
    times = {key: int(random.integers(1, 20)) for key in keys}
    importance = {key: float(np.exp(random.normal(0, 0.3))) for key in keys}
    solution = solve_options(
        Options.of(
            blocks + 1,
            start=[key[0] for key in keys],
            end=[key[1] for key in keys],
            latency_ms=list(times.values()),
            cost=[-value for value in importance.values()],
        )
    )
    for budget in range(5, 120, 7):
        expected = reference.layer_merge(blocks, times, importance, budget)
        assert -least_cost(solution, budget) == pytest.approx(expected)


@pytest.mark.parametrize("mode", [Exact(), Bucketed(0.01), Bucketed(0.5), Epsilon(0.02)])
def test_never_over_budget(mode: Exact | Bucketed | Epsilon) -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        options = realistic(random, int(random.integers(2, 20)), 60, longest=5)
        check_plans(options, solve_options(options, mode, fixed_ms=0.3), fixed_ms=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [Exact(), Bucketed(0.05), Epsilon(0.02)])
def test_never_over_budget_on_ten_thousand_solves(mode: Exact | Bucketed | Epsilon) -> None:
    random = np.random.default_rng(1)
    for _ in range(3400):
        options = realistic(random, int(random.integers(2, 12)), 40, longest=5)
        check_plans(options, solve_options(options, mode))


@pytest.mark.parametrize("e", [0.0, 0.001, 0.02, 0.3, 2.0])
def test_epsilon_keeps_its_bound(e: float) -> None:
    random = np.random.default_rng(7)
    for _ in range(20):
        options = realistic(random, 30, 200)
        exact, near = solve_options(options), solve_options(options, Epsilon(e))
        assert as_points(near)[0] == as_points(exact)[0]
        assert as_points(near)[-1] == as_points(exact)[-1]
        gap = e * (exact.cost[0] - exact.cost[-1])
        for latency, cost in zip(exact.latency_ms, exact.cost, strict=True):
            assert least_cost(near, latency) <= cost + gap + 1e-12
        if e == 0:
            assert as_points(near) == as_points(exact)


@pytest.mark.parametrize("resolution_ms", [0.003, 0.1, 1.0])
def test_bucketed_keeps_its_bound(resolution_ms: float) -> None:
    random = np.random.default_rng(8)
    for _ in range(20):
        options = realistic(random, 30, 200)
        exact, near = solve_options(options), solve_options(options, Bucketed(resolution_ms))
        for i in range(len(exact)):
            later = exact.latency_ms[i] + choices_of(exact, i).size * resolution_ms
            assert least_cost(near, later) <= exact.cost[i] + 1e-12


def test_same_answer_twice() -> None:
    options = realistic(np.random.default_rng(3), 40, 300)
    assert as_points(solve_options(options)) == as_points(solve_options(options))


def test_fixed_part_is_in_every_plan() -> None:
    options = Options.of(2, start=[0, 0], end=[1, 1], latency_ms=[2, 1], cost=[0, 1])
    solution = solve_options(options, fixed_ms=0.5)
    assert solution.latency_ms.tolist() == [1.5, 2.5]


def test_nothing_to_trade() -> None:
    options = Options.of(2, start=[0, 0], end=[1, 1], latency_ms=[0, 1], cost=[-1, 0])
    assert as_points(solve_options(options)) == [(0.0, -1.0, (0,))]


def test_too_many_labels_is_an_error_that_names_the_way_out() -> None:
    options = realistic(np.random.default_rng(3), 40, 300)
    with pytest.raises(UsageError, match=r"more than 10 labels.*Epsilon"):
        solve_options(options, max_labels=10)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_bad_latency_is_refused(value: float) -> None:
    with pytest.raises(TableError, match="latency of option 1"):
        Options.of(2, start=[0, 0], end=[1, 1], latency_ms=[1, value], cost=[0, 0])


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_bad_cost_is_refused(value: float) -> None:
    with pytest.raises(TableError, match="cost of option 0"):
        Options.of(2, start=[0, 0], end=[1, 1], latency_ms=[1, 1], cost=[value, 0])


def test_unreachable_end_is_refused_with_the_place() -> None:
    with pytest.raises(UsageError, match="nothing covers block 1"):
        Options.of(4, start=[0, 2], end=[1, 3], latency_ms=[1, 1], cost=[0, 0])
    with pytest.raises(UsageError, match=r"to position 2, but to the end only from position 1"):
        Options.of(4, start=[0, 1], end=[2, 3], latency_ms=[1, 1], cost=[0, 0])


def test_malformed_options_are_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        Options.of(1, start=[], end=[], latency_ms=[], cost=[])
    with pytest.raises(UsageError, match="runs from 1 to 1"):
        Options.of(2, start=[0, 1], end=[1, 1], latency_ms=[1, 1], cost=[0, 0])
    with pytest.raises(UsageError, match="one length"):
        Options.of(2, start=[0], end=[1], latency_ms=[1, 1], cost=[0])
    with pytest.raises(UsageError, match="resolution_ms"):
        Bucketed(0.0)
    with pytest.raises(UsageError, match="e must be"):
        Epsilon(math.nan)
