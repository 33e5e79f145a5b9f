"""Solving where a plan's latency depends on how many weights it reads.

A network takes the sum of its entries and its fixed part, times the factor of its footprint
(``tables.latency.NetworkLatency``). For each footprint, the plans that read no more weights are
solved for, with what they read as one more capped sum; of all these the best make the frontier.
That is exact: a plan that would even fit into a smaller footprint is found there too, with the
smaller factor.
"""

from dataclasses import replace

import numpy as np

from depthopt.errors import InfeasibleBudget
from depthopt.solver.capped import solve_capped
from depthopt.solver.kernels import Floats
from depthopt.solver.options import Options, Solution
from depthopt.solver.stages import Bucketed, Mode, solve_options
from depthopt.tables.latency import Footprint, NetworkLatency


def solve_by_footprint(
    options: Options,
    used: Floats,
    most: Floats,
    read: Floats,
    network: NetworkLatency,
    mode: Mode | None = None,
) -> Solution:
    """The frontier of the plans that use no more than ``most`` of any resource.

    Args:
        options: what to choose from, with latencies as the entries say.
        used: (options, resources) amounts, 0 or more.
        most: (resources,) caps.
        read: (options,) weights and biases read.
        network: with the fixed part and the footprints.
        mode: of ``solve_options`` and ``solve_capped``; a bucket is as many milliseconds of the
            whole plan's latency.

    Raises:
        InfeasibleBudget: no plan respects all caps.
        UsageError: more labels are needed than fit.
    """
    footprints = network.footprints or (Footprint(0, 1.0),)
    found = list[Solution]()
    for each in footprints:
        amounts, caps = used, most
        if each is not footprints[-1]:
            amounts, caps = np.c_[used, read], np.r_[most, float(each.parameters)]
        own = replace(mode, resolution_ms=mode.resolution_ms / each.factor) if isinstance(
            mode, Bucketed
        ) else mode  # fmt: skip
        try:
            if caps.size:
                solution = solve_capped(options, amounts, caps, own, fixed_ms=network.fixed_ms)
            else:
                solution = solve_options(options, own, fixed_ms=network.fixed_ms)
        except InfeasibleBudget:
            if each is footprints[-1]:
                raise
            continue  # no plan reads so few weights
        found.append(replace(solution, latency_ms=solution.latency_ms * each.factor))
    return found[0] if len(found) == 1 else _best(found)


def _best(found: list[Solution]) -> Solution:
    """The Pareto-optimal points of several frontiers; of equal ones that of the first."""
    latency, cost = (
        np.concatenate([getattr(each, name) for each in found]) for name in ("latency_ms", "cost")
    )
    runs = [
        solution.choices[begin:end]
        for solution in found
        for begin, end in zip(solution.offsets, solution.offsets[1:], strict=False)
    ]
    order = np.lexsort((cost, latency))
    lowest = np.minimum.accumulate(cost[order])
    kept = order[np.r_[True, cost[order][1:] < lowest[:-1]]]
    sizes = [len(runs[k]) for k in kept]
    return Solution(
        latency[kept],
        cost[kept],
        np.r_[0, np.cumsum(sizes)],
        np.concatenate([runs[k] for k in kept]),
    )
