"""Tables in the papers' formats, solved, reach the papers' optimum."""

import itertools

import numpy as np
import pytest

from depthopt.errors import InfeasibleBudget
from depthopt.frontier.published import import_tables
from depthopt.frontier.published.importances import PublishedImportances, SubsetScore, Worth
from depthopt.frontier.published.latencies import PublishedLatency
from depthopt.frontier.solve import solve
from tests.chains import chain_of
from tests.frontier.tables import CONDITIONS
from tests.solver import reference


@pytest.mark.parametrize("seed", range(5))
def test_imported_layer_merge_tables_reach_the_papers_optimum(seed: int) -> None:
    random = np.random.default_rng(seed)
    blocks = 6
    chain = chain_of(["relu"] * blocks)
    times: dict[tuple[int, int, int], int] = {}
    importance: dict[tuple[int, int, int], float] = {}
    by_kernel: dict[int, int] = {}
    rows, scores = [], []
    for i, j in itertools.combinations(range(blocks + 1), 2):
        for count in range(1, j - i + 1) if j - i <= 3 else ():
            kernel = 2 * count + 1
            key = (i, j, kernel)
            # The chain's blocks are alike, so one kernel size is one convolution.
            times[key] = by_kernel.setdefault(kernel, int(random.integers(1, 9)))
            importance[key] = float(np.exp(random.normal(0, 0.3)))
            kept = tuple(range(i, i + count))
            rows.append(PublishedLatency(i, j, times[key], 0.0, kernel, 1, False))
            worth = Worth(importance[key])
            scores.append(SubsetScore(i, j, kernel, 1, False, kept, worth))
    file = PublishedImportances(tuple(scores), "layermerge normalised")
    imported = import_tables(chain, CONDITIONS, rows, file)
    frontier = solve(chain, imported.candidates, imported.latency, imported.importance)
    for budget in range(1, 40):
        expected = reference.layer_merge(blocks, times, importance, budget)
        if expected == -np.inf:
            with pytest.raises(InfeasibleBudget):
                frontier.pick(budget_ms=budget)
        else:
            assert blocks - frontier.pick(budget_ms=budget).cost == pytest.approx(expected)
