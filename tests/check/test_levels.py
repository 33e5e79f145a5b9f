"""Levels of noisy values, against every way to cut a few values."""

from itertools import combinations

import numpy as np
import pytest

from depthopt.check.levels import level_ends


def cost(values: np.ndarray, ends: tuple[int, ...], penalty: float) -> float:
    parts = np.split(values, ends[:-1])
    return sum(((part - part.mean()) ** 2).sum() + penalty for part in parts)


@pytest.mark.parametrize("seed", range(8))
def test_no_other_cut_costs_less(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(10) + np.where(np.arange(10) < 6, 0.0, 2.0)
    penalty = float(generator.uniform(0.3, 4))
    found = level_ends(values, penalty=penalty, shortest=2)
    cuts = [(*inner, 10) for k in range(5) for inner in combinations(range(1, 10), k)]
    allowed = [ends for ends in cuts if min(np.diff((0, *ends))) >= 2]
    assert min(np.diff((0, *found))) >= 2
    assert cost(values, tuple(found), penalty) == pytest.approx(
        min(cost(values, ends, penalty) for ends in allowed)
    )


def test_a_large_mean_costs_no_digits() -> None:
    values = 1e6 + np.repeat([0.0, 1e-3], 10)
    assert level_ends(values, penalty=1e-7, shortest=2) == [10, 20]
