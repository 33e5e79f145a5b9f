"""How fast the solver is, against the papers' recursion in plain Python and by size.

    python tests/benchmarks/solver_speed.py [--plot growth.png]

Figures are CPU seconds of one core (so that other load on the machine counts less) and
the least of several repeats; the new process is timed by the clock.
"""

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from depthopt.solver.options import Options
from depthopt.solver.stages import Bucketed, Epsilon, Exact, Mode, solve_options
from tests.solver import reference
from tests.solver.tables import realistic

SIZES = ((50, 400), (100, 1500), (200, 6000), (400, 12000), (1000, 30000))
BY_POSITIONS = ((50, 1500), (100, 3000), (200, 6000), (400, 12000))
BY_CANDIDATES = ((200, 1500), (200, 3000), (200, 6000), (200, 12000))

FIRST_CALL = """
import time
from depthopt.solver.options import Options
from depthopt.solver.stages import solve_options
begin = time.perf_counter()
solve_options(Options.of(2, start=[0, 0], end=[1, 1], latency_ms=[1, 2], cost=[1, 0]))
print(time.perf_counter() - begin)
"""


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Least CPU time of several calls."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def against_the_recursion() -> None:
    """The whole frontier by the solver, one budget at 0.01 ms by LayerMerge's Algorithm 1.

    50 positions and 400 candidates, scaled to the 33.7 ms that the published table of
    MobileNetV2 sums up to; the budget is the first of that paper's Table 2.
    """
    plain = realistic(np.random.default_rng(0), 50, 400)
    latency_ms = plain.latency_ms * (33.7 / plain.latency_ms[:50].sum())
    options = Options.of(
        51,
        start=plain.start,
        end=plain.end,
        latency_ms=latency_ms,
        cost=plain.cost,
        touched=plain.touched,
    )
    times: dict[tuple[int, int, int], int] = {}
    gains: dict[tuple[int, int, int], float] = {}
    for k in range(len(options)):
        start, end, kernel = int(options.start[k]), int(options.end[k]), 1
        while (start, end, kernel) in times:
            kernel += 2
        times[start, end, kernel] = math.ceil(latency_ms[k] / 0.01)
        gains[start, end, kernel] = -float(options.cost[k])
    found = []
    slow = seconds(lambda: found.append(reference.layer_merge(50, times, gains, 2230)), 1)
    solution = solve_options(options)
    fast = seconds(lambda: solve_options(options), 50)
    best = float(solution.cost[solution.latency_ms <= 22.3][-1])
    print(f"plain Python recursion, one budget: {slow:9.5f} s, cost {-found[0]:.5f} at 22.3 ms")
    print(
        f"solver, all {len(solution):4} plans:            {fast:9.5f} s, cost {best:.5f} at 22.3 ms"
    )
    print(f"ratio: {slow / fast:.0f}")


def growth(
    modes: dict[str, Mode], sizes: Sequence[tuple[int, int]]
) -> dict[str, list[tuple[int, int, float]]]:
    """Positions, candidates and seconds by mode, printed as they come, with the plans."""
    found: dict[str, list[tuple[int, int, float]]] = {name: [] for name in modes}
    print(f"{'positions':>9} {'candidates':>10}  {'mode':<16} {'plans':>7} {'seconds':>9}")
    for blocks, candidates in sizes:
        options = realistic(np.random.default_rng(0), blocks, candidates)
        for name, mode in modes.items():
            if candidates > 12000 and name == "exact":
                continue
            plans = len(solve_options(options, mode))
            spent = seconds(lambda: solve_options(options, mode), 3)  # noqa: B023 - called at once
            found[name].append((blocks, candidates, spent))
            print(f"{blocks:>9} {candidates:>10}  {name:<16} {plans:>7} {spent:>9.4f}")
    return found


def plot(modes: dict[str, Mode], path: Path) -> None:
    """Seconds over positions, at 30 candidates each, and over candidates, at 200 positions."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
    labels = ("positions, 30 candidates each", "candidates, 200 positions")
    for axis, sizes, label in zip((0, 1), (BY_POSITIONS, BY_CANDIDATES), labels, strict=True):
        for name, points in growth(modes, sizes).items():
            panels[axis].loglog([p[axis] for p in points], [p[2] for p in points], "o-", label=name)
        panels[axis].set_xlabel(label)
    panels[0].set_ylabel("seconds, one core")
    panels[0].legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path, help="write the growth as a picture")
    arguments = parser.parse_args()
    against_the_recursion()
    modes = {"exact": Exact(), "epsilon(0.001)": Epsilon(0.001), "bucketed(0.01)": Bucketed(0.01)}
    growth(modes, SIZES)
    command = [sys.executable, "-c", FIRST_CALL]
    first = [float(subprocess.check_output(command, text=True)) for _ in range(3)]
    print(f"first call in a new process, compiled before: {min(first):.2f} s")
    if arguments.plot:
        plot(modes, arguments.plot)


if __name__ == "__main__":
    main()
