"""How fast the solver is, against the papers' recursion taken literally, and by size.

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
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from depthopt.frontier.solve import solve
from depthopt.solver.options import Options
from depthopt.solver.stages import Bucketed, Epsilon, Exact, Mode, solve_options
from tests.frontier.paper_programmes import Found, Merge, layer_merge
from tests.frontier.published_networks import Network, layermerge_files, mobilenetv2, resnet34
from tests.frontier.test_paper_programmes import cells, imported, key_of
from tests.solver.tables import realistic

BUDGETS = (
    ("MobileNetV2", mobilenetv2, (22.3, 18.5, 15.6, 13.4)),
    ("ResNet-34", resnet34, (146.0, 123.0, 103.0)),
)
"""Of LayerMerge's tables 2 and 1, in milliseconds."""

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


def against_the_papers() -> None:
    """The whole exact frontier by the solver, one budget by LayerMerge's recursion.

    Made-up tables with all of the paper's rows, scaled to what its networks take there; the
    recursion as the paper states it (``tests/frontier/paper_programmes.py``), in plain Python as
    the authors' code is, at that code's precision of 0.1 ms and at 0.01 ms, the default of its
    function; the budgets of the paper's tables 1 and 2. In brackets the ratio to all that
    ``frontier.solve`` does: look up, check, solve and name the plans.
    """
    print(f"{'network':<12} {'rows':>4} {'plans':>5} {'budget':>7} {'tick':>5} {'recursion':>9} "
          f"{'solver':>8}   ratio  {'over budget':>11}")  # fmt: skip
    for name, make, budgets in BUDGETS:
        network = make()
        times, scores = layermerge_files(network, seed=0)
        with TemporaryDirectory() as folder:
            tables = imported(Path(folder), network, times, scores)
        options, ms, worth = arrays(network, times, scores)
        solution = solve_options(options)
        fast = seconds(lambda: solve_options(options), 30)  # noqa: B023 - called at once
        whole = seconds(lambda: solve(network.chain, tables.candidates, tables.latency,  # noqa: B023
                                      tables.importance), 5)  # noqa: B023  # fmt: skip
        for per_ms in (10, 100):
            for budget in budgets:
                found: list[Found | None] = []
                slow = seconds(
                    lambda: found.append(  # noqa: B023 - called at once
                        layer_merge(len(network.blocks), ms, worth, budget, per_ms)  # noqa: B023
                    ),
                    1 if per_ms > 10 else 3,
                )
                over = found[0].time_ms / budget - 1 if found[0] else math.nan
                print(
                    f"{name:<12} {len(options):>4} {len(solution):>5} {budget:>7} {1 / per_ms:>5} "
                    f"{slow:>9.3f} {fast:>8.5f}   {slow / fast:,.0f} ({slow / whole:,.0f})  "
                    f"{over:>+11.1%}"
                )


def arrays(
    network: Network, times: str, scores: str
) -> tuple[Options, dict[Merge, float], dict[Merge, float]]:
    """The rows of files for the solver, and for the recursion by segment and kernel."""
    ms = {key_of(row): float(row["time"]) for row in cells(times)}
    worth = {key_of(row): math.exp(float(row["val_acc"]) / 100) for row in cells(scores)}
    rows = [(start, end, ms[start, end, k, dw], end - start - worth[start, end, k, dw])
            for start, end, k, dw in ms]  # fmt: skip
    start, end, latency_ms, cost = zip(*rows, strict=True)
    options = Options.of(
        len(network.blocks) + 1, start=start, end=end, latency_ms=latency_ms, cost=cost
    )
    return options, ms, worth


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
    parser.add_argument("--papers", action="store_true", help="only against the recursion")
    arguments = parser.parse_args()
    against_the_papers()
    if arguments.papers:
        return
    modes = {"exact": Exact(), "epsilon(0.001)": Epsilon(0.001), "bucketed(0.01)": Bucketed(0.01)}
    growth(modes, SIZES)
    command = [sys.executable, "-c", FIRST_CALL]
    first = [float(subprocess.check_output(command, text=True)) for _ in range(3)]
    print(f"first call in a new process, compiled before: {min(first):.2f} s")
    if arguments.plot:
        plot(modes, arguments.plot)


if __name__ == "__main__":
    main()
