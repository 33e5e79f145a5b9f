"""Solving where a plan's latency depends on how many weights it reads.

A network takes the sum of its entries and its fixed part, times the factor of its footprint
(``tables.latency.NetworkLatency``). So for each footprint the plans that read no more are solved
for, with the weights read as one more capped sum, and of all these plans the best make the
frontier. That is exact: a plan that even fits into a smaller footprint is found there too.

Most of them are found without a cap: as the fastest by their entries, or the fastest if each weight
took some time as well. A capped solve then only looks for better ones.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np

from depthopt.errors import InfeasibleBudget
from depthopt.solver.capped import NONE, Known, solve_capped
from depthopt.solver.kernels import Floats
from depthopt.solver.options import Options, Solution
from depthopt.solver.stages import Bucketed, Mode, on_grid, pareto, solve_options
from depthopt.tables.latency import NetworkLatency

WEIGHTS_SHARES = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Time of all weights over that of all entries, where each weight is taken to cost time."""


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
    if not network.footprints:
        return _solved(options, used, most, network.fixed_ms, mode)
    *smaller, largest = network.footprints
    found = [_solved(options, used, most, network.fixed_ms, _of_factor(mode, largest.factor))]
    if smaller and not most.size:
        found += _of_few_weights(options, read, mode)
    best = _best(options, read, network, found)
    for each in reversed(smaller):
        amounts, caps = np.c_[used, read], np.r_[most, float(each.parameters)]
        known = Known(best.latency_ms / each.factor - network.fixed_ms, best.cost)
        with suppress(InfeasibleBudget):  # no plan reads so few weights, or none is better
            own = _of_factor(mode, each.factor)
            solution = _solved(options, amounts, caps, network.fixed_ms, own, known)
            best = _best(options, read, network, [best, solution])
    return best


def _solved(
    options: Options,
    used: Floats,
    most: Floats,
    fixed_ms: float,
    mode: Mode | None,
    known: Known = NONE,
) -> Solution:
    if most.size:
        return solve_capped(options, used, most, mode, fixed_ms=fixed_ms, known=known)
    return solve_options(options, mode, fixed_ms=fixed_ms)


def _of_factor(mode: Mode | None, factor: float) -> Mode | None:
    """The mode for latencies that are to be taken times a factor."""
    if isinstance(mode, Bucketed):
        return replace(mode, resolution_ms=mode.resolution_ms / factor)
    return mode


def _of_few_weights(options: Options, read: Floats, mode: Mode | None) -> Iterator[Solution]:
    """Good plans that read few weights: the best if each weight took time too."""
    whole = options.latency_ms.sum() / max(1.0, read.sum())
    for share in WEIGHTS_SHARES:
        heavier = replace(options, latency_ms=options.latency_ms + share * whole * read)
        yield solve_options(heavier, mode)


def _best(
    options: Options, read: Floats, network: NetworkLatency, found: list[Solution]
) -> Solution:
    """The Pareto-optimal plans of several solutions, each with its own footprint's factor."""
    latency, fixed_ms, cost = on_grid(options, network.fixed_ms)
    sizes = np.concatenate([np.diff(each.offsets) for each in found])
    choices = np.concatenate([each.choices for each in found])
    offsets = np.r_[0, np.cumsum(sizes)]
    sums_ms, costs, weights = (
        np.add.reduceat(each[choices], offsets[:-1]) for each in (latency, cost, read)
    )
    steps = network.footprints
    factors = np.array([each.factor for each in steps])
    place = np.searchsorted([each.parameters for each in steps], weights)
    total_ms = factors[np.minimum(place, len(steps) - 1)] * (sums_ms + fixed_ms)
    return pareto(total_ms, costs, offsets, choices)
