"""Plans from tables in the published formats, against the papers' programmes taken literally."""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from depthopt.core.candidate import Candidate
from depthopt.core.plan import Frontier, FrontierPoint
from depthopt.errors import InfeasibleBudget
from depthopt.frontier.published import Imported, import_tables, read_importances, read_latencies
from depthopt.frontier.solve import solve
from depthopt.kinds.candidates import candidates
from depthopt.kinds.registry import is_part
from depthopt.solver.pieces import Pieces, fastest_runs
from depthopt.solver.stages import Bucketed, Epsilon, Exact
from tests.frontier import paper_programmes
from tests.frontier.published_files import CONDITIONS, write
from tests.frontier.published_networks import FULL, SMALL, Network, depth_files, layermerge_files

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Budgets, of what the tables' blocks take."""

NETWORKS = [
    *(
        pytest.param(make, seed, 0.02, id=f"small {name}, seed {seed}")
        for name, make in SMALL.items()
        for seed in range(3)
    ),
    *(pytest.param(make, 0, None, id=name, marks=pytest.mark.slow) for name, make in FULL.items()),
]
"""Each with a seed, and a tick as a share of what its blocks take; None: that of the code."""

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


def state_of(row: dict[str, str]) -> tuple[int, int, int, int]:
    return int(row["st"]), int(row["end"]), int(row["st_act"]), int(row["end_act"])


def picked(frontier: Frontier, budget: float) -> FrontierPoint | None:
    """The point of the plan for a budget; None if there is none."""
    try:
        plan = frontier.pick(budget_ms=budget)
    except InfeasibleBudget:
        return None
    assert plan.latency_ms <= budget
    return next(p for p in frontier.points if p.latency_ms == plan.latency_ms)


@pytest.mark.parametrize(("make", "seed", "tick"), NETWORKS)
def test_layermerge_is_never_better_at_its_own_true_latency(
    make: Callable[[], Network], seed: int, tick: float | None, tmp_path: Path
) -> None:
    network = make()
    per_ms = 10 if tick is None else 1 / (tick * network.original_ms)
    times, scores = layermerge_files(network, seed)
    tables = imported(tmp_path, network, times, scores)
    exp = {key_of(row): math.exp(float(row["val_acc"]) / 100) for row in cells(scores)}
    ms = {key_of(row): float(row["time"]) for row in cells(times)}
    exact, bucketed, epsilon = (
        solve(network.chain, tables.candidates, tables.latency, tables.importance,
              objective="exp_metric", mode=mode)
        for mode in (Exact(), Bucketed(1 / per_ms), Epsilon(0.01))
    )  # fmt: skip
    outside = len(network.chain.blocks) - len(network.blocks)
    over = 0
    for share in SHARES:
        budget = share * network.original_ms
        theirs = paper_programmes.layer_merge(len(network.blocks), ms, exp, budget, per_ms)
        if theirs is None:
            assert picked(exact, budget) is None
            continue
        over += theirs.time_ms > budget
        for frontier in (exact, bucketed, epsilon):
            picked(frontier, budget)
        ours = picked(exact, theirs.time_ms * (1 + 1e-12))
        assert ours is not None
        changes = [tables.importance.change(tables.candidates[k]) or 0.0 for k in ours.choices]
        objective = math.fsum(map(math.exp, changes)) - outside
        assert objective >= theirs.objective - NOISE
        assert len(network.chain.blocks) - ours.cost - outside == pytest.approx(objective)
    assert over, "what is rounded down takes longer than its budget"


ALPHA = 1.6


@pytest.mark.parametrize(
    ("make", "seed", "tick"), [n for n in NETWORKS if "resnet" not in str(n.id)]
)
def test_the_two_stage_programme_is_never_better_at_its_own_true_latency(
    make: Callable[[], Network], seed: int, tick: float | None, tmp_path: Path
) -> None:
    network = make()
    per_ms = 20 if tick is None else 1 / (tick * network.original_ms)
    times, scores = depth_files(network, seed)
    tables = imported(tmp_path, network, times, scores)
    change = {state_of(row): float(row["val_acc"]) / 100 for row in cells(scores)}
    ms = {(int(row["st"]), int(row["end"])): float(row["time"]) for row in cells(times)}
    worth = paper_programmes.normalised(change, ALPHA)
    exact, bucketed, epsilon = (
        solve(network.chain, tables.candidates, tables.latency, tables.importance,
              objective="metric", alpha=ALPHA, mode=mode)
        for mode in (Exact(), Bucketed(1 / per_ms), Epsilon(0.01))
    )  # fmt: skip
    mean = fmean(v for (start, end, _, _), v in change.items() if end - start == 1)
    over = 0
    for share in SHARES:
        budget = share * network.original_ms
        theirs = paper_programmes.two_stage(len(network.blocks), ms, worth, budget, per_ms)
        if theirs is None:
            assert picked(exact, budget) is None
            continue
        over += theirs.time_ms > budget
        for frontier in (exact, bucketed, epsilon):
            picked(frontier, budget)
        ours = picked(exact, theirs.time_ms * (1 + 1e-12))
        assert ours is not None
        # The sum lacks alpha times the mean for every block, not for every segment.
        objective = -ours.cost - ALPHA * mean * len(network.blocks)
        assert objective >= theirs.objective - NOISE
    assert over, "what is rounded down takes longer than its budget"


@pytest.mark.parametrize(
    "make", [SMALL["mobilenetv2"], SMALL["vgg19"]], ids=["mobilenetv2", "vgg19"]
)
def test_an_extended_file_has_the_frontier_of_what_it_was_made_from(
    make: Callable[[], Network], tmp_path: Path
) -> None:
    network = make()
    times, scores = depth_files(network, seed=0)
    points = {state_of(row): float(row["val_acc"]) for row in cells(scores)}
    worth = paper_programmes.normalised(points, ALPHA)
    best = paper_programmes.extended(len(network.blocks), worth)
    rows = [f'{i},{",".join(map(str, key))},{value!r},"{key[0]},{key[1]}"'
            for i, (key, value) in enumerate(best.items())]  # fmt: skip
    text = "\n".join(["id,st,end,st_act,end_act,imp,breaks", *rows])
    mean = fmean(v for (start, end, _, _), v in points.items() if end - start == 1) / 100
    raw = imported(tmp_path, network, times, scores)
    measured = solve(network.chain, raw.candidates, raw.latency, raw.importance,
                     objective="metric", alpha=ALPHA)  # fmt: skip
    tables = imported(tmp_path, network, times, text)
    extended = solve(network.chain, tables.candidates, tables.latency, tables.importance)
    lacks = ALPHA * mean * len(network.blocks)
    for share in np.linspace(0.3, 0.97, 15).tolist():
        expected = picked(measured, share * network.original_ms)
        found = picked(extended, share * network.original_ms)
        assert (found is None) == (expected is None)
        if found and expected:
            assert found.cost == pytest.approx(expected.cost + lacks, abs=1e-9)


@pytest.mark.parametrize("make", FULL.values(), ids=FULL)
def test_stage_one_equals_the_optimal_times(make: Callable[[], Network]) -> None:
    """Latencies and lists of breaks, of all segments of the papers' size."""
    network = make()
    times, _ = depth_files(network, seed=1)
    ms = {(int(row["st"]), int(row["end"])): float(row["time"]) for row in cells(times)}
    start, end = np.array(list(ms)).T
    linear = np.zeros(start.size, np.int64)
    pieces = Pieces(start, end, np.array(list(ms.values())), linear)
    runs = fastest_runs(len(network.blocks) + 1, pieces, start, end, linear)
    expected = paper_programmes.optimal_times(len(network.blocks), ms)
    several = 0
    for segment, latency_ms, run in zip(ms, runs.latency_ms, runs.pieces, strict=True):
        least, breaks = expected[segment]
        assert latency_ms == pytest.approx(least, rel=1e-15)
        assert (*start[list(run)].tolist(), int(end[run[-1]])) == breaks
        several += len(run) > 1
    assert several > len(ms) / 10


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_rows_are_the_candidates_of_the_papers(make: Callable[[], Network], tmp_path: Path) -> None:
    """Else an imported table would not go with candidates that are listed here."""
    network = make()
    wishes = {"kinds": ("merge",), "max_length": None, "inserted": "usual", "fewer_macs": False,
              "segments": "papers"}  # fmt: skip
    first, last = network.first_block, network.last_block

    def named(candidates: Iterable[Candidate]) -> set[str]:
        """Within the tables, without the blocks that a merge keeps, of which weights decide."""
        return {
            re.sub(" of [0-9,]+$", "", c.key)
            for c in candidates
            if first <= c.start < last and not is_part(c)
        }

    found = imported(tmp_path, network, *layermerge_files(network, seed=0))
    ones = [1.0] * len(network.chain.blocks)
    listed = candidates(network.chain, subsets=True, weights=ones, **wishes)
    assert named(found.importance.entries) == named(listed)
    found = imported(tmp_path, network, *depth_files(network, seed=0))
    listed = candidates(network.chain, end_activations=True, **wishes)
    assert named(found.importance.entries) == named(listed)
