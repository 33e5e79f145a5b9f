import numpy as np
import pytest

from depthopt.errors import InfeasibleBudget, UsageError
from depthopt.solver.capped import Known, solve_capped
from depthopt.solver.options import Options, Solution
from depthopt.solver.stages import Bucketed, Epsilon, solve_options
from tests.solver import reference
from tests.solver.solutions import choices_of
from tests.solver.tables import realistic, rows, whole_numbers


def figures(solution: Solution) -> list[tuple[float, float]]:
    return list(zip(solution.latency_ms.tolist(), solution.cost.tolist(), strict=True))


def brute_force(options: Options, used: np.ndarray, most: np.ndarray) -> list[tuple[float, float]]:
    plans = []
    for run in reference.runs(options.nodes, rows(options)):
        chosen = list(run)
        if (used[chosen].sum(axis=0) <= most).all():
            plans.append((options.latency_ms[chosen].sum(), options.cost[chosen].sum()))
    frontier: list[tuple[float, float]] = []
    for latency, cost in sorted(plans):
        if not frontier or cost < frontier[-1][1]:
            frontier.append((latency, cost))
    return frontier


@pytest.mark.parametrize("resources", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_frontier_equals_brute_force(seed: int, resources: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(20):
        options = whole_numbers(random, int(random.integers(1, 7)), int(random.integers(0, 12)))
        used = random.integers(0, 6, (len(options), resources)).astype(float)
        most = random.integers(2, 20, resources).astype(float)
        expected = brute_force(options, used, most)
        if expected:
            assert figures(solve_capped(options, used, most)) == expected
        else:
            with pytest.raises(InfeasibleBudget, match="no plan stays within"):
                solve_capped(options, used, most)


def test_caps_hold_in_every_mode_and_epsilon_keeps_its_bound() -> None:
    random = np.random.default_rng(5)
    for _ in range(10):
        options = realistic(random, 20, 120)
        used = random.uniform(0, 1, (len(options), 1)) * (options.end - options.start)[:, None]
        most = np.array([7.0])
        for mode in (None, Epsilon(0.1), Bucketed(0.05)):
            solution = solve_capped(options, used, most, mode)
            for i in range(len(solution)):
                assert used[choices_of(solution, i)].sum() <= most[0]
        near = solve_capped(options, used, most, Epsilon(0.1))
        for latency, cost in figures(solve_capped(options, used, 0.9 * most)):
            assert near.cost[near.latency_ms <= latency].min() <= cost + 1e-12


def test_a_loose_cap_changes_nothing() -> None:
    options = realistic(np.random.default_rng(6), 50, 400)
    used = np.ones((len(options), 1))
    free, capped = solve_options(options), solve_capped(options, used, np.array([50.0]))
    assert figures(free) == figures(capped)


def test_too_many_labels() -> None:
    options = realistic(np.random.default_rng(6), 20, 100)
    with pytest.raises(UsageError, match="more than 5 labels"):
        solve_capped(options, np.ones((100, 1)), np.array([9.0]), max_labels=5)


def best_of(*frontiers: list[tuple[float, float]]) -> list[tuple[float, float]]:
    best: list[tuple[float, float]] = []
    for latency, cost in sorted(point for frontier in frontiers for point in frontier):
        if not best or cost < best[-1][1]:
            best.append((latency, cost))
    return best


@pytest.mark.parametrize("seed", range(5))
def test_of_known_plans_only_better_ones_are_looked_for(seed: int) -> None:
    random = np.random.default_rng(seed)
    fewer = 0
    for _ in range(20):
        options = whole_numbers(random, int(random.integers(2, 7)), int(random.integers(0, 12)))
        used = random.integers(0, 6, (len(options), 1)).astype(float)
        most = random.integers(2, 20, 1).astype(float)
        expected = brute_force(options, used, most)
        others = figures(solve_options(options))
        at_hand = best_of([(t, c) for t, c in others if random.random() < 0.7])
        known = Known(*np.array(at_hand).reshape(-1, 2).T)
        try:
            found = figures(solve_capped(options, used, most, known=known))
        except InfeasibleBudget:
            found = []
        assert best_of(found, at_hand) == best_of(expected, at_hand)
        fewer += len(found) < len(expected)
    assert fewer
