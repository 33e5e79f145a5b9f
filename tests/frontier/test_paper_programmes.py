"""Plans from tables in the published formats, against the papers' programmes taken literally."""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from depthopt.core.plan import Frontier
from depthopt.errors import InfeasibleBudget
from depthopt.frontier.published import Imported, import_tables, read_importances, read_latencies
from depthopt.frontier.solve import solve
from depthopt.solver.stages import Bucketed, Epsilon, Exact, Mode
from tests.frontier import paper_programmes
from tests.frontier.paper_programmes import Found
from tests.frontier.published_files import CONDITIONS, write
from tests.frontier.published_networks import FULL, SMALL, Network, layermerge_files

SHARES = (0.35, 0.5, 0.66, 0.8, 0.95)
"""Budgets, of what the tables' blocks take."""

MODES: tuple[Mode, ...] = (Exact(), Bucketed(0.05), Epsilon(0.01))

NETWORKS = [
    *(pytest.param(make, id=f"small {name}") for name, make in SMALL.items()),
    *(pytest.param(make, id=name, marks=pytest.mark.slow) for name, make in FULL.items()),
]

NOISE = 1e-9


def cells(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def imported(folder: Path, network: Network, times: str, scores: str) -> Imported:
    return import_tables(
        network.chain,
        CONDITIONS,
        read_latencies(write(folder, times, "times.csv")),
        read_importances(write(folder, scores, "scores.csv")),
        first_block=network.first_block,
    )


def key_of(row: dict[str, str]) -> tuple[int, int, int, bool]:
    return int(row["st"]), int(row["end"]), int(row["ker"]), row["is_dw"] == "True"


def layer_merges(network: Network, times: str, scores: str, budget: float) -> Found | None:
    exp = {key_of(row): math.exp(float(row["val_acc"]) / 100) for row in cells(scores)}
    ms = {key_of(row): float(row["time"]) for row in cells(times)}
    return paper_programmes.layer_merge(len(network.blocks), ms, exp, budget, ticks=10)


def plans(frontier: Frontier, budget: float) -> tuple[float, tuple[int, ...]] | None:
    """The latency and the choices of the plan for a budget; None if there is none."""
    try:
        point = frontier.pick(budget_ms=budget)
    except InfeasibleBudget:
        return None
    found = {(round(p.latency_ms, 9), p.cost): p for p in frontier.points}
    return point.latency_ms, found[round(point.latency_ms, 9), point.cost].choices


@pytest.mark.parametrize("make", NETWORKS)
def test_layermerge_is_never_better_at_its_own_true_latency(
    make: Callable[[], Network], tmp_path: Path
) -> None:
    network = make()
    times, scores = layermerge_files(network, seed=0)
    tables = imported(tmp_path, network, times, scores)
    by_mode = [
        solve(network.chain, tables.candidates, tables.latency, tables.importance,
              objective="exp_metric", mode=mode)
        for mode in MODES
    ]  # fmt: skip
    outside = len(network.chain.blocks) - len(network.blocks)
    over = 0
    for share in SHARES:
        budget = share * network.original_ms
        theirs = layer_merges(network, times, scores, budget)
        assert theirs is not None
        over += theirs.time_ms > budget
        for frontier in by_mode:
            found = plans(frontier, budget)
            assert found is None or found[0] <= budget
        ours = plans(by_mode[0], theirs.time_ms * (1 + 1e-12))
        assert ours is not None
        objective = math.fsum(
            math.exp(tables.importance.change(tables.candidates[k])) for k in ours[1]
        )
        assert objective - outside >= theirs.objective - NOISE
    assert over, "rounding down lets some of their plans take longer than the budget"
