"""The 2023 paper's extended importance, and both halves of its programme in one frontier."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.operators import Activation, Convolution
from depthopt.frontier.extended import extended
from depthopt.frontier.solve import solve
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.kinds.merge import detail_of
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import LatencySummary
from tests.chains import chain_of
from tests.frontier.tables import tables

RELU = Activation("relu")


def merge(start: int, end: int, activation: Activation | None = RELU) -> Candidate:
    convolution = Convolution(4, 4, (2 * (end - start) + 1,) * 2, padding=(end - start,) * 4)
    return Candidate(start, end, "merge", (convolution,), activation, detail_of(range(start, end)))


def test_a_merge_costs_what_its_cheapest_run_of_linear_parts_does() -> None:
    """0:1 has no activation behind it, so that it and 1:3 make up 0:3; 0:2 has one."""
    candidates = [merge(0, 3), merge(0, 1, None), merge(1, 3), merge(0, 2), merge(2, 3)]
    found = extended(candidates, range(5), [9.0, 1.0, 2.0, 0.5, 0.5])
    assert found == [3.0, 1.0, 2.0, 0.5, 0.5]
    assert extended(candidates, [0, 1, 3, 4], [9.0, 1.0, 2.0, 0.5, 0.5])[0] == 9.0
    assert extended(candidates, range(5), [2.0, 1.0, 2.0, 0.5, 0.5])[0] == 2.0


def test_kept_linear_blocks_are_parts_and_regressed_convolutions_are_not() -> None:
    keeps = kept_blocks(chain_of([None, None, "relu"]))
    fit = Candidate(0, 2, "fit", (Convolution(4, 4, (1, 1)),))
    candidates = [*keeps, merge(0, 3), fit]
    assert extended(candidates, range(5), [1.0, 2.0, 4.0, 9.0, -5.0])[3] == 7.0


def literal(chain, candidates, latency, importance, alpha, budget_ms):
    """The paper's two algorithms and its programme, word for word, on nodes 0..n without states.

    Returns:
        The largest sum of extended importances within the budget, not rounded.
    """
    n = len(chain.blocks)
    single = [importance.entries[c].metric_change for c in candidates if c.end - c.start == 1]
    entry, ms = {}, {}
    for c in candidates:
        linear = c.activation is None
        change = importance.entries[c].metric_change - alpha * sum(single) / len(single)
        entry[c.start, c.end, linear] = change
        ms[c.start, c.end] = min(
            candidate_ms(chain, c, latency), ms.get((c.start, c.end), float("inf"))
        )
    t_opt, i_ext = dict(ms), dict(entry)
    for length in range(1, n + 1):
        for st, j in product(range(n), repeat=2):
            end = st + length
            if (st, end) in ms and (st, j) in t_opt and (j, end) in ms and st < j < end:
                t_opt[st, end] = min(t_opt[st, end], t_opt[st, j] + ms[j, end])
            for a in (True, False):
                if (st, end, a) in entry and (st, j, True) in i_ext and (j, end, a) in entry:
                    split = i_ext[st, j, True] + entry[j, end, a]
                    i_ext[st, end, a] = max(i_ext[st, end, a], split)
    best = {0: [(0.0, 0.0)]}
    for end in range(1, n + 1):
        best[end] = [
            (time + t_opt[st, end], worth + i_ext[st, end, a])
            for st in range(end)
            for a in (True, False)
            if (st, end, a) in i_ext
            for time, worth in best[st]
        ]
    return max((worth for time, worth in best[n] if time <= budget_ms), default=None)


@pytest.mark.parametrize("seed", range(6))
def test_the_frontier_reaches_the_programmes_optimum_at_every_budget(seed: int) -> None:
    random = np.random.default_rng(seed)
    activations = [None if random.random() < 0.5 else "relu" for _ in range(5)]
    chain = chain_of([*activations[:4], "relu"])
    last = [block.activation for block in chain.blocks]
    merges = [merge(i, j, last[j - 1]) for i in range(5) for j in range(i + 2, 6)]
    candidates = [*kept_blocks(chain), *merges]
    latency, _ = tables(random, chain, candidates)
    entries = {c: Importance(0.0, metric_change=-float(random.integers(0, 40))) for c in candidates}
    importance = ImportanceTable("net", "finetune", 16, entries, unit="points")
    found = solve(chain, candidates, latency, importance, objective="metric", alpha=1.6)
    single = [entries[c].metric_change for c in candidates if c.end - c.start == 1]
    original = -1.6 * sum(single) / len(single) * len(chain.blocks)
    fixed_ms = 3.0
    for budget_ms in range(4, 45):
        best = literal(chain, candidates, latency, importance, 1.6, budget_ms)
        points = [p for p in found.points if p.latency_ms - fixed_ms <= budget_ms]
        ours = original - 100 * min(p.cost for p in points) if points else None
        assert ours == (None if best is None else pytest.approx(best))


def test_only_the_2023_objective_guesses_from_parts() -> None:
    """A linear block and the next, both kept at no loss, are the merge of both."""
    chain = chain_of([None, "relu"])
    whole = merge(0, 2)
    candidates = [*kept_blocks(chain), whole]
    latency, _ = tables(np.random.default_rng(0), chain, candidates)
    fast = dict.fromkeys(latency_keys(chain, whole), LatencySummary(0.1, 0.1, 0.1, 5))
    latency = replace(latency, entries=latency.entries | fast)
    entries = {whole: Importance(0.5, metric_change=-50.0)}
    importance = ImportanceTable("net", "finetune", 16, entries, unit="points")
    fastest = {
        objective: solve(chain, candidates, latency, importance, objective=objective).points[0]
        for objective in ("metric", "cost")
    }
    assert fastest["metric"].choices == fastest["cost"].choices == (2,)
    assert (fastest["metric"].cost, fastest["cost"].cost) == (0.0, 0.5)
