"""Fits in a row that one convolution can stand for, against all plans written out."""

from dataclasses import replace

import numpy as np
import pytest

from depthopt.core.chain import Chain
from depthopt.errors import InfeasibleBudget
from depthopt.frontier.caps import LatencyCap, ParameterCap
from depthopt.frontier.solve import solve
from depthopt.kinds.latency_keys import latency_keys, parameters, plan_ms
from depthopt.tables.latency import LatencyTable
from tests.frontier.all_plans import Plan, as_run, cost_of, ms_of, one_of, pareto, problem


def test_frontiers_equal_brute_force() -> None:
    joined = 0
    for seed in range(200):
        chain, candidates, latency, importance, every = problem(np.random.default_rng(seed))
        frontier = solve(chain, candidates, latency, importance)
        wanted = pareto(
            [(ms_of(chain, plan, latency) + 3, cost_of(plan, importance)) for plan in every]
        )
        assert [(p.latency_ms, p.cost) for p in frontier.points] == wanted
        for i, point in enumerate(frontier.points):
            choices = frontier.plan(i).choices
            assert plan_ms(chain, choices, latency) + 3 == point.latency_ms
            assert cost_of(choices, importance) == point.cost
            joined += len(choices) > len(as_run(chain, choices))
    assert joined > 50


@pytest.mark.parametrize("seed", range(20))
def test_caps_count_what_runs(seed: int) -> None:
    random = np.random.default_rng(seed)
    chain, candidates, latency, importance, every = problem(random)
    entries = {
        key: replace(entry, median_ms=float(random.integers(1, 9)))
        for key, entry in latency.entries.items()
    }
    other = replace(latency, entries=entries)

    def used(plan: Plan) -> tuple[float, int]:
        run = as_run(chain, plan)
        return ms_of(chain, plan, other) + 3, sum(parameters(chain, c) for c in run)

    amounts = sorted(map(used, every))
    most_ms, most = amounts[len(amounts) // 2][0], sorted(n for _, n in amounts)[len(amounts) // 2]
    caps = [LatencyCap(other, most_ms), ParameterCap(most)]
    wanted = pareto(
        [
            (ms_of(chain, plan, latency) + 3, cost_of(plan, importance))
            for plan in every
            if used(plan)[0] <= most_ms and used(plan)[1] <= most
        ]
    )
    try:
        found = solve(chain, candidates, latency, importance, caps=caps).points
    except InfeasibleBudget:
        found = ()
    assert [(p.latency_ms, p.cost) for p in found] == wanted


def test_a_table_without_the_one_counts_them_one_by_one() -> None:
    met = 0
    for seed in range(60):
        chain, candidates, latency, importance, every = problem(np.random.default_rng(seed))
        alone = {key for c in candidates for key in latency_keys(chain, c)}
        entries = {key: entry for key, entry in latency.entries.items() if key in alone}
        older = replace(latency, entries=entries)

        def ms(plan: Plan, table: LatencyTable = older, chain: Chain = chain) -> float:
            """From left to right: what the table has of those joined so far, else one by one."""
            total, so_far, one = 0.0, 0.0, None
            for choice in plan:
                own = table.sum_ms(latency_keys(chain, choice))
                both = None if one is None else one_of(chain, one, choice)
                if both is None:
                    total, so_far, one = total + so_far, own, choice
                    continue
                keys = latency_keys(chain, both)
                so_far, one = so_far + own if table.missing(keys) else table.sum_ms(keys), both
            return total + so_far

        frontier = solve(chain, candidates, older, importance)
        wanted = pareto([(ms(plan) + 3, cost_of(plan, importance)) for plan in every])
        assert [(p.latency_ms, p.cost) for p in frontier.points] == wanted
        met += len(entries) < len(latency.entries)
    assert met > 10
