import math
from dataclasses import replace

import numpy as np
import pytest

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.operators import Activation, Convolution
from depthopt.core.plan import Frontier
from depthopt.errors import InfeasibleBudget, TableError, UsageError
from depthopt.frontier.caps import LatencyCap, MemoryCap, ParameterCap
from depthopt.frontier.solve import solve
from depthopt.kinds.latency_keys import candidate_ms
from depthopt.kinds.merge import detail_of
from depthopt.solver.stages import Bucketed, Epsilon
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import LatencySummary, LatencyTable
from tests.chains import chain_of, random_chain
from tests.frontier.tables import naive_options, random_candidates, tables
from tests.solver import reference

ONE = Convolution(4, 4, (1, 1))
RELU = Activation("relu")


def figures(frontier: Frontier) -> list[tuple[float, float]]:
    return [(point.latency_ms, point.cost) for point in frontier.points]


def worth(candidate: Candidate, importance: ImportanceTable, objective: str) -> float:
    """What a candidate adds to an objective, in the words of ``solve``'s docstring."""
    if candidate.kind == "keep":
        return 0.0
    entry = importance.entries[candidate]
    if objective == "cost":
        return entry.cost
    return candidate.end - candidate.start - math.exp(entry.metric_change / 100)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("objective", ["cost", "exp_metric"])
def test_frontier_of_chains_with_skips_equals_brute_force(seed: int, objective: str) -> None:
    random = np.random.default_rng(seed)
    for _ in range(25):
        chain = random_chain(random, int(random.integers(2, 6)))
        candidates = random_candidates(random, chain)
        latency, importance = tables(random, chain, candidates)
        frontier = solve(chain, candidates, latency, importance, objective=objective)
        cost = {k: worth(c, importance, objective) for k, c in enumerate(candidates)}
        options = naive_options(chain, candidates, latency, cost)
        expected = reference.brute_force(len(chain.blocks) + 1, options, noise=1e-9)
        assert [p.latency_ms for p in frontier.points] == [p[0] + 3.0 for p in expected]
        assert [p.cost for p in frontier.points] == pytest.approx([p[1] for p in expected])
        for i, point in enumerate(frontier.points):
            plan = frontier.plan(i)
            ends = [0, *(c.end for c in plan.choices)]
            assert ends == [*(c.start for c in plan.choices), len(chain.blocks)]
            assert point.latency_ms == 3.0 + sum(
                candidate_ms(chain, c, latency) for c in plan.choices
            )


def small() -> tuple:
    """Two blocks; both replaced by a 1x1 at 2 ms instead of 10 + 10, cost 1."""
    chain = chain_of(["relu", "relu"])
    candidates = [
        *kept_blocks(chain),
        Candidate(0, 2, "fit", (ONE,), RELU),
        Candidate(0, 1, "fit", (ONE,), RELU),
    ]
    latency, _ = tables(np.random.default_rng(0), chain, candidates)
    times = {c.convolution: 2.0 if c.kind == "fit" else 10.0 for c in candidates}
    entries = {key: LatencySummary(times[key.operator], 0, 0, 5) for key in latency.entries}
    costs = {candidates[2]: Importance(1.0), candidates[3]: Importance(0.25)}
    return (
        chain,
        candidates,
        replace(latency, entries=entries),
        ImportanceTable("net", "regression", 16, costs),
    )


def test_small_frontier_and_picks() -> None:
    frontier = solve(*small())
    assert figures(frontier) == [(5.0, 1.0), (15.0, 0.25), (23.0, 0.0)]
    assert frontier.original_ms == 40.0
    assert frontier.pick(budget_ms=22.9).replaced == (frontier.candidates[3],)
    assert frontier.pick(speedup=8).cost == 1.0
    assert frontier.pick(cost=0.5).latency_ms == 15.0
    with pytest.raises(InfeasibleBudget, match="below the fastest plan, 5 ms"):
        frontier.pick(budget_ms=4.9)


def test_beaten_candidates_are_in_no_plan() -> None:
    chain, candidates, latency, importance = small()
    left = {c: entry for c, entry in importance.entries.items() if c != candidates[3]}
    fewer = replace(importance, entries=left, beaten=(candidates[3],))
    assert figures(solve(chain, candidates, latency, fewer)) == [(5.0, 1.0), (23.0, 0.0)]


def test_modes_reach_the_public_function() -> None:
    assert figures(solve(*small(), mode=Bucketed(100.0)))[-1] == (23.0, 0.0)
    assert figures(solve(*small(), mode=Epsilon(0.5))) == [(5.0, 1.0), (15.0, 0.25), (23.0, 0.0)]


def test_equal_plans_touch_fewer_blocks() -> None:
    chain, candidates, latency, importance = small()
    free = dict.fromkeys(importance.entries, Importance(0.0))
    slow = dict.fromkeys(latency.entries, LatencySummary(10.0, 0, 0, 5))
    frontier = solve(
        chain,
        [candidates[3], *candidates[:2]],
        replace(latency, entries=slow),
        replace(importance, entries=free),
    )
    assert frontier.plan(0).replaced == ()


def test_a_slow_merge_is_realised_as_two() -> None:
    chain = chain_of(["relu", "relu", "relu", "relu"])
    merged = {n: Convolution(4, 4, (2 * n + 1,) * 2, padding=(n,) * 4) for n in (2, 4)}
    candidates = [
        *kept_blocks(chain),
        Candidate(0, 4, "merge", (merged[4],), RELU, detail_of(range(4))),
        Candidate(0, 2, "merge", (merged[2],), None, detail_of(range(2))),
        Candidate(2, 4, "merge", (merged[2],), RELU, detail_of(range(2, 4))),
    ]
    latency, importance = tables(np.random.default_rng(0), chain, candidates)
    times = {merged[4]: 9.0, merged[2]: 3.0, chain.blocks[0].operator: 5.0}
    entries = {key: LatencySummary(times[key.operator], 0, 0, 5) for key in latency.entries}
    costs = {c: Importance(1.0 if c.end - c.start == 4 else 7.0) for c in candidates[4:]}
    frontier = solve(
        chain,
        candidates,
        replace(latency, entries=entries),
        replace(importance, entries=costs),
    )
    assert figures(frontier) == [(9.0, 1.0), (23.0, 0.0)]
    assert frontier.points[0].choices == (5, 6)


def test_forced_blocks() -> None:
    chain, candidates, latency, importance = small()
    kept = solve(chain, candidates, latency, importance, keep=["b1"])
    assert figures(kept) == [(15.0, 0.25), (23.0, 0.0)]
    replaced = solve(chain, candidates, latency, importance, replace=["b1"])
    assert figures(replaced) == [(5.0, 1.0)]
    with pytest.raises(UsageError, match="no block 'b9'"):
        solve(chain, candidates, latency, importance, keep=["b9"])
    with pytest.raises(UsageError, match="'b0' is in both"):
        solve(chain, candidates, latency, importance, keep=["b0"], replace=["b0"])
    with pytest.raises(UsageError, match="nothing covers block 1"):
        solve(chain, candidates, latency, importance, keep=["b0"], replace=["b1"])


def test_parameter_cap() -> None:
    problem = small()
    dense, one = 4 * (4 * 9 + 1), 4 * 5
    assert figures(solve(*problem, caps=[ParameterCap(2 * dense)])) == figures(solve(*problem))
    assert figures(solve(*problem, caps=[ParameterCap(2 * dense - 1)]))[-1] == (15.0, 0.25)
    assert figures(solve(*problem, caps=[ParameterCap(one)])) == [(5.0, 1.0)]
    with pytest.raises(InfeasibleBudget, match="least possible is 20, the cap 19"):
        solve(*problem, caps=[ParameterCap(one - 1)])


def test_fast_on_two_devices() -> None:
    problem = small()
    latency: LatencyTable = problem[2]
    other = replace(
        latency,
        entries={
            key: replace(entry, median_ms=12.0 - entry.median_ms)
            for key, entry in latency.entries.items()
        },
    )
    # There the 1x1 takes 10 ms, the 3x3 takes 2 ms, the fixed part 3 ms.
    assert figures(solve(*problem, caps=[LatencyCap(other, 14.9)])) == [(5.0, 1.0), (23.0, 0.0)]
    assert figures(solve(*problem, caps=[LatencyCap(other, 12.9)])) == [(23.0, 0.0)]
    with pytest.raises(InfeasibleBudget, match="no plan stays within cap 1 of 1"):
        solve(*problem, caps=[LatencyCap(other, 6.0)])
    with pytest.raises(InfeasibleBudget, match="fixed part, 3 ms"):
        solve(*problem, caps=[LatencyCap(other, 2.0)])


def test_memory_cap_rules_candidates_out() -> None:
    chain, candidates, latency, importance = small()
    one_tensor = 4 * 8 * 8 * 4
    assert len(solve(*small(), caps=[MemoryCap(2 * one_tensor)]).points) == 3
    with pytest.raises(UsageError, match="nothing covers block 0"):
        solve(chain, candidates, latency, importance, caps=[MemoryCap(2 * one_tensor - 1)])
    with pytest.raises(UsageError, match="most_bytes must be above 0"):
        MemoryCap(0)


def test_gaps_are_named() -> None:
    chain, candidates, latency, importance = small()
    with pytest.raises(TableError, match=r"importance table has no entry for fit 0:2.*fit 0:1"):
        solve(chain, candidates, latency, replace(importance, entries={}))
    with pytest.raises(TableError, match=r"latency table has no entry for conv 4-4 k3x3.*profile"):
        solve(chain, candidates, replace(latency, entries={}), importance)
    with pytest.raises(TableError, match="holds no network"):
        solve(chain, candidates, replace(latency, networks={}), importance)
    with pytest.raises(TableError, match="importance table is of other"):
        solve(chain, candidates, latency, replace(importance, model="other"))
    with pytest.raises(TableError, match="holds no metric_change"):
        solve(chain, candidates, latency, importance, objective="exp_metric")
    with pytest.raises(UsageError, match="objective 'speed' is unknown"):
        solve(chain, candidates, latency, importance, objective="speed")


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_bad_entries_are_named(value: float) -> None:
    chain, candidates, latency, importance = small()
    broken = dict.fromkeys(latency.entries, LatencySummary(value, 0, 0, 5))
    with pytest.raises(TableError, match="latency of keep 0:1"):
        solve(chain, candidates, replace(latency, entries=broken), importance)
    if value != -1:
        costs = dict.fromkeys(importance.entries, Importance(value))
        with pytest.raises(TableError, match="importance of fit 0:2"):
            solve(chain, candidates, latency, replace(importance, entries=costs))


def test_empty_chain_and_missing_keep() -> None:
    chain, candidates, latency, importance = small()
    with pytest.raises(UsageError, match="no blocks"):
        solve(chain_of([]), candidates, latency, importance)
    with pytest.raises(UsageError, match="nothing covers block 0"):
        solve(chain, [], latency, importance)
    with pytest.raises(UsageError, match="nothing covers block 1"):
        solve(chain, [candidates[0], candidates[3]], latency, importance)


def test_a_network_that_takes_no_time_is_refused() -> None:
    chain, candidates, latency, importance = small()
    nothing = LatencySummary(0.0, 0.0, 0.0, 1)
    key = next(iter(latency.networks))
    network = replace(latency.networks[key], total=nothing, fixed_ms=0.0)
    timeless = replace(
        latency, entries=dict.fromkeys(latency.entries, nothing), networks={key: network}
    )
    with pytest.raises(TableError, match="takes 0 ms; measure it again"):
        solve(chain, candidates, timeless, importance)
