import itertools
import math

import numpy as np
import pytest

from depthopt.solver.options import Options
from depthopt.solver.pieces import Pieces, fastest_runs
from depthopt.solver.stages import solve_options
from tests.solver import reference


def pieces_of(times: dict[tuple[int, int], int]) -> Pieces:
    return Pieces(
        np.array([start for start, _ in times]),
        np.array([end for _, end in times]),
        np.array(list(times.values()), np.float64),
        np.zeros(len(times), np.int64),
    )


def random_times(random: np.random.Generator, blocks: int) -> dict[tuple[int, int], int]:
    """Single blocks always, longer segments half of the time; merging may be slower."""
    return {
        (i, j): int(random.integers(1, 5 * (j - i) + 3))
        for i, j in itertools.combinations(range(blocks + 1), 2)
        if j - i == 1 or random.random() < 0.5
    }


@pytest.mark.parametrize("seed", range(20))
def test_equals_algorithm_1_of_the_2023_paper(seed: int) -> None:
    times = random_times(np.random.default_rng(seed), 9)
    expected = reference.optimal_times(9, times)
    starts, ends = zip(*expected, strict=True)
    runs = fastest_runs(10, pieces_of(times), starts, ends, [0] * len(starts))
    assert runs.latency_ms.tolist() == list(expected.values())
    keys = list(times)
    for start, end, run in zip(starts, ends, runs.pieces, strict=True):
        inner = [keys[k] for k in run]
        assert [start, *(e for _, e in inner)] == [*(s for s, _ in inner), end]


@pytest.mark.parametrize("seed", range(20))
def test_both_stages_equal_algorithm_2_of_the_2023_paper(seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    blocks = 8
    times = random_times(random, blocks)
    importance = {
        (i, j, a, b): float(random.normal())
        for i, j in itertools.combinations(range(blocks + 1), 2)
        for a in (0, 1)
        for b in (0, 1)
        if j - i == 1 or random.random() < 0.5
    }
    keys = list(importance)
    runs = fastest_runs(
        blocks + 1, pieces_of(times), [k[0] for k in keys], [k[1] for k in keys], [0] * len(keys)
    )
    # A node is a position and whether an activation stays there; the input counts as one.
    sink = 2 * blocks + 2
    usable = [k for k in keys if (k[0], k[2]) != (0, 0)]
    latency = dict(zip(keys, runs.latency_ms.tolist(), strict=True))
    node = {(i, a): 2 * i + a - 1 for i in range(blocks + 1) for a in (0, 1)}
    solution = solve_options(
        Options.of(
            sink,
            start=[node[k[0], k[2]] for k in usable] + [node[blocks, 0], node[blocks, 1]],
            end=[node[k[1], k[3]] for k in usable] + [sink - 1] * 2,
            latency_ms=[latency[k] for k in usable] + [0, 0],
            cost=[-importance[k] for k in usable] + [0, 0],
        )
    )
    for budget in range(1, 60, 5):
        expected = reference.two_stage(blocks, times, importance, budget)
        within = solution.cost[solution.latency_ms <= budget]
        found = -within[-1] if within.size else -math.inf
        assert found == pytest.approx(expected)


def test_only_the_last_piece_may_have_an_activation() -> None:
    pieces = Pieces(
        np.array([0, 1, 0]), np.array([1, 2, 1]), np.array([5.0, 1.0, 1.0]), np.array([0, 3, 3])
    )
    runs = fastest_runs(3, pieces, [0, 0, 0], [2, 2, 1], [3, 0, 3])
    assert runs.latency_ms.tolist() == [6.0, math.inf, 1.0]
    assert runs.pieces == ((0, 1), (), (2,))
