"""The benchmark of checks against recorded baselines, on made-up measurements."""

import numpy as np

from tests.benchmarks.check_recorded import CHANGES, rows


def test_every_pair_is_judged_at_every_change():
    generator = np.random.default_rng(0)
    runs = [
        {f"yardstick {i}": list(0.1 * generator.lognormal(0, 0.005, 6)) for i in range(8)}
        for _ in range(3)
    ]
    head, _, _, *found = rows(runs, 0.05)
    assert head.startswith("3 measurements")
    assert len(found) == len(CHANGES)
    assert found[0] == "| 0% | 6 | 0 | 0 | 6 |"
    assert found[-1] == "| 30% | 6 | 6 | 0 | 0 |"
