"""Frontiers where latency depends on the weights read, against all plans written out."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from depthopt.core.candidate import kept_blocks
from depthopt.core.chain import Chain
from depthopt.errors import InfeasibleBudget
from depthopt.frontier.caps import LatencyCap, ParameterCap
from depthopt.frontier.solve import solve
from depthopt.kinds.latency_keys import network_ms, parameters, parameters_read, plan_ms
from depthopt.solver.stages import Bucketed, Epsilon
from depthopt.tables.latency import Footprint, LatencyTable, NetworkKey
from tests.frontier.all_plans import Plan, as_run, cost_of, ms_of, pareto, problem


def read(chain: Chain, plan: Plan) -> int:
    return sum(parameters_read(chain, c) for c in as_run(chain, plan))


def with_footprints(
    random: np.random.Generator, chain: Chain, latency: LatencyTable, every: list[Plan]
) -> LatencyTable:
    """With one to four footprints, none of which need hold the original; sums stay exact."""
    amounts = sorted({read(chain, plan) for plan in every})
    count = min(int(random.integers(1, 5)), len(amounts))
    most = sorted(int(a) for a in random.choice(amounts, count, replace=False))
    factors = np.sort(random.choice([0.75, 1.0, 1.25, 1.5, 2.0, 2.5], count)).tolist()
    network = replace(latency.network(chain), footprints=tuple(map(Footprint, most, factors)))
    return replace(latency, networks={NetworkKey.of(chain): network})


def true_ms(chain: Chain, plan: Plan, latency: LatencyTable) -> float:
    """By the definition, written out."""
    footprints = latency.network(chain).footprints
    held = [each for each in footprints if read(chain, plan) <= each.parameters]
    return (held or footprints[-1:])[0].factor * (ms_of(chain, plan, latency) + 3)


def test_frontiers_equal_brute_force() -> None:
    changed = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        chain, candidates, flat, importance, every = problem(random)
        latency = with_footprints(random, chain, flat, every)
        frontier = solve(chain, candidates, latency, importance)
        wanted = pareto(
            [(true_ms(chain, plan, latency), cost_of(plan, importance)) for plan in every]
        )
        assert [(p.latency_ms, p.cost) for p in frontier.points] == wanted
        for i, point in enumerate(frontier.points):
            choices = frontier.plan(i).choices
            assert network_ms(chain, choices, latency) == point.latency_ms
            assert cost_of(choices, importance) == point.cost
        changed += len(latency.network(chain).footprints) > 1 and any(
            plan_ms(chain, frontier.plan(i + 1).choices, latency)
            <= plan_ms(chain, frontier.plan(i).choices, latency)
            for i in range(len(frontier.points) - 1)
        )
    assert changed > 20, "a plan of the frontier is slower than another by its entries, and faster"


@pytest.mark.parametrize("seed", range(20))
def test_other_caps_hold_too(seed: int) -> None:
    random = np.random.default_rng(seed)
    chain, candidates, flat, importance, every = problem(random)
    latency = with_footprints(random, chain, flat, every)

    def weights(plan: Plan) -> int:
        return sum(parameters(chain, c) for c in as_run(chain, plan))

    most = sorted(map(weights, every))[len(every) // 3]
    wanted = pareto(
        [
            (true_ms(chain, plan, latency), cost_of(plan, importance))
            for plan in every
            if weights(plan) <= most
        ]
    )
    found = solve(chain, candidates, latency, importance, caps=[ParameterCap(most)])
    assert [(p.latency_ms, p.cost) for p in found.points] == wanted


def test_a_budget_on_another_device_is_kept_with_its_footprints() -> None:
    kept = 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        chain, candidates, flat, importance, every = problem(random)
        other = with_footprints(random, chain, flat, every)
        budget_ms = sorted(true_ms(chain, plan, other) for plan in every)[len(every) // 2]
        with suppress(InfeasibleBudget):
            caps = [LatencyCap(other, budget_ms)]
            found = solve(chain, candidates, flat, importance, caps=caps)
            for i in range(len(found.points)):
                assert network_ms(chain, found.plan(i).choices, other) <= budget_ms
                kept += 1
    assert kept > 10


@pytest.mark.parametrize("mode", [Bucketed(0.5), Epsilon(0.05)])
def test_other_modes_predict_each_plan_by_its_own_footprint(mode: Bucketed | Epsilon) -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        chain, candidates, flat, importance, every = problem(random)
        latency = with_footprints(random, chain, flat, every)
        near = solve(chain, candidates, latency, importance, mode=mode)
        exact = solve(chain, candidates, latency, importance)
        for i, point in enumerate(near.points):
            plan = near.plan(i)
            assert network_ms(chain, plan.choices, latency) == point.latency_ms
            assert cost_of(plan.choices, importance) == point.cost
        assert near.points[-1].cost == exact.points[-1].cost, "the least costly plan is there"


def test_the_original_is_predicted_with_its_own_footprint() -> None:
    random = np.random.default_rng(3)
    chain, _, flat, _, every = problem(random)
    latency = with_footprints(random, chain, flat, every)
    plan = kept_blocks(chain)
    assert network_ms(chain, plan, latency) == true_ms(chain, plan, latency)
