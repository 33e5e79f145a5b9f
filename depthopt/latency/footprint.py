"""The footprints of a network: how its plans' latencies depend on the weights that they read.

A table's entries are measured with their weights in a near cache. A network that reads more weights
takes longer than the sum of its entries, since they come from further away; how much longer depends
on the caches, and on who else uses them. So a few random plans are timed, and what is learned from
them is the fixed part of the network and one factor for each range of weights read
(``tables.latency.NetworkLatency``).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.core.progress import Progress, silent
from depthopt.errors import ModelError
from depthopt.kinds.latency_keys import plan_ms, plan_parameters_read
from depthopt.latency.measure import Effort
from depthopt.latency.timing import plan_timer
from depthopt.latency.validate import random_plan
from depthopt.latency.worthwhile import worthwhile
from depthopt.runtimes.base import Runtime
from depthopt.tables.latency import FOOTPRINT_PLANS, Footprint, LatencyTable, NetworkKey

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

EFFORT = Effort(seconds=1.0, tolerance=0.01, min_rounds=5, warmup_s=0.1, burst_ms=10.0, warming=4)
"""Effort per plan, with the original's share."""

_DRAWN = 64
"""Number of random plans of which those that are timed are taken."""

_FIXED_SHARES = np.linspace(0.0, 0.9, 181)
"""Fixed parts that are tried, over the original's sum with its blocks."""

_STEP, _STEPS = 0.02, 8
"""Least difference between the logarithms of two footprints' factors, and most such differences."""

_SURE = 1e6
"""Weight of the original, which is predicted exactly, over that of a plan."""

_LEVEL = 0.03
"""Weight of the squared logarithm of the quotient of the largest factor and the smallest."""

ROUGH = 0.1
"""Median error of the timed plans' own predictions from which on a warning is given."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A network whose latency is known.

    Attributes:
        entries_ms: the sum of its entries.
        parameters: weights and biases that its blocks read.
        latency_ms: end to end, on the table's scale.
    """

    entries_ms: float
    parameters: int
    latency_ms: float


def with_footprints(
    model: nn.Module,
    chain: Chain,
    candidates: Iterable[Candidate],
    table: LatencyTable,
    *,
    runtime: Runtime,
    plans: int = FOOTPRINT_PLANS,
    seed: int = 0,
    effort: Effort = EFFORT,
    progress: Progress = silent,
) -> LatencyTable:
    """Time plans of a network, and return the table with its fixed part and its footprints.

    The plans are random ones, from those that read the fewest weights to those that read the most,
    and the fastest, which tells the fixed part. One that cannot be built or run is left out, and
    the log says so.

    Args:
        model: the original network.
        chain: its chain.
        candidates: what plans are drawn from, as ``validate`` does.
        table: holds the network and the candidates' entries.
        runtime: what the table was measured on.
        plans: how many are timed.
        seed: of the drawing.
        effort: how long each plan is timed.
        progress: receives the plans timed.

    Raises:
        TableError: the table lacks the network.
    """
    network = table.network(chain)
    useful = worthwhile(chain, candidates, table)

    def sample(plan: Plan, speedup: float) -> Sample:
        read = plan_parameters_read(chain, plan.choices)
        entries_ms = plan_ms(chain, plan.choices, table)
        return Sample(entries_ms, read, network.total.median_ms / speedup)

    drawn = [random_plan(chain, useful, seed=_seed(seed, i)) for i in range(_DRAWN)]
    original = sample(replace(drawn[0], choices=kept_blocks(chain)), 1.0)
    chosen = _spread({plan: sample(plan, 1.0) for plan in drawn if plan.replaced}, plans)
    found, batch = list[Sample](), table.conditions.batch
    with plan_timer(model, chain, runtime=runtime, batch=batch, effort=effort) as timer:
        for i, plan in enumerate(chosen):
            progress(i, len(chosen), "plans timed")
            try:
                found.append(sample(plan, timer(plan)))
            except ModelError as error:
                logger.warning("a plan is left out of the footprints: %s", error)
    progress(len(chosen), len(chosen), "plans timed")
    fixed_ms, footprints = fitted(original, found)
    network = replace(
        network, fixed_ms=fixed_ms, footprints=footprints, parameters=original.parameters
    )
    errors = [
        network.factor(s.parameters) * (fixed_ms + s.entries_ms) / s.latency_ms - 1 for s in found
    ]
    if errors and (typical := float(np.median(np.abs(errors)))) > ROUGH:
        logger.warning(
            "plans of %s take %.0f %% more or less than predicted, in the median of %d; measure "
            "again when the machine is idle",
            chain.model,
            100 * typical,
            len(errors),
        )
    return replace(table, networks=table.networks | {NetworkKey.of(chain): network})


def _spread(drawn: Mapping[Plan, Sample], count: int) -> list[Plan]:
    """Plans from the fewest weights read to the most, and the one with the fastest entries."""
    by_weights = sorted(drawn, key=lambda plan: drawn[plan].parameters)
    places = np.linspace(0, len(drawn) - 1, min(count - 1, len(drawn))).round().astype(int)
    fastest = sorted(drawn, key=lambda plan: drawn[plan].entries_ms)[:1]
    return list(dict.fromkeys([*fastest, *(by_weights[i] for i in places)]))


def fitted(original: Sample, plans: Sequence[Sample]) -> tuple[float, tuple[Footprint, ...]]:
    """Find the fixed part and the footprints by which networks' latencies are predicted best.

    For each fixed part out of many, the logarithms of the networks' factors are regressed on the
    weights that they read, by a function that rises. The original's is met exactly.

    Args:
        original: the network itself.
        plans: networks made from it; none is allowed.

    Returns:
        The fixed part in milliseconds, and the footprints.
    """
    samples = (original, *plans)
    entries, latency = (
        np.array([getattr(each, name) for each in samples]) for name in ("entries_ms", "latency_ms")
    )
    read, place = np.unique([each.parameters for each in samples], return_inverse=True)
    weights = np.array([_SURE] + [1.0] * len(plans))
    together: Floats = np.bincount(place, weights).astype(np.float64)
    least, best = np.inf, (0.0, _Curve(read[:1], np.zeros(1)))
    with np.errstate(divide="ignore", invalid="ignore"):  # entries too quick for the clock
        for share in _FIXED_SHARES if plans else _FIXED_SHARES[:1]:
            fixed_ms = float(original.entries_ms * share / (1 - share))
            wanted = np.log(latency / (fixed_ms + entries))
            rising = isotonic(np.bincount(place, weights * wanted) / together, together)
            curve = _Curve.through(read, together, rising)
            error = float((weights * (curve.at(read)[place] - wanted) ** 2).sum())
            error += _LEVEL * float(curve.log[-1] - curve.log[0]) ** 2
            if error < least:
                least, best = error, (fixed_ms, curve)
    fixed_ms, curve = best
    if (predicted_ms := fixed_ms + original.entries_ms) > 0:
        # However sure it is, others pull at it where they read as much.
        curve = curve.met_at(original.parameters, original.latency_ms / predicted_ms)
    return fixed_ms, curve.in_steps(original.parameters, int(read[-1]))


def isotonic(values: Floats, weights: Floats) -> Floats:
    """The sequence that never falls with the least weighted squared distance to ``values``.

    By pooling adjacent violators: R. E. Barlow et al., "Statistical Inference under Order
    Restrictions" (1972).
    """
    pools = list[tuple[float, float, int]]()
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (a, of_a, as_a), (b, of_b, as_b) = pools[-2:]
            pools[-2:] = [((a * of_a + b * of_b) / (of_a + of_b), of_a + of_b, as_a + as_b)]
    return np.repeat([mean for mean, _, _ in pools], [count for _, _, count in pools])


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """The logarithm of the factor by the weights read: straight between points, level outside.

    Attributes:
        read: (points,) rising.
        log: (points,) rising.
    """

    read: Floats
    log: Floats

    @classmethod
    def through(cls, read: Floats, weights: Floats, rising: Floats) -> "_Curve":
        """Through the centre of each stretch of equal values."""
        logs, place = np.unique(rising, return_inverse=True)
        return cls(np.bincount(place, weights * read) / np.bincount(place, weights), logs)

    def met_at(self, read: int, factor: float) -> "_Curve":
        """Shifted, so that it gives this factor for so many weights."""
        return _Curve(self.read, self.log + np.log(factor) - self.at(np.array([read])))

    def at(self, read: Floats) -> Floats:
        return np.interp(read, self.read, self.log)

    def in_steps(self, original: int, most: int) -> tuple[Footprint, ...]:
        """As footprints: steps of equal quotients, one of which is the original's factor."""
        own = float(self.at(np.array([original]))[0])
        step = max(_STEP, (self.log[-1] - self.log[0]) / _STEPS)
        first, last = np.rint((self.log[[0, -1]] - own) / step)
        levels = own + step * np.arange(first, last + 1)
        ends = np.interp(levels[:-1] + step / 2, self.log, self.read).astype(int).tolist()
        found = dict[int, float]()
        for parameters, factor in zip((*ends, most), np.exp(levels).tolist(), strict=True):
            found.setdefault(parameters, factor)
        return tuple(map(Footprint, found, found.values()))


def _seed(seed: int, index: int) -> int:
    """Of a plan's drawing: none that ``validate`` draws with the same seed."""
    return seed * 1_000_003 + 500_000 + index
